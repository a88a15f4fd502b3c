"""A floor: aiohttp reads the lines of an event stream and decodes their JSON."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Heard, Model, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class BareAiohttpLLM(Contender):
    """``aiohttp.ClientSession().post()``."""

    name = "bare aiohttp"
    runtime = "asyncio"
    providers = ("chat",)
    packages = ("aiohttp",)

    def load(self, provider: str) -> None:  # noqa: ARG002
        import aiohttp

        self._aiohttp = aiohttp

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Model, None]:  # noqa: ARG002
        async with self._aiohttp.ClientSession(headers={"Authorization": "Bearer benchmark"}) as client:
            yield _Model(client, f"{url}/chat/completions", heard)


class _Model(Model):
    def __init__(self, client: Any, url: str, heard: Heard) -> None:
        self._client = client
        self._url = url
        self._heard = heard

    async def ask(self, text: str) -> None:
        body = {"model": "simulated", "stream": True, "messages": [{"role": "user", "content": text}]}
        async with self._client.post(self._url, json=body) as response:
            async for line in response.content:
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:])["choices"]
                    if choices and (piece := choices[0]["delta"].get("content")):
                        self._heard.put(piece, len(piece))


if __name__ == "__main__":
    serve(BareAiohttpLLM)
