"""A slice of ``make soak ARGS="--dialect realtime"``, and proof that what it checks can be found wrong."""

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio
from slices import THOROUGH

from voicetrio._realtime_reply import Reply
from voicetrio._realtime_session import RealtimeSession
from voicetrio.audio import TurnAudio
from voicetrio.inference._realtime_dialect import GatewayRealtimeDialect

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))
soak_plan = importlib.import_module("soak_plan")
soak_realtime = importlib.import_module("soak_realtime")

SEEDS = {"a fresh seed": None} | ({"seed 1": 1} if THOROUGH else {})
SESSIONS = 8
RUNS = 50
MEANS = ("interrupt", "cancel", "deadline", "user")


@pytest.mark.parametrize("fixed", SEEDS.values(), ids=SEEDS)
def test_no_sample_of_a_realtime_reply_is_stale_lost_doubled_or_out_of_order(fixed, seed):
    seed = seed if fixed is None else fixed
    again = f"python benchmarks/soak.py --dialect realtime --seed {seed} --start RUN --runs 1"
    counts = Counter()
    for session in range(SESSIONS):
        report = soak_realtime.run_session(seed, session)
        assert report.violations == [], again
        counts += report.counts
    assert counts["interruptions"] >= SESSIONS * RUNS
    assert counts["completed"] > 0
    met = {name for name in counts if name.startswith(("at ", "by "))}
    assert met == {f"at {kind}" for kind in soak_plan.MOMENTS} | {f"by {means}" for means in MEANS}


def test_a_realtime_session_is_the_same_each_time():
    first, second = (soak_realtime.run_session(7, 0, 20).counts for _ in range(2))
    assert first == second


# ---- faults planted in the session: the soak must see them

real_silence, real_put, real_end, real_cancel = Reply.silence, Reply.put, Reply.end, GatewayRealtimeDialect.cancel
real_take = TurnAudio._take


def silence_that_fences_nothing(self):
    audio, self.audio = self.audio, None
    real_silence(self)
    self.audio = audio


def put_that_loses_a_sample(self, pcm):
    real_put(self, pcm[:-2] if len(self._pieces) == 1 else pcm)


def take_that_gives_a_frame_twice(self, samples):
    queue = bytes(self._queue)
    frame = real_take(self, samples)
    if frame is not None and frame.position == 0:
        self._queue[:0] = queue[: len(frame.pcm)]
    return frame


def cancel_that_drops_nothing(self, asked):
    messages = real_cancel(self, asked)
    self._owed = 0
    self._broken_off, self._uncertain, self._stale = False, False, 0
    return messages


def cancel_that_forgets_what_was_asked(self, asked):
    return real_cancel(self, 0)


def end_that_leaves_a_task_behind(self, **how):
    trio.lowlevel.spawn_system_task(trio.sleep_forever)
    real_end(self, **how)


async def audio_that_goes_round_the_reply(self, pcm):
    reply = self._floor.current or self._floor.begin()
    await reply.audio.write(pcm)


FAULTS = {
    "a fence that is none": (Reply, "silence", silence_that_fences_nothing),
    "a doubled frame": (TurnAudio, "_take", take_that_gives_a_frame_twice),
    "a task left behind": (Reply, "end", end_that_leaves_a_task_behind),
    "a lost sample": (Reply, "put", put_that_loses_a_sample),
    "no gate": (GatewayRealtimeDialect, "cancel", cancel_that_drops_nothing),
    "a gate that opens for a cancelled reply": (GatewayRealtimeDialect, "cancel", cancel_that_forgets_what_was_asked),
    "audio out of line": (RealtimeSession, "_on_audio", audio_that_goes_round_the_reply),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_soak_sees_what_is_wrong(monkeypatch, fault):
    monkeypatch.setattr(*FAULTS[fault])
    found = (violation for session in range(40) for violation in soak_realtime.run_session(1, session).violations)
    assert next(found, None) is not None
