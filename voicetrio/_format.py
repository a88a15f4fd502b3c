"""Formats and frames of audio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from .errors import ConfigurationError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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


# Of the items of buffers: bytes, and 16-bit samples as numpy and array have them.
_PCM_ITEMS = ("B", "b", "c", "h", "<h")


@attrs.frozen
class AudioFrame:
    """A piece of audio: of one turn's, if it comes from a source.

    Attributes:
        pcm: interleaved s16le.
        sample_rate: in Hz.
        channels: interleaved channels.
        turn: number of the turn, counted from 1 per sink; a frame never mixes two turns.  0: of none, as what a
            microphone hears.
        position: index in its turn of the frame's first sample, per channel, at the sink's rate; 0 of no turn's.
    """

    pcm: bytes
    sample_rate: int
    channels: int = 1
    turn: int = 0
    position: int = 0

    @property
    def samples(self) -> int:
        """Samples per channel."""
        return len(self.pcm) // (BYTES_PER_SAMPLE * self.channels)

    @property
    def seconds(self) -> float:
        """How long the frame lasts."""
        return self.samples / self.sample_rate


AudioLike: TypeAlias = "bytes | bytearray | memoryview | NDArray[np.int16] | AudioFrame"
"""What sessions take for audio: bytes of s16le or a buffer of 16-bit samples, such as an array; or a frame."""


def pcm_of(audio: AudioLike, fmt: AudioFormat, *, within_sample: bool = False) -> bytes:
    """The PCM of what is given as audio of a format.

    Args:
        audio: bytes, a buffer of 16-bit samples, or a frame.
        fmt: what a frame must have.
        within_sample: whether what was given before ends within a sample: then no frame can follow.

    Raises:
        InputError: if it is no audio (a number, a list, floating point samples), or a frame that does not fit.
    """
    if isinstance(audio, bytes):
        return audio
    if isinstance(audio, AudioFrame):
        if (audio.sample_rate, audio.channels) != (fmt.sample_rate, fmt.channels):
            raise InputError(
                f"a frame of {audio.channels} channels at {audio.sample_rate} Hz does not fit audio of {fmt.channels} "
                f"at {fmt.sample_rate} Hz"
            )
        if within_sample:
            raise InputError("a frame within a sample: the bytes before it end with half a sample")
        return audio.pcm
    try:
        view = memoryview(audio)  # type: ignore[arg-type]  # of arrays known to be buffers from Python 3.12 on
    except TypeError:
        raise InputError(f"audio must be bytes of s16le or a frame, not {type(audio).__name__}") from None
    if view.format not in _PCM_ITEMS:
        raise InputError(f"audio must be bytes of s16le or a frame, not items of the format {view.format!r}")
    return view.tobytes()


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
