"""A sentence whose end the server does not tell is over a second after its last audio, whatever else is coming."""

import itertools

import trio
from deepgram_talk import Talk

from voicetrio import SmallestAITTS, open_audio_sink
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.simulators.smallest import SmallestOptions, SmallestSimulator

TEXT = (
    "This is the first sentence here. This is the second sentence, and it is a much longer one, as it goes on and on "
    "until it has come to its end. A third one."
)


async def test_the_audio_of_the_next_sentence_does_not_put_it_off(autojump_clock):
    heard = []

    class Heard(Talk):
        async def play(self, source):
            async for frame in source:
                heard.append(trio.current_time())
                await trio.sleep(frame.samples / frame.sample_rate)

    simulator = SmallestSimulator(SmallestOptions(end_marker="none", speed=1.2))
    async with simulator.serve_in_memory() as server, open_plain_nursery("the talk is over") as nursery:
        sink, source = open_audio_sink(24_000, max_seconds=0.5)
        nursery.start_soon(Heard(server, sink).play, source)
        async with SmallestAITTS(api_key="key", base_url=server.url).open(sink, dial=server.dial) as tts:
            spoken = await tts.synthesize(TEXT)
            await sink.drained()
    assert spoken.samples == sum(segment.samples for segment in server.segments)
    assert max(later - earlier for earlier, later in itertools.pairwise(heard)) < 1.1
