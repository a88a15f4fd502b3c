"""LMNTTTS against the failures of the asyncio class it replaces: rows L1 to L10 of docs/originals.md.

Each test fails on what the original did, which its docstring tells.  Where it matters it runs in both protocols: 1.0,
which is the original's, and 1.2.
"""

import logging
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from deepgram_talk import FLUSH, Talk, chunks

from voicetrio import LMNTTTS, open_audio_sink
from voicetrio._dialect import Answered, Ended, GateOpened
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    ConnectError,
    LinkClosed,
    PaymentRequired,
    ProviderError,
    ProviderStalled,
    ServiceUnavailable,
    UpgradeRejected,
)
from voicetrio.simulators import Faults
from voicetrio.simulators.lmnt import LMNTOptions, LMNTSimulator

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."

both_protocols = pytest.mark.parametrize("protocol", ["1.2", "1.0"])


class LMNTTalk(Talk):
    """Names the client's messages in both protocols."""

    def kinds(self, connection=None):
        """What the client's messages are, the greeting apart."""
        return [_kind(message) for message in self.sent(connection) if "lmnt-version" not in message]

    def greetings(self):
        """The first messages of the connections."""
        return [message for message in self.sent() if "lmnt-version" in message]

    def texts(self):
        """The texts that the client sent."""
        return [message["text"] for message in self.sent() if "text" in message]


def _kind(message):
    return message.get("type") or next(iter(message))


@asynccontextmanager
async def talk(*, provider=None, faults=None, **simulated):
    """A session with a simulator of these options; what is spoken is played in real, that is virtual, time."""
    simulator = LMNTSimulator(LMNTOptions(faults=Faults(**(faults or {})), **simulated))
    async with simulator.serve_in_memory() as server, open_plain_nursery("the talk is over") as nursery:
        lmnt = attrs.evolve(LMNTTTS(api_key="key", ws_url=server.url), **(provider or {}))
        sink, source = open_audio_sink(24_000, max_seconds=0.5)
        it = LMNTTalk(server, sink)
        nursery.start_soon(it.play, source)
        async with lmnt.open(sink, dial=server.dial) as it.tts:
            yield it
            await it.drained()


async def interrupt_after(it, seconds):
    await trio.sleep(seconds)
    it.tts.interrupt()


# L1, L2 -- an interruption while the connection is being made


@both_protocols
async def test_l1_a_turn_interrupted_while_connecting_ends_at_once(autojump_clock, protocol):
    """The original sent neither text nor eof on the connection that then came, and waited for its answer for ever."""
    slow = {"handshake": "slow", "handshake_delay": 3}
    async with talk(provider={"protocol": protocol}, faults=slow) as it, trio.open_nursery() as nursery:
        nursery.start_soon(interrupt_after, it, 0.5)
        spoken = await it.tts.synthesize(LONG)
        assert trio.current_time() == 0.5
        await trio.sleep(10)
        assert it.texts() == []
    assert (spoken.outcome, spoken.samples) == ("interrupted", 0)


@both_protocols
async def test_l1_a_caller_cancelled_while_connecting_is_let_go_at_once(autojump_clock, protocol):
    """As above: the original's receiver waited for ever."""
    async with talk(provider={"protocol": protocol}, faults={"handshake": "silent"}) as it:
        with trio.move_on_after(0.5) as scope:
            await it.tts.synthesize(LONG)
        assert scope.cancelled_caught
        assert trio.current_time() == 0.5


@both_protocols
async def test_l2_a_turn_interrupted_while_connecting_is_not_spoken_with_the_next(autojump_clock, protocol):
    """The next turn took the original's flag back, so that the old one spoke after all: 7 680 bytes of its text."""
    slow = {"handshake": "slow", "handshake_delay": 1}
    async with talk(provider={"protocol": protocol}, faults=slow) as it:
        with trio.move_on_after(0.3):
            await it.tts.synthesize("This is old.")
        spoken = await it.tts.synthesize("This is new.")
        await trio.sleep(10)
    assert spoken.outcome == "completed"
    assert it.texts() == ["This is new."]
    assert it.runs(1) == []
    assert it.runs(spoken.turn) == it.asked("This is new.")


