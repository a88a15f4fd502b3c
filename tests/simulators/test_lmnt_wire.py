"""The protocol of LMNT's simulator and each of its switches, on the wire."""

import json
import struct
from contextlib import asynccontextmanager

import attrs
import numpy as np
import pytest
import trio
from lmnt_client import (
    ACKNOWLEDGING,
    DIALECTS,
    EOF,
    PATH,
    TEXT,
    TYPED,
    Closed,
    LMNTClient,
    audio,
    init,
    options_from,
    shown,
)
from raw_client import Refused, runs

from voicetrio.simulators import Speech, SpokenWord, read_tags, tagged_pcm
from voicetrio.simulators._g711 import encode
from voicetrio.simulators.lmnt import LMNTOptions, LMNTSimulator


@pytest.fixture
def simulate():
    """`async with simulate(frame_ms=20, stall_after=3) as server`."""

    @asynccontextmanager
    async def simulate(voice=None, **fields):
        async with LMNTSimulator(options_from(fields), voice=voice).serve_in_memory() as server:
            yield server

    return simulate


async def connect(server, dialect=None, target=PATH, **fields):
    """A client after the handshake, and after the init if a dialect is given."""
    client = await LMNTClient(await server.dial("simulator.test", 80)).handshake(target)
    if dialect is not None:
        await client.begin(dialect, **fields)
    return client


async def silence(client, seconds=1000):
    """Assert that nothing comes for a while."""
    with trio.move_on_after(seconds) as scope:
        assert await client.receive() is None
    assert scope.cancelled_caught


# The handshake and the init.


@pytest.mark.parametrize("dialect", TYPED)
async def test_ready_comes_first_and_names_the_request(autojump_clock, simulate, dialect):
    async with simulate() as server:
        client = await connect(server)
        ready = await client.begin(dialect)
    assert ready == {"type": "ready", "request_id": ready["request_id"]}


async def test_request_ids_follow_the_seed_and_the_connection(autojump_clock, simulate):
    seen = []
    for seed in (0, 0, 1):
        async with simulate(seed=seed) as server:
            seen += [(await (await connect(server)).begin())["request_id"] for _ in range(2)]
    assert seen[:2] == seen[2:4]
    assert len(set(seen)) == 4


@pytest.mark.parametrize("dialect", ["1.0", "2"])
async def test_untyped_dialects_are_not_ready_aloud(autojump_clock, simulate, dialect):
    async with simulate() as server:
        client = await connect(server, dialect)
        await silence(client)


async def test_ready_may_be_slow_and_what_is_said_before_it_counts(autojump_clock, simulate):
    async with simulate(ready_delay=3.0) as server:
        client = await connect(server)
        began = trio.current_time()
        await client.send(init())
        await client.say(TEXT)
        await client.flush()
        assert (await client.message())["type"] == "ready"
        assert trio.current_time() - began == 3.0
        assert audio(await client.answer()) == tagged_pcm(0, 0, 23040)


@pytest.mark.parametrize("target", ["/v1/ai/speech", PATH + "/", "/v1/speak"])
async def test_a_wrong_path_is_refused_at_the_upgrade(autojump_clock, simulate, target):
    async with simulate() as server:
        with pytest.raises(Refused) as caught:
            await connect(server, target=target)
    assert (caught.value.status, json.loads(caught.value.body)) == (403, {"error": "Forbidden"})


async def test_a_proxy_may_put_something_ahead_of_the_path(autojump_clock, simulate):
    async with simulate() as server:
        await connect(server, "1.2", target="/proxy" + PATH)


async def test_a_request_without_upgrade_gets_404(autojump_clock, simulate):
    async with simulate() as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 404 Not Found\r\n")


async def test_more_connections_than_allowed_get_429(autojump_clock, simulate):
    async with simulate(concurrent_limit=1) as server:
        first = await connect(server)
        with pytest.raises(Refused) as caught:
            await connect(server)
        assert caught.value.status == 429
        assert json.loads(caught.value.body) == {"error": "Too many requests"}
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await connect(server)


