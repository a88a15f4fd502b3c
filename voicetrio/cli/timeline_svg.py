"""A dialogue drawn as SVG: a lane for each speaker, the words, the latencies and the interruption.

It is written by hand for one purpose.  Lengths are in the SVG's user units, times in seconds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape

import attrs
import numpy as np
from numpy.typing import NDArray

_WIDTH = 1600
_LEFT, _RIGHT = 92, 40
_LANE_HEIGHT = 76
_ROW = 17  # a row of words
_WORD_ROWS = 3
_CHARACTER = 7.3  # mean advance of a 12.5 px sans-serif letter, on the wide side
_LOST_HEIGHT = 28
_ZOOM_HEIGHT = 130
_ZOOM_BEFORE, _ZOOM_AFTER = 0.06, 0.22

_STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12.5px; }
text { fill: #1f2328; }
.paper { fill: #ffffff; }
.title { font-size: 22px; font-weight: 600; }
.muted { fill: #59636e; }
.lane { font-size: 15px; font-weight: 600; }
.band { fill: #f3f5f8; }
.tick { stroke: #d1d9e0; stroke-width: 1; }
.agent { fill: #0b62c4; } .agent-back { fill: #dcebfb; }
.user { fill: #a8560a; } .user-back { fill: #fbead5; }
.axis { stroke: #59636e; stroke-width: 1; }
.agent-curve, .lost-curve { fill: none; stroke-linejoin: round; }
.agent-curve { stroke: #0b62c4; stroke-width: 1.8; } .lost-curve { stroke: #8b949e; stroke-width: 1; }
.lost { fill: #8b949e; } .lost-back { fill: none; stroke: #8b949e; stroke-width: 1; stroke-dasharray: 4 3; }
.lost-word { fill: #6e7781; text-decoration: line-through; }
.stem { stroke: #8b949e; stroke-width: 0.8; }
.wait { stroke: #1a7f37; stroke-width: 3; } .wait-text { fill: #1a7f37; font-weight: 600; }
.fence { stroke: #cf222e; stroke-width: 2; } .fence-text { fill: #cf222e; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .paper { fill: #0d1117; }
  .muted { fill: #9aa4af; }
  .band { fill: #161b22; }
  .tick { stroke: #2b333d; }
  .agent { fill: #6cb0ff; } .agent-back { fill: #12294a; }
  .user { fill: #f0a652; } .user-back { fill: #3b2712; }
  .axis { stroke: #9aa4af; }
  .agent-curve { stroke: #6cb0ff; } .lost-curve { stroke: #7d8590; }
  .lost { fill: #7d8590; } .lost-back { stroke: #7d8590; }
  .lost-word { fill: #8b949e; }
  .stem { stroke: #6e7681; }
  .wait { stroke: #4ac26b; } .wait-text { fill: #4ac26b; }
  .fence { stroke: #ff6a69; } .fence-text { fill: #ff8583; }
}
"""


@attrs.frozen
class Word:
    """A word that was spoken from `start` to `end`; it is drawn under its beginning."""

    text: str
    start: float
    end: float


@attrs.frozen
class Utterance:
    """What one speaker said without a break.

    Attributes:
        start: of its first sample.
        pcm: s16le mono, as it was heard.
        words: those that were heard, the last one perhaps in part.
        title: a line above it.
        requested: when it was asked for: from there to `start` is drawn as the time to first audio.
        latency: that time as the session measured it.
        lost_pcm: what would have followed had it not been interrupted.
        lost_words: the words that were not heard to their ends.
    """

    start: float
    pcm: bytes
    words: Sequence[Word]
    title: str = ""
    requested: float | None = None
    latency: float | None = None
    lost_pcm: bytes = b""
    lost_words: Sequence[Word] = ()


@attrs.frozen
class Fence:
    """Where an interruption silenced the agent, and a line on it."""

    at: float
    text: str


@attrs.frozen
class Chart:
    """All that is drawn.

    Attributes:
        title: the head line.
        subtitle: the line under it.
        sample_rate: of all PCM, in Hz.
        duration: length of the time axis.
        user: the user's utterances.
        agent: the agent's.
        fences: the interruptions.
    """

    title: str
    subtitle: str
    sample_rate: int
    duration: float
    user: Sequence[Utterance]
    agent: Sequence[Utterance]
    fences: Sequence[Fence]


def draw(chart: Chart) -> str:
    """The chart as an SVG document."""
    return _Drawing(chart).document()


