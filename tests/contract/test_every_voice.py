"""What holds for every voice in every dialect: a new one is a new line in VOICES."""

import itertools
import math

import pytest
import trio
from contract_cases import KEY, VOICES
from contract_tools import Dialer, Player, Stage, Striker, chunks, stage
from test_sweeps import Scenario, every, first_turn, interrupted_late, slow_text

from voicetrio import FlushMarker, open_audio_sink
from voicetrio.errors import ProviderError, SessionClosed
from voicetrio.simulators import Faults
from voicetrio.testing import _resources, sweep, sweep_target

pytestmark = pytest.mark.parametrize("case", VOICES.values(), ids=VOICES)

SHORT = "Hello there, you."
LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
NEXT = "And the next one."
UNICODE = "Grüße an 東京。😀 नमस्ते। ¿Qué tal?"
QUICK = {"ms_per_char": 8}
MARKER = FlushMarker()


# ---- turns ---------------------------------------------------------------------------------------------------------


async def test_turns_are_exact(case, autojump_clock):
    async with stage(case) as it:
        for text in (SHORT, LONG, UNICODE, NEXT):
            await it.speak(text)


async def test_a_streamed_text_is_spoken_verbatim(case, autojump_clock):
    """However it is cut, and wherever it is flushed."""
    async with stage(case, options=QUICK) as it:
        await it.speak_streamed("One", " and a", MARKER, 0.2, " t", "w", "o. ", MARKER, MARKER, "  ", "\nThree", MARKER)


@pytest.mark.parametrize("pause", [0.3, 0.65, 0.75, 0.95, 1.05, 1.3, 5.0, 20.0])
async def test_slow_text_loses_nothing(case, pause, autojump_clock):
    """Neither in the middle of a sentence nor behind one, whatever the server thinks of the pause."""
    async with stage(case, options=QUICK) as it:
        await it.speak_streamed("Well", pause, ", then. ", pause, "And", pause, " more ", MARKER, pause, "of it", pause)


async def test_blank_text_takes_no_time(case, autojump_clock):
    async with stage(case) as it:
        for blank in ("", "  \n"):
            spoken = await it.session.synthesize(blank)
            assert (spoken.outcome, spoken.samples) == ("completed", 0)
        spoken = await it.session.synthesize(chunks(MARKER, " ", MARKER))
        assert (spoken.outcome, spoken.samples) == ("completed", 0)
        await it.speak(NEXT)


async def test_a_text_that_fails_harms_nobody_else(case, autojump_clock):
    async with stage(case, options=QUICK) as it:
        with pytest.raises(KeyError, match="mine"):
            await it.session.synthesize(chunks("Hello there. ", MARKER, 0.5, KeyError("mine")))
        await it.speak(NEXT)


@pytest.mark.parametrize("out_rate", [8000, 24_000, 44_100])
async def test_samples_in_are_samples_out(case, out_rate, autojump_clock):
    """At every rate of the provider's, in frames that cut samples."""
    options = case.quirks["uneven audio"]
    for rate in case.rates:
        async with stage(case, options=options, provider={"sample_rate": rate}, sink={"sample_rate": out_rate}) as it:
            spoken = await it.session.synthesize(NEXT)
            await it.check_whole(spoken, NEXT, rate)
            with trio.move_on_after(0.7) as scope:
                await it.session.synthesize(LONG)
            assert scope.cancelled_caught
            assert it.check_cut(2, LONG, rate) == it.session.last_interruption.samples_heard > 0


async def test_another_voice_for_one_turn(case, autojump_clock):
    async with stage(case, options=QUICK) as it:
        await it.speak(SHORT)
        await it.speak(NEXT, voice_id=case.voices[1])
        await it.speak(SHORT)


async def test_two_sessions_at_once_do_not_mix(case, autojump_clock):
    async with stage(case, options=QUICK) as it:
        sink, source = open_audio_sink(case.rate)
        player = Player(source)
        async with case.make_provider(it.server.url).open(sink, dial=it.server.dial) as session:
            other = Stage(case, it.server, sink, player, None)
            other.session = session
            async with trio.open_nursery() as nursery:
                nursery.start_soon(player.play)
                async with trio.open_nursery() as speakers:
                    speakers.start_soon(it.speak, "This is said in the one session.")
                    speakers.start_soon(other.speak, "Something else is said over here.")
                nursery.cancel_scope.cancel()


