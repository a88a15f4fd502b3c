"""CartesiaTTS against the failures of the asyncio class it replaces: rows C1 to C10 of docs/originals.md.

Each test fails on what the original did, which its docstring tells.
"""

import base64
import json
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from deepgram_talk import FLUSH, Talk, chunks

from voicetrio import CartesiaTTS, open_audio_sink
from voicetrio._dialect import Audio, Failed, Late
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.cartesia import GenerationConfig, _CartesiaDialect
from voicetrio.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    LinkClosed,
    PaymentRequired,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
    UpgradeRejected,
)
from voicetrio.simulators import Faults
from voicetrio.simulators.cartesia import CartesiaOptions, CartesiaSimulator

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."


class CartesiaTalk(Talk):
    """Names the client's messages."""

    def kinds(self, connection=None):
        """What the client's messages are."""
        return [_kind(message) for message in self.sent(connection)]

    def texts(self):
        """The texts that the client sent."""
        return [message["transcript"] for message in self.sent() if message.get("transcript")]

    def contexts(self):
        """The contexts that the client named, in the order in which they were first named."""
        return list(dict.fromkeys(message["context_id"] for message in self.sent()))

    def spoken(self):
        """The texts that the server spoke, all in one."""
        return "".join(segment.text for segment in self.server.segments)


def _kind(message):
    if message.get("cancel"):
        return "cancel"
    if message.get("flush"):
        return "flush"
    return "text" if message["continue"] else "end"


@asynccontextmanager
async def talk(*, provider=None, faults=None, **simulated):
    """A session with a simulator of these options; what is spoken is played in real, that is virtual, time."""
    simulator = CartesiaSimulator(CartesiaOptions(faults=Faults(**(faults or {})), **simulated))
    async with simulator.serve_in_memory() as server, open_plain_nursery("the talk is over") as nursery:
        cartesia = attrs.evolve(CartesiaTTS(api_key="key-of-a-test", base_url=server.url), **(provider or {}))
        sink, source = open_audio_sink(24_000, max_seconds=0.5)
        it = CartesiaTalk(server, sink)
        nursery.start_soon(it.play, source)
        async with cartesia.open(sink, dial=server.dial) as it.tts:
            yield it
            await it.drained()


async def interrupt_after(it, seconds):
    await trio.sleep(seconds)
    it.tts.interrupt()


# C1 -- an interruption that nobody comes back from


@pytest.mark.parametrize("done_after_cancel", [True, False])
async def test_c1_an_interrupted_call_returns_at_once(autojump_clock, done_after_cancel):
    """The original forgot the future that its own call waited for: it hung for ever."""
    async with talk(done_after_cancel=done_after_cancel) as it, trio.open_nursery() as nursery:
        nursery.start_soon(interrupt_after, it, 0.5)
        spoken = await it.tts.synthesize(LONG)
        assert trio.current_time() == 0.5
    assert spoken.outcome == "interrupted"


async def test_c1_a_cancelled_caller_is_cancelled(autojump_clock):
    """As above, for a caller who gives up by itself."""
    async with talk() as it:
        with trio.move_on_after(0.5) as scope:
            await it.tts.synthesize(chunks(LONG, FLUSH, 10, "more"))
            pytest.fail("a cancelled call returned")
        assert scope.cancelled_caught
        assert trio.current_time() == 0.5


@pytest.mark.parametrize("cancel", ["run_on", "immediate"])
@pytest.mark.parametrize("end_marker", ["normal", "double", "late", "none"])
async def test_c1_nothing_of_an_interrupted_turn_reaches_the_next(autojump_clock, cancel, end_marker):
    """The original's next turn found no socket; here it finds one on which the old context still speaks."""
    async with talk(cancel=cancel, late_frames=5) as it:
        it.server.options = attrs.evolve(it.server.options, end_marker=end_marker)
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        cut = it.tts.last_interruption
        it.server.options = attrs.evolve(it.server.options, end_marker="normal")
        spoken = await it.tts.synthesize("Yes.")
    assert spoken.outcome == "completed"
    assert it.runs(cut.turn) == [(0, 0, cut.samples_heard)]
    assert it.runs(spoken.turn) == it.asked("Yes.")


