"""The protocol of Cartesia's simulator and each of its switches, on the wire."""

import base64
import json
import time
from contextlib import asynccontextmanager

import attrs
import numpy as np
import pytest
import trio
from raw_client import EOF, FAULTS, Closed, RawClient, Refused, runs

from voicetrio.simulators import Faults, Speech, SpokenWord, _cartesia_context, tagged_pcm
from voicetrio.simulators._cartesia_buffer import TextBuffer
from voicetrio.simulators._g711 import encode
from voicetrio.simulators.cartesia import CartesiaOptions, CartesiaSimulator

TEXT = "Hello from trio."  # 16 characters: 0.96 s, 23040 samples at 24 kHz, 24 frames of 40 ms
NEWEST, OLD = "2026-08-14", "2024-11-13"
PATH = "/tts/websocket"

BASE = {
    "model_id": "sonic-3.5",
    "voice": {"mode": "id", "id": "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"},
    "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000},
}


def request(transcript, context_id="one", *, more=False, **fields):
    """A generation request; a field that is None is left out."""
    whole = BASE | {"context_id": context_id, "transcript": transcript, "continue": more} | fields
    return {name: value for name, value in whole.items() if value is not None}


def cancel(context_id="one"):
    return {"context_id": context_id, "cancel": True}


def options_from(fields):
    """Options without delays; faults are named among the others."""
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    others = {key: value for key, value in fields.items() if key not in FAULTS}
    return CartesiaOptions(faults=faults, **({"first_audio": 0, "speed": float("inf")} | others))


@asynccontextmanager
async def simulate(speaker=None, **fields):
    """`async with simulate(frame_ms=20, stall_after=3) as server`."""
    async with CartesiaSimulator(options_from(fields), voice=speaker).serve_in_memory() as server:
        yield server


async def connect(server, target=PATH, *, version=NEWEST, headers=None):
    """A client after the handshake."""
    headers = {"X-API-Key": "some-secret-key"} if headers is None else headers
    if version is not None:
        headers = headers | {"Cartesia-Version": version}
    return await RawClient(await server.dial("simulator.test", 80)).handshake(target, headers=headers)


def audio(messages, context_id="one"):
    """The audio of a context among messages."""
    return b"".join(
        base64.b64decode(message["data"], validate=True)
        for message in messages
        if isinstance(message, dict) and message["type"] == "chunk" and message.get("context_id") == context_id
    )


def kinds(messages):
    """Types of messages, and runs of chunks as their number."""
    found = []
    for message in messages:
        kind = message["type"] if isinstance(message, dict) else message
        if kind != "chunk":
            found.append(kind)
        elif found and isinstance(found[-1], int):
            found[-1] += 1
        else:
            found.append(1)
    return found


def texts(server):
    return [segment.text for segment in server.segments]


async def ask(client, *messages):
    for message in messages:
        await client.send(message)


async def everything(client, seconds=60):
    """All that comes within some seconds."""
    seen = []
    with trio.move_on_after(seconds):
        while (message := await client.receive()) is not EOF:
            seen.append(json.loads(message) if isinstance(message, str) else message)
    return seen


async def first_error(client):
    return (await client.until("error"))[-1]


# The handshake.


@pytest.mark.parametrize(
    ("api_key", "query", "headers", "accepted"),
    [
        (None, "", {"X-API-Key": "anything"}, True),
        (None, "", {"x-api-key": "anything", "Origin": "https://example.org"}, True),
        (None, "", {"Authorization": "bearer anything"}, True),
        (None, "?api_key=anything", {}, True),
        (None, "?access_token=anything", {}, True),
        (None, "", {}, False),
        (None, "", {"X-API-Key": ""}, False),
        (None, "?api_key=", {}, False),
        (None, "", {"Authorization": "Token anything"}, False),
        (None, "", {"Authorization": "Bearer"}, False),
        ("right", "", {"X-API-Key": "right"}, True),
        ("right", "", {"X-API-Key": "wrong"}, False),
        ("right", "", {"Authorization": "Bearer right"}, True),
        ("right", "", {"Authorization": "Bearer wrong"}, False),
        ("right", "?access_token=right", {}, True),
        ("right", "?access_token=wrong", {}, False),
        ("right", "?api_key=wrong", {"X-API-Key": "right"}, False),
    ],
)
async def test_the_key_is_demanded(autojump_clock, api_key, query, headers, accepted):
    async with simulate(api_key=api_key) as server:
        if accepted:
            await connect(server, PATH + query, headers=headers)
        else:
            with pytest.raises(Refused) as caught:
                await connect(server, PATH + query, headers=headers)
            assert caught.value.status == 401


@pytest.mark.parametrize(
    ("target", "version", "status"),
    [
        (PATH, NEWEST, 101),
        ("/proxy" + PATH, "2026-03-01", 101),
        (PATH + "?cartesia_version=2025-04-16", None, 101),
        (PATH + "?cartesia_version=2024-06-10", "nonsense", 101),
        (PATH + "?cartesia_version=nonsense", NEWEST, 400),
        (PATH, None, 400),
        (PATH, "2023-01-01", 400),
        ("/tts/bytes", NEWEST, 404),
    ],
)
async def test_path_and_version_are_checked_at_the_upgrade(autojump_clock, target, version, status):
    async with simulate() as server:
        if status == 101:
            await connect(server, target, version=version)
        else:
            with pytest.raises(Refused) as caught:
                await connect(server, target, version=version)
            assert caught.value.status == status


