"""The state of ``/v1/speak`` on one connection, without I/O and without time."""

import json
import os
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from voicetrio import DeepgramTTS
from voicetrio._dialect import Answered, Audio, Ended, Failed, GateOpened, MoreToSend, Pause
from voicetrio.errors import BadRequest, LinkClosed, ProtocolError, RateLimited

FLUSH = {"type": "Flush"}
CLEAR = {"type": "Clear"}


def speak(text):
    return {"type": "Speak", "text": text}


def flushed(number=0):
    return json.dumps({"type": "Flushed", "sequence_id": number})


def cleared(number=0):
    return json.dumps({"type": "Cleared", "sequence_id": number})


WARNING = json.dumps({"type": "Warning", "warn_code": "EXCESSIVE_FLUSH", "warn_msg": "too many flushes"})
WARNING_BY_THE_SPEC = json.dumps({"type": "Warning", "code": "EXCESSIVE_FLUSH", "description": "too many flushes"})


class Dialect:
    """A dialect with a clock of its own, whose steps are taken at once."""

    def __init__(self, **options):
        self.now = 0.0
        self.options = DeepgramTTS(**({"api_key": "key"} | options))
        self.it = self.options._new_dialect(lambda: self.now)

    def begin(self, turn):
        self.it.begin(turn, self.options)

    def take(self, steps):
        """What the steps say; a pause passes as it is waited for."""
        taken = []
        for step in steps:
            if isinstance(step, Pause):
                self.now += step.seconds
            taken.append(json.loads(step) if isinstance(step, str) else step)
        return taken

    def say(self, text):
        return self.take(self.it.say(text))

    def flush(self):
        return self.take(self.it.flush())

    def end(self):
        return self.take(self.it.end())

    def resume(self):
        return self.take(self.it.resume())

    def cancel(self, turn):
        return self.take(self.it.cancel(turn))

    def receive(self, message):
        return list(self.it.receive(message))


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
    assert dialect.receive(b"\1\0") == [Audio(-1, b"\1\0")]
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
    assert dialect.receive(b"\1\0") == [Audio(-1, b"\1\0")]
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
    assert dialect.receive(b"\1\0") == [Audio(-1, b"\1\0")]
    dialect.begin(1)
    assert dialect.receive(b"\1\0") == [Audio(-1, b"\1\0")]


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
    assert spoken(dialect, 4, "Text.") == [Pause(50), FLUSH]
    assert dialect.now == 61


def test_the_window_moves_on():
    dialect = Dialect(flush_limit=3, flush_window=60)
    spoken(dialect, 1, "Text.")
    dialect.receive(flushed(0))
    assert dialect.it.worn
    dialect.now = 59.9
    assert dialect.it.worn
    dialect.now = 60
    assert not dialect.it.worn


def test_text_over_the_characters_of_a_minute_waits_once_the_rest_is_flushed():
    dialect = Dialect(characters_per_minute=20, max_text=10)
    dialect.begin(1)
    said = dialect.say("12345678 12345678 12345678 ")
    assert said == [speak("12345678 "), speak("12345678 "), FLUSH, Pause(60), speak("12345678 ")]


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
    dialect.it.greet({"dg-request-id": "the-id"})
    spoken(dialect, 1, "One.")
    (event,) = dialect.receive(json.dumps({"type": "Error", **fields}))
    assert isinstance(event, Failed)
    assert event.turn is None  # it names none: everything on the connection is over
    assert (event.error.code, event.error.reason) == (code, words)
    assert (event.error.provider, event.error.request_id) == ("deepgram", "the-id")


def test_the_request_id_is_that_of_the_header_and_then_of_metadata():
    dialect = Dialect().it
    list(dialect.greet({"dg-request-id": "of-the-header"}))
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


# Any order of things


