"""What a run shows in the terminal: where it is, and then the table."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .plan import FLOORS
from .summary import Comparison, comparisons, number, rows, span

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from .run import Results

_STYLE = {"ahead": "green", "behind": "red", "even": "dim"}


@contextmanager
def progress() -> Generator[Callable[[str, float], None], None, None]:
    """A bar on standard error; gives what to call with the step and the share done."""
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, completed=share, description=what)


def show(results: Results) -> None:
    """Print the table of us beside every other contender."""
    console = Console()
    table = Table(title="voicetrio beside the others; a ratio below 1 means that voicetrio is ahead")
    for name in ("figure", "unit", "provider", "beside"):
        table.add_column(name)
    for name in ("ours", "theirs", "ratio of medians", "our p99", "their p99", "ratio of p99"):
        table.add_column(name, justify="right")
    last = None
    for each in comparisons(rows(results)):
        if last not in (None, each.row.metric):
            table.add_section()
        last = each.row.metric
        table.add_row(
            each.row.title,
            each.row.metric.unit,
            each.row.provider,
            each.other,
            number(each.ours.value.value),
            number(each.theirs.value.value),
            *_columns(each),
            style=_STYLE[each.verdict],
        )
    console.print(table)
    for note in results.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    meta = results.meta
    console.print(
        f"{meta['seconds']:.0f} s, of which {meta['cpu_seconds']:.0f} s of CPU; {_busy(meta)}", highlight=False
    )


def _busy(meta: dict[str, Any]) -> str:
    return f"others had the core for {meta['waited']:.0%} of the time in which contenders and simulators could have run"


def _columns(each: Comparison) -> list[str]:
    """The ratio of medians, both 99th percentiles, and their ratio; nothing of counts."""
    if each.row.metric.counted:
        return [""] * 4
    p99 = [number(cell.p99) for cell in (each.ours, each.theirs)]
    return [span(each.theirs.ratio), *p99, span(each.theirs.ratio_p99)]


def markdown(results: Results) -> str:
    """The same table for a document, peers only: the floors are in the report."""
    meta = results.meta
    versions = ", ".join(f"{name} {version}" for name, version in sorted(meta["versions"].items()))
    lines = [
        f"{meta['date']}; {meta['machine']['cpu']}, {meta['machine']['cores']} cores; seed {meta['seed']}; "
        f"{meta['seconds']:.0f} s; {_busy(meta)}; {versions}.",
        "",
        "| figure | provider | beside | ours | theirs | ratio of medians | our p99 | their p99 | ratio of p99 |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for each in comparisons(rows(results)):
        if each.other in FLOORS:
            continue
        figures = [number(cell.value.value) for cell in (each.ours, each.theirs)]
        title = f"{each.row.title} ({each.row.metric.unit})"
        lines.append(f"| {' | '.join([title, each.row.provider, each.other, *figures, *_columns(each)])} |")
    return "\n".join(lines) + "\n"
