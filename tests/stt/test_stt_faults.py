"""Each fault of a connection and of its provider: the right exception, or a whole transcript all the same.

A fault is tried on the first connection only, and on all of them.
"""

import random
from typing import Any

import attrs
import pytest
import trio
from slices import THOROUGH
from stt_cases import cases
from stt_tools import listening, samples_of, until

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
from voicetrio.simulators.tagged import POSITIONS

WORKS = None

# Turns end in silences that are longer than the moment in which a final transcript without times settles.
PHRASES = {"word_ms": 100.0, "phrase_words": 3, "pause_words": 5}


@attrs.frozen
class Row:
    """A line of the fault matrix.

    Attributes:
        faults: of the simulator.
        once: the error, if only the first connection has the fault; None if all is heard all the same.
        always: the error, if all have.
        has: attributes of the error.
        attempts: connections, at most, while the provider is out of reach for 30 s.
    """

    faults: dict[str, Any]
    once: type[ProviderError] | None
    always: type[ProviderError] | None
    has: dict[str, Any] = attrs.Factory(dict)
    attempts: int = 12


def _closed(when, code, once, always=LinkClosed, reason=""):
    return Row({"close_after": when, "close_code": code, "close_reason": reason}, once, always, {"code": code})


MATRIX = {
    "no fault": Row({}, WORKS, WORKS),
    "refused": Row({"handshake": "refuse"}, WORKS, ConnectError),
    "closed without a reply": Row({"handshake": "eof"}, WORKS, ConnectError),
    "no websocket at all": Row({"handshake": "garbage"}, WORKS, ConnectError),
    "silent handshake": Row({"handshake": "silent"}, WORKS, ConnectTimeout),
    "slow handshake": Row({"handshake": "slow", "handshake_delay": 5.0}, WORKS, WORKS),
    "302": Row({"refuse_status": 302}, UpgradeRejected, UpgradeRejected, {"status": 302}),
    "400": Row({"refuse_status": 400}, BadRequest, BadRequest, {"status": 400}),
    "401": Row({"refuse_status": 401}, AuthenticationError, AuthenticationError, {"status": 401}),
    "402": Row({"refuse_status": 402}, PaymentRequired, PaymentRequired, {"status": 402}),
    "403": Row({"refuse_status": 403}, AuthenticationError, AuthenticationError, {"status": 403}),
    "404": Row({"refuse_status": 404}, BadRequest, BadRequest, {"status": 404}),
    "429": Row({"refuse_status": 429}, WORKS, RateLimited, {"status": 429}),
    "429, later": Row({"refuse_status": 429, "retry_after": 7.0}, WORKS, RateLimited, {"retry_after": 7.0}),
    "429, much later": Row({"refuse_status": 429, "retry_after": 60.0}, RateLimited, RateLimited),
    "503": Row({"refuse_status": 503}, WORKS, ServiceUnavailable, {"status": 503}),
    "close 1000": _closed(2, 1000, WORKS),
    "close 1011": _closed(2, 1011, WORKS, reason="internal"),
    "close 1011 at once": _closed(0, 1011, WORKS),
    "close 1008": _closed(2, 1008, BadRequest, BadRequest, reason="policy"),
    "close 1009": _closed(2, 1009, LinkClosed),
    "dropped": Row({"drop_after_messages": 2}, WORKS, LinkClosed),
    "dropped after the last word of a phrase": Row({"drop_after_messages": 5}, WORKS, WORKS),
    "half open": Row({"half_open_after": 2}, WORKS, WORKS),
    "never answers Close": Row({"never_close": True}, WORKS, WORKS, attempts=40),
    "byte by byte": Row({"one_byte_writes": True}, WORKS, WORKS),
    "fragments": Row({"fragment": 20}, WORKS, WORKS),
    "a message of 1 MiB": Row({"big_message": True}, WORKS, WORKS),
    "unknown message, first": Row({"unknown_message": 0}, WORKS, WORKS),
    "unknown message": Row({"unknown_message": 2}, WORKS, WORKS),
    "non-JSON": Row({"non_json": 2}, ProtocolError, ProtocolError),
    "wrong shape": Row({"wrong_shape": 2}, ProtocolError, ProtocolError),
    "error frame": Row({"error_frame": 2}, WORKS, ServiceUnavailable, attempts=40),
    "error frame, first": Row({"error_frame": 0}, WORKS, ServiceUnavailable, attempts=40),
}