class _Drawing:
    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        self._scale = (_WIDTH - _LEFT - _RIGHT) / chart.duration
        self._user_top = 150.0
        self._agent_top = self._user_top + _LANE_HEIGHT + _WORD_ROWS * _ROW + 66
        self._lost_top = self._agent_top + _LANE_HEIGHT + _WORD_ROWS * _ROW + 14
        lost = any(each.lost_pcm for each in chart.agent)
        self._axis_top = self._lost_top + (_LOST_HEIGHT + _WORD_ROWS * _ROW + 12 if lost else 0)

    def document(self) -> str:
        """All of it."""
        zooms = [self._zoom(fence, self._axis_top + 66 + 190 * i) for i, fence in enumerate(self._chart.fences)]
        height = self._axis_top + 56 + 190 * len(zooms)
        body = [self._head(), self._axis(), self._lanes(), *self._utterances(), *self._fences(), *zooms]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" role="img" '
            f'aria-labelledby="title desc">\n<title id="title">{escape(self._chart.title)}</title>\n'
            f'<desc id="desc">{escape(self._chart.subtitle)}</desc>\n<style>{_STYLE}</style>\n'
            f'<rect class="paper" width="{_WIDTH}" height="{height:g}"/>\n' + "\n".join(body) + "\n</svg>\n"
        )

    def _x(self, seconds: float) -> float:
        return _LEFT + seconds * self._scale

    def _head(self) -> str:
        title = _text(_LEFT, 42, self._chart.title, "title")
        legend: list[str] = [title, _text(_LEFT, 66, self._chart.subtitle, "muted")]
        x = float(_LEFT)
        for kind, words in _LEGEND:
            legend.append(_swatch(kind, x, 92) + _text(x + 28, 97, words))
            x += 28 + len(words) * _CHARACTER + 24
        return "\n".join(legend)

    def _axis(self) -> str:
        bottom = self._axis_top
        parts = [f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom:g}" y2="{bottom:g}"/>']
        for second in range(int(self._chart.duration) + 1):
            x = self._x(second)
            parts.append(_line("axis", x, bottom, bottom + 6))
            parts.append(_text(x, bottom + 22, f"{second} s", "muted", anchor="middle"))
        parts.append(_text(_LEFT, bottom + 42, "time since the beginning, in seconds", "muted"))
        return "\n".join(parts)

    def _lanes(self) -> str:
        seconds = [self._x(second) for second in range(1, int(self._chart.duration) + 1)]
        return "\n".join(
            _band(top, _LANE_HEIGHT, seconds)
            + _text(_LEFT - 14, top + _LANE_HEIGHT / 2 + 5, name, f"lane {name}", anchor="end")
            for name, top in (("user", self._user_top), ("agent", self._agent_top))
        )

    def _utterances(self) -> Iterator[str]:
        for name, top, spoken in (
            ("user", self._user_top, self._chart.user),
            ("agent", self._agent_top, self._chart.agent),
        ):
            for each in spoken:
                yield self._sound(name, top, _LANE_HEIGHT, each.start, each.pcm)
                yield self._titles(each, top)
            words = [word for each in spoken for word in each.words]
            yield from self._words(words, top + _LANE_HEIGHT, "")
        for each in self._chart.agent:
            if each.lost_pcm:
                yield from self._lost(each)

    def _titles(self, each: Utterance, top: float) -> str:
        x, parts = self._x(each.start), []
        latency = "" if each.latency is None else f"{1000 * each.latency:.0f} ms to first audio"
        # What is said last would run out of the picture.
        left = min(x, _WIDTH - _RIGHT - _CHARACTER * max(len(each.title), len(latency)))
        if each.title:
            parts.append(_text(left, top - 28, each.title, "muted"))
        if each.requested is not None:
            y = top - 5
            parts.append(f'<line class="wait" x1="{self._x(each.requested):.1f}" x2="{x:.1f}" y1="{y}" y2="{y}"/>')
            parts.append(_text(left, top - 12, latency, "wait-text"))
        return "\n".join(parts)

    def _lost(self, each: Utterance) -> Iterator[str]:
        end = each.start + len(each.pcm) / 2 / self._chart.sample_rate
        yield _text(_LEFT - 14, self._lost_top + 18, "not heard", "muted", anchor="end")
        yield self._sound("lost", self._lost_top, _LOST_HEIGHT, end, each.lost_pcm)
        yield from self._words(each.lost_words, self._lost_top + _LOST_HEIGHT, "lost-word")

    def _sound(self, kind: str, top: float, height: float, start: float, pcm: bytes) -> str:
        """A waveform on its background."""
        seconds = len(pcm) / 2 / self._chart.sample_rate
        x, width = self._x(start), seconds * self._scale
        outline = _outline(pcm, max(1, round(width)), x, width, top + height / 2, height / 2 - 4)
        return (
            f'<rect class="{kind}-back" x="{x:.1f}" y="{top:g}" width="{width:.1f}" height="{height:g}" rx="4"/>'
            f'<path class="{kind}" d="{outline}"/>'
        )

    def _words(self, words: Iterable[Word], top: float, kind: str) -> Iterator[str]:
        """Words under their beginnings, each in the first row that has room."""
        free = [0.0] * _WORD_ROWS
        for word in words:
            x = self._x(word.start)
            row = next((row for row in range(_WORD_ROWS) if free[row] <= x), free.index(min(free)))
            free[row] = x + len(word.text) * _CHARACTER + 9
            y = top + 15 + row * _ROW
            yield f'<line class="stem" x1="{x:.1f}" x2="{x:.1f}" y1="{top:g}" y2="{y - 1:g}"/>'
            yield _text(x + 3, y, word.text, kind)

    def _fences(self) -> Iterator[str]:
        for fence in self._chart.fences:
            x = self._x(fence.at)
            yield _line("fence", x, self._user_top - 18, self._axis_top)
            yield _text(x, self._user_top - 24, fence.text, "fence-text", anchor="middle")

    def _zoom(self, fence: Fence, top: float) -> str:
        """The agent's lane around a fence, as far as single samples can be seen."""
        scale = (_WIDTH - _LEFT - _RIGHT) / (_ZOOM_BEFORE + _ZOOM_AFTER)
        ticks = {ms: _LEFT + (_ZOOM_BEFORE + ms / 1000) * scale for ms in range(-60, 221, 20)}
        parts = [
            _text(_LEFT, top + 12, "the agent around the interruption, in milliseconds from it", "muted"),
            _band(top + 24, _ZOOM_HEIGHT, list(ticks.values())[1:-1]),
        ]
        for ms, x in ticks.items():
            parts.append(_text(x, top + 44 + _ZOOM_HEIGHT, f"{ms:+d}" if ms else "0 ms", "muted", anchor="middle"))
        curves = list(self._curves(fence.at))
        loudest = max((float(np.abs(samples).max()) for _, _, samples in curves), default=1.0)
        for kind, start, samples in curves:
            step = scale / self._chart.sample_rate
            height = (_ZOOM_HEIGHT / 2 - 8) / loudest
            points = " ".join(
                f"{_LEFT + start * scale + i * step:.1f},{top + 24 + _ZOOM_HEIGHT / 2 - value * height:.1f}"
                for i, value in enumerate(samples.tolist())
            )
            parts.append(f'<polyline class="{kind}-curve" points="{points}"/>')
        parts.append(_line("fence", ticks[0], top + 18, top + 30 + _ZOOM_HEIGHT))
        return "\n".join(parts)

    def _curves(self, fence: float) -> Iterator[tuple[str, float, NDArray[np.int16]]]:
        """What was heard around a fence, and behind it, until the next turn, what was not."""
        rate, begin, end = self._chart.sample_rate, fence - _ZOOM_BEFORE, fence + _ZOOM_AFTER
        for each, following in itertools.pairwise([*self._chart.agent, None]):
            assert each is not None
            silent = each.start + len(each.pcm) / 2 / rate
            until = end if following is None else min(end, following.start)
            for kind, start, pcm, stop in (
                ("lost", silent, each.lost_pcm, until),
                ("agent", each.start, each.pcm, end),
            ):
                first, last = (max(0, round((edge - start) * rate)) for edge in (begin, stop))
                samples = np.frombuffer(pcm, "<i2")[first:last]
                if len(samples):
                    yield kind, start + first / rate - begin, samples


