"""Smallest's websocket on the wire: handshake, classic requests, and each of the switches."""

import json

import numpy as np
import pytest
import trio
from raw_client import EOF, Closed, Refused, runs
from smallest_client import (
    SAMPLES,
    TEXT,
    audio,
    connect,
    http,
    noted,
    reconfigure,
    request,
    simulated,
    status_of,
    statuses,
)

from voicetrio.simulators import Speech, SpokenWord, tagged_pcm
from voicetrio.simulators._g711 import encode
from voicetrio.simulators.smallest import SmallestOptions, SmallestSimulator

SECOND = "A second turn."  # 20160 samples


# The handshake.


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/waves/v1/tts/live", 101),
        ("/waves/v1/tts/live/", 101),
        ("/waves/v1/tts/live?timeout=5", 101),
        ("/proxy/waves/v1/tts/live", 101),
        ("/waves/v1/lightning-v3.1/get_speech/stream", 101),
        ("/waves/v1/tts", 405),
        ("/waves/v1/lightning-v3.1/get_speech", 405),
        ("/waves/v1/lightning-v3.1/nothing", 404),
        ("/waves/v1/stt/live", 404),
        ("/waves/v1/lightning/get_speech/stream", 410),
        ("/waves/v1/lightning-large/get_speech/stream", 410),
        ("/waves/v1/lightning-v2/get_speech/stream", 410),
    ],
)
async def test_paths(autojump_clock, target, status):
    async with simulated() as server:
        if status == 101:
            client = await connect(server, target)
            assert await client.turn() == tagged_pcm(0, 0, SAMPLES)
        else:
            with pytest.raises(Refused) as caught:
                await connect(server, target)
            assert caught.value.status == status
            assert caught.value.headers["x-request-id"]


async def test_a_model_that_is_gone_says_so(autojump_clock):
    async with simulated(legacy="gone") as server:
        with pytest.raises(Refused) as caught:
            await connect(server, "/waves/v1/lightning-v3.1/get_speech/stream")
        body = json.loads(caught.value.body)
        assert (caught.value.status, body["status"], body["error_code"]) == (410, "error", "MODEL_DEPRECATED")


@pytest.mark.parametrize(
    ("api_key", "headers", "accepted"),
    [
        (None, {"Authorization": "Bearer anything"}, True),
        (None, {"AUTHORIZATION": "bearer k", "Origin": "https://example.org"}, True),
        (None, {}, False),
        (None, {"Authorization": "Bearer"}, False),
        (None, {"Authorization": "Token anything"}, False),
        (None, {"X-API-Key": "anything"}, False),
        ("right", {"Authorization": "Bearer right"}, True),
        ("right", {"Authorization": "Bearer wrong"}, False),
    ],
)
async def test_the_key_is_demanded(autojump_clock, api_key, headers, accepted):
    async with simulated(api_key=api_key) as server:
        if accepted:
            await connect(server, headers=headers)
        else:
            with pytest.raises(Refused) as caught:
                await connect(server, headers=headers)
            assert caught.value.status == 401
            assert json.loads(caught.value.body)["error"] == "Unauthorized"


async def test_one_socket_too_many(autojump_clock):
    async with simulated(concurrent_limit=1) as server:
        first = await connect(server)
        assert (await (await http(server)).post()).status == 200  # HTTP does not count
        with pytest.raises(Refused) as caught:
            await connect(server)
        assert caught.value.status == 429
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await connect(server)


# A request and its answer.


