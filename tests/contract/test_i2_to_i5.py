"""One outcome, one writer, nothing that survives the block, and plain errors: the invariants I2 to I5."""

from contextlib import contextmanager, nullcontext

import pytest
import trio
import trio.testing
from contract_cases import cases, cases_with, only, where_ends_are_told
from contract_tools import Dialer, Narrows, speak_into, stage

from voicetrio import open_audio_sink
from voicetrio._attempt import Attempt
from voicetrio.errors import LinkClosed, NoAudio, ProviderStalled, SessionClosed
from voicetrio.simulators import Faults
from voicetrio.testing import no_leaks

SHORT = "Hello."
LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
NEXT = "And the next."
QUICK = {"ms_per_char": 8}


# ---- I2: one outcome -----------------------------------------------------------------------------------------------


@where_ends_are_told
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
        nursery.start_soon(speak_into, it.session, LONG, trio.CancelScope(), result)
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


@where_ends_are_told
async def test_i2_an_interruption_after_the_end_changes_no_outcome(case, autojump_clock):
    async with stage(case) as it:
        spoken = await it.session.synthesize(SHORT)
        it.session.interrupt()
        assert spoken.outcome == "completed"
        assert it.session.last_interruption.turns == (1,)


# ---- I3: only a link's send loop writes to its socket --------------------------------------------------------------


@only("deepgram", "lmnt-1.2", "cartesia")
@pytest.mark.parametrize("way", ["interrupt", "cancel"])
async def test_i3_a_turn_cancelled_while_the_socket_is_full_tears_no_frame(case, way, autojump_clock):
    """The socket blocks behind each byte of a turn's first messages."""
    narrows = Narrows()
    async with stage(case, wrap=narrows, options=QUICK) as it:
        await it.session.prewarm()
        for room in range(0, 80, 2) if way == "cancel" else range(1, 80, 2):
            narrows[0].room = room
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(speak_into, it.session, SHORT, scope, {})
                await trio.sleep(0.05)
                scope.cancel() if way == "cancel" else it.session.interrupt()
                await trio.sleep(0.05)
                narrows[0].widen()
            await it.speak(NEXT)
        assert it.session.statistics().connections == 1
        assert not [entry for entry in it.server.log if entry["event"] == "close"]


@cases(lambda case: case.cancels)
async def test_i3_a_socket_that_stays_full_is_given_up(case, autojump_clock):
    narrows = Narrows()
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
    narrows = Narrows()

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


async def _synthesize_until_closed(session, text=lambda: LONG):
    with trio.fail_after(100), pytest.raises(SessionClosed):
        await session.synthesize(text())


@pytest.mark.parametrize("how", HOSTILE.values(), ids=HOSTILE)
async def test_i4_the_block_is_left_in_time_by_a_cancellation(case, how, autojump_clock):
    with trio.move_on_after(0.5) as scope:
        async with stage(case, **_hostile(how)) as it:
            await it.session.synthesize(LONG)
    assert scope.cancelled_caught
    assert trio.current_time() - scope.deadline <= 1.0
    assert not it.dialer.open


@cases(lambda case: case.websocket)
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


@only("deepgram", "lmnt-1.2", "cartesia", "smallest-classic", "smallest-continuations")
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


@only("deepgram", "smallest-http")
@pytest.mark.parametrize("streamed", [False, True])
async def test_i4_a_cancelled_session_ends_its_turns_though_the_block_goes_on(case, streamed, autojump_clock):
    """A shielded call is told at once, and no more text is asked for."""
    drawn = []

    async def text():
        for number in range(200):
            yield f"Sentence {number}. "
            drawn.append(trio.current_time())
            await trio.sleep(0.1)

    with trio.move_on_after(1):
        async with stage(case) as it:
            with trio.CancelScope(shield=True):
                with trio.fail_after(10), pytest.raises(SessionClosed):
                    await it.session.synthesize(text() if streamed else LONG * 10)
                assert trio.current_time() == 1
                await trio.sleep(5)
    assert all(at <= 1 for at in drawn)


@only("deepgram")
@pytest.mark.parametrize("way", ["left", "raised", "cancelled"])
async def test_i5_what_a_text_raises_as_its_turn_ends_with_the_block_disturbs_nobody(case, way, autojump_clock, caplog):
    """Its iterator has a nursery of its own, whose task fails while it is being cancelled."""

    async def fail_at_the_end():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError

    async def text():
        yield "Hello there. "
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_the_end)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError) if way == "raised" else nullcontext(), trio.CancelScope() as outer:
            async with stage(case) as it:
                nursery.start_soon(_synthesize_until_closed, it.session, text)
                await trio.sleep(0.5)
                if way == "raised":
                    raise KeyError
                if way == "cancelled":
                    outer.cancel()
                    await trio.lowlevel.checkpoint()
    assert "ValueError" in caplog.text


async def test_i5_a_bug_stays_a_bug(case, autojump_clock, monkeypatch):
    """It crashes the session."""
    async with trio.open_nursery() as nursery:
        with pytest.raises(ZeroDivisionError), _lone_errors():
            async with stage(case) as it:
                monkeypatch.setattr(Attempt, "_on_audio", _divide_by_zero)
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
