"""What the gateway's messages mean, and what belongs to a reply that was cancelled: no I/O."""

import base64
import json

import pytest

from voicetrio._realtime_dialect import (
    Asked,
    Audio,
    Began,
    Broken,
    Consumed,
    Heard,
    Over,
    Reported,
    Said,
    UserSpeech,
)
from voicetrio._realtime_events import EventLog, InputTranscript, OutputTranscript, UserSpeechStarted
from voicetrio.chat import ToolCall
from voicetrio.errors import ProtocolError
from voicetrio.inference._realtime_dialect import GatewayRealtimeDialect

STARTED, ENDED, STOPPED = "agent_speech_started", "agent_speech_ended", "response_interrupted"


def event(name, /, **data):
    return json.dumps({"type": "event", "data": {"eventType": name, **data}})


def audio(pcm=b"ab"):
    return json.dumps({"type": "audio", "data": {"audio": base64.b64encode(pcm).decode()}})


class Conversation:
    """Feeds a dialect: names of events, ``audio``, or ``!`` and a number for a cancellation with so many asked for."""

    def __init__(self, *, speaks=True):
        self.now = 0.0
        self.dialect = GatewayRealtimeDialect({}, speaks=speaks, clock=lambda: self.now)

    def hear(self, *what):
        events = []
        for each in what:
            if each.startswith("!"):
                assert [json.loads(message) for message in self.dialect.cancel(int(each[1:]))] == [
                    {"type": "interrupt"}
                ]
            else:
                events += self.dialect.receive(audio() if each == "audio" else event(each))
        return [type(event).__name__ for event in events]


A = "Audio"


@pytest.mark.parametrize(
    ("what", "events"),
    [
        # A reply, announced or not.
        ((STARTED, "audio", "audio", ENDED), ["Began", A, A, "Over"]),
        (("audio", ENDED, "audio"), [A, "Over", A]),
        ((STARTED, ENDED, ENDED), ["Began", "Over"]),
        # Cancelled: until the answer, the end of it, or the beginning of another.
        ((STARTED, "audio", "!0", "audio", STOPPED, STARTED, "audio"), ["Began", A, "Acknowledged", "Began", A]),
        ((STARTED, "audio", "!0", "audio", ENDED, STARTED, "audio"), ["Began", A, "Acknowledged", "Began", A]),
        ((STARTED, "audio", "!0", "audio", STARTED, "audio"), ["Began", A, "Acknowledged", "Began", A]),
        # Audio that follows an answer is late, where replies are announced.
        ((STARTED, "!0", STOPPED, "audio", STARTED, "audio"), ["Began", "Acknowledged", "Began", A]),
        (("audio", "!0", STOPPED, "audio"), [A, "Acknowledged", A]),
        # An answer that comes during the next reply is no barge-in, but after the user has spoken it is.
        ((STARTED, "!0", STARTED, "audio", STOPPED, "audio"), ["Began", "Acknowledged", "Began", A, A]),
        (
            (STARTED, "!0", STARTED, "audio", "user_speech_started", STOPPED, "audio"),
            ["Began", "Acknowledged", "Began", A, "UserSpeech", "BargedIn"],
        ),
        (
            (STARTED, "!0", STARTED, ENDED, STARTED, STOPPED),
            ["Began", "Acknowledged", "Began", "Over", "Began"],
        ),
        # Asked for and not begun: it may still begin.
        (
            (STARTED, ENDED, "!1", STARTED, "audio", ENDED, STARTED, "audio"),
            ["Began", "Over", "Acknowledged", "Began", A],
        ),
        ((STARTED, ENDED, "!1", STOPPED, STARTED, "audio"), ["Began", "Over", "Acknowledged", "Began", A]),
        ((STARTED, ENDED, "!1", STARTED, "audio", STARTED, "audio"), ["Began", "Over", "Acknowledged", "Began", A]),
        ((STARTED, "!1", ENDED, STARTED, "audio", ENDED, STARTED), ["Began", "Acknowledged", "Began"]),
        # Two cancellations, two answers.
        (
            (STARTED, "!0", "!1", STOPPED, STARTED, "audio", STOPPED, "audio", STARTED, "audio"),
            ["Began", "Acknowledged", "Acknowledged", "Began", A],
        ),
        # An answer to the first that comes late is not taken for one to the second.
        (
            ("audio", "!0", ENDED, "audio", "!0", STOPPED, "audio", STOPPED, "audio"),
            [A, "Acknowledged", A, "Acknowledged", A],
        ),
        (
            (STARTED, "!0", ENDED, "!1", STOPPED, STARTED, "audio", STOPPED, STARTED, "audio"),
            ["Began", "Acknowledged", "Acknowledged", "Began", A],
        ),
        # ... nor if the user has begun to speak.
        (
            ("audio", "!0", ENDED, "audio", "!0", "user_speech_started", STOPPED, "audio", STOPPED, "audio"),
            [A, "Acknowledged", A, "UserSpeech", "Acknowledged", A],
        ),
        (
            ("audio", "!0", ENDED, "audio", "user_speech_started", "!0", STOPPED, "audio", STOPPED, "audio"),
            [A, "Acknowledged", A, "UserSpeech", "Acknowledged", A],
        ),
        (
            (STARTED, "!0", ENDED, "!1", "user_speech_started", STOPPED, STARTED, "audio", STOPPED, STARTED, "audio"),
            ["Began", "Acknowledged", "UserSpeech", "Acknowledged", "Began", A],
        ),
        # The provider's own: what is left of the reply is dropped.
        ((STARTED, "audio", STOPPED, "audio", ENDED, STARTED, "audio"), ["Began", A, "BargedIn", "Began", A]),
        # Text of a cancelled reply is not told.
        ((STARTED, "!0", "output_transcription"), ["Began"]),
        (("nothing_known",), []),
    ],
)
def test_what_belongs_to_which_reply(what, events):
    assert Conversation().hear(*what) == events


