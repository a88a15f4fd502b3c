"""The function tools of a realtime session, and the calls that are under way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .chat import ToolCall
from .tools import FunctionTool, output_of

# Calls under way at a time: a model asks for a few.
_MOST_RUNNING = 32


class ToolDesk:
    """Calls the functions that a model wants to be called: so many at a time.

    Args:
        tools: by name.

    Attributes:
        running: how many calls are under way.
    """

    def __init__(self, tools: Mapping[str, FunctionTool | Mapping[str, Any]]) -> None:
        self.running: int = 0
        self._tools = tools

    @property
    def busy(self) -> bool:
        """Whether no more calls can be made now."""
        return self.running >= _MOST_RUNNING

    def answers(self, name: str) -> bool:
        """Whether the call of this name is ours to answer: not if the tool is one without a function."""
        return not isinstance(self._tools.get(name), Mapping)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around a call: the model waits for it."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    async def call(self, call: ToolCall) -> str:
        """Call a function; give what it gives, or what is wrong, for the model to read.

        Raises:
            Exception: what the function raises, other than ToolError: a bug.
        """
        return await output_of(self._tools, call.name, call.arguments)
