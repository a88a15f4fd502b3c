"""Decoding of G.711, the telephone's 8-bit companded audio (ITU-T G.711), to s16le."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def decoder(encoding: str) -> Callable[[bytes], bytes]:
    """What makes s16le of a provider's ``"mulaw"``, ``"alaw"`` or, as it is, ``"linear16"``."""
    if encoding == "mulaw":
        return partial(decode_g711, law="mulaw")
    if encoding == "alaw":
        return partial(decode_g711, law="alaw")
    return bytes


def decode_g711(data: bytes, law: Literal["mulaw", "alaw"]) -> bytes:
    """Decode one byte a sample to s16le."""
    return _table(law)[np.frombuffer(data, np.uint8)].tobytes()


@cache
def _table(law: Literal["mulaw", "alaw"]) -> NDArray[np.int16]:
    codes = np.arange(256)
    if law == "mulaw":
        codes = ~codes & 0xFF
        magnitude = (((codes & 0x0F) << 3) + 0x84 << ((codes & 0x70) >> 4)) - 0x84
        return np.where(codes & 0x80, -magnitude, magnitude).astype("<i2")
    codes ^= 0x55
    exponent = (codes & 0x70) >> 4
    mantissa = ((codes & 0x0F) << 4) + 8
    magnitude = np.where(exponent, mantissa + 0x100 << np.maximum(exponent - 1, 0), mantissa)
    return np.where(codes & 0x80, magnitude, -magnitude).astype("<i2")
