"""A reply of a realtime model: from what asked for it, if anything did, to its outcome.

Its audio comes faster than it plays, and what follows it on the wire, such as the news that the user has interrupted
it, must not wait behind a full sink.  So it waits here, bounded in seconds, and a task of its own writes it there.

How a cancelled scope becomes a fence is told in ``_caller``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import trio

from ._caller import Caller
from .audio import AudioFormat, TurnAudio
from .errors import NoAudio
from .turn import Interruption, Outcome


@attrs.frozen
class RealtimeReply:
    """How a reply went.

    Attributes:
        turn: its number in the sink, as in its frames; None if nothing of it is spoken.
        outcome: ``"completed"``; ``"completed_inferred"`` if the provider did not tell the end; ``"interrupted"``.
        text: what the model said, as far as it was told.
        samples: what came of it at the sink's rate, per channel; for an interrupted reply, what was heard.
        seconds: how long those last.
        asked_at: when it was asked for, by :func:`trio.current_time`.
        first_sample_at: when its first sample was in the sink; None if none was.
        ended_at: when its outcome was known.
    """

    turn: int | None
    outcome: Outcome
    text: str
    samples: int
    seconds: float
    asked_at: float
    first_sample_at: float | None
    ended_at: float


class Reply:
    """A reply on its way.

    Args:
        interruptible: whether :meth:`RealtimeSession.interrupt` ends it.
        asked: the text that asked for it; None if the model replies unasked, that is to what the user said.
        frames: pictures shown with that text, as JPEG.
        provider: the name that errors carry.
        on_abandoned: called synchronously when a scope around the caller is cancelled.
        on_resolved: called synchronously once the outcome is known.

    Attributes:
        audio: its place in the sink, as soon as it has begun, if the model speaks.
        begun: whether anything of it came.
        received: whether all of it came.
        whole: set with `received`.
        attempts: on how many links it was asked for.
        expires: until when the provider must begin it, by :func:`trio.current_time`.
        text: what the model said.
        trouble: an error that the provider reported meanwhile.
        error: what it failed with.
        changed: woken when any of that changes.
    """

    def __init__(
        self,
        *,
        interruptible: bool = True,
        asked: str | None = None,
        frames: Sequence[bytes] = (),
        provider: str = "",
        on_abandoned: Callable[[Reply], None] = lambda _: None,
        on_resolved: Callable[[Reply], None] = lambda _: None,
    ) -> None:
        self.interruptible: bool = interruptible
        self.asked: str | None = asked
        self.frames: Sequence[bytes] = frames
        self.attempts: int = 0
        self.audio: TurnAudio | None = None
        self.begun: bool = False
        self.received: bool = False
        self.whole: trio.Event = trio.Event()
        self.expires: float = math.inf
        self.text: str = ""
        self.trouble: Exception | None = None
        self.error: Exception | None = None
        self.scope: trio.CancelScope = trio.CancelScope()  # around writing it to the sink
        self.ask_scope: trio.CancelScope = trio.CancelScope()  # around asking for it
        self.changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._provider = provider
        self._on_abandoned = on_abandoned
        self._on_resolved = on_resolved
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._latest = 0.0
        self._outcome: Outcome | None = None
        self._inferred = False
        self._silenced = False
        self._cut_short = False
        self._discarded = 0  # bytes that had come and never were in the sink
        self._told = False
        self._caller = Caller()
        self._asked_at = trio.current_time()
        self._ended_at: float | None = None

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def number(self) -> int | None:
        """Its number in the sink."""
        return None if self.audio is None else self.audio.number

    @property
    def over(self) -> bool:
        """Whether it has its outcome."""
        return self._ended_at is not None

    @property
    def silenced(self) -> bool:
        """Whether nothing of it can be heard any more."""
        return self._silenced

    @property
    def audible(self) -> bool:
        """Whether anything of it may still be heard, or may come."""
        if self._silenced:
            return False
        return not self.over or (self.audio is not None and self.audio.audible)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None if it failed, or has not ended."""
        return self._outcome

    @property
    def dropped(self) -> int:
        """Samples that had come and were not heard, per channel, at the sink's rate."""
        if self.audio is None:
            return 0
        discarded = self._discarded / self.audio.format.sample_width / self.audio.format.sample_rate
        return self.audio.converted - self.audio.heard + round(discarded * self.audio.sample_rate)

    # -- what comes ----------------------------------------------------------------------------------------------------

    def begin(self, audio: TurnAudio | None) -> None:
        """Something of it has come."""
        self.begun = True
        self.audio = audio
        self._latest = trio.current_time()
        self.changed.unpark_all()

    def queued_seconds(self, fmt: AudioFormat) -> float:
        """How long the audio lasts that has not been written to the sink."""
        return self._bytes / fmt.sample_width / fmt.sample_rate

    def put(self, pcm: bytes) -> None:
        """Audio of it has come."""
        if self._silenced or self.received:
            return
        self._pieces.append(pcm)
        self._bytes += len(pcm)
        self._latest = trio.current_time()
        self.changed.unpark_all()

    def add_text(self, text: str, *, final: bool) -> None:
        """Some of what the model says, or all of it."""
        self.text = text if final else self.text + text
        self._latest = trio.current_time()
        self.changed.unpark_all()

    def end(self, *, cut_short: bool = False, inferred: bool = False) -> None:
        """All of it has come; `cut_short` if the provider broke it off, `inferred` if it did not say so."""
        self.received = True
        self.whole.set()
        self._cut_short = cut_short
        self._inferred = inferred
        self.changed.unpark_all()

    # -- the task that writes it to the sink ---------------------------------------------------------------------------

    async def play(self, first_timeout: float, inferred_end: float) -> None:
        """Write it to the sink as it comes, and resolve it when all of it is there.

        Args:
            first_timeout: seconds from its beginning in which its first audio must come.
            inferred_end: seconds after its latest audio from which it is taken to be over.

        Raises:
            SinkClosed: if nobody will read it.
        """
        with self.scope:
            while await self._more(first_timeout, inferred_end):
                piece = self._pieces.popleft()
                self._bytes -= len(piece)
                assert self.audio is not None
                await self.audio.write(piece)
                self.changed.unpark_all()
            self.resolve()

    async def _more(self, first_timeout: float, inferred_end: float) -> bool:
        """Wait for audio; False if all of it has been written."""
        while not self._pieces and not self.received:
            heard = self.text if self.audio is None else self.audio.received
            deadline = self._latest + (inferred_end if heard else first_timeout)
            if trio.current_time() >= deadline:
                self.end(inferred=True)
                break
            with trio.CancelScope(deadline=deadline):
                await self.changed.park()
        return bool(self._pieces)

    # -- how it ends ---------------------------------------------------------------------------------------------------

    def silence(self) -> None:
        """Let nothing of it pass any more.  Synchronous and idempotent."""
        if not self._silenced:
            self._silenced = True
            if self.audio is not None:
                self.audio.fence()
            self._stop("interrupted")
        self.resolve()
        if not self._told and self.error is None:
            self._outcome = "interrupted"  # it was over, but its caller had not looked yet

    def fail(self, error: Exception) -> None:
        """End it with an error; what is in the sink can still be heard."""
        if not self.over:
            self.error = error
            self._stop(f"the reply failed: {type(error).__name__}")
            self.resolve()

    def _stop(self, reason: str) -> None:
        self.received = True
        self.whole.set()
        self._discarded += self._bytes
        self._pieces.clear()
        self._bytes = 0
        self.scope.cancel(reason=reason)
        self.ask_scope.cancel(reason=reason)
        self.changed.unpark_all()

    def resolve(self) -> None:
        """Give it its outcome and wake its caller; only the first call counts."""
        if self.over:
            return
        self._ended_at = trio.current_time()
        self._judge()
        if self.audio is not None:
            self.audio.finish()
        self.changed.unpark_all()
        if self._caller.waiting:
            self._caller.wake(self.audio)
        else:
            self._tell()

    def _judge(self) -> None:
        if self.error is not None:
            return
        if self._silenced or self._cut_short:
            self._outcome = "interrupted"
        elif self._inferred and self.trouble is not None:
            self.error = self.trouble  # the provider said that something was wrong, and then nothing
        elif self.asked is not None and self.audio is not None and not self.audio.received:
            self.error = NoAudio("the reply ended without one sample", provider=self._provider)
        else:
            self._outcome = "completed_inferred" if self._inferred else "completed"

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._on_resolved(self)

    async def wait(self) -> RealtimeReply:
        """Wait for the outcome, in the caller's task.

        Raises:
            VoiceTrioError: what it failed with.
        """
        abandon = partial(self._on_abandoned, self)
        if not self.over:
            await self._caller.park(abandon)
        try:
            await self._caller.confirm(abandon)
        finally:
            self._tell()
        if self.error is not None:
            raise self.error
        return self._result()

    def _result(self) -> RealtimeReply:
        assert self._ended_at is not None
        assert self._outcome is not None
        samples, seconds, first = 0, 0.0, None
        if self.audio is not None:
            samples = self.audio.heard if self._silenced else self.audio.converted
            seconds, first = samples / self.audio.sample_rate, self.audio.first_queued
        return RealtimeReply(
            self.number, self._outcome, self.text, samples, seconds, self._asked_at, first, self._ended_at
        )


def interruption(replies: Sequence[Reply]) -> Interruption:
    """What was cut off, of replies that have all been silenced, in order; those that had not begun have no turn."""
    audios = [reply.audio for reply in replies if reply.audio is not None]
    if not audios:
        return Interruption(0, (), 0, 0, 0.0, None, trio.current_time())
    first = audios[0]
    return Interruption(
        turn=first.number,
        turns=tuple(audio.number for audio in audios),
        samples_heard=first.heard,
        samples_dropped=sum(reply.dropped for reply in replies),
        seconds_heard=first.heard_seconds,
        text_heard=None,
        at=trio.current_time(),
    )
