"""Words made of audio by its position, so that a transcript tells exactly which samples it is of.

Time is cut into slots of equal length.  Slot 17 of segment 0, heard as a whole, is the word `` w17``; its samples 0 to
99 are the word `` w17[0:100]``.  After so many words there are so many slots of silence, whatever is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._ear import Stretch

__all__ = ["Dictation", "Piece"]


@attrs.frozen
class Piece:
    """A slot, or the part of it that was heard.

    Attributes:
        text: with a leading space; empty for silence.
        start: of its first sample, on the connection.
        end: behind its last sample, on the connection.
        last_word: whether the phrase is complete with it.
        last: whether the phrase and its silence are.
    """

    text: str
    start: int
    end: int
    last_word: bool
    last: bool


@attrs.define
class _Slot:
    """A slot that has begun: samples `begin` to `end` of it were heard."""

    segment: int
    number: int
    begin: int
    end: int
    offset: int  # of its first sample heard, on the connection


class Dictation:
    """Makes words of the audio of one connection.

    Args:
        length: samples of a slot.
        words: slots of a phrase with a word in them …
        pauses: … and without.
    """

    def __init__(self, length: int, words: int, pauses: int) -> None:
        self._length = length
        self._words = words
        self._pauses = pauses
        self._slot: _Slot | None = None

    def take(self, stretch: Stretch) -> Iterator[Piece]:
        """Hear on; give each slot that ends."""
        if stretch.silent:
            return
        done = 0
        while done < stretch.length:
            number, begin = divmod(stretch.start + done, self._length)
            slot = self._slot
            if slot is None or (slot.segment, slot.number, slot.end) != (stretch.segment, number, begin):
                if slot is not None:
                    yield self._piece(slot)
                slot = self._slot = _Slot(stretch.segment, number, begin, begin, stretch.offset + done)
            count = min(self._length - begin, stretch.length - done)
            slot.end += count
            done += count
            if slot.end == self._length:
                self._slot = None
                yield self._piece(slot)

    def cut(self) -> Piece | None:
        """End the slot that has begun, if one has, where it is."""
        slot, self._slot = self._slot, None
        return None if slot is None else self._piece(slot)

    def _piece(self, slot: _Slot) -> Piece:
        whole = (slot.begin, slot.end) == (0, self._length)
        place = slot.number % (self._words + self._pauses)
        text = ""
        if place < self._words:
            segment = f"s{slot.segment}" if slot.segment > 0 else ""
            text = f" {segment}w{slot.number}" + ("" if whole else f"[{slot.begin}:{slot.end}]")
        at_end = slot.end == self._length
        return Piece(
            text,
            slot.offset,
            slot.offset + slot.end - slot.begin,
            at_end and place == self._words - 1,
            at_end and place == self._words + self._pauses - 1,
        )
