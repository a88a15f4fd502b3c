"""A turn: one utterance, with its text, its scope, its timeline and exactly one outcome.

How a cancelled scope becomes a fence is told in ``_caller``.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from functools import partial
from typing import Literal

import attrs
import trio

from ._caller import Caller
from .audio import TurnAudio
from .errors import InputError
from .text import Chunk, FlushMarker, Text, check_chunk

logger: logging.Logger = logging.getLogger(__name__)

Outcome = Literal["completed", "completed_inferred", "interrupted"]
"""How a turn ended, if not with an exception.  ``completed_inferred``: the provider gave no end marker."""

# Chunks read ahead of what has been sent: enough to hide a scheduler pass, too few to hoard.
_READ_AHEAD = 64

# Seconds by which the sums of a word's times may be off.
_ROUNDING = 1e-6

# An interrupted text generator may clean up for this long; it holds nobody up.
_GENERATOR_CLEANUP_SECONDS = 1.0


@attrs.frozen
class Word:
    """A spoken word, or phoneme; `start` and `end` in seconds from the turn's first sample."""

    text: str
    start: float
    end: float

    def shifted(self, seconds: float) -> Word:
        """The same, so much later."""
        return Word(self.text, self.start + seconds, self.end + seconds)


@attrs.frozen
class Timestamps:
    """Words and phonemes of a turn that became known at once, perhaps before their audio was heard.

    Attributes:
        turn: its number in the sink, as in its frames.
        words: with times, in order.
        phonemes: with times, in order; in the provider's alphabet.
    """

    turn: int
    words: tuple[Word, ...]
    phonemes: tuple[Word, ...]


@attrs.frozen
class Timeline:
    """When a turn reached its stations, all by :func:`trio.current_time`; None where it did not.

    Attributes:
        requested: ``synthesize()`` was called.
        started: its place in the line came.
        connected: it had a link.
        first_text: its first text was handed to the link.
        first_audio: the first audio of it arrived.
        first_sample: the first sample of it was in the sink.
        last_sample: the last sample of it was in the sink.
        fenced: an interruption silenced it.
        ended: its outcome was known.
    """

    requested: float
    started: float | None = None
    connected: float | None = None
    first_text: float | None = None
    first_audio: float | None = None
    first_sample: float | None = None
    last_sample: float | None = None
    fenced: float | None = None
    ended: float | None = None

    def marks(self) -> list[tuple[str, float]]:
        """The stations that were reached, in the order of time."""
        reached = [(name, time) for name, time in attrs.asdict(self).items() if time is not None]
        return sorted(reached, key=lambda mark: mark[1])

    def parts(self) -> dict[str, float]:
        """Seconds from each station to the next, by the name of the next; they add up to :attr:`total`."""
        return {name: time - before for (_, before), (name, time) in itertools.pairwise(self.marks())}

    @property
    def total(self) -> float:
        """Seconds from the call to the last station."""
        return self.marks()[-1][1] - self.requested

    @property
    def time_to_first_audio(self) -> float | None:
        """Seconds from the call to the first sample in the sink."""
        return None if self.first_sample is None else self.first_sample - self.requested


@attrs.frozen
class Synthesis:
    """How a turn went.

    Attributes:
        turn: its number in the sink, as in its frames.
        outcome: see :data:`Outcome`.
        samples: what came of it at the sink's rate, per channel; for an interrupted turn, what was heard.
        seconds: how long those last.
        words: with times, where the provider gives them.
        phonemes: with times, where the provider was asked for them.
        request_id: the provider's id, if it gave one.
        timeline: when it reached its stations.
    """

    turn: int
    outcome: Outcome
    samples: int
    seconds: float
    words: tuple[Word, ...]
    phonemes: tuple[Word, ...]
    request_id: str | None
    timeline: Timeline


@attrs.frozen
class Interruption:
    """What an interruption cut off.

    Attributes:
        turn: the earliest of those interrupted, which was being heard if any of them was; 0 if nothing of a realtime
            model's reply had come.
        turns: all turns interrupted at once, in order.
        samples_heard: of `turn`, at the sink's rate, per channel.
        samples_dropped: of all `turns`: samples that had arrived and were not heard.
        seconds_heard: how long `samples_heard` last.
        text_heard: the text of `turn` up to the last word that ended at or before that, verbatim where the provider's
            words are found in it; None where the provider gives no times.
        at: when, by :func:`trio.current_time`.
    """

    turn: int
    turns: tuple[int, ...]
    samples_heard: int
    samples_dropped: int
    seconds_heard: float
    text_heard: str | None
    at: float


