"""The configuration with which a connection for speech begins, as each vendor behind the gateway wants it."""

from __future__ import annotations

from typing import Any

from ._gateway_command import Failure

__all__ = ["DEFAULT_RATE", "sample_rate_of"]

DEFAULT_RATE = 24_000

_NUMBER = (int, float)
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "google": {
        "voice_name": str,
        "language_code": str,
        "speed": _NUMBER,
        "pitch": _NUMBER,
        "sample_rate": int,
        "model_id": str,
    },
    "sarvamai": {"model": str, "language": str, "speaker": str, "sample_rate": int},
    "cartesia": {"model": str, "language": str, "voice": (str, list), "sample_rate": int},
    "deepgram": {
        "model": str,
        "encoding": str,
        "sample_rate": int,
        "container": str,
        "voice_id": str,
        "language": str,
    },
}
_RATES = range(4_000, 192_001)


def sample_rate_of(vendor: str, config: Any, *, check: bool) -> int:
    """The rate of the audio that a configuration asks for, in Hz.

    Args:
        vendor: who speaks.
        config: the configuration.
        check: whether the vendor wants all of its fields; further ones are ignored.

    Raises:
        Failure: the vendor does not take it, or it asks for audio that takes a codec.
    """
    if not isinstance(config, dict):
        raise Failure("Invalid config: an object expected")
    for name, kind in _FIELDS.get(vendor, {}).items() if check else ():
        if not isinstance(config.get(name), kind) or isinstance(config[name], bool):
            raise Failure(f"Invalid config for {vendor}: {name} is missing or of another type")
    if config.get("encoding", "linear16") != "linear16" or config.get("container", "none") != "none":
        raise Failure("Invalid config: this simulator has no codec, ask for linear16 without a container")
    rate = config.get("sample_rate", DEFAULT_RATE)
    if not isinstance(rate, int) or rate not in _RATES:
        raise Failure(f"Invalid config: sample_rate {rate!r}")
    return rate
