"""A chat from its request to its end: what arrives, when, and what is left on the connection."""

import pytest
import trio
from llm_tools import KEY, deltas, stage

from voicetrio import errors
from voicetrio.chat_completions import ChatLLM
from voicetrio.simulators import throw_away_certificate
from voicetrio.simulators.chat import ChatOptions, ChatReply, ChatSimulator, ScriptedCall
from voicetrio.testing.leaks import no_leaks

LONG = "one two three four five six seven eight nine ten eleven twelve " * 5


async def test_the_text_comes_piece_by_piece_as_it_is_generated(autojump_clock):
    async with stage(first_token=0.2, tokens_per_second=10) as it, it.open() as session:
        await session.prewarm()
        began = trio.current_time()
        times = []
        async with session.chat("Say one two three") as reply:
            async for _ in reply:
                times.append(trio.current_time() - began)

    assert times == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert reply.text == reply.content == "Say one two three"
    assert (reply.finish_reason, reply.tool_calls, reply.parsed, reply.complete) == ("stop", (), None, True)
    assert reply.usage.completion_tokens == 4
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 4
    assert reply.request_id.startswith("req_")
    assert reply.timeline.requested == began
    assert reply.timeline.first_token == pytest.approx(began + 0.2)
    assert reply.timeline.ended == pytest.approx(began + 0.5)


async def test_a_provider_makes_a_single_chat(autojump_clock):
    async with stage() as it, it.llm().chat("Hello there.", dial=it.server.dial) as reply:
        assert await reply.read() == "Hello there."
        assert it.server.connections == 1, "a chat alone keeps no connection in reserve"

    await trio.testing.wait_all_tasks_blocked()
    assert it.server.open_connections == 0


async def test_chats_follow_one_another_on_a_warm_connection(autojump_clock):
    async with stage() as it, it.open() as session:
        for number in range(5):
            async with session.chat(f"Question {number}") as reply:
                assert await reply.read() == f"Question {number}"
    assert it.server.connections == 2, "one, and one in reserve"


async def test_after_an_interruption_the_next_chat_does_not_wait_for_a_connection(autojump_clock):
    async with stage() as it:
        dialled = []

        async def slow_dial(host, port):
            dialled.append(trio.current_time())
            await trio.sleep(0.5)
            return await it.server.dial(host, port)

        async with it.llm().open(dial=slow_dial) as session:
            await session.prewarm()
            async with session.chat(LONG) as reply:
                async for _ in reply:
                    if trio.current_time() > dialled[-1] + 0.7:
                        break
            began = trio.current_time()
            async with session.chat("The next.") as reply:
                assert await reply.read() == "The next."
            assert reply.timeline.connected == began


async def test_two_chats_do_not_disturb_each_other(autojump_clock):
    results = {}

    async def ask(session, text, most):
        async with session.chat(text) as reply:
            async for _ in reply:
                if len(reply.text) > most:  # the third token
                    break
        results[text] = reply.text

    async with stage() as it, it.open() as session, trio.open_nursery() as nursery:
        for text, most in [("a b c d e f g h", 3), ("A B C D E F G H", 99), ("1 2 3 4", 99)]:
            nursery.start_soon(ask, session, text, most)

    assert results == {"a b c d e f g h": "a b c", "A B C D E F G H": "A B C D E F G H", "1 2 3 4": "1 2 3 4"}


