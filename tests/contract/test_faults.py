"""Each fault of a connection and of its provider: the right exception or recovery, and then a correct next turn.

A fault is tried on the first connection only, where trying again may help, and on all of them.
"""

import math
from typing import Any

import attrs
import pytest
import trio
from contract_cases import CUT, VOICES, WORKS, cases_with, each_quirk_of, only
from contract_tools import stage

from voicetrio import FlushMarker, VoiceTrioError
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConnectError,
    ConnectTimeout,
    LinkClosed,
    PaymentRequired,
    ProtocolError,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
    UpgradeRejected,
)
from voicetrio.simulators import Faults

TEXT = "A turn, with a fault somewhere."
NEXT = "And the next."
QUICK = {"ms_per_char": 5}
SCANT = {"ms_per_char": 1}
"""For turns of few bytes, as each is a step of the scheduler."""


@attrs.frozen
class Row:
    """A line of the fault matrix.

    Attributes:
        faults: of the simulator.
        once: the error, if only the first connection has the fault; or WORKS, or CUT.
        always: the same, if all have it.
        has: what the error must have.
        within: seconds that the turn may take.
        after: seconds that it takes at least.
        options: of the simulator.
    """

    faults: dict[str, Any]
    once: Any
    always: Any
    has: dict[str, Any] = attrs.Factory(dict)
    within: float = 3.0
    after: float = 0.0
    options: dict[str, Any] = attrs.field(default=QUICK)


INSERTED = {"unknown_message", "non_json", "wrong_shape", "error_frame"}
COUNTED = INSERTED | {"close_after", "drop_after_messages", "half_open_after"}


def _closed(when: int, code: int, once: Any, always: Any = LinkClosed, reason: str = "") -> Row:
    faults = {"close_after": when, "close_code": code, "close_reason": reason}
    return Row(faults, once, always, {"code": code, "reason": reason or None})


def _dropped(when: int, once: Any) -> Row:
    return Row({"drop_after_messages": when}, once, LinkClosed, {"code": 1006})


FIRST = 1
IN_TURN = 3
"""Messages after which a fault comes: before the first of a turn, where one greets; and in the middle of a turn."""


def row_of(case, name):
    """A line of the matrix for a dialect: as it differs, its messages counted from the end of its greeting on."""
    row = MATRIX[name]
    if "close_after" in row.faults and not case.websocket:
        when = row.faults["close_after"]
        row = _dropped(when, LinkClosed if when >= IN_TURN else WORKS)
    if "error_frame" in row.faults:
        row = attrs.evolve(row, has={"code": case.error_code})
    at = {key: when + case.greeting - 1 for key, when in row.faults.items() if key in COUNTED and when >= FIRST}
    return attrs.evolve(row, faults=row.faults | at, **case.rows.get(name, {}))


def each_fault(*, lasting=False):
    """Run a test for each dialect and each line of the matrix that has a meaning for it."""
    lines = {
        f"{dialect}-{name}": (case, name)
        for dialect, case in VOICES.items()
        for name, row in MATRIX.items()
        if (case.messages or not INSERTED & set(row.faults))
        and (not lasting or row_of(case, name).always not in (WORKS, CUT))
    }
    return pytest.mark.parametrize(("case", "name"), lines.values(), ids=lines)


