"""The sound that recognizers are given, and how much of it arrives.

It is made like a voice: a gliding tone with all its harmonics up to 20 kHz, in syllables, and above it a sine that
sweeps the same range, so that whatever a resampler lets through from above 8 kHz shows below.  Both ends are silent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

GIVEN_RATE, SENT_RATE = 48_000, 16_000
SILENCE = 0.1
"""Seconds at either end."""

BANDS = {"snr_db": (50.0, 5500.0), "wide_db": (50.0, 7000.0)}
"""In Hz: where any resampler should be transparent, and where it shows how early its filter falls."""

_FINE = 16


@lru_cache(maxsize=4)
def voice(seconds: float) -> bytes:
    """So many seconds at 48 kHz, s16le, stereo; the right channel is softer and has a hiss of its own."""
    time = np.arange(round(seconds * GIVEN_RATE)) / GIVEN_RATE
    pitch = 150 + 50 * np.sin(2 * np.pi * 0.6 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / GIVEN_RATE
    tones = sum(np.sin(harmonic * phase) / harmonic**0.7 for harmonic in range(1, 100))
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time)
    sweep = np.sin(2 * np.pi * 60 * seconds / np.log(330) * (330 ** (time / seconds) - 1))
    sound = tones * syllables + 0.3 * sweep
    edge = np.clip(np.minimum(time - SILENCE, seconds - SILENCE - time) / 0.05, 0, 1)
    sound *= edge / np.abs(sound).max()
    hiss = np.random.default_rng(0).normal(size=len(time)) * edge
    both = np.stack([0.6 * sound, 0.45 * sound + 0.005 * hiss], axis=1)
    return np.rint(32767 * both).astype("<i2").tobytes()


def reference(pcm: bytes) -> NDArray[np.float64]:
    """What stereo at 48 kHz is as mono at 16 kHz, resampled in one go by cutting its spectrum."""
    mono = np.frombuffer(pcm, "<i2").reshape(-1, 2).mean(axis=1)
    mono = mono[: len(mono) - len(mono) % 6]
    length = len(mono) * SENT_RATE // GIVEN_RATE
    spectrum = np.fft.rfft(mono)[: length // 2 + 1]
    return np.fft.irfft(spectrum, length) * SENT_RATE / GIVEN_RATE


def ratio(arrived: bytes, wanted: NDArray[np.float64], band: tuple[float, float]) -> float:
    """Signal over noise in dB, within a band in Hz, once both are aligned to a fraction of a sample; 0 if none came."""
    sound = np.frombuffer(arrived, "<i2").astype(np.float64)
    if not sound.any():
        return 0.0
    size = 1 << int(len(sound) + len(wanted) - 1).bit_length()
    there, here = np.fft.rfft(sound, size), np.fft.rfft(wanted, size)
    turn = 2 * np.pi * np.arange(size // 2 + 1) / size
    # Between the samples, too: the peak of a tone may lie halfway.
    shift = int(np.argmax(np.fft.irfft(there * here.conj(), _FINE * size))) / _FINE
    here = here * np.exp(-1j * turn * shift)
    inside = (turn >= 2 * np.pi * band[0] / SENT_RATE) & (turn <= 2 * np.pi * band[1] / SENT_RATE)
    there, here, turn = there[inside], here[inside], turn[inside]
    for _ in range(4):  # the delay that is left is the slope of the phase
        cross = there * here.conj()
        slope = float(np.sum(np.abs(cross) * turn * np.angle(cross)) / np.sum(np.abs(cross) * turn**2))
        here = here * np.exp(1j * turn * slope)
    noise = float(np.sum(np.abs(there - here) ** 2))
    return float(10 * np.log10(np.sum(np.abs(here) ** 2) / max(noise, 1e-9)))