# C2 -- a lost connection that nobody hears of


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"close_after": 8}, 1011),
        ({"close_after": 8, "close_code": 1000}, 1000),
        ({"drop_after_messages": 8}, 1006),
    ],
)
async def test_c2_a_connection_lost_in_a_turn_is_its_error_at_once(autojump_clock, fault, code):
    """The original's reader ended without telling the turn: it hung for ever."""
    async with talk(faults={"connections": 1, **fault}) as it:
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(LONG)
        assert trio.current_time() < 1
        assert caught.value.code == code
        spoken = await it.tts.synthesize("Again.")
    assert len(it.runs(1)) == 1  # what had come is heard
    assert it.runs(spoken.turn) == it.asked("Again.")
    assert it.server.connections == 2


async def test_c2_the_idle_close_in_a_turn_that_waits_for_its_text_is_its_error(autojump_clock):
    """The original's turn hung for ever when the server closed on it after five minutes."""
    async with talk(idle_timeout=20) as it:
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(chunks("One. ", FLUSH, 60, "Two."))
        assert 20 <= trio.current_time() < 21
    assert caught.value.code == 1000


@pytest.mark.parametrize(
    "cause", [{"faults": {"stall_after": 4}}, {"end_marker": "none"}, {"faults": {"half_open_after": 4}}]
)
async def test_c2_silence_of_the_provider_is_an_error(autojump_clock, cause):
    """The original waited for ever."""
    async with talk(provider={"response_timeout": 3}, ms_per_char=10, **cause) as it:
        with pytest.raises(ProviderStalled):
            await it.tts.synthesize(LONG)
        assert 3 < trio.current_time() < 5


# C3 -- nothing to say


@pytest.mark.parametrize(
    "script",
    [("",), (" \n\t",), (), (FLUSH,), (FLUSH, "", FLUSH), (" ", FLUSH, "\n")],
    ids=["empty", "blank", "nothing", "a marker", "markers", "blanks and markers"],
)
async def test_c3_nothing_to_say_takes_no_time(autojump_clock, script):
    """The original waited for the end of a context that it had not begun, for ever."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(*script))
        assert trio.current_time() == 0
        assert it.kinds() == []
    assert (spoken.outcome, spoken.samples) == ("completed", 0)


@pytest.mark.parametrize("text", ["", " \n\t"])
async def test_c3_a_blank_string_needs_no_connection(autojump_clock, text):
    """As above."""
    async with talk() as it:
        spoken = await it.tts.synthesize(text)
        assert trio.current_time() == 0
    assert (spoken.outcome, spoken.samples, it.server.connections) == ("completed", 0, 0)


# C4 -- flush markers


async def test_c4_markers_are_flushes_and_what_follows_them_is_spoken(autojump_clock):
    """The original called strip() on the marker, and swallowed the AttributeError and the rest of the reply."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks("Hello. ", FLUSH, "This is ", FLUSH, "the rest.", FLUSH))
    assert it.kinds() == ["text", "flush", "text", "flush", "text", "flush", "end"]
    assert spoken.outcome == "completed"
    assert it.spoken() == "Hello. This is the rest."
    assert it.runs(spoken.turn) == it.asked()


async def test_c4_a_marker_speaks_what_has_no_end_of_a_sentence(autojump_clock):
    """As above; here the marker does what it is for: nothing waits for the server's buffer."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks("One moment", FLUSH, 2, " please."))
    assert spoken.timeline.first_audio < 0.5
    assert it.runs(spoken.turn) == it.asked("One moment", " please.")


async def test_c4_a_flush_is_sent_only_for_text(autojump_clock):
    """Nothing is sent for markers that have no text before them."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(FLUSH, "One.", FLUSH, FLUSH, " ", FLUSH, "Two.", FLUSH, FLUSH))
    assert it.kinds() == ["text", "flush", "text", "flush", "end"]
    assert it.spoken() == "One. Two."
    assert it.runs(spoken.turn) == it.asked()


# C5 -- the text


