"""The state of ``/v1/speak`` on one connection, without I/O and without time."""

import json

import pytest
from deepgram_dialect import WARNING, Dialect

from voicetrio._dialect import Answered, Audio, Ended, Failed, GateOpened, Late, MoreToSend, Pause
from voicetrio.errors import BadRequest, LinkClosed, ProtocolError, RateLimited

FLUSH = {"type": "Flush"}
CLEAR = {"type": "Clear"}


def speak(text):
    return {"type": "Speak", "text": text}


def flushed(number=0):
    return json.dumps({"type": "Flushed", "sequence_id": number})


def cleared(number=0):
    return json.dumps({"type": "Cleared", "sequence_id": number})


WARNING_BY_THE_SPEC = json.dumps({"type": "Warning", "code": "EXCESSIVE_FLUSH", "description": "too many flushes"})


def spoken(dialect, turn, *texts):
    """Begin a turn, flush each text, and end it: `len(texts)` answers are owed."""
    dialect.begin(turn)
    for text in texts:
        dialect.say(text)
        dialect.flush()
    return dialect.end()


# Flushes and their answers


def test_a_turn_ends_when_as_many_flushes_are_answered_as_were_sent():
    dialect = Dialect()
    spoken(dialect, 1, "One. ", "Two. ", "Three.")
    assert dialect.receive(flushed(0)) == [Answered(1)]
    assert dialect.receive(b"\1\0") == [Audio(1, b"\1\0")]
    assert dialect.receive(flushed(1)) == [Answered(1)]
    assert dialect.it.awaiting
    assert dialect.receive(flushed(2)) == [Ended(1)]
    assert not dialect.it.awaiting


def test_answers_before_the_text_is_complete_end_nothing():
    dialect = Dialect()
    dialect.begin(1)
    dialect.say("One. ")
    dialect.flush()
    assert dialect.receive(flushed(0)) == [Answered(1)]
    assert not dialect.it.awaiting
    assert dialect.say("Two.") + dialect.end() == [speak("Two."), FLUSH]
    assert dialect.receive(flushed(1)) == [Ended(1)]


def test_a_text_that_ends_after_its_last_answer_ends_without_another_flush():
    dialect = Dialect()
    dialect.begin(1)
    dialect.say("One.")
    dialect.flush()
    dialect.receive(flushed(0))
    assert dialect.end() == [Ended(1)]


def test_no_flush_without_text_since_the_last():
    dialect = Dialect()
    dialect.begin(1)
    assert dialect.flush() == []
    dialect.say("One.")
    assert (dialect.flush(), dialect.flush()) == ([FLUSH], [])
    assert dialect.end() == []


def test_the_same_answer_twice_counts_once():
    dialect = Dialect()
    spoken(dialect, 1, "One. ", "Two.")
    assert dialect.receive(flushed(0)) == [Answered(1)]
    assert dialect.receive(flushed(0)) == []
    assert dialect.receive(flushed(1)) == [Ended(1)]
    spoken(dialect, 2, "Three.")
    assert dialect.receive(flushed(1)) == []
    assert dialect.receive(flushed(2)) == [Ended(2)]


def test_an_answer_without_a_number_counts():
    dialect = Dialect()
    spoken(dialect, 1, "One. ", "Two.")
    assert dialect.receive('{"type":"Flushed"}') == [Answered(1)]
    assert dialect.receive('{"type":"Flushed"}') == [Ended(1)]


def test_an_answer_that_nobody_waits_for_is_ignored():
    dialect = Dialect()
    assert dialect.receive(flushed(7)) == []
    spoken(dialect, 1, "One.")
    assert dialect.receive(flushed(8)) == [Ended(1)]
    assert dialect.receive(flushed(9)) == []


# Cancelling


def test_until_cleared_everything_is_of_the_past():
    dialect = Dialect()
    spoken(dialect, 1, "One. ", "Two.")
    assert dialect.cancel(1) == [CLEAR]
    assert dialect.it.gated
    spoken(dialect, 2, "Three.")
    assert dialect.receive(b"\1\0") == [Late(2)]
    assert dialect.receive(flushed(0)) + dialect.receive(flushed(1)) + dialect.receive(WARNING) == []
    assert dialect.receive(cleared()) == [GateOpened()]
    assert not dialect.it.gated
    assert dialect.receive(b"\2\0") == [Audio(2, b"\2\0")]
    assert dialect.receive(flushed(2)) == [Ended(2)]


