"""What the tests of recognizers stand on: a simulator, a session, a reader, and checks of what was sent and heard."""

import re
from contextlib import asynccontextmanager

import attrs
import trio

from voicetrio._link.nursery import open_plain_nursery
from voicetrio.errors import VoiceTrioError
from voicetrio.simulators import tagged_pcm
from voicetrio.transcript import Transcript

LEAVING = 1.0
"""Seconds in which a block must be left, whatever the server does."""

WORD = re.compile(r" w(\d+)(?:\[(\d+):(\d+)\])?")


class Watched(trio.abc.Stream):
    """A stream that knows whether it is open, and may be cut: after so many bytes sent, or received, TCP is gone."""

    def __init__(self, stream, streams, cut=None):
        self._stream = stream
        self._streams = streams
        self.direction, self.left = cut or (None, 0)
        streams.add(self)

    async def send_all(self, data):
        if self.direction == "send" and len(data) > self.left:
            await self._stream.send_all(bytes(data)[: self.left])
            await self._stream.aclose()
            raise trio.BrokenResourceError("cut")
        self.left -= len(data) if self.direction == "send" else 0
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes=None):
        data = await self._stream.receive_some(max_bytes)
        if self.direction == "receive":
            if len(data) > self.left:
                data, self.left = data[: self.left], 0
                await self._stream.aclose()
            self.left -= len(data)
        return data

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self):
        self._streams.discard(self)
        await self._stream.aclose()


class Stage:
    """What a test looks at.

    Attributes:
        heard: the events that were read, in order.
        error: with which the iteration ended.
        ended: the iteration has ended.
        given: samples given, at the wire's rate.
    """

    def __init__(self, case, server, cuts):
        self.case = case
        self.server = server
        self.session = None
        self.streams = set()
        self.dialled = 0
        self.heard = []
        self.error = None
        self.ended = trio.Event()
        self.given = 0
        self._cuts = cuts
        self._whole = False

    async def dial(self, host, port):
        self.dialled += 1
        return Watched(await self.server.dial(host, port), self.streams, next(self._cuts, None))

    async def read(self):
        try:
            async for event in self.session:
                self.heard.append(event)
        except VoiceTrioError as error:
            self.error = error
        self.ended.set()

    def behave(self, **options):
        """Change the simulator."""
        self.server.options = attrs.evolve(self.server.options, **options)

    async def talk(self, seconds, *, piece=0.02, pace=1.0):
        """Give tagged audio, each piece in its time."""
        until = self.given + round(seconds * self.case.rate)
        while self.given < until:
            count = min(round(piece * self.case.rate), until - self.given)
            await self.session.send_audio(tagged_pcm(0, self.given, count))
            self.given += count
            if pace:
                await trio.sleep(count / self.case.rate * pace)

    async def finish(self):
        """Finish, and read to the end; how it ended."""
        outcome = await self.session.finish()
        with trio.fail_after(1):
            await self.ended.wait()
        return outcome

    @property
    def finals(self):
        return [event for event in self.heard if isinstance(event, Transcript) and event.kind == "final"]

    @property
    def text(self):
        return "".join(event.text for event in self.finals)

    @property
    def word(self):
        """Samples of a word."""
        return round(self.server.options.word_ms * self.case.rate / 1000)

    def expected(self):
        """The samples of each word that was given."""
        options = self.server.options
        cycle = options.phrase_words + options.pause_words
        return [
            (number * self.word, min((number + 1) * self.word, self.given))
            for number in range(-(-self.given // self.word))
            if number % cycle < options.phrase_words
        ]

    def records(self, event):
        return [record for record in self.server.log if record["event"] == event]

    def check_whole(self):
        """Everything given was recognized once, in order; silence between phrases is no part of it.

        And, when the stage is left, what connections were sent goes on where it should.
        """
        assert join(samples_of(self.text, self.word)) == join(self.expected())
        self._whole = True  # a connection tells what it was sent when it ends

    def check_sent(self):
        """Each connection was sent samples without a gap or a repetition, from before the end of the last one's."""
        if not self._whole:
            return
        position = 0
        for record in sorted(self.records("audio"), key=lambda record: record["connection"]):
            runs = record["data"]["runs"]
            assert len(runs) <= 1, "a gap, or samples sent twice on one connection"
            if runs:
                _, start, count = runs[0]
                assert start <= position, "samples are missing between connections"
                position = max(position, start + count)
        assert position == self.given


def samples_of(text, length):
    """The samples that words tell of, `(begin, end)` each."""
    assert WORD.sub("", text) == "", f"torn words in {text!r}"
    found = []
    for number, begin, end in WORD.findall(text):
        base = int(number) * length
        found.append((base + int(begin), base + int(end)) if begin else (base, base + length))
    return found


def join(intervals):
    """Neighbouring intervals as one; they must be in order, and must not overlap."""
    joined = []
    for begin, end in intervals:
        assert not joined or begin >= joined[-1][1], f"{begin} comes again, or out of order: {joined[-1]}"
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


@asynccontextmanager
async def listening(case, *, faults=None, options=None, provider=None, how=None, cuts=(), read=True, simulator=None):
    """A simulator in memory, a session and its reader; leaving it checks that the session left nothing behind.

    Args:
        case: the recognizer.
        faults: of the simulator.
        options: of the simulator, by name.
        provider: options of the provider, by name.
        how: arguments of `open`, by name.
        cuts: for each connection, None or where it is cut: `("send", bytes)` or `("receive", bytes)`.
        read: whether somebody iterates.
        simulator: instead of the case's.
    """
    simulator = simulator or case.make_simulator(faults, **(options or {}))
    async with open_plain_nursery("the stage is left") as nursery:
        async with simulator.serve_in_memory(history=10**6) as server:
            it = Stage(case, server, iter(cuts))
            client = case.make_provider(server.url, **(provider or {}))
            async with client.open(**{"sample_rate": case.rate, "dial": it.dial, **(how or {})}) as it.session:
                if read:
                    nursery.start_soon(it.read)
                yield it
                leaving = trio.current_time()
            assert trio.current_time() - leaving <= LEAVING, "the block was not left in time"
            assert not it.streams, "a stream is still open"
            assert not it.session._nursery.child_tasks
            await trio.sleep(1)  # what was sent is read
        it.check_sent()


async def until(condition, seconds=60.0):
    """Wait for something that no event tells of."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
