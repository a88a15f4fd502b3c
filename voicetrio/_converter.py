"""From the caller's audio to the provider's, and back: cut anywhere, any rate, any number of channels."""

from __future__ import annotations

import numpy as np

from ._decimator import Decimator, decimation, total
from ._format import AudioFormat, AudioLike, pcm_of
from .resample import Resampler


class AudioConverter:
    """Converts one stream of s16le PCM.

    A rate is divided by a whole number with a filter of our own, which is better and cheaper there; libsamplerate's
    ``sinc_fastest`` gets from any other rate to any other.  What is right already passes as it is.

    Args:
        given: the format of what goes in.
        wanted: the format of what comes out.  Where the numbers of channels differ all of them are averaged, and the
            result is put on each channel that is wanted.  Sums are exact; the mean is rounded, ties to even, unless the
            filter takes it as it is.
    """

    def __init__(self, given: AudioFormat, wanted: AudioFormat) -> None:
        self._given = given
        self._wanted = wanted
        self._odd = b""  # bytes of a sample that has not come whole
        self._mix = given.channels != wanted.channels and given.channels > 1
        self._copies = wanted.channels if given.channels != wanted.channels else 1
        self._resampler: Decimator | Resampler | None = None
        factor = decimation(given.sample_rate, wanted.sample_rate)
        if factor is not None:
            self._resampler = Decimator(factor, given.channels, mix=self._mix)
            self._mix = False
        elif given.sample_rate != wanted.sample_rate:
            channels = 1 if self._mix else given.channels
            self._resampler = Resampler(given.sample_rate, wanted.sample_rate, channels=channels)

    def pcm_of(self, audio: AudioLike) -> bytes:
        """The bytes of what comes next, which is given to :meth:`process` then.

        Raises:
            InputError: if it is no audio, or a frame of another format or within a sample.
        """
        return pcm_of(audio, self._given, within_sample=bool(self._odd))

    def process(self, pcm: bytes) -> bytes:
        """Take bytes in, give the samples out that are ready."""
        data = self._odd + pcm if self._odd else pcm
        end = len(data) - len(data) % self._given.sample_width
        self._odd = data[end:]
        mixed = self._mix_down(data[:end])
        return self._spread(self._resampler.process(mixed) if self._resampler is not None else mixed)

    def flush(self) -> bytes:
        """Give the milliseconds out that the resampler withholds."""
        return self._spread(self._resampler.flush()) if self._resampler is not None else b""

    def _mix_down(self, pcm: bytes) -> bytes:
        if not self._mix:
            return pcm
        sums = total(np.frombuffer(pcm, "<i2").reshape(-1, self._given.channels))
        return np.rint(sums / self._given.channels).astype("<i2").tobytes()

    def _spread(self, pcm: bytes) -> bytes:
        if self._copies == 1:
            return pcm
        return np.repeat(np.frombuffer(pcm, "<i2"), self._copies).tobytes()