def test_each_clear_has_its_own_answer():
    dialect = Dialect()
    for turn in (1, 2):
        spoken(dialect, turn, "Text.")
        assert dialect.cancel(turn) == [CLEAR]
    spoken(dialect, 3, "Three.")
    assert dialect.receive(cleared(0)) == [GateOpened()]
    assert dialect.receive(b"\1\0") == [Late(2)]
    assert dialect.receive(cleared(1)) == [GateOpened()]
    assert dialect.receive(b"\1\0") == [Audio(3, b"\1\0")]
    assert dialect.receive(cleared(2)) == []  # one that nobody asked for


@pytest.mark.parametrize("first", [0, 1, 5], ids=["restarting", "going on", "shared with Cleared"])
def test_numbers_may_start_again_after_a_clear(first):
    dialect = Dialect()
    spoken(dialect, 1, "One. ", "Two.")
    dialect.receive(flushed(0))
    dialect.cancel(1)
    dialect.receive(cleared())
    spoken(dialect, 2, "Three.")
    assert dialect.receive(flushed(first)) == [Ended(2)]


def test_text_that_was_not_flushed_is_cleared_too():
    dialect = Dialect()
    dialect.begin(1)
    dialect.say("Never flushed.")
    assert dialect.cancel(1) == [CLEAR]


def test_nothing_said_needs_no_clear():
    dialect = Dialect()
    dialect.begin(1)
    assert dialect.cancel(1) == []
    assert not dialect.it.gated


def test_only_the_turn_that_was_begun_last_can_be_cancelled():
    dialect = Dialect()
    spoken(dialect, 1, "One.")
    dialect.receive(flushed(0))
    spoken(dialect, 2, "Two.")
    assert dialect.cancel(1) == []
    assert dialect.receive(flushed(1)) == [Ended(2)]


def test_audio_of_a_turn_that_has_said_nothing_is_nobodys():
    dialect = Dialect()
    assert dialect.receive(b"\1\0") == [Late(2)]
    dialect.begin(1)
    assert dialect.receive(b"\1\0") == [Late(2)]


# Limits


def test_flushes_of_markers_are_merged_near_the_limit():
    dialect = Dialect(flush_limit=5)
    dialect.begin(1)
    flushes = []
    for number in range(6):
        dialect.say(f"{number}. ")
        flushes += dialect.flush()
    assert flushes == [FLUSH] * 3
    assert dialect.it.worn
    assert dialect.end() == [FLUSH]


def test_the_flush_that_ends_a_turn_waits_for_the_window():
    dialect = Dialect(flush_limit=3, flush_window=60)
    for turn in (1, 2, 3):
        dialect.now = turn
        assert spoken(dialect, turn, "Text.") == ([] if turn == 1 else [FLUSH])
        dialect.receive(flushed(turn))
    dialect.now = 11
    assert spoken(dialect, 4, "Text.") == [Pause(54), FLUSH]
    assert dialect.now == 65  # what was measured: a flush comes back after 64 seconds


def test_the_window_moves_on():
    dialect = Dialect(flush_limit=3, flush_window=60)
    spoken(dialect, 1, "Text.")
    dialect.receive(flushed(0))
    assert dialect.it.worn
    dialect.now = 63.9
    assert dialect.it.worn
    dialect.now = 64
    assert not dialect.it.worn


def test_text_over_the_characters_of_a_minute_waits_once_the_rest_is_flushed():
    dialect = Dialect(characters_per_minute=20, max_text=10)
    dialect.begin(1)
    said = dialect.say("12345678 12345678 12345678 ")
    assert said == [speak("12345678 "), speak("12345678 "), FLUSH, Pause(61), speak("12345678 ")]