INVALID, KEY = "invalid_request_error", "authentication_error"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("options", "fields", "kind"),
    [
        ({}, {"X_API_Key": ...}, KEY),
        ({}, {"X_API_Key": ""}, KEY),
        ({"api_key": "right"}, {"X_API_Key": "wrong"}, KEY),
        ({}, {"X_API_Key": None}, INVALID),
        ({}, {"type": "text"}, INVALID),
        ({}, {"voice": ...}, INVALID),
        ({}, {"voice": ""}, INVALID),
        ({}, {"voice": 7}, INVALID),
        ({"known_voice": "leah"}, {"voice": "ava"}, "not_found_error"),
        ({}, {"model": None}, INVALID),
        ({}, {"model": "breeze"}, INVALID),
        ({}, {"format": ...}, INVALID),
        ({}, {"format": "mp3"}, INVALID),
        ({}, {"format": "webm"}, INVALID),
        ({}, {"format": "flac"}, INVALID),
        ({}, {"format": None}, INVALID),
        ({}, {"sample_rate": 44100}, INVALID),
        ({}, {"sample_rate": "fast"}, INVALID),
        ({}, {"language": "xx"}, INVALID),
        ({}, {"return_timestamps": "perhaps"}, INVALID),
    ],
)
async def test_what_lmnt_does_not_take_is_told_and_closed_with_1002(
    autojump_clock, simulate, dialect, options, fields, kind
):
    async with simulate(**options) as server:
        client = await connect(server)
        await client.send(init(dialect, **fields))
        error, closed = await client.refusal()
    assert closed == Closed(1002, "")
    if dialect in TYPED:
        assert set(error) == {"type", "request_id", "error"}
        assert error["type"] == "error"
        assert error["error"]["type"] == kind
        assert error["error"]["message"]
    else:
        assert list(error) == ["error"]
        assert isinstance(error["error"], str)


@pytest.mark.parametrize(
    ("dialect", "fields", "good"),
    [
        ("1.0", {"lmnt_version": "1.0", "model": "blizzard", "temperature": 1.0, "top_p": 0.8, "seed": 7}, True),
        ("1.0", {"protocol_version": 1}, True),
        ("1.0", {"protocol_version": 3}, False),
        ("1.0", {"protocol_version": "2"}, False),
        ("1.0", {"protocol_version": True}, False),
        ("1.0", {"lmnt_version": None}, False),
        ("1.0", {"speed": 0.25, "conversational": True, "expressive": 1}, True),
        ("1.0", {"speed": 2.1}, False),
        ("1.2", {"speed": 2.1}, True),
        ("1.2", {"type": "init", "language": "de", "return_timestamps": True, "sample_rate": 8000}, True),
        ("1.0", {"format": "raw"}, True),
        ("1.2", {"format": "raw"}, False),
        # What the SDKs 2.0 to 2.5 send.
        ("2", {"sample_rate": "16000", "return_extras": "True"}, True),
        ("1.2", {"sample_rate": "16000"}, False),
        ("1.2", {"return_timestamps": "True"}, False),
    ],
)
async def test_the_init_has_each_dialects_fields(autojump_clock, simulate, dialect, fields, good):
    async with simulate() as server:
        client = await connect(server)
        client.dialect = dialect
        await client.send(init(dialect, **fields))
        await client.say(TEXT)
        await client.flush()
        first = await client.message()
    assert (isinstance(first, dict) and "error" in first) is not good


@pytest.mark.parametrize("version", ["2025-09-25", "9.9", 1.2, None, ["1.2"]])
async def test_an_unknown_version_is_refused_in_types(autojump_clock, simulate, version):
    async with simulate() as server:
        client = await connect(server)
        await client.send(init(lmnt_version=version))
        error, closed = await client.refusal()
    assert error["error"]["type"] == INVALID
    assert closed == Closed(1002, "")


async def test_an_unknown_version_may_be_taken_for_the_newest(autojump_clock, simulate):
    async with simulate(unknown_version="1.2") as server:
        client = await connect(server, "1.2", lmnt_version="2025-09-25")
        assert shown(await client.turn(TEXT)) == [24, ("flush", 1)]


@pytest.mark.parametrize("model", [None, "breeze"])
async def test_a_model_may_be_ignored_where_the_schema_has_none(autojump_clock, simulate, model):
    async with simulate(typed_model="ignore") as server:
        await connect(server, "1.2", model=model)
        client = await connect(server)
        await client.send(init("1.0", model=model))
        assert (await client.refusal())[1] == Closed(1002, "")


@pytest.mark.parametrize("fields", [{"format": ...}, {"format": "mp3"}, {"format": "webm"}])
async def test_pcm_may_be_assumed(autojump_clock, simulate, fields):
    async with simulate(assume_pcm=True) as server:
        client = await connect(server, "1.2", **fields)
        assert audio(await client.turn(TEXT)) == tagged_pcm(0, 0, 23040)


@pytest.mark.parametrize(
    "message",
    ["{", "[]", '"init"', "7", "", '{"X-API-Key": "s3cret"', '{"a":' * 600 + "1" + "}" * 600, '{"a":' * 90000, b"{}"],
)
async def test_an_init_that_is_no_object_is_refused_without_types(autojump_clock, simulate, message):
    async with simulate() as server:
        client = await connect(server)
        await client.send(message)
        error, closed = await client.refusal()
    assert list(error) == ["error"]
    assert closed == Closed(1002, "")
    assert "s3cret" not in json.dumps(server.log)


