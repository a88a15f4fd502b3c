"""The simulated model on the wire, by hand: what is sent, byte by byte, and what is refused."""

import json
from contextlib import asynccontextmanager

import h11
import pytest
import trio

from voicetrio.simulators import Faults
from voicetrio.simulators.chat import ChatOptions, ChatReply, ChatSimulator, ScriptedCall

KEY = "sk-the-clients-own"


class Client:
    """HTTP by h11, on one connection."""

    def __init__(self, stream):
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, body=None, *, method="POST", target="/v1/chat/completions", key=KEY):
        """Send a request and read its answer: status, headers, body and whether the body was whole."""
        if self._http.our_state is not h11.IDLE:
            self._http.start_next_cycle()
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [("Host", "a.test"), ("Content-Length", str(len(data)))]
        headers += [("Authorization", f"Bearer {key}")] if key else []
        request = [h11.Request(method=method, target=target, headers=headers), h11.Data(data=data), h11.EndOfMessage()]
        await self._stream.send_all(b"".join(map(self._http.send, request)))
        return await self._answer()

    async def _answer(self):
        head, body = None, b""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                return head, body, False
            if event is h11.NEED_DATA:
                self._http.receive_data(bytes(await self._stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                head = (event.status_code, {name.decode(): value.decode() for name, value in event.headers})
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return head, body, True
            else:
                return head, body, False


@asynccontextmanager
async def serving(*replies, rule=None, **options):
    options = {"first_token": 0.0, "tokens_per_second": None, **options}
    simulator = ChatSimulator(ChatOptions(**options), replies=replies, rule=rule)
    async with simulator.serve_in_memory() as server:
        yield simulator, server, Client(await server.dial("a.test", 80))


def request(text="Hello there.", **fields):
    return {"model": "m", "messages": [{"role": "user", "content": text}], "stream": True, **fields}


def chunks(body):
    """The data of each event."""
    events = [event for event in body.decode().replace("\r\n", "\n").split("\n\n") if event]
    return [line.removeprefix("data: ") for event in events for line in event.split("\n") if line.startswith("data")]


def deltas(body):
    return [choice["delta"] for each in chunks(body)[:-1] for choice in json.loads(each)["choices"]]


async def test_the_events_of_an_answer(autojump_clock):
    async with serving() as (_, _, client):
        (status, headers), body, whole = await client.ask(request())
    assert (status, whole) == (200, True)
    assert headers["content-type"].startswith("text/event-stream")
    *events, done = chunks(body)
    assert done == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "Hello"},
        {"content": " there."},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]


async def test_tokens_come_at_their_pace(autojump_clock):
    async with serving(first_token=0.5, tokens_per_second=4.0) as (_, _, client):
        began = trio.current_time()
        await client.ask(request("a b c d e"))
        assert trio.current_time() - began == pytest.approx(0.5 + 4 / 4)


async def test_several_answers_on_one_connection(autojump_clock):
    async with serving() as (_, server, client):
        for stream in (True, False, True):
            (status, _), _, whole = await client.ask(request(stream=stream))
            assert (status, whole) == (200, True)
        assert server.connections == 1


async def test_arguments_are_cut_at_random_and_alike_for_the_same_seed(autojump_clock):
    async def cut(seed):
        call = ScriptedCall("f", {"text": "Grüße 😀", "n": 1})
        async with serving(ChatReply(tool_calls=[call]), seed=seed) as (_, _, client):
            _, body, _ = await client.ask(request())
        pieces = [each["tool_calls"][0]["function"]["arguments"] for each in deltas(body) if "tool_calls" in each]
        assert "".join(pieces) == call.text
        return pieces

    assert await cut(1) == await cut(1) != await cut(2)


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        ({"sse_crlf": True}, b"}\r\n\r\n", b"}\n\n"),
        ({"comments": True}, b": keep-alive\n", b"\r"),
        ({"ascii": True}, b"\\ud83d\\ude00", "😀".encode()),
        ({"ascii": False}, "😀".encode(), b"\\ud83d"),
        ({"done": False}, b'"stop"', b"[DONE]"),
        ({"finish": False}, b"[DONE]", b'"stop"'),
        ({"usage": "always"}, b'"choices": [], "usage"', b"\r"),
        ({"usage": "never"}, b"[DONE]", b'"usage"'),
        ({"null_delta": True}, b'"delta": null', b"\r"),
        ({"role_chunk": False}, b"[DONE]", b'"role"'),
        ({"streams": False}, b'"message"', b"data:"),
    ],
    ids=str,
)
async def test_habits(autojump_clock, options, present, absent):
    async with serving(**options) as (_, _, client):
        _, body, whole = await client.ask(request("😀"))
    assert whole
    assert present in body
    assert absent not in body


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, {"index": 0, "function": {"arguments": "{}", "name": "f"}, "type": "function", "id": "call_1"}),
        ({"call_index": "missing"}, {"function": {"arguments": "{}", "name": "f"}, "type": "function", "id": "call_1"}),
        ({"call_ids": False}, {"index": 0, "function": {"arguments": "{}", "name": "f"}, "type": "function"}),
    ],
    ids=str,
)
async def test_the_shapes_of_tool_calls(autojump_clock, options, first):
    reply = ChatReply(tool_calls=[ScriptedCall("f", id="call_1"), ScriptedCall("f", "not JSON")])
    async with serving(reply, whole_calls=True, **options) as (_, _, client):
        _, body, _ = await client.ask(request())
    calls = [each["tool_calls"][0] for each in deltas(body) if "tool_calls" in each]
    assert calls[0] == first
    assert calls[1]["function"]["arguments"] == "not JSON"


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"body": request(), "key": None}, 401),
        ({"body": request(), "target": "/v1/embeddings"}, 404),
        ({"method": "GET"}, 405),
        ({"body": b"{"}, 400),
        ({"body": b"[]"}, 400),
        ({"body": {"messages": []}}, 400),
        ({"body": request(messages=[])}, 400),
        ({"body": request(messages=["x"])}, 400),
        ({"body": request(messages=[{"role": "nobody"}])}, 400),
        ({"body": request(messages=[{"role": "assistant", "tool_calls": [{}]}])}, 400),
        ({"body": request(messages=[{"role": "assistant", "tool_calls": [{"id": "a"}]}])}, 400),
        ({"body": request(messages=[{"role": "tool", "tool_call_id": "a"}])}, 400),
        ({"body": request(tool_choice="auto")}, 400),
    ],
    ids=str,
)
async def test_what_is_refused(autojump_clock, how, status):
    async with serving() as (simulator, _, client):
        (found, _), body, whole = await client.ask(**how)
        assert (found, whole) == (status, True)
        assert json.loads(body)["error"]["message"]
        assert simulator.requests == []
        (found, _), _, _ = await client.ask(request())
        assert found == 200, "the connection is still good"


