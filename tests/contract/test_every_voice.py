"""What holds for every voice in every dialect: a new one is a new line in VOICES."""

import math
import random

import pytest
import trio
from contract_cases import VOICES
from contract_tools import Dialer, Player, Stage, Striker, chunks, stage
from slices import THOROUGH, every

from voicetrio import FlushMarker, open_audio_sink
from voicetrio.simulators import Faults

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


async def test_a_text_that_fails_harms_nobody_else(case, autojump_clock):
    async with stage(case, options=QUICK) as it:
        with pytest.raises(KeyError, match="mine"):
            await it.session.synthesize(chunks("Hello there. ", MARKER, 0.5, KeyError("mine")))
        await it.speak(NEXT)


@pytest.mark.parametrize("out_rate", [8000, 24_000, 44_100])
async def test_samples_in_are_samples_out(case, out_rate, seed, autojump_clock):
    """At rates of the provider's, others in each run, in frames that cut samples."""
    options = case.quirks["uneven audio"]
    for rate in case.rates if THOROUGH else random.Random(seed).sample(case.rates, 2):
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
async def test_no_sample_passes_an_interruption_at_any_moment(case, way, how, seed, autojump_clock):
    outcomes, heard = [], {}
    async with stage(case, options=QUICK, **how) as it:
        await it.session.prewarm()
        for at in every(7, seed):

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
    assert len(outcomes) > 6


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.2, 0.5, 0.8])
async def test_interrupted_at_every_stage(case, seconds, autojump_clock):
    """Before it connects, while it does, before the first audio, and in the middle."""
    faults = Faults(handshake="slow", handshake_delay=0.1, connections=1)
    async with stage(case, faults=faults) as it:
        with trio.move_on_after(seconds) as scope:
            await it.session.synthesize(LONG)
        assert scope.cancelled_caught
        it.check_cut(1, LONG)
        await it.speak(NEXT)


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


# ---- the end -------------------------------------------------------------------------------------------------------


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
