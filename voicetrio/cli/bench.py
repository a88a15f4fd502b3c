"""``voicetrio bench``: how long a provider, or a simulator of one, keeps a listener waiting."""

from __future__ import annotations

import json
import platform
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import msgspec
import numpy as np
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .. import __version__
from ._distance import Distance, open_distance
from ._measure import FIGURES, LONG, SHORT, Measured, Workload, measure, ratio
from ._options import URL, find_option, make
from ._output import check_writable
from ._registry import PROVIDERS, SIMULATORS
from ._status import FAILED, status_of, until_signal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..tts import TTSProvider

_KIND = "voicetrio bench"
_MS = 1 / 1000

# Quantiles, and of how many figures at least each can be told.
_QUANTILES = ((0.5, 1), (0.95, 20), (0.99, 100))

# What two runs that are compared should have in common, but for what is to be compared.
_TERMS = ("provider", "workload", "distance", "simulated", "version", "python", "system")
_SIMULATED = sorted(PROVIDERS.keys() & SIMULATORS.keys())


@click.command(
    epilog="""Status: 0 measured; 1 no turn came about; 2 wrong usage, or a live run without --yes;
130 interrupted by Ctrl-C.

The key is read from the environment (such as DEEPGRAM_API_KEY) or from --api-key-file.""",
)
@click.option("--live", type=click.Choice(sorted(PROVIDERS)), help="Measure this provider's own service.")
@click.option(
    "--simulator",
    type=click.Choice(sorted(PROVIDERS.keys() & SIMULATORS.keys())),
    help="Measure a simulator, run for it.",
)
@click.option("--provider", type=click.Choice(sorted(PROVIDERS)), help="With --base-url: whose protocol it is.")
@click.option("--base-url", help="Measure whatever listens there, such as `voicetrio simulate`.")
@click.option("-n", "--turns", type=click.IntRange(1, 1000), default=10, show_default=True, help="Turns of each kind.")
@click.option("--text", default=SHORT, help="What the turns say.")
@click.option("--long-text", default=LONG, help="What the turns say that are interrupted.")
@click.option("-O", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="An option of the provider.")
@click.option("-S", "--simulate", "behaviour", multiple=True, metavar="KEY=VALUE", help="An option of the simulator.")
@click.option("--latency", type=click.FloatRange(0), default=0.0, help="Milliseconds added to a round trip.")
@click.option("--jitter", type=click.FloatRange(0), default=0.0, help="Milliseconds added at random, at most.")
@click.option("--lose-after", type=click.FloatRange(0, min_open=True), help="Seconds a connection lasts, on average.")
@click.option("--seed", type=int, default=0, help="Of the simulator, of jitter and of loss.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False), help="Read the key from this file.")
@click.option("--yes", is_flag=True, help="With --live: yes, spend that many characters.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the figures to this file, as JSON.")
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False),
    metavar="A B",
    help="Compare two such files; measure nothing.",
)
def bench(
    live: str | None,
    simulator: str | None,
    provider: str | None,
    base_url: str | None,
    turns: int,
    text: str,
    long_text: str,
    pairs: tuple[str, ...],
    behaviour: tuple[str, ...],
    latency: float,
    jitter: float,
    lose_after: float | None,
    seed: int,
    api_key_file: str | None,
    yes: bool,
    output: str | None,
    compare: tuple[str, str] | None,
) -> int:
    """Measure cold starts, warm turns and interruptions.

    Of a service, --live NAME; the characters it may cost are stated, and spent only with --yes.  Of a simulator,
    --simulator NAME, made as distant as wanted by --latency, --jitter and --lose-after.  Of anything else that speaks
    such a protocol, --provider NAME --base-url URL.
    """
    if compare is not None:
        _compare(*compare)
        return 0
    if sum(each is not None for each in (live, simulator, base_url)) != 1 or (base_url is None) != (provider is None):
        raise click.UsageError("say what to measure: --live NAME, --simulator NAME, or --provider NAME --base-url URL")
    if behaviour and simulator is None:
        raise click.UsageError("-S goes with --simulator")
    if output is not None:
        check_writable(output)
    name = live or simulator or provider
    assert name is not None
    workload = Workload(cold=min(turns, 3), warm=turns, interruptions=turns, short=text, long=long_text)
    click.echo(f"{name}: up to {workload.characters:,} characters in {3 * turns + workload.cold} turns", err=True)
    if live is not None and not yes:
        raise click.UsageError(f"that is charged by {live}: add --yes to spend it")
    given = [f"api_key={Path(api_key_file).read_text(encoding='utf-8').strip()}"] if api_key_file is not None else []
    given += ["api_key=simulated"] if simulator is not None and not given else []
    target = _Target(
        name=name,
        pairs=(*given, *pairs),
        base_url=base_url,
        behaviour=None if simulator is None else (f"seed={seed}", *behaviour),
        distance=Distance(latency=latency * _MS, jitter=jitter * _MS, lose_after=lose_after, seed=seed),
    )
    run = _Run(target, workload)
    signal = trio.run(until_signal, run.run)
    if run.measured is None:
        assert signal is not None
        return status_of(signal)
    _show(run.measured)
    if output is not None:
        _write(Path(output), target, workload, run.measured)
    return 0 if any(run.measured.figures.values()) else FAILED


