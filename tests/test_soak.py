"""A slice of ``make soak``, and proof that what it checks can be found wrong."""

import importlib
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import pytest
import trio
from slices import THOROUGH

from voicetrio._caller import Caller
from voicetrio.audio import AudioSink, TurnAudio
from voicetrio.deepgram import _DeepgramDialect
from voicetrio.turn import Turn

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))
soak_dialects = importlib.import_module("soak_dialects")
soak_run = importlib.import_module("soak_run")
soak_plan = importlib.import_module("soak_plan")

SEEDS = {"a fresh seed": None} | ({"seed 1": 1, "seed 2": 2, "seed 3": 3} if THOROUGH else {})
SESSIONS = 12
SESSIONS_OF_THE_OTHERS = 4 if THOROUGH else 1


@pytest.mark.parametrize("fixed", SEEDS.values(), ids=SEEDS)
def test_no_sample_is_stale_lost_doubled_or_out_of_order(fixed, seed):
    seed = seed if fixed is None else fixed
    report = soak_run.Report()
    for session in range(SESSIONS):
        report.add(soak_run.run_session(seed, session))

    again = f"python benchmarks/soak.py --seed {seed} --start RUN --runs 1"
    assert report.violations == [], again
    assert report.counts["interruptions"] >= SESSIONS * soak_run.RUNS_PER_SESSION
    met = {name for name in report.counts if name.startswith(("at ", "by "))}
    assert met == {f"at {kind}" for kind in soak_plan.MOMENTS} | {"by interrupt", "by cancel", "by deadline"}


@pytest.mark.parametrize("dialect", sorted(soak_dialects.DIALECTS.keys() - {"deepgram"}))
def test_nor_in_any_other_dialect(dialect):
    report, runs = soak_run.Report(), soak_run.RUNS_PER_SESSION
    for session in range(SESSIONS_OF_THE_OTHERS):
        report.add(soak_run.run_session(1, session, runs, dialect))

    again = f"python benchmarks/soak.py --dialect {dialect} --seed 1 --start RUN --runs 1"
    assert report.violations == [], again
    assert report.counts["interruptions"] >= SESSIONS_OF_THE_OTHERS * runs
    assert report.counts["completed"] > 0


def test_a_session_is_the_same_each_time():
    """In two processes, each with hashes of its own."""
    counts = []
    for _ in range(2):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            reports = pool.map(soak_run.run_session, repeat(1), repeat(0), repeat(10), soak_dialects.DIALECTS)
            counts.append([report.counts for report in reports])

    assert counts[0] == counts[1]


# ---- faults planted in the core: the soak must see them

real_fence, real_init, real_queue_up = TurnAudio.fence, TurnAudio.__init__, TurnAudio._queue_up
real_park = Caller.park
real_receive = _DeepgramDialect.receive


def fence_that_empties_nothing(self):
    if self.fenced:
        return real_fence(self)
    queue = bytes(self._queue)
    heard = real_fence(self)
    self._queue += queue
    self._sink._turns.appendleft(self)
    return heard


def fence_that_forgets_the_device(self):
    playout, self._sink._playout = self._sink._playout, None
    try:
        return real_fence(self)
    finally:
        self._sink._playout = playout


def receive_that_ignores_the_gate(self, message):
    if not isinstance(message, bytes):
        return real_receive(self, message)
    gates, self._gates = self._gates, 0
    try:
        return real_receive(self, message)
    finally:
        self._gates = gates


def open_turn_with_the_resampler_of_the_last(self, sink, number, fmt):
    real_init(self, sink, number, fmt)
    if self._resampler is not None:
        sink.resampler_of_the_last = self._resampler = getattr(sink, "resampler_of_the_last", self._resampler)


def hold_nothing_back(self):
    pass


def played_as_if_there_were_no_device(self):
    return self._taken


def finish_without_what_the_resampler_withholds(self):
    self._end()


def pieces_without_the_odd_byte(self, pcm):
    yield pcm[: len(pcm) - len(pcm) % self.format.sample_width]


async def queue_up_twice(self, pcm):
    await real_queue_up(self, pcm)
    await real_queue_up(self, pcm[: len(pcm) // 4 * 2])


async def confirm_without_looking_whether_it_was_cancelled(self, _on_cancelled):
    if self._held is not None:
        self._held.let_pass()


async def park_so_that_the_fence_falls_a_little_later(self, on_cancelled):
    await real_park(self, lambda: trio.lowlevel.current_trio_token().run_sync_soon(on_cancelled))


def cancel_without_a_clear(self, turn):
    self._forget()
    return ()


# What is found, what is broken, and the only moment at which it shows, if there is but one.
FAULTS = [
    ("stale", {(TurnAudio, "fence"): fence_that_empties_nothing}, None),
    ("stale", {(TurnAudio, "fence"): fence_that_forgets_the_device}, None),
    ("stale", {(TurnAudio, "hold_back"): hold_nothing_back}, "edge"),
    ("stale", {(Caller, "confirm"): confirm_without_looking_whether_it_was_cancelled}, "edge"),
    ("stale account", {(Caller, "park"): park_so_that_the_fence_falls_a_little_later}, None),
    ("foreign doubled", {(_DeepgramDialect, "receive"): receive_that_ignores_the_gate}, None),
    ("foreign doubled", {(_DeepgramDialect, "cancel"): cancel_without_a_clear}, None),
    ("foreign doubled", {(TurnAudio, "__init__"): open_turn_with_the_resampler_of_the_last}, None),
    ("foreign", {(TurnAudio, "finish"): finish_without_what_the_resampler_withholds}, None),
    ("foreign", {(TurnAudio, "_whole_samples"): pieces_without_the_odd_byte}, None),
    ("doubled foreign", {(TurnAudio, "_queue_up"): queue_up_twice}, None),
    ("account stale", {(AudioSink, "_played"): played_as_if_there_were_no_device}, None),
]


@pytest.mark.parametrize(
    ("kinds", "fault", "moment"), FAULTS, ids=[next(iter(fault.values())).__name__ for _, fault, _ in FAULTS]
)
def test_a_planted_fault_is_found(monkeypatch, kinds, fault, moment):
    for (owner, name), broken in fault.items():
        monkeypatch.setattr(owner, name, broken)
    if moment is not None:
        monkeypatch.setattr(soak_plan, "MOMENTS", {moment: 1})

    reports = (soak_run.run_session(11, session) for session in range(40))
    found = next(filter(None, (report.violations for report in reports)), [])

    assert {violation.kind for violation in found} & set(kinds.split())


def test_a_session_that_hangs_is_found(monkeypatch):
    monkeypatch.setattr(Turn, "resolve", lambda self: None)

    found = soak_run.run_session(11, 0).violations

    assert any("hangs" in violation.detail for violation in found)
