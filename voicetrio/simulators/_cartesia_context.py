"""One context of the simulated Cartesia: text goes in, and one task speaks it, strictly in the order it came.

The reader of the connection calls `add`, `cancel` and `fail`, which only note what is wanted and wake the task; the
task alone sends the context's audio and acknowledgements.  Whatever leaves the text buffer at once is one segment.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs
import trio

from ._cartesia_buffer import TextBuffer
from ._cartesia_request import RequestError
from ._cartesia_timing import WordClock, phonemes_of

if TYPE_CHECKING:
    from ._cartesia_events import EventSender
    from ._cartesia_request import Generation
    from ._server import Connection, Segment
    from ._speaker import Recording, Speaker
    from ._speech import SpokenWord
    from .cartesia import CartesiaOptions

__all__ = ["FOREIGN_CONTEXT", "Context", "ContextClosed"]

FOREIGN_CONTEXT = "a-context-of-nobody-here"
"""The id on audio that nobody on this connection asked for."""

MAX_WAITING = 20_000
"""Characters of text, and releases, that one context may have waiting: twenty minutes of speech."""


class ContextClosed(RequestError):
    """Input came for a context that takes none any more."""

    def __init__(self, context_id: str) -> None:
        super().__init__(
            400, "Context has closed", "Use another context_id for further requests.", context_id=context_id
        )


@attrs.frozen
class _Job:
    """One release of text, or the end of a section, or both.

    Attributes:
        segment: its audio, None for a flush of no text.
        flush_id: of the section that it belongs to.
        at: when it was released.
        marked: whether it ends the section.
    """

    segment: Segment | None
    flush_id: int
    at: float
    marked: bool

    @property
    def weight(self) -> int:
        """What it counts towards the limit."""
        return 1 + (len(self.segment.text) if self.segment else 0)


class Context:
    """A context, from its first request to its end.

    Args:
        connection: the connection, for its options, its log and its segments.
        events: sends events on it.
        speaker: makes audio in the format of this context.
        first: its first request, which :meth:`add` is still to be given.
        delay: seconds for which text waits at most.
    """

    def __init__(
        self,
        connection: Connection[CartesiaOptions],
        events: EventSender,
        speaker: Speaker,
        first: Generation,
        delay: float,
    ) -> None:
        self.id: str = first.context_id
        self._connection = connection
        self._events = events
        self._speaker = speaker
        self._first = first
        self._clock = WordClock(speaker.sample_rate)
        self._buffer = TextBuffer(delay)
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._flush_id = connection.options.first_flush_id
        self._spoken_flush_id = self._flush_id
        self._ending: Literal["finished", "cancelled", "failed"] | None = None
        self._cut = False
        self._busy = False
        self._due = -math.inf
        self._last_audio = math.inf
        self._nap = trio.CancelScope()

    @property
    def _options(self) -> CartesiaOptions:
        return self._connection.server.options

    # For the reader.

    def add(self, request: Generation) -> None:
        """Take a request of this context.

        Raises:
            ContextClosed: the context takes none any more.
            RequestError: the request does not fit those before it.
        """
        if self._ending is not None or self._expiry <= trio.current_time():
            raise ContextClosed(self.id)
        self._check(request)
        self._release_due()
        text = request.transcript
        self._buffer.add(text)
        at_once = bool(text) and not self._buffer.delay
        if at_once or request.flush or not request.more:
            self._release(self._buffer.take(), marked=at_once or request.flush)
        elif self._options.release == "sentence":
            self._release(self._buffer.take_sentences(len(text)))
        if not request.more:
            self._ending = "finished"
        self._nap.cancel(reason="a request came")

    def cancel(self) -> None:
        """Drop what is not begun; what is begun is cut off only if the options say so."""
        if self._ending in ("cancelled", "failed"):
            return
        self._release_due()
        self._ending = "cancelled"
        self._cut = self._options.cancel == "immediate"
        self._drop(cleared=True)

    def fail(self) -> None:
        """End the context at once and without a further word: an error event has said it."""
        if self._ending is None:
            self._ending = "failed"
            self._cut = True
            self._drop(cleared=False)

    def _check(self, request: Generation) -> None:
        repeated = self._options.empty_final_checked or request.transcript or request.more
        checked = repeated and self._options.constant_fields == "checked"
        if checked and request.constant != self._first.constant:
            names = sorted(
                name
                for name in request.constant.keys() | self._first.constant.keys()
                if request.constant.get(name) != self._first.constant.get(name)
            )
            detail = f"These must stay the same within a context: {', '.join(names)[:200]}."
            raise RequestError(400, "Invalid request", detail, context_id=self.id)
        if self._waiting + len(self._buffer) + len(request.transcript) >= MAX_WAITING:
            raise RequestError(400, "transcript is invalid", "Too much text is waiting.", context_id=self.id)

    def _release_due(self) -> None:
        """Release what has waited long enough, as of the moment at which it had."""
        due = self._buffer.due
        if due <= trio.current_time():
            self._release(self._buffer.take(), at=due)

    def _release(self, text: str, *, marked: bool = False, at: float | None = None) -> None:
        """Queue a text, and behind it the end of the section if it is `marked`."""
        if not text and not marked:
            return
        segment = self._speaker.begin(text) if text else None
        job = _Job(segment, self._flush_id, trio.current_time() if at is None else at, marked)
        self._jobs.append(job)
        self._waiting += job.weight
        self._flush_id += marked

    def _drop(self, *, cleared: bool) -> None:
        """Forget what is not begun, and wake the task."""
        self._buffer.take()
        for job in self._jobs:
            if job.segment is not None:
                self._connection.server.end_segment(job.segment, cleared=cleared)
        self._jobs.clear()
        self._nap.cancel(reason="the context ends")

    # The task.

    async def run(self) -> None:
        """Speak until the context ends.

        Raises:
            Disconnected: the connection is gone.
            Closing: the faults want it closed.
        """
        while True:
            self._release_due()
            if self._jobs:
                await self._do(self._jobs.popleft())
            elif self._ending is not None or self._expiry <= trio.current_time():
                break
            else:
                with trio.CancelScope(deadline=min(self._buffer.due, self._expiry)) as self._nap:
                    await trio.sleep_forever()
        if self._ending is None:
            self._connection.log("context_expired", context_id=self.id)
        await self._send_done()

    @property
    def _expiry(self) -> float:
        """When the context expires, if nothing comes: never while it has something to say."""
        if self._busy or self._jobs or self._buffer:
            return math.inf
        return self._last_audio + self._options.context_expiry

    async def _do(self, job: _Job) -> None:
        self._waiting -= job.weight
        self._busy = True
        if job.segment is not None:
            if job.flush_id != self._spoken_flush_id and self._options.timestamps_restart_on_flush:
                self._clock.restart()
            self._spoken_flush_id = job.flush_id
            await self._speak(job, job.segment)
        if job.marked and self._ending not in ("cancelled", "failed"):
            await self._events.flush_done(self.id, job.flush_id)
        self._busy = False

    async def _speak(self, job: _Job, segment: Segment) -> None:
        """Send the audio of a segment, or as much as is wanted of it."""
        self._due = max(job.at + self._options.first_audio, self._due, trio.current_time())
        rest = await self._speaker.record(segment)
        foreign = (
            self._speaker.tagged(self._speaker.begin("", segment.samples)) if self._options.wrong_context else None
        )
        self._clock.begin(rest)
        while not rest.over:
            await self._sleep_until_due()
            if self._cut:
                break
            self._due += self._speaker.seconds(await self._send_frame(job, rest, foreign))
        if self._cut and self._ending == "cancelled":
            for _ in range(self._options.late_frames):
                if not rest.over:
                    await self._send_frame(job, rest, foreign)
        self._clock.end(rest)
        self._connection.server.end_segment(segment, cleared=self._cut and self._ending == "cancelled")
        if foreign is not None:
            self._connection.server.end_segment(foreign.segment, cleared=False)

    async def _send_frame(self, job: _Job, rest: Recording, foreign: Recording | None) -> int:
        """Send the next frame of a recording and what belongs to it; how many bytes of audio it has."""
        if self._options.empty_frames:
            await self._events.chunk(self.id, job.flush_id, b"")
        frame = self._speaker.cut(rest)
        words = self._clock.take(rest, len(frame))
        before = self._options.timestamps == "before"
        if before:
            await self._send_words(job, words)
        await self._events.chunk(self.id, job.flush_id, frame, written=partial(rest.advance, len(frame)))
        self._last_audio = trio.current_time()
        if not before:
            await self._send_words(job, words)
        if foreign is not None and not foreign.over:
            stray = self._speaker.cut(foreign)
            written = partial(foreign.advance, len(stray))
            await self._events.chunk(FOREIGN_CONTEXT, self._options.first_flush_id, stray, written=written)
        return len(frame)

    async def _send_words(self, job: _Job, words: list[SpokenWord]) -> None:
        if words and self._first.words:
            await self._events.words(self.id, job.flush_id, words)
        if words and self._first.phonemes:
            await self._events.phonemes(self.id, job.flush_id, phonemes_of(words))

    async def _sleep_until_due(self) -> None:
        """Sleep until the next frame is due, but not on when the context is cut off."""
        while not self._cut and self._due > trio.current_time():
            with trio.CancelScope(deadline=self._due) as self._nap:
                await trio.sleep_forever()

    async def _send_done(self) -> None:
        marker = self._options.end_marker
        if marker == "late":
            await trio.sleep(self._options.end_marker_delay)
        if marker == "none" or not self._wants_done():
            return
        await self._events.done(self.id)
        if marker == "double":
            await self._events.done(self.id)

    def _wants_done(self) -> bool:
        match self._ending:
            case "finished":
                return True
            case "cancelled":
                return self._options.done_after_cancel
            case "failed":
                return False
        return self._options.done_after_expiry
