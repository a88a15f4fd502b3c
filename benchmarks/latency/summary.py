"""Results as rows: what tables, plots and comparisons are made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from .metrics import BY_KEY, METRICS, Metric
from .plan import FLOORS, OURS
from .stats import Interval, Rounds, interval, quantile, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .run import Results


SOME, ENOUGH = 20, 100
"""Figures without which there is no 95th, and no 99th percentile."""


@attrs.frozen
class Cell:
    """One contender's figures of a metric.

    Attributes:
        value: the median with its interval; of a counted metric the mean, without one.
        p95: of all figures; nan if there are too few.
        p99: likewise.
        count: how many figures there are.
        ratio: our median over this contender's, with its interval; None for ourselves, and where it means nothing.
        ratio_p99: the same of the 99th percentiles.
    """

    value: Interval
    p95: float
    p99: float
    count: int
    ratio: Interval | None = None
    ratio_p99: Interval | None = None


@attrs.frozen
class Row:
    """A metric for one provider, and for one number of sessions if it depends on that."""

    metric: Metric
    provider: str
    sessions: int | None
    cells: dict[str, Cell]

    @property
    def title(self) -> str:
        """What the row is about."""
        many = "" if self.sessions is None else f", {self.sessions} session{'s' if self.sessions > 1 else ''}"
        return self.metric.title + many


def rows(results: Results, *, intervals: bool = True) -> list[Row]:
    """All rows, in the order of the metrics."""
    found: list[Row] = []
    order = [metric.key for metric in METRICS]
    keys = sorted(
        results.values, key=lambda key: (order.index(key.partition("@")[0]) if _known(key) else -1, _size(key))
    )
    for key in keys:
        if not _known(key):
            continue
        metric = BY_KEY[key.partition("@")[0]]
        size = _size(key) if "@" in key else None
        for provider, contenders in results.values[key].items():
            cells = {name: _cell(metric, name, contenders, intervals) for name in contenders}
            found.append(Row(metric, provider, size, cells))
    return found


def _known(key: str) -> bool:
    return key.partition("@")[0] in BY_KEY


def _size(key: str) -> int:
    return int(key.partition("@")[2] or 0)


def _cell(metric: Metric, name: str, contenders: dict[str, Rounds], intervals: bool) -> Cell:
    rounds = contenders[name]
    figures = [figure for each in rounds for figure in each]
    if metric.counted:
        mean = sum(figures) / len(figures) if figures else math.nan
        return Cell(Interval(mean, math.nan, math.nan), math.nan, math.nan, len(figures))
    enough = len(figures) >= ENOUGH
    ours = contenders.get(OURS)
    compared = intervals and name != OURS and ours is not None
    value = interval(rounds) if intervals else Interval(quantile(rounds, 0.5), math.nan, math.nan)
    return Cell(
        value,
        quantile(rounds, 0.95) if len(figures) >= SOME else math.nan,
        quantile(rounds, 0.99) if enough else math.nan,
        len(figures),
        ratio(ours, rounds) if compared and ours is not None else None,
        ratio(ours, rounds, 0.99) if compared and ours is not None and enough and _count(ours) >= ENOUGH else None,
    )


def _count(rounds: Rounds) -> int:
    return sum(len(each) for each in rounds)


@attrs.frozen
class Comparison:
    """Us beside one other contender."""

    row: Row
    other: str
    ours: Cell
    theirs: Cell

    @property
    def verdict(self) -> str:
        """``ahead``, ``behind`` or ``even``; by the interval of the ratio, or by the counts themselves.

        Where we have no figures and they have, we are behind.
        """
        metric = self.row.metric
        if not self.ours.count and metric.better != "none":  # we failed
            return "behind" if self.theirs.count else "even"
        if metric.counted:
            mine, other = self.ours.value.value, self.theirs.value.value
            if metric.better == "none" or mine == other or math.isnan(mine + other):
                return "even"
            return "ahead" if (mine < other) == (metric.better == "less") else "behind"
        if self.theirs.ratio is None and self.theirs.value.value == 0 < self.ours.value.value:
            return "behind"  # there is no ratio to nothing
        if self.theirs.ratio is None or math.isnan(self.theirs.ratio.low):
            return "even"
        return "ahead" if self.theirs.ratio.high < 1 else "behind" if self.theirs.ratio.low > 1 else "even"


def comparisons(all_rows: list[Row]) -> Iterator[Comparison]:
    """Us beside every other contender, in every row; the floors last."""
    for row in all_rows:
        ours = row.cells.get(OURS)
        if ours is None:
            continue
        for name in sorted(row.cells, key=lambda name: (name in FLOORS, name)):
            if name != OURS:
                yield Comparison(row, name, ours, row.cells[name])


def number(value: float) -> str:
    """A figure with three digits or so."""
    if math.isnan(value):
        return "-"
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def span(found: Interval | None) -> str:
    """A ratio with its interval."""
    if found is None or math.isnan(found.value):
        return "-"
    if math.isnan(found.low):
        return f"{_digits(found.value)} (too few)"
    return f"{_digits(found.value)} [{_digits(found.low)}, {_digits(found.high)}]"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"
