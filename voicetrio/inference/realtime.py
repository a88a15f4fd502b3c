"""Realtime models over the inference gateway (``/v1/llm``): Google's Gemini.

Protocol facts are from the gateway's own client, videosdk-agents 1.0.30, as the gateway has no public documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import attrs

from .._link.pool import Endpoint
from .._options import in_range, secret, shown_url, voice_name, web_address, whole, whole_or_none
from .._realtime_dialect import Modality, RealtimeDialect
from ..audio import AudioFormat
from ..errors import ConfigurationError
from ..realtime import RealtimeProvider
from ..tools import FunctionTool
from ._gateway import (
    NAME,
    gateway_endpoint,
    message,
    provider_name,
    token_or_environment,
    url_or_default,
)
from ._realtime_dialect import GatewayRealtimeDialect

_FORMAT = AudioFormat(24_000, 1)
_MOST_TOKENS = 1_000_000


def _modalities(value: Any) -> Any:
    if value is None:
        return ("AUDIO",)
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def _check_modalities(_instance: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, tuple) or not value or not all(each in ("TEXT", "AUDIO") for each in value):
        raise ConfigurationError(f"response_modalities must be some of TEXT and AUDIO, not {value!r}")


@attrs.frozen(kw_only=True)
class GeminiRealtimeConfig:
    """Options of Gemini's realtime models; what is None is not sent, and the model's own default holds.

    Attributes:
        voice: such as ``"Puck"``, ``"Charon"``, ``"Kore"``, ``"Fenrir"``, ``"Aoede"``.
        language_code: of the speech, such as ``"en-US"``.
        temperature: randomness, 0 to 2.
        top_p: nucleus sampling, 0 to 1.
        top_k: tokens considered at each step, at least 1.
        candidate_count: how many replies are made, at least 1.
        max_output_tokens: of a reply.
        presence_penalty: -2 to 2.
        frequency_penalty: -2 to 2.
        response_modalities: ``"AUDIO"``, ``"TEXT"``, or both.

    Raises:
        ConfigurationError: if an option cannot be.
    """

    voice: str = attrs.field(default="Puck", validator=voice_name)
    language_code: str = attrs.field(default="en-US", validator=voice_name)
    temperature: float | None = attrs.field(default=None, validator=in_range(0, 2))
    top_p: float | None = attrs.field(default=None, validator=in_range(0, 1))
    top_k: float | None = attrs.field(default=None, validator=in_range(1, _MOST_TOKENS))
    candidate_count: int = attrs.field(default=1, validator=whole(1))
    max_output_tokens: int | None = attrs.field(default=None, validator=whole_or_none(1, _MOST_TOKENS))
    presence_penalty: float | None = attrs.field(default=None, validator=in_range(-2, 2))
    frequency_penalty: float | None = attrs.field(default=None, validator=in_range(-2, 2))
    response_modalities: tuple[Modality, ...] = attrs.field(
        default=("AUDIO",), converter=_modalities, validator=_check_modalities
    )


def _config_or_default(config: GeminiRealtimeConfig | None) -> GeminiRealtimeConfig:
    return GeminiRealtimeConfig() if config is None else config


def _check_config(_instance: object, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, GeminiRealtimeConfig):
        raise ConfigurationError(f"config must be a GeminiRealtimeConfig, not {value!r}")


@attrs.frozen(kw_only=True)
class Realtime(RealtimeProvider):
    """Options of a realtime model over the inference gateway; :meth:`gemini` knows its vendor's.

    Attributes:
        provider: the vendor: ``"google"``.
        model: the vendor's model, with or without ``models/`` before it.
        config: the vendor's options.
        base_url: where the gateway is; ``http`` and ``https`` are taken for ``ws`` and ``wss``.
        token: the VideoSDK token; by default the environment variable ``VIDEOSDK_AUTH_TOKEN``.

    Raises:
        ConfigurationError: if an option cannot be, or there is no token.
    """

    name: ClassVar[str] = NAME

    provider: str = attrs.field(converter=provider_name, validator=voice_name)
    model: str = attrs.field(validator=voice_name)
    config: GeminiRealtimeConfig = attrs.field(default=None, converter=_config_or_default, validator=_check_config)
    base_url: str = attrs.field(default=None, converter=url_or_default, validator=web_address, repr=shown_url)
    token: str = attrs.field(default=None, repr=False, converter=token_or_environment, validator=secret)

    def __attrs_post_init__(self) -> None:
        if self.model.endswith("/"):
            raise ConfigurationError(f"model must be a name, not {self.model!r}")
        self._endpoint()

    @classmethod
    def gemini(
        cls,
        *,
        model: str = "gemini-2.5-flash-native-audio-preview-12-2025",
        voice: str = "Puck",
        language_code: str = "en-US",
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: float | None = None,
        candidate_count: int = 1,
        max_output_tokens: int | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        response_modalities: Sequence[Modality] | None = None,
        base_url: str | None = None,
        **options: Any,
    ) -> Self:
        """Google's Gemini.

        Args:
            model: of Gemini.
            voice: see :class:`GeminiRealtimeConfig`, as for all down to `response_modalities`.
            language_code: of the speech.
            temperature: randomness.
            top_p: nucleus sampling.
            top_k: tokens considered at each step.
            candidate_count: how many replies are made.
            max_output_tokens: of a reply.
            presence_penalty: penalizes tokens that have come.
            frequency_penalty: penalizes them by how often.
            response_modalities: ``["AUDIO"]`` if it is None.
            base_url: where the gateway is.
            options: others of :class:`Realtime`, such as `token` and `cancel_timeout`.

        Raises:
            ConfigurationError: if an option cannot be, or there is no token.
        """
        config = GeminiRealtimeConfig(
            voice=voice,
            language_code=language_code,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            candidate_count=candidate_count,
            max_output_tokens=max_output_tokens,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            response_modalities=response_modalities,
        )
        return cls(provider="google", model=model, config=config, base_url=base_url, **options)

    @property
    def audio_format(self) -> AudioFormat:
        """24 kHz mono, both ways."""
        return _FORMAT

    @property
    def speaks(self) -> bool:
        """Whether ``"AUDIO"`` is among the `response_modalities`."""
        return "AUDIO" in self.config.response_modalities

    def _endpoint(self) -> Endpoint:
        return gateway_endpoint(
            self.base_url,
            "/v1/llm",
            provider=self.provider,
            token=self.token,
            model_id=self.model.rsplit("/", 1)[-1],
            greeting=message("config", self._config("", ())),
            more={},
        )

    def _new_dialect(self, instructions: str, tools: Sequence[FunctionTool | Mapping[str, Any]]) -> RealtimeDialect:
        return GatewayRealtimeDialect(
            self._config(instructions, tools), speaks=self.speaks, cancel_timeout=self.cancel_timeout
        )

    def _config(self, instructions: str, tools: Sequence[FunctionTool | Mapping[str, Any]]) -> dict[str, Any]:
        model = self.model if self.model.startswith("models/") else f"models/{self.model}"
        options = {name: value for name, value in attrs.asdict(self.config).items() if value is not None}
        config = {"model": model, "instructions": instructions, **options}
        return {**config, "tools": [_declaration(tool) for tool in tools]} if tools else config


def _declaration(tool: FunctionTool | Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool as Gemini wants it declared."""
    if isinstance(tool, FunctionTool):
        return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    function: Mapping[str, Any] = tool["function"]
    return function
