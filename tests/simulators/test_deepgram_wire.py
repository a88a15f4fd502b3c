"""The protocol of Deepgram's simulator and each of its switches, on the wire."""

import json

import attrs
import numpy as np
import pytest
import trio
from raw_client import EOF, Closed, Refused, audio, runs

from voicetrio.simulators import DeepgramOptions, DeepgramSimulator, Speech, tagged_pcm
from voicetrio.simulators._g711 import encode

TEXT = "Hello from trio."  # 16 characters: 0.96 s, 23040 samples at 24 kHz, 24 frames of 40 ms


def kinds(messages):
    """Types of JSON messages, and runs of audio frames as their number."""
    found = []
    for message in messages:
        if isinstance(message, bytes):
            found[-1:] = [found[-1] + 1] if found and isinstance(found[-1], int) else [*found[-1:], 1]
        else:
            found.append(message["type"] if isinstance(message, dict) else message)
    return found


# The handshake.


async def test_metadata_comes_at_once_with_the_request_id_of_the_header(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server, "/v1/speak?model=aura-2-thalia-en")
        (metadata,) = await client.until("Metadata")
    assert metadata == {
        "type": "Metadata",
        "request_id": client.headers["dg-request-id"],
        "model_name": "aura-2-thalia-en",
        "model_version": metadata["model_version"],
        "model_uuid": client.headers["dg-model-uuid"],
        "additional_model_uuids": [],
    }
    assert client.headers["dg-model-name"] == "aura-2-thalia-en"


async def test_request_ids_follow_the_seed_and_the_connection(autojump_clock, simulate, connect):
    seen = []
    for seed in (0, 0, 1):
        async with simulate(seed=seed) as server:
            seen += [(await connect(server)).headers["dg-request-id"] for _ in range(2)]
    assert seen[:2] == seen[2:4]
    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v1/listen", 404, "NOT_FOUND"),
        ("/v1/speak?model=aura-2-helios-en", 400, "Bad Request"),
        ("/v1/speak?encoding=mp3", 400, "INVALID_QUERY_PARAMETER"),
        ("/v1/speak?sample_rate=22050", 400, "INVALID_QUERY_PARAMETER"),
        ("/v1/speak?encoding=mulaw&sample_rate=24000", 400, "INVALID_QUERY_PARAMETER"),
        ("/v1/speak?mip_opt_out=perhaps", 400, "INVALID_QUERY_PARAMETER"),
        ("/v1/speak?model=aura-2-thalia-en&speed=1.6", 400, "INVALID_QUERY_PARAMETER"),
        ("/v1/speak?model=aura-2-thalia-en&speed=fast", 400, "INVALID_QUERY_PARAMETER"),
        ("/v1/speak?model=aura-asteria-en&speed=1.2", 400, "INVALID_QUERY_PARAMETER"),
        ("/v1/speak?model=aura-2-julius-de&speed=1.2", 400, "INVALID_QUERY_PARAMETER"),
    ],
)
async def test_a_bad_request_is_refused_in_deepgrams_words(autojump_clock, simulate, connect, target, status, code):
    async with simulate() as server:
        with pytest.raises(Refused) as caught:
            await connect(server, target)
    assert caught.value.status == status
    body = json.loads(caught.value.body)
    assert body["err_code"] == code
    assert body["err_msg"] == caught.value.headers["dg-error"]
    assert body["request_id"] == caught.value.headers["dg-request-id"]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/speak?model=aura-2-celeste-es&speed=0.7&mip_opt_out=true&encoding=linear16&sample_rate=48000",
        "/v1/speak?encoding=alaw&sample_rate=16000&bit_rate=32000&container=none&something=new",
        "/proxy/v1/speak",
    ],
)
async def test_what_deepgram_accepts_is_accepted(autojump_clock, simulate, connect, target):
    async with simulate() as server:
        await connect(server, target)


