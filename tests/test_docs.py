"""The documents say what is so: the tests that they name exist, and tables of options are the options'."""

import ast
import re
from pathlib import Path

import attrs
import pytest

from voicetrio import DeepgramTTS

ROOT = Path(__file__).parent.parent
ORIGINALS = (ROOT / "docs" / "originals.md").read_text()
PROVIDERS = (ROOT / "docs" / "providers.md").read_text()

ROWS = [f"D{number}" for number in range(1, 14)]


def names_of_tests(path):
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")}


def sections(text):
    """The ``###`` sections of a document, by the first word of their headings."""
    parts = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    return {part.split()[0]: part for part in parts}


def named_in(text):
    return set(re.findall(r"`(test_\w+)`", text))


ALL_TESTS = set().union(*(names_of_tests(path) for path in (ROOT / "tests").rglob("test_*.py")))


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_each_test_that_a_document_names_exists(document):
    assert named_in(document.read_text()) - ALL_TESTS == set()


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_deepgram_says_what_how_it_sounds_what_instead_and_which_test(row):
    section = sections(ORIGINALS)[row]
    for part in ("**Original:**", "**Heard:**", "**Here:**", "**Tests:**"):
        assert part in section
    named = named_in(section)
    assert named
    assert all(name.startswith(f"test_{row.lower()}_") for name in named)


def test_each_test_of_a_row_is_named_in_its_row():
    tests = {name for name in names_of_tests(ROOT / "tests" / "test_deepgram.py") if re.match(r"test_d\d+_", name)}
    assert tests == {name for row in ROWS for name in named_in(sections(ORIGINALS)[row])}


def test_the_table_of_deepgrams_options_is_that_of_the_class(monkeypatch):
    monkeypatch.delenv("DEEPGRAM_API_KEY", raising=False)
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", sections(PROVIDERS)["Options"], flags=re.MULTILINE)
    written = {name: ast.literal_eval(default) for name, default in rows}
    without_key = attrs.asdict(DeepgramTTS(access_token="token")) | {"access_token": None}
    assert written == without_key
