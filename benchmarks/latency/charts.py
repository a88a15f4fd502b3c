"""The plots of the report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .plan import ENTRIES
from .summary import ENOUGH, number
from .svg import LogScale, Picture, log_ticks, tick_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .stats import Rounds

_WIDTH = 900.0
_NAMES = 150.0
_RIGHT = 24.0
_ROW = 30.0

COLOURS = {name: f"c{number}" for number, name in enumerate(dict.fromkeys(entry.name for entry in ENTRIES))}
"""The class of each contender's colour."""


def _in_order(contenders: Mapping[str, Any]) -> list[str]:
    known = [name for name in COLOURS if name in contenders]
    return known + [name for name in contenders if name not in COLOURS]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return 10 ** (math.floor(math.log10(low) * 3) / 3), 10 ** (math.ceil(math.log10(high) * 3) / 3)


def distribution(contenders: Mapping[str, Rounds], unit: str, title: str) -> str:
    """A row for each contender: the middle half, from the 5th to the 95th percentile, the median and the 99th."""
    rows = []
    for name in _in_order(contenders):
        figures = [max(figure, 1e-3) for each in contenders[name] for figure in each]
        if figures:
            rows.append((name, np.quantile(figures, [0.05, 0.25, 0.5, 0.75, 0.95, 0.99]), len(figures)))
    if not rows:
        return "<p>No figures.</p>"
    height = 14 + _ROW * len(rows) + 44
    picture = Picture(_WIDTH, height, title)
    low, high = _bounds([value for _, quantiles, _ in rows for value in quantiles])
    scale = LogScale(low, high, _NAMES, _WIDTH - _RIGHT - 60)
    base = 14 + _ROW * len(rows)
    for tick in log_ticks(low, high):
        picture.line(scale(tick), 8, scale(tick), base, "grid")
        picture.text(scale(tick), base + 16, tick_label(tick), anchor="middle", kind="tick")
    picture.text((_NAMES + _WIDTH - _RIGHT - 60) / 2, base + 36, f"{unit}, logarithmic", anchor="middle", kind="axis")
    for place, (name, q, count) in enumerate(rows):
        y = 14 + _ROW * (place + 0.5)
        colour = COLOURS.get(name, "c9")
        p99 = f", p99 {number(q[5])}" if count >= ENOUGH else ""
        tip = f"{name}: median {number(q[2])}, p95 {number(q[4])}{p99} {unit}, n={count}"
        picture.text(_NAMES - 10, y + 4, name, anchor="end")
        picture.line(scale(q[0]), y, scale(q[4]), y, f"whisker {colour}")
        picture.box(scale(q[1]), y - 7, scale(q[3]) - scale(q[1]), 14, f"half {colour}", tip)
        picture.line(scale(q[2]), y - 9, scale(q[2]), y + 9, "median")
        if p99:
            picture.dot(scale(q[5]), y, f"hollow {colour}", tip)
        picture.text(_WIDTH - 6, y + 4, f"{number(q[2])} {unit}", anchor="end", kind="value")
    return picture.render()


