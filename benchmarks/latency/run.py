"""The run: every scenario, every provider, every contender, round after round in rotated order."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from voicetrio import __version__

from .metrics import figures, timeline
from .plan import BASE, ENTRIES, Entry, Scenario, scenarios
from .processes import ROOT, ContenderFailed, SimulatorProcess, Watch, Worker, cores, simulator
from .signals import voice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LABELS = 100_000

SATURATED = 0.9
"""Share of its core above which a simulator may be what holds everybody up."""


@attrs.define
class Results:
    """What a run found; as JSON, what the report is made of.

    Attributes:
        meta: machine, versions, seed, times.
        values: figures by metric, provider and contender, round by round.
        timelines: one interruption for each provider and contender.
        notes: what went wrong or must be known to read the figures.
    """

    meta: dict[str, Any] = attrs.Factory(dict)
    values: dict[str, dict[str, dict[str, list[list[float]]]]] = attrs.Factory(dict)
    timelines: dict[str, dict[str, Any]] = attrs.Factory(dict)
    notes: list[str] = attrs.Factory(list)

    def add(self, metric: str, provider: str, contender: str, figures: list[float]) -> None:
        """Add a round's figures."""
        self.values.setdefault(metric, {}).setdefault(provider, {}).setdefault(contender, []).append(figures)

    def note_versions(self, contender: str, versions: dict[str, str]) -> None:
        """Note versions; one that differs from another contender's is told with its own."""
        known = self.meta.setdefault("versions", {})
        for package, version in versions.items():
            if known.setdefault(package, version) != version:
                known[f"{package} of {contender}"] = version

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)


