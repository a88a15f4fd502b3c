"""What the contract's tests stand on: a simulator, a session, and a player that checks what it plays."""

import collections
import math
from contextlib import asynccontextmanager

import attrs
import numpy as np
import trio

from voicetrio import AudioFrame, open_audio_sink
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.resample import Resampler

LEAVING = 1.0
"""Seconds in which a block must be left, whatever the server does."""


class Dialer:
    """Dials, and knows which streams are open; each takes `delay` seconds."""

    delay = 0.0

    def __init__(self, dial, wrap=lambda stream: stream):
        self.dialled = 0
        self.open = set()
        self._dial = dial
        self._wrap = wrap

    async def __call__(self, host, port):
        self.dialled += 1
        await trio.sleep(self.delay)
        stream = _Watched(self._wrap(await self._dial(host, port)), self.open)
        self.open.add(stream)
        return stream


class _Watched(trio.abc.Stream):
    def __init__(self, stream, open_streams):
        self._stream = stream
        self._open = open_streams

    async def send_all(self, data):
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self):
        self._open.discard(self)
        await self._stream.aclose()


@attrs.frozen
class Taken:
    """A frame, and when it was taken."""

    frame: AudioFrame
    at: float


class Player:
    """Takes frames, as a loudspeaker does or faster, and checks that they are in order.

    Args:
        source: where from.
        pace: seconds between frames, as a multiple of their length.
    """

    def __init__(self, source, pace=1.0):
        self.source = source
        self.pace = pace
        self.taken = []
        self.ended = trio.Event()
        self._samples = collections.Counter()

    async def play(self):
        try:
            async for frame in self.source:
                self.take(frame)
                if self.pace:
                    await trio.sleep(frame.seconds * self.pace)
        except trio.ClosedResourceError:
            pass
        self.ended.set()

    def take(self, frame):
        fmt = self.source.format
        assert (frame.sample_rate, frame.channels) == (fmt.sample_rate, fmt.channels)
        assert frame.pcm, "an empty frame"
        assert frame.position == self.samples(frame.turn), "a gap in the positions"
        assert not self.taken or frame.turn >= self.taken[-1].frame.turn, "a turn came back"
        self.taken.append(Taken(frame, trio.current_time()))
        self._samples[frame.turn] += frame.samples

    def take_all(self):
        """Take what can be had now, without waiting."""
        while True:
            try:
                self.take(self.source.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return

    def pcm(self, turn):
        return b"".join(taken.frame.pcm for taken in self.taken if taken.frame.turn == turn)

    def samples(self, turn):
        return self._samples[turn]


class Stage:
    """What a test looks at, and its session.

    Attributes:
        turn: number of the turn asked for last, on a sink of its own.
    """

    def __init__(self, case, server, sink, player, dialer):
        self.case = case
        self.server = server
        self.sink = sink
        self.player = player
        self.dialer = dialer
        self.session = None

    def behave(self, **options):
        """Change the simulator."""
        self.server.options = attrs.evolve(self.server.options, **options)

    def segments(self, text):
        """The segments in which this text was asked for, the last time that it was."""
        segments = self.server.segments
        for first in reversed(range(len(segments))):
            for last in range(first + 1, len(segments) + 1):
                if "".join(segment.text for segment in segments[first:last]).strip() == text.strip():
                    return segments[first:last]
        return []

    def audio(self, text, rate=None):
        """What this text should sound like at the sink's rate."""
        pcm = b"".join(map(self.case.audio, self.segments(text)))
        rate = rate or self.case.rate
        if self.sink.format.sample_rate == rate:
            return pcm
        resampler = Resampler(rate, self.sink.format.sample_rate, quality=self.sink.quality)
        return resampler.process(pcm) + resampler.flush()

    async def speak(self, text, **how):
        """A whole turn, which must be exact."""
        spoken = await self.session.synthesize(text, **how)
        await self.check_whole(spoken, text)
        return spoken

    async def speak_streamed(self, *script):
        """A whole turn of streamed text, see :func:`chunks`, which must be exact."""
        spoken = await self.session.synthesize(chunks(*script))
        await self.check_whole(spoken, "".join(chunk for chunk in script if isinstance(chunk, str)))
        return spoken

    async def check_whole(self, spoken, text, rate=None):
        """Every sample of a completed turn, and no other, was heard."""
        assert spoken.outcome == self.case.outcome
        await until(lambda: self.player.samples(spoken.turn) >= spoken.samples)
        expected = self.audio(text, rate)
        assert len(expected) == 2 * spoken.samples > 0
        assert len(self.player.pcm(spoken.turn)) == len(expected)
        assert self._same(self.player.pcm(spoken.turn), expected, rate)

    def check_cut(self, turn, text, rate=None):
        """What was heard of an interrupted turn is a beginning of it; how many samples that is."""
        heard = self.player.pcm(turn)
        assert self._same(heard, self.audio(text, rate)[: len(heard)], rate), "not the beginning of its own audio"
        return len(heard) // 2

    def _same(self, heard, expected, rate):
        if heard == expected or self.sink.format.sample_rate == (rate or self.case.rate):
            return heard == expected
        # A resampler fed in other pieces may round the last bit otherwise.
        samples, wanted = (np.frombuffer(pcm, "<i2").astype(np.int32) for pcm in (heard, expected))
        return len(samples) == len(wanted) and int(np.abs(samples - wanted).max(initial=0)) <= 1

    def commands(self, kind=None):
        """The text messages that the simulator has received."""
        received = [entry["data"]["message"] for entry in self.server.log if entry["event"] == "received"]
        return [message for message in received if kind is None or f'"{kind}"' in message]


@asynccontextmanager
async def stage(case, *, faults=None, options=None, provider=None, sink=None, pace=1.0, wrap=lambda stream: stream):
    """A simulator in memory, a player, and a session; leaving it checks that the session left nothing behind.

    Args:
        case: the provider.
        faults: of the simulator.
        options: of the simulator, by name.
        provider: options of the provider, by name.
        sink: arguments of `open_audio_sink`, by name.
        pace: of the player; None for no player.
        wrap: what to put around each stream that is dialled.
    """
    simulator = case.make_simulator(faults, **(options or {}))
    async with open_plain_nursery("the stage is left") as nursery, simulator.serve_in_memory() as server:
        audio_sink, source = open_audio_sink(**{"sample_rate": case.rate, "max_seconds": 0.5, **(sink or {})})
        player = Player(source, pace or 0.0)
        it = Stage(case, server, audio_sink, player, Dialer(server.dial, wrap))
        if pace is not None:
            nursery.start_soon(player.play)
        client = case.make_provider(server.url, **(provider or {}))
        async with client.open(audio_sink, dial=it.dialer) as it.session:
            yield it
            leaving = trio.current_time()
        assert trio.current_time() - leaving <= LEAVING, "the block was not left in time"
        assert not it.dialer.open, "a stream is still open"
        assert not it.session._nursery.child_tasks
        audio_sink.close()
        if pace is not None:
            with trio.fail_after(60):
                await player.ended.wait()


async def until(condition, seconds=60.0):
    """Wait for something that no event tells of."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def chunks(*script):
    """A streamed text: strings and markers as they are, numbers as pauses in seconds, exceptions raised."""
    for chunk in script:
        if isinstance(chunk, int | float):
            await trio.sleep(chunk)
        elif isinstance(chunk, Exception):
            raise chunk
        else:
            yield chunk


class Striker(trio.abc.Instrument):
    """Call `act` at one moment of what trio schedules, the `at`-th at which `when` holds; `after` from then on at each.

    The moments are before and after each step of each task.  So some of them are between the end of a turn and the next
    step of its caller: a deadline, or a task of the same batch, can cancel just then.
    """

    def __init__(self, at, act, after, when=lambda: True):
        self.at = at
        self.reached = 0
        self._act = act
        self._after = after
        self._when = when
        self._error = None

    @property
    def struck(self):
        return self.reached >= self.at

    def __enter__(self):
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_):
        trio.lowlevel.remove_instrument(self)
        if self._error is not None:
            raise self._error

    def _moment(self, _task):
        try:
            if not self.struck and self._when():
                self.reached += 1
                if self.struck:
                    self._act()
            if self.struck:
                self._after()
        except Exception as error:  # noqa: BLE001 - trio would log it and remove the instrument
            self._error = self._error or error

    before_task_step = after_task_step = _moment


async def speak_into(session, text, scope, result):
    """Speak within a scope, and note how it ended."""
    with scope:
        spoken = await session.synthesize(text)
        result["outcome"] = spoken.outcome
    if scope.cancelled_caught:
        result["cancelled"] = True


class Narrow(trio.abc.Stream):
    """Passes on single bytes; while `room` is 0, it is as full as a socket whose peer does not read."""

    def __init__(self, stream):
        self.room = math.inf
        self._stream = stream
        self._widened = trio.lowlevel.ParkingLot()

    def widen(self):
        self.room = math.inf
        self._widened.unpark_all()

    async def send_all(self, data):
        if self.room >= len(data):
            self.room -= len(data)
            await self._stream.send_all(data)
            return
        for byte in bytes(data):
            while not self.room:
                await self._widened.park()
            self.room -= 1
            await self._stream.send_all(bytes([byte]))

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self):
        await self._stream.aclose()


class Narrows(list):
    def __call__(self, stream):
        self.append(Narrow(stream))
        return self[-1]