@both_protocols
@pytest.mark.parametrize("runs_on", [True, False])
async def test_l2_nothing_of_an_interrupted_turn_is_heard_in_the_next(autojump_clock, protocol, runs_on):
    """The original had one socket for whatever turn came last; here a turn's audio is its own."""
    async with talk(provider={"protocol": protocol}, reset_runs_on=runs_on, late_frames=4) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(chunks(LONG, FLUSH, "And there is ", "more.", 10))
        cut = it.tts.last_interruption
        spoken = await it.tts.synthesize("Yes.")
    assert spoken.outcome == "completed"
    assert sum(samples for _, _, samples in it.runs(cut.turn)) == cut.samples_heard > 0
    assert it.runs(spoken.turn) == it.asked("Yes.")


# L3, L4 -- failures that look like success


@both_protocols
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"close_after": 8}, 1011),
        ({"close_after": 8, "close_code": 1001}, 1001),
        ({"drop_after_messages": 8}, 1006),
    ],
)
async def test_l3_a_connection_lost_in_a_turn_is_its_error(autojump_clock, protocol, fault, code):
    """The original took any close for the end: 3 840 of 13 440 bytes, and success."""
    async with talk(provider={"protocol": protocol}, faults={"connections": 1, **fault}) as it:
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(LONG)
        assert trio.current_time() < 1
        assert caught.value.code == code
        spoken = await it.tts.synthesize("Again.")
    assert 0 < sum(samples for _, _, samples in it.runs(1)) < it.server.segments[0].samples  # what had come is heard
    assert it.runs(spoken.turn) == it.asked("Again.")


@both_protocols
async def test_l3_a_normal_close_that_nobody_asked_for_is_an_error(autojump_clock, protocol):
    """The original did not look at whether it had ended its text: what came after the close was lost, with success."""
    async with talk(provider={"protocol": protocol}, faults={"close_after": 6, "close_code": 1000}) as it:
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(chunks("One. ", FLUSH, 5, "Two. ", FLUSH, 5, "Three."))
    assert caught.value.code == 1000


@both_protocols
async def test_l3_the_end_that_the_protocol_has_is_a_success(autojump_clock, protocol):
    """What the above must not cost: flush_complete, or code 1000 after eof, is the end."""
    async with talk(provider={"protocol": protocol}) as it:
        spoken = await it.tts.synthesize(LONG)
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked()
    assert spoken.samples == sum(segment.samples for segment in it.server.segments)


@both_protocols
async def test_l4_a_bad_key_is_an_error_of_the_call(autojump_clock, protocol):
    """The original emitted an error event and returned as if all had been said."""
    async with talk(provider={"protocol": protocol}, api_key="another") as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.tts.synthesize("Hello.")
        assert trio.current_time() < 1
    assert it.server.connections <= 1 + (protocol == "1.0")  # it is not tried again; 1.0 has a spare
    assert '"key"' not in repr(it.server.log)
    assert "another" not in str(caught.value)


@both_protocols
@pytest.mark.parametrize(
    ("fault", "kind"),
    [({"handshake": "refuse"}, ConnectError), ({"refuse_status": 403}, UpgradeRejected)],
)
async def test_l4_a_failed_connection_is_an_error_of_the_call(autojump_clock, protocol, fault, kind):
    """The original emitted an error event and returned as if all had been said."""
    async with talk(provider={"protocol": protocol}, faults=fault) as it:
        with pytest.raises(kind):
            await it.tts.synthesize("Hello.")
    assert it.server.segments == []


@both_protocols
async def test_l4_an_error_in_the_middle_of_a_turn_is_an_error_of_the_call(autojump_clock, protocol):
    """As above, with half a sentence heard."""
    async with talk(provider={"protocol": protocol}, faults={"connections": 1, "error_frame": 8}) as it:
        with pytest.raises(ProviderError, match="Internal server error"):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Again.")
    assert it.runs(spoken.turn) == it.asked("Again.")


# L5 -- a handshake for each reply


