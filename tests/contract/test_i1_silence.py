"""The first invariant: silence is synchronous."""

import itertools
import math

import pytest
import trio
import trio.testing
from contract_cases import cases, only, where_ends_are_told
from contract_tools import Striker, speak_into, stage, until
from slices import every

SHORT = "Hello."
LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
NEXT = "And the next."
QUICK = {"ms_per_char": 8}


# ---- I1: silence is synchronous ------------------------------------------------------------------------------------

I1_STAGES = {
    "plain": {},
    "resampling": {"sink": {"sample_rate": 16_000}},
    "sink full": {"sink": {"max_seconds": 0.03, "frame_seconds": 0.01}},
    "half-filled frames": {"sink": {"frame_seconds": 0.03}, "options": {"frame_ms": 17}},
    "late audio": {"options": {"frame_ms": 10, "late_frames": 2}},
    "no player until then": {"pace": None},
}


async def _strike_at_every_moment(case, how, interrupt):
    """Interrupt turns of one session, each at another moment, reading greedily from that moment on.

    `interrupt` gets the session and the turn's cancel scope.  Returns the turns' outcomes, "cancelled" for those whose
    scope caught a cancellation.
    """
    how = how | {"options": QUICK | how.get("options", {})}
    outcomes, heard = [], {}
    async with stage(case, **how) as it:
        await it.session.prewarm()
        for at in itertools.count(1):

            def strike():
                interrupt(it.session, scope)
                heard[len(outcomes) + 1] = it.player.samples(len(outcomes) + 1)

            with trio.CancelScope() as scope, Striker(at, strike, it.player.take_all) as striker:
                spoken = await it.session.synthesize(SHORT)
            if not striker.struck:
                break
            outcomes.append("cancelled" if scope.cancelled_caught else spoken.outcome)
            assert it.session.last_interruption.samples_heard == heard[len(outcomes)]
            it.check_cut(len(outcomes), SHORT)
        spoken = await it.session.synthesize(NEXT)
        it.player.take_all()
        await it.check_whole(spoken, NEXT)
    late = {turn: it.player.samples(turn) - samples for turn, samples in heard.items()}
    assert not any(late.values()), f"samples passed after the interruption, by moment: {late}"
    assert it.session.statistics().connections == 1
    return outcomes


@only("deepgram")  # test_every_voice.py has a slice of it for each
@pytest.mark.parametrize("how", I1_STAGES.values(), ids=I1_STAGES)
async def test_i1_no_sample_passes_a_cancelled_scope_at_any_moment(case, how, autojump_clock):
    """Also in the moments between the end of a turn and the next step of its caller."""
    outcomes = await _strike_at_every_moment(case, how, lambda _session, scope: scope.cancel())
    assert len(outcomes) > 50
    assert set(outcomes) == {"cancelled"}


@only("deepgram")  # test_every_voice.py has a slice of it for each
@pytest.mark.parametrize("how", I1_STAGES.values(), ids=I1_STAGES)
async def test_i1_no_sample_passes_an_interruption_at_any_moment(case, how, autojump_clock):
    outcomes = await _strike_at_every_moment(case, how, lambda session, _scope: session.interrupt())
    assert len(outcomes) > 50
    assert set(outcomes) == {"interrupted"}


@only("deepgram", "lmnt-1.2", "lmnt-1.0", "cartesia", "smallest-classic", "smallest-sse")
async def test_i1_no_sample_passes_between_the_end_of_a_turn_and_its_callers_next_step(case, autojump_clock):
    """A cancellation there comes too late to abort the wait: synthesize() must see it, and nothing may pass before."""
    at_once = {"first_audio": 0.0, "speed": math.inf}  # no time passes, so the busy tasks do not keep the clock
    heard, caught = {}, 0
    async with stage(case, options=QUICK | at_once, pace=None) as it, trio.open_nursery() as nursery:
        await it.session.prewarm()
        for _ in range(3):
            nursery.start_soon(_keep_the_scheduler_busy)
        for turn in range(1, 101):

            def strike(turn=turn):
                scope.cancel()
                heard[turn] = it.player.samples(turn)

            def turn_is_over():
                return it.session._turns[-1].over

            with (
                trio.CancelScope() as scope,
                Striker(turn % 4 + 1, strike, it.player.take_all, turn_is_over) as striker,
            ):
                await it.session.synthesize(SHORT)
            assert scope.cancelled_caught == striker.struck
            caught += striker.struck
            it.session.interrupt()
        nursery.cancel_scope.cancel()
    assert not any(it.player.samples(turn) - samples for turn, samples in heard.items())
    assert caught > 10


async def _keep_the_scheduler_busy():
    while True:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
