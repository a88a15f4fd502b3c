"""What one link is sent of a session's audio, and what it says about that."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs
import trio

from ._backlog import Backlog
from ._format import AudioFormat
from ._link.link import Link, Message
from ._stt_dialect import STTDialect
from .transcript import STTEvent, Transcript
from .turn import Word

SETTLING = 0.3
"""Seconds before a final transcript without times came, in which what was sent is not taken to be part of it.

Such finals are made in silence, and take a round trip to come.  What was sent within this time may be heard a second
time if the link is lost before the next one: audio of this length or, on a link that is still catching up, more.  But
what came just after the silence is not lost.
"""

# Of audio in a message: what recognizers ask for, and not much to lose.
_PIECE_SECONDS = 0.1

# Of audio without a break, between silences that keep a link alive.  Only times near the end are asked for.
_MOST_PIECES = 1024


class Feed:
    """One link's share of the audio, from the first sample that is not acknowledged on.

    `scope` surrounds the talking on the link, and its deadline is the watchdog over a provider that owes an answer.
    It does not run while `resting`: then it is the session's caller who takes nothing.

    Args:
        link: on what.
        backlog: the session's audio.
        fmt: of that audio.
        response_timeout: seconds for which the provider may be silent while it owes an answer.

    Attributes:
        position: of the sample that is sent next.
        finishing: whether the provider was told that no more comes.
        worked: whether any audio was acknowledged.
        began: when.
    """

    def __init__(self, link: Link[STTDialect], backlog: Backlog, fmt: AudioFormat, response_timeout: float) -> None:
        self.link = link
        self.position: int = backlog.resume(backlog.acknowledged)
        self.finishing: bool = False
        self.worked: bool = False
        self.resting: bool = False
        self.scope = trio.CancelScope()
        self.began: float = trio.current_time()
        self._spoke: float = self.began
        self._backlog = backlog
        self._format = fmt
        self._flushed = -1  # the position of the last flush asked for
        self._flushes: deque[int] = deque()  # the positions of those that are not answered
        self._response_timeout = response_timeout
        self._samples = 0  # on the link, silence included
        self._pieces: deque[tuple[int, int, int]] = deque(maxlen=_MOST_PIECES)  # where on the link, position, length
        self._moments: deque[tuple[float, int]] = deque()
        self._settled = self.position

    @property
    def quiet_until(self) -> float:
        """When silence is to be sent, if nothing else is until then."""
        keepalive = None if self.finishing else self.link.dialect.keepalive
        return math.inf if keepalive is None else self._spoke + keepalive

    def next_messages(self, *, finishing: bool) -> Sequence[Message]:
        """What to send now; nothing if there is nothing to be sent.

        Args:
            finishing: whether what there is now is all that there will be.
        """
        dialect, backlog = self.link.dialect, self._backlog
        self.position = backlog.resume(self.position)
        mark = backlog.next_mark(self._flushed)
        if mark is not None and mark <= self.position:
            self._flushed = mark
            messages = list(dialect.flush())
            if not messages:
                backlog.withdraw(mark)
                return self.next_messages(finishing=finishing)
            self._flushes.append(mark)
        elif self.position < backlog.end:
            return (self._next_audio(backlog.end if mark is None else mark),)
        elif finishing and not self.finishing:
            self.finishing = True
            messages = list(dialect.finish())
        else:
            return ()
        self._spoke = trio.current_time()
        self.watch()
        self.link.listen_on()  # silence may have another meaning now
        return messages

    def silence(self) -> Message:
        """Silence, which is no part of the whole."""
        count = self._format.samples(_PIECE_SECONDS)
        self._samples += count
        self._spoke = trio.current_time()
        return self.link.dialect.audio(bytes(count * self._format.sample_width))

    def acknowledge(self, final: Transcript) -> None:
        """Take the word of a final transcript, with times on the link, for what is final."""
        until = self._settled_position() if final.end is None else self.locate(final.end)
        self.worked |= self._backlog.acknowledge(until)

    def take_answer(self) -> None:
        """The oldest flush that was not answered is."""
        if self._flushes:
            self.worked |= self._backlog.acknowledge(self._flushes.popleft())

    def _next_audio(self, end: int) -> Message:
        position, count = self.position, min(end - self.position, self._format.samples(_PIECE_SECONDS))
        on_link, begin, length = self._pieces[-1] if self._pieces else (0, position, 0)
        if self._pieces and begin + length == position and on_link + length == self._samples:
            self._pieces[-1] = (on_link, begin, length + count)
        else:
            self._pieces.append((self._samples, position, count))
        self._samples += count
        self.position += count
        self._settle()
        self._spoke = trio.current_time()
        self._moments.append((self._spoke, self.position))
        return self.link.dialect.audio(self._backlog.take(position, count))

    def locate(self, seconds: float) -> int:
        """The position of a time on the link; of silence, where it was put in."""
        sample = round(min(max(0.0, seconds * self._format.sample_rate), self._samples))
        index = bisect_right(self._pieces, sample, key=lambda piece: piece[0]) - 1
        if index < 0:
            return self._pieces[0][1] if self._pieces else self.position
        on_link, position, length = self._pieces[index]
        return position + min(sample - on_link, length)

    def place(self, event: STTEvent) -> STTEvent:
        """An event whose times on the link become times of the whole."""
        changes: dict[str, Any] = {"request_id": event.request_id or self.link.request_id}
        for name in ("start", "end"):
            if (seconds := getattr(event, name)) is not None:
                changes[name] = self._place(seconds)
        if isinstance(event, Transcript):
            changes["words"] = tuple(
                Word(word.text, self._place(word.start), self._place(word.end)) for word in event.words
            )
        return attrs.evolve(event, **changes)

    def _place(self, seconds: float) -> float:
        return self._format.seconds(self.locate(seconds))

    def _settled_position(self) -> int:
        """Up to where audio had been sent :data:`SETTLING` seconds ago."""
        self._settle()
        return self._settled

    def _settle(self) -> None:
        until = trio.current_time() - SETTLING
        while self._moments and self._moments[0][0] <= until:
            self._settled = self._moments.popleft()[1]

    def watch(self) -> None:
        """Give the provider its time for the next word, if it owes us one and we are listening."""
        watched = self.link.dialect.awaiting and not self.resting
        self.scope.deadline = trio.current_time() + self._response_timeout if watched else math.inf
