"""voicetrio."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import SAMPLE_RATE, Contender, Flush, Heard, Speaker, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

_PROVIDERS = {
    "deepgram": ("DeepgramTTS", "base_url", {"flush_limit": 1_000_000, "characters_per_minute": 100_000_000}),
    "lmnt": ("LMNTTTS", "ws_url", {}),
    "cartesia": ("CartesiaTTS", "base_url", {}),
    "smallest": ("SmallestAITTS", "base_url", {}),
}


class Voicetrio(Contender):
    """Sessions that speak into a sink, and a task that takes every frame of 20 ms as soon as it is there."""

    name = "voicetrio"
    runtime = "trio"
    providers = tuple(_PROVIDERS)
    packages = ("trio", "websockets", "numpy")

    def load(self, provider: str) -> None:
        import voicetrio

        self._make = getattr(voicetrio, _PROVIDERS[provider][0])
        self._open_sink = voicetrio.open_audio_sink
        self._marker = voicetrio.FlushMarker

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Speaker, None]:
        import trio

        _name, url_option, limits = _PROVIDERS[provider]
        sink, source = self._open_sink(SAMPLE_RATE, max_seconds=30.0)
        options = self._make(api_key="benchmark", **{url_option: url}, **limits)

        async def take() -> None:
            with contextlib.suppress(trio.EndOfChannel):
                while True:
                    frame = await source.receive()
                    with contextlib.suppress(trio.WouldBlock):
                        while True:
                            heard.put(frame.pcm, frame.samples)
                            frame = source.receive_nowait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            async with options.open(sink) as session:
                await session.prewarm()
                yield _Speaker(session, self._marker)
            sink.close()  # the consumer ends when it has taken what is left


class _Speaker(Speaker):
    def __init__(self, session: Any, marker: Any) -> None:
        self._session = session
        self._marker = marker

    async def speak(self, text: str) -> None:
        await self._session.synthesize(text)

    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        await self._session.synthesize(self._marked(pieces))

    async def _marked(self, pieces: AsyncIterable[str | type[Flush]]) -> AsyncGenerator[Any, None]:
        async for piece in pieces:
            yield self._marker() if piece is Flush else piece

    async def interrupt(self) -> None:
        self._session.interrupt()


if __name__ == "__main__":
    serve(Voicetrio)
