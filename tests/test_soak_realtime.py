"""A slice of ``make soak ARGS="--dialect realtime"``, and proof that what it checks can be found wrong."""

import importlib
import sys
from pathlib import Path

import pytest

from voicetrio._realtime_reply import Reply
from voicetrio._realtime_session import RealtimeSession
from voicetrio.inference._realtime_dialect import GatewayRealtimeDialect

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))
soak_realtime = importlib.import_module("soak_realtime")

SESSIONS = 3
RUNS = 50


@pytest.mark.parametrize("fixed", [1, None], ids=["seed 1", "a fresh seed"])
def test_no_sample_of_a_realtime_reply_is_stale_lost_doubled_or_out_of_order(fixed, seed):
    seed = seed if fixed is None else fixed
    again = f"python benchmarks/soak.py --dialect realtime --seed {seed} --start RUN --runs 1"
    interruptions = completed = 0
    for session in range(SESSIONS):
        report = soak_realtime.run_session(seed, session)
        assert report.violations == [], again
        interruptions += report.counts["interruptions"]
        completed += report.counts["completed"]
    assert interruptions >= SESSIONS * RUNS
    assert completed > 0


def test_a_realtime_session_is_the_same_each_time():
    first, second = (soak_realtime.run_session(7, 0, 20).counts for _ in range(2))
    assert first == second


# ---- faults planted in the session: the soak must see them

real_silence, real_put, real_cancel = Reply.silence, Reply.put, GatewayRealtimeDialect.cancel


def silence_that_fences_nothing(self):
    audio, self.audio = self.audio, None
    real_silence(self)
    self.audio = audio


def put_that_loses_a_sample(self, pcm):
    real_put(self, pcm[:-2] if len(self._pieces) == 1 else pcm)


def cancel_that_drops_nothing(self, asked):
    messages = real_cancel(self, asked)
    self._owed.clear()
    self._broken_off, self._uncertain, self._stale = False, False, 0
    return messages


def cancel_that_forgets_what_was_asked(self, asked):
    return real_cancel(self, 0)


async def audio_that_goes_round_the_reply(self, pcm):
    reply = self._floor.current or self._floor.begin()
    await reply.audio.write(pcm)


FAULTS = {
    "a fence that is none": (Reply, "silence", silence_that_fences_nothing),
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
