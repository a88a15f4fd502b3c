"""Deepgram's own SDK, asynchronous: the shortest correct loop around its socket, as its examples show it.

It has no notion of a turn or of an interruption; the loop sends Clear, drops what comes before Cleared, and goes on.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import SAMPLE_RATE, Contender, Flush, Heard, Speaker, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable


class DeepgramSDK(Contender):
    """``client.speak.v1.connect()``."""

    name = "deepgram-sdk"
    runtime = "asyncio"
    providers = ("deepgram",)
    packages = ("deepgram-sdk", "websockets")

    def load(self, provider: str) -> None:  # noqa: ARG002
        import deepgram
        from deepgram.speak.v1.types import SpeakV1Text

        self._deepgram = deepgram
        self._text = SpeakV1Text
        self._clients: dict[str, Any] = {}

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Speaker, None]:  # noqa: ARG002
        import asyncio

        origin = url.split("/", 3)[2]
        if origin not in self._clients:  # one for all sessions, as an application has it
            self._clients[origin] = self._client(origin)
        how = {"model": "aura-2-andromeda-en", "encoding": "linear16", "sample_rate": SAMPLE_RATE}
        async with self._clients[origin].speak.v1.connect(**how) as socket:
            speaker = _Speaker(socket, heard, self._text)
            reader = asyncio.create_task(speaker.read())
            try:
                yield speaker
            finally:
                reader.cancel()

    def _client(self, origin: str) -> Any:
        environment = self._deepgram.DeepgramClientEnvironment(
            base=f"http://{origin}", production=f"ws://{origin}", agent=f"ws://{origin}", agent_rest=f"http://{origin}"
        )
        return self._deepgram.AsyncDeepgramClient(api_key="benchmark", environment=environment)


class _Speaker(Speaker):
    def __init__(self, socket: Any, heard: Heard, text: Any) -> None:
        self._socket = socket
        self._heard = heard
        self._text = text
        self._clearing = 0
        self._flushes = 0
        self._over: Any = None

    async def read(self) -> None:
        """Take what comes, for as long as the session lasts."""
        async for message in self._socket:
            if isinstance(message, bytes):
                if not self._clearing:
                    self._heard.put(message, len(message) // 2)
            elif message.type == "Cleared":
                self._clearing -= 1
            elif message.type == "Flushed" and not self._clearing:
                self._flushes -= 1
                if not self._flushes and self._over is not None:
                    self._over.set()

    async def speak(self, text: str) -> None:
        import asyncio

        over = self._over = asyncio.Event()
        await self._socket.send_text(self._text(type="Speak", text=text))
        self._flushes = 1
        await self._socket.send_flush()
        await over.wait()

    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        import asyncio

        self._flushes, over = 1, asyncio.Event()  # one in reserve until the text has ended
        self._over = over
        async for piece in pieces:
            if isinstance(piece, str):
                await self._socket.send_text(self._text(type="Speak", text=piece))
            else:
                self._flushes += 1
                await self._socket.send_flush()
        self._flushes -= 1
        if self._flushes:
            await over.wait()

    async def interrupt(self) -> None:
        self._clearing += 1
        self._flushes = 0
        if self._over is not None:
            self._over.set()
        await self._socket.send_clear()


if __name__ == "__main__":
    serve(DeepgramSDK)
