"""What became of every sample: which turn it belongs to, and whether it may have been heard when it was.

Each sample tells its segment and its position; the simulator's log tells which text each segment says; and every text
begins with a label of its own.  So nothing about a contender is believed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from voicetrio.simulators.tagged import read_tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LABEL = re.compile(r"\b([a-h]\d{5})\b")


class Stretch(NamedTuple):
    """Neighbouring samples heard at once: when, of which turn (`label`), from which position, and how many."""

    time: int
    label: str
    start: int
    count: int


class Account(NamedTuple):
    """Samples of an interruption that were where they must not be, or not where they must.

    Attributes:
        stale: of the interrupted turn, heard after the interruption's call had returned.
        lost: missing within what was heard of the interrupted turn, or anywhere in the turn behind it.
        doubled: heard again.
        accepted: of the interrupted turn, heard after the call was made.
        last_us: microseconds from the call to the last of those, 0 if there were none.
        first: when the first sample of the next turn was heard; None if it never was.
    """

    stale: int
    lost: int
    doubled: int
    accepted: int
    last_us: float
    first: int | None


def labels_of(log: Iterable[str]) -> tuple[dict[int, str], dict[str, int]]:
    """From the lines of a simulator's log: the label of each segment, and the samples of each label."""
    labels: dict[int, str] = {}
    samples: dict[str, int] = {}
    for line in log:
        record = json.loads(line)
        if record["event"] != "segment":
            continue
        data = record["data"]
        found = _LABEL.search(data["text"])
        label = found[1] if found else "?"
        labels[data["number"]] = label
        samples[label] = samples.get(label, 0) + data["samples"]
    return labels, samples


def stretches(chunks: Sequence[Sequence[int]], pcm: bytes, labels: Mapping[int, str]) -> list[Stretch]:
    """What was heard, in order; `chunks` are times and numbers of samples, `pcm` is all of them."""
    ends = np.cumsum([count for _time, count in chunks])
    found: list[Stretch] = []
    at = 0
    for run in read_tags(pcm[: 2 * int(ends[-1])] if len(ends) else b""):
        label, start, left = labels.get(run.segment, "?"), run.start, run.length
        while left:
            chunk = int(np.searchsorted(ends, at, side="right"))
            count = min(left, int(ends[chunk]) - at)
            found.append(Stretch(chunks[chunk][0], label, start, count))
            at, start, left = at + count, start + count, left - count
    return found


def account(turn: Mapping[str, int], heard: Sequence[Stretch], samples: Mapping[str, int]) -> Account:
    """The account of one interruption, from the marks of its turn and all that the session heard."""
    old, new = f"a{turn['label']:05}", f"b{turn['label']:05}"
    stale = sum(each.count for each in heard if each.label == old and each.time > turn["returned_ns"])
    late = [each for each in heard if each.label == old and each.time > turn["called_ns"]]
    in_time = [each for each in heard if each.label == old and each.time <= turn["returned_ns"]]
    lost_old, doubled_old = _holes(in_time, None)
    lost_new, doubled_new = _holes([each for each in heard if each.label == new], samples.get(new))
    return Account(
        stale=stale,
        lost=lost_old + lost_new,
        doubled=doubled_old + doubled_new,
        accepted=sum(each.count for each in late),
        last_us=max((each.time - turn["called_ns"]) / 1000 for each in late) if late else 0.0,
        first=min((each.time for each in heard if each.label == new), default=None),
    )


def missing(labels: Iterable[str], heard: Sequence[Stretch], samples: Mapping[str, int]) -> int:
    """Samples of turns that ended well and were not heard, or not once."""
    return sum(sum(_holes([e for e in heard if e.label == label], samples.get(label))) for label in labels)


def _holes(heard: Sequence[Stretch], total: int | None) -> tuple[int, int]:
    """Samples that are missing, and samples heard more than once; `total` None: up to the last that was heard."""
    length = max((each.start + each.count for each in heard), default=0)
    times = np.zeros(max(length, total or 0), np.int32)
    for each in heard:
        times[each.start : each.start + each.count] += 1
    end = len(times) if total is not None else length
    return int(np.count_nonzero(times[:end] == 0)), int((times[times > 1] - 1).sum())