@pytest.mark.parametrize("frames", [0, 1, 2, 7])
async def test_i1_the_readers_own_task_may_interrupt(case, way, frames, autojump_clock):
    """It reads on at once, without giving any other task a step."""
    async with stage(case, pace=None) as it:
        result = {}
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(speak_into, it.session, LONG, scope, result)
            if not frames:
                await until(lambda: it.sink.queued_seconds)
            for _ in range(frames):
                it.player.take(await it.player.source.receive())
            scope.cancel() if way == "cancel" else it.session.interrupt()
            with pytest.raises(trio.WouldBlock):
                it.player.source.receive_nowait()
            with trio.move_on_after(2):
                it.player.take(await it.player.source.receive())
        assert result == {"cancelled": True} if way == "cancel" else result["outcome"] == "interrupted"
        assert it.check_cut(1, LONG) == frames * 480
        assert it.session.last_interruption.samples_heard == frames * 480


async def test_i1_a_system_task_may_interrupt(case, autojump_clock):
    async with stage(case) as it:
        scope = trio.CancelScope()
        heard = []

        async def cancel_soon():
            await trio.sleep(0.5)
            scope.cancel()
            heard.append(it.player.samples(1))
            it.player.take_all()

        trio.lowlevel.spawn_system_task(cancel_soon)
        with scope:
            await it.session.synthesize(LONG)
        assert scope.cancelled_caught
        await trio.sleep(1)
        assert it.check_cut(1, LONG) == heard[0] > 0
        await it.speak(NEXT)


@only("deepgram", "lmnt-1.2", "cartesia", "smallest-classic", "smallest-continuations", "smallest-sse")
async def test_i1_a_deadline_may_interrupt_at_any_time(case, seed, autojump_clock):
    """What is taken at the deadline itself or later is of other turns."""
    async with stage(case, options={"late_frames": 2}) as it:
        await it.session.prewarm()
        cut = 0
        moments = [moment for moment in every(3, seed) if moment < 150]
        for turn, moment in enumerate(moments, 1):
            with trio.move_on_after(moment * 0.004) as scope:
                await it.session.synthesize(SHORT)
            if scope.cancelled_caught:
                cut += 1
                late = [taken for taken in it.player.taken if taken.frame.turn == turn and taken.at >= scope.deadline]
                assert not late
                assert it.check_cut(turn, SHORT) == it.session.last_interruption.samples_heard
            it.session.interrupt()
        assert cut > len(moments) / 3
        await it.speak(NEXT)


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
async def test_i1_a_writer_blocked_on_a_full_sink_is_silenced(case, way, autojump_clock):
    async with stage(case, pace=None, sink={"max_seconds": 0.1}) as it:
        async with trio.open_nursery() as nursery:
            scope, result = trio.CancelScope(), {}
            nursery.start_soon(speak_into, it.session, LONG, scope, result)
            await trio.sleep(2)
            assert it.sink.queued_seconds == pytest.approx(0.1)
            scope.cancel() if way == "cancel" else it.session.interrupt()
            assert it.sink.queued_seconds == 0
        spoken = await it.session.synthesize("M")  # 0.06 s: it ends only if the old audio is out of the way
        it.player.take_all()
        await it.check_whole(spoken, "M")


class Device:
    """A loudspeaker with a buffer of its own, filled `ahead` seconds ahead."""

    def __init__(self, source, ahead):
        self.played = bytearray()
        self.dropped = []
        self._source = source
        self._ahead = source.format.samples(ahead)
        self._buffer = bytearray()
        self._played_until = trio.current_time()

    def held(self):
        now = trio.current_time()
        size = 2 * round((now - self._played_until) * self._source.format.sample_rate)
        self.played += self._buffer[:size]
        del self._buffer[:size]
        self._played_until = now
        return len(self._buffer) // 2

    def drop(self, samples):
        assert 0 < samples <= self.held()
        del self._buffer[len(self._buffer) - 2 * samples :]
        self.dropped.append(samples)

    async def run(self):
        self._source.attach(self)
        async for frame in self._source:
            self.held()
            self._buffer += frame.pcm
            await until(lambda: self.held() <= self._ahead)


@only("deepgram", "lmnt-1.2", "lmnt-1.0", "cartesia", "smallest-classic", "smallest-continuations", "smallest-http")
@pytest.mark.parametrize("way", ["interrupt", "cancel"])
@pytest.mark.parametrize("rate", [24_000, 16_000])
async def test_i1_reaches_what_a_playing_device_holds(case, way, rate, autojump_clock):
    async with stage(case, pace=None, sink={"sample_rate": rate}) as it, trio.open_nursery() as nursery:
        device = Device(it.player.source, ahead=0.3)
        nursery.start_soon(device.run)
        for _ in range(2):
            before = len(device.played)
            result = {}
            scope = trio.CancelScope()
            nursery.start_soon(speak_into, it.session, LONG, scope, result)
            await trio.sleep(1.0)
            held, heard = device.held(), (len(device.played) - before) // 2
            assert held
            scope.cancel() if way == "cancel" else it.session.interrupt()
            assert (device.held(), device.dropped.pop()) == (0, held)
            assert it.session.last_interruption.samples_heard == heard
            assert device.played[before:] == it.audio(LONG)[: 2 * heard]
            await trio.sleep(1.0)
            assert len(device.played) == before + 2 * heard
        assert not device.dropped
        nursery.cancel_scope.cancel()


