"""LMNT's own SDK, asynchronous: one session, whose turns end with the acknowledgement of their flush.

An interruption sends its reset and drops what comes before the acknowledgement.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import SAMPLE_RATE, Contender, Flush, Heard, Speaker, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable


class LmntSDK(Contender):
    """``client.speech.sessions.create()``."""

    name = "lmnt-sdk"
    runtime = "asyncio"
    providers = ("lmnt",)
    packages = ("lmnt", "websockets")

    def load(self, provider: str) -> None:  # noqa: ARG002
        import lmnt

        self._lmnt = lmnt
        self._clients: dict[str, Any] = {}

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Speaker, None]:  # noqa: ARG002
        import asyncio

        origin = url.split("/", 3)[2]
        if origin not in self._clients:  # one for all sessions, as an application has it
            self._clients[origin] = self._lmnt.AsyncLmnt(api_key="benchmark", base_url=f"http://{origin}")
        sessions = self._clients[origin].speech.sessions
        session = await sessions.create(voice="leah", format="pcm_s16le", sample_rate=SAMPLE_RATE)
        speaker = _Speaker(session, heard)
        reader = asyncio.create_task(speaker.read())
        try:
            yield speaker
        finally:
            reader.cancel()
            await session.close()


class _Speaker(Speaker):
    def __init__(self, session: Any, heard: Heard) -> None:
        self._session = session
        self._heard = heard
        self._resets: set[int] = set()
        self._last: int | None = None
        self._over: Any = None

    async def read(self) -> None:
        """Take what comes, for as long as the session lasts."""
        async for message in self._session:
            if message.type == "audio":
                if not self._resets:
                    self._heard.put(message.audio, len(message.audio) // 2)
            elif message.type == "reset_complete":
                self._resets.discard(message.nonce)
            elif message.type == "flush_complete" and message.nonce == self._last:
                self._over.set()

    async def speak(self, text: str) -> None:
        import asyncio

        self._last, over = None, asyncio.Event()
        self._over = over
        await self._session.send_text(text)
        self._last = await self._session.send_flush()
        await over.wait()

    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        import asyncio

        self._last, over, last = None, asyncio.Event(), None
        self._over = over
        async for piece in pieces:
            if isinstance(piece, str):
                await self._session.send_text(piece)
            else:
                last = await self._session.send_flush()
        # The last flush may have been answered during the pause behind the last piece; another one is always answered.
        del last
        self._last = await self._session.send_flush()
        await over.wait()

    async def interrupt(self) -> None:
        self._last = None
        self._resets.add(self._session.nonce + 1)
        if self._over is not None:
            self._over.set()
        await self._session.send_reset()


if __name__ == "__main__":
    serve(LmntSDK)
