"""Server-sent events: what WHATWG HTML 9.2 says, cut anywhere."""

import pytest

from voicetrio._sse import EventDecoder
from voicetrio.errors import ProtocolError

STREAM = (
    ": a comment\n"
    "event: audio\n"
    'data: {"audio": "été €𝄞"}\n'
    "id: 7\n"
    "\n"
    "data: two\n"
    "data:lines\n"
    "\n"
    "retry: 10\n"
    "\n"
    "data\n"
    "\n"
    "data:  a space is kept: and a colon\n"
    "nonsense\n"
    "\n"
)
EVENTS = ['{"audio": "été €𝄞"}', "two\nlines", "", " a space is kept: and a colon"]

endings = pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])


def decode(*pieces):
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@endings
def test_cut_at_every_byte(end):
    stream = STREAM.replace("\n", end).encode()
    for cut in range(len(stream) + 1):
        assert decode(stream[:cut], stream[cut:]) == EVENTS, cut


@endings
def test_byte_by_byte(end):
    stream = STREAM.replace("\n", end).encode()
    assert decode(*(bytes([byte]) for byte in stream)) == EVENTS


def test_cut_into_three_anywhere():
    stream = "data: é\r\n\r\ndata: b\r\n\r\n".encode()
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            pieces = stream[:first], stream[first:second], b"", stream[second:]
            assert decode(*pieces) == ["é", "b"], (first, second)


@pytest.mark.parametrize(
    "stream", [b"data: a\n\r\ndata: b\r\n\n", b"data: a\r\rdata: b\n\n", b"data: a\n\rdata: b\r\n\r"]
)
def test_line_ends_may_be_mixed(stream):
    for cut in range(len(stream) + 1):
        assert decode(stream[:cut], stream[cut:]) == ["a", "b"], cut


@endings
def test_an_event_is_there_as_soon_as_its_blank_line(end):
    decoder = EventDecoder()
    assert decoder.feed(f"data: now{end}".encode()) == []
    assert decoder.feed(end.encode()) == ["now"]


def test_a_byte_order_mark_is_passed_over_once():
    stream = b"\xef\xbb\xbfdata: a\n\n"
    for cut in range(len(stream) + 1):
        assert decode(stream[:cut], stream[cut:]) == ["a"], cut
    assert decode(b"data: \xef\xbb\xbfa\n\n") == ["\ufeffa"]
    assert decode(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n") == []


@pytest.mark.parametrize(
    "stream", [b"", b"\n", b"\n\n\n", b": ping\n\n", b":\n\n", b"event: audio\n\n", b"dataset: x\n\n"]
)
def test_what_has_no_data_is_no_event(stream):
    assert decode(stream) == []


def test_an_event_that_is_cut_off_is_none():
    assert decode(b"data: whole\n\ndata: half\n") == ["whole"]


def test_empty_lines_of_data_are_kept():
    assert decode(b"data:\ndata: a\ndata\n\n") == ["\na\n"]


def test_bytes_that_are_not_utf_8_are_replaced():
    assert decode(b"data: \xff\n\n") == ["\ufffd"]


def test_an_event_without_an_end_is_refused():
    decoder = EventDecoder()
    with pytest.raises(ProtocolError, match="8 MiB"):
        for _ in range(9):
            decoder.feed(b"data: " + b"x" * 2**20 + b"\n")


def test_a_long_stream_of_short_events_is_not():
    decoder = EventDecoder()
    event = b"data: " + b"x" * 2**20 + b"\n\n"
    assert sum(len(decoder.feed(event)) for _ in range(20)) == 20