class TextFailed(Exception):
    """The caller's own text iterator raised `error`; carries it from where it was met to the call."""

    def __init__(self, error: Exception) -> None:
        super().__init__(repr(error))
        self.error = error


class Script:
    """A turn's text as a log that grows at one end and can be read again from the other.

    A streamed text is read by a task of its own (:meth:`feed`), so that a slow or failing iterator holds up nothing but
    its turn, and a second attempt on another link can start from the beginning.
    """

    def __init__(self, text: Text) -> None:
        self._chunks: list[Chunk] = []
        self._source: AsyncIterable[Chunk] | None = None
        self._failure: Exception | None = None
        self._read = 0
        self._changed = trio.lowlevel.ParkingLot()
        self.ended: bool = True
        if isinstance(text, AsyncIterable):
            self._source = text
            self.ended = False
        elif isinstance(text, FlushMarker):
            raise InputError("a FlushMarker alone is no text")
        else:
            self._chunks.append(check_chunk(text))

    @property
    def streamed(self) -> bool:
        """Whether the text comes bit by bit, and :meth:`feed` must run."""
        return self._source is not None

    @property
    def text(self) -> str:
        """The text known so far."""
        return "".join(chunk for chunk in self._chunks if isinstance(chunk, str))

    async def feed(self, scope: trio.CancelScope) -> None:
        """Read the caller's iterator to its end, or until `scope` is cancelled.

        What it raises is raised by :meth:`chunk`, and so by the call; if the call is over, it is logged.
        """
        try:
            with scope:
                await self._pull()
        # Outside of the scope: of a group with a Cancelled in it only the rest arrives here.
        except Exception as exc:
            self._failure = exc
            if scope.cancel_called:
                logger.exception("the text iterator of a turn that is over failed")
        finally:
            self.ended = True
            self._changed.unpark_all()

    async def _pull(self) -> None:
        assert self._source is not None
        iterator = aiter(self._source)
        try:
            async for chunk in iterator:
                self._chunks.append(check_chunk(chunk))
                self._changed.unpark_all()
                while len(self._chunks) - self._read >= _READ_AHEAD:
                    await self._changed.park()
        finally:
            if isinstance(iterator, AsyncGenerator):
                await _close_generator(iterator)  # noqa: ASYNC102  # it shields itself, with a deadline

    async def chunk(self, index: int) -> Chunk | None:
        """The chunk at this index as soon as it is there; None behind the last.

        Raises:
            TextFailed: with whatever the caller's iterator raised.
        """
        while index >= len(self._chunks) and not self.ended:
            await self._changed.park()
        if index >= len(self._chunks):
            if self._failure is not None:
                raise TextFailed(self._failure)
            return None
        self._read = max(self._read, index + 1)
        self._changed.unpark_all()
        return self._chunks[index]


async def _close_generator(generator: AsyncGenerator[object, None]) -> None:
    try:
        with trio.move_on_after(_GENERATOR_CLEANUP_SECONDS, shield=True):
            await generator.aclose()
    except Exception:  # its turn is over, so there is no call left to raise it from
        logger.exception("the text generator of a turn failed while it was being closed")