async def test_limits_of_requests_and_models(autojump_clock):
    async with serving(refuse_first=1, refusal_status=503, models="m n", faults=Faults(retry_after=2)) as (
        _,
        _,
        client,
    ):
        (status, headers), _, _ = await client.ask(request())
        assert (status, headers["retry-after"]) == (503, "2")
        assert (await client.ask(request()))[0][0] == 200
        assert (await client.ask(request(model="o")))[0][0] == 404
        _, body, _ = await client.ask(method="GET", target="/v1/models")
    assert [each["id"] for each in json.loads(body)["data"]] == ["m", "n"]


@pytest.mark.parametrize(
    ("faults", "whole", "tokens"),
    [
        ({"drop_after_messages": 3}, False, 1),
        ({"drop_after_bytes": 700}, False, None),
        ({"one_byte_writes": True}, True, 3),
        ({"error_frame": 2}, True, 3),
    ],
    ids=str,
)
async def test_faults_of_the_stream(autojump_clock, faults, whole, tokens):
    async with serving(faults=Faults(**faults)) as (_, server, client):
        _, body, complete = await client.ask(request("a b c"))
        await trio.testing.wait_all_tasks_blocked()
        (ended,) = [each["data"] for each in server.log if each["event"] == "reply_ended"]
    assert complete == whole
    assert ended["interrupted"] != whole
    assert tokens in (None, ended["tokens"])
    if "drop_after_bytes" in faults:
        assert not body.endswith(b"\n\n"), "cut in the middle of an event"
    if "error_frame" in faults:
        assert b'{"error": {"message": "The server had an error"' in body


async def test_a_rule_answers_once_the_script_is_over(autojump_clock):
    def rule(body):
        return ChatReply(text=body["messages"][-1]["content"].upper())

    async with serving(ChatReply(text="first"), rule=rule) as (simulator, _, client):
        answers = [json.loads((await client.ask(request("Hi", stream=False)))[1]) for _ in range(2)]
    assert [each["choices"][0]["message"]["content"] for each in answers] == ["first", "HI"]
    assert len(simulator.requests) == 2


async def test_an_error_follows_the_text_where_it_is_scripted(autojump_clock):
    async with serving(ChatReply(text="Well", error={"message": "m", "code": 503})) as (_, _, client):
        _, body, _ = await client.ask(request())
    assert chunks(body)[-1] == '{"error": {"message": "m", "code": 503}}'


async def test_the_log_tells_the_request_without_the_key(autojump_clock):
    async with serving() as (_, server, client):
        await client.ask(request("x" * 5000))
    assert KEY not in str(server.log)
    (received,) = [each["data"]["message"] for each in server.log if each["event"] == "received"]
    assert received.startswith('{"model": "m", "messages"')
    assert len(received) < 2100


def test_options_are_read_from_text():
    options = ChatOptions.parse(["tokens-per-second=none", "usage=never", "models=a b", "stall_after=3"])
    assert (options.tokens_per_second, options.usage, options.models) == (None, "never", "a b")
    assert options.faults.stall_after == 3
    with pytest.raises(ValueError, match="fragments"):
        ChatOptions(fragments=0)