async def test_request_ids_are_in_a_header_and_follow_the_seed(autojump_clock):
    seen = []
    for seed in (0, 0, 1):
        async with simulate(seed=seed) as server:
            seen += [(await connect(server)).headers["x-request-id"] for _ in range(2)]
    assert seen[:2] == seen[2:4]
    assert len(set(seen)) == 4


@pytest.mark.parametrize(("version", "structured"), [(NEWEST, True), (OLD, False), ("what", True)])
async def test_a_refusal_is_worded_as_the_version_words_errors(autojump_clock, version, structured):
    async with simulate(api_key="right") as server:
        with pytest.raises(Refused) as caught:
            await connect(server, version=version)
    refused = caught.value
    if structured:
        body = json.loads(refused.body)
        assert set(body) == {"error_code", "title", "message", "request_id"}
        assert body["request_id"] == refused.headers["x-request-id"]
    else:
        assert refused.body.startswith(b"Unauthorized: ")


async def test_more_connections_than_allowed_get_429(autojump_clock):
    async with simulate(concurrent_limit=1) as server:
        first = await connect(server)
        with pytest.raises(Refused) as caught:
            await connect(server)
        assert caught.value.status == 429
        assert json.loads(caught.value.body)["error_code"] == "concurrency_limited"
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await connect(server)


async def test_a_request_without_upgrade_gets_426(autojump_clock):
    async with simulate() as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(
            b"GET /tts/websocket HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nCartesia-Version: 2026-08-14\r\n\r\n"
        )
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 426 ")


# Speaking.


async def test_a_turn_is_tagged_to_the_sample_and_ends_with_done(autojump_clock):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        seen = await client.until("done")
        assert kinds(seen) == [24, "done"]
        assert audio(seen) == tagged_pcm(0, 0, 23040)
        for chunk in seen[:-1]:
            assert list(chunk) == ["type", "data", "done", "status_code", "step_time", "context_id", "flush_id"]
            assert (chunk["done"], chunk["status_code"], chunk["flush_id"]) == (False, 206, 1)
        assert seen[-1] == {"type": "done", "done": True, "status_code": 206, "context_id": "one"}
        assert attrs.asdict(server.segments[0]) == {
            "number": 0,
            "connection": 0,
            "text": TEXT,
            "samples": 23040,
            "sent": 23040,
            "cleared": False,
        }
        assert [record["data"] for record in server.log if record["event"] == "segment_ended"] == [
            {"number": 0, "sent": 23040, "cleared": False}
        ]
        await ask(client, request("Again.", "two"))
        assert runs(audio(await client.until("done"), "two")) == [(1, 0, 8640)], "the socket stays open"


async def test_continue_is_false_unless_said(autojump_clock):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, request(TEXT) | {"continue": None})
        assert kinds(await client.until("done")) == [24, "done"]


async def test_audio_is_paced_exactly(autojump_clock):
    async with simulate(first_audio=0.137, speed=4.0) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        began, times = trio.current_time(), []
        while json.loads(await client.receive())["type"] == "chunk":
            times.append(trio.current_time() - began)
    assert times == pytest.approx([0.137 + index * 0.01 for index in range(24)], abs=1e-9)


async def test_the_first_audio_of_a_release_is_counted_from_the_release(autojump_clock):
    # The second sentence is made while the first is sent: there is no gap between them.
    async with simulate(first_audio=0.2, speed=1.0, ms_per_char=20) as server:
        client = await connect(server)
        began = trio.current_time()
        await ask(client, request("0123456789012345678. ", more=True), request("0123456789012345678."))
        seen = await client.until("done")
        assert len(server.segments) == 2
        assert trio.current_time() - began == pytest.approx(0.2 + 0.42 + 0.36)
    assert len(audio(seen)) == 2 * 41 * 480


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
async def test_the_length_follows_the_sample_rate(autojump_clock, rate):
    async with simulate() as server:
        client = await connect(server)
        output = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": rate}
        await ask(client, request(TEXT, output_format=output))
        assert audio(await client.until("done")) == tagged_pcm(0, 0, round(rate * 0.96))


@pytest.mark.parametrize("encoding", ["pcm_f32le", "pcm_mulaw", "pcm_alaw"])
async def test_other_encodings_are_the_tagged_pcm_encoded(autojump_clock, encoding):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, request(TEXT, output_format=BASE["output_format"] | {"encoding": encoding}))
        coded = audio(await client.until("done"))
    if encoding == "pcm_f32le":
        samples = np.frombuffer(coded, "<f4")
        assert np.abs(samples).max() <= 1
        coded, expected = (samples * 32768).astype("<i2").tobytes(), tagged_pcm(0, 0, 23040)
    else:
        expected = encode(tagged_pcm(0, 0, 23040), encoding.removeprefix("pcm_"))
    assert coded == expected
    assert server.segments[0].sent == 23040


async def test_frames_have_random_lengths_from_the_seed(autojump_clock):
    lengths = []
    for seed in (1, 1, 2):
        async with simulate(frame_ms_min=5, frame_ms_max=80, seed=seed) as server:
            client = await connect(server)
            await ask(client, request(TEXT))
            seen = await client.until("done")
            assert audio(seen) == tagged_pcm(0, 0, 23040)
            lengths.append([len(base64.b64decode(chunk["data"])) for chunk in seen[:-1]])
    assert lengths[0] == lengths[1] != lengths[2]
    assert len(set(lengths[0])) > 5