class Conversation(RuleBasedStateMachine):
    """A client that says, flushes, ends and cancels at will, and a server that answers when it likes.

    Audio is the text itself, each character a byte, and each turn says another letter: so it tells its turn.
    """

    def __init__(self):
        super().__init__()
        self.turn = 0
        self.steps = None  # of the call to the dialect that is under way
        self.speaking = False  # the turn is neither over nor cancelled
        self.complete = False  # end() was called
        self.said = self.got = b""
        self.to_server = deque()
        self.to_client = deque()
        self.buffer = b""
        self.flush_times = []
        self.numbers = {"Flushed": 0, "Cleared": 0}

    @initialize(
        early=st.booleans(),
        flushed_for_cleared=st.booleans(),
        shared=st.booleans(),
        restarting=st.booleans(),
        double=st.booleans(),
        late=st.booleans(),
        refuses=st.booleans(),
    )
    def choose(self, early, flushed_for_cleared, shared, restarting, double, late, refuses):
        self.early, self.double, self.late, self.refuses = early, double, late, refuses
        self.flushed_for_cleared, self.shared, self.restarting = flushed_for_cleared, shared, restarting
        self.dialect = Dialect(flush_limit=5, flush_window=10, characters_per_minute=40, max_text=8)

    # The client.

    @precondition(lambda self: not self.speaking and self.steps is None)
    @rule()
    def begin(self):
        self.turn += 1
        self.speaking, self.complete = True, False
        self.said = self.got = b""
        self.dialect.begin(self.turn)

    @precondition(lambda self: self.speaking and not self.complete and self.steps is None)
    @rule(length=st.integers(1, 12))
    def say(self, length):
        text = chr(ord("a") + self.turn % 26) * length
        self.said += text.encode()
        self.steps = self.dialect.it.say(text)

    @precondition(lambda self: self.speaking and not self.complete and self.steps is None)
    @rule()
    def flush(self):
        self.steps = self.dialect.it.flush()

    @precondition(lambda self: self.speaking and not self.complete and self.steps is None)
    @rule()
    def end(self):
        self.complete = True
        self.steps = self.dialect.it.end()

    @precondition(lambda self: self.steps is not None)
    @rule(count=st.integers(1, 4))
    def go_on(self, count):
        for _ in range(count):
            if self.steps is not None:
                self.take_step()

    def take_step(self):
        step = next(self.steps, None)
        if step is None:
            self.steps = None
        elif isinstance(step, Pause):
            self.dialect.now += step.seconds
        elif isinstance(step, Ended):
            self.ended(step)
        else:
            self.to_server.append(json.loads(step))

    @precondition(lambda self: self.speaking)
    @rule()
    def cancel(self):
        self.speaking, self.steps = False, None
        self.to_server.extend(json.loads(each) for each in self.dialect.it.cancel(self.turn))

    @precondition(lambda self: self.refuses)
    @rule(seconds=st.floats(0, 20))
    def wait(self, seconds):
        self.dialect.now += seconds

    # The server.

    @precondition(lambda self: self.to_server)
    @rule(count=st.integers(1, 4), cut=st.floats(0, 1))
    def serve(self, count, cut):
        for _ in range(min(count, len(self.to_server))):
            self.serve_one(cut)

    def serve_one(self, cut):
        message = self.to_server.popleft()
        if message["type"] == "Speak":
            self.buffer += message["text"].encode()
            if self.early:
                size = round(cut * len(self.buffer))
                self.utter(size)
        elif message["type"] == "Flush":
            self.serve_flush()
        else:
            self.serve_clear()

    def serve_flush(self):
        self.flush_times = [time for time in self.flush_times if time > self.dialect.now - 10]
        if self.refuses and len(self.flush_times) >= 2:
            self.to_client.append(WARNING)
            return
        self.flush_times.append(self.dialect.now)
        while self.buffer:
            self.utter(3)
        self.answer("Flushed")
        if self.double:
            self.to_client.append(self.to_client[-1])

    def serve_clear(self):
        """What was said is void; how much of what is queued still goes out is nobody's business."""
        late = self.buffer if self.late else b""
        self.buffer = b""
        if late:
            self.to_client.append(late)
        if self.flushed_for_cleared:
            self.answer("Flushed")
        self.answer("Cleared")
        if self.restarting:
            self.numbers = dict.fromkeys(self.numbers, 0)

    def utter(self, size):
        if size:
            self.to_client.append(self.buffer[:size])
            self.buffer = self.buffer[size:]

    def answer(self, kind):
        counter = "Flushed" if self.shared else kind
        self.to_client.append(json.dumps({"type": kind, "sequence_id": self.numbers[counter]}))
        self.numbers[counter] += 1

    @precondition(lambda self: self.to_client)
    @rule(count=st.integers(1, 6))
    def deliver(self, count):
        for _ in range(min(count, len(self.to_client))):
            self.deliver_one()

    def deliver_one(self):
        for event in self.dialect.receive(self.to_client.popleft()):
            if isinstance(event, Audio):
                self.hear(event)
            elif isinstance(event, Ended):
                self.ended(event)
            elif isinstance(event, MoreToSend):
                assert self.speaking
                assert event.turn == self.turn
                self.more = True
            elif isinstance(event, Answered):
                assert self.speaking
                assert event.turn == self.turn

    more = False

    @precondition(lambda self: self.more and self.speaking and self.complete and self.steps is None)
    @rule()
    def resume(self):
        self.more = False
        self.steps = self.dialect.it.resume()

    def hear(self, audio):
        """Only the turn that speaks may get audio, and only its own."""
        if audio.turn == -1:
            return
        assert self.speaking
        assert audio.turn == self.turn
        self.got += audio.pcm
        assert self.said.startswith(self.got), f"turn {self.turn} said {self.said} and heard {self.got}"

    def ended(self, event):
        assert self.speaking
        assert self.complete
        assert event.turn == self.turn
        assert self.got == self.said, "a turn ended before all of its audio had come"
        self.speaking = self.more = False
        self.steps = None

    @invariant()
    def owes_no_more_than_was_asked(self):
        if self.steps is None and not self.speaking:
            assert not self.dialect.it.awaiting

    @precondition(lambda self: self.turn % 3 == 0)  # not so often that turns never meet
    @rule()
    def settle(self):
        """All that is under way arrives and is answered."""
        while self.to_server or self.to_client or self.steps is not None:
            while self.steps is not None:
                self.take_step()
            while self.to_server:
                self.serve_one(0)
            while self.to_client:
                self.deliver_one()

    def teardown(self):
        """Once the server has answered everything, the turn is over."""
        self.settle()
        if self.speaking and not self.complete:
            self.end()
        self.settle()
        for _ in range(20):  # a refused flush is sent again until the server's window has moved on
            if not (self.more and self.speaking):
                break
            self.resume()
            self.settle()
        assert not self.speaking, "everything was answered, and the turn has not ended"


def test_any_interleaving_leaks_no_audio_and_ends_every_turn():
    """Seeded as all tests are; hypothesis prints the failing example."""
    settings_ = settings(
        max_examples=int(os.environ.get("VOICETRIO_EXAMPLES", "300")), stateful_step_count=60, deadline=None
    )
    run_state_machine_as_test(Conversation, settings=settings_)
