"""Runs of tools that fail, are cancelled or left: no call is made twice, and none ends the run without a word."""

import pytest
import trio
from llm_tools import KEY
from raw_server import DONE, END, HEAD, answering, calls, chunk, finish, serving, token, whole

from voicetrio import errors
from voicetrio.chat import ChatContext, ToolOutput
from voicetrio.chat_completions import ChatLLM

THE_END = whole(token("the end"), finish())


def llm(**options):
    return ChatLLM(**{"model": "m", "base_url": "http://x.test/v1", "api_key": KEY, **options})


def calling(*names):
    return whole(token("let me see"), calls(*names), finish("tool_calls"))


async def test_a_tool_that_raises_stop_async_iteration_does_not_end_the_run_as_if_it_had_answered(autojump_clock):
    async def tool() -> str:
        raise StopAsyncIteration

    async with (
        serving(answering(calling("tool"), THE_END)) as dial,
        llm().open(dial=dial) as session,
        session.run_tools("x", tools=[tool]) as run,
    ):
        assert await anext(run) == "let me see"
        with pytest.raises(RuntimeError, match="the tool tool raised StopAsyncIteration"):
            await anext(run)


async def test_two_tasks_cannot_iterate_at_once_and_no_call_is_made_twice(autojump_clock):
    called, heard = [], []

    async def tool() -> str:
        called.append(1)
        await trio.sleep(1)
        return "ok"

    async def read():
        heard.append(await anext(run))

    async with (
        serving(answering(calling("tool"), THE_END)) as dial,
        llm().open(dial=dial) as session,
        session.run_tools("x", tools=[tool]) as run,
        trio.open_nursery() as nursery,
    ):
        await read()
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(run)
    assert heard == ["let me see", "the end"]
    assert called == [1]


async def test_after_its_block_a_run_calls_nothing(autojump_clock):
    called, requests = [], []

    async def tool() -> str:
        called.append(1)
        return "ok"

    async with (
        serving(answering(calling("tool"), THE_END, requests=requests)) as dial,
        llm().open(dial=dial) as session,
    ):
        async with session.run_tools("x", tools=[tool]) as run:
            assert await anext(run) == "let me see"
        for _ in range(2):
            with pytest.raises(errors.ClosedError):
                await run.read()
    assert called == []
    assert len(requests) == 1


async def test_a_run_that_was_read_to_its_end_has_ended_after_its_block_too(autojump_clock):
    async with serving(answering(THE_END)) as dial, llm().open(dial=dial) as session:
        async with session.run_tools("x", tools=[]) as run:
            await run.read()
        assert await run.read() == "the end"


async def test_a_run_that_failed_fails_again_and_calls_nothing_again(autojump_clock):
    called = []

    async def good() -> str:
        called.append("good")
        return "ok"

    async def bad() -> str:
        called.append("bad")
        raise ValueError("boom")

    raised = []
    async with serving(answering(calling("good", "bad"))) as dial, llm().open(dial=dial) as session:
        async with session.run_tools("x", tools=[good, bad]) as run:
            for _ in range(3):
                with pytest.raises(ValueError, match="boom") as caught:
                    await run.read()
                raised.append(caught.value)
        with pytest.raises(ValueError, match="boom"):
            await run.read()
    assert raised == [raised[0]] * 3
    assert sorted(called) == ["bad", "good"]


async def test_a_run_with_too_many_rounds_says_so_again(autojump_clock):
    requests = []
    async with (
        serving(answering(calling("tool"), requests=requests)) as dial,
        llm().open(dial=dial) as session,
        session.run_tools("x", tools=[tool_that_is_quick], max_rounds=2) as run,
    ):
        for _ in range(2):
            with pytest.raises(errors.TooManyRounds):
                await run.read()
    assert len(requests) == 2


def tool_that_is_quick() -> str:
    return "ok"


