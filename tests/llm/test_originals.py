"""The defects of the asyncio original, P1 to P6: each of these tests fails on what it did."""

import attrs
import pytest
import trio
from llm_tools import deltas, stage

from voicetrio import errors
from voicetrio.chat import ChatContext
from voicetrio.simulators.chat import ChatReply, ScriptedCall

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
LONG = "word " * 200


async def test_p1_a_tool_call_in_fragments_is_one_call_with_all_its_arguments(autojump_clock):
    call = ScriptedCall("get_weather", '{"city": "Paris", "unit": "C"}', id="call_7")
    for fragments in (1, 2, 40):
        async with (
            stage(ChatReply(tool_calls=[call]), fragments=fragments) as it,
            it.open() as session,
            session.chat("Weather?", tools=[WEATHER]) as reply,
        ):
            assert await deltas(reply) == []
        assert [attrs.astuple(each) for each in reply.tool_calls] == [("call_7", "get_weather", call.text)]


async def test_p2_a_cancellation_does_not_wait_for_the_next_token(autojump_clock):
    async with stage(first_token=0.1, tokens_per_second=1) as it, it.open() as session:
        await session.prewarm()
        with trio.move_on_after(0.35) as scope:
            async with session.chat(LONG) as reply:
                await reply.read()
        assert scope.cancelled_caught
        cancelled = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
        assert it.events("reply_ended")[0]["time"] == pytest.approx(cancelled - it.server._began)


async def test_p2_a_new_chat_does_not_bring_a_cancelled_one_back(autojump_clock):
    texts = []

    async def ask(session, scope):
        with scope:
            async with session.chat(LONG) as reply:
                async for delta in reply:
                    texts.append(delta)

    async with stage(first_token=0.1, tokens_per_second=5) as it, it.open() as session:
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, session, scope)
            await trio.sleep(1.0)
            scope.cancel()
            heard = len(texts)
            async with session.chat("The next answer.") as reply:
                assert await reply.read() == "The next answer."
        await trio.sleep(10)
    assert len(texts) == heard
    assert it.ended()[0][1]


async def test_p3_a_structured_answer_is_spoken_while_it_arrives_and_parsed_at_its_end(autojump_clock):
    answer = '{"state": "ask", "response": "How are you today?", "done": false}'
    form = {"type": "object", "properties": {"response": {"type": "string"}}}
    async with (
        stage(ChatReply(text=answer), tokens_per_second=10) as it,
        it.open() as session,
        session.chat("Hello.", response_format=form, spoken_field="response") as reply,
    ):
        pieces = await deltas(reply)
    assert "".join(pieces) == reply.text == "How are you today?"
    assert len(pieces) > 2
    assert reply.content == answer
    assert reply.parsed == {"state": "ask", "response": "How are you today?", "done": False}


async def test_p4_a_null_delta_is_nothing(autojump_clock):
    async with stage(null_delta=True) as it, it.open() as session, session.chat("Hello there.") as reply:
        assert await reply.read() == "Hello there."


async def test_p4_an_error_object_in_the_stream_is_raised(autojump_clock):
    scripted = ChatReply(text="Well,", error={"message": "overloaded", "type": "overloaded_error"})
    async with stage(scripted) as it, it.open() as session, session.chat("Hello.") as reply:
        with pytest.raises(errors.ServiceUnavailable, match="overloaded"):
            await reply.read()


async def test_p5_two_calls_of_one_tool_keep_their_own_ids(autojump_clock):
    calls = [ScriptedCall("get_weather", {"city": city}, id=f"call_{city}") for city in ("Paris", "Rome")]

    async def get_weather(city: str) -> str:
        return f"sunny in {city}"

    context = ChatContext().user("Weather?")
    async with (
        stage(ChatReply(tool_calls=calls), ChatReply(text="Sunny."), interleave=True) as it,
        it.open() as session,
        session.run_tools(context, tools=[get_weather]) as run,
    ):
        assert await run.read() == "Sunny."
    sent = it.simulator.requests[1]["messages"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == ["call_Paris", "call_Rome"]
    assert [(each["tool_call_id"], each["content"]) for each in sent[2:]] == [
        ("call_Paris", "sunny in Paris"),
        ("call_Rome", "sunny in Rome"),
    ]


async def test_p6_an_answer_may_last_longer_than_two_minutes(autojump_clock):
    async with stage(tokens_per_second=1) as it, it.open() as session, session.chat(LONG) as reply:
        assert await reply.read() == LONG
    assert reply.timeline.ended - reply.timeline.requested > 120


async def test_p6_the_reason_of_the_end_and_the_usage_are_told_and_nothing_is_printed(autojump_clock, capsys):
    async with stage(ChatReply(text="Hello", finish_reason="length")) as it, it.open() as session:
        async with session.chat("Hi.") as reply:
            await reply.read()
        it.behave(error_frame=0)
        with pytest.raises(errors.ServiceUnavailable):
            async with session.chat("Hi."):
                pass
    assert (reply.finish_reason, reply.usage.completion_tokens) == ("length", 1)
    assert capsys.readouterr().err == ""
