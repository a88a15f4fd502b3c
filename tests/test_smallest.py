"""SmallestAITTS against the failures of the asyncio class it replaces: rows M1 to M11 of docs/originals.md.

Each test fails on what the original did, which its docstring tells.
"""

from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from deepgram_talk import FLUSH, Talk, chunks

from voicetrio import open_audio_sink
from voicetrio._dialect import Failed
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    LinkClosed,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
)
from voicetrio.simulators import Faults
from voicetrio.simulators.smallest import SmallestOptions, SmallestSimulator
from voicetrio.smallest import SmallestAITTS

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
TWO = ("The first sentence is this one. ", "The second sentence is another.")

SOCKET = {}
CONTINUATIONS = {"continuations": True}
HTTP = {"enable_streaming": False}
SSE = {"enable_streaming": False, "sse": True}
LEGACY = {"legacy_paths": True}
LEGACY_HTTP = {"legacy_paths": True, "enable_streaming": False}

MODES = [SOCKET, CONTINUATIONS, HTTP, SSE, LEGACY, LEGACY_HTTP]
MODE_NAMES = ["socket", "continuations", "http", "sse", "legacy", "legacy http"]
every_mode = pytest.mark.parametrize("mode", MODES, ids=MODE_NAMES)
websockets = pytest.mark.parametrize("mode", [SOCKET, CONTINUATIONS, LEGACY], ids=["socket", "continuations", "legacy"])
over_http = pytest.mark.parametrize("mode", [HTTP, SSE, LEGACY_HTTP], ids=["http", "sse", "legacy http"])


@asynccontextmanager
async def talk(*, provider=None, faults=None, **simulated):
    """A session with a simulator of these options; what is spoken is played in real, that is virtual, time."""
    simulator = SmallestSimulator(SmallestOptions(faults=Faults(**(faults or {})), **simulated))
    async with simulator.serve_in_memory() as server, open_plain_nursery("the talk is over") as nursery:
        smallest = attrs.evolve(SmallestAITTS(api_key="key", base_url=server.url), **(provider or {}))
        sink, source = open_audio_sink(smallest.sample_rate, max_seconds=0.5)
        it = Talk(server, sink)
        nursery.start_soon(it.play, source)
        async with smallest.open(sink, dial=server.dial) as it.tts:
            yield it
            await it.drained()


def texts(it):
    """What the client asked to be spoken, message for message."""
    return [message["text"] for message in it.sent() if message.get("text")]


def paths(it):
    """The paths that were asked for, each once."""
    return {record["data"]["path"] for record in it.events("request")}


def seconds(it):
    """How long all that was spoken takes to play."""
    return sum(segment.samples for segment in it.server.segments) / 24_000


# M1, M2 -- silence for an end marker


@every_mode
async def test_m1_a_stall_does_not_cut_a_sentence(autojump_clock, mode):
    """The original took 250 ms without audio for the end, and dropped the rest: 13 440 of 24 960 bytes."""
    async with talk(provider=mode, speed=0.1) as it:  # 400 ms between frames
        spoken = await it.tts.synthesize("Slow and steady.")
    assert spoken.outcome in {"completed", "completed_inferred"}
    assert it.runs(spoken.turn) == it.asked("Slow and steady.")
    assert spoken.samples == it.server.segments[0].samples


@pytest.mark.parametrize(("marker", "outcome"), [("late", "completed"), ("none", "completed_inferred")])
async def test_m1_the_end_is_inferred_only_after_a_long_silence(autojump_clock, marker, outcome):
    """The original inferred it after 250 ms, and said nothing of it."""
    async with talk(end_marker=marker, end_marker_delay=4) as it:
        spoken = await it.tts.synthesize("Slow and steady.")
        assert trio.current_time() > 4
    assert spoken.outcome == outcome
    assert it.runs(spoken.turn) == it.asked("Slow and steady.")


@websockets
async def test_m2_the_zero_is_sent(autojump_clock, mode):
    """The original sent it only above zero, so the server's own four seconds held."""
    async with talk(provider=mode) as it:
        await it.tts.synthesize("".join(TWO))
    assert {message["complete_backoff_ms"] for message in it.sent()} == {0}


async def test_m2_a_turn_ends_as_soon_as_the_server_has_said_all(autojump_clock):
    """The original's server waited four seconds with its marker."""
    async with talk(speed=100) as it:
        spoken = await it.tts.synthesize("Yes.")
        assert trio.current_time() < 0.2
    assert spoken.outcome == "completed"


