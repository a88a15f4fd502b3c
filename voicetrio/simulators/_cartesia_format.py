"""The formats of audio that Cartesia's websockets offer, as its documentation lists them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from ._g711 import encode as encode_g711

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEFAULT_FORMAT", "OutputFormat"]


class OutputFormat(msgspec.Struct, frozen=True):
    """How audio is sent.

    Attributes:
        container: there are no others on a websocket.
        encoding: of a sample.
        sample_rate: in Hz.
    """

    container: Literal["raw"]
    encoding: Literal["pcm_f32le", "pcm_s16le", "pcm_mulaw", "pcm_alaw"]
    sample_rate: Literal[8000, 16000, 22050, 24000, 44100, 48000]

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return {"pcm_f32le": 4, "pcm_s16le": 2}.get(self.encoding, 1)

    @property
    def encoder(self) -> Callable[[bytes], bytes] | None:
        """What turns s16le PCM into this encoding; None if there is nothing to do."""
        match self.encoding:
            case "pcm_f32le":
                return _float32
            case "pcm_mulaw":
                return partial(encode_g711, law="mulaw")
            case "pcm_alaw":
                return partial(encode_g711, law="alaw")
        return None


DEFAULT_FORMAT = OutputFormat("raw", "pcm_s16le", 24000)
"""Of audio that nobody asked for."""


def _float32(pcm: bytes) -> bytes:
    """Samples from -1 to 1, exact: 16 bits fit into the 24 of a float's fraction."""
    return (np.frombuffer(pcm, "<i2") / np.float32(32768)).astype("<f4").tobytes()