async def test_chunks_may_tear_samples(autojump_clock):
    async with simulate(odd_frames=True) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        seen = await client.until("done")
    assert {len(base64.b64decode(chunk["data"])) for chunk in seen[:-2]} == {1921}
    assert audio(seen) == tagged_pcm(0, 0, 23040)


async def test_empty_chunks_come_between(autojump_clock):
    async with simulate(empty_frames=True) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        seen = await client.until("done")
    assert [bool(chunk["data"]) for chunk in seen[:-1]] == [False, True] * 24
    assert {chunk["data"] for chunk in seen[:-1:2]} == {""}
    assert audio(seen) == tagged_pcm(0, 0, 23040)


async def test_contexts_interleave_and_keep_their_own_order(autojump_clock):
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        await ask(client, request(TEXT, "a"), request(TEXT, "b"), request("Short.", "c"))
        seen = []
        for _ in range(3):
            seen += await client.until("done")
    order = [message["context_id"] for message in seen]
    assert {tuple(sorted(order[at : at + 3])) for at in range(0, 27, 3)} == {("a", "b", "c")}
    assert next(message["context_id"] for message in seen if message["type"] == "done") == "c"
    assert audio(seen, "a") == tagged_pcm(0, 0, 23040)
    assert audio(seen, "b") == tagged_pcm(1, 0, 23040)
    assert audio(seen, "c") == tagged_pcm(2, 0, 8640)


async def test_audio_may_come_before_it_was_asked_for(autojump_clock):
    async with simulate(audio_before_asked=3) as server:
        client = await connect(server)
        await ask(client, request("Hi"))
        seen = await client.until("done")
        (stray,) = {message["context_id"] for message in seen} - {"one"}
        assert runs(audio(seen, stray)) == [(0, 0, 2880)]
        assert runs(audio(seen)) == [(1, 0, 2880)]
    assert texts(server) == ["", "Hi"]


# What is spoken when.


async def test_whole_sentences_are_spoken_at_once_and_the_rest_waits(autojump_clock):
    async with simulate(ms_per_char=1) as server:
        client = await connect(server)
        for piece in ("Hel", "lo. How", " are you?", ' "Fine!" ', "Pi is 3.14"):
            await ask(client, request(piece, more=True))
        await trio.sleep(2.9)
        assert texts(server) == ["Hello. ", 'How are you? "Fine!" ']
        await trio.sleep(0.2)
        assert texts(server)[2:] == ["Pi is 3.14"]
        await ask(client, request(" or so.", more=False))
        await client.until("done")
        assert texts(server)[3:] == [" or so."]


async def test_text_is_spoken_verbatim_whatever_the_pieces(autojump_clock):
    text = "First one… Second, 2.5 of it! “Third?”  Fourth。Fünf。 Six\n\nSeven.)  End"
    for size in (1, 2, 3, 7, 100):
        async with simulate(ms_per_char=1) as server:
            client = await connect(server)
            for at in range(0, len(text), size):
                await ask(client, request(text[at : at + size], more=True))
            await ask(client, request(""))
            await client.until("done")
            assert "".join(texts(server)) == text
            assert all(each.endswith((" ", "\n", "。", "End")) for each in texts(server)), "cut between sentences"
            assert len(texts(server)) == (2 if size == 100 else 7)


async def test_a_long_unpunctuated_text_costs_no_time():
    buffer = TextBuffer(1)
    began = time.process_time()
    for piece in ("." * 200_000, " " * 200_000, "x. " * 50_000, '."' * 100_000):
        buffer.add(piece)
        buffer.take_sentences(len(piece))
    assert time.process_time() - began < 2, "a rule that looks at each character a few times takes a tenth of that"


@pytest.mark.parametrize(
    ("options", "fields", "delay"),
    [
        ({}, {}, 3.0),
        ({}, {"max_buffer_delay_ms": 500}, 0.5),
        ({"buffer_delay": 1.5}, {}, 1.5),
        ({"buffer_delay": 1.5}, {"max_buffer_delay_ms": 5000}, 5.0),
    ],
)
async def test_text_waits_as_long_as_was_said(autojump_clock, options, fields, delay):
    async with simulate(release="delay", **options) as server:
        client = await connect(server)
        began = trio.current_time()
        await ask(client, request("One. ", more=True, **fields))
        await trio.sleep(delay / 2)
        await ask(client, request("Two. ", more=True, **fields))
        assert json.loads(await client.receive())["type"] == "chunk"
        assert trio.current_time() - began == pytest.approx(delay)
        assert texts(server) == ["One. Two. "]


async def test_a_release_is_not_late_because_something_else_is_spoken(autojump_clock):
    async with simulate(release="delay", speed=1.0, ms_per_char=1000) as server:
        client = await connect(server)
        await ask(client, request("0123456789", more=True, flush=True), request("One ", more=True))
        await trio.sleep(3.5)
        await ask(client, request("two ", more=True))
        await trio.sleep(30)
        assert texts(server) == ["0123456789", "One ", "two "]


@pytest.mark.parametrize(("version", "fields"), [(OLD, {}), (NEWEST, {"max_buffer_delay_ms": 0})])
async def test_without_delay_every_submission_is_spoken_and_flushed(autojump_clock, version, fields):
    async with simulate(ms_per_char=1) as server:
        client = await connect(server, version=version)
        for piece in ("Hel", "lo", "", " you"):
            await ask(client, request(piece, more=True, **fields))
        await ask(client, request("", **fields))
        seen = await client.until("done")
    assert texts(server) == ["Hel", "lo", " you"]
    assert kinds(seen) == [1, "flush_done", 1, "flush_done", 1, "flush_done", "done"]
    assert [message["flush_id"] for message in seen[:-1]] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("first", [0, 1])
