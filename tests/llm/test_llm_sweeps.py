"""The checkpoint sweep: a chat cancelled around every so-many-th step of every task, from another one on each time.

Wherever it is cut the next chat on the same session is whole, and wherever the session is cut nothing is left behind.
"""

import pytest
import trio
from llm_tools import stage
from slices import every

from voicetrio.simulators.chat import ChatReply, ScriptedCall
from voicetrio.testing import sweep, sweep_pairs, sweep_target

QUICK = {"first_token": 0.01, "tokens_per_second": 100}


async def chat(session):
    async with session.chat("one two") as reply:
        await reply.read()


async def warm(session):
    await session.prewarm()


async def call_tools(session):
    async def look(at: str) -> str:
        await trio.sleep(0.01)
        return at

    async with session.run_tools("look", tools=[look]) as run:
        await run.read()


def rule(body):
    """Call a tool if there is one and it was not called."""
    if body["messages"][-1]["content"] == "look":
        return ChatReply(text="Well.", tool_calls=[ScriptedCall("look", {"at": each}) for each in "ab"])
    return ChatReply(text=body["messages"][-1]["content"])


@pytest.mark.parametrize(("part", "least"), [(chat, 2), (warm, 1), (call_tools, 6)])
async def test_after_a_chat_that_is_cut_anywhere_the_next_one_is_whole(autojump_clock, part, least, seed):
    async with stage(rule=rule, **QUICK) as it:
        cut = 0

        async def scenario(target):
            nonlocal cut
            async with it.open() as session:
                with target.scope() as scope:
                    await part(session)
                cut += scope.cancelled_caught
                await trio.testing.wait_all_tasks_blocked()
                assert len(it.events("received")) == len(it.events("reply_ended")), "the server still answers"
                async with session.chat("The next.") as reply:
                    assert await reply.read() == "The next."

        report = await sweep_target(scenario, steps=every(3 if part is warm else 7, seed))
        report.raise_if_problems()
        assert cut >= least
        await trio.testing.wait_all_tasks_blocked()
        assert it.server.open_connections == 0


@pytest.mark.parametrize("part", [chat, warm, call_tools])
async def test_a_session_that_is_cut_anywhere_leaves_nothing_behind(autojump_clock, part, seed):
    async with stage(rule=rule, **QUICK) as it:

        async def scenario():
            async with it.open() as session:
                await part(session)

        async def check():
            await trio.testing.wait_all_tasks_blocked()
            assert it.server.open_connections == 0

        report = await sweep(scenario, check=check, steps=every(7, seed))
        report.raise_if_problems()
        assert report.steps > 2


async def test_two_cancellations_leave_nothing_behind(autojump_clock, seed):
    async with stage(rule=rule, first_token=0, tokens_per_second=None) as it:

        async def scenario(target):
            async with it.open() as session:
                with target.scope():
                    await chat(session)

        report = await sweep_pairs(scenario, steps=every(29, seed, thorough=4))
        report.raise_if_problems()
        await trio.testing.wait_all_tasks_blocked()
        assert it.server.open_connections == 0


async def test_a_chat_of_its_own_that_is_cut_anywhere_leaves_nothing_behind(autojump_clock, seed):
    async with stage(**QUICK) as it:

        async def scenario():
            async with it.llm().chat("one two", dial=it.server.dial) as reply:
                await reply.read()

        (await sweep(scenario, steps=every(3, seed))).raise_if_problems()
        await trio.testing.wait_all_tasks_blocked()
        assert it.server.open_connections == 0