async def test_the_key_is_not_in_the_log(autojump_clock, simulate):
    async with simulate(api_key="s3cret") as server:
        client = await connect(server, "1.2", X_API_Key="s3cret")
        await client.send({"type": "text", "text": "x", "X-API-KEY": "s3cret", "in": [{"api_key": "s3cret"}]})
        await client.turn(TEXT)
        log = json.dumps(server.log, ensure_ascii=False)
    assert "s3cret" not in log
    received = [json.loads(r["data"]["message"]) for r in server.log if r["event"] == "received"]
    assert received[0] == init(X_API_Key="…")
    assert received[2] == {"type": "text", "text": TEXT}
    assert "s3cret" not in repr(server.options)


# Speaking.


@pytest.mark.parametrize("dialect", ACKNOWLEDGING)
async def test_a_turn_is_tagged_to_the_sample_and_acknowledged_with_its_nonce(autojump_clock, simulate, dialect):
    async with simulate() as server:
        client = await connect(server, dialect)
        await client.say("Hello ", "fr", "om trio.")
        await client.send({"command": "flush", "nonce": 4711} if dialect == "2" else {"type": "flush", "nonce": 4711})
        seen = await client.answer()
    assert shown(seen) == [24, ("flush", 4711)]
    assert seen[-1] == ({"complete": "flush"} if dialect == "2" else {"type": "flush_complete"}) | {"nonce": 4711}
    assert {len(frame) for frame in seen[:-1]} == {1920}
    assert audio(seen) == tagged_pcm(0, 0, 23040)
    (segment,) = server.segments
    assert attrs.asdict(segment) == {
        "number": 0,
        "connection": 0,
        "text": TEXT,
        "samples": 23040,
        "sent": 23040,
        "cleared": False,
    }
    ended = [record["data"] for record in server.log if record["event"] == "segment_ended"]
    assert ended == [{"number": 0, "sent": 23040, "cleared": False}]


async def test_the_first_dialect_has_audio_and_nothing_else(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server, "1.0")
        await client.say(TEXT)
        await client.flush()
        await client.say("More.")
        await client.finish()
        seen = await client.until(Closed)
    assert shown(seen) == [24 + 8, Closed(1000, "")]
    assert runs(audio(seen)) == [(0, 0, 23040), (1, 0, 7200)]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_the_end_of_the_text_speaks_the_rest_and_closes(autojump_clock, simulate, dialect):
    async with simulate() as server:
        client = await connect(server, dialect)
        await client.say(TEXT)
        await client.finish()
        seen = await client.until(Closed)
        assert await client.receive() is EOF
    assert shown(seen) == [24, Closed(1000, "")]
    assert server.segments[0].sent == 23040


async def test_an_end_without_text_closes_at_once(autojump_clock, simulate):
    async with simulate(first_audio=1.0) as server:
        client = await connect(server, "1.2")
        await client.finish()
        assert await client.until(Closed) == [Closed(1000, "")]
    assert server.segments == []


@pytest.mark.parametrize("pending", [False, True])
async def test_a_close_frame_abandons_what_was_not_sent(autojump_clock, simulate, pending):
    async with simulate(first_audio=0.1) as server:
        client = await connect(server, "1.2")
        await client.say(TEXT)
        await client.flush() if pending else await client.finish()
        await client.stream.send_all(client.close_frame(1000, "bye"))
        assert await client.receive() == Closed(1000, "bye")
        assert await client.receive() is EOF
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0
    assert server.segments[0].sent == 0


async def test_nothing_is_said_before_there_is_enough_text(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server, "1.2")
        await client.say("x" * 30, "y" * 30)
        await silence(client)
        assert server.segments == []


@pytest.mark.parametrize(
    ("chunk", "texts", "segments"),
    [
        (10, ["Hello ", "from trio"], ["Hello from ", "trio"]),
        (10, ["Hello from ", "trio"], ["Hello from ", "trio"]),
        (10, ["Hello from"], ["Hello from"]),
        (10, ["Hello-from-trio", "-and-more"], ["Hello-from-trio", "-and-more"]),
        (10, ["Hi\n", "there-and-everywhere"], ["Hi\n", "there-and-everywhere"]),
        (0, ["Hello from trio. " * 9], ["Hello from trio. " * 9]),
        (60, ["Hello from trio. " * 3, "Hello from trio. ", "Bye."], ["Hello from trio. " * 4, "Bye."]),
        (5, ["ä€😀", " ", "ä€😀"], ["ä€😀 ", "ä€😀"]),
    ],
)
async def test_long_text_is_spoken_by_itself_up_to_a_word(autojump_clock, simulate, chunk, texts, segments):
    async with simulate(chunk_chars=chunk) as server:
        client = await connect(server, "1.2")
        seen = await client.turn(*texts)
    assert [segment.text for segment in server.segments] == segments
    assert runs(audio(seen)) == [(number, 0, 1440 * len(text)) for number, text in enumerate(segments)]
    assert shown(seen)[-1] == ("flush", 1)


