"""Formats and frames of audio."""

from __future__ import annotations

from typing import Protocol

import attrs

from .errors import ConfigurationError

BYTES_PER_SAMPLE = 2
"""All PCM here is signed 16-bit little-endian."""


# No speech has a rate outside of these, and libsamplerate converts between any two of them: it gives up beyond 1:256.
MIN_RATE, MAX_RATE = 4_000, 384_000


def _check_rate(_instance: object, _attribute: attrs.Attribute[int], value: int) -> None:
    if not (isinstance(value, int) and MIN_RATE <= value <= MAX_RATE):
        raise ConfigurationError(
            f"sample_rate must be a whole number of Hz from {MIN_RATE} to {MAX_RATE}, not {value!r}"
        )


def _check_channels(_instance: object, _attribute: attrs.Attribute[int], value: int) -> None:
    if not (isinstance(value, int) and 1 <= value <= 8):
        raise ConfigurationError(f"channels must be from 1 to 8, not {value!r}")


@attrs.frozen
class AudioFormat:
    """Interleaved s16le PCM: `sample_rate` in Hz, `channels`."""

    sample_rate: int = attrs.field(validator=_check_rate)
    channels: int = attrs.field(default=1, validator=_check_channels)

    @property
    def sample_width(self) -> int:
        """Bytes of one sample of all channels."""
        return BYTES_PER_SAMPLE * self.channels

    def samples(self, seconds: float) -> int:
        """The number of samples (per channel) in `seconds`."""
        return round(seconds * self.sample_rate)

    def seconds(self, samples: int) -> float:
        """How long `samples` (per channel) last."""
        return samples / self.sample_rate


@attrs.frozen
class AudioFrame:
    """A piece of one turn's audio.

    Attributes:
        pcm: interleaved s16le.
        sample_rate: in Hz.
        channels: interleaved channels.
        turn: number of the turn, counted from 1 per sink; a frame never mixes two turns.
        position: index in its turn of the frame's first sample, per channel, at the sink's rate.
    """

    pcm: bytes
    sample_rate: int
    channels: int
    turn: int
    position: int

    @property
    def samples(self) -> int:
        """Samples per channel."""
        return len(self.pcm) // (BYTES_PER_SAMPLE * self.channels)

    @property
    def seconds(self) -> float:
        """How long the frame lasts."""
        return self.samples / self.sample_rate


class Playout(Protocol):
    """What a playing device tells, so that an interruption is exact up to the loudspeaker.

    Both methods are called synchronously from within the fence, which may be inside of trio's own cancel(): they must
    not block.  What they raise is logged, and the device is then taken to hold nothing.
    """

    def held(self) -> int:
        """Samples (per channel) taken from the source and not yet played."""
        ...

    def drop(self, samples: int) -> None:
        """Forget the newest `samples` of those held: they belong to an interrupted turn."""
        ...
