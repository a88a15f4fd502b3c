"""A streaming resampler for signed 16-bit PCM, on libsamplerate.

libsamplerate compensates its own group delay, so content is not shifted: what it costs is a few samples withheld until
later input arrives (1–9 ms, by quality).  :meth:`Resampler.flush` brings them out, :meth:`Resampler.discard` forgets
them.  However the input is cut the output is the same, but for roundings of the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
import samplerate

from ._format import MAX_RATE, MIN_RATE
from .errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Quality = Literal["sinc_fastest", "sinc_medium", "sinc_best"]
"""libsamplerate's band-limited converters: about 77, 92 and 92 dB on speech, each two to four times dearer than the one
before.  Its other two converters do not filter at all and are not offered."""

_QUALITIES = ("sinc_fastest", "sinc_medium", "sinc_best")

# Silence that pushes out whatever a converter withholds; the most is the 9 ms of sinc_best going down.
_FLUSH_SECONDS = 0.05

_NOTHING: NDArray[np.float32] = np.empty(0, np.float32)


class _Converter(Protocol):
    def process(self, data: NDArray[np.float32], ratio: float, end_of_input: bool = ...) -> NDArray[np.float32]: ...

    def reset(self) -> None: ...


class Resampler:
    """Convert one stream of interleaved s16le PCM from one rate to another, in pieces of any size.

    Args:
        in_rate: samples a second of what goes in.
        out_rate: samples a second of what comes out.
        channels: interleaved channels of both.
        quality: see :data:`Quality`.

    Raises:
        ConfigurationError: for a rate, channel count or quality that cannot be.
    """

    def __init__(self, in_rate: int, out_rate: int, *, channels: int = 1, quality: Quality = "sinc_fastest") -> None:
        for rate in (in_rate, out_rate):
            if not MIN_RATE <= rate <= MAX_RATE:
                raise ConfigurationError(f"a sample rate of {rate} Hz cannot be resampled")
        if channels < 1:
            raise ConfigurationError(f"channels must be at least 1, not {channels}")
        if quality not in _QUALITIES:
            raise ConfigurationError(f"unknown quality {quality!r}: one of {', '.join(_QUALITIES)}")
        self.in_rate: int = in_rate
        self.out_rate: int = out_rate
        self.channels: int = channels
        self._ratio = out_rate / in_rate
        self._converter = cast("_Converter", samplerate.Resampler(quality, channels))
        self._waiting = _NOTHING
        self._samples_in = 0
        self._samples_out = 0

    def process(self, pcm: bytes) -> bytes:
        """Take whole samples in, give what is ready out; possibly nothing yet.

        Args:
            pcm: interleaved s16le, a whole number of samples of every channel.
        """
        samples = np.frombuffer(pcm, "<i2")
        self._samples_in += len(samples) // self.channels
        return self._convert(samples.astype(np.float32))

    def flush(self) -> bytes:
        """End the stream: give what was withheld and start afresh.

        In all, `n` samples in give ``round(n * out_rate / in_rate)`` samples out.
        """
        wanted = round(self._samples_in * self.out_rate / self.in_rate) - self._samples_out
        # end_of_input=True would cut the tail: the binding allots output for the input of that call alone.
        silence = np.zeros(round(_FLUSH_SECONDS * self.in_rate) * self.channels, np.float32)
        tail = self._convert(silence)[: 2 * self.channels * wanted]
        self.discard()
        return tail

    def discard(self) -> None:
        """Forget all that was withheld and start afresh."""
        self._converter.reset()
        self._waiting = _NOTHING
        self._samples_in = self._samples_out = 0

    def _convert(self, data: NDArray[np.float32]) -> bytes:
        if self._waiting.size:
            data = np.concatenate((self._waiting, data))
        # The binding allots ceil(n * ratio) samples of output to n of input, and loses the input that libsamplerate did
        # not need to fill them.  That happens where they are but one, which may still be owed for earlier input.
        if len(data) // self.channels * self._ratio <= 1:
            self._waiting = data
            return b""
        self._waiting = _NOTHING
        shaped = data.reshape(-1, self.channels) if self.channels > 1 else data
        out = self._converter.process(shaped, self._ratio)
        self._samples_out += len(out)
        return np.clip(np.rint(out), -32768, 32767).astype("<i2").tobytes()