@attrs.frozen(kw_only=True)
class _Target:
    name: str
    pairs: tuple[str, ...] = attrs.field(repr=False)
    base_url: str | None
    behaviour: tuple[str, ...] | None
    distance: Distance

    def provider(self, url: str | None) -> TTSProvider:
        kind = PROVIDERS[self.name]
        return make(kind, self.pairs if url is None else [*self.pairs, f"{find_option(kind, URL)}={url}"])


class _Run:
    def __init__(self, target: _Target, workload: Workload) -> None:
        self.measured: Measured | None = None
        self._target = target
        self._workload = workload
        entry = SIMULATORS[target.name] if target.behaviour is not None else None
        # Made here, so that a wrong option is told before anything runs.
        self._simulator = None if entry is None else entry.make(make(entry.options, target.behaviour or ()), voice=None)
        target.provider(target.base_url)

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            url = self._target.base_url
            if self._simulator is not None:
                url = (await stack.enter_async_context(self._simulator.serve())).url
            dial = None
            if attrs.evolve(self._target.distance, seed=0) != Distance():
                dial = await stack.enter_async_context(open_distance(self._target.distance))
            columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
            bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
            task = bar.add_task("", total=self._workload.characters)
            provider = self._target.provider(url)
            self.measured = await measure(
                provider,
                self._workload,
                dial=dial,
                tell=lambda what, characters: bar.update(task, advance=characters, description=what),
            )


def _show(measured: Measured) -> None:
    table = _table("what a listener waits for, in milliseconds")
    for name in ("turns", "median", "p95", "p99"):
        table.add_column(name, justify="right", no_wrap=True)
    for key, title in FIGURES.items():
        values = measured.figures[key]
        table.add_row(title, str(len(values)), *(_quantile(values, *which) for which in _QUANTILES))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"stale samples {measured.stale_samples}, connections {measured.connections}, "
        f"late bytes dropped {measured.late_bytes}, failed turns {len(measured.errors)}"
    )
    for error in list(dict.fromkeys(measured.errors))[:5]:
        console.print(f"failed: {error}", markup=False)


def _quantile(values: Sequence[float], q: float, enough: int) -> str:
    return f"{np.quantile(values, q):.1f}" if len(values) >= enough else "-"


def _table(title: str) -> Table:
    """A table that fits in 80 columns, with a column for the figure's name."""
    table = Table(title=title, box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("figure")
    return table


def _write(path: Path, target: _Target, workload: Workload, measured: Measured) -> None:
    record = {
        "kind": _KIND,
        "version": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "provider": target.name,
        "simulated": target.behaviour,
        "distance": attrs.asdict(target.distance),
        "workload": attrs.asdict(workload),
        **attrs.asdict(measured),
    }
    try:
        path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error


class _Record(msgspec.Struct, kw_only=True):
    """What is read of a file that a run wrote."""

    kind: str
    version: str
    python: str
    system: str
    provider: str
    simulated: list[str] | None
    distance: dict[str, Any]
    workload: dict[str, Any]
    figures: dict[str, list[float]]
    stale_samples: int
    errors: list[str]


def _read(path: str) -> _Record:
    try:
        record = msgspec.json.decode(Path(path).read_bytes(), type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        record = None
    if record is None or record.kind != _KIND:
        raise click.UsageError(f"{path} is not a file that `voicetrio bench -o` wrote")
    return record


def _compare(first: str, second: str) -> None:
    a, b = _read(first), _read(second)
    table = _table(f"A {first} ({a.provider}) and B {second} ({b.provider}): medians in milliseconds")
    for name in ("A", "B", "B / A", "95 % of it"):
        table.add_column(name, justify="right", no_wrap=True)
    for key, title in FIGURES.items():
        mine, other = a.figures.get(key), b.figures.get(key)
        if not mine or not other:
            table.add_row(title, "-", "-", "-", "-")
            continue
        found, low, high = ratio(other, mine)
        medians = [f"{np.median(values):.1f}" for values in (mine, other)]
        table.add_row(title, *medians, f"{found:.2f}", f"{low:.2f}–{high:.2f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"stale samples: A {a.stale_samples}, B {b.stale_samples}")
    console.print(f"failed turns: A {len(a.errors)}, B {len(b.errors)}")
    if terms := [name for name in _TERMS if getattr(a, name) != getattr(b, name)]:
        console.print(f"the two runs differ in: {', '.join(terms)}")
