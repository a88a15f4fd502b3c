"""An answer of a language model as a stream of chunks, and as one object."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ._ids import make_uuid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._chat_reply import ChatReply, ScriptedCall
    from ._http_body import HttpBody
    from ._server import Connection
    from .chat import ChatOptions

__all__ = ["Answer"]

_TOKEN = re.compile(r"\s*\S{1,12}|\s+")

CREATED = 1_700_000_000
"""When every answer was made: the same in every run."""


@attrs.define
class Answer:
    """One answer on its way.

    Attributes:
        connection: on which.
        body: the request's.
        reply: what is answered.
        number: of the request on this server.
        sent: tokens that went out.
    """

    connection: Connection[ChatOptions]
    body: dict[str, Any]
    reply: ChatReply
    number: int
    sent: int = 0

    @property
    def id(self) -> str:
        """Its id, the same in every run with the same seed."""
        return f"chatcmpl-{make_uuid(self._options.seed, self.number).replace('-', '')}"

    @property
    def _options(self) -> ChatOptions:
        return self.connection.options

    def whole(self) -> bytes:
        """The answer as one object."""
        reply = self.reply
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal or None}
        if reply.tool_calls:
            message["tool_calls"] = [self._whole_call(index) for index in range(len(reply.tool_calls))]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.reason}
        return json.dumps(self._object("chat.completion", [choice]) | {"usage": self._usage()}).encode()

    async def send(self, stream: HttpBody) -> None:
        """Send the answer as server-sent events, at the pace of the options."""
        options = self._options
        begun = trio.current_time()
        await trio.sleep(options.first_token)
        if options.role_chunk:
            await self._send(stream, {"role": "assistant", "content": ""})
        for delta in self._deltas():
            await self._pause(begun)
            await self._send(stream, delta, token=True)
            self.sent += 1
        if self.reply.error is not None:
            await stream.send(self.event({"error": self.reply.error}))
            return
        if options.finish:
            await self._send(stream, None if options.null_delta else {}, finish_reason=self.reply.reason)
        if options.usage == "always" or (options.usage == "asked" and self._usage_is_wanted()):
            await stream.send(self.event(self._object("chat.completion.chunk", []) | {"usage": self._usage()}))
        if options.done:
            await stream.send(self._lines("[DONE]"))
        await trio.sleep(options.end_delay)

    def event(self, data: Any) -> bytes:
        """An event with this value as its data."""
        return self._lines(data if isinstance(data, str) else json.dumps(data, ensure_ascii=self._options.ascii))

    def _lines(self, data: str) -> bytes:
        options = self._options
        lines = [*([": keep-alive", ""] if options.comments else []), f"data: {data}", "", ""]
        return ("\r\n" if options.sse_crlf else "\n").join(lines).encode()

    async def _send(
        self, stream: HttpBody, delta: dict[str, Any] | None, finish_reason: str | None = None, *, token: bool = False
    ) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        await stream.send(self.event(self._object("chat.completion.chunk", [choice])), audio=token)

    async def _pause(self, begun: float) -> None:
        options = self._options
        if options.tokens_per_second is not None:
            await trio.sleep_until(begun + options.first_token + self.sent / options.tokens_per_second)

    def _deltas(self) -> Iterator[dict[str, Any] | None]:
        for token in _TOKEN.findall(self.reply.text):
            yield {"content": token}
            if self._options.null_delta:
                yield None
        if self.reply.refusal:
            yield {"refusal": self.reply.refusal}
        for index, position, piece in self._pieces():
            yield {"tool_calls": [self._fragment(index, position, piece)]}

    def _pieces(self) -> list[tuple[int, int, str]]:
        """The pieces of all calls, in order: the call's index, the piece's, and its text."""
        calls = [
            [(index, position, piece) for position, piece in enumerate(self._fragments(index, call))]
            for index, call in enumerate(self.reply.tool_calls)
        ]
        if not self._options.interleave:
            return [piece for call in calls for piece in call]
        longest = max(map(len, calls), default=0)
        return [call[turn] for turn in range(longest) for call in calls if turn < len(call)]

    def _fragments(self, index: int, call: ScriptedCall) -> list[str]:
        """The arguments, cut where chance will have it; the first piece may be empty, as OpenAI's is."""
        text, options = call.text, self._options
        if options.whole_calls:
            return [text]
        source = random.Random(f"{options.seed}/{self.number}/{index}")  # noqa: S311 -- not a secret
        cuts = sorted(source.choices(range(len(text) + 1), k=min(options.fragments, len(text) + 1) - 1))
        return [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    def _fragment(self, index: int, position: int, piece: str) -> dict[str, Any]:
        options = self._options
        fragment: dict[str, Any] = {"function": {"arguments": piece}}
        if options.call_index != "missing":
            fragment["index"] = index if options.call_index == "given" else 0
        if position == 0 or options.repeat_names:
            fragment["function"]["name"] = self.reply.tool_calls[index].name
            fragment["type"] = "function"
            if options.call_ids:
                fragment["id"] = self._call_id(index)
        return fragment

    def _whole_call(self, index: int) -> dict[str, Any]:
        call = self.reply.tool_calls[index]
        return {"id": self._call_id(index), "type": "function", "function": {"name": call.name, "arguments": call.text}}

    def _call_id(self, index: int) -> str:
        given = self.reply.tool_calls[index].id
        return given or f"call_{make_uuid(self._options.seed, self.number, index).replace('-', '')[:24]}"

    def _object(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        model = self.body.get("model")
        return {"id": self.id, "object": kind, "created": CREATED, "model": model, "choices": choices}

    def _usage(self) -> dict[str, int]:
        """A token is a word of twelve characters at most."""
        prompt = len(_TOKEN.findall(json.dumps(self.body.get("messages"), ensure_ascii=False)))
        said = [self.reply.text, *(call.text for call in self.reply.tool_calls)]
        completion = sum(len(_TOKEN.findall(text)) for text in said)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _usage_is_wanted(self) -> bool:
        wanted = self.body.get("stream_options")
        return isinstance(wanted, dict) and wanted.get("include_usage") is True
