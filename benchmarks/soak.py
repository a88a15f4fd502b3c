"""A million interruptions, each checked to the sample: ``make soak``.

Sessions of fifty interruptions run in memory under virtual time, in as many processes as there are cores.  Ctrl-C stops
it; started again it goes on where it was, as long as the sources are the same.  A failure names its seed and run and
the command that runs it again.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import secrets
import signal
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import soak_realtime
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from soak_check import Violation
from soak_dialects import DIALECTS
from soak_run import RUNS_PER_SESSION, Report, run_session

import voicetrio

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
REALTIME = "realtime"
"""Not a dialect of speech: a soak of its own."""

MILLION = 1_000_000
BATCH = 4
"""Sessions that a process runs before it reports."""

_MIN_STATE_RUNS = 10_000  # a run that takes seconds need not be continued
_SAVE_EVERY = 5.0


@attrs.frozen
class Job:
    """Sessions to run, each with how many of its interruptions."""

    dialect: str
    seed: int
    sessions: tuple[tuple[int, int], ...]


@attrs.define
class State:
    """How far a soak has come; this is what the state file holds."""

    dialect: str
    seed: int
    start: int
    runs: int
    sources: str
    done: set[int] = attrs.Factory(set)
    counts: Counter[str] = attrs.Factory(Counter)
    seconds: float = 0.0

    @property
    def sessions(self) -> Iterator[tuple[int, int]]:
        """All sessions with the number of interruptions wanted of each.

        A session always begins at its first: what is interrupted first bears on what comes later.
        """
        end = self.start + self.runs
        for session in range(self.start // RUNS_PER_SESSION, -(-end // RUNS_PER_SESSION)):
            yield session, min(RUNS_PER_SESSION, end - session * RUNS_PER_SESSION)

    def jobs(self) -> Iterator[Job]:
        """What is still to be done."""
        left = [(session, runs) for session, runs in self.sessions if session not in self.done]
        for index in range(0, len(left), BATCH):
            yield Job(self.dialect, self.seed, tuple(left[index : index + BATCH]))

    def add(self, job: Job, report: Report) -> None:
        """Note that a job is done."""
        self.done |= {session for session, _ in job.sessions}
        self.counts += report.counts

    def save(self) -> None:
        """Write the state file."""
        if self.runs < _MIN_STATE_RUNS:
            return
        path = _state_file(self.dialect, self.start, self.runs)
        path.parent.mkdir(exist_ok=True)
        fields: dict[str, Any] = attrs.asdict(self) | {"done": sorted(self.done), "counts": dict(self.counts)}
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(fields))
        scratch.replace(path)

    @classmethod
    def load(cls, dialect: str, seed: int | None, start: int, runs: int) -> State | None:
        """The state of an unfinished soak of the same kind, of the same sources."""
        path = _state_file(dialect, start, runs)
        if runs < _MIN_STATE_RUNS or not path.exists():
            return None
        fields = json.loads(path.read_text())
        state = cls(**fields | {"done": set(fields["done"]), "counts": Counter(fields["counts"])})
        same = (state.dialect, state.start, state.runs, state.sources) == (dialect, start, runs, _sources())
        if not same or seed not in (None, state.seed) or len(state.done) == len(list(state.sessions)):
            return None
        return state


def _state_file(dialect: str, start: int, runs: int) -> Path:
    slice_ = "" if (start, runs) == (0, MILLION) else f"-{start}-{runs}"
    return HERE / "out" / f"soak-{dialect}{slice_}.json"


def _sources() -> str:
    """A fingerprint of the code: interruptions counted with other code do not count."""
    digest = hashlib.sha256()
    for path in sorted([*Path(voicetrio.__file__).parent.rglob("*.py"), *HERE.glob("soak*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _begin_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and stops us
    gc.freeze()  # what was imported stays


def _run_session(job: Job, session: int, runs: int) -> Report:
    if job.dialect == REALTIME:
        return soak_realtime.run_session(job.seed, session, runs)
    return run_session(job.seed, session, runs, job.dialect)


def _do(job: Job) -> Report:
    report = Report()
    for session, runs in job.sessions:
        try:
            report.add(_run_session(job, session, runs))
        except Exception:  # noqa: BLE001 - a crash is a finding like any other, and is told with its seed
            last = session * RUNS_PER_SESSION + runs - 1
            report.violations.append(Violation(last, "error", traceback.format_exc()))
    return report


def _soak(state: State, processes: int, console: Console) -> list[Violation]:
    """Work until all is done or something is wrong."""
    columns = (
        TextColumn("interruptions"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    jobs = state.jobs()
    begun, before, saved = time.monotonic(), state.seconds, 0.0
    done_before = state.counts["interruptions"]
    with (
        Progress(*columns, console=console) as progress,
        ProcessPoolExecutor(processes, get_context("spawn"), _begin_process) as pool,
    ):
        total = sum(runs for _, runs in state.sessions)
        bar = progress.add_task("", total=total, completed=done_before, rate=0)
        running: dict[Future[Report], Job] = {}
        try:
            while True:
                while len(running) < 2 * processes and (job := next(jobs, None)) is not None:
                    running[pool.submit(_do, job)] = job
                if not running:
                    return []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job, report = running.pop(future), future.result()
                    if report.violations:
                        return report.violations
                    state.add(job, report)
                spent = time.monotonic() - begun
                state.seconds = before + spent
                done = state.counts["interruptions"]
                progress.update(bar, completed=min(done, total), rate=(done - done_before) / spent)
                if spent - saved > _SAVE_EVERY:
                    state.save()
                    saved = spent
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            state.save()


def _show(state: State, console: Console) -> None:
    counts = state.counts
    table = Table(title=f"{state.dialect}, seed {state.seed}", show_header=False)
    rows = {
        "interruptions": counts["interruptions"],
        "turns checked": counts["turns"],
        "of these completed": counts["completed"],
        "samples compared": counts["samples"],
        "late bytes dropped": counts["late bytes"],
        "connections": counts["connections"],
    }
    rows |= {name: counts[name] for name in sorted(counts) if name.startswith(("at ", "by "))}
    rows |= dict.fromkeys(("stale samples", "lost samples", "doubled or reordered samples", "leaks"), 0)
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    rate = counts["interruptions"] / max(state.seconds, 1e-9)
    table.add_row("seconds", f"{state.seconds:,.0f} ({rate:,.0f} interruptions/s)")
    console.print(table)


def _complain(state: State, violations: list[Violation], console: Console) -> None:
    for violation in violations:
        console.print(f"[bold red]{violation.kind}[/] in run {violation.run}: ", end="")
        console.print(violation.detail, markup=False)
    run = violations[0].run
    console.print(f"seed {state.seed}; again, with the runs before it in its session:")
    console.print(
        f"  python benchmarks/soak.py --dialect {state.dialect} --seed {state.seed} --start {run} --runs 1",
        markup=False,
    )


def main() -> int:
    """Run it; the exit status is 0 if all is well, 1 if something is wrong, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialect", choices=[*DIALECTS, REALTIME], default="deepgram", help="whom to soak")
    parser.add_argument("--seed", type=int, help="default: a new one, or that of the soak that is continued")
    parser.add_argument("--runs", type=int, default=MILLION, help="interruptions")
    parser.add_argument("--start", type=int, default=0, help="number of the first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--fresh", action="store_true", help="do not continue an earlier soak")
    options = parser.parse_args()
    console = Console()
    state = None if options.fresh else State.load(options.dialect, options.seed, options.start, options.runs)
    if state is None:
        seed = secrets.randbits(32) if options.seed is None else options.seed
        state = State(options.dialect, seed, options.start, options.runs, _sources())
        console.print(f"seed {state.seed}")
    else:
        console.print(f"seed {state.seed}, going on after {state.counts['interruptions']:,} interruptions")
    try:
        violations = _soak(state, options.jobs, console)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return 130
    if violations:
        _complain(state, violations, console)
        return 1
    _show(state, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