async def test_a_flush_ends_a_section(autojump_clock, first):
    async with simulate(ms_per_char=1, first_flush_id=first) as server:
        client = await connect(server)
        await ask(
            client,
            request("One, ", more=True),
            request("two", more=True, flush=True),
            request("three", more=True),
            request("", more=True, flush=True),
            request("", more=True, flush=True),
            request("four"),
        )
        seen = await client.until("done")
    assert texts(server) == ["One, two", "three", "four"]
    assert kinds(seen) == [1, "flush_done", 1, "flush_done", "flush_done", 1, "done"]
    assert [message["flush_id"] - first for message in seen[:-1]] == [0, 0, 1, 1, 2, 3]
    assert seen[1] == {
        "type": "flush_done",
        "done": False,
        "flush_done": True,
        "flush_id": first,
        "status_code": 206,
        "context_id": "one",
    }


@pytest.mark.parametrize(
    ("marker", "expected"),
    [("normal", ["done"]), ("none", []), ("late", ["done"]), ("double", ["done", "done"])],
)
async def test_the_end_marker_has_four_ways(autojump_clock, marker, expected):
    async with simulate(end_marker=marker, ms_per_char=10, done_status=200) as server:
        client = await connect(server)
        await ask(client, request("x"))
        began, seen, last = trio.current_time(), [], None
        with trio.move_on_after(60):
            while True:
                seen.append(json.loads(await client.receive()))
                last = trio.current_time() - began
    assert kinds(seen) == [1, *expected]
    assert {message["status_code"] for message in seen[1:]} <= {200}
    assert last == (4.0 if marker == "late" else 0.0)


# Times of words.


@pytest.mark.parametrize("order", ["before", "after"])
async def test_words_come_with_the_chunk_in_which_they_begin(autojump_clock, order):
    async with simulate(timestamps=order, frame_ms=200, ms_per_char=50) as server:
        client = await connect(server)
        await ask(client, request("A new one.", add_timestamps=True))
        seen = await client.until("done")
    # Chunks begin at 0, 0.2 and 0.4 s.
    expected = ["timestamps", 1, "timestamps", 2] if order == "before" else [1, "timestamps", 1, "timestamps", 1]
    assert kinds(seen) == [*expected, "done"]
    times = [message for message in seen if message["type"] == "timestamps"]
    assert [message["word_timestamps"] for message in times] == [
        {"words": ["A", "new"], "start": [0, 0.1], "end": [0.05, 0.25]},
        {"words": ["one."], "start": [0.3], "end": [0.5]},
    ]
    assert set(times[0]) == {"type", "done", "status_code", "context_id", "word_timestamps", "flush_id"}


@pytest.mark.parametrize(("restart", "second"), [(False, 0.45), (True, 0.05)])
async def test_times_go_on_over_the_segments_of_a_context(autojump_clock, restart, second):
    async with simulate(ms_per_char=50, timestamps_restart_on_flush=restart) as server:
        client = await connect(server)
        first = request("One two.", more=True, flush=True, add_timestamps=True)
        await ask(client, first, request(" Three.", add_timestamps=True))
        seen = await client.until("done")
    found = [
        (word, start)
        for message in seen
        if message["type"] == "timestamps"
        for word, start in zip(*(message["word_timestamps"][name] for name in ("words", "start")), strict=True)
    ]
    assert found == [("One", 0), ("two.", 0.2), ("Three.", second)]


async def test_phonemes_share_the_time_of_their_word(autojump_clock):
    async with simulate(ms_per_char=100, frame_ms=1000) as server:
        client = await connect(server)
        await ask(client, request("Hi —", add_phoneme_timestamps=True))
        seen = await client.until("done")
    assert kinds(seen) == [1, "phoneme_timestamps", "done"]
    assert seen[1]["phoneme_timestamps"] == {
        "phonemes": ["h", "i", "—"],
        "start": [0, 0.1, 0.3],
        "end": [0.1, 0.2, 0.4],
    }


async def test_no_times_unless_asked(autojump_clock):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, request(TEXT, add_timestamps=False))
        assert kinds(await client.until("done")) == [24, "done"]


# Cancelling.


async def cut(client, frames=3):
    """Say two sentences and cancel after some chunks of the first; what came up to done."""
    await ask(client, request(TEXT + " Not begun.", more=True))
    seen = [json.loads(await client.receive()) for _ in range(frames)]
    await ask(client, cancel())
    return seen + await client.until("done")


async def test_what_is_being_generated_runs_on_after_a_cancel(autojump_clock):
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        await ask(
            client, request(TEXT + " ", more=True), request("Not begun. ", more=True), request("Nor this", more=True)
        )
        for _ in range(3):
            await client.receive()
        began = trio.current_time()
        await ask(client, cancel(), request("Next.", "two"))
        seen = await client.until("done") + await client.until("done")
        assert trio.current_time() - began == pytest.approx(23 * 0.04), "at its own pace"
    old = [message for message in seen if message["context_id"] == "one"]
    assert kinds(old) == [26 - 3, "done"]
    assert runs(audio(old)) == [(0, 2880, 24480 - 2880)]
    assert runs(audio(seen, "two")) == [(2, 0, 7200)]
    assert [(each.text, each.sent, each.cleared) for each in server.segments] == [
        (TEXT + " ", 24480, False),
        ("Not begun. ", 0, True),
        ("Next.", 7200, False),
    ]


