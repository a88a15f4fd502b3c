"""A turn is cut off by a listener, and the next one follows at once on the same connection.

Runs against the simulator, so it needs no key.  For the real service leave the simulator out and set DEEPGRAM_API_KEY.
"""

import trio

from voicetrio import AudioSource, DeepgramTTS, open_audio_sink
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator


async def play(source: AudioSource) -> None:
    """Stand in for a loudspeaker: take each frame, and be busy for as long as it lasts."""
    async for frame in source:
        print(f"\rturn {frame.turn}: {frame.position / frame.sample_rate + frame.seconds:5.2f} s", end="")
        await trio.sleep(frame.seconds)


async def main() -> None:
    """Speak, be interrupted, speak again."""
    async with DeepgramSimulator(DeepgramOptions()).serve() as server:
        deepgram = DeepgramTTS(api_key="any", base_url=server.url)
        sink, source = open_audio_sink(sample_rate=16_000, max_seconds=0.5)
        async with deepgram.open(sink) as tts, trio.open_nursery() as nursery:
            nursery.start_soon(play, source)
            await tts.prewarm()
            with trio.move_on_after(0.6):  # any cancel scope is an interruption
                await tts.synthesize("Nobody will hear the whole of this sentence.")
            cut = tts.last_interruption
            assert cut is not None
            print(f"\ncut after {cut.seconds_heard:.2f} s; {cut.samples_dropped} samples dropped")
            spoken = await tts.synthesize("Go on.")
            assert spoken.timeline.time_to_first_audio is not None
            print(f"\nfirst audio of the next turn after {spoken.timeline.time_to_first_audio * 1000:.0f} ms")
            print(f"connections: {tts.statistics().connections}")
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
