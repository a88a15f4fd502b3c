"""Speech-to-text through VideoSDK's inference gateway, ``/v1/stt``.

The gateway has no public documentation: what is known of it are the messages of its own client, videosdk-agents 1.0.30.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from .._format import AudioFormat
from .._link.pool import Endpoint
from .._options import positive, positive_or_none, secret, shown_url, text, truth, voice_name, whole_or_none
from .._stt_dialect import STTDialect
from ..errors import ConfigurationError
from ..stt import STTProvider
from ._gateway import (
    NAME,
    canonical,
    gateway_endpoint,
    json_object,
    message,
    provider_name,
    require_token,
    token_or_environment,
    url_or_default,
)
from ._stt_dialect import GatewaySTTDialect

_PATH = "/v1/stt"
_DEFAULT_RATE = 48_000


def _listed(name: str, words: Sequence[str]) -> list[str]:
    if not isinstance(words, Iterable) or isinstance(words, str) or not all(isinstance(word, str) for word in words):
        raise ConfigurationError(f"{name} must be a list of strings, not {words!r}")
    return list(words)


@attrs.frozen(kw_only=True)
class STT(STTProvider):
    """Options of speech-to-text through the gateway.

    :meth:`google`, :meth:`sarvam` and :meth:`deepgram` make them with the vendor's own configuration.

    Attributes:
        provider: the vendor behind the gateway: ``"google"``, ``"sarvamai"``, ``"deepgram"``, or another that the
            gateway knows.
        model_id: the vendor's model.
        language: as the vendor calls it; told in `config`, unless that has one already.
        config: the vendor's configuration, sent as it is, with `language` and an ``input_sample_rate`` of 48000 if it
            has none.  The audio that is sent has the rate that it says.
        enable_streaming: True: the gateway has no other mode.
        base_url: the gateway; ``http`` and ``https`` are taken for ``ws`` and ``wss``.  None for VideoSDK's own.
        token: the token; by default the environment variable ``VIDEOSDK_AUTH_TOKEN``.
        channels: of the audio that is sent, whatever a session is given.  Nothing on the wire says how many there are,
            and the only client that the gateway is known to understand sends the stereo of its rooms: so two.
        final_by_default: whether a transcript that does not say if it is final is.
        inferred_end: seconds of silence after which the end of the audio has been heard, as the gateway does not tell.
        heartbeat: seconds between pings on a link; None for none.

    Raises:
        ConfigurationError: if an option cannot be, or there is no token.
    """

    name: ClassVar[str] = NAME

    provider: str = attrs.field(converter=provider_name, validator=voice_name)
    model_id: str = attrs.field(validator=voice_name)
    language: str = attrs.field(default="en-US", validator=voice_name)
    config: Mapping[str, Any] = attrs.field(default=None, converter=json_object, eq=canonical)
    enable_streaming: bool = attrs.field(default=True, validator=truth)
    base_url: str = attrs.field(default=None, converter=url_or_default, validator=text, repr=shown_url)
    token: str | None = attrs.field(default=None, repr=False, converter=token_or_environment, validator=secret)
    channels: int = attrs.field(default=2, validator=whole_or_none(1, 8))
    final_by_default: bool = attrs.field(default=True, validator=truth)
    inferred_end: float = attrs.field(default=2.5, validator=positive)
    # The original's interval.
    heartbeat: float | None = attrs.field(default=20.0, validator=positive_or_none)

    def __attrs_post_init__(self) -> None:
        defaults = {"language": self.language, "input_sample_rate": _DEFAULT_RATE}
        object.__setattr__(self, "config", defaults | dict(self.config))
        if not self.enable_streaming:
            raise ConfigurationError("the gateway has no mode without streaming: enable_streaming must be True")
        if self.inferred_end >= self.finish_timeout:
            raise ConfigurationError("inferred_end must be less than finish_timeout, or no end could ever be inferred")
        _ = self.audio_format  # checks the rate
        self._endpoint()

    # -- vendors -----------------------------------------------------------------------------------------------------

    @staticmethod
    def google(
        *,
        model_id: str = "chirp_3",
        language: str = "en-US",
        languages: Sequence[str] | None = None,
        interim_results: bool = True,
        punctuate: bool = True,
        location: str = "asia-south1",
        input_sample_rate: int = _DEFAULT_RATE,
        output_sample_rate: int = 16_000,
        enable_streaming: bool = True,
        base_url: str | None = None,
        config: Mapping[str, Any] | None = None,
        token: str | None = None,
        **options: Any,
    ) -> STT:
        """Google Cloud.

        Args:
            model_id: the model: ``"chirp_3"``, ``"latest_long"``, ``"latest_short"``.
            language: a BCP 47 tag.
            languages: from which it chooses; None for `language` alone.
            interim_results: whether there are transcripts that may still change.
            punctuate: whether transcripts have punctuation.
            location: the region.
            input_sample_rate: of the audio that is sent, in Hz.
            output_sample_rate: at which the gateway passes it on, in Hz.
            enable_streaming: as in :class:`STT`.
            base_url: as in :class:`STT`.
            config: more of its configuration, or other.
            token: as in :class:`STT`.
            options: further options of :class:`STT`.

        Raises:
            ConfigurationError: as :class:`STT`.
        """
        own = {
            "model": model_id,
            "language": language,
            "languages": _listed("languages", languages or [language]),
            "input_sample_rate": input_sample_rate,
            "output_sample_rate": output_sample_rate,
            "interim_results": interim_results,
            "punctuate": punctuate,
            "location": location,
        }
        return STT(
            provider="google",
            model_id=model_id,
            language=language,
            config=own | json_object(config),
            enable_streaming=enable_streaming,
            base_url=base_url,
            token=token,
            **options,
        )

    @staticmethod
    def sarvam(
        *,
        model_id: str = "saarika:v2.5",
        language: str = "en-IN",
        input_sample_rate: int = _DEFAULT_RATE,
        output_sample_rate: int = 16_000,
        enable_streaming: bool = True,
        base_url: str | None = None,
        config: Mapping[str, Any] | None = None,
        token: str | None = None,
        **options: Any,
    ) -> STT:
        """Sarvam AI, for the languages of India.

        Args:
            model_id: the model.
            language: a BCP 47 tag.
            input_sample_rate: of the audio that is sent, in Hz.
            output_sample_rate: at which the gateway passes it on, in Hz.
            enable_streaming: as in :class:`STT`.
            base_url: as in :class:`STT`.
            config: more of its configuration, or other.
            token: as in :class:`STT`.
            options: further options of :class:`STT`.

        Raises:
            ConfigurationError: as :class:`STT`.
        """
        own = {
            "model": model_id,
            "language": language,
            "input_sample_rate": input_sample_rate,
            "output_sample_rate": output_sample_rate,
        }
        return STT(
            provider="sarvamai",
            model_id=model_id,
            language=language,
            config=own | json_object(config),
            enable_streaming=enable_streaming,
            base_url=base_url,
            token=token,
            **options,
        )

    @staticmethod
    def deepgram(
        *,
        model_id: str = "nova-2",
        language: str = "en-US",
        input_sample_rate: int = _DEFAULT_RATE,
        interim_results: bool = True,
        punctuate: bool = True,
        smart_format: bool = True,
        endpointing: int = 50,
        enable_streaming: bool = True,
        base_url: str | None = None,
        config: Mapping[str, Any] | None = None,
        eager_eot_threshold: float = 0.6,
        eot_threshold: float = 0.8,
        eot_timeout_ms: int = 7000,
        keyterm: Sequence[str] | None = None,
        token: str | None = None,
        **options: Any,
    ) -> STT:
        """Deepgram.

        Args:
            model_id: the model.
            language: a BCP 47 tag.
            input_sample_rate: of the audio that is sent, in Hz.
            interim_results: whether there are transcripts that may still change.
            punctuate: whether transcripts have punctuation.
            smart_format: whether numbers, dates and the like are written as people do.
            endpointing: milliseconds of silence that end a phrase.
            enable_streaming: as in :class:`STT`.
            base_url: as in :class:`STT`.
            config: more of its configuration, or other.
            eager_eot_threshold: of Deepgram's models that find turns, as all that follow: from which likelihood on a
                turn may have ended.
            eot_threshold: from which it has.
            eot_timeout_ms: of silence, after which it has in any case.
            keyterm: words to listen for.
            token: as in :class:`STT`.
            options: further options of :class:`STT`.

        Raises:
            ConfigurationError: as :class:`STT`.
        """
        own = {
            "model": model_id,
            "language": language,
            "input_sample_rate": input_sample_rate,
            "interim_results": interim_results,
            "punctuate": punctuate,
            "smart_format": smart_format,
            "endpointing": endpointing,
            "eager_eot_threshold": eager_eot_threshold,
            "eot_threshold": eot_threshold,
            "eot_timeout_ms": eot_timeout_ms,
            "keyterm": None if keyterm is None else _listed("keyterm", keyterm),
        }
        return STT(
            provider="deepgram",
            model_id=model_id,
            language=language,
            config=own | json_object(config),
            enable_streaming=enable_streaming,
            base_url=base_url,
            token=token,
            **options,
        )

    # -- what a session asks -----------------------------------------------------------------------------------------

    @property
    def audio_format(self) -> AudioFormat:
        """At the rate that `config` says, with `channels`."""
        return AudioFormat(self.config["input_sample_rate"], self.channels)

    def _endpoint(self) -> Endpoint:
        return gateway_endpoint(
            self.base_url,
            _PATH,
            provider=self.provider,
            token=require_token(self.token),
            model_id=self.model_id,
            greeting=message("config", self.config),
            more={},
        )

    def _new_dialect(self) -> STTDialect:
        return GatewaySTTDialect(self)
