"""What a run shows in the terminal: where it is, and then the table."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .plan import FLOORS
from .summary import Comparison, comparisons, number, rows, span

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any

    from .run import Results

_STYLE = {"ahead": "green", "behind": "red", "even": "dim"}
_HEAD = (
    *("provider", "beside", "ours", "theirs", "ratio of medians", ""),
    *("our p95", "their p95", "our p99", "their p99", "ratio of p99"),
)
_WORDS = ("provider", "beside", "")
_CUTS = (len(_HEAD), _HEAD.index("our p99"), _HEAD.index("our p95"))  # where columns that do not fit are left out
_INDENT, _GAP = "  ", "  "


@contextmanager
def progress() -> Generator[Callable[[str, float], None], None, None]:
    """A bar on standard error; gives what to call with the step and the share done."""
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, completed=share, description=what)


def show(results: Results, console: Console | None = None) -> None:
    """Print us beside every other contender, figure by figure.

    The higher percentiles are left out where they do not fit; in a pipe that is within 80 columns, or $COLUMNS.
    """
    console = console or Console()
    found = list(comparisons(rows(results)))
    table = [_line(each) for each in found]
    widths = [max(map(len, column)) for column in zip(_HEAD, *table, strict=True)]
    some = any(cell not in ("", "-") for line in table for cell in line[_CUTS[-1] :])
    fitting = (cut for cut in _CUTS if some and _width(widths[:cut]) <= console.width)
    columns = next(fitting, _CUTS[-1])

    def say(line: Sequence[str] | str, style: str | None = None) -> None:
        text = line if isinstance(line, str) else _join(line[:columns], widths)
        console.print(text, style=style, soft_wrap=True, highlight=False, markup=False)

    say("voicetrio beside the others; a ratio below 1 means that voicetrio is ahead")
    say(_HEAD, "bold")
    last = None
    for each, line in zip(found, table, strict=True):
        heading = f"{each.row.title}, {each.row.metric.unit}"
        if heading != last:
            say(f"\n{heading}", "bold")
        last = heading
        say(line, _STYLE[each.verdict])
    say("")
    if some and columns < len(_HEAD):
        say(f"All percentiles are in the report, and here if there are {_width(widths)} columns.")
    counts = Counter(_verdict(each) for each in found)
    say(", ".join(f"{verdict or 'too few rounds'} in {counts[verdict]}" for verdict in ("ahead", "even", "behind", "")))
    for note in results.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    meta = results.meta
    console.print(
        f"{meta['seconds']:.0f} s, of which {meta['cpu_seconds']:.0f} s of CPU; {_busy(meta)}", highlight=False
    )


def _line(each: Comparison) -> list[str]:
    ratio, *percentiles = _columns(each)
    figures = [number(cell.value.value) for cell in (each.ours, each.theirs)]
    return [each.row.provider, each.other, *figures, ratio, _verdict(each), *percentiles]


def _verdict(each: Comparison) -> str:
    """A word, as a pipe has no colours; none where there are too few rounds for one."""
    ratio = each.theirs.ratio
    return "" if ratio is not None and math.isnan(ratio.low) and not math.isnan(ratio.value) else each.verdict


def _width(widths: Sequence[int]) -> int:
    return len(_INDENT) + sum(widths) + len(_GAP) * (len(widths) - 1)


def _join(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if name in _WORDS else cell.rjust(width)
        for name, cell, width in zip(_HEAD, line, widths, strict=False)
    ]
    return (_INDENT + _GAP.join(cells)).rstrip()


def _busy(meta: dict[str, Any]) -> str:
    return f"others had the core for {meta['waited']:.0%} of the time in which contenders and simulators could have run"


def _columns(each: Comparison) -> list[str]:
    """The ratio of medians, both 95th and both 99th percentiles, and their ratio; nothing of counts."""
    if each.row.metric.counted:
        return [""] * 6
    p95 = [number(cell.p95) for cell in (each.ours, each.theirs)]
    p99 = [number(cell.p99) for cell in (each.ours, each.theirs)]
    return [span(each.theirs.ratio), *p95, *p99, span(each.theirs.ratio_p99)]


def markdown(results: Results) -> str:
    """The same table for a document, peers only: the floors are in the report."""
    meta = results.meta
    versions = ", ".join(f"{name} {version}" for name, version in sorted(meta["versions"].items()))
    lines = [
        f"{meta['date']}; {meta['machine']['cpu']}, {meta['machine']['cores']} cores; seed {meta['seed']}; "
        f"{meta['seconds']:.0f} s; {_busy(meta)}; {versions}.",
        "",
        "| figure | provider | beside | ours | theirs | ratio of medians | our p95 | their p95 | our p99 | their p99 "
        "| ratio of p99 |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in comparisons(rows(results)):
        if each.other in FLOORS:
            continue
        figures = [number(cell.value.value) for cell in (each.ours, each.theirs)]
        title = f"{each.row.title} ({each.row.metric.unit})"
        lines.append(f"| {' | '.join([title, each.row.provider, each.other, *figures, *_columns(each)])} |")
    return "\n".join(lines) + "\n"
