"""What a simulated language model answers: scripted, or by rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

__all__ = ["ChatReply", "ReplyRule", "ScriptedCall", "echo"]


@attrs.frozen
class ScriptedCall:
    """A tool call.

    Attributes:
        name: of the function.
        arguments: a value that JSON can carry, or the text to send for it, which need not be JSON.
        id: None for one of the simulator's own.
    """

    name: str
    arguments: Any = attrs.Factory(dict)
    id: str | None = None

    @property
    def text(self) -> str:
        """The arguments as they are sent."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)


@attrs.frozen(kw_only=True)
class ChatReply:
    """One answer.

    Attributes:
        text: what is said; the JSON of a structured answer as well.
        tool_calls: what is called, after the text.
        finish_reason: None for the one that fits.
        refusal: the words of a refusal, in its own field.
        status: refuse the request with this HTTP status instead.
        error: an error object that follows the text in the stream, in place of the end; with `status`, the body's.
    """

    text: str = ""
    tool_calls: tuple[ScriptedCall, ...] = attrs.field(default=(), converter=tuple)
    finish_reason: str | None = None
    refusal: str = ""
    status: int | None = None
    error: Mapping[str, Any] | None = None

    @property
    def reason(self) -> str:
        """Why it ends."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


ReplyRule: TypeAlias = Callable[[Mapping[str, Any]], ChatReply]
"""Gives the answer to a request's body."""


def echo(body: Mapping[str, Any]) -> ChatReply:
    """Say what the user said last; after a tool's output, that."""
    for message in reversed(body["messages"]):
        if message.get("role") in ("user", "tool"):
            return ChatReply(text=_text_of(message.get("content")))
    return ChatReply(text="")


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
