"""voicetrio's speech-to-text: a session that is given frames, and a task that reads its events."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Heard, Listener, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class VoicetrioSTT(Contender):
    """``CartesiaSTT.open(sample_rate=48_000, channels=2)``."""

    name = "voicetrio"
    runtime = "trio"
    providers = ("cartesia-stt",)
    packages = ("trio", "websockets", "numpy", "samplerate")

    def load(self, provider: str) -> None:  # noqa: ARG002
        from voicetrio import CartesiaSTT

        self._make = CartesiaSTT

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Listener, None]:  # noqa: ARG002
        import trio

        options = self._make(api_key="benchmark", base_url=url)

        async def read(session: Any) -> None:
            async for event in session:
                heard.put(event, 1)

        async with options.open(sample_rate=48_000, channels=2) as session, trio.open_nursery() as nursery:
            nursery.start_soon(read, session)
            yield _Listener(session)
            nursery.cancel_scope.cancel()


class _Listener(Listener):
    def __init__(self, session: Any) -> None:
        self._session = session

    async def give(self, pcm: bytes) -> None:
        await self._session.send_audio(pcm)

    async def end(self) -> None:
        await self._session.finish()


if __name__ == "__main__":
    serve(VoicetrioSTT)
