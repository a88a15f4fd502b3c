"""The formats of LMNT's audio that can be made without a codec."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

import attrs
import numpy as np

from ._g711 import encode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FORMATS", "AudioFormat"]

_UNKNOWN_SIZE = 0xFFFFFFFF
"""What a WAV header says of the size of a stream."""

_MULAW_TAG = 7


@attrs.frozen
class AudioFormat:
    """How samples are put on the wire.

    Attributes:
        name: as in the init.
        width: bytes of a sample.
        encode: from s16le PCM; None for itself.
        header: what goes ahead of the samples, given their rate in Hz; None for nothing.
    """

    name: str
    width: int
    encode: Callable[[bytes], bytes] | None = None
    header: Callable[[int], bytes] | None = None


def _float32(pcm: bytes) -> bytes:
    """Samples from -1 to 1 as 32-bit floats, which hold 16 bits exactly."""
    return (np.frombuffer(pcm, "<i2").astype("<f4") / np.float32(32768)).tobytes()


def _mulaw_header(sample_rate: int) -> bytes:
    """The header of a WAV file of mu-law samples, whose end is not known."""
    layout = struct.pack("<HHIIHHH", _MULAW_TAG, 1, sample_rate, sample_rate, 1, 8, 0)
    return b"".join(
        (
            b"RIFF",
            struct.pack("<I", _UNKNOWN_SIZE),
            b"WAVEfmt ",
            struct.pack("<I", len(layout)),
            layout,
            b"data",
            struct.pack("<I", _UNKNOWN_SIZE),
        )
    )


FORMATS = {
    each.name: each
    for each in (
        AudioFormat("pcm_s16le", 2),
        AudioFormat("raw", 2),
        AudioFormat("pcm_f32le", 4, _float32),
        AudioFormat("ulaw", 1, partial(encode, law="mulaw"), _mulaw_header),
    )
}
