"""The invariants I1 to I10, each by the tests that bear its number.

I8, no input is lost, is about speech-to-text: its tests are in tests/stt.
"""

import itertools
import logging
import math
import socket
import traceback
from contextlib import contextmanager

import attrs
import pytest
import trio
import trio.testing
from contract_cases import KEY, cases_with
from contract_tools import Dialer, Striker, chunks, stage, until

from voicetrio import FlushMarker, VoiceTrioError, open_audio_sink
from voicetrio.errors import LinkClosed, NoAudio, ProviderError, ProviderStalled, SessionClosed
from voicetrio.simulators import Faults
from voicetrio.testing import no_leaks

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


@pytest.mark.parametrize("how", I1_STAGES.values(), ids=I1_STAGES)
async def test_i1_no_sample_passes_a_cancelled_scope_at_any_moment(case, how, autojump_clock):
    """Also in the moments between the end of a turn and the next step of its caller."""
    outcomes = await _strike_at_every_moment(case, how, lambda _session, scope: scope.cancel())
    assert len(outcomes) > 50
    assert set(outcomes) == {"cancelled"}


@pytest.mark.parametrize("how", I1_STAGES.values(), ids=I1_STAGES)
async def test_i1_no_sample_passes_an_interruption_at_any_moment(case, how, autojump_clock):
    outcomes = await _strike_at_every_moment(case, how, lambda session, _scope: session.interrupt())
    assert len(outcomes) > 50
    assert set(outcomes) == {"interrupted"}


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
            nursery.start_soon(_synthesize, it.session, LONG, scope, result)
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


async def _synthesize(session, text, scope, result):
    with scope:
        spoken = await session.synthesize(text)
        result["outcome"] = spoken.outcome
    if scope.cancelled_caught:
        result["cancelled"] = True


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


async def test_i1_a_deadline_may_interrupt_at_any_time(case, autojump_clock):
    """What is taken at the deadline itself or later is of other turns."""
    async with stage(case, options={"late_frames": 2}) as it:
        await it.session.prewarm()
        cut = 0
        for turn in range(1, 150):
            with trio.move_on_after(turn * 0.004) as scope:
                await it.session.synthesize(SHORT)
            if scope.cancelled_caught:
                cut += 1
                late = [taken for taken in it.player.taken if taken.frame.turn == turn and taken.at >= scope.deadline]
                assert not late
                assert it.check_cut(turn, SHORT) == it.session.last_interruption.samples_heard
            it.session.interrupt()
        assert 50 < cut < 150
        await it.speak(NEXT)


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
async def test_i1_a_writer_blocked_on_a_full_sink_is_silenced(case, way, autojump_clock):
    async with stage(case, pace=None, sink={"max_seconds": 0.1}) as it:
        async with trio.open_nursery() as nursery:
            scope, result = trio.CancelScope(), {}
            nursery.start_soon(_synthesize, it.session, LONG, scope, result)
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


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
@pytest.mark.parametrize("rate", [24_000, 16_000])
async def test_i1_reaches_what_a_playing_device_holds(case, way, rate, autojump_clock):
    async with stage(case, pace=None, sink={"sample_rate": rate}) as it, trio.open_nursery() as nursery:
        device = Device(it.player.source, ahead=0.3)
        nursery.start_soon(device.run)
        for _ in range(5):
            before = len(device.played)
            result = {}
            scope = trio.CancelScope()
            nursery.start_soon(_synthesize, it.session, LONG, scope, result)
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
            nursery.start_soon(_synthesize, it.session, LONG, trio.CancelScope(), result)
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


# ---- I2: one outcome -----------------------------------------------------------------------------------------------


async def test_i2_completed(case, autojump_clock):
    async with stage(case) as it:
        spoken = await it.speak(LONG)
        assert spoken.outcome == "completed"
        assert spoken.seconds == spoken.samples / case.rate
        assert sum(spoken.timeline.parts().values()) == pytest.approx(spoken.timeline.total)


@pytest.mark.parametrize("at", [0.0, 0.05, 0.5, 3.0])
async def test_i2_interrupted(case, at, autojump_clock):
    async with stage(case) as it, trio.open_nursery() as nursery:
        result = {}
        nursery.start_soon(_synthesize, it.session, LONG, trio.CancelScope(), result)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(at)
        it.session.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        assert result == {"outcome": "interrupted"}
        await it.speak(NEXT)


