"""Text-to-speech through VideoSDK's inference gateway, ``/v1/tts``.

The gateway has no public documentation: what is known of it are the messages of its own client, videosdk-agents 1.0.30.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypedDict, Unpack

import attrs

from .._dialect import TTSDialect
from .._json import encode_json
from .._link.connection import Driver
from .._link.endpoint import Endpoint
from .._link.policy import LinkPolicy
from .._options import (
    one_of,
    positive,
    positive_or_none,
    secret,
    shown_url,
    truth,
    voice_name,
    voice_or_embedding,
    web_address,
)
from ..tts import TTSProvider
from ._gateway import (
    NAME,
    canonical,
    gateway_endpoint,
    json_object,
    message,
    provider_name,
    token_or_environment,
    url_or_default,
    vendor_config,
)
from ._tts_config import (
    CartesiaSpeech,
    DeepgramSpeech,
    GoogleSpeech,
    SarvamSpeech,
    check_config,
    google_voice_name,
    with_changes,
)
from ._tts_dialect import GatewayTTSDialect

_PATH = "/v1/tts"


# What the vendors speak at; none takes all of them.
_SAMPLE_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


class _Options(TypedDict, total=False):
    """Options of :class:`TTS` that are no vendor's own."""

    enable_streaming: bool
    base_url: str | None
    token: str | None
    inferred_end: float
    heartbeat: float | None
    driver: Driver
    max_connection_age_sec: float
    connect_timeout: float
    response_timeout: float
    cancel_timeout: float
    prefetch: bool


