"""A reply at its edges: errors behind text, ends that do not come, blocks that were left."""

import json

import pytest
import trio
from llm_tools import KEY
from raw_server import DONE, HEAD, answering, chunk, event, finish, next_request, serving, token, whole

from voicetrio import errors
from voicetrio.chat_completions import ChatLLM


def llm(**options):
    return ChatLLM(**{"model": "m", "base_url": "http://x.test/v1", "api_key": KEY, **options})


async def test_an_error_behind_text_is_raised_after_it_and_ends_the_reply_at_once(autojump_clock):
    left = None

    async def serve(stream):
        nonlocal left
        await next_request(stream)
        await stream.send_all(HEAD + chunk(token("hi") + event({"error": {"message": f"bad key {KEY}"}})))
        assert await stream.receive_some() == b""
        left = trio.current_time()

    async with serving(serve) as dial, llm().chat("x", dial=dial) as reply:
        began = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert left == reply.timeline.ended == began, "the connection is dropped before the text is taken"
        assert await anext(reply) == "hi"
        for _ in range(2):
            with pytest.raises(errors.ProviderError) as raised:
                await anext(reply)
        assert not reply.complete
    error = raised.value
    assert KEY not in repr(error) + str(error) + str(error.reason)
    assert error.reason == "bad key ***"


async def test_what_follows_the_answer_is_waited_for_a_second_in_all(autojump_clock):
    async def serve(stream):
        await next_request(stream)
        await stream.send_all(HEAD + chunk(token("hello") + finish()))
        while True:
            await trio.sleep(0.4)
            await stream.send_all(chunk(b": ping\n\n"))

    async with serving(serve) as dial, llm().chat("x", dial=dial) as reply:
        began = trio.current_time()
        assert await reply.read() == "hello"
        assert reply.complete
        assert trio.current_time() - began == pytest.approx(1.0)


async def test_a_slow_reader_loses_nothing_of_what_follows_the_answer(autojump_clock):
    usage = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})

    async def serve(stream):
        await next_request(stream)
        await stream.send_all(HEAD + chunk(token("hello") + finish()))
        await trio.sleep(0.5)
        await stream.send_all(chunk(usage))
        await trio.sleep(0.5)
        await stream.send_all(chunk(DONE) + b"0\r\n\r\n")

    async with serving(serve) as dial, llm().chat("x", dial=dial) as reply:
        assert await anext(reply) == "hello"
        await trio.sleep(60)
        await reply.read()
        assert reply.usage.total_tokens == 7


async def test_others_have_their_turn_while_much_is_there(autojump_clock):
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    many = whole(*[token(str(n)) for n in range(100)], finish())
    async with serving(answering(many)) as dial, llm().chat("x", dial=dial) as reply, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        before = turns
        await reply.read()
        assert turns - before >= 5
        nursery.cancel_scope.cancel()


async def test_an_answer_that_comes_at_once_does_not_end_before_it_begins():
    async with serving(answering(whole(token("one"), finish()))) as dial, llm().chat("x", dial=dial) as reply:
        await reply.read()
        assert reply.timeline.first_token <= reply.timeline.ended


@pytest.mark.parametrize("taken", [0, 1])
async def test_what_was_not_taken_is_gone_with_the_block(autojump_clock, taken):
    async with serving(answering(whole(token("one"), token("two"), finish()))) as dial:
        async with llm().chat("x", dial=dial) as reply:
            for _ in range(taken):
                await anext(reply)
        with pytest.raises(errors.ClosedError):
            await reply.read()
        with pytest.raises(errors.ClosedError):
            await anext(reply)


async def test_an_error_that_was_not_reached_in_the_block_is_not_raised_after_it(autojump_clock):
    response = HEAD + chunk(token("hi") + event({"error": {"message": "broken"}}))
    async with serving(answering(response)) as dial:
        async with llm().chat("x", dial=dial) as reply:
            pass
        with pytest.raises(errors.ClosedError):
            await reply.read()


async def test_what_was_taken_to_the_end_has_ended_after_the_block_too(autojump_clock):
    async with serving(answering(whole(token("one"), finish()))) as dial:
        async with llm().chat("x", dial=dial) as reply:
            await reply.read()
        assert await reply.read() == "one"