@pytest.mark.parametrize(
    ("what", "certain"),
    [
        ((STARTED, "!0"), True),
        ((STARTED, "!1"), False),
        (("audio", "!0"), False),
        (("audio", "!0", STOPPED), True),
        ((STARTED, ENDED, "!1", STARTED), False),
        ((STARTED, ENDED, "!1", STARTED, ENDED), True),
        ((STARTED, ENDED, "!2", STOPPED), True),
    ],
)
def test_when_a_reply_can_be_told_from_those_that_were_cancelled(what, certain):
    conversation = Conversation()
    conversation.hear(*what)
    assert conversation.dialect.certain is certain


def test_what_each_message_is():
    dialect = GatewayRealtimeDialect({}, speaks=True, clock=lambda: 0.0)
    assert dialect.receive(audio(b"abc")) == (Audio(b"abc"),)
    assert dialect.receive(b"binary") == (Audio(b"binary"),)
    assert dialect.receive(audio(b"")) == ()
    assert dialect.receive(json.dumps({"type": "audio", "data": "YWI="})) == (Audio(b"ab"),)
    assert dialect.receive(event("user_speech_started")) == (UserSpeech(True),)
    assert dialect.receive(event("user_speech_ended")) == (UserSpeech(False),)
    assert dialect.receive(event("input_transcription", text="a")) == (Heard("a", False),)
    assert dialect.receive(event("user_transcript", text="ab")) == (Heard("ab", True),)
    assert dialect.receive(event("output_transcription", text="a")) == (Said("a", False),)
    assert dialect.receive(event("text_response", text="ab", is_final=True)) == (Said("ab", True),)
    assert dialect.receive(event("text_response", text="a")) == ()
    assert dialect.receive(event("usage_metadata", tokens=3)) == (Consumed({"tokens": 3}),)
    for odd in ({"text": None}, {"text": 3}, {}):
        assert dialect.receive(event("input_transcription", **odd)) == ()
    assert dialect.receive("success") == ()
    with pytest.raises(ProtocolError):
        dialect.receive(json.dumps({"type": "audio", "data": {"audio": "no base64!"}}))


