"""Smallest's text-to-speech over HTTP: audio as the body, server-sent events, and what goes wrong with either."""

import json
import struct

import h11
import pytest
import trio
from smallest_client import KEY, LIVE, SAMPLES, SYNC, TEXT, connect, http, noted, request, simulated, statuses

from voicetrio.simulators import tagged_pcm
from voicetrio.simulators._g711 import encode

WHOLE = tagged_pcm(0, 0, SAMPLES)
BOTH = pytest.mark.parametrize("target", [SYNC, LIVE])


def audio_of(answer):
    return answer.event_audio() if answer.headers["content-type"] == "text/event-stream" else answer.body


# What is served.


@pytest.mark.parametrize("target", [SYNC, "/waves/v1/tts/", "/waves/v1/lightning-v3.1/get_speech"])
async def test_audio_as_the_body(autojump_clock, target):
    async with simulated() as server:
        answer = await (await http(server)).post(target, request(session_id="s", request_id="r"))
    assert (answer.status, answer.body, answer.ended) == (200, WHOLE, True)
    assert [len(piece) for piece in answer.pieces] == [1920] * 24
    assert answer.headers["content-type"] == "audio/pcm"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers["x-request-id"].startswith("task_")
    assert answer.headers["x-session-id"]
    assert (answer.headers["x-external-session-id"], answer.headers["x-external-request-id"]) == ("s", "r")
    assert [(s.text, s.sent, s.cleared) for s in server.segments] == [(TEXT, SAMPLES, False)]


@pytest.mark.parametrize("target", [LIVE, "/waves/v1/lightning-v3.1/stream"])
@pytest.mark.parametrize("crlf", [False, True])
async def test_server_sent_events(autojump_clock, target, crlf):
    async with simulated(sse_crlf=crlf) as server:
        answer = await (await http(server)).post(target)
    events = answer.events()
    assert (answer.status, answer.headers["content-type"], answer.ended) == (200, "text/event-stream", True)
    assert (b"\r\n" in answer.body) is crlf
    assert answer.body.count(b"\r\n" if crlf else b"\n") == 24 * 3 + 2
    assert answer.event_audio() == WHOLE
    assert [kind for kind, _ in events] == ["audio"] * 24 + [None]
    assert {key: json.loads(events[0][1])[key] for key in ("done", "status")} == {"done": False, "status": "206"}
    assert json.loads(events[-1][1]) == {"status": "200", "done": True}


@BOTH
async def test_names_are_left_out_if_they_are_not_given_or_not_echoed(autojump_clock, target):
    async with simulated(echo=False) as server:
        answer = await (await http(server)).post(target, request(session_id="s", request_id="r"))
    assert not [name for name in answer.headers if name.startswith("x-external")]


@BOTH
@pytest.mark.parametrize(("encoding", "law"), [("ulaw", "mulaw"), ("alaw", "alaw")])
async def test_g711(autojump_clock, target, encoding, law):
    async with simulated() as server:
        answer = await (await http(server)).post(target, request(output_format=encoding))
        assert audio_of(answer) == encode(WHOLE, law)
        assert server.segments[0].sent == SAMPLES


@BOTH
@pytest.mark.parametrize(("length", "whole", "size"), [("exact", 46116, 46080), ("unknown", 0xFFFFFFFF, 0xFFFFFFFF)])
async def test_wav(autojump_clock, target, length, whole, size):
    async with simulated(wav_length=length) as server:
        answer = await (await http(server)).post(target, request(output_format="wav"))
    head, pcm = audio_of(answer)[:44], audio_of(answer)[44:]
    fields = struct.unpack("<4sI4s4sIHHIIHH4sI", head)
    assert fields == (b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1, 24000, 48000, 2, 16, b"data", size)
    assert pcm == WHOLE
    assert server.segments[0].sent == SAMPLES


async def test_pieces_of_odd_and_random_lengths(autojump_clock):
    async with simulated(odd_frames=True, frame_ms_min=10, frame_ms_max=90) as server:
        answer = await (await http(server)).post()
        assert {len(piece) % 2 for piece in answer.pieces[:-1]} == {1}
        assert len({len(piece) for piece in answer.pieces}) > 3
        assert answer.body == WHOLE


