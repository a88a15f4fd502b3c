"""Speak text as a language model would give it: token by token, with markers where a sentence ends.

Runs against the simulator and writes what was spoken to a WAV file.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from voicetrio import AudioSource, DeepgramTTS, FlushMarker, WavWriter, open_audio_sink
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator


async def tokens() -> AsyncIterator[str | FlushMarker]:
    """Stand in for a language model."""
    for token in ["Tok", "ens ", "come ", "one by ", "one. ", FlushMarker(), "And a ", "second ", "sentence."]:
        await trio.sleep(0.02)
        yield token


async def record(source: AudioSource, path: Path) -> None:
    """Write everything to a file."""
    with WavWriter(path, source.format) as wav:
        async for frame in source:
            wav.write(frame)


async def main(path: Path) -> None:
    """Speak one streamed turn."""
    async with DeepgramSimulator(DeepgramOptions()).serve() as server, trio.open_nursery() as nursery:
        sink, source = open_audio_sink(sample_rate=24_000)
        nursery.start_soon(record, source, path)
        with sink:  # leaving it ends the recording once everything was taken
            async with DeepgramTTS(api_key="any", base_url=server.url).open(sink) as tts:
                spoken = await tts.synthesize(tokens())
    print(f"{spoken.outcome}: {spoken.seconds:.2f} s in {path}")
    for station, seconds in spoken.timeline.parts().items():
        print(f"  {station:13} {seconds * 1000:7.1f} ms")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else "spoken.wav"))