@pytest.mark.parametrize(
    ("data", "call"),
    [
        ({"id": "1", "name": "f", "arguments": {"a": 1}}, ToolCall("1", "f", '{"a":1}')),
        ({"call_id": 7, "name": "f", "arguments": '{"a": 1}'}, ToolCall("7", "f", '{"a": 1}')),
        ({"name": "f", "args": {"a": 1}}, ToolCall("call-1", "f", '{"a":1}')),
        ({"tool_call_id": "x", "name": "f"}, ToolCall("x", "f", "{}")),
        ({"id": "1", "function": {"name": "f", "arguments": "{}"}}, ToolCall("1", "f", "{}")),
        ({"id": "1", "name": "f", "arguments": None}, ToolCall("1", "f", "{}")),
        ({"id": "1"}, None),
        ({"id": "1", "name": 3}, None),
    ],
)
def test_calls_of_every_sensible_shape(data, call):
    expected = () if call is None else (Asked(call),)
    assert GatewayRealtimeDialect({}, speaks=True, clock=lambda: 0.0).receive(event("tool_call", **data)) == expected
    assert (
        GatewayRealtimeDialect({}, speaks=True, clock=lambda: 0.0).receive(event("function_call", **data)) == expected
    )
    bare = json.dumps({"type": "tool_call", "data": data})
    assert GatewayRealtimeDialect({}, speaks=True, clock=lambda: 0.0).receive(bare) == expected


def test_text_alone_is_a_reply():
    conversation = Conversation(speaks=False)
    dialect = conversation.dialect
    assert dialect.receive(event("output_transcription", text="a ")) == (Began(), Said("a ", False))
    assert dialect.receive(event("text_response", text="a b", is_final=True)) == (Said("a b", True), Over())
    assert dialect.receive(event("text_response", text="c", is_final=True)) == (Began(), Said("c", True), Over())


def test_an_error_breaks_the_connection_if_nothing_worked_yet_or_nothing_will():
    error = json.dumps({"type": "error", "data": {"error": "Internal server error"}})
    refused = json.dumps({"type": "error", "message": "Unauthorized"})
    dialect = GatewayRealtimeDialect({}, speaks=True, clock=lambda: 0.0)
    assert isinstance(dialect.receive(error)[0], Broken)
    dialect.receive(event(STARTED))
    assert isinstance(dialect.receive(error)[0], Reported)
    assert isinstance(dialect.receive("error: something failed")[0], Reported)
    assert isinstance(dialect.receive(refused)[0], Broken)


@pytest.mark.parametrize(("seconds", "means"), [(1.9, []), (2.1, ["BargedIn"])])
def test_an_answer_is_waited_for_as_long_as_one_may_take(seconds, means):
    conversation = Conversation()
    assert conversation.hear(STARTED, "!0") == ["Began"]
    conversation.now += 1.5
    assert conversation.hear(STARTED) == ["Acknowledged", "Began"]  # it has heard of it now
    conversation.now += seconds
    assert conversation.hear(STOPPED) == means


def test_late_audio_is_counted():
    conversation = Conversation()
    conversation.hear(STARTED, "audio", "!0", "audio", "audio", STOPPED, "audio")
    assert conversation.dialect.late_bytes == 6


def test_of_events_that_nobody_reads_the_least_is_lost():
    log = EventLog(3)
    log.put(UserSpeechStarted())
    log.put(InputTranscript("a", False))
    log.put(InputTranscript("ab", True))
    log.put(OutputTranscript("x", "x", False, 1))
    assert [log.take() for _ in range(3)] == [
        UserSpeechStarted(),
        InputTranscript("ab", True),
        OutputTranscript("x", "x", False, 1),
    ]
    for number in range(5):
        log.put(InputTranscript(str(number), True))
    assert [log.take().text for _ in range(len(log))] == ["2", "3", "4"]
    assert log.dropped == 3
