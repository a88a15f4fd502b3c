"""The language model of videosdk-agents (``inference.LLM``), iterated over as its ``ContentGeneration`` does."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Heard, Model, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class VideoSDKLLM(Contender):
    """``inference.LLM().chat()``."""

    name = "videosdk-agents"
    runtime = "asyncio"
    providers = ("chat",)
    packages = ("videosdk-agents", "aiohttp")

    def load(self, provider: str) -> None:  # noqa: ARG002
        logging.disable(logging.ERROR)
        from videosdk.agents import ChatContext, ChatRole
        from videosdk.agents.inference import LLM

        self._make, self._context, self._role = LLM, ChatContext, ChatRole

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Model, None]:  # noqa: ARG002
        origin = url.removesuffix("/v1")
        model = self._make(provider="google", model_id="simulated", base_url=origin, auth_token="benchmark")
        try:
            yield _Model(model, self, heard)
        finally:
            await model.aclose()

    def context(self, text: str) -> Any:
        """A conversation of one message."""
        context = self._context.empty()
        context.add_message(role=self._role.USER, content=text)
        return context


class _Model(Model):
    def __init__(self, model: Any, contender: VideoSDKLLM, heard: Heard) -> None:
        self._model = model
        self._contender = contender
        self._heard = heard

    async def ask(self, text: str) -> None:
        async for response in self._model.chat(self._contender.context(text), tools=[], conversational_graph=None):
            if response.content:
                self._heard.put(response.content, len(response.content))


if __name__ == "__main__":
    serve(VideoSDKLLM)