@cases_with("no end marker")
async def test_i2_no_timeout_means_success(case, autojump_clock):
    async with stage(case, options=case.quirks["no end marker"], provider={"response_timeout": 2.0}) as it:
        with pytest.raises(ProviderStalled):
            await it.session.synthesize(SHORT)
        assert it.player.pcm(1) == it.audio(SHORT)


@cases_with("no audio")
async def test_i2_a_clean_end_without_audio_is_an_error(case, autojump_clock):
    async with stage(case, options=case.quirks["no audio"]) as it:
        with pytest.raises(NoAudio) as caught:
            await it.session.synthesize(SHORT)
        assert caught.value.provider == case.name
        it.behave(ms_per_char=20)
        await it.speak(NEXT)


async def test_i2_an_interruption_after_the_end_changes_no_outcome(case, autojump_clock):
    async with stage(case) as it:
        spoken = await it.session.synthesize(SHORT)
        it.session.interrupt()
        assert spoken.outcome == "completed"
        assert it.session.last_interruption.turns == (1,)


# ---- I3: only a link's send loop writes to its socket --------------------------------------------------------------


class Narrow(trio.abc.Stream):
    """Passes on single bytes; while `room` is 0, it is as full as a socket whose peer does not read."""

    def __init__(self, stream):
        self.room = math.inf
        self._stream = stream
        self._widened = trio.lowlevel.ParkingLot()

    def widen(self):
        self.room = math.inf
        self._widened.unpark_all()

    async def send_all(self, data):
        if self.room >= len(data):
            self.room -= len(data)
            await self._stream.send_all(data)
            return
        for byte in bytes(data):
            while not self.room:
                await self._widened.park()
            self.room -= 1
            await self._stream.send_all(bytes([byte]))

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self):
        await self._stream.aclose()


class _Narrows(list):
    def __call__(self, stream):
        self.append(Narrow(stream))
        return self[-1]


@pytest.mark.parametrize("way", ["interrupt", "cancel"])
async def test_i3_a_turn_cancelled_while_the_socket_is_full_tears_no_frame(case, way, autojump_clock):
    """The socket blocks behind each byte of a turn's first messages."""
    narrows = _Narrows()
    async with stage(case, wrap=narrows, options=QUICK) as it:
        await it.session.prewarm()
        for room in range(0, 80, 2) if way == "cancel" else range(1, 80, 2):
            narrows[0].room = room
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(_synthesize, it.session, SHORT, scope, {})
                await trio.sleep(0.05)
                scope.cancel() if way == "cancel" else it.session.interrupt()
                await trio.sleep(0.05)
                narrows[0].widen()
            await it.speak(NEXT)
        assert it.session.statistics().connections == 1
        assert not [entry for entry in it.server.log if entry["event"] == "close"]


async def test_i3_a_socket_that_stays_full_is_given_up(case, autojump_clock):
    narrows = _Narrows()
    async with stage(case, wrap=narrows) as it:
        await it.session.prewarm()
        narrows[0].room = 10
        with trio.move_on_after(1):
            await it.session.synthesize(LONG)
        await it.speak(NEXT)
        assert it.session.statistics().connections == 2


# ---- I4: nothing survives the block --------------------------------------------------------------------------------

HOSTILE = {
    "kind": {},
    "never close": {"faults": Faults(never_close=True)},
    "silent handshake": {"faults": Faults(handshake="silent")},
    "slow handshake": {"faults": Faults(handshake="slow")},
    "accepts and is silent": {"faults": Faults(accept_silent=True)},
    "half open at once": {"faults": Faults(half_open_after=0)},
    "half open": {"faults": Faults(half_open_after=2)},
    "stalled": {"faults": Faults(stall_after=1)},
    "nobody plays": {"pace": None},
    "reads nothing": {"wrap": "full"},
}
"""stage() checks that the block is left within a second, with no stream left open."""


def _hostile(how):
    if how.get("wrap") != "full":
        return how
    narrows = _Narrows()

    def wrap(stream):
        narrow = narrows(stream)
        narrow.room = 700  # for the request
        return narrow

    return how | {"wrap": wrap}