async def test_a_run_whose_calls_were_cancelled_does_not_make_them_again(autojump_clock):
    called = []

    async def quick() -> str:
        called.append("quick")
        return "ok"

    async def slow() -> str:
        called.append("slow")
        await trio.sleep_forever()

    context = ChatContext().user("x")
    async with (
        serving(answering(calling("quick", "slow"), THE_END)) as dial,
        llm().open(dial=dial) as session,
        session.run_tools(context, tools=[quick, slow]) as run,
    ):
        with trio.move_on_after(1) as scope:
            await run.read()
        assert scope.cancelled_caught
        for _ in range(2):
            with pytest.raises(errors.ClosedError, match="cancelled"):
                await run.read()
    assert sorted(called) == ["quick", "slow"]
    assert len(context.items) == 1


async def test_a_run_that_is_cancelled_within_an_answer_goes_on(autojump_clock):
    called = []

    async def tool() -> str:
        called.append(1)
        return "ok"

    words = (
        HEAD + b"".join(map(chunk, [token("let "), token("me "), token("see"), calls("tool"), finish(), DONE])) + END
    )
    answer = answering(words, THE_END)

    async def serve(stream):
        await answer(Slow(stream))

    class Slow:
        def __init__(self, stream):
            self.receive_some = stream.receive_some
            self._send_all = stream.send_all

        async def send_all(self, data):
            await trio.sleep(1)
            for at in range(0, len(data), 50):
                await self._send_all(data[at : at + 50])
                await trio.sleep(0.1)

    got, cuts = [], 0
    async with (
        serving(serve) as dial,
        llm().open(dial=dial) as session,
        session.run_tools("x", tools=[tool]) as run,
    ):
        done = False
        while not done:
            with trio.move_on_after(0.03 if len(got) < 3 else 100) as scope:
                async for delta in run:
                    got.append(delta)
                done = True
            cuts += scope.cancelled_caught
    assert got == ["let ", "me ", "see", "the end"]
    assert called == [1]
    assert cuts > 5


@pytest.mark.parametrize("choice", ["required", "tool_that_is_quick"])
async def test_the_providers_own_choice_of_tool_is_for_the_first_round(autojump_clock, choice):
    requests = []
    async with (
        serving(answering(calling("tool_that_is_quick"), THE_END, requests=requests)) as dial,
        llm(tool_choice=choice).open(dial=dial) as session,
        session.run_tools("x", tools=[tool_that_is_quick]) as run,
    ):
        assert await run.read() == "the end"
    named = {"type": "function", "function": {"name": choice}}
    assert [each["tool_choice"] for each in requests] == ["required" if choice == "required" else named, "auto"]


@pytest.mark.parametrize("depth", [1, 2])
async def test_a_tool_error_out_of_a_tools_own_nursery_goes_to_the_model(autojump_clock, depth):
    async def fail():
        raise errors.ToolError("no such room")

    async def tool() -> str:
        async with trio.open_nursery() as outer:
            if depth == 1:
                outer.start_soon(fail)
            else:
                async with trio.open_nursery() as inner:
                    inner.start_soon(fail)

    assert await outputs_of(tool) == ["error: no such room"]


async def test_other_errors_out_of_a_tools_own_nursery_stay_a_group(autojump_clock):
    async def fail(kind):
        raise kind("no such room")

    async def tool() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, errors.ToolError)
            nursery.start_soon(fail, ValueError)

    with pytest.raises(ExceptionGroup) as raised:
        await outputs_of(tool)
    assert {type(each) for each in raised.value.exceptions} == {errors.ToolError, ValueError}


@pytest.mark.parametrize("fails", [False, True])
async def test_an_output_that_utf_8_cannot_carry_does_not_spoil_the_conversation(autojump_clock, fails):
    def tool() -> str:
        if fails:
            raise errors.ToolError("a \ud800 b")
        return "a \ud800 b"

    assert await outputs_of(tool) == ["error: a ? b" if fails else "a ? b"]


async def outputs_of(tool):
    """What the model is told of a round that calls the tool."""
    context = ChatContext().user("x")
    async with (
        serving(answering(calling("tool"), THE_END)) as dial,
        llm().open(dial=dial) as session,
        session.run_tools(context, tools=[tool]) as run,
    ):
        assert await run.read() == "the end"
    return [item.output for item in context.items if isinstance(item, ToolOutput)]