@pytest.mark.parametrize("how", ["break", "exception", "scope", "deadline", "nursery"])
async def test_a_chat_that_is_left_stops_the_server_at_once(autojump_clock, how):
    async with stage(first_token=0.1, tokens_per_second=10) as it, it.open() as session:
        await session.prewarm()
        left = None
        try:
            with trio.move_on_after(0.55 if how == "deadline" else 100) as scope:
                async with trio.open_nursery() as nursery, session.chat(LONG) as reply:
                    async for _ in reply:
                        if len(reply.text.split()) < 4 or how == "deadline":
                            continue
                        if how == "break":
                            break
                        if how == "exception":
                            raise KeyError("the caller's own")
                        (scope if how == "scope" else nursery.cancel_scope).cancel()
        except* KeyError:
            pass
        left = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()

        assert trio.current_time() == left, "no time passed"
        assert it.ended() == [(len(reply.text.split()), True)]
        assert it.events("reply_ended")[0]["time"] == pytest.approx(left - it.server._began)
        assert not reply.complete
        assert reply.timeline.ended == left
        async with session.chat("The next.") as reply:
            assert await reply.read() == "The next."


async def test_on_a_real_socket_the_server_sees_the_interruption():
    async with no_leaks(), stage(socket=True, first_token=0.0, tokens_per_second=200) as it:
        llm = it.llm()
        with trio.fail_after(10):
            async with llm.open() as session:
                with trio.CancelScope() as scope:
                    async with session.chat(LONG) as reply:
                        async for _ in reply:
                            scope.cancel()
                assert scope.cancelled_caught
                while not it.ended():
                    await trio.lowlevel.checkpoint()
                async with session.chat("The next.") as reply:
                    assert await reply.read() == "The next."
    (tokens, interrupted), _ = it.ended()
    assert interrupted
    assert tokens < len(LONG.split())


async def test_chats_over_tls():
    certificate = throw_away_certificate("127.0.0.1")
    simulator = ChatSimulator(ChatOptions(first_token=0.0, tokens_per_second=100.0))
    with trio.fail_after(20):
        async with no_leaks(), simulator.serve(ssl_context=certificate.server_context) as server:
            llm = ChatLLM(model="m", base_url=f"https://127.0.0.1:{server.port}/v1", api_key=KEY)
            async with llm.open(ssl_context=certificate.client_context()) as session:
                async with session.chat(LONG) as reply:
                    await anext(reply)
                async with session.chat("The next.") as reply:
                    assert await reply.read() == "The next."
            with pytest.raises(errors.ConnectError, match="TLS"):
                async with llm.chat("Hello."):
                    pass


async def test_cancelled_iteration_takes_nothing(autojump_clock):
    async with (
        stage(first_token=0.0, tokens_per_second=10) as it,
        it.open() as session,
        session.chat("a b c d e f") as reply,
    ):
        pieces = []
        while True:
            with trio.move_on_after(0.03):
                try:
                    pieces.append(await anext(reply))
                except StopAsyncIteration:
                    break
    assert "".join(pieces) == "a b c d e f"


async def test_the_end_of_the_session_ends_the_chats_of_other_tasks(autojump_clock):
    raised = []

    async def ask(session):
        try:
            async with session.chat(LONG) as reply:
                await reply.read()
        except errors.SessionClosed as error:
            raised.append(error)

    async with stage() as it, trio.open_nursery() as nursery, it.open() as session:
        nursery.start_soon(ask, session)
        await trio.sleep(0.5)
    assert len(raised) == 1
    with pytest.raises(errors.SessionClosed):
        session.chat("too late")
    with pytest.raises(errors.SessionClosed):
        await session.prewarm()


async def test_a_chat_that_was_asked_for_before_the_end_of_the_session_is_refused_after_it(autojump_clock):
    async with stage() as it:
        async with it.open() as session:
            late = session.chat("Hello.")
        with pytest.raises(errors.SessionClosed):
            await late.__aenter__()
    assert it.server.connections == 0


async def test_a_connection_that_the_server_closed_while_idle_costs_nothing(autojump_clock):
    async with stage() as it, it.open() as session:
        await session.prewarm()
        await trio.sleep(100)  # the simulator keeps a connection for 75 s
        assert it.server.open_connections == 0
        began = trio.current_time()
        async with session.chat("Still there?") as reply:
            assert await reply.read() == "Still there?"
        assert reply.timeline.connected == began


