"""What a simulated recognizer hears: tagged audio, checked sample by sample, silence, and anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .tagged import POSITIONS, read_tags, tagged_pcm

if TYPE_CHECKING:
    from ._message_faults import Log

__all__ = ["Ear", "Stretch"]

MAX_RUNS = 10_000
"""Runs of one connection that are remembered."""


@attrs.frozen
class Stretch:
    """Neighbouring samples that belong together.

    Attributes:
        segment: of tagged audio; -1 for any other.
        start: position of the first sample in its segment; of untagged audio, on the connection.
        length: how many samples.
        offset: where on the connection the first sample is.
        silent: whether all of them are zero, which tells nothing.
    """

    segment: int
    start: int
    length: int
    offset: int
    silent: bool = False


class Ear:
    """Takes the audio of one connection, s16le mono, cut anywhere.

    Each place at which tagged audio does not go on as it should is noted in the log: ``gap`` where samples are missing,
    ``double`` where they came before, ``segment`` where other audio begins.  Silence is no part of the tagged audio and
    may lie anywhere in it.

    Args:
        log: where that is noted.

    Attributes:
        samples: how many came.
        runs: the tagged audio that came, ``[segment, start, length]`` each, joined where it goes on as it should.
    """

    def __init__(self, log: Log) -> None:
        self.samples: int = 0
        self.runs: list[list[int]] = []
        self._log = log
        self._rest = b""

    def hear(self, pcm: bytes, *, last: bool = False) -> list[Stretch]:
        """Take audio in, give what it is; a lone sample waits for its neighbour, unless it is the last."""
        data = self._rest + pcm
        whole = len(data) - len(data) % 2
        if whole < 4 and not last:
            self._rest = data
            return []
        self._rest = data[whole:]
        return self._read(data[:whole])

    def _read(self, pcm: bytes) -> list[Stretch]:
        if len(pcm) == 2 and (stretch := self._lone(pcm)) is not None:
            return [stretch]
        stretches: list[Stretch] = []
        done = 0
        for segment, start, length in read_tags(pcm):
            if segment < 0:
                silent = not any(pcm[2 * done : 2 * (done + length)])
                stretches.append(Stretch(-1, self.samples, length, self.samples, silent))
            else:
                stretches.append(self._tagged(segment, start, length))
            done += length
            self.samples += length
        return stretches

    def _lone(self, pcm: bytes) -> Stretch | None:
        """One sample, if it is the next of the latest run."""
        if not self.runs:
            return None
        segment, start, length = self.runs[-1]
        if pcm != tagged_pcm(segment, start + length, 1):
            return None
        stretch = self._tagged(segment, (start + length) % POSITIONS, 1)
        self.samples += 1
        return stretch

    def _tagged(self, segment: int, start: int, length: int) -> Stretch:
        if self.runs and segment == self.runs[-1][0]:
            run = self.runs[-1]
            expected = run[1] + run[2]
            missing = (start - expected) % POSITIONS
            if not missing:
                run[2] += length
                return Stretch(segment, expected, length, self.samples)
            if missing < POSITIONS // 2:
                self._log("gap", segment=segment, position=expected, samples=missing)
            else:
                self._log("double", segment=segment, position=start, samples=POSITIONS - missing)
        else:
            self._log("segment", number=segment, position=start)
        self.runs.append([segment, start, length])
        if len(self.runs) > MAX_RUNS:
            del self.runs[0]
        return Stretch(segment, start, length, self.samples)
