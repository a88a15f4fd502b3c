"""Deepgram's dialect in any order of things: a state machine plays its caller and its server."""

import json
import os
from collections import deque

from deepgram_dialect import WARNING, Dialect
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

from voicetrio._dialect import Answered, Audio, Ended, MoreToSend, Pause


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
    """A failing example is printed by hypothesis, as calls that can be pasted."""
    settings_ = settings(
        max_examples=int(os.environ.get("VOICETRIO_EXAMPLES", "150")), stateful_step_count=60, deadline=None
    )
    run_state_machine_as_test(Conversation, settings=settings_)