async def test_a_used_connection_that_is_lost_before_the_answer_is_replaced_without_a_pause(autojump_clock):
    async with stage() as it, it.open() as session:
        async with session.chat("Hello.") as reply:
            await reply.read()
        await trio.sleep(1)
        it.behave(drop_after_bytes=0, connections=1)
        began = trio.current_time()
        async with session.chat("And now?") as reply:
            assert await reply.read() == "And now?"
        assert reply.timeline.connected == began
        assert [each["connection"] for each in it.events("received")] == [0, 0, 1]


@pytest.mark.parametrize(
    "habit",
    [
        {"role_chunk": False},
        {"usage": "always"},
        {"usage": "never"},
        {"done": False},
        {"finish": False},
        {"null_delta": True},
        {"comments": True},
        {"sse_crlf": True},
        {"ascii": True},
        {"streams": False},
        {"one_byte_writes": True, "sse_crlf": True, "comments": True},
        {"fragment": 3, "ascii": True},
        {"unknown_message": 2},
        {"end_delay": 0.5},
        {"done": False, "end_delay": 5.0},
    ],
    ids=str,
)
async def test_the_habits_of_servers_are_stood(autojump_clock, habit):
    text = "Grüße, 😀!\nA second line."
    async with stage(**habit) as it, it.open() as session:
        for _ in range(2):
            async with session.chat(text) as reply:
                assert await reply.read() == text
                assert reply.complete
                assert (reply.usage is None) == (habit.get("usage") == "never")
            await trio.sleep(3)


async def test_what_follows_the_end_is_not_waited_for_long(autojump_clock):
    async with stage(done=False, usage="never", end_delay=20.0) as it, it.open() as session:
        async with session.chat("One.") as reply:
            assert await reply.read() == "One."
        assert reply.complete
        assert reply.timeline.ended == pytest.approx(reply.timeline.first_token + 1.0)


async def test_an_error_that_comes_together_with_the_first_text_comes_after_it(autojump_clock):
    text = b'data: {"choices":[{"delta":{"content":"Well,"}}]}\n\n'
    body = text + b'data: {"error":{"message":"busy","code":503}}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
    ours, theirs = trio.testing.memory_stream_pair()

    async def dial(host, port):
        return ours

    async def serve():
        await theirs.receive_some()
        await theirs.send_all(head + body)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with ChatLLM(model="m", base_url="http://a.test/v1").chat("Hello.", dial=dial) as reply:
            with pytest.raises(errors.ServiceUnavailable):
                await reply.read()
    assert reply.text == "Well,"


async def test_an_error_in_the_stream_does_not_show_the_key(autojump_clock):
    for text in ("", "Well,"):
        replies = [ChatReply(text=text, error={"message": f"the key {KEY}", "type": "server_error"})] * 3
        async with stage(*replies) as it, it.open() as session:
            with pytest.raises(errors.ServiceUnavailable, match=r"the key \*\*\*") as caught:
                async with session.chat("Hello.") as reply:
                    await reply.read()
        assert KEY not in f"{caught.value!r} {caught.value.reason} {caught.value.__cause__!r}"


async def test_a_reply_is_over_when_the_end_marker_has_come(autojump_clock):
    async with stage(end_delay=0.5) as it, it.open() as session:
        async with session.chat("One.") as reply:
            await reply.read()
            assert reply.timeline.ended == reply.timeline.first_token
        await trio.sleep(1)
        async with session.chat("Two.") as reply:
            await reply.read()
        assert len({each["connection"] for each in it.events("received")}) == 1, "its connection is used again"


async def test_a_server_that_does_not_end_a_body_loses_the_connection_and_nothing_else(autojump_clock):
    async with stage(end_delay=1000) as it, it.open() as session:
        for _ in range(3):
            async with session.chat("Hello.") as reply:
                assert await reply.read() == "Hello."
            await trio.sleep(2)
        assert it.server.open_connections == 1