MATRIX = {
    "no fault": Row({}, WORKS, WORKS),
    # No connection comes about.
    "refused": Row({"handshake": "refuse"}, WORKS, ConnectError),
    "closed without a reply": Row({"handshake": "eof"}, WORKS, ConnectError),
    "no websocket at all": Row({"handshake": "garbage"}, WORKS, ConnectError),
    "silent handshake": Row({"handshake": "silent"}, WORKS, ConnectTimeout, within=35, after=10),
    "slow handshake": Row({"handshake": "slow", "handshake_delay": 5.0}, WORKS, WORKS, within=8, after=5),
    "handshake too slow": Row({"handshake": "slow", "handshake_delay": 20.0}, WORKS, ConnectTimeout, within=35),
    "302": Row({"refuse_status": 302}, UpgradeRejected, UpgradeRejected, {"status": 302}),
    "400": Row({"refuse_status": 400}, BadRequest, BadRequest, {"status": 400}),
    "401": Row({"refuse_status": 401}, AuthenticationError, AuthenticationError, {"status": 401}),
    "402": Row({"refuse_status": 402}, PaymentRequired, PaymentRequired, {"status": 402}),
    "403": Row({"refuse_status": 403}, AuthenticationError, AuthenticationError, {"status": 403}),
    "404": Row({"refuse_status": 404}, BadRequest, BadRequest, {"status": 404}),
    "429": Row({"refuse_status": 429}, WORKS, RateLimited, {"status": 429, "retry_after": None}),
    "429, soon": Row(
        {"refuse_status": 429, "retry_after": 2}, WORKS, RateLimited, {"retry_after": 2.0}, within=6, after=2
    ),
    "429, not soon": Row({"refuse_status": 429, "retry_after": 30}, RateLimited, RateLimited, {"retry_after": 30.0}),
    "500": Row({"refuse_status": 500}, WORKS, ServiceUnavailable, {"status": 500}),
    "503": Row({"refuse_status": 503}, WORKS, ServiceUnavailable, {"status": 503}),
    "503, soon": Row(
        {"refuse_status": 503, "retry_after": 2}, WORKS, ServiceUnavailable, {"retry_after": 2.0}, within=6, after=2
    ),
    "503 without a length": Row({"refuse_status": 503, "refuse_without_length": True}, WORKS, ServiceUnavailable),
    # It is lost before the first audio.
    "rejected in band": _closed(0, 1008, LinkClosed, reason="Unauthorized"),
    "closed at once": _closed(0, 1011, WORKS),
    "closed with 1000": _closed(1, 1000, WORKS),
    "closed with 1001": _closed(1, 1001, WORKS),
    "closed with 1008": _closed(1, 1008, LinkClosed, reason="policy"),
    "closed with 1009": _closed(1, 1009, LinkClosed, reason="too big"),
    "closed with 1011": _closed(1, 1011, WORKS, reason="NET-0000"),
    "closed with 4000": _closed(1, 4000, WORKS, reason="whatever"),
    "dropped at once": _dropped(0, WORKS),
    "dropped": _dropped(1, WORKS),
    "accepts and is silent": Row({"accept_silent": True}, WORKS, ProviderStalled, within=20, after=5),
    "half open at once": Row({"half_open_after": 0}, WORKS, ProviderStalled, within=20, after=5),
    "half open": Row({"half_open_after": 1}, WORKS, ProviderStalled, within=20, after=5),
    "stalls": Row({"stall_after": 0}, WORKS, ProviderStalled, within=20, after=5),
    # It is lost in the middle of a turn: nothing is said twice.
    "closed in a turn with 1000": _closed(3, 1000, LinkClosed),
    "closed in a turn with 1001": _closed(3, 1001, LinkClosed),
    "closed in a turn with 1008": _closed(3, 1008, LinkClosed, reason="policy"),
    "closed in a turn with 1009": _closed(3, 1009, LinkClosed, reason="too big"),
    "closed in a turn with 1011": _closed(3, 1011, LinkClosed, reason="NET-0000"),
    "dropped in a turn": _dropped(3, LinkClosed),
    "half open in a turn": Row({"half_open_after": 3}, ProviderStalled, ProviderStalled, within=7, after=5),
    "stalls in a turn": Row({"stall_after": 2}, ProviderStalled, ProviderStalled, within=7, after=5),
    # It says strange things, or in a strange way.
    "never answers Close": Row({"never_close": True}, WORKS, WORKS),
    "byte by byte": Row({"one_byte_writes": True}, WORKS, WORKS, options=SCANT),
    "fragments": Row({"fragment": 100}, WORKS, WORKS),
    "a message of 1 MiB": Row({"big_message": True}, WORKS, WORKS, within=30),
    "unknown message, first": Row({"unknown_message": 0}, WORKS, WORKS),
    "unknown message": Row({"unknown_message": 1}, WORKS, WORKS),
    "unknown message in a turn": Row({"unknown_message": 3}, WORKS, WORKS),
    "non-JSON": Row({"non_json": 1}, ProtocolError, ProtocolError),
    "non-JSON in a turn": Row({"non_json": 3}, ProtocolError, ProtocolError),
    "wrong shape": Row({"wrong_shape": 1}, ProtocolError, ProtocolError),
    "wrong shape in a turn": Row({"wrong_shape": 3}, ProtocolError, ProtocolError),
    "error frame": Row({"error_frame": 1}, ProviderError, ProviderError),
    "error frame in a turn": Row({"error_frame": 3}, ProviderError, ProviderError),
}


