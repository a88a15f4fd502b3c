"""What an OpenAI-compatible server answers: chunks in, text deltas and finished tool calls out; without I/O."""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import msgspec

from ._json import decode_json
from .chat import ToolCall
from .errors import (
    AuthenticationError,
    BadRequest,
    PaymentRequired,
    ProtocolError,
    ProviderError,
    RateLimited,
    ServiceUnavailable,
    error_class,
)

DONE = "[DONE]"

# What an error in the stream is called, by whoever is behind the server; statuses come as numbers or in these words.
_BLAME: tuple[tuple[str, type[ProviderError]], ...] = (
    ("insufficient_quota", PaymentRequired),
    ("billing", PaymentRequired),
    ("rate_limit", RateLimited),
    ("resource_exhausted", RateLimited),
    ("authentication", AuthenticationError),
    ("invalid_api_key", AuthenticationError),
    ("permission", AuthenticationError),
    ("unauthenticated", AuthenticationError),
    ("context_length", BadRequest),
    ("invalid", BadRequest),
    ("not_found", BadRequest),
    ("bad_request", BadRequest),
    ("overloaded", ServiceUnavailable),
    ("unavailable", ServiceUnavailable),
    ("server_error", ServiceUnavailable),
    ("internal", ServiceUnavailable),
)


@attrs.frozen
class Usage:
    """What an answer cost, in tokens.

    Attributes:
        prompt_tokens: of what was sent.
        completion_tokens: of what was answered.
        total_tokens: of both.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None  # some servers send an object, whole


class _CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None  # of an answer that is not streamed
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class _Chunk(msgspec.Struct):
    """A chunk; what an answer is whole without may be of any shape."""

    id: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None
    object: Any = None
    message: Any = None
    type: Any = None
    code: Any = None

    @property
    def failure(self) -> Any:
        """The error that it tells, if it does: in a field, or by being one itself."""
        if self.object == "error":
            return {"message": self.message, "type": self.type, "code": self.code}
        # Some servers have the field in every chunk.
        return None if self.error in (None, False, "") else self.error


class _Call:
    """A tool call that is arriving."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def take(self, fragment: _CallDelta) -> None:
        self.id = self.id or fragment.id or ""
        function = fragment.function
        if function is None:
            return
        self.name = self.name or function.name or ""
        if isinstance(function.arguments, dict):
            self.arguments.append(msgspec.json.encode(function.arguments).decode())
        elif function.arguments:
            self.arguments.append(function.arguments)

    def finished(self) -> ToolCall:
        # A server that names no calls still wants to be told which output belongs to which.
        return ToolCall(self.id or f"call_{uuid.uuid4().hex}", self.name, "".join(self.arguments) or "{}")