@pytest.mark.parametrize("late", [0, 1, 4, 100])
async def test_a_cancel_may_cut_at_once_with_some_late_frames(autojump_clock, late):
    async with simulate(speed=1.0, cancel="immediate", late_frames=late) as server:
        client = await connect(server)
        seen = await cut(client)
        sent = min(3 + late, 26)
        assert runs(audio(seen)) == [(0, 0, min(960 * sent, 24480))]
        assert seen[-1]["type"] == "done"
        assert server.segments[0].cleared
        ended = [record["data"] for record in server.log if record["event"] == "segment_ended"]
        assert {"number": 0, "sent": min(960 * sent, 24480), "cleared": True} in ended


async def test_a_cancel_may_end_the_wait_for_the_first_audio(autojump_clock):
    async with simulate(first_audio=10.0, cancel="immediate") as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        await trio.sleep(1)
        began = trio.current_time()
        await ask(client, cancel())
        assert kinds(await client.until("done")) == ["done"]
        assert trio.current_time() == began
    assert (server.segments[0].sent, server.segments[0].cleared) == (0, True)


@pytest.mark.parametrize(("acknowledged", "expected"), [(True, ["done"]), (False, [])])
async def test_a_cancel_may_go_without_done(autojump_clock, acknowledged, expected):
    async with simulate(done_after_cancel=acknowledged) as server:
        client = await connect(server)
        await ask(client, request("Waiting", more=True), cancel(), cancel())
        assert kinds(await everything(client)) == expected
    assert server.segments == []


async def test_no_flush_done_comes_for_what_was_cancelled(autojump_clock):
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        await ask(client, request(TEXT, more=True, flush=True))
        await client.receive()
        await ask(client, cancel())
        assert kinds(await client.until("done")) == [23, "done"]


@pytest.mark.parametrize(("answer", "expected"), [("ignored", []), ("error", ["error"])])
async def test_cancelling_what_is_not_there(autojump_clock, answer, expected):
    async with simulate(cancel_unknown=answer) as server:
        client = await connect(server)
        await ask(client, cancel("never-heard-of"))
        assert kinds(await everything(client)) == expected


# Contexts that take no more.


@pytest.mark.parametrize("ending", ["finished", "done", "cancelled", "expired"])
async def test_a_closed_context_answers_every_request_with_an_error(autojump_clock, ending):
    async with simulate(speed=1.0, first_audio=0.1, cancel="immediate") as server:
        client = await connect(server)
        await ask(client, request(TEXT, more=ending in ("cancelled", "expired"), flush=True))
        if ending == "cancelled":
            await ask(client, cancel())
        if ending in ("done", "cancelled"):
            await client.until("done")
        if ending == "expired":
            await client.until("flush_done")
            await trio.sleep(1.0)
        await ask(client, *[request("Too late.", more=True, flush=True)] * 2)
        errors = [await first_error(client), await first_error(client)]
        assert (
            errors[0]
            == errors[1]
            == {
                "type": "error",
                "done": True,
                "status_code": 400,
                "error_code": None,
                "title": "Context has closed",
                "message": errors[0]["message"],
                "request_id": client.headers["x-request-id"] + ":context:one",
                "context_id": "one",
            }
        )
        if ending == "finished":
            assert kinds(await client.until("done"))[-1] == "done", "what was asked before is spoken all the same"
        rejected = [record["data"] for record in server.log if record["event"] == "rejected"]
        assert rejected == [{"title": "Context has closed", "context_id": "one"}] * 2
    assert texts(server) == [TEXT]


@pytest.mark.parametrize(("reported", "expected"), [(False, []), (True, ["done"])])
async def test_a_context_expires_after_its_last_audio(autojump_clock, reported, expected):
    async with simulate(done_after_expiry=reported, context_expiry=2.0, speed=1.0, context_limit=1) as server:
        client = await connect(server)
        await ask(client, request("One. ", more=True))
        for _ in range(8):
            await client.receive()
        await trio.sleep(1.99)
        await ask(client, request("Two. ", more=True))
        for _ in range(8):
            assert json.loads(await client.receive())["context_id"] == "one"
        assert kinds(await everything(client, 2.5)) == expected
        assert [record["event"] for record in server.log].count("context_expired") == 1
        await ask(client, request("Three.", "two"))
        assert kinds(await client.until("done")) == [9, "done"], "its place is free"


async def test_an_expired_context_takes_nothing_before_it_is_reported_either(autojump_clock):
    async with simulate(done_after_expiry=True, end_marker="late") as server:
        client = await connect(server)
        await ask(client, request("One. ", more=True))
        await trio.sleep(2)  # expired after one, and done comes after five
        await ask(client, request("Two. ", more=True))
        assert (await first_error(client))["title"] == "Context has closed"
        assert kinds(await everything(client)) == ["done"]
    assert texts(server) == ["One. "]


async def test_a_context_does_not_expire_while_it_has_something_to_say(autojump_clock):
    async with simulate(first_audio=5.0, release="delay") as server:
        client = await connect(server)
        await ask(client, request("One. ", more=True, flush=True))
        await client.until("flush_done")
        await ask(client, request("Two. ", more=True))
        await trio.sleep(2.9)  # in the buffer, then being generated
        await ask(client, request("Three. ", more=True))
        await trio.sleep(4)
        await ask(client, request("Four."))
        assert kinds(await client.until("done"))[-1] == "done"
    assert "".join(texts(server)) == "One. Two. Three. Four."