async def test_audio_comes_before_the_flush_once_there_is_enough_text(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server, "1.2")
        await client.say(TEXT * 4)
        assert isinstance(await client.receive(), bytes)


async def test_flushes_are_answered_in_order(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server, "1.2")
        for text in ("One. ", "Two, longer. ", "Three. "):
            await client.say(text)
            await client.flush()
        ends = [await client.answer() for _ in range(3)]
    assert [seen[-1]["nonce"] for seen in ends] == [1, 2, 3]
    assert [runs(audio(seen)) for seen in ends] == [[(0, 0, 7200)], [(1, 0, 18720)], [(2, 0, 10080)]]


@pytest.mark.parametrize(
    ("answered", "expected"), [(True, [("flush", 1), 2, ("flush", 2)]), (False, [2, ("flush", 2)])]
)
async def test_an_empty_flush_is_answered_or_not(autojump_clock, simulate, answered, expected):
    async with simulate(empty_flush_answered=answered) as server:
        client = await connect(server, "1.2")
        await client.say("")
        await client.flush()
        await client.say("x")
        await client.flush()
        seen = await client.answer()
        if answered:
            seen += await client.answer()
    assert shown(seen) == expected
    assert len(server.segments) == 1


async def test_a_flush_of_text_that_is_spoken_already_is_no_empty_one(autojump_clock, simulate):
    async with simulate(empty_flush_answered=False, chunk_chars=5) as server:
        client = await connect(server, "1.2")
        assert shown(await client.turn("Hello ")) == [9, ("flush", 1)]
        await client.flush()
        await silence(client)


@pytest.mark.parametrize("dialect", ACKNOWLEDGING)
@pytest.mark.parametrize(("marker", "times"), [("normal", [0]), ("none", []), ("late", [4]), ("double", [0, 0])])
async def test_the_end_marker_has_four_ways(autojump_clock, simulate, dialect, marker, times):
    async with simulate(end_marker=marker) as server:
        client = await connect(server, dialect)
        began, seen = trio.current_time(), []
        await client.say("x")
        await client.flush()
        with trio.move_on_after(60):
            while True:
                seen.append((await client.message(), trio.current_time() - began))
    answers = [(message["nonce"], when) for message, when in seen if isinstance(message, dict)]
    assert answers == [(1, when) for when in times]


@pytest.mark.parametrize(("marker", "when"), [("normal", 0), ("late", 4), ("double", 0), ("none", None)])
async def test_the_end_marker_of_the_first_dialect_is_the_close(autojump_clock, simulate, marker, when):
    async with simulate(end_marker=marker) as server:
        client = await connect(server, "1.0")
        await client.say("x")
        await client.finish()
        assert len(audio([await client.receive(), await client.receive()])) == 2880
        if when is None:
            await silence(client)
        else:
            began = trio.current_time()
            assert await client.receive() == Closed(1000, "")
            assert trio.current_time() - began == when


@pytest.mark.parametrize("dialect", ACKNOWLEDGING)
@pytest.mark.parametrize("marker", ["none", "late", "double"])
async def test_where_flushes_are_acknowledged_the_close_is_no_end_marker(autojump_clock, simulate, dialect, marker):
    async with simulate(end_marker=marker) as server:
        client = await connect(server, dialect)
        began = trio.current_time()
        await client.say("x")
        await client.finish()
        assert shown(await client.until(Closed)) == [2, Closed(1000, "")]
        assert trio.current_time() == began


async def test_audio_is_paced_exactly(autojump_clock, simulate):
    async with simulate(first_audio=0.137, speed=4.0) as server:
        client = await connect(server, "1.2")
        await client.say(TEXT)
        await client.flush()
        began, times = trio.current_time(), []
        while isinstance(await client.receive(), bytes):
            times.append(trio.current_time() - began)
    assert times == pytest.approx([0.137 + index * 0.01 for index in range(24)], abs=1e-9)


@pytest.mark.parametrize("dialect", ["1.0", "1.2"])
async def test_audio_may_come_before_it_was_asked_for(autojump_clock, simulate, dialect):
    async with simulate(audio_before_asked=3) as server:
        client = await connect(server, dialect)
        unasked = [await client.receive() for _ in range(3)]
        assert runs(audio(unasked)) == [(0, 0, 2880)]
        await client.say("Hi")
        await client.finish()
        assert runs(audio(await client.until(Closed))) == [(1, 0, 2880)]
    assert [segment.text for segment in server.segments] == ["", "Hi"]
    ended = [record["data"]["sent"] for record in server.log if record["event"] == "segment_ended"]
    assert ended == [2880, 2880]


# Formats.


