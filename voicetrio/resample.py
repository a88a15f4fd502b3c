"""A streaming resampler for signed 16-bit PCM, on libsamplerate.

libsamplerate compensates its own group delay, so content is not shifted: what it costs is a few samples withheld until
later input arrives (1–9 ms, by quality).  :meth:`Resampler.flush` brings them out, :meth:`Resampler.discard` forgets
them.  However the input is cut the output is the same, but for roundings of the last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
import samplerate

from ._format import MAX_RATE, MIN_RATE
from .errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Quality = Literal["sinc_fastest", "sinc_medium", "sinc_best"]
"""libsamplerate's band-limited converters, each dearer than the one before.

Of the band that both rates have, ``"sinc_fastest"`` passes 68% within 0.01 dB, ``"sinc_medium"`` 84% and
``"sinc_best"`` 94%; down to 16 kHz they withhold 1.3, 3 and 9 ms.  Below that none leaves much more of an error than
rounding to 16 bits does.  Its other two converters do not filter at all and are not offered.
"""

_QUALITIES = ("sinc_fastest", "sinc_medium", "sinc_best")

# Input samples that libsamplerate's filters reach on either side of an output sample, at ratios of 1 and above: the
# sizes of its tables over their steps.  Below 1 the filter is stretched by the ratio.
_REACH = {"sinc_fastest": 2464 / 128, "sinc_medium": 22438 / 491, "sinc_best": 340239 / 2381}

# More than the filter needs, in input samples: positions are counted in floating point.
_MARGIN = 4


class _Converter(Protocol):
    def read(self, num_frames: int) -> NDArray[np.float32]: ...

    def reset(self) -> None: ...


class _Feed:
    """What a converter takes its input from; apart from the resampler, as the converter keeps a reference."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._pieces: list[NDArray[np.float32]] = []
        self.starved = False

    def add(self, data: NDArray[np.float32]) -> None:
        self._pieces.append(data.reshape(-1, self._channels) if self._channels > 1 else data)

    def clear(self) -> None:
        self._pieces.clear()

    def pull(self) -> NDArray[np.float32]:
        if not self._pieces:
            self.starved = True
            self.add(np.empty(0, np.float32))
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


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
        self._lag = math.ceil(_REACH[quality] / min(1.0, self._ratio)) + _MARGIN
        self._feed = _Feed(channels)
        # Not samplerate.Resampler: its process() loses input that is not needed to fill the output it allots.  This one
        # is asked for what can be had and no more, so that it never meets the end of its input.
        self._converter = cast(
            "_Converter", samplerate.CallbackResampler(self._feed.pull, self._ratio, quality, channels)
        )
        self._samples_in = 0
        self._samples_out = 0

    def process(self, pcm: bytes) -> bytes:
        """Take whole samples in, give what is ready out; possibly nothing yet.

        Args:
            pcm: interleaved s16le, a whole number of samples of every channel.
        """
        if not pcm:
            return b""
        samples = np.frombuffer(pcm, "<i2")
        self._samples_in += len(samples) // self.channels
        self._feed.add(samples.astype(np.float32))
        return self._read(math.floor((self._samples_in - self._lag) * self._ratio) - self._samples_out)

    def flush(self) -> bytes:
        """End the stream: give what was withheld and start afresh.

        In all, `n` samples in give ``round(n * out_rate / in_rate)`` samples out.
        """
        wanted = round(self._samples_in * self.out_rate / self.in_rate) - self._samples_out
        silence = self._lag + math.ceil(2 / self._ratio)
        self._feed.add(np.zeros(silence * self.channels, np.float32))
        tail = self._read(wanted)
        self.discard()
        return tail

    def discard(self) -> None:
        """Forget all that was withheld and start afresh."""
        self._feed.clear()
        self._converter.reset()
        self._samples_in = self._samples_out = 0

    def _read(self, count: int) -> bytes:
        if count <= 0:
            return b""
        out = self._converter.read(count)
        if self._feed.starved or len(out) != count:
            raise RuntimeError("libsamplerate's filter reaches further than is known of it: samples would be lost")
        self._samples_out += count
        return np.clip(np.rint(out), -32768, 32767).astype("<i2").tobytes()