async def _hear(it, row, expected):
    """Speech that must go as expected."""
    error = None
    try:
        for _ in range(6):
            await it.talk(0.8, piece=0.04)
        await it.finish()
    except ProviderError as caught:
        error = caught
    if expected is WORKS:
        assert error is None, repr(error)
        it.check_whole()
        return
    assert isinstance(error, expected), repr(error)
    assert error.provider == it.case.provider
    assert {name: getattr(error, name) for name in row.has} == row.has
    assert it.server.connections <= row.attempts, "it was tried too often"


@pytest.mark.parametrize("name", MATRIX)
async def test_a_fault_of_the_first_connection(case, name, autojump_clock):
    row = MATRIX[name]
    faults = Faults(**row.faults, connections=1)
    async with listening(case, faults=faults, options=PHRASES, provider={"finish_timeout": 60.0}) as it:
        await _hear(it, row, WORKS if name in case.stands else row.once)


@pytest.mark.parametrize("name", [name for name, row in MATRIX.items() if "half" not in name and "phrase" not in name])
async def test_a_fault_of_all_connections(case, name, autojump_clock):
    row = MATRIX[name]
    faults = Faults(**row.faults)
    async with listening(case, faults=faults, options=PHRASES, provider={"finish_timeout": 60.0}) as it:
        if name == "close 1000":
            # Behind our own end this very close tells that all has been heard.
            with pytest.raises(row.always):
                await it.talk(40.0)
            return
        never_ends = name == "never answers Close" and case.ends_by_closing
        always = WORKS if name in case.stands else row.always
        await _hear(it, row, ProviderStalled if never_ends else always)


@pytest.mark.parametrize("name", ["refused", "503", "429, later"])
async def test_an_end_that_reaches_nobody_says_why(case, name, autojump_clock):
    row = MATRIX[name]
    async with listening(case, faults=Faults(**row.faults), provider={"finish_timeout": 3.0}) as it:
        await it.talk(0.3)
        with pytest.raises(row.always):
            await it.session.finish()
        await it.ended.wait()
        assert isinstance(it.error, row.always)


@cases(lambda case: case.flushes)
async def test_a_flush_is_asked_again_where_its_answer_was_lost(case, autojump_clock):
    options = {**PHRASES, "auto_final": False, "interims": False}
    async with listening(case, options={**options, "final_delay": 1.0}) as it:
        await it.talk(0.25)
        await it.session.flush()
        await trio.sleep(0.5)
        it.behave(faults=Faults(drop_after_messages=0, connections=it.server.connections), final_delay=0.0)
        await it.talk(0.05)
        await it.session.flush()
        await until(lambda: it.finals)
        await it.finish()
        assert it.session.statistics().samples_repeated
        it.check_whole()


# ---- cut anywhere --------------------------------------------------------------------------------------------------


CUTS = 64
"""Of a session."""


def _cuts(chance):
    """Where connections are cut: within the handshake, the audio, or the answers.  Every other one gets on a little."""
    for number in range(CUTS):
        if number % 2:
            yield "send", chance.randrange(30_000, 90_000)
        elif chance.random() < 0.6:
            yield "send", chance.randrange(0, 30_000)
        else:
            yield "receive", chance.randrange(0, 4_000)


PATIENT = {"finish_timeout": 600.0, "buffer_seconds": 600.0}


