"""Every test of a recognizer takes a `case` and runs for each, unless it says for which."""

from stt_cases import CASES


def pytest_generate_tests(metafunc):
    marked = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    if "case" in metafunc.fixturenames and "case" not in marked:
        metafunc.parametrize("case", CASES, ids=[case.name for case in CASES])


def _names(names):
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
