"""What the simulated voices share: their options, and how a text becomes audio and audio becomes frames."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from ._checks import at_least, positive
from ._options import SimulatorOptions
from ._server import Simulator
from ._speech import SpokenWord
from .tagged import tagged_pcm

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._server import Connection, Segment
    from ._speech import Voice

__all__ = ["Recording", "Speaker", "SpeechOptions", "SpeechSimulator", "tagged_words"]

BIG_MESSAGE = 1 << 20
"""Bytes of audio that the fault ``big_message`` sends in one frame."""

_WORD = re.compile(r"\S+")


@attrs.frozen(kw_only=True)
class SpeechOptions(SimulatorOptions):
    """What every simulated voice can be told.  Times are in seconds unless the name says milliseconds.

    Attributes:
        first_audio: from what asks for speech to its first audio.
        speed: audio is sent this many times faster than it plays; ``inf`` for as fast as the client takes it.
        ms_per_char: milliseconds of audio for each character of text.
        frame_ms: milliseconds of audio in a frame.
        frame_ms_min: with `frame_ms_max`, frames of random lengths from this …
        frame_ms_max: … to this.
        seed: of the frames' lengths and of the request ids.
        voice: speak the text instead of sending tagged audio; the simulator must have been given a voice.
        odd_frames: send frames of an odd number of bytes, so that samples are torn (16-bit samples only).
        empty_frames: send an empty frame before every frame of audio.
    """

    first_audio: float = attrs.field(default=0.137, validator=at_least(0))
    speed: float = attrs.field(default=4.0, validator=positive)
    ms_per_char: float = attrs.field(default=60.0, validator=positive)
    frame_ms: float = attrs.field(default=40.0, validator=positive)
    frame_ms_min: float | None = attrs.field(default=None, validator=positive)
    frame_ms_max: float | None = attrs.field(default=None, validator=positive)
    voice: bool = False
    odd_frames: bool = False
    empty_frames: bool = False

    def __attrs_post_init__(self) -> None:
        if (self.frame_ms_min is None) != (self.frame_ms_max is None):
            raise ValueError("frame_ms_min and frame_ms_max belong together")
        if self.frame_ms_min is not None and self.frame_ms_max is not None and self.frame_ms_min > self.frame_ms_max:
            raise ValueError(f"frame_ms_min={self.frame_ms_min}: more than frame_ms_max={self.frame_ms_max}")


SpeechOptionsT = TypeVar("SpeechOptionsT", bound=SpeechOptions)


class SpeechSimulator(Simulator[SpeechOptionsT], Generic[SpeechOptionsT]):
    """A provider that speaks.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    def __init__(self, options: SpeechOptionsT, voice: Voice | None) -> None:
        super().__init__(options)
        if self.options.voice and voice is None:
            raise ValueError("voice=True: the simulator was given no voice")
        self.voice: Voice | None = voice


@attrs.define
class Recording:
    """The audio of a segment as it goes out, and how much of it was sent.

    Attributes:
        segment: what it is of; its `sent` is kept.
        audio: encoded.
        width: bytes of an encoded sample.
        words: of the segment's text, with their times in seconds from its first sample.
        offset: bytes sent so far, those whose message was handed to the transport whole.
    """

    segment: Segment
    audio: bytes = attrs.field(repr=False)
    width: int
    words: tuple[SpokenWord, ...] = ()
    offset: int = 0

    @property
    def over(self) -> bool:
        """Whether all of it was sent."""
        return self.offset >= len(self.audio)

    def advance(self, size: int) -> None:
        """Note that the next `size` bytes were sent."""
        self.offset += size
        self.segment.sent = self.offset // self.width


class Speaker:
    """Speaks on one connection.

    Args:
        connection: for its options, faults and segments.
        sample_rate: of the audio, in Hz.
        voice: what speaks if the options ask for it.
        width: bytes of an encoded sample.
        encode: what s16le PCM becomes on the wire; None for itself.
    """

    def __init__(
        self,
        connection: Connection[SpeechOptionsT],
        sample_rate: int,
        voice: Voice | None,
        *,
        width: int = 2,
        encode: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.sample_rate = sample_rate
        self.width = width
        self._connection = connection
        self._voice = voice
        self._encode = encode
        self._random = random.Random(f"{connection.options.seed}/{connection.number}/frames")  # noqa: S311

    @property
    def _options(self) -> SpeechOptions:
        return self._connection.options

    def begin(self, text: str, samples: int | None = None) -> Segment:
        """The segment of a text, as long as the options say, or `samples` long."""
        options = self._options
        if samples is None:
            samples = round(len(text) * self.sample_rate * options.ms_per_char / 1000)
            if self._connection.faults.big_message:
                samples = BIG_MESSAGE // self.width
            elif options.voice:
                samples = 0  # known once it is spoken
        return self._connection.server.begin_segment(self._connection.number, text, samples)

    async def record(self, segment: Segment) -> Recording:
        """The audio of a segment: spoken if the options ask for it, else tagged."""
        if self._voice is None or not self._options.voice:
            return self.tagged(segment)
        speech = await self._voice.speak(segment.text, self.sample_rate)
        segment.samples = len(speech.pcm) // 2
        return Recording(segment, self._encoded(speech.pcm), self.width, speech.words)

    def tagged(self, segment: Segment) -> Recording:
        """The tagged audio of a segment; its words last as long as they have characters."""
        words = tagged_words(segment.text, segment.samples / self.sample_rate)
        return Recording(segment, self._encoded(tagged_pcm(segment.number, 0, segment.samples)), self.width, words)

    def unasked(self, frames: int) -> Recording:
        """Tagged audio of so many frames that nobody asked for, a segment of its own."""
        samples = round(frames * self._options.frame_ms * self.sample_rate / 1000)
        return self.tagged(self.begin("", samples))

    def cut(self, recording: Recording) -> bytes:
        """The next frame of a recording, of the length that the options want; :meth:`Recording.advance` when sent."""
        return recording.audio[recording.offset : recording.offset + self._frame_bytes()]

    def seconds(self, size: int) -> float:
        """How long it takes to send `size` bytes of audio, at the pace of the options."""
        return size / (self.sample_rate * self.width) / self._options.speed

    def _frame_bytes(self) -> int:
        options = self._options
        if self._connection.faults.big_message:
            return BIG_MESSAGE
        milliseconds = options.frame_ms
        if options.frame_ms_min is not None and options.frame_ms_max is not None:
            milliseconds = self._random.uniform(options.frame_ms_min, options.frame_ms_max)
        samples = max(round(self.sample_rate * milliseconds / 1000), 1)
        return samples * self.width + (options.odd_frames and self.width == 2)

    def _encoded(self, pcm: bytes) -> bytes:
        return pcm if self._encode is None else self._encode(pcm)


def tagged_words(text: str, seconds: float) -> tuple[SpokenWord, ...]:
    """The words of a text that lasts so long, each character as long as the next; white space is silence."""
    each = seconds / max(len(text), 1)
    return tuple(SpokenWord(word[0], word.start() * each, word.end() * each) for word in _WORD.finditer(text))
