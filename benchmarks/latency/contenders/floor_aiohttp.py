"""A floor: a bare websocket of aiohttp that speaks just enough of Deepgram's protocol."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import SAMPLE_RATE, Contender, Flush, Heard, Speaker, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable


class BareAiohttp(Contender):
    """``aiohttp.ClientSession().ws_connect()``."""

    name = "bare aiohttp"
    runtime = "asyncio"
    providers = ("deepgram",)
    packages = ("aiohttp",)

    def load(self, provider: str) -> None:  # noqa: ARG002
        import aiohttp

        self._aiohttp = aiohttp

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Speaker, None]:  # noqa: ARG002
        import asyncio

        full = f"{url}?model=aura-2-andromeda-en&encoding=linear16&sample_rate={SAMPLE_RATE}"
        headers = {"Authorization": "Token benchmark"}
        async with self._aiohttp.ClientSession() as client, client.ws_connect(full, headers=headers) as socket:
            speaker = _Speaker(socket, heard)
            reader = asyncio.create_task(speaker.read())
            try:
                yield speaker
            finally:
                reader.cancel()


class _Speaker(Speaker):
    def __init__(self, socket: Any, heard: Heard) -> None:
        self._socket = socket
        self._heard = heard
        self._clearing = 0
        self._flushes = 0
        self._over: Any = None

    async def read(self) -> None:
        """Take what comes, for as long as the session lasts."""
        async for message in self._socket:
            if isinstance(message.data, bytes):
                if not self._clearing:
                    self._heard.put(message.data, len(message.data) // 2)
            elif '"Cleared"' in message.data:
                self._clearing -= 1
            elif '"Flushed"' in message.data and not self._clearing:
                self._flushes -= 1
                if not self._flushes:
                    self._over.set()

    async def speak(self, text: str) -> None:
        import asyncio

        over = self._over = asyncio.Event()
        self._flushes = 1
        await self._socket.send_str(f'{{"type":"Speak","text":"{text}"}}')
        await self._socket.send_str('{"type":"Flush"}')
        await over.wait()

    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        import asyncio

        self._flushes, over = 1, asyncio.Event()
        self._over = over
        async for piece in pieces:
            if isinstance(piece, str):
                await self._socket.send_str(f'{{"type":"Speak","text":"{piece}"}}')
            else:
                self._flushes += 1
                await self._socket.send_str('{"type":"Flush"}')
        self._flushes -= 1
        if self._flushes:
            await over.wait()

    async def interrupt(self) -> None:
        self._clearing += 1
        self._flushes = 0
        if self._over is not None:
            self._over.set()
        await self._socket.send_str('{"type":"Clear"}')


if __name__ == "__main__":
    serve(BareAiohttp)