@pytest.mark.parametrize(
    "tokens",
    [("This is un", "believ", "able", "."), ("Two\n", "\nlines, ", " and  ", "more."), ("你", "好", "，世界", "。")],
    ids=["syllables", "white space", "no spaces"],
)
async def test_c5_text_is_sent_as_it_comes(autojump_clock, tokens):
    """The original put a space after every chunk: "un believ able"."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(*tokens))
    assert "".join(it.texts()) == it.spoken() == "".join(tokens)
    assert it.runs(spoken.turn) == it.asked()


# C6 -- errors that name no context


async def test_c6_an_error_without_a_context_ends_the_turn(autojump_clock):
    """The original looked for the context's future, found none and went on waiting for ever."""
    async with talk(faults={"error_frame": 6, "connections": 1}) as it:
        with pytest.raises(ServiceUnavailable) as caught:
            await it.tts.synthesize(LONG)
        assert trio.current_time() < 1
    assert caught.value.status == 500
    assert caught.value.reason == "Internal server error: Something went wrong."


@pytest.mark.parametrize("error_context", [True, False])
@pytest.mark.parametrize("version", ["2024-06-10", "2024-11-13", "2026-03-01"])
async def test_c6_too_many_contexts_are_an_error(autojump_clock, error_context, version):
    """The original hung for ever on a 429, which names no context."""
    async with talk(provider={"version": version}, context_limit=0, error_context=error_context) as it:
        with pytest.raises(RateLimited) as caught:
            await it.tts.synthesize("Hello.")
        assert trio.current_time() < 5
    assert caught.value.status == 429
    assert caught.value.code == ("concurrency_limited" if version == "2026-03-01" else None)
    assert "Too many concurrent requests" in str(caught.value)


async def test_c6_an_error_of_a_context_leaves_the_connection_to_the_next_turn(autojump_clock):
    """What the above must not cost."""
    async with talk() as it:
        with pytest.raises(ProviderError, match="no model"):
            await it.tts.synthesize("Hello.", model="no-such-model")
        spoken = await it.tts.synthesize("Hello again.")
    assert it.server.connections == 1
    assert it.runs(spoken.turn) == it.asked("Hello again.")


# C7 -- no message to cancel with


async def test_c7_an_interruption_cancels_the_context_and_keeps_the_connection(autojump_clock):
    """The original closed the socket: each interruption cost a handshake."""
    async with talk() as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    assert it.kinds() == ["text", "end", "cancel", "text", "end"]
    old, new = it.contexts()
    assert [message["context_id"] for message in it.sent()] == [old] * 3 + [new] * 2
    assert it.sent()[2] == {"context_id": old, "cancel": True}
    assert (it.server.connections, spoken.outcome) == (1, "completed")


async def test_c7_an_interruption_drops_what_the_server_has_not_begun(autojump_clock):
    """As above; here what waits in the server's buffer is not spoken at all, and not paid for."""
    async with talk() as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(chunks(LONG + " ", "This is never spoken. ", "Nor this", 10))
        await it.tts.synthesize("Yes.")
    assert [segment.text for segment in it.server.segments if segment.sent] == [LONG + " ", "Yes."]


async def test_c7_a_turn_that_sent_nothing_cancels_nothing(autojump_clock):
    """An interruption while connecting sends neither the text nor a cancellation."""
    async with talk(faults={"handshake": "slow", "handshake_delay": 1}) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        await trio.sleep(5)
        assert it.kinds() == []


# C8 -- what the connection says


async def test_c8_the_key_is_in_a_header_and_the_version_is_current(autojump_clock):
    """The original had the key in the URL, where proxies log it, and the version 2024-06-10."""
    async with talk(api_key="key-of-a-test") as it:
        spoken = await it.tts.synthesize("Hello.")
    (request,) = it.events("request")
    assert request["data"]["query"] == {}
    assert "key-of-a-test" not in repr(it.server.log)
    ours = CartesiaTTS(api_key="key-of-a-test")
    assert ours._endpoint().url == "wss://api.cartesia.ai/tts/websocket"
    assert dict(ours._endpoint().headers) == {"X-API-Key": "key-of-a-test", "Cartesia-Version": "2026-03-01"}
    assert spoken.outcome == "completed"