def growth(curves: Mapping[str, Mapping[int, float]], unit: str, title: str, *, log: bool = True) -> str:
    """A line for each contender over the number of sessions; its name is where it ends."""
    width, height, left, right, top, bottom = 440.0, 300.0, 56.0, 128.0, 26.0, 46.0
    picture = Picture(width, height, title)
    sizes = sorted({size for curve in curves.values() for size in curve})
    values = [value for curve in curves.values() for value in curve.values() if math.isfinite(value)]
    if not values or not sizes:
        return "<p>No figures.</p>"
    across = LogScale(sizes[0], max(sizes[-1], sizes[0] * 1.01), left, width - right)
    base = height - bottom
    if log:
        low, high = _bounds([max(value, 1e-2) for value in values])
        up: Any = LogScale(low, high, base, top)
        ticks = log_ticks(low, high)
    else:
        high = next(bound for bound in (1, 5, 10, 20, 50, 100) if bound >= max(values) or bound == 100)
        ticks = [high * part / 5 for part in range(6)]

        def up(value: float, high: float = high) -> float:
            return base - (base - top) * value / high

    for tick in ticks:
        picture.line(left, up(tick), width - right, up(tick), "grid")
        picture.text(left - 6, up(tick) + 4, tick_label(tick), anchor="end", kind="tick")
    for size in sizes:
        picture.line(across(size), base, across(size), base + 4, "grid")
        picture.text(across(size), base + 18, str(size), anchor="middle", kind="tick")
    picture.text((left + width - right) / 2, height - 6, "sessions at once", anchor="middle", kind="axis")
    picture.text(4, 13, unit, kind="axis")
    ends: list[tuple[float, str]] = []
    for name in _in_order(curves):
        points = [(across(size), up(max(value, 1e-2) if log else value)) for size, value in sorted(curves[name].items())
                  if math.isfinite(value)]  # fmt: skip
        if points:
            picture.path(points, f"curve {COLOURS.get(name, 'c9')}")
            for (x, y), size in zip(points, sorted(curves[name]), strict=False):
                value = f"{name}, {size}: {number(curves[name][size])} {unit}"
                picture.dot(x, y, f"solid {COLOURS.get(name, 'c9')}", value, radius=2.5)
            ends.append((points[-1][1], name))
    _label_ends(picture, ends, width - right + 8, top, base)
    return picture.render()


def _label_ends(picture: Picture, ends: list[tuple[float, str]], x: float, top: float, base: float) -> None:
    """Names beside the ends of their lines, moved apart where they would lie over each other."""
    ends.sort()
    placed: list[float] = []
    for y, _name in ends:
        placed.append(max(y + 4, placed[-1] + 14 if placed else top + 4))
    for place in range(len(placed)):  # what was pushed below the axis goes up again, each no further than it must
        placed[-1 - place] = min(placed[-1 - place], base - 14 * place + 4)
    for y, (_end, name) in zip(placed, ends, strict=True):
        picture.text(x, y, name, kind=f"name {COLOURS.get(name, 'c9')}")


def interruption(timelines: Mapping[str, Any], title: str) -> str:
    """A row for each contender: what was heard before and after the call, until the next turn sounds."""
    names = [name for name in _in_order(timelines) if timelines[name]["pieces"]]
    if not names:
        return "<p>No interruption was recorded.</p>"
    ends = []
    for name in names:
        after = [piece[0] for piece in timelines[name]["pieces"] if piece[0] > 0]
        nexts = [piece[0] for piece in timelines[name]["pieces"] if piece[2] == "next"]
        ends.append(min(nexts) + 60 if nexts else max(after, default=60))
    begin, end = -60.0, min(max([120.0, *ends]), 2500.0)
    top, base = 14.0, 14 + 34.0 * len(names)
    picture = Picture(_WIDTH, base + 44, title)

    def across(value: float) -> float:
        return _NAMES + (_WIDTH - _RIGHT - _NAMES) * (value - begin) / (end - begin)

    step = next(step for step in (20, 50, 100, 200, 500, 1000) if (end - begin) / step <= 12)
    for tick in range(-(60 // step) * step, int(end) + 1, step):
        picture.line(across(tick), top, across(tick), base, "grid")
        picture.text(across(tick), base + 16, str(tick), anchor="middle", kind="tick")
    picture.text((_NAMES + _WIDTH) / 2, base + 36, "ms from the interrupting call", anchor="middle", kind="axis")
    for place, name in enumerate(names):
        y = top + 34 * place + 8
        marks = timelines[name]["marks"]
        picture.text(_NAMES - 10, y + 14, name, anchor="end")
        for at, samples, kind in timelines[name]["pieces"]:
            if begin <= at <= end:
                stale = kind == "old" and at > marks["returned"]
                shown = "stale" if stale else kind
                tip = f"{name}: {samples} samples of the {kind} turn at {at:.2f} ms"
                height = 20 if kind == "old" else 14
                picture.box(across(at) - 1, y + (20 - height) / 2, 2.2, height, f"heard-{shown}", tip)
    picture.line(across(0), top - 6, across(0), base, "call")
    return picture.render()
