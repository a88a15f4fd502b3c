"""voicetrio's language models: a session, and an answer that is iterated over."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Heard, Model, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class VoicetrioLLM(Contender):
    """``ChatLLM.open()``."""

    name = "voicetrio"
    runtime = "trio"
    providers = ("chat",)
    packages = ("trio", "httpx", "h11", "msgspec")

    def load(self, provider: str) -> None:  # noqa: ARG002
        from voicetrio import ChatContext, ChatLLM

        self._make, self._context = ChatLLM, ChatContext

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Model, None]:  # noqa: ARG002
        options = self._make(model="simulated", base_url=url, api_key="benchmark")
        async with options.open() as session:
            await session.prewarm()
            yield _Model(session, self._context, heard)


class _Model(Model):
    def __init__(self, session: Any, context: Any, heard: Heard) -> None:
        self._session = session
        self._context = context
        self._heard = heard

    async def ask(self, text: str) -> None:
        async with self._session.chat(self._context().user(text)) as reply:
            async for piece in reply:
                self._heard.put(piece, len(piece))


if __name__ == "__main__":
    serve(VoicetrioLLM)