@BOTH
async def test_audio_comes_at_its_pace(autojump_clock, target):
    async with simulated(first_audio=0.15, speed=4.0) as server:
        client = await http(server)
        await client.begin(target)
        await client.event()
        assert trio.current_time() == 0
        await client.event()
        assert trio.current_time() == pytest.approx(0.15)
        while not isinstance(await client.event(), h11.EndOfMessage):
            pass
        assert trio.current_time() == pytest.approx(0.15 + 0.92 / 4)


@BOTH
async def test_several_requests_on_one_connection(autojump_clock, target):
    async with simulated() as server:
        client = await http(server)
        for number in range(3):
            assert audio_of(await client.post(target)) == tagged_pcm(number, 0, SAMPLES)
            assert (await client.post(target, request(speed=9))).status == 400
            await trio.sleep(60)
        assert server.connections == 1
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 0
        assert noted(server, "disconnected") == []


# What is refused.


@BOTH
@pytest.mark.parametrize(
    "message",
    [
        {"text": "Hello"},
        {"voice_id": "magnus"},
        request(""),
        request("  "),
        request(output_format="mp3"),
        request(sample_rate=22050),
        request(speed=3),
        request(language="tlh"),
        request(model="lightning"),
        request(voice_id="no such voice"),
        request(session_id="no spaces"),
        [],
        "text",
    ],
)
async def test_a_bad_request(autojump_clock, target, message):
    async with simulated() as server:
        answer = await (await http(server)).post(target, message)
        assert answer.status == 400
        assert set(answer.json) == {"error", "message"}
        assert answer.headers["x-request-id"]


@BOTH
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_not_json(autojump_clock, target, body):
    async with simulated() as server:
        assert (await (await http(server)).post(target, body=body)).status == 400


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("POST", SYNC, {}, 401),
        ("POST", LIVE, {"Authorization": "Bearer wrong"}, 401),
        ("GET", SYNC, KEY, 405),
        ("GET", LIVE, KEY, 405),
        ("POST", "/waves/v1/nothing", KEY, 404),
        ("POST", "/waves/v1/lightning-v3.1/get_speech/stream", KEY, 405),
        ("POST", "/waves/v1/lightning/get_speech", KEY, 410),
        ("POST", "/waves/v1/lightning-large/stream", KEY, 410),
        ("POST", "/waves/v1/lightning-v2/get_speech", KEY, 410),
    ],
)
async def test_other_refusals(autojump_clock, method, target, headers, status):
    async with simulated(api_key="key") as server:
        client = await http(server)
        answer = await client.post(target, method=method, headers=headers)
        assert (answer.status, answer.ended) == (status, True)
        assert (await client.post()).status == 200, "the connection stays"


@BOTH
async def test_one_request_too_many(autojump_clock, target):
    async with simulated(running_limit=1, speed=1.0, retry_after=2) as server:
        first, second = await http(server), await http(server)
        await first.begin(target)
        await first.event()
        answer = await second.post(target)
        assert (answer.status, answer.json["error"]) == (429, "Too Many Requests")
        assert answer.headers["retry-after"] == "2"
        socket = await connect(server)
        await socket.ask()
        assert (await socket.next())["status"] == "error"
        await trio.sleep(1)
        assert (await second.post(target)).status == 200


async def test_requests_can_wait(autojump_clock):
    async with simulated(running_limit=1, excess="queue", speed=1.0) as server:
        socket, client = await connect(server), await http(server)
        await socket.ask()
        await socket.next()
        answer = await client.post()
        assert answer.body == tagged_pcm(1, 0, SAMPLES)
        assert trio.current_time() == pytest.approx(2 * 0.92)
        assert (await client.post()).status == 200, "the place was given back"


async def test_a_request_that_leaves_the_queue_takes_no_place(autojump_clock):
    async with simulated(running_limit=1, excess="queue", speed=1.0) as server:
        socket, client = await connect(server), await http(server)
        await socket.ask()
        await socket.next()
        await client.begin()
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await socket.until("complete")
        assert server.segments[1].cleared
        assert (await (await http(server)).post()).status == 200


