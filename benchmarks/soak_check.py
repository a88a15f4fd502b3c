"""The arithmetic of the soak: what was taken from the source against what the simulator was asked to say.

For every turn the ledger keeps the samples that the reader took.  What a turn may sound like is known exactly: the
tagged audio of the segments that the simulator made of its text, through a resampler of its own where the rates differ
(the same whatever the pieces, but for a rounding).  So every sample is compared with the one that must be there.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np
import trio

from voicetrio import Interruption, Synthesis
from voicetrio.resample import Resampler
from voicetrio.simulators import Segment, Server, read_tags, tagged_pcm

if TYPE_CHECKING:
    from soak_plan import SessionPlan

    from voicetrio.audio import AudioFrame, TurnAudio

Kind = Literal["stale", "lost", "doubled", "reordered", "foreign", "account", "outcome", "leak", "error"]

# The resampler's own memory: what it withholds is less than this.
_WITHHELD_SECONDS = 0.05


@attrs.frozen
class Violation:
    """Something that must not be.

    Attributes:
        run: in which it was found.
        kind: ``stale``: a sample passed after its turn was silenced.  ``lost``, ``doubled``, ``reordered``: samples of
            a turn are missing, came twice, or came out of order.  ``foreign``: samples that are not the turn's own.
            ``account``: the numbers reported do not add up.  ``outcome``: a turn ended otherwise than it must.
            ``leak``: something was left behind.  ``error``: an exception.
        detail: in words.
    """

    run: int
    kind: Kind
    detail: str


@attrs.define(eq=False)
class Spoken:
    """A turn, from its call on.

    Attributes:
        id: number in the session, in its text.
        run: number of the run.
        text: all of it.
        scope: around the call.
        audio: its place in the sink, once it has one.
        got: what the reader took, until it is compared.
        taken: how many samples that is.
        synthesis: what the call returned.
        silenced: whether nothing of it may pass any more.
        counted: whether its interruption was reported.
        cut_short: whether that was before its call had returned.
        returned: whether the call has ended.
        verified: whether its audio has been compared; nothing more may come.
        frames: how many frames the reader took.
    """

    id: int
    run: int
    text: str
    scope: trio.CancelScope
    audio: TurnAudio | None = None
    got: bytearray = attrs.Factory(bytearray)
    taken: int = 0
    synthesis: Synthesis | None = None
    silenced: bool = False
    counted: bool = False
    cut_short: bool = False
    returned: trio.Event = attrs.Factory(trio.Event)
    verified: bool = False
    frames: int = 0

    @property
    def running(self) -> bool:
        """Whether the call is under way and has a place in the line."""
        return self.audio is not None and not self.returned.is_set()


class Device:
    """A sound card in virtual time, for :meth:`voicetrio.audio.AudioSource.attach`.

    Attributes:
        played: samples played, by number of the turn.
    """

    def __init__(self, rate: int) -> None:
        self.played: Counter[int] = Counter()
        self._rate = rate
        self._buffer: deque[list[int]] = deque()  # turn, samples
        self._played_until = trio.current_time()

    def push(self, frame: AudioFrame) -> None:
        """Take a frame."""
        self._advance()
        self._buffer.append([frame.turn, frame.samples])

    def held(self) -> int:
        """Samples that are not played yet."""
        self._advance()
        return sum(samples for _, samples in self._buffer)

    def drop(self, samples: int) -> None:
        """Forget the newest `samples`."""
        while samples > 0:
            newest = self._buffer[-1]
            cut = min(samples, newest[1])
            newest[1] -= cut
            samples -= cut
            if not newest[1]:
                self._buffer.pop()

    def holds(self, turn: int) -> int:
        """How many samples of a turn are not played yet."""
        self._advance()
        return sum(samples for number, samples in self._buffer if number == turn)

    def _advance(self) -> None:
        now = trio.current_time()
        due = int((now - self._played_until) * self._rate + 1e-6)
        self._played_until += due / self._rate
        while due > 0 and self._buffer:
            oldest = self._buffer[0]
            played = min(due, oldest[1])
            self.played[oldest[0]] += played
            oldest[1] -= played
            due -= played
            if not oldest[1]:
                self._buffer.popleft()
        if not self._buffer:
            self._played_until = now


class Ledger:
    """What was asked for, what was taken, and whether they agree.

    Attributes:
        run: the run under way.
        violations: what was found wrong.
        counts: what was checked.
    """

    def __init__(self, server: Server, plan: SessionPlan, device: Device | None) -> None:
        self.run = 0
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.turns: dict[int, Spoken] = {}  # by number in the sink
        self._open: dict[int, Spoken] = {}  # … those that are not verified
        self._server = server
        self._provider_rate = plan.provider_rate
        self._sink_rate = plan.sink_rate
        self._whole = plan.dialect.outcome
        self._device = device
        self._segments_read = 0
        self._segments: dict[int, list[Segment]] = {}  # by the turn's id
        self._latest: dict[int, set[int]] = {}  # ids in the latest segment, by connection
        self._newest = 0
        self.received = 0  # samples written to turns that are verified

    def found(self, kind: Kind, detail: str, run: int | None = None) -> None:
        """Note a violation."""
        self.violations.append(Violation(self.run if run is None else run, kind, detail))

    def open(self, turn: Spoken, audio: TurnAudio) -> None:
        """A turn has got its place in the line."""
        turn.audio = audio
        self.turns[audio.number] = self._open[audio.number] = turn

    def take(self, frame: AudioFrame) -> Spoken:
        """The reader took a frame: it must follow what was taken of its turn, which must not be silenced."""
        turn = self.turns[frame.turn]
        expected = turn.taken
        if turn.silenced or turn.verified:
            self.found("stale", f"turn {frame.turn}: {frame.samples} samples from {frame.position} on, though silenced")
        if frame.position > expected:
            self.found("lost", f"turn {frame.turn}: went from {expected} to {frame.position}")
        elif frame.position < expected:
            self.found("doubled", f"turn {frame.turn}: went from {expected} back to {frame.position}")
        if frame.turn < self._newest:
            self.found("reordered", f"turn {frame.turn} after turn {self._newest}")
        self._newest = max(self._newest, frame.turn)
        turn.got += frame.pcm
        turn.taken += frame.samples
        turn.frames += 1
        if self._device is not None:
            self._device.push(frame)
        return turn

    def cut(self, cut: Interruption, *, by_scope: bool = False) -> None:
        """Turns were silenced in this very step, or by a deadline in the one that woke us.

        What a session tells of its latest one includes those just before it, until each call has returned.
        """
        heard = converted = new = 0
        for number in cut.turns:
            turn = self.turns[number]
            if turn.counted and not by_scope:
                self.found("account", f"turn {number} was interrupted twice")
            elif not turn.counted:
                turn.silenced = turn.counted = True
                turn.cut_short = turn.synthesis is None
                new = 1
            held = self._device.holds(number) if self._device is not None else 0
            if held:
                self.found("stale", f"turn {number}: the device still holds {held} samples of it")
            heard += self._heard(number, turn)
            converted += turn.audio.converted if turn.audio is not None else 0
        first = self._heard(cut.turn, self.turns[cut.turn])
        if first != cut.samples_heard:
            kind: Kind = "stale" if first > cut.samples_heard else "account"
            self.found(kind, f"turn {cut.turn}: {first} samples passed, {cut.samples_heard} reported as heard")
        if converted - heard != cut.samples_dropped:
            self.found("account", f"turns {cut.turns}: {converted} - {heard} dropped, not {cut.samples_dropped}")
        self.counts["interruptions"] += new

    def _heard(self, number: int, turn: Spoken) -> int:
        return turn.taken if self._device is None else self._device.played[number]

    def settle(self) -> None:
        """Compare all turns of which nothing more may come."""
        for number, turn in list(self._open.items()):
            if turn.returned.is_set() and (turn.counted or self._is_drained(turn)):
                self.verify(number, turn)

    @staticmethod
    def _is_drained(turn: Spoken) -> bool:
        return turn.synthesis is not None and turn.taken >= turn.synthesis.samples

    def settle_all(self) -> None:
        """Compare what is left at the end of the session."""
        for number, turn in list(self._open.items()):
            if not turn.silenced and not self._is_drained(turn):
                wanted = turn.synthesis.samples if turn.synthesis is not None else "?"
                self.found("lost", f"turn {number}: {turn.taken} samples of {wanted}", turn.run)
            self.verify(number, turn)

    def verify(self, number: int, turn: Spoken) -> None:
        """Compare a turn's audio with what it must be."""
        del self._open[number]
        turn.verified = True
        assert turn.audio is not None
        self.received += turn.audio.received
        segments = self._segments_of(turn.id)
        if turn.silenced:
            self._verify_interrupted(number, turn, segments)
        else:
            self._verify_completed(number, turn, segments)
        expected = self._expected(segments, turn.taken, whole=not turn.silenced)
        if turn.got != expected and not self._is_rounding(turn.got, expected):
            kind: Kind = "foreign" if len(expected) >= len(turn.got) else "doubled"
            self.found(kind, self._difference(number, turn, expected), turn.run)
        self.counts["turns"] += 1
        self.counts["samples"] += turn.taken
        turn.got = bytearray()

    def _verify_interrupted(self, number: int, turn: Spoken, segments: list[Segment]) -> None:
        said = "".join(segment.text for segment in segments)
        if not turn.text.startswith(said):
            self.found("foreign", f"turn {number} said {said!r}, not {turn.text!r}", turn.run)
        synthesis = turn.synthesis
        if synthesis is None:
            return  # its scope was cancelled
        if turn.cut_short:
            wanted, samples = "interrupted", self._heard(number, turn)
        else:
            wanted, samples = self._whole, synthesis.samples
        if (synthesis.outcome, synthesis.samples) != (wanted, samples):
            is_so = f"{synthesis.outcome} with {synthesis.samples}"
            self.found("outcome", f"turn {number}: {is_so}, must be {wanted} with {samples}", turn.run)

    def _verify_completed(self, number: int, turn: Spoken, segments: list[Segment]) -> None:
        said = "".join(segment.text for segment in segments)
        if said != turn.text:
            self.found("lost", f"turn {number} said {said!r}, not {turn.text!r}", turn.run)
        synthesis = turn.synthesis
        if synthesis is None:
            self.found("outcome", f"turn {number} ended with neither result nor interruption", turn.run)
        elif synthesis.outcome != self._whole or synthesis.samples != turn.taken:
            self.found(
                "outcome", f"turn {number}: {synthesis.outcome} with {synthesis.samples}, took {turn.taken}", turn.run
            )
        self.counts["completed"] += 1

    def _segments_of(self, turn_id: int) -> list[Segment]:
        """The segments made of a turn's text, on the connection that was the last to say it."""
        segments = self._server.segments
        for segment in segments[self._segments_read :]:
            if not segment.text:
                continue  # nobody asked for it
            # What has no mark goes on with what was said last on its connection: the server may cut a text anywhere.
            marks = {int(mark) for mark in re.findall(r"<(\d+)>", segment.text)} or self._latest.get(segment.connection)
            for mark in marks or ():
                self._segments.setdefault(mark, []).append(segment)
            self._latest[segment.connection] = marks or set()
        self._segments_read = len(segments)
        own = self._segments.get(turn_id, [])
        return [segment for segment in own if segment.connection == own[-1].connection]

    def _expected(self, segments: list[Segment], samples: int, *, whole: bool) -> bytes:
        """The first `samples` samples of a turn, or all of it."""
        if not whole and not samples:
            return b""
        wanted = sum(segment.samples for segment in segments)
        if not whole:
            needed = samples * self._provider_rate / self._sink_rate + _WITHHELD_SECONDS * self._provider_rate
            wanted = min(wanted, int(needed) + 1)
        pieces: list[bytes] = []
        for segment in segments:
            count = min(segment.samples, wanted)
            pieces.append(tagged_pcm(segment.number, 0, count))
            wanted -= count
        pcm = b"".join(pieces)
        if self._provider_rate != self._sink_rate:
            resampler = Resampler(self._provider_rate, self._sink_rate)
            pcm = resampler.process(pcm) + resampler.flush()
        return pcm if whole else pcm[: 2 * samples]

    def _is_rounding(self, got: bytearray, expected: bytes) -> bool:
        """Whether the two differ as a resampler may whose input was cut otherwise: by the last bit, here and there."""
        if self._provider_rate == self._sink_rate or len(got) != len(expected):
            return False
        error = np.abs(np.frombuffer(got, "<i2").astype(np.int32) - np.frombuffer(expected, "<i2"))
        self.counts["roundings"] += int(np.count_nonzero(error))
        return bool(error.max() <= 1 and np.count_nonzero(error) <= 1 + len(error) // 100)

    def _difference(self, number: int, turn: Spoken, expected: bytes) -> str:
        got = turn.got
        pairs = range(0, min(len(got), len(expected)), 2)
        at = next((index for index in pairs if got[index : index + 2] != expected[index : index + 2]), None)
        where = f"differs at sample {at // 2}" if at is not None else "is a prefix of the other"
        text = f"turn {number}: {len(got) // 2} samples against {len(expected) // 2}, {where}"
        if self._provider_rate == self._sink_rate:
            text += f"; it has {read_tags(got)[:6]}, must have {read_tags(expected)[:6]}"
        return text