async def test_two_turns_abreast_stay_in_order(case, autojump_clock):
    async with stage(case, options=QUICK, provider={"prefetch": True}) as it:
        texts = [f"This is sentence number {number}." for number in range(4)]
        async with trio.open_nursery() as nursery:
            for text in texts:
                nursery.start_soon(it.speak, text)
        await it.speak(NEXT)


# ---- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cancel", "interrupt"])
@pytest.mark.parametrize("how", [{}, {"sink": {"sample_rate": 16_000}}], ids=["plain", "resampling"])
async def test_no_sample_passes_an_interruption_at_any_moment(case, way, how, autojump_clock):
    outcomes, heard = [], {}
    async with stage(case, options=QUICK, **how) as it:
        await it.session.prewarm()
        for at in itertools.count(1, 3):

            def strike():
                scope.cancel() if way == "cancel" else it.session.interrupt()
                heard[len(outcomes) + 1] = it.player.samples(len(outcomes) + 1)

            with trio.CancelScope() as scope, Striker(at, strike, it.player.take_all) as striker:
                spoken = await it.session.synthesize(SHORT)
            if not striker.struck:
                break
            outcomes.append("cancelled" if scope.cancelled_caught else spoken.outcome)
            it.check_cut(len(outcomes), SHORT)
        spoken = await it.session.synthesize(NEXT)
        it.player.take_all()
        await it.check_whole(spoken, NEXT)
    assert not any(it.player.samples(turn) - samples for turn, samples in heard.items())
    assert set(outcomes) == {"cancelled" if way == "cancel" else "interrupted"}
    assert len(outcomes) > 15


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.2, 0.5, 0.8])
async def test_interrupted_at_every_stage(case, seconds, autojump_clock):
    """Before it connects, while it does, before the first audio, in the middle, and when all is there but the end."""
    faults = Faults(handshake="slow", handshake_delay=0.1, connections=1)
    async with stage(case, faults=faults) as it:
        with trio.move_on_after(seconds) as scope:
            await it.session.synthesize(LONG)
        assert scope.cancelled_caught
        it.check_cut(1, LONG)
        await it.speak(NEXT)


@pytest.mark.parametrize("late_frames", [0, 2])
async def test_ten_turns_with_five_interruptions(case, late_frames, autojump_clock):
    """On one connection where the protocol can cancel; elsewhere the next turn waits for no handshake."""
    async with stage(case, options={"late_frames": late_frames} if case.cancels else {}) as it:
        await it.speak(SHORT)
        for _ in range(5):
            with trio.move_on_after(0.6) as scope:
                await it.session.synthesize(LONG)
            assert scope.cancelled_caught
            spoken = await it.speak(NEXT)
            assert spoken.timeline.connected == spoken.timeline.started, "the turn waited for a handshake"
        assert it.session.statistics().connections == 1 or not case.cancels


async def test_interrupt_silences_turns_in_line(case, autojump_clock):
    async with stage(case) as it, trio.open_nursery() as nursery:
        outcomes = []

        async def speak():
            outcomes.append((await it.session.synthesize(LONG)).outcome)

        nursery.start_soon(speak)
        nursery.start_soon(speak)
        await trio.sleep(0.5)
        assert it.session.interrupt().turns == (1, 2)
        await it.speak(NEXT)
        assert outcomes == ["interrupted"] * 2


# ---- faults --------------------------------------------------------------------------------------------------------

ONCE = {
    "refused": {"handshake": "refuse"},
    "closed without a reply": {"handshake": "eof"},
    "503": {"refuse_status": 503},
    "429": {"refuse_status": 429},
    "dropped at once": {"drop_after_messages": 0},
}


@pytest.mark.parametrize("fault", ONCE.values(), ids=ONCE)
async def test_a_connection_that_is_lost_before_the_first_audio_is_replaced(case, fault, autojump_clock):
    async with stage(case, faults=Faults(**fault, connections=1), options=QUICK) as it:
        await it.speak(SHORT)
        await it.speak(NEXT)