@pytest.mark.parametrize(
    ("api_key", "headers", "subprotocols", "accepted"),
    [
        (None, {"Authorization": "Token anything"}, (), True),
        (None, {"Authorization": "bearer a.b.c"}, (), True),
        (None, {"AUTHORIZATION": "token k", "Origin": "https://example.org"}, (), True),
        (None, {}, (), False),
        (None, {"Authorization": "Token"}, (), False),
        (None, {"Authorization": "Basic anything"}, (), False),
        (None, {"X-API-Key": "anything"}, (), False),
        ("right", {"Authorization": "Token right"}, (), True),
        ("right", {"Authorization": "Token wrong"}, (), False),
        (None, {}, ("token", "anything"), True),
        ("right", {}, ("token", "right"), True),
        ("right", {}, ("token", "wrong"), False),
        (None, {}, ("chat", "anything"), False),
    ],
)
async def test_the_key_is_demanded(autojump_clock, simulate, connect, api_key, headers, subprotocols, accepted):
    async with simulate(api_key=api_key) as server:
        if accepted:
            client = await connect(server, headers=headers, subprotocols=subprotocols)
            assert client.subprotocol == (subprotocols[0] if subprotocols else None)
        else:
            with pytest.raises(Refused) as caught:
                await connect(server, headers=headers, subprotocols=subprotocols)
            assert caught.value.status == 401
            assert json.loads(caught.value.body)["err_code"] == "INVALID_AUTH"


async def test_more_connections_than_allowed_get_429(autojump_clock, simulate, connect):
    async with simulate(concurrent_limit=1) as server:
        first = await connect(server)
        with pytest.raises(Refused) as caught:
            await connect(server)
        assert caught.value.status == 429
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await connect(server)


async def test_a_request_without_upgrade_gets_426(autojump_clock, simulate):
    async with simulate() as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(b"GET /v1/speak HTTP/1.1\r\nHost: x\r\nAuthorization: Token k\r\n\r\n")
        answer = await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")


# Speaking.