class Completion:
    """One answer, put together from its chunks.

    Attributes:
        id: the server's, if it gave one.
        finish_reason: why the answer ended; None until then.
        refusal: the model's words, if it refused to answer in the form that was asked for.
        usage: what it cost, if the server told.
        done: whether the end marker has come.
    """

    def __init__(self, provider: str) -> None:
        self.id: str | None = None
        self.finish_reason: str | None = None
        self.refusal = ""
        self.usage: Usage | None = None
        self.done = False
        self._provider = provider
        self._answered = False  # a choice has come
        self._content: list[str] = []
        self._calls: list[_Call] = []
        self._by_index: dict[int | None, _Call] = {}

    @property
    def content(self) -> str:
        """All text so far."""
        return "".join(self._content)

    @property
    def begun(self) -> bool:
        """Whether there is anything of an answer yet."""
        return bool(self._content or self._calls or self.refusal or self.finish_reason or self.done)

    @property
    def complete(self) -> bool:
        """Whether the server has said that the answer is complete."""
        return self.done or self.finish_reason is not None

    def take(self, data: str) -> str:
        """Take the data of an event; return the text that it adds.

        Raises:
            ProviderError: the error that it tells.
            ProtocolError: if it is not understood.
        """
        if data.strip() == DONE:
            self._check_answered()
            self.done = True
            return ""
        return self._take_chunk(decode_json(data, _Chunk, self._provider))

    def take_whole(self, body: str) -> str:
        """Take an answer that came as one object, from a server that does not stream; return its text.

        Raises:
            ProviderError: as :meth:`take`.
        """
        text = self._take_chunk(decode_json(body, _Chunk, self._provider))
        self._check_answered()
        self.done = True
        return text

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls, which are finished.

        Raises:
            ProtocolError: if one has no name.
        """
        if not all(call.name for call in self._calls):
            raise ProtocolError("a tool call without a name", provider=self._provider)
        return tuple(call.finished() for call in self._calls)

    def _take_chunk(self, chunk: _Chunk) -> str:
        self.id = self.id or (chunk.id if isinstance(chunk.id, str) else None)
        if (failure := chunk.failure) is not None:
            raise _error(failure, self._provider)
        self.usage = _usage(chunk.usage) or self.usage
        self._answered = self._answered or bool(chunk.choices)
        # One answer was asked for; what else there may be is not ours.
        return "".join([self._take_choice(choice) for choice in chunk.choices or () if not choice.index])

    def _check_answered(self) -> None:
        if not self._answered:
            raise ProtocolError("an answer without choices", provider=self._provider)

    def _take_choice(self, choice: _Choice) -> str:
        self.finish_reason = choice.finish_reason or self.finish_reason
        delta = choice.delta or choice.message
        if delta is None:
            return ""
        self.refusal += delta.refusal or ""
        for fragment in delta.tool_calls or ():
            self._take_fragment(fragment)
        text = _text(delta.content)
        if text:
            self._content.append(text)
        return text

    def _take_fragment(self, fragment: _CallDelta) -> None:
        """Fragments are told apart by their index; a name with a new id begins another call all the same.

        Gemini's OpenAI endpoint gives index 0, or none, to every call; but each comes whole, with an id of its own.
        """
        call = self._by_index.get(fragment.index)
        if call is None or _begins_another(fragment, call):
            call = self._by_index[fragment.index] = _Call()
            self._calls.append(call)
        call.take(fragment)


def _begins_another(fragment: _CallDelta, call: _Call) -> bool:
    if fragment.function is None or not fragment.function.name:
        return False
    if fragment.id and call.id:
        return fragment.id != call.id
    return fragment.index is None


def _text(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(text for text in texts if isinstance(text, str))
    return content or ""


def _usage(told: Any) -> Usage | None:
    """What the answer cost; None if that is not told in a way that is understood."""
    if told is None:
        return None
    try:
        usage = msgspec.convert(told, _Usage)
    except msgspec.ValidationError:
        return None
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return Usage(prompt, completion, usage.total_tokens or prompt + completion)


def explain(refusal: ProviderError, shown: str) -> ProviderError:
    """What a refusal by HTTP means, by the error object in its body; the refusal itself if there is none.

    Args:
        refusal: of the request, with its body.
        shown: the URL that refused, for the message.
    """
    try:
        told = msgspec.json.decode(refusal.body)
        chunk = msgspec.convert(told[0] if isinstance(told, list) and told else told, _Chunk)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return refusal
    if chunk.failure is None:
        return refusal
    error = _error(chunk.failure, refusal.provider, refusal.status)
    error.message = f"{shown} refused the request with HTTP {refusal.status}: {error.message}"
    error.request_id, error.retry_after, error.body = refusal.request_id, refusal.retry_after, refusal.body
    return error


def _error(error: Any, provider: str, status: int | None = None) -> ProviderError:
    """The error that an object tells: OpenAI's, or those of the servers that follow it.

    Args:
        error: the object.
        provider: the name that the error carries.
        status: of HTTP; None for one in the stream, which may tell one itself.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    words = fields.get("message")
    reason = words if isinstance(words, str) and words else "an error without a word"
    marks = [fields.get(name) for name in ("code", "status", "type")]
    if status is None:
        status = next((mark for mark in marks if isinstance(mark, int) and 400 <= mark < 600), None)
    names = [mark for mark in marks if isinstance(mark, str)]
    kind = _kind(names, status)
    return kind(reason, provider=provider, status=status, code=next(iter(names), None), reason=reason)


def _kind(names: list[str], status: int | None) -> type[ProviderError]:
    kind = _kind_by_name(names)
    # A quota that is used up is told with 429 as well, and trying again does not fill it.
    return error_class(status) if status is not None and kind is not PaymentRequired else kind


def _kind_by_name(names: list[str]) -> type[ProviderError]:
    for name in names:
        if name.isascii() and name.isdigit() and len(name) == 3:
            return error_class(int(name))
        for word, kind in _BLAME:
            if word in name.lower():
                return kind
    return ProviderError
