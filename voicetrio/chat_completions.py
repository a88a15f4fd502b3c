"""Language models behind an OpenAI-compatible server: ``POST {base_url}/chat/completions``.

OpenAI's own, and any other that speaks its protocol: Ollama (``http://localhost:11434/v1``), vLLM
(``http://localhost:8000/v1``), llama.cpp's server (``http://localhost:8080/v1``), and those of other vendors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import attrs
import msgspec

from ._link.endpoint import Endpoint
from ._options import (
    endpoint_url,
    in_range,
    key_or_environment,
    pairs,
    secret,
    shown_url,
    truth,
    voice_name,
    web_address,
    whole_or_none,
)
from ._schema import strict
from .errors import ConfigurationError
from .llm import LLMProvider, ToolChoice

DEFAULT_BASE_URL = "https://api.openai.com/v1"

# What belongs to a chat, or has an option of its own.
_OURS = frozenset({"messages", "model", "n", "response_format", "stream", "tools"})


def json_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of what a request carries besides, as JSON will carry it.

    Raises:
        ConfigurationError: if it is no object of JSON, or has fields that are not the caller's.
    """
    try:
        copy = msgspec.convert(msgspec.json.decode(msgspec.json.encode(fields)), dict[str, Any])
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"extra fields of a request must be a mapping that JSON can carry: {error}") from None
    if double := sorted(_OURS & copy.keys()):
        raise ConfigurationError(f"extra must not contain {', '.join(double)}")
    return copy


def check_tool_choice(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check how tools are chosen."""
    if not isinstance(value, Mapping) and (not isinstance(value, str) or not value):
        raise ConfigurationError(f"{attribute.name} must be auto, required, none, or the name of a tool")


def _is_openai(base_url: str) -> bool:
    """Whether it is OpenAI's own server, there or in one of its regions."""
    parts = urlsplit(base_url)
    host = f".{parts.hostname or ''}"
    return parts.scheme.lower() == "https" and host.endswith(".api.openai.com")


@attrs.frozen(kw_only=True)
class ChatLLM(LLMProvider):
    """Options of a model behind an OpenAI-compatible server.  What is None is left to the server.

    Attributes:
        model: its name, as the server knows it.
        base_url: of the server, up to what precedes ``/chat/completions``: any OpenAI-compatible one.
        api_key: sent as a bearer token; by default the environment variable ``OPENAI_API_KEY``, for OpenAI only.  Other
            servers get no key but this one, and many want none.
        temperature: 0 to 2.
        top_p: 0 to 1.
        presence_penalty: -2 to 2.
        frequency_penalty: -2 to 2.
        max_tokens: of the answer.  OpenAI's newer models want ``extra={"max_completion_tokens": …}`` in its place.
        seed: for answers that are the same each time, where the server can.
        tool_choice: of chats with tools: ``"auto"``, ``"required"``, ``"none"``, or the name of a tool.
        include_usage: ask for :attr:`~voicetrio.reply.Reply.usage`, which some servers refuse.
        extra: further fields of a request.
        headers: further headers of a request.

    Raises:
        ConfigurationError: if an option cannot be, or there is no key for OpenAI.
    """

    name: ClassVar[str] = "openai"
    _of_the_session: ClassVar[frozenset[str]] = LLMProvider._of_the_session | {"api_key", "base_url", "headers"}

    model: str = attrs.field(validator=voice_name)
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, validator=web_address, repr=shown_url)
    api_key: str | None = attrs.field(default=None, repr=False, validator=secret)
    temperature: float | None = attrs.field(default=None, validator=in_range(0, 2))
    top_p: float | None = attrs.field(default=None, validator=in_range(0, 1))
    presence_penalty: float | None = attrs.field(default=None, validator=in_range(-2, 2))
    frequency_penalty: float | None = attrs.field(default=None, validator=in_range(-2, 2))
    max_tokens: int | None = attrs.field(default=None, validator=whole_or_none(1, 10**9))
    seed: int | None = attrs.field(default=None, validator=whole_or_none(-(2**63), 2**63 - 1))
    tool_choice: ToolChoice = attrs.field(default="auto", hash=False, validator=check_tool_choice)
    include_usage: bool = attrs.field(default=True, validator=truth)
    extra: dict[str, Any] = attrs.field(factory=dict, hash=False, converter=json_fields)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False, converter=pairs)

    def __attrs_post_init__(self) -> None:
        self._endpoint()
        if self._key() is None and _is_openai(self.base_url):
            raise ConfigurationError("no OpenAI key: give api_key, or set OPENAI_API_KEY")

    @property
    def _tool_choice(self) -> ToolChoice:
        return self.tool_choice

    def _key(self) -> str | None:
        # The key of the environment is OpenAI's: no other server is told it.
        return key_or_environment(self.api_key, "OPENAI_API_KEY") if _is_openai(self.base_url) else self.api_key

    def _endpoint(self) -> Endpoint:
        url = self._url()  # which is one then
        key = self._key()
        authorization = () if key is None else (("Authorization", f"Bearer {key}"),)
        return Endpoint(url, (*authorization, ("Accept", "text/event-stream"), *self.headers))

    def _url(self) -> str:
        return endpoint_url(self.base_url, {}, schemes=("http", "https"), path="/chat/completions")

    def _body(self) -> dict[str, Any]:
        options = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }
        body: dict[str, Any] = {"model": self.model, "stream": True}
        body |= {key: each for key, each in options.items() if each is not None}
        if self.include_usage:
            body["stream_options"] = {"include_usage": True}
        return body | self.extra

    def _response_format(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        closed = strict(schema)
        described = {"name": name, "schema": schema} if closed is None else {"name": name, "schema": closed}
        return {"type": "json_schema", "json_schema": {**described, "strict": closed is not None}}