@pytest.mark.parametrize("how", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("after", [0.0, 0.01, 0.6])
async def test_i4_the_block_is_left_in_time(case, how, after, autojump_clock):
    """In the middle of a turn, whose caller learns of it."""
    result = []

    async def speak(session):
        try:
            with trio.fail_after(100):
                result.append(await session.synthesize(LONG * 10))
        except SessionClosed as error:
            result.append(error)

    async with trio.open_nursery() as nursery, stage(case, **_hostile(how)) as it:
        nursery.start_soon(speak, it.session)
        nursery.start_soon(speak, it.session)
        await trio.sleep(after)
    assert [type(each) for each in result] == [SessionClosed] * (2 if after else len(result))


@pytest.mark.parametrize("how", HOSTILE.values(), ids=HOSTILE)
async def test_i4_the_block_is_left_in_time_when_idle(case, how, autojump_clock):
    async with stage(case, **_hostile(how)) as it:
        with trio.move_on_after(1):
            await it.session.synthesize(SHORT)


@pytest.mark.parametrize("how", HOSTILE.values(), ids=HOSTILE)
async def test_i4_the_block_is_left_in_time_by_an_exception(case, how, autojump_clock):
    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError, match="mine"):
            async with stage(case, **_hostile(how)) as it:
                nursery.start_soon(_synthesize_until_closed, it.session)
                await trio.sleep(0.2)
                left = trio.current_time()
                raise KeyError("mine")
        assert trio.current_time() - left <= 1.0
        assert not it.dialer.open


async def _synthesize_until_closed(session):
    with trio.fail_after(100), pytest.raises(SessionClosed):
        await session.synthesize(LONG)


@pytest.mark.parametrize("how", HOSTILE.values(), ids=HOSTILE)
async def test_i4_the_block_is_left_in_time_by_a_cancellation(case, how, autojump_clock):
    with trio.move_on_after(0.5) as scope:
        async with stage(case, **_hostile(how)) as it:
            await it.session.synthesize(LONG)
    assert scope.cancelled_caught
    assert trio.current_time() - scope.deadline <= 1.0
    assert not it.dialer.open


async def test_i4_a_prewarm_under_way_elsewhere_ends_with_the_block(case, autojump_clock):
    result = []

    async def prewarm(session):
        with trio.fail_after(100), pytest.raises(SessionClosed):
            await session.prewarm()
        result.append(session)

    async with trio.open_nursery() as nursery, stage(case, faults=Faults(handshake="silent")) as it:
        nursery.start_soon(prewarm, it.session)
        await trio.sleep(0.5)
    assert result == [it.session]


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2, 1.0])
async def test_i4_nothing_survives_on_real_sockets(case, seconds):
    """No task, no descriptor, no thread, no suspended generator; the simulator's neither."""
    with trio.fail_after(10):
        async with case.make_simulator(**QUICK).serve() as server:
            await trio.testing.wait_all_tasks_blocked()
            async with no_leaks():
                sink, source = open_audio_sink(case.rate)
                async with case.make_provider(server.url).open(sink) as session:
                    with trio.move_on_after(seconds):
                        await session.synthesize(SHORT)
                source.close()


@pytest.mark.parametrize("fault", [Faults(never_close=True), Faults(half_open_after=2), Faults(handshake="silent")])
async def test_i4_a_hostile_server_keeps_nobody_on_real_sockets(case, fault):
    with trio.fail_after(10):
        async with case.make_simulator(fault, **QUICK).serve() as server:
            sink, _source = open_audio_sink(case.rate)
            dialer = Dialer(trio.open_tcp_stream)
            async with case.make_provider(server.url).open(sink, dial=dialer) as session:
                with trio.move_on_after(0.1):
                    await session.synthesize(SHORT)
                left = trio.current_time()
            assert trio.current_time() - left < 1.0
            assert dialer.dialled
            assert not dialer.open
            assert not session._nursery.child_tasks


async def test_i4_no_call_is_taken_by_a_session_that_was_left(case, autojump_clock):
    async with stage(case) as it:
        await it.session.synthesize(SHORT)
    began = trio.current_time()
    with pytest.raises(SessionClosed):
        await it.session.synthesize(NEXT)
    with pytest.raises(SessionClosed):
        await it.session.prewarm()
    assert it.session.interrupt() is None
    assert trio.current_time() == began


# ---- I5: plain, typed errors ---------------------------------------------------------------------------------------