@pytest.mark.parametrize("where", ["header", "chunk"])
async def test_the_name_of_a_request_shows_no_key(autojump_clock, where):
    head = HEAD.replace(b"\r\n\r\n", b"\r\nx-request-id: r-%b\r\n\r\n" % KEY.encode()) if where == "header" else HEAD
    named = event({"id": f"r-{KEY}", "choices": [{"delta": {"content": "a"}}]})
    async with serving(answering(whole(named, finish(), head=head))) as dial, llm().chat("x", dial=dial) as reply:
        await reply.read()
        assert reply.request_id == "r-***"


def test_a_key_in_the_query_is_not_shown():
    shown = repr(llm(base_url=f"http://x.test/v1?api_key={KEY}"))
    assert "http://x.test/v1" in shown
    assert KEY not in shown


async def test_chats_that_begin_together_do_not_wait_for_one_anothers_connections(autojump_clock):
    waits = []

    async def serve(stream):
        while await next_request(stream) is not None:
            await trio.sleep(1)
            await stream.send_all(whole(token("a"), finish()))

    async def ask(session):
        began = trio.current_time()
        async with session.chat("x") as reply:
            waits.append(reply.timeline.connected - began)
            await reply.read()

    async with serving(serve, delay=0.1) as dial, llm().open(dial=dial) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask, session)
        assert waits == pytest.approx([0.1] * 20)
        assert len(session._lines._lines) <= 21, "one each, and one in reserve"


async def test_a_chat_that_stops_waiting_leaves_its_connection_to_the_next(autojump_clock):
    dialled = []

    async with serving(answering(whole(token("a"), finish())), delay=1) as dial:

        async def counted(host, port):
            dialled.append(trio.current_time())
            return await dial(host, port)

        async with llm().open(dial=counted) as session:
            began = trio.current_time()
            with trio.move_on_after(0.5):
                async with session.chat("x"):
                    pass
            async with session.chat("x") as reply:
                await reply.read()
            assert dialled[0] == began
            assert reply.timeline.connected == began + 1


async def test_a_large_request_may_take_its_time_on_a_slow_line(autojump_clock):
    async with serving(answering(whole(token("seen"), finish()))) as dial:

        class Slow(trio.abc.Stream):
            """It carries 100 kB a second."""

            def __init__(self, stream):
                self._stream = stream

            async def send_all(self, data):
                for start in range(0, len(data), 10_000):
                    await trio.sleep(0.1)
                    await self._stream.send_all(data[start : start + 10_000])

            async def receive_some(self, max_bytes=None):
                return await self._stream.receive_some(max_bytes)

            async def wait_send_all_might_not_block(self):
                await trio.lowlevel.checkpoint()

            async def aclose(self):
                await self._stream.aclose()

        async def slow_dial(host, port):
            return Slow(await dial(host, port))

        began = trio.current_time()
        async with llm(response_timeout=3).chat("x" * 4_000_000, dial=slow_dial) as reply:
            assert await reply.read() == "seen"
        assert trio.current_time() - began > 40


async def test_a_server_that_takes_no_more_of_a_request_is_stalled(autojump_clock):
    async def dial(_host, _port):
        await trio.lowlevel.checkpoint()
        ours, _ = trio.testing.lockstep_stream_pair()  # takes nothing that is not read
        return ours

    with pytest.raises(errors.LinkStalled, match="accepted no data for 5 s"):
        async with llm().chat("x" * 100_000, dial=dial):
            pass