async def test_l5_all_turns_have_one_connection_and_one_greeting(autojump_clock):
    """The original connected and said everything again for each turn: 2 connections for 2 turns."""
    async with talk() as it:
        for text in ("One.", "Two.", "Three."):
            await it.tts.synthesize(text)
    assert it.kinds() == ["text", "flush"] * 3 + ["finish"]
    assert (it.server.connections, len(it.greetings())) == (1, 1)
    assert [it.runs(turn) for turn in (1, 2, 3)] == [[run] for run in it.asked()]


async def test_l5_an_interruption_keeps_the_connection(autojump_clock):
    """The original closed it, which was its only way to cancel."""
    async with talk() as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    assert it.kinds() == ["text", "flush", "reset", "text", "flush", "finish"]
    nonces = [message["nonce"] for message in it.sent() if "nonce" in message]
    assert nonces == sorted(set(nonces))
    assert it.server.connections == 1
    assert it.runs(spoken.turn) == it.asked("Yes.")


@pytest.mark.parametrize("reset", [{"reset_delay": 0.4}, {"flush_complete_for_reset": True}, {"wrong_nonce": True}])
async def test_l5_answers_to_what_is_past_do_not_end_the_new_turn(autojump_clock, reset):
    """What one connection must not cost: acknowledgements are told apart by their nonces."""
    async with talk(**reset) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize(chunks("Wait, ", FLUSH, 1, "there is more."))
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("Wait, ", "there is more.")


async def test_l5_a_reset_that_is_never_acknowledged_costs_the_connection_and_no_turn(autojump_clock):
    """What one connection must not cost: where nothing tells the old audio from the new, another one is taken."""
    async with talk(provider={"cancel_timeout": 1.5}, reset_never=True) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    first, second = (each for each in it.server.segments if each.text == "Yes.")
    [closed] = it.events("close", connection=0)
    assert (closed["time"], closed["data"]["by"]) == (0.5 + 1.5, "client")
    assert (first.connection, second.connection) == (0, 1)
    assert 2.0 <= spoken.timeline.connected <= 2.2  # after the pause that there is before every second attempt
    assert it.runs(spoken.turn) == [(second.number, 0, second.samples)]
    assert it.tts.statistics().connections == 2


def _dialect_with(*flushed):
    """A dialect of 1.2 in a turn in which these texts were said and flushed, and which has ended."""
    lmnt = LMNTTTS(api_key="key")
    dialect = lmnt._new_dialect(lambda: 0.0)
    dialect.receive('{"type":"ready","request_id":"r"}')
    dialect.begin(1, lmnt)
    for text in flushed:
        list(dialect.say(text))
        list(dialect.flush())
    list(dialect.end())
    return dialect


def test_l5_an_acknowledgement_answers_the_flushes_before_it():
    """What was skipped will not come: to wait for it would be to wait for ever."""
    dialect = _dialect_with("One. ", "Two. ", "Three. ")
    assert list(dialect.receive('{"type":"flush_complete","nonce":2}')) == [Answered(1)]
    assert list(dialect.receive('{"type":"flush_complete","nonce":1}')) == []
    assert dialect.awaiting
    assert list(dialect.receive('{"type":"flush_complete","nonce":3}')) == [Ended(1)]
    assert not dialect.awaiting


def test_l5_an_acknowledgement_of_the_last_flush_alone_is_the_end():
    dialect = _dialect_with("One. ", "Two. ", "Three. ")
    assert list(dialect.receive('{"type":"flush_complete","nonce":3}')) == [Ended(1)]


def test_l5_an_acknowledgement_answers_the_resets_before_it():
    """As with flushes; each opens one gate."""
    dialect = _dialect_with("One. ")
    assert dialect.cancel(1) == ('{"type":"reset","nonce":2}',)
    dialect.begin(2, LMNTTTS(api_key="key"))
    list(dialect.say("Two. "))
    assert dialect.cancel(2) == ('{"type":"reset","nonce":3}',)
    assert dialect.gated
    assert list(dialect.receive('{"type":"reset_complete","nonce":3}')) == [GateOpened(), GateOpened()]
    assert not dialect.gated