async def test_i5_a_close_in_a_turn_is_its_error(case, autojump_clock):
    faults = Faults(close_after=3, close_code=1011, close_reason="NET-0007 in the middle", connections=1)
    async with stage(case, faults=faults) as it:
        try:
            await it.session.synthesize(LONG)
        except LinkClosed as error:
            caught = error
        assert (caught.provider, caught.code, caught.reason) == (case.name, 1011, "NET-0007 in the middle")
        assert caught.request_id
        assert caught.request_id in str(caught)
        assert not isinstance(caught, BaseExceptionGroup)
        assert it.check_cut(1, LONG) > 0
        await it.speak(NEXT)


async def test_i5_only_the_turn_that_it_concerns_gets_the_error(case, autojump_clock):
    """The next in line is spoken on another connection."""
    faults = Faults(drop_after_messages=4, connections=1)
    async with stage(case, faults=faults) as it, trio.open_nursery() as nursery:

        async def speak_next():
            await trio.sleep(0.01)
            await it.speak(NEXT)

        nursery.start_soon(speak_next)
        with pytest.raises(LinkClosed) as caught:
            await it.session.synthesize(LONG)
        assert caught.value.code == 1006


async def test_i5_a_link_lost_between_turns_is_nobodys_error(case, autojump_clock):
    async with stage(case) as it:
        await it.speak(SHORT)
        it.behave(faults=Faults(drop_after_messages=0, connections=1))
        await trio.sleep(10)
        await it.speak(NEXT)


async def test_i5_a_bug_stays_a_bug(case, autojump_clock, monkeypatch):
    """It crashes the session."""
    async with trio.open_nursery() as nursery:
        with pytest.raises(ZeroDivisionError), _lone_errors():
            async with stage(case) as it:
                monkeypatch.setattr(it.session, "_on_audio", _divide_by_zero)
                nursery.start_soon(_synthesize_until_closed, it.session)
                await trio.sleep(5)


@contextmanager
def _lone_errors():
    """Nurseries wrap a bug of their tasks in groups of one."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


async def _divide_by_zero(*_):
    raise ZeroDivisionError


# ---- I6: bounded ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [24_000, 8000, 44_100])
async def test_i6_the_sink_never_holds_more_than_its_bound(case, rate, autojump_clock):
    most = 0.0

    def look():
        nonlocal most
        most = max(most, it.sink.queued_seconds)

    sink = {"sample_rate": rate, "max_seconds": 0.2}
    async with stage(case, sink=sink, options={"speed": 50.0}) as it:
        with Striker(1, lambda: None, look):
            await it.session.synthesize(LONG)
    # The few milliseconds that a resampler withholds are let in at the end, so that nobody waits for them.
    assert 0.15 < most <= 0.2 + (0 if rate == case.rate else 0.01)


async def test_i6_interruptions_of_a_stalled_link_do_not_pile_up(case, autojump_clock):
    """Neither messages nor tasks, while the peer takes nothing."""
    narrows = _Narrows()
    async with stage(case, wrap=narrows) as it:
        await it.session.prewarm()
        narrows[0].room = 10
        tasks = []
        for _ in range(500):
            with trio.move_on_after(0.001):
                await it.session.synthesize(SHORT)
            tasks.append(trio.lowlevel.current_statistics().tasks_living)
        assert max(tasks) - tasks[0] <= 100
        narrows[0].widen()
        await it.speak(NEXT)
        assert it.session.statistics().connections == 2  # the stalled link was given up early


async def test_i6_a_sink_that_nobody_reads_slows_the_socket(case):
    """The provider cannot send more than the socket's buffers take."""

    async def dial(host, port):
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        await sock.connect((host, port))
        return trio.SocketStream(sock)

    options = {"first_audio": 0.0, "speed": math.inf, "ms_per_char": 4000.0}
    with trio.fail_after(20):
        async with case.make_simulator(**options).serve() as server:
            sink, _source = open_audio_sink(case.rate)
            async with case.make_provider(server.url).open(sink, dial=dial) as session, trio.open_nursery() as nursery:
                nursery.start_soon(_synthesize, session, LONG * 2, trio.CancelScope(), {})
                await until(lambda: server.segments)
                await trio.testing.wait_all_tasks_blocked(0.1)
                [segment] = server.segments
                assert 0 < segment.sent < segment.samples // 2
                assert sink.queued_seconds == 1.0
                session.interrupt()


# ---- I7: every sample is accounted for -----------------------------------------------------------------------------


