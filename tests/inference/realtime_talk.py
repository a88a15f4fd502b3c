"""What tests of realtime models stand on: a simulated model, a session, and a player that knows every sample."""

from collections import defaultdict
from contextlib import asynccontextmanager

import attrs
import trio

from voicetrio import open_audio_sink
from voicetrio.errors import ClosedError, ProviderError
from voicetrio.inference import Realtime
from voicetrio.realtime import ReplyEnded, ReplyStarted
from voicetrio.simulators import Faults, read_tags
from voicetrio.simulators.gateway_realtime import GatewayRealtimeOptions, GatewayRealtimeSimulator

TOKEN = "a+token/that=nobody-may-see"
RATE = 24_000
_HANG = 5_000.0  # virtual seconds


def model(**options):
    return Realtime.gemini(**{"token": TOKEN, **options})


class Talk:
    """A session, its simulator, and what was heard.

    Attributes:
        heard: PCM by turn.
        events: that the session told, if they are read.
    """

    def __init__(self, server, sink, source, pace):
        self.server = server
        self.sink = sink
        self.source = source
        self.pace = pace
        self.heard = defaultdict(bytearray)
        self.events = []
        self.error = None
        self.session = None

    async def play(self):
        async for frame in self.source:
            self.take(frame)
            if self.pace:
                await trio.sleep(frame.seconds * self.pace)

    def take(self, frame):
        assert frame.position == len(self.heard[frame.turn]) // (2 * frame.channels), "a gap in the positions"
        assert frame.turn == max(self.heard), "a turn came back"
        self.heard[frame.turn] += frame.pcm

    def take_all(self):
        """Take what can be had now."""
        while True:
            try:
                self.take(self.source.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return

    def samples(self, turn):
        return len(self.heard[turn]) // 2

    async def read_events(self):
        try:
            async for event in self.session:
                self.events.append(event)
        except (ProviderError, ClosedError) as error:
            self.error = error

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def sent(self, kind=None):
        """What the client sent, but for audio and pictures."""
        records = [record["data"] for record in self.server.log if record["event"] == "received"]
        return [record for record in records if kind in (None, record["type"])]

    def logged(self, event):
        return [record["data"] for record in self.server.log if record["event"] == event]

    def check(self, *, complete=()):
        """Each turn is the beginning of one segment, in their order and none twice; of the complete, all of it."""
        segments = {segment.number: segment for segment in self.server.segments}
        before = -1
        for turn in sorted(self.heard):
            runs = read_tags(bytes(self.heard[turn]))
            if not runs:
                continue
            assert len(runs) == 1, f"turn {turn} is {runs}"
            assert runs[0].start == 0, f"turn {turn} is {runs}"
            assert runs[0].segment > before, f"turn {turn} is of segment {runs[0].segment}, after {before}"
            before = runs[0].segment
            if turn in complete:
                assert runs[0].length == segments[before].samples, f"turn {turn} lacks its end"
        for turn in complete:
            assert self.samples(turn), f"nothing of turn {turn}"

    def completed(self):
        """The turns that the events tell to be complete; each that began has ended once."""
        ended = [event.turn for event in self.of(ReplyEnded)]
        assert sorted(ended) == sorted(event.turn for event in self.of(ReplyStarted))
        return [event.turn for event in self.of(ReplyEnded) if str(event.outcome).startswith("completed")]


@asynccontextmanager
async def talking(
    *, provider=None, faults=None, pace=1.0, read=True, given=None, sink=None, tools=(), dial=None, **options
):
    options = {"first_audio": 0.05, "ms_per_char": 20, "api_key": TOKEN, **options}
    simulator = GatewayRealtimeSimulator(GatewayRealtimeOptions(faults=faults or Faults(), **options))
    async with simulator.serve_in_memory() as server:
        ours, source = sink or open_audio_sink(RATE)
        talk = Talk(server, ours, source, pace)
        provider = attrs.evolve(model() if provider is None else provider, base_url=server.url)
        async with trio.open_nursery() as nursery:
            if pace is not None:
                nursery.start_soon(talk.play)
            opened = provider.open(ours, dial=dial or server.dial, tools=tools, **(given or {}))
            async with opened as talk.session:
                if read:
                    nursery.start_soon(talk.read_events)
                with trio.fail_after(_HANG):
                    yield talk
            ours.close()
            if pace is not None:
                with trio.fail_after(120):
                    await ours.drained()
            nursery.cancel_scope.cancel()