async def test_m2_another_backoff_is_sent_too(autojump_clock):
    async with talk(provider={"complete_backoff_ms": 700}) as it:
        await it.tts.synthesize("Yes.")
    assert [message["complete_backoff_ms"] for message in it.sent()] == [700]


# M3, M4 -- failures that are a success


@pytest.mark.parametrize("mode", [SOCKET, CONTINUATIONS, LEGACY, SSE], ids=["socket", "continuations", "legacy", "sse"])
@pytest.mark.parametrize("shape", ["message", "error"])
@pytest.mark.parametrize("after", [0, 3])
async def test_m3_an_error_of_the_servers_is_raised(autojump_clock, mode, shape, after):
    """The original put it into a future that nobody awaited, and returned a success."""
    async with talk(provider=mode, error_shape=shape, faults={"error_frame": after, "connections": 1}) as it:
        with pytest.raises(ProviderError, match="Internal server error") as caught:
            await it.tts.synthesize(LONG)
        assert trio.current_time() < 1
        assert caught.value.provider == "smallest"


@pytest.mark.parametrize("shape", ["message", "error"])
@pytest.mark.parametrize("ids", [True, False])
@websockets
async def test_m3_a_refused_request_is_raised(autojump_clock, mode, shape, ids):
    """The original returned a success without a sample."""
    async with talk(provider=mode, error_shape=shape, error_ids=ids, voices="felix") as it:
        with pytest.raises(BadRequest):
            await it.tts.synthesize("Nobody has this voice.", voice_id="nobody")
        spoken = await it.tts.synthesize("But this one.", voice_id="felix")
    assert it.runs(spoken.turn) == it.asked("But this one.")


SHAPES = [
    ('{"status":"error","message":"It broke."}', ProviderError, "It broke.", None),
    ('{"status":"error","error":"It broke."}', ProviderError, "It broke.", None),
    ('{"error":"It broke."}', ProviderError, "It broke.", None),
    ('{"status":"error","error":{"message":"It broke.","code":"BROKEN"}}', ProviderError, "It broke.", "BROKEN"),
    ('{"error":{"message":"It broke.","code":503}}', ServiceUnavailable, "It broke.", 503),
    ('{"error":{"message":"Concurrency limit exceeded."}}', RateLimited, "Concurrency limit exceeded.", None),
    ('{"status":"error","message":"Invalid voice."}', BadRequest, "Invalid voice.", None),
    ('{"status":"error"}', ProviderError, "an error without a word", None),
]


@pytest.mark.parametrize(("shape", "kind", "words", "code"), SHAPES, ids=[shape for shape, *_ in SHAPES])
@pytest.mark.parametrize("mode", [SOCKET, CONTINUATIONS, SSE], ids=["socket", "continuations", "sse"])
def test_m3_each_shape_of_an_error_is_read(mode, shape, kind, words, code):
    """The original knew one of them."""
    smallest = SmallestAITTS(api_key="key", **mode)
    dialect = smallest._new_dialect(lambda: 0.0)
    dialect.begin(1, smallest)
    list(dialect.say("Hello there."))
    list(dialect.end())
    if mode is SSE:
        dialect.receive("{}")
        shape = f"event: error\ndata: {shape}\n\n".encode()
    [refused] = dialect.receive(shape)
    assert (type(refused), refused.turn, type(refused.error)) == (Failed, 1, kind)
    assert (refused.error.message, refused.error.code) == (words, code)
    assert refused.error.status == (code if isinstance(code, int) else None)


@every_mode
async def test_m3_a_wrong_key_is_raised(autojump_clock, mode):
    """The original returned a success without a sample."""
    async with talk(provider=mode, api_key="another") as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.tts.synthesize("Hello.")
    assert caught.value.status == 401


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ({"close_after": 8, "close_reason": "going away"}, 1011, "going away"),
        ({"drop_after_messages": 8}, 1006, None),
    ],
)
@websockets
async def test_m4_a_connection_lost_in_a_sentence_is_an_error_at_once(autojump_clock, mode, fault, code, reason):
    """The original returned a success with half a sentence."""
    async with talk(provider=mode, faults={"connections": 1, **fault}) as it:
        with pytest.raises(LinkClosed) as caught:
            await it.tts.synthesize(LONG)
        assert trio.current_time() < 0.5
        assert (caught.value.code, caught.value.reason) == (code, reason)
        spoken = await it.tts.synthesize("Again.")
    [run] = it.runs(1)
    assert run[:2] == (0, 0)  # what had come is heard
    assert 0 < run[2] < it.server.segments[0].samples
    assert it.runs(spoken.turn) == it.asked("Again.")