@pytest.mark.parametrize(("rate", "samples"), [(8000, 7680), (16000, 15360), (24000, 23040)])
async def test_the_length_follows_the_sample_rate(autojump_clock, simulate, rate, samples):
    async with simulate() as server:
        client = await connect(server, "1.2", sample_rate=rate)
        assert audio(await client.turn(TEXT)) == tagged_pcm(0, 0, samples)


async def test_floats_hold_every_tag(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server, "1.2", format="pcm_f32le")
        seen = await client.turn(TEXT)
    samples = np.frombuffer(audio(seen), "<f4")
    assert {len(frame) for frame in seen[:-1]} == {3840}
    assert (samples * 32768).astype("<i2").tobytes() == tagged_pcm(0, 0, 23040)
    assert server.segments[0].sent == 23040


@pytest.mark.parametrize(("header", "count"), [("once", 1), ("each", 2)])
async def test_mulaw_has_a_wav_header(autojump_clock, simulate, header, count):
    async with simulate(wav_header=header) as server:
        client = await connect(server, "1.2", format="ulaw", sample_rate=8000)
        first = audio(await client.turn(TEXT))
        second = audio(await client.turn("More."))
    head = first[:46]
    assert (head[:4], head[8:16], head[38:42]) == (b"RIFF", b"WAVEfmt ", b"data")
    assert struct.unpack("<IHHIIHHH", head[16:38]) == (18, 7, 1, 8000, 8000, 1, 8, 0)
    assert (first + second).count(b"RIFF") == count
    assert first[46:] == encode(tagged_pcm(0, 0, 7680), "mulaw")
    assert second[46 * (count - 1) :] == encode(tagged_pcm(1, 0, 2400), "mulaw")
    assert [segment.sent for segment in server.segments] == [7680, 2400]


async def test_frames_have_random_lengths_from_the_seed(autojump_clock, simulate):
    lengths = []
    for seed in (1, 1, 2):
        async with simulate(frame_ms_min=5, frame_ms_max=80, seed=seed) as server:
            client = await connect(server, "1.2")
            seen = await client.turn(TEXT)
            assert audio(seen) == tagged_pcm(0, 0, 23040)
            lengths.append([len(frame) for frame in seen[:-1]])
    assert lengths[0] == lengths[1] != lengths[2]
    assert len(set(lengths[0])) > 5


async def test_frames_may_tear_samples(autojump_clock, simulate):
    async with simulate(odd_frames=True) as server:
        client = await connect(server, "1.2")
        seen = await client.turn(TEXT)
    assert {len(frame) for frame in seen[:-2]} == {1921}
    assert audio(seen) == tagged_pcm(0, 0, 23040)


@pytest.mark.parametrize("dialect", ["2", "1.2"])
async def test_empty_frames_come_between(autojump_clock, simulate, dialect):
    async with simulate(empty_frames=True) as server:
        client = await connect(server, dialect)
        seen = await client.turn(TEXT)
    assert [len(frame) for frame in seen[:-1]] == [0, 1920] * 24


# Word times.


def words(messages, field):
    return [word for message in messages if isinstance(message, dict) for word in message.get(field) or ()]


async def test_word_times_go_on_until_the_flush(autojump_clock, simulate):
    async with simulate(chunk_chars=10) as server:
        client = await connect(server, "1.2", return_timestamps=True)
        for _ in range(2):
            seen = await client.turn("Hello from ", "trio.")
            assert words(seen, "timestamps") == [
                {"text": "Hello", "start": 0.0, "duration": 0.3},
                {"text": "from", "start": 0.36, "duration": 0.24},
                {"text": "trio.", "start": 0.66, "duration": 0.3},
            ]
    assert [segment.text for segment in server.segments] == ["Hello from ", "trio."] * 2


@pytest.mark.parametrize("options", [{"reset_delay": 1.0}, {"reset_never": True}, {"audio_before_asked": 2}])
async def test_word_times_begin_anew_after_a_reset(autojump_clock, simulate, options):
    async with simulate(**options) as server:
        client = await connect(server, "1.2", return_timestamps=True)
        await client.say("lost " * 20)
        await client.reset()
        seen = await client.turn("Hello.")
    assert words(seen, "timestamps")[-1] == {"text": "Hello.", "start": 0.0, "duration": 0.36}
    assert words(seen, "timestamps")[-2]["start"] == pytest.approx(19 * 0.3)


async def test_word_times_of_the_third_dialect_begin_anew_with_each_frame(autojump_clock, simulate):
    async with simulate(frame_ms=100) as server:
        client = await connect(server, "1.1", return_timestamps=True)
        seen = await client.turn("Hello from trio.")
    assert words(seen, "timestamps") == [
        {"text": "Hello", "start": 0.0, "duration": 0.3},
        {"text": "from", "start": 0.06, "duration": 0.24},
        {"text": "trio.", "start": 0.06, "duration": 0.3},
    ]