async def test_a_refusal_of_the_model_is_text_of_its_own(autojump_clock):
    async with stage(ChatReply(refusal="I will not.")) as it, it.open() as session, session.chat("?") as reply:
        assert await deltas(reply) == []
    assert reply.complete


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_tried_again_before_the_first_token(autojump_clock, status):
    async with (
        stage(refuse_first=2, refusal_status=status) as it,
        it.open() as session,
        session.chat("Hello.") as reply,
    ):
        assert await reply.read() == "Hello."
    assert len(it.events("answered")) == 3


async def test_the_server_says_when_to_try_again(autojump_clock):
    async with stage(refuse_first=1, retry_after=3.0) as it, it.open() as session:
        began = trio.current_time()
        async with session.chat("Hello.") as reply:
            assert await reply.read() == "Hello."
        assert reply.timeline.connected == pytest.approx(began + 3.0)


async def test_a_retry_that_is_far_off_is_left_to_the_caller(autojump_clock):
    async with stage(refuse_first=1, retry_after=60.0) as it, it.open() as session:
        with pytest.raises(errors.RateLimited) as caught:
            async with session.chat("Hello."):
                pass
    assert (caught.value.retry_after, caught.value.status) == (60.0, 429)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.AuthenticationError),
        (402, errors.PaymentRequired),
        (403, errors.AuthenticationError),
        (404, errors.BadRequest),
        (418, errors.ProviderError),
        (429, errors.RateLimited),
        (500, errors.ServiceUnavailable),
    ],
)
async def test_refusals_are_typed(autojump_clock, status, kind):
    tries = 3 if status in (429, 500) else 1
    replies = [ChatReply(status=status, error={"message": f"because of {KEY}"})] * tries
    async with stage(*replies) as it, it.open() as session:
        with pytest.raises(kind, match=r"because of \*\*\*") as caught:
            async with session.chat("Hello."):
                pass
        assert caught.value.status == status
        assert caught.value.request_id
        assert len(it.simulator.requests) == tries
        async with session.chat("Hello.") as reply:
            assert await reply.read() == "Hello."


async def test_a_lost_answer_is_asked_for_again_if_nothing_of_it_had_come(autojump_clock):
    async with (
        stage(drop_after_messages=1, connections=1) as it,
        it.open() as session,
        session.chat("Hello.") as reply,
    ):
        assert await reply.read() == "Hello."
    assert len(it.simulator.requests) == 2


@pytest.mark.parametrize("fault", [{"drop_after_messages": 3}, {"drop_after_bytes": 1000}], ids=str)
async def test_an_answer_that_is_cut_off_is_no_end(autojump_clock, fault):
    async with stage(**fault) as it, it.open() as session, session.chat(LONG) as reply:
        with pytest.raises(errors.LinkClosed):
            await reply.read()
        with pytest.raises(errors.LinkClosed):
            await anext(reply)
    assert LONG.startswith(reply.text)
    assert reply.text
    assert not reply.complete
    assert len(it.simulator.requests) == 1


async def test_an_answer_whose_end_is_missing_is_no_end(autojump_clock):
    async with (
        stage(done=False, finish=False, usage="never") as it,
        it.open() as session,
        session.chat("Hello.") as reply,
    ):
        with pytest.raises(errors.LinkClosed, match="in the middle"):
            await reply.read()
    assert reply.text == "Hello."


