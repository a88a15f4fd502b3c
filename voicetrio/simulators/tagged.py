"""PCM in which every sample tells where it belongs.

A sample is 16 bits.  Its top bit is the parity of its position, the next five are half of its segment's number, and
the lowest ten are half of its position's number:

=========  ======  =======================  ====================================
position   bit 15  bits 14 to 10            bits 9 to 0
=========  ======  =======================  ====================================
even       0       segment, low five bits   ``position >> 1``, low ten bits
odd        1       segment, high five bits  ``position >> 1``, high ten bits
=========  ======  =======================  ====================================

So one sample at an even position tells its segment modulo 32 and its position modulo 2048, and any two neighbours
tell the segment modulo 1024 and the position modulo 2**21 (87 seconds at 24 kHz).  A sample that is stale, lost,
doubled or out of order is therefore found by arithmetic, without keeping the audio that was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["POSITIONS", "SEGMENTS", "Run", "read_tags", "tagged_pcm"]

SEGMENTS = 1024
"""How many segments can be told apart; greater numbers wrap around."""

POSITIONS = 1 << 21
"""How many samples of one segment can be told apart; later positions wrap around."""

_ODD = 0x8000
_LOW_TEN = 0x03FF
_LOW_FIVE = 0x1F


class Run(NamedTuple):
    """Neighbouring samples of one segment.

    Attributes:
        segment: number of the segment modulo 1024, or -1 where samples carry no readable tag.
        start: position of the first sample in its segment modulo 2**21, or -1.
        length: how many samples.
    """

    segment: int
    start: int
    length: int


def _position_bits(count: int) -> NDArray[np.uint16]:
    """What the positions 0 to `count` - 1 put into their samples; `count` is even."""
    half = np.arange(count >> 1, dtype=np.uint32)
    bits = np.empty(count, np.uint16)
    bits[0::2] = half & _LOW_TEN
    bits[1::2] = (half >> 10) | _ODD
    return bits


class _Positions:
    """The position bits from 0 on, made once and doubled when a longer segment asks."""

    def __init__(self) -> None:
        self._bits = _position_bits(1 << 16)

    def copy(self, start: int, count: int) -> NDArray[np.uint16]:
        stop = start + count
        if stop > POSITIONS:
            return np.resize(np.roll(self.copy(0, POSITIONS), -start), count)
        while stop > len(self._bits):
            self._bits = _position_bits(2 * len(self._bits))
        return self._bits[start:stop].copy()


_positions = _Positions()


def _tagged(segment: int, start: int, count: int) -> NDArray[np.uint16]:
    samples = _positions.copy(start % POSITIONS, count)
    even, odd = start & 1, 1 - (start & 1)  # indices of the first sample of each parity
    samples[even::2] |= (segment & _LOW_FIVE) << 10
    samples[odd::2] |= (segment >> 5 & _LOW_FIVE) << 10
    return samples


def tagged_pcm(segment: int, start: int, count: int) -> bytes:
    """Samples `start` to `start + count - 1` of a segment, as s16le mono PCM.

    Args:
        segment: number of the segment, taken modulo 1024.
        start: position of the first sample in its segment, taken modulo 2**21.
        count: how many samples.

    Raises:
        ValueError: `start` or `count` is negative.
    """
    if start < 0 or count < 0:
        raise ValueError(f"there are no {count} samples from position {start}")
    return _tagged(segment % SEGMENTS, start, count).astype("<u2", copy=False).tobytes()


def read_tags(pcm: bytes | bytearray | memoryview) -> list[Run]:
    """The runs of neighbouring samples in s16le mono PCM: the inverse of :func:`tagged_pcm`.

    Audio that arrived whole and in order gives one run per segment.  A lost, doubled or foreign sample ends a run:
    the next one says where the audio went on.  Two neighbours are needed to read a tag, so a sample that stands alone
    between others is reported as a run of segment -1, and where two runs meet, one sample may carry the same bits for
    either and is then counted to the left one.

    Raises:
        ValueError: half a sample is left at the end.
    """
    if len(pcm) % 2:
        raise ValueError(f"{len(pcm)} bytes are not a whole number of samples")
    samples = np.frombuffer(pcm, dtype="<u2").astype(np.uint32)
    return list(_fill_gaps(_claim(samples), len(samples)))


def _origins(samples: NDArray[np.uint32]) -> NDArray[np.int64]:
    """For each two neighbours, segment and origin (position less index) in one number; -1 if their parities agree.

    Neighbours belong together just when their numbers are equal.
    """
    first, second = samples[:-1], samples[1:]
    first_is_odd = first >= _ODD
    even, odd = np.where(first_is_odd, second, first), np.where(first_is_odd, first, second)
    low, high = even & _LOW_TEN, (odd & _LOW_TEN).astype(np.int64)
    # Between an odd position and the next even one, a carry may run out of the ten low bits.
    high += first_is_odd & (low == 0)
    position = ((high << 10 | low) << 1) - first_is_odd
    segment = ((odd >> 10 & _LOW_FIVE) << 5 | (even >> 10 & _LOW_FIVE)).astype(np.int64)
    origin = (position - np.arange(len(position))) % POSITIONS
    readable = ((first ^ second) & _ODD).astype(bool)
    return np.where(readable, segment * POSITIONS + origin, -1)


def _claim(samples: NDArray[np.uint32]) -> list[tuple[int, Run]]:
    """The runs that can be read, each with the index of its first sample, in order and without overlap."""
    if len(samples) < 2:
        return []
    numbers = _origins(samples)
    borders = np.flatnonzero(np.diff(numbers)) + 1
    starts = np.concatenate(([0], borders)).tolist()
    ends = np.concatenate((borders, [len(numbers)])).tolist()
    stretches = [(start, end, int(numbers[start])) for start, end in zip(starts, ends, strict=True)]
    claimed: list[tuple[int, Run]] = []
    for position, (start, end, number) in enumerate(stretches):
        if number < 0:
            continue
        if end - start == 1 and _is_seam(stretches, position):
            continue  # two runs that met by chance of parity, not two samples that belong together
        taken = claimed[-1][0] + claimed[-1][1].length if claimed else 0
        index = max(start, taken)
        if index <= end:
            segment, origin = divmod(number, POSITIONS)
            claimed.append((index, Run(segment, (origin + index) % POSITIONS, end + 1 - index)))
    return claimed


def _is_seam(stretches: list[tuple[int, int, int]], position: int) -> bool:
    """Whether a lone pair lies between samples that belong to longer runs on both sides, or to one of them."""
    neighbours = stretches[max(position - 1, 0) : position] + stretches[position + 1 : position + 2]
    return any(number >= 0 and end - start > 1 for start, end, number in neighbours)


def _fill_gaps(claimed: list[tuple[int, Run]], total: int) -> Iterator[Run]:
    done = 0
    for index, run in claimed:
        if index > done:
            yield Run(-1, -1, index - done)
        yield run
        done = index + run.length
    if done < total:
        yield Run(-1, -1, total - done)