@BOTH
@pytest.mark.parametrize(("fields", "expected"), [({"refuse_status": 500}, 500), ({"refuse_status": 429}, 429)])
async def test_a_status_that_is_forced(autojump_clock, target, fields, expected):
    async with simulated(retry_after=1.5, **fields) as server:
        answer = await (await http(server)).post(target)
        assert (answer.status, answer.headers["retry-after"]) == (expected, "1.5")
        assert set(answer.json) == {"error", "message"}
        assert server.segments == []


# The client closes.


@BOTH
@pytest.mark.parametrize("pieces", [0, 1, 5])
async def test_a_client_that_leaves_is_noticed_at_once(autojump_clock, target, pieces):
    async with simulated(speed=0.01, first_audio=100, running_limit=1) as server:
        client = await http(server)
        await client.begin(target)
        await client.event()
        for _ in range(pieces):
            await client.event()
        await client.stream.aclose()
        left = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == left
        assert server.open_connections == 0
        assert len(noted(server, "disconnected")) == 1
        assert noted(server, "segment_ended") == [{"number": 0, "sent": 960 * pieces, "cleared": True}]
        assert server.segments[0].cleared
        await (await http(server)).begin(target)
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.segments) == 2, "the place is free"


async def test_the_next_request_may_come_before_the_answer_has_ended(autojump_clock):
    async with simulated(speed=1.0) as server:
        client = await http(server)
        await client.begin()
        await trio.testing.wait_all_tasks_blocked()
        other = h11.Connection(h11.CLIENT)
        body = json.dumps(request("Second.")).encode()
        head = h11.Request(
            method="POST", target=SYNC, headers=[("Host", "x"), ("Content-Length", str(len(body))), *KEY.items()]
        )
        await client.stream.send_all(other.send(head) + other.send(h11.Data(data=body)))
        assert (await client.answer()).body == WHOLE
        other.send(h11.EndOfMessage())
        client.http = other
        assert (await client.answer()).body == tagged_pcm(1, 0, 10080)


# The end.


@pytest.mark.parametrize(
    ("marker", "delay", "ends"), [("normal", 0, 1), ("none", 0, 0), ("late", 2.5, 1), ("double", 0, 2)]
)
async def test_the_end_of_events(autojump_clock, marker, delay, ends):
    async with simulated(end_marker=marker, end_marker_delay=2.5) as server:
        answer = await (await http(server)).post(LIVE)
        assert (answer.event_audio(), answer.ended) == (WHOLE, True)
        assert sum(json.loads(data)["done"] for _, data in answer.events()) == ends
        assert trio.current_time() == delay


@pytest.mark.parametrize(("marker", "delay", "ended"), [("normal", 0, True), ("none", 0, False), ("late", 2.5, True)])
async def test_the_end_of_audio(autojump_clock, marker, delay, ended):
    async with simulated(end_marker=marker, end_marker_delay=2.5) as server:
        answer = await (await http(server)).post()
        assert (answer.body, answer.ended) == (WHOLE, ended)
        assert trio.current_time() == delay
        assert not server.segments[0].cleared


# Faults.


@BOTH
@pytest.mark.parametrize("count", [0, 1, 23, 24])
@pytest.mark.parametrize("fault", ["drop_after_messages", "close_after"])
async def test_a_body_that_is_cut(autojump_clock, target, fault, count):
    async with simulated(**{fault: count}) as server:
        answer = await (await http(server)).post(target)
        assert (answer.status, answer.ended) == (200, False)
        assert audio_of(answer) == WHOLE[: 1920 * count]
        await trio.testing.wait_all_tasks_blocked()
        (ended,) = noted(server, "segment_ended")
        assert not ended["cleared"]
        assert ended["sent"] in (960 * count, 960 * (count - 1)), "the frame before the cut may not be counted"
        assert [data["name"] for data in noted(server, "fault")] == [fault]
        assert server.open_connections == 0


async def test_a_body_cut_at_every_byte(autojump_clock):
    whole = None
    for count in [10_000, *range(0, 600), 5000]:
        async with simulated(drop_after_bytes=count, ms_per_char=100) as server:
            client = await http(server)
            await client.begin(message=request("abcd"))
            seen = b""
            while data := await client.stream.receive_some():
                seen += data
        whole = whole or seen
        assert seen == whole[:count]
    assert len(whole) == 10_000


