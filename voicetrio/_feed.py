"""What one link was sent of a session's audio."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from typing import Any

import attrs
import trio

from ._link.link import Link
from ._stt_dialect import STTDialect
from .transcript import STTEvent, Transcript
from .turn import Word

SETTLING = 0.3
"""Seconds before a final transcript without times came, in which what was sent is not taken to be part of it.

Such finals are made in silence, and take a round trip to come.  Audio of this length may be heard a second time if the
link is lost before the next one, but what came just after the silence is not lost.
"""

# Of audio without a break, between silences that keep a link alive.  Only times near the end are asked for.
_MOST_PIECES = 1024


class Feed:
    """One link's share of the audio, and where that lies in the whole.

    `scope` surrounds the talking on the link, and its deadline is the watchdog over a provider that owes an answer.
    It does not run while `resting`: then it is the session's caller who takes nothing.

    Args:
        link: on what.
        position: of the first sample that it is to be sent.
        rate: samples a second.
        response_timeout: seconds for which the provider may be silent while it owes an answer.

    Attributes:
        position: of the sample that is sent next.
        flushed: the position of the last flush asked for on this link; -1 for none.
        flushes: the positions of those that are not answered.
        finishing: whether the provider was told that no more comes.
        worked: whether any audio was acknowledged.
    """

    def __init__(self, link: Link[STTDialect], position: int, rate: int, response_timeout: float) -> None:
        self.link = link
        self.position: int = position
        self.flushed: int = -1
        self.flushes: deque[int] = deque()
        self.finishing: bool = False
        self.worked: bool = False
        self.resting: bool = False
        self.scope = trio.CancelScope()
        self.began: float = trio.current_time()
        self._rate = rate
        self._response_timeout = response_timeout
        self._samples = 0  # on the link, silence included
        self._pieces: deque[tuple[int, int, int]] = deque(maxlen=_MOST_PIECES)  # where on the link, position, length
        self._moments: deque[tuple[float, int]] = deque()
        self._settled = position

    def add(self, position: int, count: int) -> None:
        """Note that samples are sent."""
        on_link, begin, length = self._pieces[-1] if self._pieces else (0, position, 0)
        if self._pieces and begin + length == position and on_link + length == self._samples:
            self._pieces[-1] = (on_link, begin, length + count)
        else:
            self._pieces.append((self._samples, position, count))
        self._samples += count
        self.position = position + count
        self._settle()
        self._moments.append((trio.current_time(), self.position))

    def add_silence(self, count: int) -> None:
        """Note that silence is sent, which is no part of the whole."""
        self._pieces.append((self._samples, self.position, 0))
        self._samples += count

    def locate(self, seconds: float) -> int:
        """The position of a time on the link; of silence, where it was put in."""
        sample = min(max(0, round(seconds * self._rate)), self._samples)
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
        return self.locate(seconds) / self._rate

    @property
    def settled(self) -> int:
        """The position up to which audio had been sent :data:`SETTLING` seconds ago."""
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
