"""Outside truth: OpenAI's own SDK against the simulator, over real sockets."""

import asyncio

import openai
import pydantic
import pytest
import trio

from voicetrio.simulators import Faults
from voicetrio.simulators.chat import ChatOptions, ChatReply, ChatSimulator, ScriptedCall

MESSAGES = [{"role": "user", "content": "Grüße 😀, hello there."}]
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def simulator(*replies, faults=None, **options):
    fast = {"first_token": 0.0, "tokens_per_second": None}
    return ChatSimulator(ChatOptions(faults=faults or Faults(), **{**fast, **options}), replies=replies)


def client_for(server, kind=openai.OpenAI, **how):
    return kind(api_key="the-sdks-own-key", base_url=f"http://127.0.0.1:{server.port}/v1", **{"max_retries": 0, **how})


async def run(function):
    """Run blocking SDK code; it cannot outlive the test for long, because the simulator closes its sockets."""
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


async def test_a_whole_answer():
    async with simulator().serve() as server:

        def ask():
            with client_for(server) as client:
                return client.chat.completions.create(model="m", messages=MESSAGES)

        answer = await run(ask)
    assert answer.choices[0].message.content == MESSAGES[0]["content"]
    assert (answer.choices[0].finish_reason, answer.model) == ("stop", "m")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")


@pytest.mark.parametrize("habits", [{}, {"sse_crlf": True, "comments": True}, {"ascii": True}], ids=str)
async def test_a_streamed_answer(habits):
    async with simulator(**habits).serve() as server:

        def ask():
            wanted = {"include_usage": True}
            with (
                client_for(server) as client,
                client.chat.completions.create(
                    model="m", messages=MESSAGES, stream=True, stream_options=wanted
                ) as stream,
            ):
                return list(stream)

        *chunks, last = await run(ask)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == MESSAGES[0]["content"]
    assert len(chunks) > 4
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.usage.completion_tokens > 0) == ([], True)


async def test_a_streamed_tool_call_and_its_output():
    calls = [ScriptedCall("get_weather", {"city": city}) for city in ("Köln", "Rome")]
    served = simulator(ChatReply(text="Let me see.", tool_calls=calls), interleave=True, fragments=20)
    async with served.serve() as server:

        def ask():
            with client_for(server) as client:
                with client.chat.completions.stream(model="m", messages=MESSAGES, tools=[TOOL]) as stream:
                    message = stream.get_final_completion().choices[0].message
                outputs = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
                told = [*MESSAGES, message.to_dict(), *outputs]
                return message, client.chat.completions.create(model="m", messages=told, tools=[TOOL])

        message, answer = await run(ask)
    assert message.content == "Let me see."
    assert [call.function.arguments for call in message.tool_calls] == ['{"city": "Köln"}', '{"city": "Rome"}']
    assert len({call.id for call in message.tool_calls}) == 2
    assert answer.choices[0].message.content == "sunny"


class Step(pydantic.BaseModel):
    response: str
    done: bool


async def test_a_structured_answer():
    async with simulator(ChatReply(text='{"response": "Hi", "done": true}')).serve() as server:

        def ask():
            with client_for(server) as client:
                return client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Step)

        answer = await run(ask)
    assert answer.choices[0].message.parsed == Step(response="Hi", done=True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_a_refusal(status, kind):
    async with simulator(ChatReply(status=status, error={"message": "because"})).serve() as server:

        def ask():
            with client_for(server) as client, pytest.raises(kind, match="because") as caught:
                client.chat.completions.create(model="m", messages=MESSAGES)
            return caught.value

        error = await run(ask)
    assert error.request_id.startswith("req_")


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [{"role": "tool", "tool_call_id": "x", "content": ""}]},
        {"messages": MESSAGES, "tool_choice": "auto"},
    ],
    ids=range(3),
)
async def test_a_request_that_openai_would_refuse_is_refused(body):
    async with simulator().serve() as server:

        def ask():
            with client_for(server) as client, pytest.raises(openai.BadRequestError):
                client.chat.completions.create(model="m", **body)

        await run(ask)


async def test_the_sdk_tries_again_after_a_429():
    async with simulator(refuse_first=2, faults=Faults(retry_after=0.01)).serve() as server:

        def ask():
            with client_for(server, max_retries=2) as client:
                return client.chat.completions.create(model="m", messages=MESSAGES)

        assert (await run(ask)).choices[0].message.content == MESSAGES[0]["content"]


async def test_an_error_in_the_stream():
    async with simulator(faults=Faults(error_frame=2)).serve() as server:

        def ask():
            with client_for(server) as client, pytest.raises(openai.APIError, match="had an error"):
                list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))

        await run(ask)


async def test_a_stream_that_is_dropped():
    async with simulator(faults=Faults(drop_after_messages=2)).serve() as server:

        def ask():
            with client_for(server) as client, pytest.raises(openai.APIConnectionError):
                list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))

        await run(ask)


async def test_an_interruption_ends_the_answer_on_the_server():
    async with simulator(ChatReply(text="word " * 5000), tokens_per_second=200.0).serve() as server:

        def ask():
            async def interrupted():
                async with client_for(server, openai.AsyncOpenAI) as client:
                    stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
                    async with stream:
                        async for chunk in stream:
                            if chunk.choices[0].delta.content:
                                return

            asyncio.run(interrupted())

        await run(ask)
        with trio.fail_after(10):
            while not (ended := [each["data"] for each in server.log if each["event"] == "reply_ended"]):
                await trio.lowlevel.checkpoint()
    assert ended[0]["interrupted"]
    assert ended[0]["tokens"] < 5000


async def test_the_models_are_listed():
    async with simulator(models="one two").serve() as server:

        def ask():
            with client_for(server) as client:
                with pytest.raises(openai.NotFoundError):
                    client.chat.completions.create(model="three", messages=MESSAGES)
                return [model.id for model in client.models.list()]

        assert await run(ask) == ["one", "two"]