HEAD_WITH_ID = HEAD.replace(b"\r\n", b"\r\nx-request-id: req_7\r\n", 1)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (event({"error": {"message": "overloaded"}}), errors.ProviderError),
        (token("hi") + event({"error": {"message": "overloaded"}}), errors.ProviderError),
        (b"data: {\n\n", errors.ProtocolError),
        (token("hi") + finish() + DONE, errors.InvalidAnswer),
        (event({"choices": [{"delta": {"refusal": "no"}}]}) + finish() + DONE, errors.InvalidAnswer),
    ],
    ids=["error at once", "error behind text", "garbage", "no JSON", "refusal"],
)
async def test_whatever_is_wrong_with_an_answer_is_told_with_the_request_that_it_is_of(autojump_clock, body, kind):
    async def serve(stream):
        await next_request(stream)
        await stream.send_all(HEAD_WITH_ID + chunk(body) + b"0\r\n\r\n")
        await stream.receive_some()

    with pytest.raises(kind) as raised:
        async with serving(serve) as dial, llm().chat("x", dial=dial, response_format={"type": "json_object"}) as reply:
            await reply.read()
    assert (raised.value.provider, raised.value.request_id) == ("openai", "req_7")


async def test_two_tasks_cannot_iterate_at_once(autojump_clock):
    async def serve(stream):
        await next_request(stream)
        await stream.send_all(HEAD + chunk(token("a")))
        await trio.sleep(1)
        await stream.send_all(chunk(token("b") + finish() + DONE) + b"0\r\n\r\n")

    heard = []

    async def read():
        heard.append(await anext(reply))

    async with serving(serve) as dial, llm().chat("x", dial=dial) as reply, trio.open_nursery() as nursery:
        await read()
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(reply)
    assert heard == ["a", "b"]


async def test_an_event_without_end_is_told_with_provider_and_request(autojump_clock):
    async def serve(stream):
        await next_request(stream)
        await stream.send_all(HEAD_WITH_ID)
        while True:
            await stream.send_all(chunk(b"data: " + bytes(2**16)))

    with pytest.raises(errors.ProtocolError, match="8 MiB") as raised:
        async with serving(serve) as dial, llm().chat("x", dial=dial) as reply:
            await reply.read()
    assert (raised.value.provider, raised.value.request_id) == ("openai", "req_7")


def refusal(status, reason, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nx-request-id: req_9\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "reason"),
    [
        (
            429,
            {"error": {"message": "No credit.", "type": "insufficient_quota", "code": "insufficient_quota"}},
            errors.PaymentRequired,
            "insufficient_quota",
            "No credit.",
        ),
        (
            400,
            {"error": {"message": "Too long.", "type": "invalid_request_error", "code": "context_length_exceeded"}},
            errors.BadRequest,
            "context_length_exceeded",
            "Too long.",
        ),
        (
            401,
            [{"error": {"message": "No such key.", "code": 401, "status": "UNAUTHENTICATED"}}],
            errors.AuthenticationError,
            "UNAUTHENTICATED",
            "No such key.",
        ),
        (404, {"object": "error", "message": "No model.", "code": 404}, errors.BadRequest, None, "No model."),
        (404, {"detail": "Not Found"}, errors.BadRequest, None, '{"detail": "Not Found"}'),
        (403, b"<html>", errors.AuthenticationError, None, "<html>"),
        (400, b"[[[[", errors.BadRequest, None, "[[[["),
    ],
)
async def test_what_a_refusal_says_is_told_in_its_own_words(autojump_clock, status, body, kind, code, reason):
    requests = 0

    async def serve(stream):
        nonlocal requests
        requests += 1
        await next_request(stream)
        await stream.send_all(refusal(status, "No", body))

    with pytest.raises(kind) as raised:
        async with serving(serve) as dial, llm().chat("x", dial=dial):
            pass
    error = raised.value
    assert (error.status, error.code, error.reason, error.request_id) == (status, code, reason, "req_9")
    assert str(error) == (
        f"openai: http://x.test/v1/chat/completions refused the request with HTTP {status}: {reason} (request req_9)"
    )
    assert requests == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://api.openai.com/v1/", True),
        ("https://API.openai.com:443/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("http://api.openai.com/v1", False),
        ("https://api.openai.com.evil.test/v1", False),
        ("https://notapi.openai.com/v1", False),
        ("https://api.openai.com@evil.test/v1", False),
    ],
)
def test_openai_is_told_its_key_however_it_is_written_and_nobody_else(monkeypatch, url, told):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    try:
        headers = dict(ChatLLM(model="m", base_url=url)._endpoint().headers)
    except errors.ConfigurationError:
        assert "@" in url
        headers = {}
    assert ("Authorization" in headers) is told