@both_protocols
async def test_l5_a_prewarmed_session_speaks_without_a_handshake(autojump_clock, protocol):
    """The original had no way to connect before the first text was there."""
    slow = {"handshake": "slow", "handshake_delay": 2}
    async with talk(provider={"protocol": protocol}, faults=slow) as it:
        await it.tts.prewarm()
        asked = trio.current_time()
        spoken = await it.tts.synthesize("Hello.")
    assert spoken.timeline.connected == asked
    assert spoken.timeline.first_audio - asked == pytest.approx(0.137, abs=0.05)


async def test_l5_in_protocol_1_0_the_next_connection_is_made_while_one_speaks(autojump_clock):
    """The original connected when the next text was there, so every reply began with a handshake."""
    slow = {"handshake": "slow", "handshake_delay": 1}
    async with talk(provider={"protocol": "1.0"}, faults=slow, speed=1) as it:
        await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    assert spoken.timeline.connected == spoken.timeline.requested
    assert it.runs(spoken.turn) == it.asked("Yes.")


async def test_l5_in_protocol_1_0_an_interruption_closes_the_connection_at_once(autojump_clock):
    """There is no other way to cancel; the connection that was made meanwhile has the next turn."""
    slow = {"handshake": "slow", "handshake_delay": 0.2}
    async with talk(provider={"protocol": "1.0"}, faults=slow, speed=1) as it:
        with trio.move_on_after(1.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    [closed] = it.events("close", connection=0)
    assert (closed["time"], closed["data"]["by"]) == (1.5, "client")
    cut, whole = it.server.segments[0], it.server.segments[-1]
    assert cut.sent < cut.samples
    assert (cut.connection, whole.connection) == (0, 1)
    assert spoken.timeline.connected == spoken.timeline.requested == 1.5
    assert it.runs(spoken.turn) == it.asked("Yes.")


# L6 -- a provider that says nothing any more


@both_protocols
@pytest.mark.parametrize(
    "cause",
    [{"faults": {"stall_after": 4}}, {"end_marker": "none"}, {"faults": {"half_open_after": 4}}],
    ids=["stalled", "no end marker", "half open"],
)
async def test_l6_silence_of_the_provider_is_an_error(autojump_clock, protocol, cause):
    """The original had neither a timeout nor a heartbeat: it waited for ever."""
    async with talk(provider={"protocol": protocol, "response_timeout": 3}, ms_per_char=10, **cause) as it:
        with pytest.raises(ProviderStalled):
            await it.tts.synthesize(LONG)
        assert 3 < trio.current_time() < 5


@pytest.mark.parametrize(
    ("protocol", "answers"), [("1.2", 4), ("1.0", 1)], ids=["protocol 1.2", "protocol 1.0"]
)  # ready, audio, timestamps and flush_complete, or audio alone
async def test_l6_a_dead_connection_is_noticed_while_nothing_is_owed(autojump_clock, protocol, answers):
    """The original waited for its text, and then for ever.  Here the heartbeat finds out."""
    provider = {"protocol": protocol, "heartbeat": 7.0}
    async with talk(provider=provider, faults={"half_open_after": answers}, ms_per_char=8) as it:
        with pytest.raises(LinkClosed):
            await it.tts.synthesize(chunks("One. ", FLUSH, 60, "Two."))
        assert 7 < trio.current_time() < 25


@both_protocols
async def test_l6_a_slow_text_is_not_a_silent_provider(autojump_clock, protocol):
    """What the timeout must not cost: it counts only while an answer is owed."""
    async with talk(provider={"protocol": protocol, "response_timeout": 2}) as it:
        spoken = await it.tts.synthesize(chunks("One. ", FLUSH, 30, "Two."))
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("One. ", "Two.")


# L7 -- flushes of nothing


@pytest.mark.parametrize(
    ("protocol", "end"), [("1.2", ["finish"]), ("1.0", ["eof"])], ids=["protocol 1.2", "protocol 1.0"]
)
async def test_l7_a_flush_is_sent_only_for_text(autojump_clock, protocol, end):
    """The original forwarded each marker, also two in a row and those ahead of any text."""
    script = [FLUSH, "One.", FLUSH, FLUSH, " ", FLUSH, "Two.", FLUSH, FLUSH]
    async with talk(provider={"protocol": protocol}, empty_flush_answered=False) as it:
        spoken = await it.tts.synthesize(chunks(*script))
    assert it.kinds(0) == ["text", "flush", "text", "flush", *end]
    assert it.runs(spoken.turn) == it.asked("One.", " Two.")


@both_protocols
@pytest.mark.parametrize("script", [(), ("",), (FLUSH,), (" \n", FLUSH, FLUSH)])
async def test_l7_nothing_to_say_sends_nothing(autojump_clock, protocol, script):
    """The original sent the markers, and eof after them."""
    async with talk(provider={"protocol": protocol}) as it:
        spoken = await it.tts.synthesize(chunks(*script))
        assert trio.current_time() == 0
        assert it.kinds() == []
    assert (spoken.outcome, spoken.samples) == ("completed", 0)


# L8 -- what is not asked for, or not looked at


@pytest.mark.parametrize("name", ["mp3", "ulaw", "raw", "pcm_f32le", "wav", "webm", "aac", "PCM_S16LE", "", None, 3])
async def test_l8_only_samples_may_be_asked_for(autojump_clock, name):
    """The original wrote whatever container it was told to ask for into the track: noise."""
    with pytest.raises(ConfigurationError, match="format"):
        LMNTTTS(api_key="key", format=name)
    async with talk() as it:
        with pytest.raises(ConfigurationError, match="format"):
            await it.tts.synthesize("Hello.", format=name)
    assert it.server.connections == 0


@both_protocols
@pytest.mark.parametrize("rate", [8000, 16_000])
async def test_l8_a_turn_at_another_rate_is_heard_at_its_pace(autojump_clock, protocol, rate):
    """The original changed the rate under a track of 24 kHz: twice, or three times, too fast."""
    async with talk(provider={"protocol": protocol}) as it:
        spoken = await it.tts.synthesize("Hello there.", sample_rate=rate)
    assert it.greetings()[0]["sample_rate"] == rate
    seconds = sum(segment.samples for segment in it.server.segments) / rate
    assert len(it.pcm(spoken.turn)) / 2 / 24_000 == pytest.approx(seconds, abs=0.02)


@pytest.mark.parametrize("error_type", ["invalid_request_error", "payment_required_error", "not_found_error"])
@both_protocols
async def test_l8_an_error_is_told_in_its_own_words(autojump_clock, protocol, error_type):
    """The original printed the object that a typed error is."""
    kinds = {"payment_required_error": PaymentRequired}
    async with talk(provider={"protocol": protocol}, faults={"error_frame": 8}, error_type=error_type) as it:
        with pytest.raises(ProviderError) as caught:
            await it.tts.synthesize(LONG)
    assert "{" not in str(caught.value)
    assert caught.value.reason in ("Invalid request", "Payment required", "Not found")
    if protocol == "1.2":
        assert isinstance(caught.value, kinds.get(error_type, BadRequest))
        assert caught.value.code == error_type


# L9 -- what the server said last


@both_protocols
async def test_l9_an_error_that_is_followed_by_a_close_arrives_and_not_the_close(autojump_clock, protocol):
    """The original left its loop and closed: nothing told why, and no request id."""
    async with talk(provider={"protocol": protocol}, faults={"error_frame": 8}) as it:
        with pytest.raises(ProviderError) as caught:
            await it.tts.synthesize(LONG)
    assert not isinstance(caught.value, LinkClosed)
    assert caught.value.reason == "Internal server error"
    if protocol == "1.2":
        assert isinstance(caught.value, ServiceUnavailable)
        assert caught.value.request_id
        assert caught.value.request_id in str(caught.value)


@both_protocols
async def test_l9_code_and_reason_of_a_close_arrive(autojump_clock, protocol, caplog):
    """The original looked at neither."""
    fault = {"close_after": 8, "close_code": 1011, "close_reason": "out of GPUs"}
    caplog.set_level(logging.DEBUG, logger="voicetrio")
    async with talk(provider={"protocol": protocol}, faults=fault) as it:
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(LONG)
    assert (caught.value.code, caught.value.reason) == (1011, "out of GPUs")
    assert "out of GPUs" in str(caught.value)


# L10 -- fields that a session does not have


@pytest.mark.parametrize(
    ("protocol", "more"),
    [("1.2", {"return_timestamps": True}), ("1.0", {"model": "blizzard"})],
    ids=["protocol 1.2", "protocol 1.0"],
)
async def test_l10_the_greeting_has_the_fields_of_the_schema_and_no_others(autojump_clock, protocol, more):
    """The original sent temperature, top_p and seed as well, and a voice that had been renamed."""
    given = {"protocol": protocol, "temperature": 0.3, "top_p": 0.5, "seed": 7}
    async with talk(provider=given, known_voice="leah") as it:
        spoken = await it.tts.synthesize("Hello.")
    greeting = it.greetings()[0]
    assert greeting.pop("X-API-Key")
    assert greeting == {
        "lmnt-version": protocol,
        "voice": "leah",
        "format": "pcm_s16le",
        "language": "auto",
        "sample_rate": 24_000,
        **more,
    }
    assert it.runs(spoken.turn) == it.asked("Hello.")


@both_protocols
async def test_l10_a_voice_that_is_not_there_is_an_error(autojump_clock, protocol):
    """The original's default was one, and the turn a silent success."""
    async with talk(provider={"protocol": protocol}, known_voice="leah") as it:
        with pytest.raises(ProviderError):
            await it.tts.synthesize("Hello.", voice_id="ava")
        spoken = await it.tts.synthesize("Hello.")
    assert it.runs(spoken.turn) == it.asked("Hello.")


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": ""},
        {"api_key": "with space"},
        {"api_key": "newline\n"},
        {"api_key": 7},
        {"voice": ""},
        {"voice": None},
        {"model": ""},
        {"language": "two words"},
        {"format": "mp3"},
        {"sample_rate": 44_100},
        {"sample_rate": "24000"},
        {"temperature": 1.5},
        {"temperature": "hot"},
        {"temperature": None},
        {"top_p": None},
        {"seed": "x"},
        {"seed": 1.5},
        {"top_p": -0.1},
        {"ws_url": "ftp://api.lmnt.com"},
        {"ws_url": "wss://"},
        {"ws_url": None},
        {"protocol": "1.1"},
        {"protocol": 1.2},
        {"max_connection_age_sec": 0},
        {"max_connection_age_sec": float("nan")},
        {"connect_timeout": -1},
        {"response_timeout": 0},
        {"heartbeat": 0},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_at_construction(options):
    with pytest.raises(ConfigurationError):
        LMNTTTS(**({"api_key": "key"} | options))


def test_a_key_is_needed(monkeypatch):
    monkeypatch.delenv("LMNT_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="LMNT_API_KEY"):
        LMNTTTS()


def test_the_defaults(monkeypatch):
    monkeypatch.setenv("LMNT_API_KEY", "from-the-environment")
    defaults = {
        "api_key": "from-the-environment",
        "voice": "leah",
        "model": "blizzard",
        "language": "auto",
        "format": "pcm_s16le",
        "sample_rate": 24_000,
        "seed": None,
        "temperature": 1.0,
        "top_p": 0.8,
        "ws_url": "wss://api.lmnt.com/v1/ai/speech/stream",
        "protocol": "1.2",
        "max_connection_age_sec": 300.0,
    }
    ours = LMNTTTS()
    assert {name: getattr(ours, name) for name in defaults} == defaults
    with pytest.raises(TypeError):
        LMNTTTS("key")


def test_the_key_is_not_shown():
    ours = LMNTTTS(api_key="a-very-secret-key")
    assert "secret" not in repr(ours)
    assert "secret" not in repr(ours._endpoint().target("lmnt"))
    assert hash(ours) == hash(LMNTTTS(api_key="a-very-secret-key"))
