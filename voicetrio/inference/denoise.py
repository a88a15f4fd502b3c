"""Denoising over the inference gateway (``/v1/denoise``): AI-Coustics, Sanas, Krisp.

Protocol facts are from the gateway's own client, videosdk-agents 1.0.30, as the gateway has no public documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import attrs

from .._denoise_dialect import Broken, DenoiseDialect, DenoiseEvent, Processed
from .._link.dialect import Message
from .._link.endpoint import Endpoint
from .._options import secret, shown_url, voice_name, web_address, whole
from ..audio import AudioFormat
from ..denoise import DenoiseProvider
from ..errors import ConfigurationError
from ._gateway import (
    NAME,
    Notice,
    audio_message,
    canonical,
    decode,
    gateway_endpoint,
    json_object,
    message,
    provider_name,
    token_or_environment,
    url_or_default,
)

# Whatever rate is declared to Sanas, what it takes and gives is this (the gateway's client 1.0.30).
_SANAS = AudioFormat(48_000, 2)
_MOST_DIGITS = 20
_MODEL_RATE = re.compile(r"-(\d{1,3})khz$")


def _rate_of(model_id: object) -> int | None:
    """The rate that a model's name tells, in Hz, if it does."""
    model = _MODEL_RATE.search(model_id) if isinstance(model_id, str) else None
    return None if model is None else int(model[1]) * 1000


@attrs.frozen(kw_only=True)
class Denoise(DenoiseProvider):
    """Options of denoising over the inference gateway; :meth:`aicoustics` and :meth:`sanas` know their vendors.

    Attributes:
        provider: the vendor: ``"aicoustics"``, ``"sanas"``, ``"krisp"``.
        model_id: the vendor's model.
        sample_rate: that is declared to the vendor, in Hz.
        channels: that are declared to the vendor.
        chunk_ms: milliseconds of audio in a message.
        config: further fields of the config message.
        base_url: where the gateway is; ``http`` and ``https`` are taken for ``ws`` and ``wss``.
        token: the VideoSDK token; by default the environment variable ``VIDEOSDK_AUTH_TOKEN``.

    Raises:
        ConfigurationError: if an option cannot be, or there is no token.
    """

    name: ClassVar[str] = NAME

    provider: str = attrs.field(converter=provider_name, validator=voice_name)
    model_id: str = attrs.field(validator=voice_name)
    sample_rate: int = 48_000
    channels: int = 1
    chunk_ms: int = attrs.field(default=10, validator=whole(1))
    config: Mapping[str, Any] = attrs.field(default=None, converter=json_object, eq=canonical)
    base_url: str = attrs.field(default=None, converter=url_or_default, validator=web_address, repr=shown_url)
    token: str = attrs.field(default=None, repr=False, converter=token_or_environment, validator=secret)

    def __attrs_post_init__(self) -> None:
        AudioFormat(self.sample_rate, self.channels)
        rate = _rate_of(self.model_id) if self.provider == "aicoustics" else None
        if rate is not None and rate != self.sample_rate:
            raise ConfigurationError(f"{self.model_id} takes {rate} Hz, not {self.sample_rate}")
        if self.wire_format.sample_rate * self.chunk_ms % 1000 or self.chunk_ms > 1000:
            raise ConfigurationError(f"chunk_ms={self.chunk_ms} is no whole number of samples, or more than a second")
        self._endpoint()

    @classmethod
    def aicoustics(
        cls,
        *,
        model_id: str = "sparrow-xxs-48khz",
        sample_rate: int | None = None,
        channels: int = 1,
        chunk_ms: int = 10,
        base_url: str | None = None,
        **options: Any,
    ) -> Denoise:
        """AI-Coustics: the Sparrow models (48 kHz, for people) and the Quail models (16 kHz, for machines).

        Args:
            model_id: such as ``"sparrow-xxs-48khz"``, ``"sparrow-l-48khz"``, ``"quail-vf-l-16khz"``.
            sample_rate: that of the model, in Hz; None for what its name says, or else 48000.
            channels: of the audio.
            chunk_ms: milliseconds of audio in a message.
            base_url: where the gateway is; None for VideoSDK's own.
            options: others of :class:`Denoise`, such as `delay` and `token`.
        """
        return cls(
            provider="aicoustics",
            model_id=model_id,
            sample_rate=(_rate_of(model_id) or 48_000) if sample_rate is None else sample_rate,
            channels=channels,
            chunk_ms=chunk_ms,
            base_url=base_url,
            **options,
        )

    @classmethod
    def sanas(
        cls,
        *,
        model_id: str = "VI_G_NC3.0",
        sample_rate: int = 16_000,
        channels: int = 1,
        chunk_ms: int = 20,
        base_url: str | None = None,
        **options: Any,
    ) -> Denoise:
        """Sanas.  Whatever is declared, the audio on the wire is 48 kHz stereo, converted from and to the session's.

        Args:
            model_id: of Sanas.
            sample_rate: that is declared: that of the model, in Hz.
            channels: that are declared.
            chunk_ms: milliseconds of audio in a message.
            base_url: where the gateway is; None for VideoSDK's own.
            options: others of :class:`Denoise`, such as `delay` and `token`.
        """
        return cls(
            provider="sanas",
            model_id=model_id,
            sample_rate=sample_rate,
            channels=channels,
            chunk_ms=chunk_ms,
            base_url=base_url,
            **options,
        )

    @property
    def wire_format(self) -> AudioFormat:
        """As declared; 48 kHz stereo for Sanas."""
        return _SANAS if self.provider == "sanas" else AudioFormat(self.sample_rate, self.channels)

    @property
    def piece_seconds(self) -> float:
        """`chunk_ms`."""
        return self.chunk_ms / 1000

    def _endpoint(self) -> Endpoint:
        config = {"model": self.model_id, "sample_rate": self.sample_rate, "channels": self.channels, **self.config}
        return gateway_endpoint(
            self.base_url,
            "/v1/denoise",
            provider=self.provider,
            token=self.token,
            model_id=self.model_id,
            greeting=message("config", config),
            more={},
        )

    def _new_dialect(self) -> DenoiseDialect:
        return _Dialect()


class _Dialect(DenoiseDialect):
    """Audio that comes back as an event, a message of its own, or binary; with its number, or in order."""

    provider = NAME

    def farewell(self) -> Iterable[Message]:
        return (message("stop"),)

    def piece(self, sequence: int, pcm: bytes) -> Message:
        return audio_message(pcm, seq=sequence)

    def receive(self, message: Message) -> Iterable[DenoiseEvent]:
        if isinstance(message, bytes):
            return (Processed(None, message),)
        notice = decode(message)
        if notice is None:
            return ()
        if (error := notice.failure()) is not None:
            return (Broken(error),)
        if notice.event == "DENOISE_AUDIO" or notice.type == "audio":
            return (Processed(_number(notice), notice.audio()),)
        return ()


def _number(notice: Notice) -> int | None:
    """The number that an answer has, as a number of whatever kind or as a string of digits."""
    number = notice.field("seq") if notice.seq is None else notice.seq
    if isinstance(number, str) and number.isdecimal() and len(number) < _MOST_DIGITS:
        return int(number)
    whole_number = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
    return int(number) if whole_number and not isinstance(number, bool) else None