@BOTH
async def test_one_byte_writes(autojump_clock, target):
    async with simulated(one_byte_writes=True, ms_per_char=10, sse_crlf=True) as server:
        answer = await (await http(server)).post(target, request("x"))
        assert (audio_of(answer), answer.ended) == (tagged_pcm(0, 0, 240), True)


@BOTH
async def test_a_stall(autojump_clock, target):
    async with simulated(stall_after=2) as server:
        client = await http(server)
        await client.begin(target)
        with trio.move_on_after(1000) as scope:
            await client.answer()
        assert scope.cancelled_caught
        assert server.segments[0].sent == 1920
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.segments[0].cleared


@BOTH
@pytest.mark.parametrize("fault", [{"accept_silent": True}, {"half_open_after": 0}])
async def test_a_head_and_nothing_more(autojump_clock, target, fault):
    async with simulated(**fault) as server:
        client = await http(server)
        await client.begin(target)
        assert (await client.event()).status_code == 200
        with trio.move_on_after(1000) as scope:
            await client.event()
        assert scope.cancelled_caught


async def test_half_open_does_not_notice_that_the_client_left(autojump_clock):
    async with simulated(half_open_after=1) as server:
        client = await http(server)
        await client.begin()
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open_connections == 1


async def test_pieces_can_be_split(autojump_clock):
    async with simulated(fragment=500) as server:
        answer = await (await http(server)).post()
        assert [len(piece) for piece in answer.pieces[:4]] == [500, 500, 500, 420]
        assert answer.body == WHOLE


@BOTH
async def test_one_piece_of_a_mebibyte(autojump_clock, target):
    async with simulated(big_message=True) as server:
        answer = await (await http(server)).post(target)
        assert len(audio_of(answer)) == 1 << 20


@pytest.mark.parametrize(
    ("fault", "kind", "check"),
    [
        ("unknown_message", "audio", lambda data: json.loads(data)["status"] == "from_the_future"),
        ("non_json", "audio", lambda data: "not JSON" in data),
        ("wrong_shape", "audio", lambda data: isinstance(json.loads(data), list)),
        ("error_frame", "error", lambda data: json.loads(data)["status"] == "error"),
    ],
)
@pytest.mark.parametrize("after", [0, 3, 25])
async def test_an_inserted_event(autojump_clock, fault, kind, check, after):
    async with simulated(**{fault: after}) as server:
        answer = await (await http(server)).post(LIVE)
        events = answer.events()
        assert (len(events), events[after][0]) == (26, kind)
        assert check(events.pop(after)[1])
        assert json.loads(events[-1][1])["done"]


async def test_nothing_is_inserted_into_audio(autojump_clock):
    async with simulated(error_frame=0, non_json=1) as server:
        assert (await (await http(server)).post()).body == WHOLE


@BOTH
@pytest.mark.parametrize("handshake", ["eof", "garbage", "silent"])
async def test_requests_that_get_no_answer(autojump_clock, target, handshake):
    async with simulated(handshake=handshake) as server:
        client = await http(server)
        await client.begin(target)
        with trio.move_on_after(1000) as scope:
            data = await client.stream.receive_some()
        if handshake == "silent":
            assert scope.cancelled_caught
        else:
            assert (b"not HTTP" in data) is (handshake == "garbage")


async def test_every_request_of_a_connection_can_be_slow(autojump_clock):
    async with simulated(handshake="slow", handshake_delay=2) as server:
        client = await http(server)
        for _ in range(2):
            assert (await client.post()).status == 200
        assert trio.current_time() == 4


async def test_a_socket_and_http_tell_the_same_story_of_a_cut(autojump_clock):
    async with simulated(drop_after_messages=3) as server:
        client = await connect(server)
        await client.ask()
        assert statuses(await client.until(None))[0] == 3
        await trio.testing.wait_all_tasks_blocked()
        assert [(data["number"], data["cleared"]) for data in noted(server, "segment_ended")] == [(0, False)]
