"""A conversation with a model that calls tools: rounds of answers and calls, until it only answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import trio

from ._link.nursery import plain_exceptions
from ._one_task import OneTask
from .chat import ChatContext, ChatMessage, ToolCall, ToolOutput
from .errors import ClosedError, ConfigurationError, TooManyRounds
from .reply import Reply
from .tools import FunctionTool, output_of


class _Ask(Protocol):
    def __call__(self, *, first: bool) -> Reply: ...


class ToolRun:
    """An async iterator of the text of all rounds; made by :meth:`LLMSession.run_tools`.

    One task at a time may iterate; another gets :exc:`trio.BusyResourceError`.

    Attributes:
        context: the conversation; each round is added once it is complete.
        reply: the latest round's.
        rounds: how many requests were made.
    """

    def __init__(self, ask: _Ask, context: ChatContext, tools: Mapping[str, Any], max_rounds: int) -> None:
        if not isinstance(max_rounds, int) or isinstance(max_rounds, bool) or max_rounds < 1:
            raise ConfigurationError(f"max_rounds must be a whole number over 0, not {max_rounds!r}")
        for name, tool in tools.items():
            if not isinstance(tool, FunctionTool):
                raise ConfigurationError(f"the tool {name} has no function to call")
        self.context: ChatContext = context
        self.rounds: int = 0
        self.reply: Reply = ask(first=True)
        self._ask = ask
        self._tools: Mapping[str, FunctionTool] = tools
        self._max_rounds = max_rounds
        self._over = False
        self._failure: Exception | None = None  # why it cannot go on
        self._one_task = OneTask("reading this run")

    async def read(self) -> str:
        """Go on to the end and return the last round's text; raises as the iteration does."""
        async for _ in self:
            pass
        return self.reply.text

    async def __aenter__(self) -> Self:
        await self._enter(self.reply)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._failure is None:
            self._failure = ClosedError("the block of the run was left")
        await self.reply.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - it drops a connection, shielded

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._over:
            if self._failure is not None:
                raise self._failure
            with self._one_task:
                try:
                    return await anext(self.reply)
                except StopAsyncIteration:
                    pass
                await self._go_on()
        raise StopAsyncIteration

    async def _enter(self, reply: Reply) -> None:
        self.rounds += 1
        await reply.__aenter__()

    async def _go_on(self) -> None:
        """End, or go to the next round.  What goes wrong there is final: no call is made twice."""
        whole = False
        try:
            await self._next_round()
            whole = True
        finally:
            if not whole:
                error = sys.exception()
                cancelled = ClosedError("the run was cancelled between two answers: what it called is not called again")
                self._failure = error if isinstance(error, Exception) else cancelled

    async def _next_round(self) -> None:
        reply = self.reply
        said = [ChatMessage("assistant", reply.content)] if reply.content else []
        if not reply.tool_calls:
            self.context.items += said
            self._over = True
            return
        if self.rounds == self._max_rounds:
            names = ", ".join(call.name for call in reply.tool_calls)
            raise TooManyRounds(f"after {self.rounds} rounds the model still calls {names}")
        outputs = await self._call_all(reply.tool_calls)
        self.context.items += [*said, *reply.tool_calls, *outputs]
        self.reply = self._ask(first=False)
        await self._enter(self.reply)

    async def _call_all(self, calls: tuple[ToolCall, ...]) -> list[ToolOutput]:
        outputs: dict[int, ToolOutput] = {}

        async def call(position: int) -> None:
            wanted = calls[position]
            outputs[position] = ToolOutput(wanted.id, await output_of(self._tools, wanted.name, wanted.arguments))

        with plain_exceptions():
            async with trio.open_nursery() as nursery:
                for position in range(len(calls)):
                    nursery.start_soon(call, position)
        return [outputs[position] for position in range(len(calls))]