@cases(lambda case: case.times)
@pytest.mark.parametrize("part", range(4 if THOROUGH else 1))
async def test_tcp_cut_at_many_bytes_loses_no_sample_and_doubles_no_final(case, part, seed, autojump_clock):
    """A session or more in each part.  Phrases follow each other without a pause: any loss or doubling is heard."""
    chance = random.Random(seed)
    cut = 0
    while cut < (250 if THOROUGH else CUTS):
        options = {"word_ms": 50.0, "phrase_words": 3, "pause_words": 0, "latency": chance.choice([0.0, 0.03])}
        async with listening(case, options=options, cuts=_cuts(chance), provider=PATIENT) as it:
            while it.dialled <= CUTS and it.given < 0.9 * POSITIONS:
                await it.talk(0.5, piece=0.04)
                if chance.random() < 0.1:
                    await it.session.flush()
            await it.finish()
            assert it.session.statistics().samples_dropped == it.session.statistics().samples_unrepeated == 0
            assert it.session.statistics().samples_repeated > 0
            it.check_whole()
        cut += min(it.dialled, CUTS)
        _check_repetitions(it)


def _check_repetitions(it):
    """Each connection began exactly where the last final, or answered flush, ended that came on those before it."""
    ends = {round(event.end * it.case.rate) for event in it.finals} | {0}
    records = sorted(it.records("audio"), key=lambda record: record["connection"])
    starts = [record["data"]["runs"][0][1] for record in records if record["data"]["runs"]]
    assert starts == sorted(starts)
    assert set(starts) <= ends


@cases(lambda case: not case.times)
async def test_tcp_cut_once_where_finals_have_no_times_loses_no_word_and_doubles_none(case, seed, autojump_clock):
    """Of turns that end in a silence, spoken in their time: at places that differ in each run."""
    chance = random.Random(seed)
    for _ in range(24 if THOROUGH else 8):
        cut = ("send", round(chance.randrange(0, 120_000) * case.weight))
        async with listening(case, options={**PHRASES, "latency": 0.03}, cuts=[cut]) as it:
            await it.talk(4.0, piece=0.04)
            await it.finish()
            assert it.dialled == 2
            it.check_whole()


@cases(lambda case: not case.times)
async def test_tcp_cut_again_where_finals_have_no_times_loses_no_word(case, seed, autojump_clock):
    """One that had just been sent again may be told again, as nothing tells where it ended."""
    chance = random.Random(seed)
    cuts = [("send", round(chance.randrange(60_000, 150_000) * case.weight)) for _ in range(32 if THOROUGH else 12)]
    async with listening(case, options={**PHRASES, "latency": 0.03}, cuts=cuts, provider=PATIENT) as it:
        while it.dialled <= len(cuts):
            await it.talk(0.5, piece=0.04)
        await it.finish()
        assert it.given < POSITIONS, "positions wrap around"
        assert set(it.expected()) <= set(samples_of(it.text, it.word))


async def test_reconnecting_waits_longer_each_time_and_stops_for_a_while(case, autojump_clock):
    """The breaker: a provider that refuses is not asked for each frame."""
    async with listening(case, faults=Faults(refuse_status=503), options=PHRASES) as it:
        await it.talk(20.0)
        assert it.server.connections < 12
        it.behave(faults=Faults())
        await it.talk(12.0)
        await it.finish()
        assert it.session.statistics().samples_dropped < it.given


async def test_a_session_tells_whether_it_is_connected_and_why_not(case, autojump_clock):
    async with listening(case, faults=Faults(handshake="slow", handshake_delay=0.5)) as it:
        assert (it.session.connected, it.session.trouble) == (False, None)
        it.behave(faults=Faults())
        await until(lambda: it.session.connected)
    async with listening(case, faults=Faults(refuse_status=503)) as it:
        await until(lambda: isinstance(it.session.trouble, ServiceUnavailable))
        assert not it.session.connected
        it.behave(faults=Faults(drop_after_messages=3))
        await until(lambda: it.session.connected)
        assert it.session.trouble is None
        with trio.fail_after(20):
            while it.session.connected:
                await it.talk(0.02)
        assert isinstance(it.session.trouble, LinkClosed)
