"""The original's LLM against the simulated ``/v1/chat/completions``."""

import asyncio
import json
from contextlib import asynccontextmanager

import aiohttp
import pytest
from gateway import until
from videosdk.agents import ChatContext, ChatRole, FunctionCall, FunctionCallOutput, function_tool
from videosdk.agents.inference import LLM

VENDORS = {"google": LLM.google, "sarvamai": LLM.sarvam, "videosdk": LLM.videosdk}
FAST = "tokens_per_second=1000", "first_token=0"


@function_tool
async def get_weather(city: str) -> str:
    """The weather.

    Args:
        city: where.
    """
    return city


@asynccontextmanager
async def model(gateway, vendor="google", **options):
    llm = VENDORS[vendor](base_url=gateway.http_url, **options)
    try:
        yield llm
    finally:
        await llm.aclose()


def said(*texts):
    context = ChatContext.empty()
    for text in texts:
        context.add_message(ChatRole.USER, text)
    return context


async def answer(llm, text, into=None, **options):
    """The answer to a text: its pieces, and what else is told."""
    pieces = [] if into is None else into
    async for response in llm.chat(said(text), **options):
        pieces.append(response.content or response.metadata)
    return pieces


def spoken(pieces):
    return "".join(piece for piece in pieces if isinstance(piece, str))


@pytest.mark.parametrize("vendor", VENDORS)
async def test_two_answers_in_a_row_come_in_pieces(simulate, vendor):
    gateway = simulate(*FAST)
    texts = ('What was said is said again: ünïcödé, "quotes".', "And this as well.")
    tokens = []
    async with model(gateway, vendor) as llm:
        for text in texts:
            *pieces, usage = await answer(llm, text)
            assert len(pieces) > 3
            tokens.append(len(pieces))
            assert spoken(pieces) == text
            assert usage["usage"]["completion_tokens"] == len(pieces)
            assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + len(pieces)
    bodies = [json.loads(data["message"]) for data in gateway.log("received")]
    assert [body["messages"][-1]["content"] for body in bodies] == list(texts)
    assert all(body["stream"] and body["model"] == llm.model_id for body in bodies)
    await until(lambda: len(gateway.log("reply_ended")) == 2)
    assert [data["tokens"] for data in gateway.log("reply_ended")] == tokens


async def test_an_answer_ends_with_done_and_its_connection_too(simulate):
    """The rest of the body, which is only its end, is not read, so the next request has to connect again."""
    gateway = simulate(*FAST, "end_delay=0.3")
    async with model(gateway) as llm:
        assert spoken(await answer(llm, "One.")) == "One."
        assert spoken(await answer(llm, "Two.")) == "Two."
    assert gateway.connections == 2


@pytest.mark.parametrize(
    "option", ["comments=yes", "sse_crlf=yes", "ascii=yes", "done=no", "finish=no", "role_chunk=no"]
)
async def test_every_way_to_write_a_stream_is_read(simulate, option):
    gateway = simulate(*FAST, option)
    async with model(gateway) as llm:
        assert spoken(await answer(llm, "Wie geht es Ihnen? Schön!")) == "Wie geht es Ihnen? Schön!"


async def test_p6_a_refusal_is_raised_with_its_words_and_printed_as_a_traceback(simulate, capfd):
    gateway = simulate(*FAST, "refuse_first=1", "refusal_status=429")
    errors = []
    async with model(gateway) as llm:
        llm.on("error", lambda error: errors.append(str(error)))
        with pytest.raises(Exception, match=r"HTTP 429: .*Rate limit reached"):
            await answer(llm, "Hello.")
        assert len(errors) == 1
        assert spoken(await answer(llm, "Hello again.")) == "Hello again."
    assert "Traceback" in capfd.readouterr().err


async def test_a_wrong_token_is_a_refusal(simulate, capfd):
    gateway = simulate("api_key=another")
    async with model(gateway) as llm:
        with pytest.raises(Exception, match=r"HTTP 401: .*Incorrect API key"):
            await answer(llm, "Hello.")
    capfd.readouterr()


async def test_a_stream_that_is_cut_is_raised_behind_what_came(simulate, capfd):
    gateway = simulate(*FAST, "drop_after_messages=4", "connections=1")
    pieces = []
    async with model(gateway) as llm:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer(llm, "One two three four five six.", into=pieces)
        assert spoken(pieces) == "One two three"  # of four events the first only tells the role
        assert spoken(await answer(llm, "Once more.")) == "Once more."
    assert gateway.connections == 2
    capfd.readouterr()