def test_c8_an_embedding_is_refused_at_construction_where_the_server_would():
    """The original sent one to whatever version, and heard nothing."""
    embedding = [0.1] * 192
    with pytest.raises(ConfigurationError, match="2024-11-13"):
        CartesiaTTS(api_key="key", voice_id=embedding)
    assert CartesiaTTS(api_key="key", voice_id=embedding, version="2024-11-13").voice_id == tuple(embedding)


@pytest.mark.parametrize("version", ["2024-06-10", "2024-11-13"])
async def test_c8_an_embedding_is_spoken_with_by_a_version_that_takes_it(autojump_clock, version):
    """What the refusal must not cost."""
    async with talk(provider={"voice_id": [0.25, -0.5], "version": version}) as it:
        spoken = await it.tts.synthesize("Hello.")
    assert it.sent()[0]["voice"] == {"mode": "embedding", "embedding": [0.25, -0.5]}
    assert it.runs(spoken.turn) == it.asked("Hello.")


# C9 -- errors that are swallowed, and what outlives a turn


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ({"api_key": "another"}, AuthenticationError),
        ({"faults": {"handshake": "refuse"}}, ConnectError),
        ({"faults": {"refuse_status": 402}}, UpgradeRejected),
        ({"faults": {"refuse_status": 429, "retry_after": 60}}, RateLimited),
        ({"provider": {"model": "sonic-0"}}, ProviderError),
    ],
)
async def test_c9_an_error_is_raised(autojump_clock, cause, kind):
    """The original's synthesize() swallowed every exception."""
    async with talk(**cause) as it:
        with pytest.raises(kind):
            await it.tts.synthesize("Hello.")
    assert it.server.segments == []


async def test_c9_an_error_of_the_text_is_raised_as_it_is(autojump_clock):
    """As above: the caller's own error."""

    async def text():
        yield "Once upon a time "
        raise LookupError("the model is gone")

    async with talk() as it:
        with pytest.raises(LookupError, match="the model is gone"):
            await it.tts.synthesize(text())
        spoken = await it.tts.synthesize("Again.")
    assert it.runs(spoken.turn) == it.asked("Again.")


async def test_c9_a_text_is_not_read_on_after_an_error(autojump_clock):
    """The original's sending task went on reading the text, and sent it to nobody."""
    closed = []

    async def text():
        try:
            yield LONG
            await trio.sleep_forever()
        finally:
            closed.append(trio.current_time())

    async with talk(faults={"error_frame": 6}) as it:
        with pytest.raises(ServiceUnavailable):
            await it.tts.synthesize(text())
        failed = trio.current_time()
        await trio.sleep(0.1)
        assert closed == [failed]


async def test_c9_voice_and_options_of_one_call_hold_for_that_call(autojump_clock):
    """The original changed its own voice, so that all later turns had it."""
    async with talk() as it:
        await it.tts.synthesize("One.")
        await it.tts.synthesize("Two.", voice_id="another-voice")
        await it.tts.synthesize("Three.", language="de", generation_config={"speed": 1.2})
        await it.tts.synthesize("Four.")
    said = [message for message in it.sent() if message["transcript"]]
    default = CartesiaTTS(api_key="key").voice_id
    assert [message["voice"]["id"] for message in said] == [default, "another-voice", default, default]
    assert [message["language"] for message in said] == ["en", "en", "de", "en"]
    assert [message.get("generation_config") for message in said] == [None, None, {"speed": 1.2}, None]
    assert it.server.connections == 1


async def test_c9_timestamps_that_are_asked_for_arrive(autojump_clock):
    """The original asked for them and dropped them."""
    async with talk() as it:
        spoken = await it.tts.synthesize("One two three.")
    assert [word.text for word in spoken.words] == ["One", "two", "three."]
    assert all(word.start < word.end for word in spoken.words)
    assert spoken.words[-1].end <= spoken.samples / 24_000 + 1e-6


async def test_c9_timestamps_that_are_not_wanted_are_not_asked_for(autojump_clock):
    """As above, the other way round."""
    async with talk(provider={"add_timestamps": False}) as it:
        spoken = await it.tts.synthesize("One two three.")
    assert "add_timestamps" not in it.sent()[0]
    assert spoken.words == ()


# C10 -- connections and contexts that end by themselves


