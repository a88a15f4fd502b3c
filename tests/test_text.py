import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetrio.errors import InputError
from voicetrio.text import FlushMarker, check_chunk, split_text


@given(st.text(alphabet=st.sampled_from("ab \n\t。é😀"), max_size=200), st.integers(1, 40))
def test_pieces_join_to_the_text_and_none_is_too_long(text, limit):
    pieces = list(split_text(text, limit))

    assert "".join(pieces) == text
    assert all(0 < len(piece) <= limit for piece in pieces)


def test_pieces_end_behind_white_space_where_there_is_some():
    assert list(split_text("one two  three", 6)) == ["one ", "two  ", "three"]
    assert list(split_text("incomprehensible", 6)) == ["incomp", "rehens", "ible"]


@pytest.mark.parametrize("chunk", [None, 1, b"bytes", ["a"]])
def test_what_is_not_text_is_refused(chunk):
    with pytest.raises(InputError, match=type(chunk).__name__):
        check_chunk(chunk)


def test_a_lone_surrogate_is_refused_where_it_stands():
    with pytest.raises(InputError, match="index 2"):
        check_chunk("ab\ud800c")


def test_text_and_markers_pass():
    assert check_chunk("a") == "a"
    assert check_chunk(FlushMarker()) == FlushMarker()