@pytest.mark.parametrize("mode", [SOCKET, CONTINUATIONS], ids=["socket", "continuations"])
async def test_m4_a_connection_lost_before_the_first_audio_is_replaced(autojump_clock, mode):
    """The original's turn was silent, and a success."""
    async with talk(provider=mode, faults={"connections": 1, "drop_after_messages": 0}) as it:
        spoken = await it.tts.synthesize("Yes.")
    assert it.runs(spoken.turn) == it.asked("Yes.")[-1:]


# M5 -- an interruption that the server never hears of


@every_mode
async def test_m5_an_interruption_frees_the_slot(autojump_clock, mode):
    """The original's server spoke on, and refused the next turn, which was a success without a sample."""
    async with talk(provider=mode, running_limit=1) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    assert it.runs(spoken.turn) == it.asked("Yes.")[-1:]
    assert spoken.outcome in {"completed", "completed_inferred"}


async def test_m5_continuations_cancel_and_keep_the_connection(autojump_clock):
    """The original sent nothing."""
    async with talk(provider=CONTINUATIONS, speed=1) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
        cut = it.server.segments[0]
    [cancel] = [message for message in it.sent() if message.get("cancel_request")]
    assert cancel["context_id"] == it.sent()[0]["context_id"]
    assert cut.cleared
    assert cut.sent < cut.samples
    assert it.server.connections == 1
    assert it.runs(spoken.turn) == it.asked("Yes.")


@pytest.mark.parametrize("behaviour", [{"late_frames": 4}, {"cancel": "run_on"}, {"cancel": "ignored"}])
async def test_m5_what_the_server_says_after_a_cancellation_is_not_heard(autojump_clock, behaviour):
    """In the original it could be heard in the next turn."""
    async with talk(provider=CONTINUATIONS, speed=1, cancel_ack="complete", **behaviour) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    assert it.runs(spoken.turn) == it.asked("Yes.")[-1:]


async def test_m5_a_server_that_ignores_a_cancellation_is_left(autojump_clock):
    """The next turn does not wait until what it cancelled has been spoken: five seconds here."""
    async with talk(provider=CONTINUATIONS, speed=1, cancel="ignored") as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
        assert spoken.timeline.first_audio - spoken.timeline.requested < 1.5
    assert it.server.connections == 2
    assert it.runs(spoken.turn) == it.asked("Yes.")[-1:]


@pytest.mark.parametrize(
    "mode", [SOCKET, HTTP, SSE, LEGACY, LEGACY_HTTP], ids=["socket", "http", "sse", "legacy", "legacy http"]
)
async def test_m5_without_a_cancellation_the_connection_is_given_up(autojump_clock, mode):
    """The original kept it, and the server its slot."""
    async with talk(provider=mode, speed=1) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
        cut = it.server.segments[0]
    assert cut.sent < cut.samples
    assert it.server.segments[1].connection != cut.connection
    assert it.runs(spoken.turn) == it.asked("Yes.")


# M6 -- sentences that wait for one another


@pytest.mark.parametrize("interleave", [True, False])
async def test_m6_a_sentence_is_asked_for_before_the_one_ahead_has_ended(autojump_clock, interleave):
    """The original waited for 250 ms of silence after each: 0.63 s for two sentences of 50 ms."""
    async with talk(ms_per_char=1, frame_ms=10, speed=1, interleave=interleave) as it:
        spoken = await it.tts.synthesize("".join(TWO))
        assert trio.current_time() < 2 * 0.137 + seconds(it) + 0.05
    assert texts(it) == list(TWO)
    first, second = (record["time"] for record in it.events("received"))
    assert first == 0
    assert second < 0.137 + 0.02  # with the first word of the server, which shows that it names requests
    assert it.runs(spoken.turn) == it.asked(*TWO)