@pytest.mark.parametrize("heartbeat", [30.0, None])
@pytest.mark.parametrize("pause", [265, 280, 299.99, 310, 3000])
async def test_c10_the_first_turn_after_a_pause_is_spoken(autojump_clock, heartbeat, pause):
    """The original sent it into a socket that the server had closed, or was about to, after five minutes."""
    async with talk(provider={"heartbeat": heartbeat}) as it:
        await it.tts.synthesize("One.")
        await trio.sleep(pause)
        asked = trio.current_time()
        spoken = await it.tts.synthesize("Two.")
        assert trio.current_time() - asked < 1
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("Two.")


async def test_c10_an_idle_connection_is_replaced_before_the_server_closes_it(autojump_clock):
    """As above: no turn is ever on a connection that has been idle for more than 4.5 minutes."""
    async with talk(idle_timeout=None) as it:
        await it.tts.synthesize("One.")
        await trio.sleep(200)
        await it.tts.synthesize("Two.")
        await trio.sleep(275)
        await it.tts.synthesize("Three.")
    assert [segment.connection for segment in it.server.segments] == [0, 0, 1]


@pytest.mark.parametrize("done_after_expiry", [True, False])
@pytest.mark.parametrize("pause", [0.5, 1.5, 3.0, 30.0])
async def test_c10_a_text_that_pauses_longer_than_a_context_lives_is_spoken(autojump_clock, pause, done_after_expiry):
    """The original sent on in a context that had ended a second after its last audio, and lost the rest."""
    async with talk(done_after_expiry=done_after_expiry) as it:
        spoken = await it.tts.synthesize(chunks("One. ", pause, "Two. ", pause, "Three."))
    assert spoken.outcome == "completed"
    assert it.spoken() == "One. Two. Three."
    assert it.runs(spoken.turn) == it.asked()
    assert [word.text for word in spoken.words] == ["One.", "Two.", "Three."]
    assert [word.start for word in spoken.words] == sorted(word.start for word in spoken.words)


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": ""},
        {"api_key": "with space"},
        {"api_key": "newline\n"},
        {"api_key": 7},
        {"model": ""},
        {"voice_id": ""},
        {"voice_id": None},
        {"voice_id": 7},
        {"voice_id": ["a", "b"], "version": "2024-06-10"},
        {"voice_id": [], "version": "2024-06-10"},
        {"voice_id": [0.5, float("nan")], "version": "2024-06-10"},
        {"voice_id": [0.5, True], "version": "2024-06-10"},
        {"language": "two words"},
        {"base_url": "ftp://api.cartesia.ai"},
        {"base_url": "wss://"},
        {"base_url": None},
        {"sample_rate": 11_025},
        {"sample_rate": "24000"},
        {"version": ""},
        {"version": None},
        {"max_buffer_delay_ms": -1},
        {"max_buffer_delay_ms": 5001},
        {"max_buffer_delay_ms": 0.5},
        {"max_buffer_delay_ms": True},
        {"generation_config": {"volume": 3}},
        {"generation_config": {"speed": 0.5}},
        {"generation_config": {"speed": "fast"}},
        {"generation_config": {"emotion": ""}},
        {"generation_config": {"pitch": 1}},
        {"generation_config": "fast"},
        {"generation_config": None},
        {"pronunciation_dict_id": ""},
        {"add_timestamps": "yes"},
        {"add_phoneme_timestamps": None},
        {"use_normalized_timestamps": 1},
        {"max_connection_age_sec": 0},
        {"max_connection_age_sec": 0.001},
        {"max_connection_age_sec": float("nan")},
        {"connect_timeout": -1},
        {"response_timeout": 0},
        {"heartbeat": 0},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_at_construction(options):
    with pytest.raises(ConfigurationError):
        CartesiaTTS(**({"api_key": "key"} | options))