@pytest.mark.parametrize(
    ("order", "first"), [("after", ["ready", 1, "timestamps"]), ("before", ["ready", "timestamps", 1])]
)
async def test_word_times_follow_their_frame_or_go_ahead(autojump_clock, simulate, order, first):
    async with simulate(timestamps=order) as server:
        client = await connect(server)
        await client.send(init(return_timestamps=True))
        await client.say(TEXT)
        await client.flush()
        assert shown([await client.message() for _ in range(3)]) == first


@pytest.mark.parametrize("dialect", ["1.0", "2"])
@pytest.mark.parametrize("field", ["return_extras", "send_extras"])
@pytest.mark.parametrize("empty", [False, True])
async def test_extras_go_ahead_of_each_binary_message(autojump_clock, simulate, dialect, field, empty):
    async with simulate(empty_frames=empty) as server:
        client = await connect(server, dialect, **{field: True})
        await client.say(TEXT)
        await client.finish()
        seen = await client.until(Closed)
    assert shown(seen) == ["durations", 1] * (48 if empty else 24) + [Closed(1000, "")]
    assert [word["text"] for word in words(seen, "durations")] == ["Hello", "from", "trio."]
    assert {message["buffer_empty"] for message in seen[:-1:2]} == {True}


@pytest.mark.parametrize(("dialect", "field"), [("1.2", "return_extras"), ("2", "return_timestamps"), ("1.2", "_")])
async def test_word_times_come_only_if_asked_for(autojump_clock, simulate, dialect, field):
    async with simulate() as server:
        client = await connect(server, dialect, **{field: True})
        assert shown(await client.turn(TEXT)) == [24, ("flush", 1)]


class FakeVoice:
    """Speaks a constant for a second per word, and places the last word behind its audio."""

    async def speak(self, text, sample_rate):
        await trio.sleep(0.5)
        words = [SpokenWord(word, index, index + 0.5) for index, word in enumerate(text.split())]
        return Speech(b"\x07\x00" * (sample_rate * (len(words) - 1)), tuple(words))


async def test_a_voice_speaks_instead_and_places_its_words(autojump_clock):
    simulator = LMNTSimulator(LMNTOptions(voice=True, first_audio=0.6), voice=FakeVoice())
    async with simulator.serve_in_memory() as server:
        client = await connect(server, "1.2", return_timestamps=True, sample_rate=8000)
        began = trio.current_time()
        await client.say("one two three")
        await client.flush()
        first = await client.receive()
        assert trio.current_time() - began == pytest.approx(0.6), "speaking is part of the wait"
        seen = [first, *await client.answer()]
    assert audio(seen) == b"\x07\x00" * 16000
    assert [(word["text"], word["start"]) for word in words(seen, "timestamps")] == [
        ("one", 0),
        ("two", 1),
        ("three", 2),
    ]
    assert (server.segments[0].samples, server.segments[0].sent) == (16000, 16000)


def test_a_voice_must_be_there_to_speak():
    with pytest.raises(ValueError, match="no voice"):
        LMNTSimulator(LMNTOptions(voice=True))


# Reset.


async def cut(client, frames=3):
    """Say something and reset after some frames; what came up to the acknowledgement."""
    await client.say(TEXT)
    await client.flush()
    seen = []
    while len(seen) < frames:
        seen.append(await client.receive())
    await client.reset()
    return seen + await client.answer("reset")


@pytest.mark.parametrize("dialect", ACKNOWLEDGING)
async def test_what_is_being_spoken_runs_on_after_a_reset(autojump_clock, simulate, dialect):
    async with simulate(speed=1.0) as server:
        client = await connect(server, dialect)
        began = trio.current_time()
        seen = await cut(client)
        assert trio.current_time() - began == pytest.approx(23 * 0.04)
        assert shown(seen) == [24, ("reset", 2)]
        assert runs(audio(await client.turn("Next."))) == [(1, 0, 7200)]
    assert [(each.sent, each.cleared) for each in server.segments] == [(23040, True), (7200, False)]
    ended = [record["data"] for record in server.log if record["event"] == "segment_ended"]
    assert ended == [
        {"number": n, "sent": each.sent, "cleared": each.cleared} for n, each in enumerate(server.segments)
    ]


async def test_what_has_not_begun_to_sound_runs_on_too(autojump_clock, simulate):
    async with simulate(first_audio=2.0) as server:
        client = await connect(server, "1.2")
        await client.say(TEXT)
        await client.flush()
        await trio.sleep(1)
        began = trio.current_time()
        await client.reset()
        first = await client.receive()
        assert trio.current_time() - began == 1.0
        assert shown([first, *await client.answer("reset")]) == [24, ("reset", 2)]


