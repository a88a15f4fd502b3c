"""What the vendors behind the gateway call the options of speech in their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from ..errors import ConfigurationError


class GoogleSpeech(TypedDict):
    """Google's configuration."""

    voice_name: str
    language_code: str
    speed: float
    pitch: float
    sample_rate: int
    model_id: str


class SarvamSpeech(TypedDict):
    """Sarvam's configuration."""

    model: str
    language: str
    speaker: str
    sample_rate: int


class CartesiaSpeech(TypedDict):
    """Cartesia's configuration."""

    model: str
    language: str
    voice: str | tuple[float, ...]
    sample_rate: int


class DeepgramSpeech(TypedDict):
    """Deepgram's configuration."""

    model: str
    encoding: str
    sample_rate: int
    container: str
    voice_id: str
    language: str
    bit_rate: NotRequired[int]


# Of each vendor: our option, and its key.
_KEYS: dict[str, Mapping[str, str]] = {
    "google": {"model_id": "model_id", "language": "language_code", "sample_rate": "sample_rate"},
    "sarvamai": {"model_id": "model", "language": "language", "voice_id": "speaker", "sample_rate": "sample_rate"},
    "cartesia": {"model_id": "model", "language": "language", "voice_id": "voice", "sample_rate": "sample_rate"},
    "deepgram": {"model_id": "model", "language": "language", "voice_id": "voice_id", "sample_rate": "sample_rate"},
}
_KEYS_OF_OTHERS: Mapping[str, str] = {"sample_rate": "sample_rate"}


def google_voice_name(language: str, model_id: str, voice_id: str) -> str:
    """Google's name of a voice, such as ``en-US-Chirp3-HD-Achernar``."""
    return f"{language}-{model_id}-{voice_id}"


def with_changes(
    provider: str, config: Mapping[str, Any], options: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Any]:
    """A vendor's configuration with changed options.  Only keys that it has are changed.

    Args:
        provider: the vendor.
        config: its configuration.
        options: `model_id`, `language` and `voice_id` as they are.
        changes: options as they become; others than the vendor's are ignored.
    """
    changed = dict(config)
    for option, key in _KEYS.get(provider, _KEYS_OF_OTHERS).items():
        if option in changes and key in changed:
            changed[key] = changes[option]
    named = ("language", "model_id", "voice_id")
    if provider == "google" and "voice_name" in changed and any(option in changes for option in named):
        changed["voice_name"] = google_voice_name(*({**options, **changes}[option] for option in named))
    return changed


def check_config(provider: str, config: Mapping[str, Any], sample_rate: int) -> None:
    """Check that what a vendor is asked for is audio that a sink can take.

    Raises:
        ConfigurationError: if it is not.
    """
    if config.get("sample_rate", sample_rate) != sample_rate:
        raise ConfigurationError(
            f"config asks for {config['sample_rate']!r} Hz, and sample_rate says {sample_rate}: speech would be heard "
            "at the wrong pace"
        )
    if provider != "deepgram":
        return
    if (encoding := config.get("encoding", "linear16")) != "linear16":
        raise ConfigurationError(f"encoding must be linear16, as a sink takes samples, not {encoding!r}")
    if (container := config.get("container", "none")) != "none":
        raise ConfigurationError(f"container must be none, as a sink takes samples, not {container!r}")
    if config.get("bit_rate") is not None:
        raise ConfigurationError("bit_rate is of compressed audio, and a sink takes samples: linear16 has none")