def test_a_key_is_needed(monkeypatch):
    monkeypatch.delenv("CARTESIA_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="CARTESIA_API_KEY"):
        CartesiaTTS()


def test_the_defaults(monkeypatch):
    monkeypatch.setenv("CARTESIA_API_KEY", "from-the-environment")
    defaults = {
        "api_key": "from-the-environment",
        "model": "sonic-2",
        "voice_id": "f786b574-daa5-4673-aa0c-cbe3e8534c02",
        "language": "en",
        "base_url": "https://api.cartesia.ai",
        "sample_rate": 24_000,
        "version": "2026-03-01",
        "max_buffer_delay_ms": None,
        "generation_config": GenerationConfig(),
        "pronunciation_dict_id": None,
        "add_timestamps": True,
        "add_phoneme_timestamps": False,
        "use_normalized_timestamps": None,
        "max_connection_age_sec": 3600.0,
    }
    ours = CartesiaTTS()
    assert {name: getattr(ours, name) for name in defaults} == defaults
    with pytest.raises(TypeError):
        CartesiaTTS("key")


def test_the_key_is_not_shown():
    ours = CartesiaTTS(api_key="a-very-secret-key")
    assert "secret" not in repr(ours)
    assert "secret" not in repr(ours._endpoint().target("cartesia"))
    assert hash(ours) == hash(CartesiaTTS(api_key="a-very-secret-key"))


async def test_nothing_is_heard_behind_an_error(autojump_clock, monkeypatch):
    """Whoever fails is told in its task, and until that runs more may come in the same piece of the stream."""

    def receive(dialect, message, real=_CartesiaDialect.receive):
        turn = dialect._turn
        events = tuple(real(dialect, message))
        return (*events, Audio(turn.number, bytes(960))) if any(isinstance(each, Failed) for each in events) else events

    monkeypatch.setattr(_CartesiaDialect, "receive", receive)
    async with talk() as it:
        with pytest.raises(ProviderError, match="no model"):
            await it.tts.synthesize("Hello.", model="no-such-model")
        assert it.tts.statistics().late_bytes == 960
        spoken = await it.tts.synthesize("Hello again.")
        await it.drained()
        assert {frame.turn for frame in it.heard} == {spoken.turn}


def test_an_error_tells_its_own_request():
    options = CartesiaTTS(api_key="key-of-a-test")
    dialect = options._new_dialect(lambda: 0.0)
    for turn, told in ((1, {"request_id": "a"}), (2, {})):
        dialect.begin(turn, options)
        list(dialect.say("Hello."))
        [failed] = dialect.receive(json.dumps({"type": "error", "status_code": 500, "error": "It broke.", **told}))
        assert (failed.turn, failed.error.request_id) == (turn, told.get("request_id"))


# Audio of the past


def test_audio_of_another_context_is_counted_and_not_decoded():
    """A chunk of a cancelled context that is no base64 would have ended the link under the turn of now."""
    options = CartesiaTTS(api_key="key-of-a-test")
    dialect = options._new_dialect(lambda: 0.0)
    dialect.begin(1, options)
    list(dialect.say("Hello."))
    chunk = {"type": "chunk", "context_id": "of the past"}
    assert list(dialect.receive(json.dumps(chunk | {"data": "!!!!"}))) == [Late(3)]
    assert list(dialect.receive(json.dumps(chunk | {"data": base64.b64encode(b"12345678").decode()}))) == [Late(8)]


# What comes first, and what comes late


@pytest.mark.parametrize("text", [['"', "Hello", ' there."'], ["**", "Hello", "** there."], ["… ", "“", "Hi", "”"]])
async def test_a_reply_may_begin_with_a_quote_or_with_markdown(autojump_clock, text):
    """No context can be opened with punctuation alone; what comes first waits for a word."""
    async with talk() as it:
        spoken = await it.tts.synthesize(chunks(*text))
    assert spoken.outcome == "completed"
    assert it.spoken() == "".join(text)


async def test_so_may_what_follows_a_pause(autojump_clock):
    async with talk() as it:
        await it.tts.synthesize(chunks("Hello there. ", FLUSH, 3.0, '"', "Hi", '"'))
    assert it.spoken() == 'Hello there. "Hi"'


async def test_a_quote_after_a_pause_waits_for_its_word_beyond_the_end_of_the_context(autojump_clock):
    async with talk() as it:
        await it.tts.synthesize(chunks("Hello there. ", FLUSH, 3.0, '"', 3.0, "Hi", '"'))
    assert it.spoken() == 'Hello there. "Hi"'


@pytest.mark.parametrize("text", ["...", chunks("...", FLUSH, 1.0, '"')])
async def test_punctuation_alone_is_spoken_by_saying_nothing(autojump_clock, text):
    async with talk() as it:
        spoken = await it.tts.synthesize(text)
        assert it.sent() == []
        assert (await it.tts.synthesize("Hello.")).outcome == "completed"
    assert (spoken.outcome, spoken.samples) == ("completed", 0)


async def test_a_late_marker_does_not_cross_the_end_of_its_context(autojump_clock):
    async with talk(provider={"max_buffer_delay_ms": 0}) as it:
        spoken = await it.tts.synthesize(chunks("Hello there. ", "And more. ", 3.0, FLUSH, 1.0, "The end."))
    assert spoken.outcome == "completed"
    assert it.spoken() == "Hello there. And more. The end."


async def test_a_flush_keeps_no_context_alive(autojump_clock):
    """Shortly after the flush, but long after the text: what comes now may cross the end of the context."""
    async with talk() as it:
        await it.tts.synthesize(chunks("Hi. ", 0.65, FLUSH, 0.65, "And more."))
    assert it.kinds() == ["text", "flush", "end", "end"]
    assert it.spoken() == "Hi. And more."


async def test_a_flush_at_a_change_of_contexts_is_not_lost(autojump_clock):
    heard = []
    async with talk() as it:

        async def text():
            yield "Hello there. "
            yield FLUSH
            await trio.sleep(2)
            yield "And more"
            yield FLUSH
            await trio.sleep(10)
            heard.append(it.spoken())
            yield " the end."

        await it.tts.synthesize(text())
    assert heard == ["Hello there. And more"]


async def test_after_a_change_of_contexts_there_is_something_to_flush(autojump_clock):
    async with talk() as it:
        await it.tts.synthesize(chunks("Hello there. ", FLUSH, 2.0, "And more", 0.5, FLUSH, 0.5, FLUSH, " the end."))
    assert it.kinds()[:5] == ["text", "flush", "end", "text", "flush"]


# Errors, and what they are about


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (500, "Internal error in context: synthesis ended unexpectedly", ServiceUnavailable),
        (402, "Your context quota is finished", PaymentRequired),
        (429, "context closed: too many of them", RateLimited),
    ],
)
def test_a_refusal_that_speaks_of_a_context_is_no_end(status, words, kind):
    options = CartesiaTTS(api_key="key-of-a-test")
    dialect = options._new_dialect(lambda: 0.0)
    dialect.begin(1, options)
    (message,) = dialect.say("Hello.")
    list(dialect.end())
    context = json.loads(message)["context_id"]
    error = {"type": "error", "context_id": context, "status_code": status, "error": words}
    (event,) = dialect.receive(json.dumps(error))
    assert isinstance(event, Failed)
    assert type(event.error) is kind