@where_ends_are_told
async def test_i1_a_cancelled_turn_leaves_the_one_before_it_in_the_device(case, autojump_clock):
    async with stage(case, pace=None) as it, trio.open_nursery() as nursery:
        device = Device(it.player.source, ahead=2.0)
        nursery.start_soon(device.run)
        await it.session.synthesize(SHORT)
        with trio.move_on_after(0.2) as scope:
            await it.session.synthesize(LONG)
        assert scope.cancelled_caught
        assert device.held()
        await trio.sleep(3)
        assert not device.held()
        heard = it.session.last_interruption.samples_heard
        assert device.played == it.audio(SHORT) + it.audio(LONG)[: 2 * heard]
        assert len(device.dropped) == 1
        nursery.cancel_scope.cancel()


@where_ends_are_told
async def test_i1_interrupt_drops_all_turns_that_a_device_holds(case, autojump_clock):
    at_once = {"first_audio": 0.0, "speed": math.inf}
    async with stage(case, pace=None, options=at_once) as it, trio.open_nursery() as nursery:
        device = Device(it.player.source, ahead=5.0)
        nursery.start_soon(device.run)
        await it.session.synthesize(SHORT)
        await it.session.synthesize(NEXT)
        await trio.sleep(0.05)
        held, heard = device.held(), len(device.played) // 2
        cut = it.session.interrupt()
        assert device.held() == 0
        assert sum(device.dropped) == held == cut.samples_dropped
        assert (cut.turn, cut.turns, cut.samples_heard) == (1, (1, 2), heard)
        await trio.sleep(3)
        assert device.played == it.audio(SHORT)[: 2 * heard]
        nursery.cancel_scope.cancel()


@where_ends_are_told
@pytest.mark.parametrize("which", ["earlier", "later"])
async def test_i1_an_interruption_leaves_another_sessions_audio_in_the_device(case, which, autojump_clock):
    """A device forgets from the end: what lies below another session's audio is heard, and said to have been."""
    at_once = {"first_audio": 0.0, "speed": math.inf}
    async with stage(case, pace=None, options=at_once) as it, trio.open_nursery() as nursery:
        device = Device(it.player.source, ahead=5.0)
        nursery.start_soon(device.run)
        async with case.make_provider(it.server.url).open(it.sink, dial=it.server.dial) as other:
            await it.session.synthesize(SHORT)
            await other.synthesize(NEXT)
            await trio.sleep(0.05)
            cut = (it.session if which == "earlier" else other).interrupt()
            await trio.sleep(3)
            assert not device.held()
        first, second = it.audio(SHORT), it.audio(NEXT)
        assert device.played == (first + second if which == "earlier" else first)
        assert cut.samples_heard == (len(first) // 2 if which == "earlier" else 0)
        nursery.cancel_scope.cancel()


async def test_i1_interrupt_silences_turns_in_line_and_audio_still_queued(case, autojump_clock):
    async with stage(case, pace=None, sink={"max_seconds": 5}) as it, trio.open_nursery() as nursery:
        results = [{}, {}]
        await it.session.synthesize(SHORT)
        for result in results:
            nursery.start_soon(speak_into, it.session, LONG, trio.CancelScope(), result)
        await trio.sleep(0.3)
        cut = it.session.interrupt()
        assert (cut.turn, cut.turns, cut.samples_heard) == (1, (1, 2, 3), 0)
        assert cut.samples_dropped > len(it.audio(SHORT)) // 2
        assert it.sink.queued_seconds == 0
        await trio.sleep(5)
        it.player.take_all()
        assert not it.player.taken
        assert [result["outcome"] for result in results] == ["interrupted"] * 2
        assert it.session.interrupt() is None


@pytest.mark.parametrize("way", ["cancel", "interrupt"])
@cases(lambda case: "late end marker" in case.quirks or case.outcome == "completed_inferred")
async def test_i1_a_turn_of_which_all_has_come_but_its_end_is_silenced(case, way, autojump_clock):
    """Behind its last audio, while the end is still to be told, or to be inferred from silence."""
    options = QUICK | case.quirks.get("late end marker", {})
    async with stage(case, pace=None, options=options, sink={"max_seconds": 5}) as it, trio.open_nursery() as nursery:
        result, scope = {}, trio.CancelScope()
        nursery.start_soon(speak_into, it.session, LONG, scope, result)
        await trio.sleep(0.5)
        whole = len(it.audio(LONG)) // 2
        assert it.sink.queued_seconds == whole / case.rate, "not all of it has come"
        assert not result, "its end has come as well"
        scope.cancel() if way == "cancel" else it.session.interrupt()
        cut = it.session.last_interruption
        assert (cut.turn, cut.samples_heard, cut.samples_dropped) == (1, 0, whole)
        await trio.testing.wait_all_tasks_blocked()
        assert result == ({"cancelled": True} if way == "cancel" else {"outcome": "interrupted"})
        it.player.take_all()
        assert not it.player.taken
        spoken = await it.session.synthesize(NEXT)
        it.player.take_all()
        await it.check_whole(spoken, NEXT)
