"""One field of a JSON object, spoken while the object is arriving."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetrio._json_stream import FieldStream


def spoken(pieces, field="say"):
    stream = FieldStream(field)
    return "".join(map(stream.feed, pieces))


OBJECTS = [
    {"say": 'Hé "quoted" \\ back/slash\n\t\b\f\r 😀 \u0001 {}[],:', "other": 1},
    {"first": {"say": "not this"}, "list": [{"say": "nor this"}, "say"], "say": "this", "x": "say"},
    {"other": "say", "say": ""},
    {"say": None, "x": "no"},
    {"say": ["no"], "x": {"say": "no"}},
    {"say": {"say": "no"}},
    {'q"say': "no", "say": "yes"},
    {"\u0073ay\\": "no", "s\u0061y": "yes"},
    {},
]


@pytest.mark.parametrize("value", OBJECTS, ids=range(len(OBJECTS)))
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("fence", ["", "```json\n"])
def test_it_may_be_cut_anywhere(value, ascii_only, fence):
    text = fence + json.dumps(value, ensure_ascii=ascii_only)
    expected = value.get("say") if isinstance(value.get("say"), str) else ""
    for position in range(len(text) + 1):
        assert spoken([text[:position], text[position:]]) == expected
    assert spoken(text) == expected


@given(
    st.dictionaries(st.text(max_size=4) | st.just("say"), st.recursive(st.text() | st.none(), st.lists), max_size=4),
    st.text(),
    st.booleans(),
    st.sampled_from([None, 2]),
    st.lists(st.integers(0, 400), max_size=20),
)
def test_any_text_in_any_object_cut_anywhere(others, said, ascii_only, indent, positions):
    value = {**{name: each for name, each in others.items() if name != "say"}, "say": said}
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    edges = [0, *sorted(position % (len(text) + 1) for position in positions), len(text)]
    assert spoken([text[begin:end] for begin, end in itertools.pairwise(edges)]) == said


def test_text_is_given_as_soon_as_it_is_certain():
    stream = FieldStream("say")
    pieces = ['{"say', '": "a', "b\\", "n", "\\ud83d", "\\ude", "00", 'c"', ', "say": "no"}']
    assert [stream.feed(piece) for piece in pieces] == ["", "a", "b", "\n", "", "", "😀", "c", ""]


@pytest.mark.parametrize(
    ("escaped", "said"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ud83dx", "\ufffdx"),
        (r"\ud83d\n", "\ufffd\n"),
        (r"\uzzzz!", "\ufffd!"),
        (r"\q", "\ufffd"),
    ],
)
def test_what_is_no_character_is_replaced(escaped, said):
    text = f'{{"say": "{escaped}"}}'
    assert spoken([text]) == spoken(text) == said


def test_a_list_has_no_fields():
    assert spoken(['["say", "x", {"say": "no"}]']) == ""