@pytest.mark.parametrize("warning", [WARNING, WARNING_BY_THE_SPEC], ids=["wire", "spec"])
def test_a_refused_flush_that_ends_a_turn_is_sent_again_later(warning):
    dialect = Dialect(flush_limit=20, flush_window=60)
    spoken(dialect, 1, "One.")
    assert dialect.receive(warning) == [MoreToSend(1)]
    assert dialect.resume() == [Pause(3), FLUSH]
    assert dialect.receive(flushed(0)) == [Ended(1)]


def test_a_refused_flush_of_a_marker_is_made_up_for_by_the_next():
    dialect = Dialect()
    dialect.begin(1)
    dialect.say("One. ")
    dialect.flush()
    assert MoreToSend(1) not in dialect.receive(WARNING)
    assert dialect.end() == [FLUSH]
    assert dialect.receive(flushed(0)) == [Ended(1)]


def test_two_refused_flushes_are_made_up_for_by_one():
    dialect = Dialect()
    dialect.begin(1)
    dialect.say("One. ")
    dialect.flush()
    dialect.say("Two.")
    dialect.end()
    assert dialect.receive(WARNING) == [MoreToSend(1)]
    resumed = dialect.it.resume()
    first = next(resumed)
    dialect.receive(WARNING)  # while the dialect waits to try again
    assert dialect.take([first, *resumed]) == [Pause(3), FLUSH]
    assert FLUSH not in dialect.resume()
    assert dialect.receive(flushed(0)) == [Ended(1)]


def test_a_warning_of_something_else_refuses_nothing():
    dialect = Dialect()
    spoken(dialect, 1, "One.")
    assert dialect.receive('{"type":"Warning","warn_code":"SOMETHING_ELSE","warn_msg":"mind the gap"}') == []
    assert dialect.receive(flushed(0)) == [Ended(1)]


# Messages


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"FromTheFuture","since":2031}',
        '{"type":"Metadata","request_id":"id","model_name":"m","additional_model_uuids":[],"new":{"a":1}}',
        '{"type":"Metadata"}',
    ],
)
def test_what_is_new_is_ignored(message):
    assert Dialect().receive(message) == []


@pytest.mark.parametrize(
    "message", ["", "not JSON", "[]", "null", "{}", '{"type":5}', '{"type":"Flushed","sequence_id":"x"}']
)
def test_what_is_no_message_is_a_protocol_error(message):
    with pytest.raises(ProtocolError):
        Dialect().receive(message)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"description": "It broke.", "code": "BROKEN"}, "BROKEN", "It broke."),
        ({"err_code": "BROKEN", "err_msg": "It broke."}, "BROKEN", "It broke."),
        ({"message": "It broke."}, None, "It broke."),
        ({"code": 500}, "500", None),
        ({}, None, None),
    ],
)
def test_an_error_is_understood_in_every_shape(fields, code, words):
    dialect = Dialect()
    dialect.it.request_id = "the-id"
    spoken(dialect, 1, "One.")
    (event,) = dialect.receive(json.dumps({"type": "Error", **fields}))
    assert isinstance(event, Failed)
    assert event.turn is None  # it names none: everything on the connection is over
    assert (event.error.code, event.error.reason) == (code, words)
    assert (event.error.provider, event.error.request_id) == ("deepgram", "the-id")


def test_the_request_id_is_that_of_the_header_and_then_of_metadata():
    dialect = Dialect().it
    dialect.request_id = "of-the-header"  # the link's doing
    dialect.receive('{"type":"Metadata"}')
    assert dialect.request_id == "of-the-header"
    dialect.receive('{"type":"Metadata","request_id":"of-metadata"}')
    assert dialect.request_id == "of-metadata"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("DATA-0001: Too many characters", RateLimited),
        ("DATA-0000", BadRequest),
        ("BIG-0001", BadRequest),
        ("MESSAGE-0000", BadRequest),
        ("NET-0001", LinkClosed),
        (None, LinkClosed),
    ],
)
def test_the_reason_of_a_close_says_whose_fault_it_was(reason, kind):
    closed = LinkClosed("it ended", provider="deepgram", code=1011, reason=reason)
    explained = Dialect().it.explain(closed)
    assert type(explained) is kind
    assert (explained.code, explained.reason or None) == (1011, reason)


def test_good_bye_is_close():
    assert list(Dialect().it.farewell()) == ['{"type":"Close"}']
