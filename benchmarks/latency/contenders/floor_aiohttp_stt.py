"""A floor: a bare websocket of aiohttp that speaks just enough of Cartesia's speech-to-text.

It takes every third sample of one channel and sends it: no mixing, no filter.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Heard, Listener, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class BareAiohttpSTT(Contender):
    """``aiohttp.ClientSession().ws_connect()``."""

    name = "bare aiohttp"
    runtime = "asyncio"
    providers = ("cartesia-stt",)
    packages = ("aiohttp",)

    def load(self, provider: str) -> None:  # noqa: ARG002
        import aiohttp

        self._aiohttp = aiohttp

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Listener, None]:  # noqa: ARG002
        import asyncio

        full = f"{url}?model=ink-whisper&encoding=pcm_s16le&sample_rate=16000&language=en"
        headers = {"X-API-Key": "benchmark", "Cartesia-Version": "2025-04-16"}
        async with self._aiohttp.ClientSession() as client, client.ws_connect(full, headers=headers) as socket:
            over = asyncio.Event()

            async def read() -> None:
                async for message in socket:
                    heard.put(message.data, 1)
                    if '"done"' in message.data:
                        over.set()

            reader = asyncio.create_task(read())
            try:
                yield _Listener(socket, over)
            finally:
                reader.cancel()


class _Listener(Listener):
    def __init__(self, socket: Any, over: Any) -> None:
        self._socket = socket
        self._over = over

    async def give(self, pcm: bytes) -> None:
        await self._socket.send_bytes(memoryview(pcm).cast("h")[::6].tobytes())

    async def end(self) -> None:
        await self._socket.send_str("done")
        await self._over.wait()


if __name__ == "__main__":
    serve(BareAiohttpSTT)
