"""A slice of ``benchmarks/sessions.py``: sessions cancelled at random points leave nothing behind."""

import importlib
import sys
from pathlib import Path

import pytest
import trio
from slices import THOROUGH

from voicetrio import DeepgramTTS, open_audio_sink
from voicetrio.simulators import DeepgramSimulator

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))
bench_sessions = importlib.import_module("sessions")


def test_sessions_in_memory_leave_nothing_behind(seed):
    usage = bench_sessions.in_memory(seed, 270 if THOROUGH else 90, 10)

    assert max(usage.tasks, usage.fds, usage.threads, usage.objects) <= 0, usage


def test_sessions_over_sockets_leave_nothing_behind(seed):
    usage = bench_sessions.over_loopback(seed, 30, 10)

    assert max(usage.tasks, usage.fds, usage.threads, usage.objects) <= 0, usage


def test_an_object_that_is_kept_is_counted(seed, monkeypatch):
    kept = []
    synthesize = bench_sessions.TTSSession.synthesize

    async def keep(self, text):
        kept.append(self)
        return await synthesize(self, text)

    monkeypatch.setattr(bench_sessions.TTSSession, "synthesize", keep)

    assert bench_sessions.in_memory(seed, 20, 10).objects > 0


@pytest.mark.parametrize("by_deadline", [False, True])
async def test_a_scope_around_the_whole_session_may_be_cancelled_while_it_speaks(autojump_clock, by_deadline):
    """The fence starts a task: inside of a cancel() that is going through the session's tasks."""
    async with DeepgramSimulator().serve_in_memory() as server, trio.open_nursery() as nursery:
        sink, _source = open_audio_sink()
        provider = DeepgramTTS(api_key="k", base_url=server.url)
        with trio.move_on_after(0.2) if by_deadline else trio.CancelScope() as scope:
            if not by_deadline:
                nursery.start_soon(_cancel_later, scope)
            async with provider.open(sink, dial=server.dial) as tts:
                await tts.synthesize("Hello from trio.")

        assert scope.cancelled_caught
        assert tts.last_interruption is not None


async def test_the_blocks_own_exception_comes_plain_though_a_scope_around_it_was_cancelled(autojump_clock):
    async with DeepgramSimulator().serve_in_memory() as server:
        sink, _source = open_audio_sink()
        provider = DeepgramTTS(api_key="k", base_url=server.url)
        with pytest.raises(KeyError, match="mine"), trio.CancelScope() as scope:
            async with provider.open(sink, dial=server.dial) as tts:
                await tts.prewarm()
                scope.cancel()
                raise KeyError("mine")


async def _cancel_later(scope):
    await trio.sleep(0.2)
    scope.cancel()
