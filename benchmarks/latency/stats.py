"""Quantiles and ratios of them, with bootstrap intervals over rounds.

Figures of one round share whatever disturbed that round.  The bootstrap therefore draws rounds first, and figures
within the rounds drawn, and draws the same rounds for both contenders of a ratio, since these ran side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Rounds = list[list[float]]
"""The figures of one contender, round by round."""

DRAWS = 1000
LEVEL = 0.95

# Of so few figures no interval can be told.
_FEW = 3


class Interval(NamedTuple):
    """A figure, and the interval that holds it in 95 % of the draws."""

    value: float
    low: float
    high: float


def quantile(rounds: Rounds, q: float) -> float:
    """The quantile of all figures, whatever their round; nan if there are none."""
    figures = [figure for figures in rounds for figure in figures]
    return float(np.quantile(figures, q)) if figures else float("nan")


def interval(rounds: Rounds, q: float = 0.5, *, seed: int = 0) -> Interval:
    """A quantile with its interval."""
    draws = _draws([rounds], q, seed)[0]
    return _interval(quantile(rounds, q), draws)


def ratio(ours: Rounds, theirs: Rounds, q: float = 0.5, *, seed: int = 0) -> Interval | None:
    """Our quantile over theirs, with its interval; None where either has no figures or theirs is 0."""
    mine, other = quantile(ours, q), quantile(theirs, q)
    if not np.isfinite(mine) or not np.isfinite(other) or other == 0:
        return None
    count = min(len(ours), len(theirs))
    upper, lower = _draws([ours[:count], theirs[:count]], q, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _interval(mine / other, upper / lower)


def _draws(contenders: Sequence[Rounds], q: float, seed: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    count = min(len(rounds) for rounds in contenders)
    chosen = rng.integers(0, max(count, 1), (DRAWS, max(count, 1)))
    return [_drawn(rounds[:count], chosen, q, rng) for rounds in contenders]


def _drawn(rounds: Rounds, chosen: NDArray[np.int64], q: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """The quantile of each draw; a round without figures gives none, a longer one no more than its like."""
    sizes = np.array([len(figures) for figures in rounds])
    if not sizes.any() or int(sizes.sum()) < _FEW:
        return np.full(DRAWS, np.nan)
    width = max(1, round(sizes[sizes > 0].mean()))
    padded = np.full((len(rounds), int(sizes.max())), np.nan)
    for number, figures in enumerate(rounds):
        padded[number, : len(figures)] = figures
    within = (rng.random((*chosen.shape, width)) * sizes[chosen][:, :, None]).astype(np.int64)
    drawn = padded[chosen[:, :, None], within].reshape(DRAWS, -1)
    drawn = drawn[~np.isnan(drawn).all(axis=1)]
    quantiles = np.nanquantile(drawn, q, axis=1) if np.isnan(drawn).any() else np.quantile(drawn, q, axis=1)
    return np.concatenate([quantiles, np.full(DRAWS - len(quantiles), np.nan)])


def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