async def test_leaving_an_answer_in_the_middle_is_a_close_that_the_server_sees(simulate):
    gateway = simulate("tokens_per_second=10", "first_token=0")
    async with model(gateway) as llm:
        stream = llm.chat(said("One two three four five six seven eight nine ten eleven twelve."))
        async for response in stream:
            if response.content == " two":
                break
        await stream.aclose()
        assert spoken(await answer(llm, "Next.")) == "Next."
    await until(lambda: len(gateway.log("reply_ended")) == 2)
    (cut,) = [data for data in gateway.log("reply_ended") if data["tokens"] > 1]
    assert cut["interrupted"]
    assert cut["tokens"] < 12


@pytest.mark.parametrize("option", ["fragments=8", "whole_calls=yes", "interleave=yes"])
async def test_p1_a_tool_call_in_fragments_is_one_call(simulate, option):
    calls = [["get_weather", {"city": "Rome"}], ["get_weather", {"city": "Paris"}]]
    gateway = simulate(*FAST, option, replies=[{"text": "Let me see.", "tool_calls": calls}])
    async with model(gateway) as llm:
        pieces = await answer(llm, "How is the weather?", tools=[get_weather])
    told = [piece["function_call"] for piece in pieces if "function_call" in piece]
    assert spoken(pieces) == "Let me see."
    assert sorted(told, key=str) == [{"name": name, "arguments": arguments} for name, arguments in calls[::-1]]


async def test_p2_a_cancellation_waits_for_the_next_line(simulate):
    gateway = simulate("first_token=0", "tokens_per_second=0.5")
    async with model(gateway) as llm:
        pieces = []
        task = asyncio.create_task(answer(llm, "One two three four.", into=pieces))
        await until(lambda: pieces)
        await llm.cancel_current_generation()
        await asyncio.sleep(0.1)
        assert not task.done()  # the next token is due in two seconds
        await task
        assert spoken(pieces) == "One"


async def test_p2_a_new_call_brings_a_cancelled_one_back(simulate):
    gateway = simulate("first_token=0", "tokens_per_second=10")
    async with model(gateway) as llm:
        old = []
        task = asyncio.create_task(answer(llm, "What nobody wants to hear any more.", into=old))
        await until(lambda: old)
        await llm.cancel_current_generation()
        assert spoken(await answer(llm, "The new one.")) == "The new one."
        await task
        assert spoken(old) == "What nobody wants to hear any more."


async def test_p4_a_null_delta_is_raised(simulate, capfd):
    gateway = simulate(*FAST, "null_delta=yes")
    pieces = []
    async with model(gateway) as llm:
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'get'"):
            await answer(llm, "One two.", into=pieces)
    assert spoken(pieces) == "One"
    capfd.readouterr()


async def test_p4_an_error_in_the_stream_is_ignored(simulate):
    error = {"message": "The model fell over", "type": "server_error"}
    gateway = simulate(*FAST, replies=[{"text": "Half an", "error": error}])
    errors = []
    async with model(gateway) as llm:
        llm.on("error", lambda error: errors.append(error))
        assert await answer(llm, "Hello.") == ["Half", " an"]
    assert errors == []


async def test_p5_two_calls_of_one_tool_have_one_id(simulate, capfd):
    gateway = simulate(*FAST)
    context = said("How is the weather in Rome and Paris?")
    for number, city in enumerate(("Rome", "Paris")):
        context.items.append(
            FunctionCall(name="get_weather", arguments=json.dumps({"city": city}), call_id=f"id{number}")
        )
    for number in range(2):
        context.items.append(FunctionCallOutput(name="get_weather", call_id=f"id{number}", output="Fine."))
    async with model(gateway) as llm:
        with pytest.raises(Exception, match="HTTP 400"):
            async for _ in llm.chat(context, tools=[get_weather]):
                pass
    (body,) = [json.loads(data["message"]) for data in gateway.log("received")]
    calls = [call["id"] for message in body["messages"] for call in message.get("tool_calls", ())]
    assert calls == ["call_get_weather", "call_get_weather"]
    capfd.readouterr()