async def test_a_context_without_audio_stays_open(autojump_clock):
    async with simulate(initial_transcript="any") as server:
        client = await connect(server)
        await ask(client, request("", more=True))
        await trio.sleep(200)
        await ask(client, request("x"))
        assert kinds(await client.until("done")) == [2, "done"]


# Errors.


@pytest.mark.parametrize(
    ("version", "changes", "title"),
    [
        (NEWEST, {"context_id": None}, "context_id is invalid"),
        (NEWEST, {"context_id": ""}, "context_id is invalid"),
        (NEWEST, {"context_id": 7}, "context_id is invalid"),
        (NEWEST, {"model_id": None}, "model_id is invalid"),
        (NEWEST, {"model_id": "tenor-1"}, "Model not found"),
        (NEWEST, {"model_id": ["sonic-3"]}, "model_id is invalid"),
        (NEWEST, {"transcript": 5}, "transcript is invalid"),
        (NEWEST, {"continue": "yes"}, "continue is invalid"),
        (NEWEST, {"flush": 1}, "flush is invalid"),
        (NEWEST, {"voice": None}, "voice is invalid"),
        (NEWEST, {"voice": ""}, "voice is invalid"),
        (NEWEST, {"voice": {"mode": "id"}}, "voice is invalid"),
        (NEWEST, {"voice": {"mode": "name", "id": "x"}}, "voice is invalid"),
        (NEWEST, {"voice": {"mode": "embedding", "embedding": [0.5]}}, "voice is invalid"),
        ("2026-03-01", {"voice": "6ccbfb76"}, "voice is invalid"),
        ("2026-03-01", {"voice": {"id": "6ccbfb76"}}, "voice is invalid"),
        ("2025-04-16", {"voice": {"mode": "embedding", "embedding": [0.5]}}, "voice is invalid"),
        (OLD, {"voice": {"mode": "embedding"}}, "voice is invalid"),
        (OLD, {"voice": {"mode": "id", "embedding": [0.5]}}, "voice is invalid"),
        (NEWEST, {"output_format": None}, "output_format is invalid"),
        (
            NEWEST,
            {"output_format": {"container": "wav", "encoding": "pcm_s16le", "sample_rate": 24000}},
            "output_format is invalid",
        ),
        (
            NEWEST,
            {"output_format": {"container": "raw", "encoding": "pcm_s24le", "sample_rate": 24000}},
            "output_format is invalid",
        ),
        (
            NEWEST,
            {"output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 32000}},
            "output_format is invalid",
        ),
        (NEWEST, {"output_format": {"container": "raw", "encoding": "pcm_s16le"}}, "output_format is invalid"),
        (NEWEST, {"max_buffer_delay_ms": 5001}, "max_buffer_delay_ms is invalid"),
        (NEWEST, {"max_buffer_delay_ms": -1}, "max_buffer_delay_ms is invalid"),
        ("2025-04-16", {"max_buffer_delay_ms": 1001}, "max_buffer_delay_ms is invalid"),
        (NEWEST, {"generation_config": {"volume": 2.1}}, "generation_config is invalid"),
        (NEWEST, {"generation_config": {"speed": 0.5}}, "generation_config is invalid"),
        (NEWEST, {"speed": "hasty"}, "speed is invalid"),
        (NEWEST, {"add_timestamps": "yes"}, "add_timestamps is invalid"),
        (NEWEST, {"transcript": ""}, "Invalid transcript"),
        (NEWEST, {"transcript": " — "}, "Invalid transcript"),
        (NEWEST, {"transcript": "x" * 20_000}, "transcript is invalid"),
    ],
)
async def test_a_request_that_is_wrong_is_answered_in_its_version(autojump_clock, version, changes, title):
    async with simulate() as server:
        client = await connect(server, version=version)
        message = {name: value for name, value in (request(TEXT) | changes).items() if value is not None}
        await ask(client, message)
        error = await first_error(client)
        assert error["status_code"] == 400
        assert error["done"] is True
        assert error.get("context_id") == ("one" if isinstance(changes.get("context_id", ""), str) else None) or (
            "context_id" in changes and "context_id" not in error
        )
        if version >= "2026-03-01":
            assert error["title"] == title
            assert error["error_code"] == ("model_not_found" if title == "Model not found" else None)
            assert "error" not in error
        else:
            assert error["error"].startswith(f"{title}: ")
            assert set(error) <= {"type", "done", "status_code", "error", "context_id"}
        await ask(client, request("Good.", "two", voice={"mode": "id", "id": "x"}))
        assert kinds(await client.until("done"))[-1] == "done", "the connection goes on"


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (NEWEST, {"voice": "6ccbfb76"}),
        (NEWEST, {"voice": {"id": "6ccbfb76", "new": 1}}),
        (OLD, {"voice": {"mode": "embedding", "embedding": [0.5, 1]}, "model_id": "sonic-english"}),
        (NEWEST, {"model_id": "sonic-3-2026-01-12"}),
        (NEWEST, {"model_id": "sonic-latest", "max_buffer_delay_ms": 5000}),
        ("2025-04-16", {"max_buffer_delay_ms": 1000, "speed": "fast", "duration": 2.5, "language": "en"}),
        (NEWEST, {"generation_config": {"volume": 2.0, "speed": 0.6, "emotion": "calm"}, "from_the_future": {}}),
    ],
)
async def test_what_cartesia_accepts_is_accepted(autojump_clock, version, fields):
    async with simulate() as server:
        client = await connect(server, version=version)
        await ask(client, request(TEXT, **fields))
        seen = await client.until("done")
        assert audio(seen) == tagged_pcm(0, 0, 23040)


