"""Every contract test takes a `case` and runs for each dialect, unless it says for which."""

import zlib

import pytest
from contract_cases import VOICES
from slices import THOROUGH

_OF_VARIANTS = 5


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    if "case" in metafunc.fixturenames and "case" not in marked:
        metafunc.parametrize("case", VOICES.values(), ids=VOICES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the tests of variants keep every fifth, the same ones in each run."""
    left_out = [] if THOROUGH else [item for item in items if _of_a_variant(item) and not _is_chosen(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        dropped = set(left_out)
        items[:] = [item for item in items if item not in dropped]


def _of_a_variant(item: pytest.Item) -> bool:
    case = getattr(item, "callspec", None) and item.callspec.params.get("case")
    return getattr(case, "variant", False)


def _is_chosen(item: pytest.Item) -> bool:
    return zlib.crc32(item.nodeid.encode()) % _OF_VARIANTS == 0


def _names(names: object) -> list[str]:
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