class Run:
    """A run of the benchmark.

    Args:
        plan: the scenarios.
        entries: the contenders.
        seed: of all chances.
        tell: called with what is going on, and the share that is done.
    """

    def __init__(
        self, plan: Sequence[Scenario], entries: Sequence[Entry], seed: int, tell: Callable[[str, float], object]
    ) -> None:
        self.results = Results()
        self._plan = plan
        self._entries = entries
        self._seed = seed
        self._tell = tell
        self._client_core, self._server_core = cores()
        self._label = 0
        self._done = 0
        self._first = 0
        self._steps = sum(len(self._who(provider)) * each.rounds for each in plan for provider in each.providers)
        self._usage = os.times()
        self._ran = self._waited = 0.0

    def _who(self, provider: str) -> list[Entry]:
        return [entry for entry in self._entries if provider in entry.providers]

    def run(self) -> Results:
        """Run all of it, or up to a Ctrl-C: what was found until then is told."""
        began = time.perf_counter()
        self.results.meta = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seed": self._seed,
            "machine": _machine(),
            "pinned": self._client_core is not None,
            "load_before": os.getloadavg(),
            "versions": {"voicetrio": " ".join(filter(None, (__version__, _commit())))},
        }
        providers = dict.fromkeys(provider for each in self._plan for provider in each.providers)
        try:
            for provider in providers:
                self._run_provider(provider)
        except KeyboardInterrupt:
            self.results.note("the run was cut short")
        before, usage = self._usage, os.times()
        self.results.meta["seconds"] = time.perf_counter() - began
        self.results.meta["cpu_seconds"] = sum(usage[:4]) - sum(before[:4])
        self.results.meta["waited"] = self._waited / max(self._ran + self._waited, 1e-9)
        return self.results

    def _run_provider(self, provider: str) -> None:
        workers: dict[str, Worker] = {}
        try:
            for scenario in self._plan:
                if provider in scenario.providers:
                    began = time.perf_counter()
                    self._run_scenario(scenario, provider, workers)
                    took = self.results.meta.setdefault("took", {})
                    took[scenario.name] = took.get(scenario.name, 0.0) + time.perf_counter() - began
        finally:
            for worker in workers.values():
                worker.kill()

    def _run_scenario(self, scenario: Scenario, provider: str, workers: dict[str, Worker]) -> None:
        options = {"seed": self._seed, **BASE[provider], **scenario.options}
        who = self._who(provider)
        with ExitStack() as stack:
            server: SimulatorProcess | None = None
            if scenario.do != "prepare":
                server = stack.enter_context(simulator(provider, options, self._server_core, log=scenario.log))
            for round_ in range(scenario.rounds):
                turn = (self._first + round_) % len(who)
                told: dict[str, set[str]] = {}
                for entry in who[turn:] + who[:turn]:
                    self._tell(f"{provider} {scenario.name} {entry.name}", self._done / self._steps)
                    self._done += 1
                    told[entry.name] = self._step(scenario, provider, entry, round_, server, workers)
                self._mark_failures(provider, told)
        self._first += 1  # where there is but one round, it is not always the same contender that begins

    def _mark_failures(self, provider: str, told: dict[str, set[str]]) -> None:
        """Who failed has a round without figures: it is in the tables, and its next round beside the others'."""
        for metric in sorted(set().union(*told.values())):
            for name, metrics in told.items():
                if not metrics:
                    self.results.add(metric, provider, name, [])

    def _step(
        self,
        scenario: Scenario,
        provider: str,
        entry: Entry,
        round_: int,
        server: SimulatorProcess | None,
        workers: dict[str, Worker],
    ) -> set[str]:
        """Run one contender once; gives the metrics that it has figures of, none if it failed."""
        where = f"{entry.name}, {provider}, {scenario.name}"
        worker: Worker | None = None
        try:
            worker = self._worker(provider, entry, workers, fresh=scenario.fresh)
            if scenario.do == "prepare":
                return self._add(scenario, provider, entry, worker.prepared, b"", [])
            assert server is not None
            return self._ask(scenario, provider, entry, round_, server, worker)
        except ContenderFailed as error:
            self.results.note(f"{where}: {error}")
            if worker is not None and not scenario.fresh:
                workers.pop(entry.name).kill()
            return set()
        finally:
            if worker is not None and scenario.fresh:
                worker.kill()

    def _worker(self, provider: str, entry: Entry, workers: dict[str, Worker], *, fresh: bool) -> Worker:
        if not fresh and entry.name in workers:
            return workers[entry.name]
        if not Path(entry.python).exists():
            raise ContenderFailed(f"{entry.python} is missing: make bench-peers")
        worker = Worker(entry.module, entry.python, self._client_core)
        try:
            worker.prepared = worker.ask({"do": "prepare", "provider": provider})
            if "error" in worker.prepared:
                raise ContenderFailed(worker.prepared["error"])
        except ContenderFailed:
            worker.kill()
            raise
        self.results.note_versions(entry.name, {**worker.prepared["versions"], "Python": worker.prepared["python"]})
        if not fresh:
            workers[entry.name] = worker
        return worker

    def _ask(
        self, scenario: Scenario, provider: str, entry: Entry, round_: int, server: SimulatorProcess, worker: Worker
    ) -> set[str]:
        turns = max(scenario.command.get("turns", 1), 1) * max(scenario.command.get("sessions", 1), 1)
        label, self._label = self._label, (self._label + turns) % _LABELS
        log_before = server.log.stat().st_size if server.log is not None else 0
        watches = [Watch(server.pid), Watch(worker.pid)]

        def look() -> None:
            for watch in watches:
                watch.look()

        with tempfile.TemporaryDirectory(prefix="voicetrio-bench-") as folder:
            pcm = Path(folder) / "heard.pcm"
            pcm.touch()
            if scenario.do == "uplink":
                (Path(folder) / "sound.pcm").write_bytes(voice(scenario.command["seconds"]))
            command = {
                "do": scenario.do,
                "provider": provider,
                "url": server.url,
                "seed": f"{self._seed}/{round_}",
                "label": label,
                "pcm": str(pcm),
                "sound": str(Path(folder) / "sound.pcm"),
                **scenario.command,
            }
            answer = worker.ask(command, scenario.timeout, look)
            heard = pcm.read_bytes()
        if answer.get("error"):
            self.results.note(f"{entry.name}, {provider}, {scenario.name}: {answer['error']}")
            return set()
        answer |= {"arrived": server.arrived(), "simulator": watches[0].most}
        self._ran += sum(watch.ran for watch in watches)
        self._waited += sum(watch.waited for watch in watches)
        self._note_troubles(scenario, provider, entry, answer)
        return self._add(scenario, provider, entry, answer, heard, _lines(server, log_before))

    def _add(
        self,
        scenario: Scenario,
        provider: str,
        entry: Entry,
        answer: dict[str, Any],
        heard: bytes,
        log: list[str],
    ) -> set[str]:
        computed = figures(scenario, answer, heard, log)
        for metric, found in computed.items():
            self.results.add(metric, provider, entry.name, found)
        if scenario.do == "interrupt" and entry.name not in self.results.timelines.get(provider, {}):
            picture = timeline(answer, heard, log)
            if picture is not None:
                self.results.timelines.setdefault(provider, {})[entry.name] = picture
        return set(computed)

    def _note_troubles(self, scenario: Scenario, provider: str, entry: Entry, answer: dict[str, Any]) -> None:
        where = f"{entry.name}, {provider}, {scenario.name}"
        troubles = [*answer.get("failed", []), *answer.get("errors", [])]
        turns = [turn for each in (answer, *answer.get("sessions", [])) for turn in each.get("turns", [])]
        troubles += [turn["error"] for turn in turns if turn.get("error")]
        for trouble in troubles[:2]:
            self.results.note(f"{where}: {trouble[:200]}")
        # Where only the contender's own CPU is measured, it does not matter who waits for whom.
        if answer["simulator"] > SATURATED and scenario.do not in ("receive", "uplink"):
            self.results.note(
                f"{where}: for half a second the simulator could have used more than {SATURATED:.0%} of its core; it "
                "may be what was measured"
            )
        wanted = scenario.command.get("expected", 0) * scenario.command.get("sessions", 0)
        if scenario.do == "receive" and answer["samples"] < wanted:
            self.results.note(f"{where}: {wanted - answer['samples']} samples never came")
        if answer.get("strays"):
            self.results.note(f"{where}: {answer['strays']} turns began with audio that was left of another")
        if answer.get("hung"):
            self.results.note(f"{where}: {answer['hung']} sessions did not end")
        if scenario.do == "uplink" and len(answer["arrived"]) != scenario.command["sessions"]:
            heard = len(answer["arrived"])
            self.results.note(f"{where}: {scenario.command['sessions']} sessions, and {heard} connections with sound")


def _lines(server: SimulatorProcess, start: int) -> list[str]:
    if server.log is None:
        return []
    with server.log.open(encoding="utf-8") as file:
        file.seek(start)
        return [line for line in file if line.endswith("\n")]


def _commit() -> str:
    """What is measured, as git names it; empty if this is no checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip()


def _machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform()}
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform()}


def write(results: Results, path: Path) -> None:
    """Write the results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(attrs.asdict(results), indent=None, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """Read results again."""
    return Results(**json.loads(path.read_text(encoding="utf-8")))


def plan_for(*, quick: bool, only: Sequence[str]) -> list[Scenario]:
    """The scenarios of a run, perhaps only some of them."""
    return [each for each in scenarios(quick=quick) if not only or each.name.partition("-")[0] in only]


def entries_for(only: Sequence[str]) -> list[Entry]:
    """The contenders of a run, perhaps only some of them."""
    return [entry for entry in ENTRIES if not only or entry.name in only]