async def test_a_turn_is_tagged_to_the_sample_and_ends_with_flushed(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say("Hello ", "from trio.")
        seen = await client.until("Flushed")
    assert kinds(seen) == [24, "Flushed"]
    assert {len(frame) for frame in seen[:-1]} == {1920}
    assert seen[-1] == {"type": "Flushed", "sequence_id": 0}
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


async def test_nothing_is_said_before_a_flush(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.send({"type": "Speak", "text": TEXT})
        with trio.move_on_after(1000) as scope:
            await client.receive()
        assert scope.cancelled_caught
        assert server.segments == []


async def test_flushes_are_answered_in_order_and_numbered(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        await client.until("Metadata")
        for text in ("One. ", "Two, longer. ", "Three. "):
            await client.say(text)
        ends = [await client.until("Flushed") for _ in range(3)]
    assert [seen[-1]["sequence_id"] for seen in ends] == [0, 1, 2]
    assert [runs(audio(seen)) for seen in ends] == [[(0, 0, 7200)], [(1, 0, 18720)], [(2, 0, 10080)]]


async def test_segments_are_numbered_for_the_server_and_wrap_in_the_tags(autojump_clock, simulate, connect):
    async with simulate(ms_per_char=1) as server:
        clients = [await connect(server) for _ in range(2)]
        for _ in range(513):
            for client in clients:
                pcm = await client.turn("ab")
        assert runs(pcm) == [(1, 0, 48)]
    assert [segment.number for segment in server.segments] == [*range(1024), 0, 1]
    assert [segment.connection for segment in server.segments] == [0, 1] * 513


@pytest.mark.parametrize(("rate", "samples"), [(8000, 7680), (16000, 15360), (32000, 30720), (48000, 46080)])
async def test_the_length_follows_the_sample_rate(autojump_clock, simulate, connect, rate, samples):
    async with simulate() as server:
        client = await connect(server, f"/v1/speak?sample_rate={rate}")
        assert await client.turn(TEXT) == tagged_pcm(0, 0, samples)


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
async def test_companded_audio_is_the_tagged_pcm_encoded(autojump_clock, simulate, connect, encoding):
    async with simulate() as server:
        client = await connect(server, f"/v1/speak?encoding={encoding}")
        pcm = await client.turn(TEXT)
    assert pcm == encode(tagged_pcm(0, 0, 7680), encoding)
    assert server.segments[0].sent == 7680


@pytest.mark.parametrize(
    ("encoding", "codes"),
    [
        # As audioop of Python 3.11 gives them.
        ("mulaw", {0: 0xFF, -1: 0x7E, 1000: 0xCE, -1000: 0x4E, 32767: 0x80, -32768: 0x00}),
        ("alaw", {0: 0xD5, -1: 0x55, 1000: 0xFA, -1000: 0x7A, 32767: 0xAA, -32768: 0x2A}),
    ],
)
def test_companding_gives_known_codes(encoding, codes):
    pcm = np.array(list(codes), "<i2").tobytes()
    assert list(encode(pcm, encoding)) == list(codes.values())


async def test_audio_is_paced_exactly(autojump_clock, simulate, connect):
    async with simulate(first_audio=0.137, speed=4.0) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say(TEXT)
        began = trio.current_time()
        times = []
        while isinstance(await client.receive(), bytes):
            times.append(trio.current_time() - began)
    assert times == pytest.approx([0.137 + index * 0.01 for index in range(24)], abs=1e-9)


async def test_frames_have_random_lengths_from_the_seed(autojump_clock, simulate, connect):
    lengths = []
    for seed in (1, 1, 2):
        async with simulate(frame_ms_min=5, frame_ms_max=80, seed=seed) as server:
            client = await connect(server)
            await client.until("Metadata")
            await client.say(TEXT)
            seen = await client.until("Flushed")
            assert audio(seen) == tagged_pcm(0, 0, 23040)
            lengths.append([len(frame) for frame in seen[:-1]])
    assert lengths[0] == lengths[1] != lengths[2]
    assert all(240 <= length <= 3840 for length in lengths[0][:-1])
    assert len(set(lengths[0])) > 5


async def test_frames_may_tear_samples(autojump_clock, simulate, connect):
    async with simulate(odd_frames=True) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say(TEXT)
        seen = await client.until("Flushed")
    assert {len(frame) for frame in seen[:-2]} == {1921}
    assert audio(seen) == tagged_pcm(0, 0, 23040)


async def test_empty_frames_come_between(autojump_clock, simulate, connect):
    async with simulate(empty_frames=True) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say(TEXT)
        seen = await client.until("Flushed")
    assert [len(frame) for frame in seen[:-1]] == [0, 1920] * 24
    assert audio(seen) == tagged_pcm(0, 0, 23040)


async def test_audio_may_come_before_it_was_asked_for(autojump_clock, simulate, connect):
    async with simulate(audio_before_asked=3) as server:
        client = await connect(server)
        seen = [await client.receive() for _ in range(4)]
        assert runs(audio(seen[1:])) == [(0, 0, 2880)]
        assert runs(await client.turn("Hi")) == [(1, 0, 2880)]
    assert [segment.text for segment in server.segments] == ["", "Hi"]


async def test_audio_may_come_before_the_flush(autojump_clock, simulate, connect):
    async with simulate(early_audio=10) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.send({"type": "Speak", "text": "Hello "})
        await client.send({"type": "Speak", "text": "from trio. "})
        assert isinstance(await client.receive(), bytes)
        await client.say("Bye.")
        seen = await client.until("Flushed")
        assert seen[-1]["sequence_id"] == 0
    assert [segment.text for segment in server.segments] == ["Hello from trio. ", "Bye."]
    assert [segment.sent for segment in server.segments] == [24480, 5760]


@pytest.mark.parametrize(("answered", "expected"), [(True, ["Flushed", 1, "Flushed"]), (False, [1, "Flushed"])])
async def test_an_empty_flush_is_answered_or_not(autojump_clock, simulate, connect, answered, expected):
    async with simulate(empty_flush_answered=answered, ms_per_char=10) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say()
        await client.say("x")
        seen = await client.until("Flushed")
        if answered:
            seen += await client.until("Flushed")
    assert kinds(seen) == expected
    assert len(server.segments) == 1


@pytest.mark.parametrize(
    ("marker", "expected"),
    [("normal", ["Flushed"]), ("none", []), ("late", ["Flushed"]), ("double", ["Flushed", "Flushed"])],
)
async def test_the_end_marker_has_four_ways(autojump_clock, simulate, connect, marker, expected):
    async with simulate(end_marker=marker, ms_per_char=10) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say("x")
        began, seen, last = trio.current_time(), [], None
        with trio.move_on_after(60):
            while True:
                seen.append(await client.receive())
                last = trio.current_time() - began
        messages = [json.loads(message) for message in seen if isinstance(message, str)]
        assert [message["type"] for message in messages] == expected
        assert {message["sequence_id"] for message in messages} <= {0}
        assert last == (4.0 if marker == "late" else 0.0)


# Clear.


async def cut(client, frames=3):
    """Say something and clear it after some frames; what came up to Cleared."""
    await client.say(TEXT)
    seen = []
    while len(seen) < frames:
        message = await client.receive()
        if isinstance(message, bytes):
            seen.append(message)
    await client.clear()
    return seen + await client.until("Cleared")


async def test_clear_stops_the_audio_and_is_acknowledged(autojump_clock, simulate, connect):
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        seen = await cut(client)
        assert kinds(seen) == [3, "Cleared"]
        assert seen[-1] == {"type": "Cleared", "sequence_id": 0}
        pcm = await client.turn("Next.")
        assert runs(pcm) == [(1, 0, 7200)]
    assert [(each.sent, each.cleared) for each in server.segments] == [(2880, True), (7200, False)]


async def test_clear_ends_the_wait_for_the_first_audio(autojump_clock, simulate, connect):
    async with simulate(first_audio=10.0) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say(TEXT)
        await trio.sleep(1)
        began = trio.current_time()
        await client.clear()
        assert kinds(await client.until("Cleared")) == ["Cleared"]
        assert trio.current_time() == began
    assert server.segments[0].sent == 0


async def test_clear_drops_text_and_waiting_flushes(autojump_clock, simulate, connect):
    async with simulate(speed=1.0) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say("First. ")
        await client.say("Second. ")
        await client.send({"type": "Speak", "text": "Third. "})
        await client.clear()
        await client.until("Cleared")
        pcm = await client.turn("Fourth. ")
        assert runs(pcm) == [(2, 0, 11520)]
    assert [each.cleared for each in server.segments] == [True, True, False]


async def test_clear_with_nothing_to_clear_is_acknowledged(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        await client.until("Metadata")
        for expected in range(3):
            await client.clear()
            assert await client.until("Cleared") == [{"type": "Cleared", "sequence_id": expected}]


@pytest.mark.parametrize("late", range(6))
async def test_late_frames_come_between_clear_and_cleared(autojump_clock, simulate, connect, late):
    async with simulate(speed=1.0, late_frames=late) as server:
        client = await connect(server)
        seen = await cut(client)
        assert kinds(seen) == [3 + late, "Cleared"]
        assert runs(audio(seen)) == [(0, 0, 960 * (3 + late))]
        assert runs(await client.turn("Next.")) == [(1, 0, 7200)]
    assert server.segments[0].sent == 960 * (3 + late)


async def test_late_frames_end_where_the_audio_ends(autojump_clock, simulate, connect):
    async with simulate(speed=1.0, late_frames=100) as server:
        seen = await cut(await connect(server))
        assert runs(audio(seen)) == [(0, 0, 23040)]


async def test_flushed_may_come_for_what_was_cleared(autojump_clock, simulate, connect):
    async with simulate(speed=1.0, flushed_for_cleared=True) as server:
        seen = await cut(await connect(server))
    assert kinds(seen) == [3, "Flushed", "Cleared"]


@pytest.mark.parametrize(("shared", "expected"), [(False, [0, 0, 1, 1]), (True, [0, 1, 2, 3])])
async def test_the_acknowledgements_count_together_or_apart(autojump_clock, simulate, connect, shared, expected):
    async with simulate(shared_sequence=shared) as server:
        client = await connect(server)
        await client.until("Metadata")
        numbers = []
        for _ in range(2):
            await client.say("x")
            numbers.append((await client.until("Flushed"))[-1]["sequence_id"])
            await client.clear()
            numbers.append((await client.until("Cleared"))[-1]["sequence_id"])
    assert numbers == expected


async def test_cleared_may_be_late_and_what_was_asked_meanwhile_waits(autojump_clock, simulate, connect):
    async with simulate(clear_delay=2.5) as server:
        client = await connect(server)
        await client.until("Metadata")
        began = trio.current_time()
        await client.clear()
        await client.say("x")
        assert kinds(await client.until("Cleared")) == ["Cleared"]
        assert trio.current_time() - began == 2.5
        assert kinds(await client.until("Flushed")) == [2, "Flushed"]


async def test_cleared_may_never_come(autojump_clock, simulate, connect):
    async with simulate(clear_never=True) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.clear()
        await client.say("x")
        assert kinds(await client.until("Flushed")) == [2, "Flushed"]


# Limits.


@pytest.mark.parametrize(
    ("spelling", "fields"), [("wire", {"warn_code", "warn_msg"}), ("spec", {"code", "description"})]
)
async def test_the_21st_flush_within_a_minute_is_refused_with_a_warning(
    autojump_clock, simulate, connect, spelling, fields
):
    async with simulate(flush_limit=20, warning=spelling, ms_per_char=10) as server:
        client = await connect(server)
        await client.until("Metadata")
        for number in range(20):
            await client.say("x")
            assert (await client.until("Flushed"))[-1]["sequence_id"] == number
        await trio.sleep(59.9)
        await client.say("kept")
        (warning,) = await client.until("Warning")
        assert set(warning) == {"type", *fields}
        assert "EXCESSIVE_FLUSH" in warning.values()
        await trio.sleep(0.1)
        await client.say(" too")
        assert (await client.until("Flushed"))[-1]["sequence_id"] == 20
    assert server.segments[-1].text == "kept too"


@pytest.mark.parametrize(
    ("options", "messages", "code", "reason"),
    [
        ({}, ['{"type":"KeepAlive"}'], 1008, "DATA-0000"),
        ({}, ['{"type":"Reset"}'], 1008, "DATA-0000"),
        ({}, ["{"], 1008, "DATA-0000"),
        ({}, ["[]"], 1008, "DATA-0000"),
        ({}, ['{"type":"Speak"}'], 1008, "DATA-0000"),
        ({}, ['{"type":"Speak","text":7}'], 1008, "DATA-0000"),
        ({}, [b"audio"], 1003, "MESSAGE-0000"),
        ({}, [{"type": "Speak", "text": "x" * 2001}], 1009, "BIG-0001"),
        ({"speak_limit": 3}, [{"type": "Speak", "text": "four"}], 1009, "BIG-0001"),
        ({}, ["x" * (1 << 20) + "x"], 1009, "BIG-0000"),
        ({}, [{"type": "Speak", "text": "x" * 2000}] * 11, 1009, "BIG-0001"),
        ({"characters_limit": 2400}, [{"type": "Speak", "text": "x" * 1201}] * 2, 1008, "DATA-0001"),
        ({}, [{"type": "Close"}], 1000, ""),
    ],
)
async def test_what_deepgram_does_not_take_closes_the_connection(
    autojump_clock, simulate, connect, options, messages, code, reason
):
    async with simulate(**options) as server:
        client = await connect(server)
        await client.until("Metadata")
        for message in messages:
            await client.send(message)
        assert await client.receive() == Closed(code, reason)
        assert await client.receive() is EOF


async def test_characters_are_counted_over_a_sliding_minute(autojump_clock, simulate, connect):
    async with simulate(characters_limit=2400) as server:
        client = await connect(server)
        await client.until("Metadata")
        for _ in range(4):
            await client.say("x" * 1200)
            await client.until("Flushed")
            await trio.sleep(30)
        await client.say("x" * 1200)
        await client.until("Flushed")
        await client.say("x")
        assert (await client.until(Closed))[-1] == Closed(1008, "DATA-0001")


async def test_a_session_ends_after_an_hour(autojump_clock, simulate, connect):
    async with simulate() as server:
        client = await connect(server)
        began = trio.current_time()
        seen = await client.until(Closed)
        assert trio.current_time() - began == pytest.approx(3600)
    assert seen[-1] == Closed(1011, "NET-0003")


async def test_a_session_may_have_no_end(autojump_clock, simulate, connect):
    async with simulate(session_limit=None) as server:
        client = await connect(server)
        await client.until("Metadata")
        with trio.move_on_after(1e6) as scope:
            await client.receive()
        assert scope.cancelled_caught


async def test_an_idle_client_is_dropped_if_so_told(autojump_clock, simulate, connect):
    async with simulate(idle_timeout=10) as server:
        client = await connect(server)
        await client.until("Metadata")
        await trio.sleep(9)
        await client.turn("x")
        began = trio.current_time()
        assert await client.receive() == Closed(1011, "NET-0001")
        assert trio.current_time() - began == pytest.approx(10)


# Close.


@pytest.mark.parametrize(("drains", "expected"), [(False, 0), (True, 7200)])
async def test_close_halts_or_drains(autojump_clock, simulate, connect, drains, expected):
    async with simulate(close_drains=drains, first_audio=0.1) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say("Five.")
        await client.send({"type": "Close"})
        seen = await client.until(Closed)
    assert len(audio(seen)) == 2 * expected
    assert seen[-1] == Closed(1000, "")


async def test_a_close_frame_is_answered_at_once(autojump_clock, simulate, connect):
    async with simulate(first_audio=0.1) as server:
        client = await connect(server)
        await client.until("Metadata")
        await client.say("Five.")
        await client.stream.send_all(client.close_frame(1000, "bye"))
        assert await client.receive() == Closed(1000, "bye")
        assert await client.receive() is EOF
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0
    assert server.segments[0].sent == 0


# Options while running, and a voice.


async def test_options_can_be_replaced_between_turns(autojump_clock, simulate, connect):
    async with simulate(ms_per_char=10) as server:
        client = await connect(server)
        assert len(await client.turn("x")) == 480
        server.options = attrs.evolve(server.options, ms_per_char=20)
        assert len(await client.turn("x")) == 960


class FakeVoice:
    """Speaks a constant for a second per character."""

    async def speak(self, text, sample_rate):
        await trio.sleep(0.5)
        return Speech(b"\x07\x00" * (len(text) * sample_rate))


async def test_a_voice_speaks_instead(autojump_clock, connect):
    simulator = DeepgramSimulator(DeepgramOptions(voice=True, first_audio=0.6), voice=FakeVoice())
    async with simulator.serve_in_memory() as server:
        client = await connect(server, "/v1/speak?sample_rate=8000")
        await client.until("Metadata")
        began = trio.current_time()
        await client.say("ab")
        first = await client.receive()
        assert trio.current_time() - began == pytest.approx(0.6), "speaking is part of the wait"
        pcm = first + audio(await client.until("Flushed"))
    assert pcm == b"\x07\x00" * 16000
    assert (server.segments[0].samples, server.segments[0].sent) == (16000, 16000)


def test_a_voice_must_be_there_to_speak():
    with pytest.raises(ValueError, match="no voice"):
        DeepgramSimulator(DeepgramOptions(voice=True))
