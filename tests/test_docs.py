"""The documents say what is so: the tests that they name exist, and tables of options are the options'."""

import ast
import re
from functools import cache
from pathlib import Path

import attrs
import pytest

from voicetrio import LMNTTTS, CartesiaSTT, CartesiaTTS, ChatLLM, DeepgramTTS, SmallestAITTS
from voicetrio.inference import LLM, STT, TTS, Denoise, Realtime

ROOT = Path(__file__).parent.parent
ORIGINALS = (ROOT / "docs" / "originals.md").read_text()
PROVIDERS = (ROOT / "docs" / "providers.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

ROWS = [
    f"{letter}{number}"
    for letter, last in (
        ("D", 13),
        ("L", 10),
        ("C", 10),
        ("M", 11),
        ("S", 8),
        ("G", 9),
        ("T", 7),
        ("N", 8),
        ("P", 6),
        ("R", 7),
    )
    for number in range(1, last + 1)
]
FILES = (
    "test_deepgram.py",
    "test_lmnt.py",
    "test_cartesia.py",
    "test_smallest.py",
    "stt/test_cartesia_stt.py",
    "stt/test_gateway_stt.py",
    "inference/test_inference_tts.py",
    "inference/test_denoise.py",
    "inference/test_realtime.py",
    "llm/test_originals.py",
    "outside/test_tts.py",
    "outside/test_stt.py",
    "outside/test_realtime.py",
    "outside/test_denoise.py",
    "outside/test_llm.py",
)
CLASSES = (DeepgramTTS, LMNTTTS, CartesiaTTS, CartesiaSTT, SmallestAITTS, TTS, STT, Realtime, Denoise, ChatLLM, LLM)


def names_of_tests(path):
    """Names of the test functions of a file."""
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")}


@cache
def members():
    """Names of what each class of the package has, by the class's name."""
    found = {}
    for path in (ROOT / "voicetrio").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(_names_in(node))
    return found


def _names_in(node):
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each.name
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id
        elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
            yield each.attr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_of_a_class_is_there(path):
    of_class = members()
    named = set(re.findall(r"`([A-Z]\w+)\.(\w+)", path.read_text()))
    unknown = {(name, member) for name, member in named if name in of_class and member not in of_class[name]}
    assert not unknown


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
def test_each_row_says_what_how_it_sounds_what_instead_and_which_test(row):
    section = sections(ORIGINALS)[row]
    for part in ("**Original:**", "**Heard:**", "**Here:**", "**Tests:**"):
        assert part in section
    named = named_in(section)
    assert named
    assert all(name.startswith(f"test_{row.lower()}_") for name in named)


def test_each_test_of_a_row_is_named_in_its_row():
    named = set().union(*(names_of_tests(ROOT / "tests" / file) for file in FILES))
    tests = {name for name in named if re.match(r"test_[dlcmsgtnpr]\d+_", name)}
    assert tests == {name for row in ROWS for name in named_in(sections(ORIGINALS)[row])}


@pytest.mark.parametrize("cls", CLASSES)
def test_the_table_of_options_is_that_of_the_class(cls):
    section = PROVIDERS.partition(f"## {cls.__name__}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section, flags=re.MULTILINE)
    defaults = {field.name: field.default for field in attrs.fields(cls)}
    factories = {name: value.factory() for name, value in defaults.items() if isinstance(value, attrs.Factory)}
    written = {name: default for name, default in rows if name in defaults}
    assert set(written) == set(defaults)
    for name, value in defaults.items():
        shown = written[name]
        if value is attrs.NOTHING:
            assert shown == "required"
            continue
        assert (shown == repr(value)) or ast.literal_eval(shown) == value if name not in factories else shown


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not LLM])  # whose section refers to ChatLLM's
def test_each_section_tells_options_wire_and_limits(cls):
    section = PROVIDERS.partition(f"## {cls.__name__}\n")[2].partition("\n## ")[0]
    headings = re.findall(r"^### (\w+)", section, flags=re.MULTILINE)
    assert [heading for heading in headings if heading in ("Options", "On", "Limits")] == ["Options", "On", "Limits"]


@pytest.mark.parametrize("cls", CLASSES)
def test_the_docstring_tells_each_option(cls):
    told = "\n".join(base.__doc__ or "" for base in cls.__mro__)
    assert {field.name for field in attrs.fields(cls)} <= set(re.findall(r"^ {8}(\w+): ", told, flags=re.MULTILINE))