_LEGEND = (
    ("agent", "the agent, as heard"),
    ("user", "the user"),
    ("lost", "the rest of the interrupted turn: never heard"),
    ("wait", "from the request to the first audio heard"),
    ("fence", "the interruption (the fence)"),
)


def _swatch(kind: str, x: float, y: float) -> str:
    if kind == "fence":
        return _line("fence", x + 11, y - 8, y + 8)
    if kind == "wait":
        return f'<line class="wait" x1="{x:.1f}" x2="{x + 22:.1f}" y1="{y}" y2="{y}"/>'
    return f'<rect class="{kind}" x="{x:.1f}" y="{y - 6}" width="22" height="12" rx="3"/>'


def _band(top: float, height: float, ticks: Iterable[float]) -> str:
    band = f'<rect class="band" x="{_LEFT}" y="{top:g}" width="{_WIDTH - _LEFT - _RIGHT}" height="{height:g}" rx="6"/>'
    return band + "".join(_line("tick", x, top, top + height) for x in ticks)


def _line(kind: str, x: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y1:g}" y2="{y2:g}"/>'


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    attributes = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    return f'<text x="{x:.1f}" y="{y:g}"{attributes}>{escape(text)}</text>'


def _outline(pcm: bytes, columns: int, x: float, width: float, middle: float, half: float) -> str:
    """The path around a waveform: its highest and lowest samples in each column."""
    samples = np.frombuffer(pcm, "<i2").astype(float) / 32768
    edges = np.linspace(0, len(samples), columns + 1).astype(int)[:-1]
    high, low = np.maximum.reduceat(samples, edges), np.minimum.reduceat(samples, edges)
    xs = x + (np.arange(columns) + 0.5) * width / columns
    upper = [f"{px:.1f} {middle - half * value - 0.4:.1f}" for px, value in zip(xs, high, strict=True)]
    lower = [f"{px:.1f} {middle - half * value + 0.4:.1f}" for px, value in zip(xs[::-1], low[::-1], strict=True)]
    return f"M{'L'.join(upper + lower)}Z"