async def test_a_request_is_answered_by_chunks_and_complete(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask(session_id="my.session", request_id="my-request_1")
        seen = await client.until("complete")
    assert statuses(seen) == [24, "complete"]
    assert audio(seen) == tagged_pcm(0, 0, SAMPLES)
    names = {key: seen[0][key] for key in ("session_id", "request_id", "external_session_id", "external_request_id")}
    assert names["session_id"].startswith("ws_")
    assert names["request_id"].startswith("task_")
    assert (names["external_session_id"], names["external_request_id"]) == ("my.session", "my-request_1")
    assert all(message.items() >= names.items() for message in seen)
    assert set(seen[0]) == {*names, "status", "data", "pcm"}
    assert seen[-1] == names | {"status": "complete"}
    assert [(s.text, s.sent, s.cleared) for s in server.segments] == [(TEXT, SAMPLES, False)]
    assert noted(server, "segment_ended") == [{"number": 0, "sent": SAMPLES, "cleared": False}]


@pytest.mark.parametrize(("fields", "echo"), [({}, True), ({"session_id": "s", "request_id": "r"}, False)])
async def test_names_that_are_not_given_or_not_echoed_are_left_out(autojump_clock, fields, echo):
    async with simulated(echo=echo) as server:
        client = await connect(server)
        await client.ask(**fields)
        for message in await client.until("complete"):
            assert not [key for key in message if key.startswith("external")]


async def test_two_requests_on_one_socket_keep_the_session_and_change_the_request(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask()
        first = await client.until("complete")
        await client.ask(SECOND)
        second = await client.until("complete")
        assert audio(second) == tagged_pcm(1, 0, 20160)
        assert first[0]["session_id"] == second[0]["session_id"]
        assert first[0]["request_id"] != second[0]["request_id"]


async def test_ids_follow_the_seed_and_the_connection(autojump_clock):
    seen = []
    for seed in (0, 0, 1):
        async with simulated(seed=seed) as server:
            for _ in range(2):
                client = await connect(server)
                await client.ask("x")
                message = await client.next()
                seen.append((message["session_id"], message["request_id"]))
    assert seen[:2] == seen[2:4]
    assert len(set(seen)) == 4


async def test_the_default_rate_is_44100(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.send({"text": "abcd", "voice_id": "magnus", "complete_backoff_ms": 0})
        assert audio(await client.until("complete")) == tagged_pcm(0, 0, 10584)


@pytest.mark.parametrize(("rate", "samples"), [(8000, 7680), (16000, 15360), (24000, 23040), (44100, 42336)])
async def test_rates(autojump_clock, rate, samples):
    async with simulated() as server:
        client = await connect(server)
        assert await client.turn(sample_rate=rate) == tagged_pcm(0, 0, samples)


@pytest.mark.parametrize(("encoding", "law"), [("ulaw", "mulaw"), ("alaw", "alaw")])
async def test_g711(autojump_clock, encoding, law):
    async with simulated(odd_frames=True) as server:
        client = await connect(server)
        assert await client.turn(output_format=encoding) == encode(tagged_pcm(0, 0, SAMPLES), law)
        assert server.segments[0].sent == SAMPLES


async def test_audio_comes_at_its_pace(autojump_clock):
    async with simulated(first_audio=0.15, speed=4.0) as server:
        client = await connect(server)
        began = trio.current_time()
        await client.ask()
        await client.next()
        assert trio.current_time() - began == pytest.approx(0.15)
        await client.until("complete")
        assert trio.current_time() - began == pytest.approx(0.15 + 0.92 / 4)  # when the last of 24 frames begins


async def test_frames_of_random_and_odd_lengths_with_empty_ones_between(autojump_clock):
    async with simulated(frame_ms_min=10, frame_ms_max=90, odd_frames=True, empty_frames=True) as server:
        client = await connect(server)
        await client.ask()
        seen = await client.until("complete")
        lengths = [len(message["pcm"]) for message in seen[:-1]]
        assert lengths[::2] == [0] * (len(lengths) // 2)
        assert len(set(lengths[1::2])) > 3
        assert {length % 2 for length in lengths[1:-1:2]} == {1}
        assert audio(seen) == tagged_pcm(0, 0, SAMPLES)


class Speaking:
    """A voice that says 100 samples a character, and the first word."""

    async def speak(self, text, sample_rate):
        await trio.lowlevel.checkpoint()
        pcm = np.full(100 * len(text), 7, "<i2").tobytes()
        return Speech(pcm, (SpokenWord(text.split()[0], 0.0, 0.01),))


async def test_a_voice_speaks(autojump_clock):
    async with simulated(Speaking(), voice=True) as server:
        client = await connect(server)
        await client.ask("two words", voice_id="meher", word_timestamps=True)
        seen = await client.until("complete")
        assert len(audio(seen)) == 1800
        assert [m["data"] for m in seen if status_of(m) == "word_timestamp"] == [
            {"id": 0, "word": "two", "start": 0.0, "end": 0.01}
        ]
        assert server.segments[0].samples == server.segments[0].sent == 900


async def test_a_voice_must_be_given(autojump_clock):
    with pytest.raises(ValueError, match="no voice"):
        SmallestSimulator(SmallestOptions(voice=True))


# Words.


async def test_words_come_after_the_audio_in_which_they_begin(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask("Hello from, trio.", voice_id="meher", word_timestamps=True)
        seen = await client.until("complete")
    heard, words = 0.0, []
    for message in seen:
        if status_of(message) == "chunk":
            heard += len(message["pcm"]) / 48000
        elif status_of(message) == "word_timestamp":
            assert heard > message["data"]["start"] > heard - 0.041
            words.append(message["data"])
    assert words == [
        {"id": 0, "word": "Hello", "start": 0.0, "end": 0.3},
        {"id": 1, "word": "from,", "start": 0.36, "end": 0.66},
        {"id": 2, "word": "trio.", "start": 0.72, "end": 1.02},
    ]


@pytest.mark.parametrize(
    ("voice", "asked", "told"), [("avery", True, 3), ("magnus", True, 0), ("avery", False, 0), ("avery", None, 0)]
)
async def test_only_some_voices_tell_words_and_only_if_asked(autojump_clock, voice, asked, told):
    async with simulated() as server:
        client = await connect(server)
        await client.ask(voice_id=voice, word_timestamps=asked)
        seen = await client.until("complete")
        assert sum(status_of(message) == "word_timestamp" for message in seen) == told
        assert len(audio(seen)) == 2 * SAMPLES


async def test_times_of_words_go_on_within_a_request_and_restart_with_the_next(autojump_clock):
    async with simulated(word_voices="ada") as server:
        client = await connect(server)
        settings = {"voice_id": "ada", "word_timestamps": True}
        await client.ask("One. Two. ", **settings, **{"continue": True})
        await client.ask("Three.", **settings)
        seen = await client.until("complete")
        await client.ask("Four.", **settings)
        seen += await client.until("complete")
    words = [message["data"] for message in seen if status_of(message) == "word_timestamp"]
    assert [(word["id"], word["word"], word["start"]) for word in words] == [
        (0, "One.", 0.0),
        (1, "Two.", 0.3),
        (2, "Three.", 0.6),
        (0, "Four.", 0.0),
    ]


# Complete.


@pytest.mark.parametrize(
    ("fields", "clamp", "delay"),
    [
        ({}, None, 4.0),
        ({"complete_backoff_ms": None}, None, 4.0),
        ({"complete_backoff_ms": 0}, None, 0.0),
        ({"complete_backoff_ms": 250}, None, 0.25),
        ({"complete_backoff_ms": 0}, 4000, 4.0),
        ({"complete_backoff_ms": 10000}, 4000, 10.0),
    ],
)
async def test_complete_comes_some_time_after_the_last_chunk(autojump_clock, fields, clamp, delay):
    async with simulated(backoff_clamp=clamp) as server:
        client = await connect(server)
        message = request() | fields
        if not fields:
            del message["complete_backoff_ms"]
        began = trio.current_time()
        await client.send(message)
        await client.until("complete")
        assert trio.current_time() - began == pytest.approx(delay)


async def test_a_complete_that_is_due_holds_up_no_audio(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        began = trio.current_time()
        await client.ask(request_id="a", complete_backoff_ms=4000)
        await client.ask(SECOND, request_id="b", complete_backoff_ms=100)
        seen = await client.until("complete")
        assert (audio(seen, "a"), audio(seen, "b")) == (tagged_pcm(0, 0, SAMPLES), tagged_pcm(1, 0, 20160))
        assert seen[-1]["external_request_id"] == "b"
        assert (await client.next())["external_request_id"] == "a"
        assert trio.current_time() - began == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("marker", "times"), [("normal", [0.0]), ("none", []), ("late", [2.5]), ("double", [0.0, 0.0])]
)
async def test_end_markers(autojump_clock, marker, times):
    async with simulated(end_marker=marker, end_marker_delay=2.5) as server:
        client = await connect(server)
        began, seen = trio.current_time(), []
        await client.ask()
        with trio.move_on_after(50):
            while True:
                if status_of(await client.next()) == "complete":
                    seen.append(trio.current_time() - began)
        assert seen == times


async def test_the_socket_may_be_closed_after_complete(autojump_clock):
    async with simulated(close_after_complete=True) as server:
        client = await connect(server)
        await client.ask(request_id="a")
        await client.ask(SECOND, request_id="b", complete_backoff_ms=100)
        seen = await client.until(None)
        assert statuses(seen)[-1] == Closed(1000, "")
        assert [m["external_request_id"] for m in seen if status_of(m) == "complete"] == ["a", "b"]
        assert len(audio(seen)) == 2 * (SAMPLES + 20160)
        assert await client.next() is EOF


async def test_audio_before_it_was_asked_for(autojump_clock):
    async with simulated(audio_before_asked=3) as server:
        client = await connect(server)
        first = [await client.next() for _ in range(3)]
        assert audio(first) == tagged_pcm(0, 0, 3 * 1764)
        assert server.segments[0].text == ""
        assert await client.turn() == tagged_pcm(1, 0, SAMPLES)


def test_options_can_be_written_as_text():
    texts = ["running_limit=2", "excess=queue", "voices=none", "word_voices=ada bob", "completes=once", "stall_after=3"]
    options = SmallestOptions.parse([*texts, "idle_timeout=none", "backoff_clamp=4000", "late-frames=2"])
    assert (options.running_limit, options.excess, options.voices, options.word_voices) == (2, "queue", None, "ada bob")
    assert (options.completes, options.idle_timeout, options.faults.stall_after) == ("once", None, 3)


# Text in fragments.


async def test_fragments_are_spoken_by_the_sentence_and_completed_once(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        for text in ("Hel", "lo there", ". How ", "are you"):
            await client.ask(text, request_id="r", **{"continue": True})
        seen = await client.hear(10)
        assert [segment.text for segment in server.segments] == ["Hello there."]
        await client.ask("?", request_id="r")
        seen += await client.until("complete")
        assert [segment.text for segment in server.segments] == ["Hello there.", " How are you?"]
        assert statuses(seen)[1:] == ["complete"]
        assert runs(audio(seen)) == [(0, 0, 17280), (1, 0, 18720)]
        assert len({message["request_id"] for message in seen}) == 1


async def test_a_flush_ends_the_text(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask("Hello ", **{"continue": True})
        await client.ask("there", **{"continue": True})
        await client.ask("", flush=True)
        seen = await client.until("complete")
        assert [segment.text for segment in server.segments] == ["Hello there"]
        assert runs(audio(seen)) == [(0, 0, 15840)]


async def test_a_flush_after_all_was_spoken_is_answered_by_complete(autojump_clock):
    async with simulated(first_audio=1) as server:
        client = await connect(server)
        await client.ask("Hello there.", **{"continue": True})
        await client.ask("", flush=True)
        seen = await client.until("complete")
        assert statuses(seen) == [18, "complete"], "after the audio"


async def test_text_that_waits_is_released_after_a_while(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        began = trio.current_time()
        await client.ask("One, ", max_buffer_flush_ms=300, **{"continue": True})
        await trio.sleep(0.2)
        await client.ask("two", max_buffer_flush_ms=300, **{"continue": True})
        await client.next()
        assert trio.current_time() - began == pytest.approx(0.3)
        assert [segment.text for segment in server.segments] == ["One, two"]
        await client.ask(" three", max_buffer_flush_ms=300, **{"continue": True})
        await trio.sleep(0.25)
        await client.ask(" and. More", max_buffer_flush_ms=300, **{"continue": True})
        await trio.sleep(0.1)
        assert [segment.text for segment in server.segments][1:] == [" three and."], "the timer began anew"
        await trio.sleep(0.25)
        assert [segment.text for segment in server.segments][2:] == [" More"]


async def test_blank_text_is_completed_without_audio(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask(" ")
        assert statuses(await client.until("complete")) == ["complete"]
        assert server.segments == []


async def test_too_much_text_that_waits(autojump_clock):
    async with simulated(ms_per_char=1.0) as server:
        client = await connect(server)
        for _ in range(3):
            await client.ask("x" * 9000, **{"continue": True})
        assert statuses(await client.hear(1)) == ["error"]
        await client.ask("", flush=True)
        await client.until("complete")
        assert len(server.segments[0].text) == 18000


# What is refused.


@pytest.mark.parametrize(
    "fields",
    [
        {"voice_id": None},
        {"voice_id": ""},
        {"voice_id": "no such voice"},
        {"voice_id": 5},
        {"model": "lightning-v3.1"},
        {"language": "tlh"},
        {"number_pronunciation_language": "tlh"},
        {"sample_rate": 22050},
        {"sample_rate": "24000"},
        {"speed": 0.4},
        {"speed": 2.1},
        {"speed": float("nan")},
        {"max_buffer_flush_ms": 1001},
        {"complete_backoff_ms": -1},
        {"complete_backoff_ms": 10001},
        {"output_format": "mp3"},
        {"output_format": "wav"},
        {"request_id": "no spaces"},
        {"request_id": "x" * 129},
        {"session_id": "ä"},
        {"text": None},
        {"text": 5},
        {"text": ""},
        {"text": "", "flush": True},
        {"text": None, "flush": True},
        {"cancel_request": True},
        {"type": "ping"} | {"text": None},
    ],
)
async def test_a_bad_message_is_answered_by_an_error_and_the_socket_stays(autojump_clock, fields):
    async with simulated() as server:
        client = await connect(server)
        await client.ask(**fields)
        error = await client.next()
        assert error["status"] == "error"
        assert error["message"]
        assert await client.turn() == tagged_pcm(0, 0, SAMPLES)


@pytest.mark.parametrize(
    "message", ["", "{", "nonsense", "[]", "null", '"text"', "[" * 100_000, '{"text":"\\ud800"}', b"\x00\x01", b""]
)
async def test_nonsense_is_answered_by_an_error_and_the_socket_stays(autojump_clock, message):
    async with simulated() as server:
        client = await connect(server)
        await client.send(message)
        assert (await client.next())["status"] == "error"
        assert await client.turn() == tagged_pcm(0, 0, SAMPLES)


async def test_what_the_vendor_accepts_is_accepted(autojump_clock):
    fields = {
        "model": "lightning_v3.1_pro",
        "language": "auto",
        "number_pronunciation_language": "hi",
        "speed": 2,
        "sample_rate": 24000.0,
        "max_buffer_flush_ms": 1000,
        "output_format": "pcm",
        "math_notation": True,
        "enhancement": 1,
        "pronunciation_dicts": ["d"],
        "context_id": None,
        "flush": None,
        "continue": None,
        "cancel_request": False,
        "request_id": "A-z_0.9" * 18,
    }
    async with simulated() as server:
        client = await connect(server)
        assert await client.turn(**fields) == tagged_pcm(0, 0, SAMPLES)


@pytest.mark.parametrize(
    ("shape", "ids", "expected"),
    [
        ("message", True, {"session_id", "request_id", "external_request_id", "status", "message"}),
        ("message", False, {"status", "message"}),
        ("error", True, {"session_id", "request_id", "external_request_id", "status", "error"}),
        ("error", False, {"status", "error"}),
    ],
)
async def test_shapes_of_an_error(autojump_clock, shape, ids, expected):
    async with simulated(error_shape=shape, error_ids=ids) as server:
        client = await connect(server)
        await client.ask(speed=9, request_id="r")
        error = await client.next()
        assert set(error) == expected
        assert error.get("external_request_id", "r") == "r"
        if shape == "error":
            assert set(error["error"]) == {"message", "code"}


async def test_voices_can_be_limited(autojump_clock):
    async with simulated(voices="ada magnus") as server:
        client = await connect(server)
        await client.ask(voice_id="ad")
        assert (await client.next())["status"] == "error"
        assert len(await client.turn(voice_id="ada")) == 2 * SAMPLES


@pytest.mark.parametrize(("limit", "answer"), [(15, "error"), (16, "chunk"), (None, "chunk")])
async def test_text_can_be_limited(autojump_clock, limit, answer):
    async with simulated(text_limit=limit) as server:
        client = await connect(server)
        await client.ask()
        assert (await client.next())["status"] == answer


async def test_flush_alone_can_be_allowed(autojump_clock):
    async with simulated(flush_only_refused=False) as server:
        client = await connect(server)
        await client.ask("Hello", request_id="r", **{"continue": True})
        await client.send({"flush": True})
        seen = await client.until("complete")
        assert len(audio(seen)) == 14400
        assert seen[-1]["external_request_id"] == "r"


async def test_pings_can_be_answered(autojump_clock):
    async with simulated(pings=True) as server:
        client = await connect(server)
        await client.send({"type": "ping"})
        assert await client.next() == {"type": "pong"}


# Limits.


async def test_a_request_over_the_limit_is_refused_with_its_names(autojump_clock):
    async with simulated(running_limit=1, speed=1.0) as server:
        client, other = await connect(server), await connect(server)
        await client.ask(request_id="a")
        await other.ask(request_id="b")
        error = await other.next()
        assert (error["status"], error["external_request_id"]) == ("error", "b")
        assert statuses(await client.until("complete")) == [24, "complete"]
        assert len(await other.turn(SECOND)) == 40320
        assert [segment.text for segment in server.segments] == [TEXT, SECOND]


async def test_the_second_request_of_a_socket_counts_too(autojump_clock):
    async with simulated(running_limit=1, speed=1.0) as server:
        client = await connect(server)
        await client.ask(request_id="a")
        await client.ask(request_id="b")
        seen = await client.until("complete")
        assert [m["external_request_id"] for m in seen if status_of(m) == "error"] == ["b"]
        assert seen[-1]["external_request_id"] == "a"


async def test_requests_over_the_limit_can_wait(autojump_clock):
    async with simulated(running_limit=1, excess="queue", speed=1.0) as server:
        clients = [await connect(server) for _ in range(3)]
        began = trio.current_time()
        for client in clients:
            await client.ask()
            await trio.testing.wait_all_tasks_blocked()
        ends = []
        for client in clients:
            assert len(audio(await client.until("complete"))) == 2 * SAMPLES
            ends.append(trio.current_time() - began)
        assert ends == pytest.approx([0.92, 1.84, 2.76])


async def test_a_socket_that_closes_gives_its_request_back(autojump_clock):
    async with simulated(running_limit=1, speed=1.0) as server:
        client, other = await connect(server), await connect(server)
        await client.ask()
        await client.next()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.segments[0].cleared
        assert noted(server, "segment_ended") == [{"number": 0, "sent": 960, "cleared": True}]
        assert len(await other.turn()) == 2 * SAMPLES


async def test_requests_can_be_interleaved(autojump_clock):
    async with simulated(interleave=True) as server:
        client = await connect(server)
        await client.ask(request_id="a")
        await client.ask(request_id="b")
        seen = []
        while sum(status_of(message) == "complete" for message in seen) < 2:
            seen += await client.until("complete")
        assert audio(seen, "a") == tagged_pcm(0, 0, SAMPLES)
        assert audio(seen, "b") == tagged_pcm(1, 0, SAMPLES)
        order = [m["external_request_id"] for m in seen if status_of(m) == "chunk"]
        assert "ab" * 20 in "".join(order)


async def test_requests_are_spoken_one_after_the_other_by_default(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        for name in "abc":
            await client.ask(request_id=name)
        seen = await client.hear(5)
        assert [m["external_request_id"] for m in seen if status_of(m) == "chunk"] == [*"a" * 24, *"b" * 24, *"c" * 24]


@pytest.mark.parametrize(
    ("option", "query", "limit"),
    [
        (60.0, "", 60.0),
        (5.5, "", 5.5),
        (60.0, "?timeout=120", 120.0),
        (60.0, "?timeout=5", 5.0),
        (60.0, "?timeout=never", 60.0),
        (60.0, "?timeout=0", 60.0),
        (60.0, "?timeout=-5", 60.0),
        (None, "?timeout=7", 7.0),
        (None, "", None),
    ],
)
async def test_an_idle_socket_is_closed_with_an_error(autojump_clock, option, query, limit):
    async with simulated(idle_timeout=option) as server:
        client = await connect(server, f"/waves/v1/tts/live{query}")
        await trio.sleep(3)
        await client.ask()
        asked = trio.current_time()
        with trio.move_on_after(10_000) as scope:
            seen = await client.until("error")
        if limit is None:
            assert scope.cancelled_caught
            return
        message = f"Connection timed out after {limit:g} seconds of inactivity"
        assert seen[-1] == {"status": "error", "message": message}
        assert trio.current_time() - asked == limit
        assert await client.next() == Closed(1000, "")


async def test_any_message_and_no_audio_resets_the_idle_timer(autojump_clock):
    async with simulated(speed=0.01) as server:
        client = await connect(server)
        await client.ask()
        await trio.sleep(50)
        await client.send("nonsense")
        asked = trio.current_time()
        await client.until("error")
        seen = await client.until("error")
        assert "inactivity" in seen[-1]["message"]
        assert trio.current_time() - asked == 60


async def test_a_session_can_be_limited(autojump_clock):
    async with simulated(session_limit=7) as server:
        client = await connect(server)
        began = trio.current_time()
        await client.ask()
        assert (await client.until(None))[-1] == Closed(1000, "")
        assert trio.current_time() - began == 7


async def test_options_can_be_replaced_while_a_socket_is_open(autojump_clock):
    async with simulated(speed=1.0) as server:
        client = await connect(server)
        await client.ask()
        await client.next()
        reconfigure(server, end_marker="none")
        assert len(audio(await client.hear(10))) == 2 * SAMPLES - 1920
        assert trio.current_time() < 11


async def test_secrets_in_messages_are_not_logged(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.ask("hush is fine here", api_key='hidden "key"', token="hidden")
        await client.until("complete")
    received = noted(server, "received")[0]["message"]
    assert json.loads(received)["api_key"] == json.loads(received)["token"] == "…"
    assert "hidden" not in json.dumps(server.log)


async def test_audio_is_not_logged(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.turn()
    assert [json.loads(data["message"])["status"] for data in noted(server, "sent")] == ["complete"]