@pytest.mark.parametrize("out_rate", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])
async def test_i7_samples_in_are_samples_out(case, out_rate, autojump_clock):
    """At every rate of the provider's, in frames that cut samples, and at interruptions too."""
    options = case.quirks["uneven audio"]
    for rate in case.rates:
        async with stage(case, options=options, provider={"sample_rate": rate}, sink={"sample_rate": out_rate}) as it:
            spoken = await it.session.synthesize(NEXT)
            await it.check_whole(spoken, NEXT, rate)
            assert spoken.samples == round(it.segments(NEXT)[0].samples * out_rate / rate)
            with trio.move_on_after(0.5) as scope:
                await it.session.synthesize(LONG)
            assert scope.cancelled_caught
            assert it.check_cut(2, LONG, rate) == it.session.last_interruption.samples_heard > 0
            spoken = await it.session.synthesize(SHORT)
            await it.check_whole(spoken, SHORT, rate)


@pytest.mark.parametrize("quirk", ["odd audio", "uneven audio", "empty audio"])
async def test_i7_however_the_audio_is_cut(case, quirk, autojump_clock):
    async with stage(case, options=case.quirks[quirk]) as it:
        for _ in range(5):
            await it.speak(SHORT)
            with trio.move_on_after(0.3):
                await it.session.synthesize(LONG)
        await it.speak(LONG)


async def test_i7_mono_is_copied_to_both_ears(case, autojump_clock):
    async with stage(case, sink={"channels": 2}) as it:
        spoken = await it.session.synthesize(SHORT)
        await trio.sleep(1)
        heard = it.player.pcm(1)
        assert spoken.samples == len(it.audio(SHORT)) // 2
        assert [heard[0::4] + heard[1::4]] == [heard[2::4] + heard[3::4]]
        assert bytes(byte for at in range(0, len(heard), 4) for byte in heard[at : at + 2]) == it.audio(SHORT)


async def test_i7_a_streamed_text_is_spoken_verbatim(case, autojump_clock):
    """However it is cut, and wherever it is flushed."""
    flush = FlushMarker()
    script = ["One", " and", flush, 0.2, " t", "w", "o. ", flush, flush, 1.5, "  ", "\nThree", flush, " four"]
    async with stage(case) as it:
        spoken = await it.session.synthesize(chunks(*script))
        await it.check_whole(spoken, "".join(part for part in script if isinstance(part, str)))
        assert len(it.server.segments) == 4


# ---- I9: the next turn is ready ------------------------------------------------------------------------------------


async def test_i9_one_connection_for_ten_turns_with_five_interruptions(case, autojump_clock):
    async with stage(case, options={"late_frames": 2}) as it:
        for _ in range(5):
            await it.speak(SHORT)
            with trio.move_on_after(0.6) as scope:
                await it.session.synthesize(LONG)
            assert scope.cancelled_caught
        await it.speak(NEXT)
        assert it.session.statistics().connections == it.server.connections == 1
        assert it.session.statistics().turns == 11
        assert it.session.statistics().late_bytes > 0


@cases_with("acknowledgement late")
async def test_i9_the_next_turns_text_does_not_wait_for_the_acknowledgement(case, autojump_clock):
    async with stage(case, options=case.quirks["acknowledgement late"]) as it:
        with trio.move_on_after(0.6):
            await it.session.synthesize(LONG)
        interrupted = trio.current_time()
        await it.speak(NEXT)
        [asked] = [each for each in it.server.log if each["event"] == "received" and NEXT in str(each["data"])]
        assert asked["time"] == pytest.approx(interrupted)
        assert it.session.statistics().connections == 1


@cases_with("acknowledgement never")
async def test_i9_a_cancellation_that_is_never_acknowledged_costs_the_link_not_the_turn(case, autojump_clock):
    async with stage(case, options=case.quirks["acknowledgement never"], provider={"cancel_timeout": 1.0}) as it:
        with trio.move_on_after(0.6):
            await it.session.synthesize(LONG)
        interrupted = trio.current_time()
        spoken = await it.session.synthesize(NEXT)
        assert spoken.timeline.first_sample - interrupted < 1.5
        await it.check_whole(spoken, NEXT)
        assert it.session.statistics().connections == 2


@cases_with("acknowledgement late")
async def test_i9_a_turn_cancelled_before_its_first_word_needs_no_acknowledgement(case, autojump_clock):
    """The link is kept, though the acknowledgement of the turn before it is still to come."""
    slow_text = {"characters_per_minute": 100, "max_text": 100}
    async with stage(
        case, options=case.quirks["acknowledgement late"], provider=slow_text, sink={"max_seconds": 9}
    ) as it:
        with trio.move_on_after(0.5):
            await it.session.synthesize("a" * 100)
        with trio.move_on_after(0.5):
            await it.session.synthesize("b" * 50)
        await it.speak("c" * 50)
        assert it.session.statistics().connections == 1


