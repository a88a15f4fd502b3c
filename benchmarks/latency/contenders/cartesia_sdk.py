"""Cartesia's own SDK, asynchronous: one connection, a context for each turn, cancelled on an interruption."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import SAMPLE_RATE, Contender, Flush, Heard, Speaker, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

_HOW = {
    "model_id": "sonic-3.5",
    "voice": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b",
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": SAMPLE_RATE},
    "language": "en",
}


class CartesiaSDK(Contender):
    """``client.tts.websocket_connect()``."""

    name = "cartesia-sdk"
    runtime = "asyncio"
    providers = ("cartesia",)
    packages = ("cartesia", "websockets")

    def load(self, provider: str) -> None:  # noqa: ARG002
        import cartesia

        self._cartesia = cartesia
        self._clients: dict[str, Any] = {}

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Speaker, None]:  # noqa: ARG002
        origin = url.split("/", 3)[2]
        if origin not in self._clients:  # one for all sessions, as an application has it
            self._clients[origin] = self._cartesia.AsyncCartesia(
                api_key="benchmark", websocket_base_url=f"ws://{origin}"
            )
        async with self._clients[origin].tts.websocket_connect() as connection:
            yield _Speaker(connection, heard)


class _Speaker(Speaker):
    def __init__(self, connection: Any, heard: Heard) -> None:
        self._connection = connection
        self._heard = heard
        self._context: Any = None
        self._turn: Any = None

    async def _take(self, context: Any) -> None:
        async for event in context.receive():
            if event.type == "chunk" and event.audio and context is self._context:
                self._heard.put(event.audio, len(event.audio) // 2)

    async def speak(self, text: str) -> None:
        context = self._context = self._connection.context(**_HOW)
        await context.push(text)
        await context.no_more_inputs()
        await self._until_over(context)

    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        import asyncio

        context = self._context = self._connection.context(**_HOW)
        taking = asyncio.create_task(self._take(context))
        async for piece in pieces:
            if isinstance(piece, str):
                await context.push(piece, flush=True)
        await context.no_more_inputs()
        await taking

    async def _until_over(self, context: Any) -> None:
        import asyncio

        self._turn = asyncio.create_task(self._take(context))
        await asyncio.wait([self._turn])
        if not self._turn.cancelled():
            self._turn.result()

    async def interrupt(self) -> None:
        context, self._context = self._context, None
        self._turn.cancel()
        await context.cancel()


if __name__ == "__main__":
    serve(CartesiaSDK)
