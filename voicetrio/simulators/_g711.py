"""G.711 mu-law and A-law encoding of s16le PCM, by tables computed from the standard's rules."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["encode"]


def encode(pcm: bytes, law: Literal["mulaw", "alaw"]) -> bytes:
    """Encode s16le mono PCM, a byte for each sample."""
    codes: NDArray[np.uint8] = _table(law)[np.frombuffer(pcm, dtype="<u2")]
    return codes.tobytes()


@cache
def _table(law: Literal["mulaw", "alaw"]) -> NDArray[np.uint8]:
    """The code of every 16-bit sample, indexed by the sample read as unsigned."""
    samples = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)
    return _mulaw(samples) if law == "mulaw" else _alaw(samples)


def _mulaw(samples: NDArray[np.int32]) -> NDArray[np.uint8]:
    """ITU-T G.711, table 2: 14 bits, biased by 33, all bits of the code inverted."""
    linear = samples >> 2
    negative = linear < 0
    magnitude = np.minimum(np.where(negative, -linear, linear), 8158) + 33
    exponent = _highest_bit(magnitude) - 5
    code = exponent << 4 | magnitude >> (exponent + 1) & 0x0F
    return (~(code | np.where(negative, 0x80, 0)) & 0xFF).astype(np.uint8)


def _alaw(samples: NDArray[np.int32]) -> NDArray[np.uint8]:
    """ITU-T G.711, table 1: 13 bits, the even bits of the code inverted."""
    linear = samples >> 3
    negative = linear < 0
    magnitude = np.where(negative, ~linear, linear)
    exponent = np.maximum(_highest_bit(np.maximum(magnitude, 1)) - 4, 0)
    code = exponent << 4 | magnitude >> np.maximum(exponent, 1) & 0x0F
    return ((code | np.where(negative, 0, 0x80)) ^ 0x55).astype(np.uint8)


def _highest_bit(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return (np.frexp(values)[1] - 1).astype(np.int32)
