"""The configuration with which a connection for listening begins, as each vendor behind the gateway wants it."""

from __future__ import annotations

from typing import Any

from ._gateway_command import Failure

__all__ = ["input_rate_of"]

_NUMBER = (int, float)
_COMMON: dict[str, type | tuple[type, ...]] = {"model": str, "language": str, "input_sample_rate": int}
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "google": {
        **_COMMON,
        "languages": list,
        "output_sample_rate": int,
        "interim_results": bool,
        "punctuate": bool,
        "location": str,
    },
    "sarvamai": {**_COMMON, "output_sample_rate": int},
    "deepgram": {
        **_COMMON,
        "interim_results": bool,
        "punctuate": bool,
        "smart_format": bool,
        "endpointing": int,
        "eager_eot_threshold": _NUMBER,
        "eot_threshold": _NUMBER,
        "eot_timeout_ms": int,
    },
}
_RATES = range(4_000, 192_001)


def input_rate_of(vendor: str, config: Any, *, check: bool) -> int:
    """The rate of the audio that a configuration announces, in Hz.

    Args:
        vendor: who listens.
        config: the configuration.
        check: whether the vendor wants all of its fields; further ones are ignored.

    Raises:
        Failure: the vendor does not take it.
    """
    if not isinstance(config, dict):
        raise Failure("Invalid config: an object expected")
    for name, kind in _FIELDS.get(vendor, {}).items() if check else ():
        value = config.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise Failure(f"Invalid config for {vendor}: {name} is missing or of another type")
    rate = config.get("input_sample_rate")
    if not isinstance(rate, int) or rate not in _RATES:
        raise Failure(f"Invalid config: input_sample_rate {rate!r}")
    return rate