async def _turn(it, row, expected):
    """One turn that must go as expected, within the time that it may take."""
    began = trio.current_time()
    spoken, error = None, None
    try:
        spoken = await it.session.synthesize(TEXT)
    except VoiceTrioError as caught:
        error = caught
    took = trio.current_time() - began
    assert took <= row.within, f"it took {took} s"
    if expected is WORKS:
        assert error is None, repr(error)
        assert took >= row.after
        await it.check_whole(spoken, TEXT)
        return
    if expected is CUT:
        assert error is None, repr(error)
        assert took >= row.after
        await trio.sleep(1)
        assert it.check_cut(1, TEXT) == spoken.samples > 0
        return
    assert isinstance(error, expected), repr(error)
    assert error.provider == it.case.name
    assert {name: getattr(error, name) for name in row.has} == row.has
    await trio.sleep(1)
    heard = it.check_cut(1, TEXT)
    accepted = any(entry["event"] == "accepted" for entry in it.server.log)
    if {"upgrade": accepted, "message": heard, "never": False}[it.case.identified]:
        assert error.request_id
    assert trio.current_effective_deadline() == math.inf, "somebody's cancellation leaked"


@each_fault()
async def test_a_fault_of_the_first_connection(case, name, autojump_clock):
    row = row_of(case, name)
    async with stage(case, faults=Faults(**row.faults, connections=1), options=row.options) as it:
        await _turn(it, row, row.once)
        await it.speak(NEXT)


@each_fault()
async def test_a_fault_of_all_connections(case, name, autojump_clock):
    row = row_of(case, name)
    async with stage(case, faults=Faults(**row.faults), options=row.options) as it:
        await _turn(it, row, row.always)
        asked = sum(entry["event"] == "request" for entry in it.server.log)
        assert asked <= (3 if case.cancels or not case.websocket else 6), "it was tried too often"  # … and the spare
        it.behave(faults=Faults())
        await it.speak(NEXT)


@each_fault(lasting=True)
async def test_a_fault_between_turns_is_met_by_the_next_turn_only(case, name, autojump_clock):
    """And that one is spoken on another connection, if the fault is one that the client can see."""
    row = row_of(case, name)
    async with stage(case, options=row.options) as it:
        await it.speak(TEXT)
        it.behave(faults=Faults(**row.faults, connections=1))
        await trio.sleep(60)
        try:
            await it.speak(NEXT)
        except row.always:
            await trio.sleep(1)
            assert row.once is not WORKS or it.check_cut(2, NEXT), (
                "nothing was heard, so it should have been tried again"
            )
        await it.speak(NEXT)


@cases_with("fields err_code")
async def test_an_error_frame_in_its_other_shape(case, autojump_clock):
    async with stage(case, faults=Faults(error_frame=2), options=case.quirks["fields err_code"]) as it:
        with pytest.raises(ProviderError) as caught:
            await it.session.synthesize(TEXT)
        assert (caught.value.code, caught.value.provider) == ("INTERNAL", case.name)
        it.behave(faults=Faults())
        await it.speak(NEXT)


# ---- dropped anywhere ----------------------------------------------------------------------------------------------

SHORT_TURN = {"ms_per_char": 2, "frame_ms": 4, "first_audio": 0.0, "speed": 1000.0}


async def _turn_or_lost(it, text):
    """Whether the turn worked.  If not, then because the link was lost after its first audio."""
    try:
        await it.speak(text)
    except LinkClosed:
        await trio.sleep(0.2)
        assert it.check_cut(it.session.statistics().turns, text) > 0
        return False
    return True


async def test_dropped_after_every_message(case, autojump_clock):
    """From the first message of the connection to beyond the last one of the turn."""
    async with stage(case, options=SHORT_TURN) as it:
        lost = []
        for count in range(12):
            it.behave(faults=Faults(drop_after_messages=count, connections=it.server.connections + 1))
            await it.session.prewarm()
            lost.append(not await _turn_or_lost(it, TEXT))
            it.behave(faults=Faults())
            await it.speak(NEXT)
    assert True in lost
    assert False in lost


@only("deepgram")
async def test_dropped_at_every_byte_of_a_turn(case, autojump_clock):
    """On a warm link: a turn is lost after its first audio and repeated before it, and what was heard was right."""
    async with stage(case, options=SHORT_TURN) as it:
        await it.speak(NEXT)
        outcomes = []
        for byte in range(1000):
            it.behave(faults=Faults(drop_after_bytes=byte, connections=it.server.connections))
            connections = it.server.connections
            worked = await _turn_or_lost(it, "Hm")
            it.behave(faults=Faults())
            outcomes.append((worked, it.server.connections - connections))
            if outcomes[-1] == (True, 0):
                break
            await it.speak("Ok")
    assert outcomes[0] == (True, 1), "nothing was heard, so it is tried again"
    assert (False, 0) in outcomes, "something was heard, so it is not"
    assert outcomes[-1] == (True, 0), "the whole turn fits"
    assert 200 < len(outcomes) < 500