HARMLESS = {
    "byte by byte": {"one_byte_writes": True},
    "fragments": {"fragment": 100},
    "never closes": {"never_close": True},
    "unknown message": {"unknown_message": 2},
}


@pytest.mark.parametrize("fault", HARMLESS.values(), ids=HARMLESS)
async def test_a_strange_manner_harms_nothing(case, fault, autojump_clock):
    if case is VOICES["lmnt-1.0"] and "never_close" in fault:
        fault = {}  # there the close is what ends a turn
    async with stage(case, faults=Faults(**fault), options=QUICK) as it:
        await it.speak(SHORT)
        await it.speak(NEXT)


@pytest.mark.parametrize("fault", [{"refuse_status": 401}, {"stall_after": 2}, {"half_open_after": 3}])
async def test_a_fault_of_all_connections_is_an_error_and_the_next_turn_is_right(case, fault, autojump_clock):
    patient = {"timeout": 2.0} if case.name == "smallest" else {}
    async with stage(case, faults=Faults(**fault), options=QUICK, provider={"response_timeout": 2.0, **patient}) as it:
        spoken = error = None
        try:
            spoken = await it.session.synthesize(LONG)
        except ProviderError as caught:
            error = caught
        if spoken is not None:
            # Where the end of a turn may have to be inferred from silence, a stall cannot be told from it.
            assert spoken.outcome == "completed_inferred"
            assert case.name == "videosdk" or case in (VOICES["smallest-classic"], VOICES["smallest-continuations"])
        else:
            assert error.provider == case.name
            assert KEY not in f"{error!r} {error}"
        it.check_cut(1, LONG)
        it.behave(faults=Faults())
        await it.speak(NEXT)


async def test_dropped_after_every_message(case, autojump_clock):
    """The turn works, or fails with what was heard right; the one after it works."""
    lost = []
    async with stage(case, options={"ms_per_char": 8, "speed": math.inf}) as it:
        for count in range(10):
            it.behave(faults=Faults(drop_after_messages=count, connections=it.server.connections + 1))
            try:
                await it.speak(LONG)
            except ProviderError:
                lost.append(count)
                await trio.sleep(1)
                it.check_cut(it.session.statistics().turns, LONG)
            it.behave(faults=Faults())
            await it.speak(NEXT)
    assert lost


# ---- the end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{}, {"never_close": True}, {"half_open_after": 2}, {"handshake": "silent"}])
@pytest.mark.parametrize("after", [0.0, 0.3])
async def test_the_block_is_left_in_time(case, fault, after, autojump_clock):
    """stage() checks that it takes a second at most, and leaves no stream open."""
    results = []

    async def speak(session):
        try:
            results.append(await session.synthesize(LONG * 4))
        except (SessionClosed, ProviderError) as error:
            results.append(error)

    async with trio.open_nursery() as nursery, stage(case, faults=Faults(**fault)) as it:
        nursery.start_soon(speak, it.session)
        await trio.sleep(after)
    assert len(results) == 1 or not after


@pytest.mark.parametrize("part", [first_turn, slow_text, interrupted_late])
async def test_a_part_cut_at_any_step_leaves_the_next_turn_exact(case, part, seed, monkeypatch, autojump_clock):
    monkeypatch.setattr(_resources, "open_fds", set)
    async with case.make_simulator(ms_per_char=5, first_audio=0.01).serve_in_memory() as server:
        play = Scenario(case, server, part)
        report = await sweep_target(play.with_a_next_turn, steps=every(5, seed))
        report.raise_if_problems()
        assert play.cut > 5
        report = await sweep(play.alone, steps=every(11, seed))
        report.raise_if_problems()


async def test_a_turn_over_real_sockets(case):
    with trio.fail_after(20):
        async with case.make_simulator(**QUICK, speed=math.inf).serve() as server:
            sink, source = open_audio_sink(case.rate)
            dialer = Dialer(trio.open_tcp_stream)
            async with case.make_provider(server.url).open(sink, dial=dialer) as session:
                it = Stage(case, server, sink, Player(source), dialer)
                for text in (SHORT, NEXT):
                    spoken = await session.synthesize(text)
                    it.player.take_all()
                    await it.check_whole(spoken, text)
            assert not dialer.open