@pytest.mark.parametrize("echo", [True, False])
async def test_m6_a_context_has_all_sentences_of_a_turn(autojump_clock, echo):
    """The original's server never saw two sentences together."""
    async with talk(provider=CONTINUATIONS, echo=echo) as it:
        spoken = await it.tts.synthesize(chunks(TWO[0], 0.5, TWO[1]))
    assert len({message["context_id"] for message in it.sent()}) == 1
    assert [message["continue"] for message in it.sent()] == [True, True, False]
    assert "".join(segment.text for segment in it.server.segments) == "".join(TWO)
    assert it.runs(spoken.turn) == it.asked()


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("interleave", [True, False])
@pytest.mark.parametrize("shape", ["message", "error"])
async def test_m6_a_server_that_takes_one_request_at_a_time_gets_one(autojump_clock, ids, echo, interleave, shape):
    """Asking ahead must not cost a sentence where the account allows a single request."""
    text = "".join(TWO) + " And the third sentence comes last."
    async with talk(running_limit=1, error_ids=ids, echo=echo, interleave=interleave, error_shape=shape) as it:
        spoken = await it.tts.synthesize(text)
    assert "".join(segment.text for segment in it.server.segments) == text
    assert it.runs(spoken.turn) == it.asked()


# M7 -- what is not echoed


@every_mode
async def test_m7_audio_is_heard_without_an_echo(autojump_clock, mode):
    """The original dropped everything, and returned 10 s later without a word."""
    async with talk(provider=mode, echo=False) as it:
        spoken = await it.tts.synthesize("".join(TWO))
        again = await it.tts.synthesize("Yes.")
        assert trio.current_time() < 10
    assert it.runs(spoken.turn) + it.runs(again.turn) == it.asked()
    assert "".join(segment.text for segment in it.server.segments) == "".join(TWO) + "Yes."


@pytest.mark.parametrize("echo", [True, False])
@every_mode
async def test_m7_sentences_keep_their_order_if_they_come_at_the_same_time(autojump_clock, mode, echo):
    """Chunks of two requests come in turns, where two are asked for at a time."""
    async with talk(provider=mode, interleave=True, echo=echo) as it:
        spoken = await it.tts.synthesize("".join(TWO))
    assert it.runs(spoken.turn) == it.asked()
    assert "".join(segment.text for segment in it.server.segments) == "".join(TWO)


@every_mode
async def test_m7_an_interrupted_turn_is_not_heard_in_the_next_without_an_echo(autojump_clock, mode):
    """Without an id nothing tells what is of the past, so the connection is given up."""
    async with talk(provider=mode, echo=False, cancel="ignored") as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
    assert it.runs(spoken.turn) == it.asked("Yes.")[-1:]


# M8, M9 -- HTTP


@over_http
async def test_m8_a_cut_body_is_an_error_and_nothing_is_heard_twice(autojump_clock, mode):
    """The original did not count a cut body among what it retried, nor among what fails."""
    async with talk(provider=mode, faults={"drop_after_messages": 4}) as it:
        with pytest.raises(LinkClosed):
            await it.tts.synthesize("It is cut off.")
        assert trio.current_time() < 1
    [run] = it.runs(1)
    assert run[:2] == (0, 0)
    assert 0 < run[2] <= 4 * 960
    assert len(it.sent()) == 1


@over_http
async def test_m8_a_body_that_stalls_in_the_middle_is_an_error(autojump_clock, mode):
    """The original's timeout asked for the text again, from its start."""
    patience = {"timeout": 7.0, "response_timeout": 2.0}  # over HTTP the first of them counts
    async with talk(provider={**mode, **patience}, faults={"stall_after": 4}, speed=1) as it:
        with pytest.raises(ProviderStalled), trio.fail_after(60):
            await it.tts.synthesize("It is going to stall.")
        assert trio.current_time() == pytest.approx(0.137 + 3 * 0.04 + 7, abs=0.05)
    assert [run[:2] for run in it.runs(1)] == [(0, 0)]
    assert it.runs(1)[0][2] == 4 * 960  # what had come is heard, once
    assert len(it.sent()) == 1


@pytest.mark.parametrize("mode", [HTTP, SSE], ids=["http", "sse"])
async def test_m8_an_end_without_its_marker_is_an_error(autojump_clock, mode):
    """A body that ends early is not a whole one."""
    async with talk(provider=mode, end_marker="none") as it:
        with pytest.raises(LinkClosed):
            await it.tts.synthesize("Is this all?")
    assert len(it.sent()) == 1