@only("deepgram")
async def test_dropped_at_every_fifth_byte_of_a_handshake(case, seed, autojump_clock):
    """And of the first words of the connection: always tried again."""
    for byte in range(seed % 5, 560, 5):
        async with stage(case, faults=Faults(drop_after_bytes=byte, connections=1), options=SHORT_TURN, pace=0) as it:
            await it.speak("Hm")
            assert it.server.connections == 2 or byte > 500


# ---- what is the provider's own ------------------------------------------------------------------------------------


@each_quirk_of(
    "late end marker",
    "double end marker",
    "odd audio",
    "empty audio",
    "uneven audio",
    "audio early",
    "one counter",
    "close drains",
    "late audio",
    "late audio and end marker",
    "acknowledgement late",
    "acknowledgement never",
)
async def test_a_quirk_that_harms_no_turn(case, quirk, autojump_clock):
    """Nor the turn after one that was interrupted: before its first audio, in the middle, after its last."""
    marker = FlushMarker()
    async with stage(case, options={"ms_per_char": 30, **case.quirks[quirk]}) as it:
        await it.speak(TEXT)
        await it.speak_streamed("One part, ", marker, "and another, ", marker, 0.7, "and a last.")
        for seconds in (0.1, 0.3, 0.5):
            with trio.move_on_after(seconds) as scope:
                await it.session.synthesize(TEXT)
            assert scope.cancelled_caught
            it.check_cut(it.session.statistics().turns, TEXT)
            spoken = await it.session.synthesize(NEXT)
            await it.check_whole(spoken, NEXT)
        if case.cancels and quirk != "acknowledgement never":
            assert it.session.statistics().connections == 1


@cases_with("no end marker")
async def test_without_an_end_marker(case, autojump_clock):
    async with stage(case, options=case.quirks["no end marker"]) as it:
        with pytest.raises(ProviderStalled):
            await it.session.synthesize(TEXT)
        assert it.player.pcm(1) == it.audio(TEXT)
        it.behave(end_marker="normal")
        await it.speak(NEXT)


@cases_with("audio before it was asked for")
async def test_audio_before_it_was_asked_for(case, autojump_clock):
    async with stage(case, options=case.quirks["audio before it was asked for"]) as it:
        await it.session.prewarm()
        await trio.sleep(0.5)
        await it.speak(TEXT)
        assert it.session.statistics().late_bytes > 0


@each_quirk_of("use limited", "use limited, as specified")
async def test_a_rate_limit_that_can_be_waited_for_costs_time_only(case, quirk, autojump_clock):
    limits = {"flush_limit": 20, "flush_window": 60.0}
    async with stage(case, options=case.quirks[quirk], provider=limits) as it:
        for number in range(5):
            await it.speak(f"Turn {number}.")
        assert it.session.statistics().connections == 1
        assert 10 < trio.current_time() < 40


@cases_with("text limited")
async def test_a_rate_limit_that_closes_the_connection(case, autojump_clock):
    async with stage(case, options=case.quirks["text limited"]) as it:
        await it.speak(TEXT)
        with pytest.raises(RateLimited) as caught:
            await it.session.synthesize(NEXT)
        assert (caught.value.code, caught.value.reason) == (1008, "DATA-0001")
        await it.speak(NEXT)


@each_quirk_of("session limited", "idling limited")
async def test_a_connection_that_the_provider_ends_between_turns(case, quirk, autojump_clock):
    async with stage(case, options=case.quirks[quirk]) as it:
        for _ in range(3):
            await it.speak(TEXT)
            await trio.sleep(30)
        assert it.server.connections >= 3


@cases_with("session limited")
async def test_a_connection_that_the_provider_ends_in_a_turn(case, autojump_clock):
    async with stage(case, options=case.quirks["session limited"]) as it:
        await it.session.prewarm()
        await trio.sleep(19.5)
        with pytest.raises(LinkClosed) as caught:
            await it.session.synthesize(TEXT)
        assert (caught.value.code, caught.value.reason) == (1011, "NET-0003")
        await trio.sleep(1)
        assert it.check_cut(1, TEXT) > 0
        await it.speak(NEXT)
