"""A streaming resampler for signed 16-bit PCM whose rate is a whole multiple of the one wanted.

A linear-phase low-pass filter, a sinc under a Kaiser window, is worked out at the samples that are kept only.  It
passes 88% of the new band within 0.002 dB, and attenuates all that would fold into it by 76 dB and more.

Sums are exact: samples are of 16 bits, coefficients of 30, and float64 holds their sums.  So the output is the same,
bit for bit, however the input is cut and in whatever order a matrix product adds.  It is rounded once, ties to even,
and clipped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Output samples that the filter reaches to either side: 2.5 ms at 16 kHz.  It is what is withheld.
_REACH = 40

# The middle of the transition, by the new Nyquist frequency, and Kaiser's beta: it ends at the Nyquist frequency.
_CUTOFF = 0.94
_BETA = 7.5

# The last bit of a coefficient.
_UNIT = 2.0**-30

# Output samples to a row of the matrix product: of few the overhead counts, of many the zeros in the matrix.
_ROW = 16

# Of numbers in the windows of one product: it stays in the cache, and below what BLAS divides among threads.
_MOST_WINDOWS = 2**14

_MOST_FACTOR = 12


def decimation(in_rate: int, out_rate: int) -> int | None:
    """The factor by which a :class:`Decimator` gets from one rate to another; None if it does not."""
    factor, rest = divmod(in_rate, out_rate)
    return factor if rest == 0 and 2 <= factor <= _MOST_FACTOR else None


@lru_cache(maxsize=_MOST_FACTOR)
def _coefficients(factor: int) -> NDArray[np.float64]:
    """Of the filter; their sum is exactly 1, so that silence with an offset stays what it is."""
    reach = _REACH * factor
    position = np.arange(-reach, reach + 1)
    ideal = np.sinc(_CUTOFF * position / factor) * np.kaiser(len(position), _BETA)
    coefficients: NDArray[np.float64] = np.rint(ideal / ideal.sum() / _UNIT) * _UNIT
    coefficients[reach] += 1 - coefficients.sum()
    return coefficients


@lru_cache(maxsize=_MOST_FACTOR)
def _matrix(factor: int) -> NDArray[np.float64]:
    """What a window of the input times it is a row of the output: the filter, shifted on from column to column."""
    coefficients = _coefficients(factor)
    matrix = np.zeros((len(coefficients) + (_ROW - 1) * factor, _ROW))
    for column in range(_ROW):
        matrix[column * factor : column * factor + len(coefficients), column] = coefficients
    return matrix


class Decimator:
    """Convert one stream of interleaved s16le PCM to a fraction of its rate, in pieces of any size.

    The filter's delay is compensated: content is not shifted, but 40 samples of output are withheld until later input
    arrives.  :meth:`flush` brings them out.

    Args:
        factor: input samples to an output sample, see :func:`decimation`.
        channels: interleaved channels of what goes in.
        mix: average the channels, exactly, and give one.
    """

    def __init__(self, factor: int, channels: int = 1, *, mix: bool = False) -> None:
        self._factor = factor
        self._channels = channels
        self._mix = mix
        self._matrix = _matrix(factor)
        lanes = 1 if mix else channels
        self._padding = np.zeros((lanes, _ROW * factor))  # for the end of a row, which is dropped
        self._silence = np.zeros((lanes, _REACH * factor))
        self.discard()

    def process(self, pcm: bytes) -> bytes:
        """Take whole samples in, give what is ready out; possibly nothing yet.

        Args:
            pcm: interleaved s16le, a whole number of samples of every channel.
        """
        if not pcm:
            return b""
        samples = np.frombuffer(pcm, "<i2").reshape(-1, self._channels)
        self._samples_in += len(samples)
        ready = max(0, -(-self._samples_in // self._factor) - _REACH)
        return self._convert(total(samples)[np.newaxis] if self._mix else samples.T, ready - self._samples_out)

    def flush(self) -> bytes:
        """End the stream: give what was withheld and start afresh.

        In all, `n` samples in give ``round(n / factor)`` samples out.
        """
        tail = self._convert(self._silence, round(self._samples_in / self._factor) - self._samples_out)
        self.discard()
        return tail

    def discard(self) -> None:
        """Forget all that was withheld and start afresh."""
        self._held: NDArray[np.float64] = self._silence  # by channel: what the output samples to come depend on
        self._samples_in = self._samples_out = 0

    def _convert(self, samples: NDArray[np.int16 | np.int32 | np.float64], count: int) -> bytes:
        """Take samples in, by channel, and give so many out."""
        data = np.concatenate((self._held, samples, self._padding), axis=1, dtype=np.float64)
        most = _ROW * max(1, _MOST_WINDOWS // self._matrix.shape[0] // len(data))
        pieces = [self._filter(data, start, min(count - start, most)) for start in range(0, count, most)]
        self._held = data[:, count * self._factor : -self._padding.shape[1]]
        self._samples_out += count
        return b"".join(pieces)

    def _filter(self, data: NDArray[np.float64], start: int, count: int) -> bytes:
        """Give output samples, from one on that is counted from the first that the data is for."""
        lanes, rows, width = len(data), -(-count // _ROW), len(self._matrix)
        lane, sample = data.strides
        strides = (lane, _ROW * self._factor * sample, sample)
        windows = np.ndarray((lanes, rows, width), data.dtype, data, start * self._factor * sample, strides)
        apart = np.ascontiguousarray(windows).reshape(-1, width)  # BLAS takes no rows that overlap
        filtered = (apart @ self._matrix).reshape(lanes, -1)[:, :count]
        if self._mix:
            filtered /= self._channels
        return np.rint(filtered).clip(-32768, 32767).astype("<i2").T.tobytes()


def total(samples: NDArray[np.int16]) -> NDArray[np.int32]:
    """The sum of all channels, which is exact: samples by channels, to samples."""
    sums = samples[:, 0].astype(np.int32)
    for channel in range(1, samples.shape[1]):
        sums += samples[:, channel]
    return sums