@pytest.mark.parametrize("late", [0, 1, 5, 100])
async def test_late_frames_come_before_the_acknowledgement(autojump_clock, simulate, late):
    async with simulate(speed=1.0, reset_runs_on=False, late_frames=late) as server:
        client = await connect(server, "1.2")
        seen = await cut(client)
        frames = min(3 + late, 24)
        assert shown(seen) == [frames, ("reset", 2)]
        assert runs(audio(seen)) == [(0, 0, 960 * frames)]
        assert runs(audio(await client.turn("Next."))) == [(1, 0, 7200)]
    assert (server.segments[0].sent, server.segments[0].cleared) == (960 * frames, True)


async def test_a_reset_ends_the_wait_for_the_first_audio(autojump_clock, simulate):
    async with simulate(first_audio=10.0, reset_runs_on=False) as server:
        client = await connect(server, "1.2")
        await client.say(TEXT)
        await client.flush()
        await trio.sleep(1)
        began = trio.current_time()
        await client.reset()
        assert shown(await client.answer("reset")) == [("reset", 2)]
        assert trio.current_time() == began
    assert server.segments[0].sent == 0


@pytest.mark.parametrize("runs_on", [True, False])
async def test_a_reset_drops_text_and_what_waits(autojump_clock, simulate, runs_on):
    async with simulate(speed=1.0, reset_runs_on=runs_on) as server:
        client = await connect(server, "1.2")
        await client.say("First. ")
        await client.flush()
        await client.say("Second. ")
        await client.flush()
        await client.say("Third. ")
        await client.receive()
        await client.reset()
        seen = await client.answer("reset")
        assert shown(seen)[-1] == ("reset", 3)
        assert {run[0] for run in runs(audio(seen))} <= {0}
        assert runs(audio(await client.turn("Fourth. "))) == [(2, 0, 11520)]
    assert [each.cleared for each in server.segments] == [True, True, False]
    assert [each.sent for each in server.segments] == [10080 if runs_on else 960, 0, 11520]


async def test_a_reset_with_nothing_to_drop_is_acknowledged(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server, "1.2")
        for nonce in (1, 2, 3):
            await client.reset()
            assert await client.answer("reset") == [{"type": "reset_complete", "nonce": nonce}]


async def test_flushes_may_be_acknowledged_for_what_was_dropped(autojump_clock, simulate):
    async with simulate(speed=1.0, flush_complete_for_reset=True) as server:
        seen = await cut(await connect(server, "1.2"))
    assert shown(seen) == [24, ("flush", 1), ("reset", 2)]


async def test_a_reset_overtakes_a_late_end_marker(autojump_clock, simulate):
    async with simulate(end_marker="late") as server:
        client = await connect(server, "1.2")
        await client.say("x")
        await client.flush()
        await trio.sleep(1)
        began = trio.current_time()
        await client.reset()
        assert shown(await client.answer("reset")) == [2, ("reset", 2)]
        assert trio.current_time() == began


async def test_the_acknowledgement_may_be_late_and_what_was_asked_meanwhile_waits(autojump_clock, simulate):
    async with simulate(reset_delay=2.5) as server:
        client = await connect(server, "1.2")
        began = trio.current_time()
        await client.reset()
        await client.say("x")
        await client.flush()
        assert shown(await client.answer("reset")) == [("reset", 1)]
        assert trio.current_time() - began == 2.5
        assert shown(await client.answer()) == [2, ("flush", 2)]


async def test_the_acknowledgement_may_never_come(autojump_clock, simulate):
    async with simulate(reset_never=True) as server:
        client = await connect(server, "1.2")
        await client.reset()
        assert shown(await client.turn("x")) == [2, ("flush", 2)]