@over_http
async def test_m8_before_the_first_byte_a_request_is_made_again(autojump_clock, mode):
    """Nothing was heard, so nothing can be heard twice."""
    async with talk(provider=mode, faults={"connections": 1, "drop_after_messages": 0}) as it:
        spoken = await it.tts.synthesize("Again.")
    assert len(it.sent()) == 2
    assert it.runs(spoken.turn) == it.asked("Again.")[-1:]


@over_http
async def test_m8_each_sentence_of_a_turn_is_asked_for_once(autojump_clock, mode):
    """A request is a sentence, one after the other on an account that allows one at a time."""
    async with talk(provider=mode, running_limit=1) as it:
        spoken = await it.tts.synthesize("".join(TWO))
    assert texts(it) == list(TWO)
    assert it.runs(spoken.turn) == it.asked(*TWO)


@over_http
async def test_m9_an_interruption_reaches_the_server_at_once(autojump_clock, mode):
    """The original waited for the next chunk: 1.2 s."""
    async with talk(provider=mode, frame_ms=1200, speed=1) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        assert trio.current_time() == 0.5
        await trio.testing.wait_all_tasks_blocked()
        [cut] = it.server.segments
        assert cut.cleared
        assert it.events("segment_ended")[0]["time"] == 0.5
        before = trio.current_time()
        spoken = await it.tts.synthesize("Yes.")
        assert spoken.timeline.first_audio - before == pytest.approx(0.137)
    assert it.runs(spoken.turn) == it.asked("Yes.")


@over_http
async def test_m9_chunks_of_odd_length_are_put_together(autojump_clock, mode):
    """The original passed half samples on: noise."""
    async with talk(provider=mode, odd_frames=True) as it:
        spoken = await it.tts.synthesize("".join(TWO))
    assert it.runs(spoken.turn) == it.asked(*TWO)


@websockets
async def test_m9_chunks_of_odd_length_are_put_together_on_a_socket(autojump_clock, mode):
    """As over HTTP."""
    async with talk(provider=mode, odd_frames=True) as it:
        spoken = await it.tts.synthesize("".join(TWO))
    assert it.runs(spoken.turn) == it.asked()


@pytest.mark.parametrize("behaviour", [{"sse_crlf": True}, {"end_marker": "double"}, {"empty_frames": True}])
async def test_m9_events_are_read_however_they_are_written(autojump_clock, behaviour):
    async with talk(provider=SSE, **behaviour) as it:
        spoken = await it.tts.synthesize("".join(TWO))
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked(*TWO)


async def test_m9_requests_share_a_connection(autojump_clock):
    """The original paid for a handshake a sentence."""
    async with talk(provider=HTTP) as it:
        await it.tts.synthesize("".join(TWO))
        await it.tts.synthesize("Yes.")
    assert {segment.connection for segment in it.server.segments} == {0}


# M10 -- retired paths


@pytest.mark.parametrize(
    ("mode", "path"),
    [(SOCKET, "/tts/live"), (CONTINUATIONS, "/tts/live"), (HTTP, "/tts"), (SSE, "/tts/live")],
    ids=["socket", "continuations", "http", "sse"],
)
async def test_m10_the_living_paths_are_used(autojump_clock, mode, path):
    """The original's paths, one for each model, answer 410, and that was a success without a sample."""
    async with talk(provider=mode, legacy="gone") as it:
        spoken = await it.tts.synthesize("Hello.")
    assert it.runs(spoken.turn) == it.asked("Hello.")
    assert paths(it) == {f"/waves/v1{path}"}
    assert {message["model"] for message in it.sent()} == {"lightning_v3.1"}


@pytest.mark.parametrize("mode", [LEGACY, LEGACY_HTTP], ids=["socket", "http"])
async def test_m10_a_retired_path_is_an_error(autojump_clock, mode):
    """The original's default models answered 410, and that was a success without a sample."""
    async with talk(provider=mode, legacy="gone") as it:
        with pytest.raises(BadRequest, match="deprecated") as caught:
            await it.tts.synthesize("Hello.")
    assert caught.value.status == 410
    assert not it.server.segments


