"""Whether every sample of tagged audio arrived: once, in order, in its own turn, and no other.

The simulators send audio in which each sample tells its segment and its position (``voicetrio.simulators.tagged``), so
this is arithmetic: nothing needs to keep what was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs
import numpy as np

from voicetrio.simulators.tagged import POSITIONS, SEGMENTS, Run, read_tags

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from voicetrio.simulators import Segment

__all__ = ["Span", "TaggedError", "TaggedFrame", "TaggedReport", "check_tagged"]

_BYTES_PER_SAMPLE = 2
# More problems than this are the same few again.
_MAX_TOLD = 20


class TaggedError(AssertionError):
    """Tagged audio was not as expected; the message tells how."""


class TaggedFrame(Protocol):
    """What a frame must have: mono s16le PCM, its turn, and the index in that turn of its first sample.

    :class:`voicetrio.AudioFrame` has it.
    """

    @property
    def pcm(self) -> bytes: ...  # noqa: D102

    @property
    def turn(self) -> int: ...  # noqa: D102

    @property
    def position(self) -> int: ...  # noqa: D102


@attrs.frozen
class Span:
    """`count` samples of a segment from position `start` on."""

    segment: int
    start: int
    count: int


Expected: TypeAlias = "Span | Segment | tuple[int, int, int]"


@attrs.frozen
class TaggedReport:
    """What :func:`check_tagged` has found.  All numbers count samples.

    Where two pieces meet that do not belong together, one sample may have the same bits as either would have there, so
    a number may be one off for each such place; whether there is any problem at all is exact.

    Attributes:
        samples: how many there were.
        stale: of another turn, of a segment that was not expected, or after a later turn had begun.
        lost: expected before the last one that came, and absent.
        doubled: beyond the first of their kind.
        reordered: came after one that belongs behind them.
        missing: expected after the last one that came.  Right for an interrupted turn.
        misplaced: in frames whose `position` is not the number of samples of their turn so far.
        unreadable: without a tag that can be read, such as one sample alone between others.
        problems: all of this in words; empty if the audio is as expected.
    """

    samples: int = 0
    stale: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    missing: int = 0
    misplaced: int = 0
    unreadable: int = 0
    problems: tuple[str, ...] = ()

    def raise_if_problems(self) -> None:
        """Raise if anything was wrong.

        Raises:
            TaggedError: with all problems.
        """
        if self.problems:
            told, more = self.problems[:_MAX_TOLD], len(self.problems) - _MAX_TOLD
            raise TaggedError("\n".join([*told, f"… and {more} more"] if more > 0 else told))


def check_tagged(
    frames: Iterable[TaggedFrame],
    expected: Mapping[int, Sequence[Expected]],
    *,
    interrupted: Collection[int] = (),
) -> TaggedReport:
    """Compare frames of tagged audio with what should have arrived.

    Args:
        frames: what came out of the audio source, in order.  The audio must not have been resampled.
        expected: for each turn the spans that it should consist of, in order.  A span is ``(segment, start, count)`` or
            one of a simulator's segments, which stands for all of it.  At most 2**21 samples of one segment (87 seconds
            at 24 kHz) can be told apart.
        interrupted: turns that may end early: from these, samples may be missing at the end, but not before.

    Returns:
        The report; call its :meth:`~TaggedReport.raise_if_problems`.

    Raises:
        ValueError: a frame ends in half a sample, or a span is too long.
    """
    findings = _Findings()
    audio = findings.sort_by_turn(frames)
    for turn in [*expected, *(turn for turn in audio if turn not in expected)]:
        spans = [_span(each) for each in expected.get(turn, ())]
        findings.check_turn(turn, bytes(audio.get(turn, b"")), spans, may_end_early=turn in interrupted)
    return findings.report()


def _span(expected: Expected) -> Span:
    if isinstance(expected, Span):
        span = expected
    elif isinstance(expected, tuple):
        span = Span(*expected)
    else:
        span = Span(expected.number, 0, expected.samples)
    if span.count > POSITIONS:
        raise ValueError(f"{span.count} samples of one segment: at most {POSITIONS} can be told apart")
    return span


class _Findings:
    """The report while it is being made."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._problems: list[str] = []

    def report(self) -> TaggedReport:
        return TaggedReport(**self._counts, problems=tuple(self._problems))

    def _count(self, kind: str, samples: int) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + samples

    def _wrong(self, kind: str, samples: int, turn: int, where: str) -> None:
        if samples:
            self._count(kind, samples)
            self._problems.append(f"turn {turn}: {samples} samples {kind}{where}")

    def sort_by_turn(self, frames: Iterable[TaggedFrame]) -> dict[int, bytearray]:
        """The audio of each turn, without what came after a later turn had begun."""
        audio: dict[int, bytearray] = {}
        current: int | None = None
        for frame in frames:
            samples = len(frame.pcm) // _BYTES_PER_SAMPLE
            self._count("samples", samples)
            if frame.turn in audio and frame.turn != current:
                self._wrong("stale", samples, frame.turn, f": they came after turn {current} had begun")
                continue
            current = frame.turn
            pcm = audio.setdefault(frame.turn, bytearray())
            so_far = len(pcm) // _BYTES_PER_SAMPLE
            if frame.position != so_far:
                self._wrong("misplaced", samples, frame.turn, f": position {frame.position} should be {so_far}")
            pcm += frame.pcm
        return audio

    def check_turn(self, turn: int, pcm: bytes, spans: Sequence[Span], *, may_end_early: bool) -> None:
        """Lay what came over what should have come."""
        total = sum(span.count for span in spans)
        pieces: list[NDArray[np.int64]] = []
        for run in read_tags(pcm):
            if run.segment < 0:
                self._wrong("unreadable", run.length, turn, "")
                continue
            found = [np.arange(low, high) for low, high in _places(run, spans)]
            foreign = run.length - sum(map(len, found))
            self._wrong("stale", foreign, turn, f" of segment {run.segment} from position {run.start}")
            pieces += found
        arrived = np.concatenate([np.empty(0, np.int64), *pieces])
        self._check_order(turn, arrived, total, spans)
        missing = total - (int(arrived.max()) + 1 if len(arrived) else 0)
        if may_end_early:
            self._count("missing", missing)
        else:
            self._wrong("missing", missing, turn, " at its end")

    def _check_order(self, turn: int, arrived: NDArray[np.int64], total: int, spans: Sequence[Span]) -> None:
        if np.array_equal(arrived, np.arange(len(arrived))):
            return
        times = np.bincount(arrived, minlength=total)
        self._wrong_at("lost", np.flatnonzero(times[: int(arrived.max()) + 1] == 0), turn, spans)
        again = np.flatnonzero(times > 1)
        self._wrong_at("doubled", np.repeat(again, times[again] - 1), turn, spans)
        _, indices = np.unique(arrived, return_index=True)
        firsts = arrived[np.sort(indices)]
        self._wrong_at("reordered", firsts[firsts < np.maximum.accumulate(firsts)], turn, spans)

    def _wrong_at(self, kind: str, places: NDArray[np.int64], turn: int, spans: Sequence[Span]) -> None:
        if len(places):
            place = int(places[0])
            for span in spans:
                if place < span.count:
                    where = f", the first at position {span.start + place} of segment {span.segment}"
                    self._wrong(kind, len(places), turn, where)
                    return
                place -= span.count


def _places(run: Run, spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Where the samples of a run belong among the expected samples, as ranges, in the order of the run."""
    found: list[tuple[int, int, int]] = []
    before = 0
    for span in spans:
        if span.segment % SEGMENTS == run.segment:
            # Positions wrap around: of the two ways to lay one over the other, take the nearer.
            ahead = (run.start - span.start + POSITIONS // 2) % POSITIONS - POSITIONS // 2
            low, high = max(ahead, 0), min(ahead + run.length, span.count)
            if low < high:
                found.append((low - ahead, before + low, before + high))
        before += span.count
    return ((low, high) for _, low, high in sorted(found))