@pytest.mark.parametrize("message", ["{", "[]", "7", "null", '"text"', "[" * 100_000, b"{}", '{"a": "\\ud800"}'])
async def test_a_message_that_is_none_is_answered(autojump_clock, message):
    async with simulate() as server:
        client = await connect(server)
        await ask(client, message)
        error = await first_error(client)
        assert (error["status_code"], "context_id" in error) == (400, False)
        await ask(client, request("Good."))
        await client.until("done")


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": "sonic-3"},
        {"voice": "another"},
        {"language": "de"},
        {"add_timestamps": True},
        {"output_format": BASE["output_format"] | {"sample_rate": 8000}},
    ],
)
async def test_fields_must_stay_the_same_within_a_context(autojump_clock, change):
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        await ask(client, request(TEXT, more=True, flush=True), request(" More.", more=True, flush=True))
        await client.receive()
        await ask(client, request(" Changed.", **change))
        error = await first_error(client)
        assert (error["status_code"], error["context_id"]) == (400, "one")
        assert next(iter(change)) in error["message"]
        assert await everything(client, 10) == [], "it ended the context"
        await ask(client, request("x"))
        assert (await first_error(client))["title"] == "Context has closed"
    assert [(each.sent, each.cleared) for each in server.segments] == [(960, False), (0, False)]


async def test_fields_that_may_change_and_nulls_are_no_change(autojump_clock):
    async with simulate() as server:
        client = await connect(server)
        await ask(
            client,
            request("One", more=True, duration=1),
            request(" two", more=True, flush=True) | {"language": None, "unheard_of": 5},
            request(" three", duration=3.5),
        )
        assert kinds(await client.until("done"))[-1] == "done"
    assert texts(server) == ["One two", " three"]


@pytest.mark.parametrize(("checked", "kind"), [(True, "error"), (False, "done")])
async def test_the_empty_end_may_be_let_pass(autojump_clock, checked, kind):
    async with simulate(empty_final_checked=checked) as server:
        client = await connect(server)
        await ask(client, request("One.", more=True), request("", model_id="sonic-latest"))
        assert kinds(await everything(client))[-1] == kind


@pytest.mark.parametrize("version", [NEWEST, OLD])
async def test_errors_need_not_name_their_context(autojump_clock, version):
    async with simulate(error_context=False) as server:
        client = await connect(server, version=version)
        await ask(client, request(TEXT, "this-context", voice=7))
        assert "this-context" not in json.dumps(await first_error(client))


async def test_too_many_contexts_are_refused_over_all_connections(autojump_clock):
    async with simulate(context_limit=2, speed=1.0) as server:
        clients = [await connect(server) for _ in range(3)]
        for number, client in enumerate(clients):
            await ask(client, request(TEXT, f"context {number}"))
        error = await first_error(clients[2])
        assert (error["status_code"], error["error_code"]) == (429, "concurrency_limited")
        assert error["context_id"] == "context 2"
        await ask(clients[0], cancel("context 0"))
        await ask(clients[2], request(TEXT, "context 2"))
        assert (await first_error(clients[2]))["status_code"] == 429, "what runs on counts"
        await clients[1].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await ask(clients[2], request(TEXT, "context 2"))
        assert len(audio(await clients[2].until("done"), "context 2")) == 46080, "the id was not used up"


async def test_a_context_may_begin_with_anything_if_so_told(autojump_clock):
    async with simulate(initial_transcript="any") as server:
        client = await connect(server)
        await ask(client, request(""), request(" — ", "two"))
        seen = await everything(client)
    assert kinds([message for message in seen if message["context_id"] == "one"]) == ["done"]
    assert texts(server) == [" — "]


async def test_an_empty_context_has_no_audio_and_is_done(autojump_clock):
    async with simulate(initial_transcript="any") as server:
        client = await connect(server)
        await ask(client, request("", more=True), request("", more=True, flush=True), request(""))
        assert kinds(await client.until("done")) == ["flush_done", "done"]


async def test_no_more_waits_than_a_context_can_hold(autojump_clock, monkeypatch):
    monkeypatch.setattr(_cartesia_context, "MAX_WAITING", 100)
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        for _ in range(20):  # what has been spoken waits no more
            await ask(client, request("spoken", more=True, flush=True))
            await client.until("flush_done")
        await ask(client, request("spoken", more=True, flush=True))
        await client.receive()
        for _ in range(10):
            await ask(client, request("x" * 9, more=True, flush=True))
        await ask(client, request("one too many", more=True))
        assert (await first_error(client))["title"] == "transcript is invalid"
        await ask(client, request("spoken", "two", more=True, flush=True))
        await client.receive()
        for _ in range(101):
            await ask(client, request("", "two", more=True, flush=True))
        assert (await first_error(client))["context_id"] == "two"


# Confusion.


async def test_a_chunk_of_somebody_else_may_follow_every_chunk(autojump_clock):
    async with simulate(wrong_context=True) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        seen = await client.until("done")
    (stray,) = {message["context_id"] for message in seen} - {"one"}
    assert [message["context_id"] for message in seen[:-1]] == ["one", stray] * 24
    assert audio(seen) == tagged_pcm(0, 0, 23040)
    assert audio(seen, stray) == tagged_pcm(1, 0, 23040)
    assert texts(server) == [TEXT, ""]