@pytest.mark.parametrize("fault", [{"stall_after": 0}, {"stall_after": 3}, {"half_open_after": 2}], ids=str)
async def test_silence_is_a_failure(autojump_clock, fault):
    async with stage(**fault) as it, it.open(response_timeout=5.0) as session:
        with pytest.raises(errors.ProviderStalled):
            async with session.chat(LONG) as reply:
                await reply.read()
        assert len(it.simulator.requests) == 1
        await trio.testing.wait_all_tasks_blocked()
        it.behave(stall_after=None)
        async with session.chat("The next.") as reply:
            assert await reply.read() == "The next."


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"error_frame": 3}, errors.ServiceUnavailable),
        ({"non_json": 3}, errors.ProtocolError),
        ({"wrong_shape": 3}, errors.ProtocolError),
    ],
    ids=str,
)
async def test_what_is_wrong_in_the_stream_is_raised_after_what_came_before_it(autojump_clock, fault, kind):
    async with stage(**fault) as it, it.open() as session:
        async with session.chat("one two three four") as reply:
            with pytest.raises(kind):
                await reply.read()
        assert reply.text == "one two"
        async with session.chat("The next.") as reply:
            with pytest.raises(kind):
                await reply.read()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}, errors.RateLimited),
        ({"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}, errors.PaymentRequired),
        ({"message": "bad", "type": "invalid_request_error", "code": None}, errors.BadRequest),
        ({"message": "key", "code": "invalid_api_key"}, errors.AuthenticationError),
        ({"code": 503, "message": "busy", "status": "UNAVAILABLE"}, errors.ServiceUnavailable),
        ({"code": "429", "message": "busy"}, errors.RateLimited),
        ({"message": None}, errors.ProviderError),
    ],
    ids=str,
)
async def test_errors_in_the_stream_are_typed(autojump_clock, error, kind):
    async with (
        stage(ChatReply(text="Well,", error=error)) as it,
        it.open() as session,
        session.chat("Hello.") as reply,
    ):
        with pytest.raises(kind) as caught:
            await reply.read()
    assert type(caught.value) is kind
    assert reply.text == "Well,"


@pytest.mark.parametrize("content_type", ["text/html", "", "application/octet-stream"])
async def test_what_is_no_event_stream_is_refused(autojump_clock, content_type):
    async with stage(content_type=content_type) as it, it.open() as session:
        with pytest.raises(errors.ProtocolError, match="no event stream"):
            async with session.chat("Hello."):
                pass


async def test_nothing_there_is_a_connect_error(autojump_clock):
    async with stage(handshake="refuse") as it, it.open() as session:
        with pytest.raises(errors.ConnectError):
            await session.prewarm()
        with pytest.raises(errors.ConnectError):
            async with session.chat("Hello."):
                pass


async def test_a_long_answer_has_no_time_limit(autojump_clock):
    async with (
        stage(ChatReply(text="word " * 1000), tokens_per_second=1) as it,
        it.open() as session,
        session.chat("Talk.") as reply,
    ):
        assert await reply.read() == "word " * 1000
    assert reply.timeline.ended - reply.timeline.requested > 900


async def test_a_reply_is_entered_once_and_not_read_outside_of_its_block(autojump_clock):
    async with stage() as it, it.open() as session:
        reply = session.chat("Hello.")
        with pytest.raises(errors.ClosedError):
            await anext(reply)
        async with reply:
            pass
        with pytest.raises(errors.ClosedError):
            await anext(reply)
        with pytest.raises(RuntimeError):
            await reply.__aenter__()


async def test_tool_calls_are_there_once_they_are_complete(autojump_clock):
    call = ScriptedCall("get_weather", {"city": "Köln", "days": [1, 2]}, id="call_1")
    async with (
        stage(ChatReply(text="Let me see.", tool_calls=[call])) as it,
        it.open() as session,
        session.chat("Weather?", tools=[{"type": "function", "function": {"name": "get_weather"}}]) as reply,
    ):
        async for _ in reply:
            assert reply.tool_calls == ()
    assert [(call.id, call.name) for call in reply.tool_calls] == [("call_1", "get_weather")]
    assert reply.finish_reason == "tool_calls"
    assert it.simulator.requests[0]["tool_choice"] == "auto"


async def test_the_key_is_shown_nowhere(autojump_clock, caplog):
    async with stage() as it:
        llm = it.llm()
        async with llm.open(dial=it.server.dial) as session, session.chat("Hello.") as reply:
            await reply.read()
            shown = [repr(llm), repr(session), repr(reply), str(it.server.log), caplog.text]
    assert not [text for text in shown if KEY in text]
