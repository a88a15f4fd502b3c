"""Every contract test takes a `case` and runs for each dialect, unless it says for which."""

import pytest
from contract_cases import VOICES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    if "case" in metafunc.fixturenames and "case" not in marked:
        metafunc.parametrize("case", VOICES.values(), ids=VOICES)


def _names(names: object) -> list[str]:
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
