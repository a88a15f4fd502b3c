"""The speech-to-text plugin of videosdk-agents, driven as its pipeline drives it.

What ``SpeechUnderstanding`` does with a chunk that the room delivers is done here: it is put into a bounded queue, and
a task takes it from there and gives it to the plugin, under a lock.  The format of the audio is published as the
room's input stream publishes it.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Heard, Listener, serve

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator


class VideoSDKSTT(Contender):
    """``CartesiaSTT.process_audio()``."""

    name = "videosdk-agents"
    runtime = "asyncio"
    providers = ("cartesia-stt",)
    packages = ("videosdk-agents", "videosdk-plugins-cartesia", "audio-resampler", "aiohttp")

    def load(self, provider: str) -> None:  # noqa: ARG002
        logging.disable(logging.ERROR)
        from videosdk.agents import audio_format
        from videosdk.plugins.cartesia import CartesiaSTT

        self._make, self._format = CartesiaSTT, audio_format

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Listener, None]:  # noqa: ARG002
        import asyncio

        self._format.publish(48_000, 2)
        stt = self._make(api_key="benchmark", base_url=url)

        async def on_transcript(response: Any) -> None:  # noqa: ASYNC124  # the plugin awaits it
            heard.put(response, 1)

        stt.on_stt_transcript(on_transcript)
        queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=100)

        async def consume() -> None:
            lock = asyncio.Lock()
            while True:
                chunk = await queue.get()
                async with lock:
                    await stt.process_audio(chunk)

        consumer = asyncio.create_task(consume())
        try:
            yield _Listener(queue)
        finally:
            consumer.cancel()
            await stt.aclose()


class _Listener(Listener):
    def __init__(self, queue: asyncio.Queue[bytes]) -> None:
        self._queue = queue

    async def give(self, pcm: bytes) -> None:
        self._queue.put_nowait(pcm)

    async def end(self) -> None:  # aclose() tells the server
        pass


if __name__ == "__main__":
    serve(VideoSDKSTT)