async def test_a_nonce_that_was_never_sent_is_acknowledged_first(autojump_clock, simulate):
    async with simulate(wrong_nonce=True, speed=1.0) as server:
        client = await connect(server, "1.2")
        await client.say(TEXT)
        await client.flush()
        assert shown([await client.message() for _ in range(2)]) == [("flush", 0), 1], "before the audio"
        await client.reset()
        seen = [await client.message() for _ in range(3)]
        assert ("reset", 0) in shown(seen), "before what runs on"
        assert shown(await client.answer("reset")) == [24 - 1 - len(audio(seen)) // 1920, ("reset", 2)]


# What a client may not do.


@pytest.mark.parametrize(
    ("dialect", "messages"),
    [
        ("1.2", [{"text": "untyped"}]),
        ("1.2", [{"type": "text"}]),
        ("1.2", [{"type": "text", "text": None}]),
        ("1.2", [{"type": "text", "text": 7}]),
        ("1.2", [{"type": "flush"}]),
        ("1.2", [{"type": "flush", "nonce": "1"}]),
        ("1.2", [{"type": "flush", "nonce": None}]),
        ("1.2", [{"type": "reset", "nonce": 10**30}]),
        ("1.2", [{"type": "reset", "nonce": -(10**17)}]),
        ("1.2", [{"type": "keepalive"}]),
        ("1.2", [{"type": 7}]),
        ("1.2", [init()]),
        ("1.2", ["[]"]),
        ("1.2", ["{"]),
        ("1.2", [b"audio"]),
        ("1.1", [{"flush": True}]),
        ("1.2", [{"type": "text", "text": "x"}, {"type": "finish"}, {"type": "text", "text": "more"}]),
        ("1.2", [{"type": "text", "text": "x" * 20_001}]),
        ("2", [{"flush": True}]),
        ("2", [{"command": "flush"}]),
        ("2", [{"command": "clear", "nonce": 1}]),
        ("2", [{"command": "reset", "nonce": 1, "text": "x"}]),
        ("1.0", [{"flush": False}]),
        ("1.0", [{"eof": None}]),
        ("1.0", [{"reset": True}]),
        ("1.0", [{"text": "x", "flush": True}]),
        ("1.0", [{}]),
        ("1.0", [{"type": "finish"}]),
        ("1.0", [{"text": "abc"}, {"eof": True}, {"eof": True}]),
    ],
)
async def test_a_message_that_means_nothing_ends_the_session(autojump_clock, simulate, dialect, messages):
    async with simulate(first_audio=1.0) as server:  # so that nothing else is said before
        client = await connect(server, dialect)
        await client.stream.send_all(b"".join(client.frame(json.dumps(m)) for m in messages[:-1]))
        await client.send(messages[-1])
        seen = await client.until(Closed)
        assert await client.receive() is EOF
    error, closed = seen
    assert (error["error"]["type"] == INVALID) if dialect in TYPED else list(error) == ["error"]
    assert closed == Closed(1002, "")
    assert server.open_connections == 0


async def test_the_most_text_that_may_wait_is_taken(autojump_clock, simulate):
    async with simulate(chunk_chars=0, ms_per_char=1) as server:
        client = await connect(server, "1.2")
        assert len(audio(await client.turn("x" * 10_000, "y" * 10_000))) == 20_000 * 48


async def test_a_failure_while_speaking_is_the_last_thing_said(autojump_clock, simulate):
    async with simulate(speed=1.0) as server:
        client = await connect(server, "1.2")
        await client.say(TEXT)
        await client.flush()
        await client.receive()
        await client.send({"type": "nonsense"})
        assert shown(await client.until(Closed))[-2:] == ["error", Closed(1002, "")]


async def test_unknown_fields_are_ignored(autojump_clock, simulate):
    async with simulate() as server:
        client = await connect(server, "1.2", future=True)
        await client.send({"type": "text", "text": "x", "emphasis": [1, {}]})
        await client.send({"type": "flush", "nonce": 9, "why": None})
        assert shown(await client.answer()) == [2, ("flush", 9)]


# Limits, and options while running.


async def test_a_session_may_end_by_itself(autojump_clock, simulate):
    async with simulate(session_limit=30) as server:
        client = await connect(server, "1.2")
        assert await client.receive() == Closed(1001, "session limit")
        assert trio.current_time() == pytest.approx(30)


async def test_an_idle_client_is_dropped_if_so_told(autojump_clock, simulate):
    async with simulate(idle_timeout=10) as server:
        client = await connect(server, "1.2")
        await trio.sleep(9)
        await client.turn("x")
        began = trio.current_time()
        assert await client.receive() == Closed(1001, "idle timeout")
        assert trio.current_time() - began == pytest.approx(10)


async def test_a_session_has_no_limit_by_default(autojump_clock, simulate):
    async with simulate() as server:
        await silence(await connect(server, "1.2"), 1e6)


async def test_options_can_be_replaced_between_turns(autojump_clock, simulate):
    async with simulate(ms_per_char=10) as server:
        client = await connect(server, "1.2")
        assert len(audio(await client.turn("x"))) == 480
        server.options = attrs.evolve(server.options, ms_per_char=20)
        assert len(audio(await client.turn("x"))) == 960


def test_options_are_read_from_text():
    options = LMNTOptions.parse(
        ["end-marker=late", "reset_runs_on=no", "error_type=rate_limit_error", "known_voice=ava"]
    )
    assert options == LMNTOptions(
        end_marker="late", reset_runs_on=False, error_type="rate_limit_error", known_voice="ava"
    )
    with pytest.raises(ValueError, match="chunk_chars"):
        LMNTOptions.parse(["chunk_chars=-1"])


async def test_segments_are_numbered_for_the_server(autojump_clock, simulate):
    async with simulate() as server:
        clients = [await connect(server, dialect) for dialect in ("1.2", "2")]
        seen = [read_tags(audio(await client.turn("ab")))[0].segment for client in clients * 2]
    assert seen == [0, 1, 2, 3]
    assert [segment.connection for segment in server.segments] == [0, 1, 0, 1]
