"""Bounds, samples, readiness and secrets: the invariants I6 to I10.

I8, no input is lost, is about speech-to-text: its tests are in tests/stt.
"""

import logging
import math
import socket
import traceback

import attrs
import pytest
import trio
import trio.testing
from contract_cases import KEY, cases, cases_with, only
from contract_tools import Narrows, Striker, chunks, speak_into, stage, until

from voicetrio import FlushMarker, VoiceTrioError, open_audio_sink
from voicetrio.errors import ProviderError
from voicetrio.simulators import Faults

SHORT = "Hello."
LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
NEXT = "And the next."
QUICK = {"ms_per_char": 8}


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


@only("deepgram")
async def test_i6_interruptions_of_a_stalled_link_do_not_pile_up(case, autojump_clock):
    """Neither messages nor tasks, while the peer takes nothing."""
    narrows = Narrows()
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


@only("deepgram", "cartesia", "smallest-classic", "smallest-continuations", "smallest-http", "smallest-sse")
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
                nursery.start_soon(speak_into, session, LONG * 2, trio.CancelScope(), {})
                await until(lambda: server.segments)
                await trio.testing.wait_all_tasks_blocked(0.1)
                [segment] = server.segments
                assert 0 < segment.sent < segment.samples // 2
                assert sink.queued_seconds == 1.0
                session.interrupt()


# ---- I7: every sample is accounted for -----------------------------------------------------------------------------


@only("deepgram")  # test_every_voice.py has a slice of it for each
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


@only("deepgram")
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


@only("deepgram", "lmnt-1.2", "lmnt-1.0", "smallest-classic", "smallest-http", "smallest-sse")
async def test_i7_a_streamed_text_is_spoken_verbatim(case, autojump_clock):
    """However it is cut, and wherever it is flushed."""
    flush = FlushMarker()
    script = ["One", " and", flush, 0.2, " t", "w", "o. ", flush, flush, 1.5, "  ", "\nThree", flush, " four"]
    async with stage(case) as it:
        spoken = await it.session.synthesize(chunks(*script))
        await it.check_whole(spoken, "".join(part for part in script if isinstance(part, str)))
        assert len(it.server.segments) == 4


# ---- I9: the next turn is ready ------------------------------------------------------------------------------------


@cases(lambda case: case.cancels)
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
    """Not in errors with all that hangs from them, not in the URL, not in logs, those of other libraries included."""
    caplog.set_level(logging.DEBUG)
    async with stage(case, faults=fault, provider=IMPATIENT) as it:
        said = await _what_is_said(it)
    assert KEY not in said
    if not case.websocket:
        assert any(record.name.startswith("httpcore") for record in caplog.records) or fault.handshake == "refuse"
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
            case.provider(**{case.key_option: key})
        assert KEY not in _everything_about(caught.value)


def test_i10_equal_options_are_equal_and_hash_so(case):
    one, two = case.make_provider("ws://h/"), case.make_provider("ws://h/")
    assert one == two
    assert hash(one) == hash(two)
    assert one != attrs.evolve(one, **{case.key_option: "another"})