# ---- I10: secrets stay secret --------------------------------------------------------------------------------------


def _everything_about(error):
    seen, todo, texts = set(), [error], []
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        todo += [each.__cause__, *getattr(each, "exceptions", ())]
        if not each.__suppress_context__:
            todo.append(each.__context__)
        texts += [repr(each), str(each), repr(each.args), repr(vars(each)), *getattr(each, "__notes__", ())]
    return "\n".join([*texts, *traceback.format_exception(error)])


LOUD = {
    "refused": Faults(handshake="refuse"),
    "garbage": Faults(handshake="garbage"),
    "eof": Faults(handshake="eof"),
    "silent": Faults(handshake="silent"),
    "401": Faults(refuse_status=401),
    "503": Faults(refuse_status=503),
    "close": Faults(close_after=1, close_code=1008),
    "drop": Faults(drop_after_messages=3),
    "stalled": Faults(stall_after=1),
    "no fault": Faults(),
}
ECHOES = {
    "401": Faults(refuse_status=401, refuse_body=f'{{"err_msg":"no such key: {KEY}"}}'),
    "401 with a header": Faults(refuse_status=401, refuse_headers=(("x-you-sent", KEY),)),
    "503": Faults(refuse_status=503, refuse_body=KEY),
    "close": Faults(close_after=1, close_code=1008, close_reason=f"bad key {KEY}"),
    "close in a turn": Faults(close_after=3, close_code=1011, close_reason=KEY),
    "non-JSON": Faults(non_json=1),
    "wrong shape": Faults(wrong_shape=1),
    "error frame": Faults(error_frame=1),
}


async def _what_is_said(it):
    client = it.session.provider
    said = [repr(it.session), repr(client), str(client), repr(client._endpoint())]
    try:
        said.append(repr(await it.session.synthesize(SHORT)))
    except ProviderError as error:
        said.append(_everything_about(error))
    requests = [entry for entry in it.server.log if entry["event"] == "request"]
    return "\n".join([*said, repr(requests)])


IMPATIENT = {"response_timeout": 1.0, "connect_timeout": 1.0}


@pytest.mark.parametrize("fault", LOUD.values(), ids=LOUD)
async def test_i10_the_key_is_nowhere(case, fault, autojump_clock, caplog):
    """Not in errors with all that hangs from them, not in the URL, not in logs, those of trio-websocket included."""
    caplog.set_level(logging.DEBUG)
    async with stage(case, faults=fault, provider=IMPATIENT) as it:
        said = await _what_is_said(it)
    assert KEY not in said
    assert any(record.name.startswith("trio-websocket") for record in caplog.records) or fault.handshake == "refuse"
    for record in caplog.records:
        assert KEY not in f"{record.getMessage()} {record.args!r} {record.exc_info!r}"


@pytest.mark.parametrize("fault", ECHOES.values(), ids=ECHOES)
async def test_i10_a_server_that_repeats_the_key_does_not_get_it_shown(
    case, fault, autojump_clock, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG, logger="voicetrio")
    says = {"non_json": f"not JSON: {KEY}", "wrong_shape": f'[{{"type":"{KEY}"}}]'}
    says["error_frame"] = case.error_frame(f"no such key: {KEY}")
    inserts = case.simulator.inserts
    monkeypatch.setattr(case.simulator, "inserts", lambda self, options: {**inserts(self, options), **says})
    async with stage(case, faults=fault, provider=IMPATIENT) as it:
        assert KEY not in await _what_is_said(it)
    assert not any(KEY in record.getMessage() for record in caplog.records if record.name.startswith("voicetrio"))


def test_i10_a_key_that_cannot_be_is_not_shown(case):
    for key in (f"{KEY}\n", f" {KEY}", f"{KEY}\0", f"{KEY}é"):
        with pytest.raises(VoiceTrioError) as caught:
            case.provider(api_key=key)
        assert KEY not in _everything_about(caught.value)


def test_i10_equal_options_are_equal_and_hash_so(case):
    one, two = case.make_provider("ws://h/"), case.make_provider("ws://h/")
    assert one == two
    assert hash(one) == hash(two)
    assert one != attrs.evolve(one, api_key="another")
