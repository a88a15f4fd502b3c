"""The few marks that the report's plots are made of, as SVG whose colours follow the page."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Picture:
    """An SVG picture; colours are classes that the page's style sheet knows."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width = width
        self.height = height
        self._title = title
        self._marks: list[str] = []

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> None:
        """A text whose baseline begins, ends or has its middle at a point."""
        self._marks.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line."""
        self._marks.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def box(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> None:
        """A rectangle, with a text for the pointer that rests on it."""
        inside = f"<title>{html.escape(tip)}</title>" if tip else ""
        self._marks.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.6):.1f}" height="{height:.1f}" class="{kind}">'
            f"{inside}</rect>"
        )

    def dot(self, x: float, y: float, kind: str, tip: str = "", radius: float = 3.5) -> None:
        """A dot."""
        inside = f"<title>{html.escape(tip)}</title>" if tip else ""
        self._marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{kind}">{inside}</circle>')

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._marks.append(f'<polyline points="{steps}" class="{kind}"/>')

    def render(self) -> str:
        """The picture as an element of a page."""
        return (
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" role="img" '
            f'aria-label="{html.escape(self._title, quote=True)}">{"".join(self._marks)}</svg>'
        )


class LogScale:
    """From values above 0 to places, logarithmic."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low = math.log10(low)
        self._span = max(math.log10(high) - self._low, 1e-9)
        self._start = start
        self._length = end - start

    def __call__(self, value: float) -> float:
        place = (math.log10(max(value, 1e-12)) - self._low) / self._span
        return self._start + min(max(place, 0.0), 1.0) * self._length


def log_ticks(low: float, high: float) -> list[float]:
    """Round values between two bounds: powers of ten, and 2 and 5 times these where there is room."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return [tick for tick in ticks if low <= tick <= high * 1.0001]


def tick_label(value: float) -> str:
    """A tick's value in as few characters as tell it."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"