def test_an_unnamed_error_right_after_a_cancellation_is_about_what_was_cancelled():
    now = [0.0]
    options = CartesiaTTS(api_key="key-of-a-test")
    dialect = options._new_dialect(lambda: now[0])
    dialect.begin(1, options)
    list(dialect.say("Hello."))
    dialect.cancel(1)
    dialect.begin(2, options)
    list(dialect.say("Hello again."))
    unknown = json.dumps({"type": "error", "status_code": 400, "error": "Invalid context ID"})
    assert list(dialect.receive(unknown)) == []
    (event,) = dialect.receive(json.dumps({"type": "error", "status_code": 400, "error": "No such voice"}))
    assert isinstance(event, Failed)
    dialect.begin(3, options)
    list(dialect.say("And again."))
    now[0] = 60.0
    (event,) = dialect.receive(unknown)
    assert isinstance(event, Failed)


def test_a_flush_whose_audio_came_is_not_waited_for():
    options = CartesiaTTS(api_key="key-of-a-test")
    dialect = options._new_dialect(lambda: 0.0)
    dialect.begin(1, options)
    (message,) = dialect.say("Hello.")
    list(dialect.flush())
    assert dialect.awaiting
    chunk = {"type": "chunk", "context_id": json.loads(message)["context_id"], "data": "AAAA"}
    assert len(list(dialect.receive(json.dumps(chunk)))) == 1
    assert not dialect.awaiting
