"""Language models behind VideoSDK's inference gateway: ``POST /v1/chat/completions?provider=…``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from .._link.endpoint import Endpoint
from .._options import endpoint_url, in_range, secret, shown_url, voice_name, web_address, whole_or_none
from ..chat_completions import check_tool_choice, json_fields
from ..llm import LLMProvider, ToolChoice
from ._gateway import NAME, provider_name, token_or_environment

DEFAULT_BASE_URL = "https://inference-gateway.videosdk.live"


def _base_url(url: str | None) -> str:
    return DEFAULT_BASE_URL if url is None else url


def _extra(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    return json_fields(fields or {})


@attrs.frozen(kw_only=True)
class LLM(LLMProvider):
    """Options of a language model behind the gateway.

    Attributes:
        provider: the vendor, by the gateway's name: ``"google"``, ``"sarvamai"`` or ``"videosdk"``.
        model_id: the model, such as ``"gemini-2.0-flash"``.
        temperature: 0 to 2.
        tool_choice: of chats with tools: ``"auto"``, ``"required"``, ``"none"``, or the name of a tool.
        max_output_tokens: of the answer; None for the vendor's limit.
        top_p: 0 to 1; None for the vendor's.
        top_k: tokens considered at each step; None for the vendor's.
        presence_penalty: -2 to 2; None for the vendor's.
        frequency_penalty: -2 to 2; None for the vendor's.
        base_url: of the gateway, or of another OpenAI-compatible server that has ``/v1/chat/completions``.
        config: further fields of a request.
        token: the VideoSDK token; by default the environment variable ``VIDEOSDK_AUTH_TOKEN``.

    Raises:
        ConfigurationError: if an option cannot be, or there is no token.
    """

    name: ClassVar[str] = NAME
    _of_the_session: ClassVar[frozenset[str]] = LLMProvider._of_the_session | {"base_url", "provider", "token"}

    provider: str = attrs.field(converter=provider_name, validator=voice_name)
    model_id: str = attrs.field(validator=voice_name)
    temperature: float = attrs.field(default=0.7, validator=[in_range(0, 2)])
    tool_choice: ToolChoice = attrs.field(default="auto", hash=False, validator=check_tool_choice)
    max_output_tokens: int | None = attrs.field(default=None, validator=whole_or_none(1, 10**9))
    top_p: float | None = attrs.field(default=None, validator=in_range(0, 1))
    top_k: int | None = attrs.field(default=None, validator=whole_or_none(1, 10**9))
    presence_penalty: float | None = attrs.field(default=None, validator=in_range(-2, 2))
    frequency_penalty: float | None = attrs.field(default=None, validator=in_range(-2, 2))
    base_url: str = attrs.field(default=None, converter=_base_url, validator=web_address, repr=shown_url)
    config: dict[str, Any] = attrs.field(default=None, hash=False, converter=_extra)
    token: str = attrs.field(default=None, repr=False, converter=token_or_environment, validator=secret)

    def __attrs_post_init__(self) -> None:
        self._endpoint()

    @classmethod
    def google(cls, *, model_id: str = "gemini-2.0-flash", **options: Any) -> LLM:
        """Options of Google's Gemini.

        Args:
            model_id: the model.
            options: others of :class:`LLM`, such as `temperature` and `token`.
        """
        return cls(provider="google", model_id=model_id, **options)

    @property
    def _tool_choice(self) -> ToolChoice:
        return self.tool_choice

    def _endpoint(self) -> Endpoint:
        query = {"provider": self.provider}
        url = endpoint_url(self.base_url, query, schemes=("http", "https"), path="/v1/chat/completions")
        authorization = ("Authorization", f"Bearer {self.token}")
        return Endpoint(url, (authorization, ("Accept", "text/event-stream")))

    def _body(self) -> dict[str, Any]:
        options = {
            "max_tokens": self.max_output_tokens,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
        }
        return {
            "model": self.model_id,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": self.temperature,
            **{key: each for key, each in options.items() if each is not None},
            **self.config,
        }

    def _response_format(self, _name: str, schema: dict[str, Any]) -> dict[str, Any]:
        # As the gateway's own client sends it; OpenAI's servers would want a name as well.
        return {"type": "json_object", "schema": schema}