class Turn:
    """One utterance on its way from the call to its outcome.

    `scope` surrounds the work on it and `text_scope` the reading of its text, each in a task of the session.

    Args:
        script: its text.
        audio: its place in the sink.
        on_abandoned: called synchronously when a scope around the caller is cancelled.
    """

    def __init__(self, script: Script, audio: TurnAudio, on_abandoned: Callable[[Turn], None]) -> None:
        self.number: int = audio.number
        self.script: Script = script
        self.audio: TurnAudio = audio
        self._stations = {"requested": trio.current_time()}
        self.scope: trio.CancelScope = trio.CancelScope()
        # Shielded: a Cancelled from outside would leave it beside what the iterator raises, in a group.  Whatever ends
        # the turn, also the cancellation of the session's tasks, cancels it.
        self.text_scope: trio.CancelScope = trio.CancelScope(shield=True)
        self.words: list[Word] = []
        self.phonemes: list[Word] = []
        self.reached: int = 0  # characters whose audio has come whole
        self._reached_samples = 0
        self.request_id: str | None = None
        self.inferred: bool = False
        self._on_abandoned = on_abandoned
        self._caller = Caller()
        self._error: Exception | None = None
        self._over = False

    @property
    def silenced(self) -> bool:
        """Whether an interruption has reached it."""
        return "fenced" in self._stations

    @property
    def over(self) -> bool:
        """Whether it has its outcome."""
        return self._over

    @property
    def timeline(self) -> Timeline:
        """Its stations so far."""
        return Timeline(**self._stations)

    def mark(self, station: str) -> None:
        """Note that it has reached a station of its timeline, for the first time since it :meth:`start_over`."""
        if station not in self._stations:
            self._stations[station] = trio.current_time()

    async def wait(self) -> Synthesis:
        """Wait for the outcome, in the caller's task.

        Raises:
            VoiceTrioError: what the turn failed with.
            Exception: what the caller's own text iterator raised.
        """
        abandon = partial(self._on_abandoned, self)
        if not self._over:
            await self._caller.park(abandon)
        await self._caller.confirm(abandon)
        if self._error is not None:
            raise self._error
        return self._synthesis()

    @property
    def resumable(self) -> bool:
        """Whether another attempt can go on where the last one stopped: not one sample beyond :attr:`reached`."""
        return self.audio.received == self._reached_samples

    def reach(self, characters: int) -> None:
        """All audio of so many characters has come, and no other."""
        self.reached = characters
        self.audio.start_over()  # what follows are samples of their own
        self._reached_samples = self.audio.received

    def start_over(self) -> None:
        """Forget what an earlier attempt left beyond what it has reached, which is no whole sample."""
        assert self.resumable
        seconds = self.audio.received / self.audio.format.sample_rate
        self.words = [word for word in self.words if word.start < seconds]
        self.phonemes = [phoneme for phoneme in self.phonemes if phoneme.start < seconds]
        if not self.audio.received:
            for station in ("connected", "first_text", "first_audio"):
                self._stations.pop(station, None)
        self.audio.start_over()

    def fence(self) -> None:
        """Silence the turn and stop all work on it.  Synchronous and idempotent."""
        if not self.audio.fenced:
            self.mark("fenced")
            self.audio.fence()
            self._stop("interrupted")
        self.resolve()

    def _stop(self, reason: str) -> None:
        self.scope.cancel(reason=reason)
        self.text_scope.cancel(reason=reason)

    def fail(self, error: Exception) -> None:
        """End the turn with an error; what is in the sink can still be heard."""
        if not self._over:
            self._error = error
            self._stop(f"the turn failed: {type(error).__name__}")
            self.resolve()

    def resolve(self) -> None:
        """Give the turn its outcome and wake its caller; only the first call counts."""
        if self._over:
            return
        self._over = True
        for station, at in (("first_sample", self.audio.first_queued), ("last_sample", self.audio.last_queued)):
            if at is not None:
                self._stations[station] = at
        self.mark("ended")
        self.audio.finish()
        self._caller.wake(self.audio)

    def text_heard(self) -> str | None:
        """The text up to the last word that ended at or before the position heard; None if no word has a time."""
        if not self.words:
            return None
        heard = self.audio.heard_seconds
        return text_up_to(self.script.text, [word.text for word in self.words if word.end <= heard + _ROUNDING])

    def _synthesis(self) -> Synthesis:
        interrupted = self.audio.fenced
        samples = self.audio.heard if interrupted else self.audio.converted
        outcome: Outcome = "interrupted" if interrupted else "completed_inferred" if self.inferred else "completed"
        seconds = samples / self.audio.sample_rate
        words, phonemes = tuple(self.words), tuple(self.phonemes)
        return Synthesis(self.number, outcome, samples, seconds, words, phonemes, self.request_id, self.timeline)


def text_up_to(text: str, words: list[str]) -> str:
    """The beginning of a text that ends with the last of its first words, or, if they are not found, the words.

    Providers leave out punctuation and white space, and some say numbers in words.
    """
    end = 0
    for word in words:
        at = text.find(word.strip(), end)
        if at < 0:
            return " ".join(word.strip() for word in words)
        end = at + len(word.strip())
    return text[:end]


def interruption(turns: list[Turn]) -> Interruption:
    """What was cut off, of turns that have all been fenced; at least one."""
    first = turns[0]
    dropped = sum(turn.audio.converted - turn.audio.heard for turn in turns)
    return Interruption(
        turn=first.number,
        turns=tuple(turn.number for turn in turns),
        samples_heard=first.audio.heard,
        samples_dropped=dropped,
        seconds_heard=first.audio.heard_seconds,
        text_heard=first.text_heard(),
        at=trio.current_time(),
    )