@pytest.mark.parametrize(
    ("mode", "path"), [(LEGACY, "get_speech/stream"), (LEGACY_HTTP, "get_speech")], ids=["socket", "http"]
)
async def test_m10_the_old_paths_can_still_be_had(autojump_clock, mode, path):
    async with talk(provider=mode) as it:
        await it.tts.synthesize("Hello.")
    assert paths(it) == {f"/waves/v1/lightning-v3.1/{path}"}
    assert not any("model" in message for message in it.sent())


@pytest.mark.parametrize("model", ["lightning", "lightning-large", "lightning-v2"])
def test_m10_a_retired_model_is_refused_before_any_request(model):
    """The original listed them as its own."""
    with pytest.raises(ConfigurationError, match="retired"):
        SmallestAITTS(api_key="k", model=model)


def test_a_model_is_the_same_with_underscores():
    """Also where only one has an option: it was left out without a word."""
    options = {"api_key": "k", "legacy_paths": True, "enable_streaming": False, "consistency": 0.9}
    smallest = SmallestAITTS(model="lightning_v2", **options)
    assert smallest == SmallestAITTS(model="lightning-v2", **options)
    assert smallest._request()["consistency"] == 0.9


# M11 -- refreshing, languages, markers


@pytest.mark.parametrize("mode", [SOCKET, CONTINUATIONS], ids=["socket", "continuations"])
async def test_m11_a_connection_is_replaced_between_turns_only(autojump_clock, mode):
    """The original closed the socket by its age, under running requests."""
    async with talk(provider={**mode, "max_connection_age_sec": 2.0}, speed=1) as it:
        spoken = await it.tts.synthesize(LONG)
        assert trio.current_time() > 5
        assert it.runs(spoken.turn) == it.asked(LONG)
        await trio.sleep(1)
        again = await it.tts.synthesize("Yes.")
    first, second = it.server.segments
    assert second.connection != first.connection
    assert it.runs(again.turn) == it.asked("Yes.")


async def test_m11_a_connection_is_replaced_before_the_server_closes_it(autojump_clock):
    """The original found out by the next request."""
    async with talk() as it:
        await it.tts.synthesize("One.")
        await trio.sleep(300)
        await it.tts.synthesize("Two.")
    assert not any("inactivity" in record["data"].get("message", "") for record in it.events("sent"))
    assert it.runs(2) == it.asked("Two.")


@pytest.mark.parametrize("language", ["auto", "en", "hi", "de", "ja", "ar"])
async def test_m11_languages_other_than_two_can_be_had(autojump_clock, language):
    """The original knew `en` and `hi`."""
    async with talk(provider={"language": language}) as it:
        await it.tts.synthesize("Hello.")
    assert [message["language"] for message in it.sent()] == [language]


@pytest.mark.parametrize("mode", [SOCKET, HTTP], ids=["socket", "http"])
async def test_m11_a_marker_speaks_what_is_there(autojump_clock, mode):
    """The original ignored it: nothing was heard before the text went on."""
    async with talk(provider={**mode, "sentence_streaming": False}) as it:
        spoken = await it.tts.synthesize(chunks("Wait ", FLUSH, 5, "for me"))
    assert texts(it) == ["Wait ", "for me"]
    assert [record["time"] for record in it.events("received")] == pytest.approx([0, 5], abs=0.01)
    assert it.runs(spoken.turn) == it.asked("Wait ", "for me")


# A turn goes on where it was lost


by_request = pytest.mark.parametrize(
    "mode", [SOCKET, HTTP, SSE, LEGACY, LEGACY_HTTP], ids=["socket", "http", "sse", "legacy", "legacy http"]
)


async def lost_at_the_second(it, after):
    """Two sentences; in the second the connection is dropped after so many messages, and the spare is not."""
    yield TWO[0]
    yield FLUSH
    await trio.sleep(5)
    faults = Faults(connections=1, drop_after_messages=after)
    it.server.options = attrs.evolve(it.server.options, faults=faults)
    yield TWO[1]


@by_request
async def test_a_connection_lost_between_two_sentences_costs_nothing(autojump_clock, mode):
    async with talk(provider=mode) as it:
        spoken = await it.tts.synthesize(lost_at_the_second(it, 0))
    first, second, again = it.server.segments
    assert (first.text, second.text, again.text) == (TWO[0], TWO[1], TWO[1])
    assert [segment.connection for segment in it.server.segments] == [0, 0, 1]
    assert it.runs(spoken.turn) == [(first.number, 0, first.samples), (again.number, 0, again.samples)]
    assert spoken.outcome == "completed"