async def test_chunks_may_lack_their_context(autojump_clock):
    async with simulate(missing_context=True) as server:
        client = await connect(server)
        await ask(client, request(TEXT))
        seen = await client.until("done")
    assert all("context_id" not in chunk for chunk in seen[:-1])
    assert audio(seen, None) == tagged_pcm(0, 0, 23040)
    assert seen[-1]["context_id"] == "one"


# The connection's own end.


@pytest.mark.parametrize("code", [1000, 1011])
async def test_an_idle_connection_is_closed_and_pings_are_no_use(autojump_clock, code):
    async with simulate(idle_code=code) as server:
        client = await connect(server)
        await trio.sleep(299)
        await ask(client, request("x"))
        await client.until("done")
        began = trio.current_time()
        for _ in range(2):
            await trio.sleep(100)
            await client.ping(b"alive")
        assert await client.receive() == Closed(code, "connection idle timeout")
        assert trio.current_time() - began == pytest.approx(300)
        assert len(client.pongs) == 2


async def test_a_connection_may_have_no_end(autojump_clock):
    async with simulate(idle_timeout=None) as server:
        client = await connect(server)
        assert await everything(client, 1e6) == []


async def test_a_session_may_be_limited(autojump_clock):
    async with simulate(session_limit=60) as server:
        client = await connect(server)
        began = trio.current_time()
        assert isinstance(await client.receive(), Closed)
        assert trio.current_time() - began == pytest.approx(60)


async def test_nothing_more_comes_once_the_client_sends_close(autojump_clock):
    async with simulate(first_audio=0.1) as server:
        client = await connect(server)
        await ask(client, request(TEXT, "a"), request(TEXT, "b"))
        await client.stream.send_all(client.close_frame(1000, "bye"))
        assert await client.receive() == Closed(1000, "bye")
        assert await client.receive() is EOF
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0
    assert [segment.sent for segment in server.segments] == [0, 0]


# The log, options while running, and a voice.


async def test_the_log_has_every_message_but_no_secret_and_no_audio(autojump_clock):
    async with simulate() as server:
        client = await connect(server, headers={"Authorization": "Bearer some-secret-key"})
        await ask(
            client,
            request(
                "Hi.", api_key="s3cret", pronunciation_dict_id="some-secret-key", extra=[{"Authorization": "s3cret"}]
            ),
            "some-secret-key is no JSON",
        )
        seen = await client.until("done")
        while not any(message["type"] == "error" for message in seen):
            seen += await client.until("error")
    whole = json.dumps(server.log, ensure_ascii=False)
    assert "s3cret" not in whole
    assert "some-secret-key" not in whole
    assert '"api_key":"…"' in next(r["data"]["message"] for r in server.log if r["event"] == "received")
    assert next(message["data"] for message in seen if message["type"] == "chunk")[:40] not in whole
    sent = [json.loads(record["data"]["message"]) for record in server.log if record["event"] == "sent"]
    assert sorted(kinds(sent)) == ["done", "error"]


async def test_options_can_be_replaced_between_turns(autojump_clock):
    async with simulate(ms_per_char=10) as server:
        client = await connect(server)
        for context, length in (("a", 480), ("b", 960)):
            await ask(client, request("x", context))
            assert len(audio(await client.until("done"), context)) == length
            server.options = attrs.evolve(server.options, ms_per_char=20)


class FakeVoice:
    """Speaks a constant for a second per character; every word takes half of one."""

    async def speak(self, text, sample_rate):
        await trio.sleep(0.5)
        words = tuple(SpokenWord(word, index / 2, index / 2 + 0.5) for index, word in enumerate(text.split()))
        return Speech(b"\x07\x00" * (len(text) * sample_rate), words)


async def test_a_voice_speaks_instead(autojump_clock):
    async with simulate(FakeVoice(), voice=True, first_audio=0.6) as server:
        client = await connect(server)
        began = trio.current_time()
        output = {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 8000}
        await ask(client, request("a b. ", output_format=output, add_timestamps=True, more=True))
        first = json.loads(await client.receive())
        assert trio.current_time() - began == pytest.approx(0.6), "speaking is part of the wait"
        await ask(client, request("c", output_format=output, add_timestamps=True))
        seen = [first, *await client.until("done")]
    assert audio(seen) == b"\x07\x00" * 48000
    times = [message["word_timestamps"] for message in seen if message["type"] == "timestamps"]
    assert [time["words"] for time in times] == [["a"], ["b."], ["c"]]
    assert times[2]["start"] == [5.0]
    assert [(segment.samples, segment.sent) for segment in server.segments] == [(40000, 40000), (8000, 8000)]


def test_a_voice_must_be_there_to_speak():
    with pytest.raises(ValueError, match="no voice"):
        CartesiaSimulator(CartesiaOptions(voice=True))


def test_options_can_be_read_from_text():
    options = CartesiaOptions.parse(["cancel=immediate", "first_flush_id=0", "buffer_delay=none", "context_limit=3"])
    assert options == CartesiaOptions(cancel="immediate", first_flush_id=0, buffer_delay=None, context_limit=3)
    for bad in ("first_flush_id=2", "done_status=500", "idle_timeout=0", "late_frames=-1"):
        with pytest.raises(ValueError):
            CartesiaOptions.parse([bad])
