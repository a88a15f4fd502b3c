"""A session with the simulated Deepgram, in memory: what was put on the wire, and what was heard."""

import json
from contextlib import asynccontextmanager

import attrs
import trio

from voicetrio import DeepgramTTS, FlushMarker, open_audio_sink
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator, Faults, read_tags

FLUSH = FlushMarker()


async def chunks(*script):
    """A streamed text: strings and markers as they are, numbers as pauses in seconds."""
    for chunk in script:
        if isinstance(chunk, int | float):
            await trio.sleep(chunk)
        else:
            yield chunk


class Talk:
    """What a test looks at."""

    def __init__(self, server, sink):
        self.server = server
        self.sink = sink
        self.tts = None
        self.heard = []

    async def play(self, source):
        """Take frames as a loudspeaker does."""
        async for frame in source:
            self.heard.append(frame)
            await trio.sleep(frame.seconds)

    async def drained(self):
        """Wait until all that is queued was heard."""
        while self.sink.queued_seconds:  # noqa: ASYNC110 -- on a clock that jumps, polling costs nothing
            await trio.sleep(0.01)

    def pcm(self, turn):
        """What was heard of a turn."""
        return b"".join(frame.pcm for frame in self.heard if frame.turn == turn)

    def runs(self, turn):
        """What the audio heard of a turn says about itself: (segment, first sample, samples)."""
        return [tuple(run) for run in read_tags(self.pcm(turn))]

    def asked(self, *texts):
        """The runs of the segments with these texts, or of all, heard in full."""
        return [(each.number, 0, each.samples) for each in self.server.segments if not texts or each.text in texts]

    def events(self, event, connection=None):
        """Records of the server's log."""
        return [
            record
            for record in self.server.log
            if record["event"] == event and connection in (None, record["connection"])
        ]

    def sent(self, connection=None):
        """The client's messages."""
        return [json.loads(record["data"]["message"]) for record in self.events("received", connection)]

    def kinds(self, connection=None):
        """The types of the client's messages."""
        return [message["type"] for message in self.sent(connection)]

    def times(self, kind):
        """When the client's messages of a type arrived."""
        received = self.events("received")
        return [each["time"] for each in received if json.loads(each["data"]["message"])["type"] == kind]

    def queries(self):
        """The query parameters of the connections."""
        return [record["data"]["query"] for record in self.events("request")]


@asynccontextmanager
async def talk(*, provider=None, faults=None, **simulated):
    """A session with a simulator of these options; what is spoken is played in real, that is virtual, time."""
    simulator = DeepgramSimulator(DeepgramOptions(faults=Faults(**(faults or {})), **simulated))
    async with simulator.serve_in_memory() as server, open_plain_nursery("the talk is over") as nursery:
        deepgram = attrs.evolve(DeepgramTTS(api_key="key", base_url=server.url), **(provider or {}))
        sink, source = open_audio_sink(deepgram.sample_rate, max_seconds=0.5)
        it = Talk(server, sink)
        nursery.start_soon(it.play, source)
        async with deepgram.open(sink, dial=server.dial) as it.tts:
            yield it
            await it.drained()