@attrs.frozen(kw_only=True)
class TTS(TTSProvider):
    """Options of text-to-speech through the gateway.

    :meth:`google`, :meth:`sarvam`, :meth:`cartesia` and :meth:`deepgram` make them with the vendor's own configuration.

    Attributes:
        provider: the vendor behind the gateway: ``"google"``, ``"sarvamai"``, ``"cartesia"``, ``"deepgram"``, or
            another that the gateway knows.
        model_id: the vendor's model.
        voice_id: the voice.  It is a connection's; ``voice_id`` of a turn chooses another, in `config` as well where
            the vendor has it there, on a connection of its own that is then kept as well.
        language: as the vendor calls it.  Only `config` tells it the gateway.
        config: the vendor's configuration, sent as it is.  Options of a turn change what it says of them.
        enable_streaming: ask for the first sentence as soon as it is there, then for more at a time.  Without, for
            what is between two :class:`~voicetrio.text.FlushMarker`, or 500 characters of it.
        sample_rate: in Hz: 8000, 16000, 22050, 24000, 32000, 44100 or 48000; `config` must not say another.
        base_url: the gateway; ``http`` and ``https`` are taken for ``ws`` and ``wss``.  None for VideoSDK's own.
        token: the token; by default the environment variable ``VIDEOSDK_AUTH_TOKEN``.
        inferred_end: seconds of silence after which a turn is over whose end the gateway does not tell.  Such a turn is
            ``"completed_inferred"``, and its connection is not used again.
        heartbeat: seconds between pings on a link; None for none.

    Raises:
        ConfigurationError: if an option cannot be, the audio would be of a kind that no sink takes, or there is no
            token.
    """

    name: ClassVar[str] = NAME

    provider: str = attrs.field(converter=provider_name, validator=voice_name)
    model_id: str = attrs.field(validator=voice_name)
    voice_id: str | None = attrs.field(default=None, validator=attrs.validators.optional(voice_name))
    language: str = attrs.field(default="en-US", validator=voice_name)
    config: Mapping[str, Any] = attrs.field(default=None, converter=json_object, eq=canonical)
    enable_streaming: bool = attrs.field(default=True, validator=truth)
    sample_rate: int = attrs.field(default=24_000, validator=one_of(_SAMPLE_RATES))
    base_url: str = attrs.field(default=None, converter=url_or_default, validator=web_address, repr=shown_url)
    token: str = attrs.field(default=None, repr=False, converter=token_or_environment, validator=secret)
    inferred_end: float = attrs.field(default=4.5, validator=positive)
    # The original's interval: a vendor behind the gateway drops what is quiet for a minute.
    heartbeat: float | None = attrs.field(default=15.0, validator=positive_or_none)

    def __attrs_post_init__(self) -> None:
        _ = self.audio_format  # checks the rate
        check_config(self.provider, self.config, self.sample_rate)
        self._endpoint()

    # -- vendors -----------------------------------------------------------------------------------------------------

    @staticmethod
    def google(
        *,
        model_id: str = "Chirp3-HD",
        voice_id: str = "Achernar",
        language: str = "en-US",
        speed: float = 1.0,
        pitch: float = 0.0,
        sample_rate: int = 24_000,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[_Options],
    ) -> TTS:
        """Google Cloud.

        Args:
            model_id: the model.
            voice_id: the voice.
            language: a BCP 47 tag.
            speed: of speech; 1 is normal.
            pitch: in semitones; 0 is normal.
            sample_rate: of the audio, in Hz.
            config: more of its configuration, or other.
            options: further ones of :class:`TTS`, such as `token`.

        Raises:
            ConfigurationError: as :class:`TTS`.
        """
        own: GoogleSpeech = {
            "voice_name": google_voice_name(language, model_id, voice_id),
            "language_code": language,
            "speed": speed,
            "pitch": pitch,
            "sample_rate": sample_rate,
            "model_id": model_id,
        }
        return TTS(
            provider="google",
            model_id=model_id,
            voice_id=voice_id,
            language=language,
            sample_rate=sample_rate,
            config=vendor_config(GoogleSpeech, own, config),
            **options,
        )

    @staticmethod
    def sarvam(
        *,
        model_id: str = "bulbul:v2",
        speaker: str = "anushka",
        language: str = "en-IN",
        sample_rate: int = 24_000,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[_Options],
    ) -> TTS:
        """Sarvam AI, which refuses text of less than five letters or digits.

        Args:
            model_id: the model.
            speaker: the voice.
            language: a BCP 47 tag.
            sample_rate: of the audio, in Hz.
            config: more of its configuration, or other.
            options: further ones of :class:`TTS`, such as `token`.

        Raises:
            ConfigurationError: as :class:`TTS`.
        """
        own: SarvamSpeech = {"model": model_id, "language": language, "speaker": speaker, "sample_rate": sample_rate}
        return TTS(
            provider="sarvamai",
            model_id=model_id,
            voice_id=speaker,
            language=language,
            sample_rate=sample_rate,
            config=vendor_config(SarvamSpeech, own, config),
            **options,
        )

    @staticmethod
    def cartesia(
        *,
        model_id: str = "sonic-2",
        voice_id: str | Sequence[float] = "faf0731e-dfb9-4cfc-8119-259a79b27e12",
        language: str = "en",
        sample_rate: int = 24_000,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[_Options],
    ) -> TTS:
        """Cartesia.

        Args:
            model_id: the model.
            voice_id: the voice: its id, or an embedding.
            language: an ISO 639-1 code.
            sample_rate: of the audio, in Hz.
            config: more of its configuration, or other.
            options: further ones of :class:`TTS`, such as `token`.

        Raises:
            ConfigurationError: as :class:`TTS`.
        """
        voice = voice_or_embedding(voice_id)
        own: CartesiaSpeech = {"model": model_id, "language": language, "voice": voice, "sample_rate": sample_rate}
        return TTS(
            provider="cartesia",
            model_id=model_id,
            voice_id=voice if isinstance(voice, str) else encode_json(voice),
            language=language,
            sample_rate=sample_rate,
            config=vendor_config(CartesiaSpeech, own, config),
            **options,
        )

    @staticmethod
    def deepgram(
        *,
        model_id: str = "aura-2",
        voice_id: str = "amalthea",
        language: str = "en",
        encoding: str = "linear16",
        sample_rate: int = 24_000,
        container: str = "none",
        bit_rate: int | None = None,
        config: Mapping[str, Any] | None = None,
        **options: Unpack[_Options],
    ) -> TTS:
        """Deepgram.

        Args:
            model_id: the model.
            voice_id: the voice.
            language: an ISO 639-1 code.
            encoding: ``"linear16"``: a sink takes samples.
            sample_rate: of the audio, in Hz.
            container: ``"none"``, likewise.
            bit_rate: None, likewise.
            config: more of its configuration, or other.
            options: further ones of :class:`TTS`, such as `token`.

        Raises:
            ConfigurationError: as :class:`TTS`.
        """
        own: DeepgramSpeech = {
            "model": model_id,
            "encoding": encoding,
            "sample_rate": sample_rate,
            "container": container,
            "voice_id": voice_id,
            "language": language,
        }
        if bit_rate is not None:
            own["bit_rate"] = bit_rate
        return TTS(
            provider="deepgram",
            model_id=model_id,
            voice_id=voice_id,
            language=language,
            sample_rate=sample_rate,
            config=vendor_config(DeepgramSpeech, own, config),
            **options,
        )

    # -- what a session asks -----------------------------------------------------------------------------------------

    def _endpoint(self) -> Endpoint:
        return gateway_endpoint(
            self.base_url,
            _PATH,
            provider=self.provider,
            token=self.token,
            model_id=self.model_id,
            greeting=message("config", self.config),
            more={} if self.voice_id is None else {"voiceId": self.voice_id},
        )

    def _policy(self) -> LinkPolicy:
        return attrs.evolve(super()._policy(), spare=True)

    def _new_dialect(self, clock: Callable[[], float]) -> TTSDialect:  # noqa: ARG002 - nothing is counted in time
        return GatewayTTSDialect(self)

    def _variant(self, voice_id: str | None, overrides: Mapping[str, Any]) -> Self:
        if overrides and "config" not in overrides:
            overrides = {**overrides, "config": self._config_with(overrides)}
        return super()._variant(voice_id, overrides)

    def _for_voice(self, voice_id: str) -> Self:
        return attrs.evolve(self, voice_id=voice_id, config=self._config_with({"voice_id": voice_id}))

    def _config_with(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        named = {"language": self.language, "model_id": self.model_id, "voice_id": self.voice_id}
        return with_changes(self.provider, self.config, named, changes)
