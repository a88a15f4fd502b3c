"""OpenAI's own SDK, asynchronous."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Heard, Model, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class OpenAISDK(Contender):
    """``client.chat.completions.create(stream=True)``."""

    name = "openai-sdk"
    runtime = "asyncio"
    providers = ("chat",)
    packages = ("openai", "httpx")

    def load(self, provider: str) -> None:  # noqa: ARG002
        import openai

        self._openai = openai

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Model, None]:  # noqa: ARG002
        async with self._openai.AsyncOpenAI(api_key="benchmark", base_url=url) as client:
            yield _Model(client, heard)


class _Model(Model):
    def __init__(self, client: Any, heard: Heard) -> None:
        self._client = client
        self._heard = heard

    async def ask(self, text: str) -> None:
        chunks = await self._client.chat.completions.create(
            model="simulated",
            messages=[{"role": "user", "content": text}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            if chunk.choices and (piece := chunk.choices[0].delta.content):
                self._heard.put(piece, len(piece))


if __name__ == "__main__":
    serve(OpenAISDK)