@by_request
async def test_a_connection_lost_within_the_second_sentence_is_an_error(autojump_clock, mode):
    """To say the rest of it again would be heard."""
    async with talk(provider=mode) as it:
        with pytest.raises(LinkClosed):
            await it.tts.synthesize(lost_at_the_second(it, 3))
    first, second = it.server.segments
    [whole, part] = it.runs(1)
    assert whole == (first.number, 0, first.samples)
    assert part[:2] == (second.number, 0)
    assert 0 < part[2] <= 3 * 960


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_key": ""}, "api_key"),
        ({"api_key": "a b\n"}, "api_key"),
        ({"model": "lightning-v9"}, "model"),
        ({"model": "lightning-v2"}, "retired"),
        ({"model": "lightning-v3.1-pro", "legacy_paths": True}, "model"),
        ({"model": "lightning-v2", "legacy_paths": True}, "model"),
        ({"model": ""}, "model"),
        ({"voice_id": ""}, "voice_id"),
        ({"language": "tlh"}, "language"),
        ({"sample_rate": 22_050}, "sample_rate"),
        ({"sample_rate": "24000"}, "sample_rate"),
        ({"speed": 0.4}, "speed"),
        ({"speed": 2.1}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"consistency": 1.1}, "consistency"),
        ({"similarity": -0.1}, "similarity"),
        ({"enhancement": 2.1}, "enhancement"),
        ({"timeout": 0}, "timeout"),
        ({"max_connection_age_sec": 0}, "max_connection_age_sec"),
        ({"complete_backoff_ms": -1}, "complete_backoff_ms"),
        ({"complete_backoff_ms": 10_001}, "complete_backoff_ms"),
        ({"complete_backoff_ms": 0.5}, "complete_backoff_ms"),
        ({"max_buffer_flush_ms": 1001}, "max_buffer_flush_ms"),
        ({"max_buffer_delay_ms": 5001}, "max_buffer_delay_ms"),
        ({"inferred_end": 0}, "inferred_end"),
        ({"idle_timeout": 0}, "idle_timeout"),
        ({"session_id": ""}, "session_id"),
        ({"sentence_streaming": "yes"}, "sentence_streaming"),
        ({"enable_streaming": 1}, "enable_streaming"),
        ({"continuations": True, "enable_streaming": False}, "continuations"),
        ({"continuations": True, "legacy_paths": True}, "continuations"),
        ({"sse": True}, "sse"),
        ({"sse": True, "enable_streaming": False, "legacy_paths": True}, "sse"),
        ({"base_url": "ftp://api.smallest.ai"}, "base_url"),
        ({"base_url": ""}, "URL"),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_construction(options, words):
    with pytest.raises(ConfigurationError, match=words):
        SmallestAITTS(**{"api_key": "k", **options})


def test_without_a_key_nothing_is_made(monkeypatch):
    monkeypatch.delenv("SMALLEST_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="SMALLEST_API_KEY"):
        SmallestAITTS()
    monkeypatch.setenv("SMALLEST_API_KEY", "from-the-environment")
    assert SmallestAITTS().api_key == "from-the-environment"


def test_the_key_is_not_printed():
    assert "s3cr3t" not in repr(SmallestAITTS(api_key="s3cr3t"))


@pytest.mark.parametrize("option", sorted(SmallestAITTS._of_the_session))
async def test_what_is_of_the_session_cannot_differ_in_a_turn(autojump_clock, option):
    async with talk() as it:
        with pytest.raises(ConfigurationError, match=option):
            await it.tts.synthesize("Hello.", **{option: getattr(it.tts.provider, option)})


async def test_behind_a_sentence_without_an_end_the_next_is_heard_a_second_later(autojump_clock):
    """However long the next one is, and though it is spoken meanwhile."""
    async with talk(end_marker="none", speed=1.2) as it:
        spoken = await it.tts.synthesize("Yes, of course. " + LONG)
    assert spoken.outcome == "completed_inferred"
    assert it.runs(spoken.turn) == it.asked()
    assert spoken.timeline.last_sample - spoken.timeline.first_sample < spoken.seconds + 1.3


async def test_a_limit_on_connections_is_told(autojump_clock):
    async with talk(concurrent_limit=0) as it:
        with pytest.raises(RateLimited) as caught:
            await it.tts.synthesize("Hello.")
    assert caught.value.status == 429
