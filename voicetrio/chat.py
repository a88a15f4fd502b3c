"""What is said to a language model: messages, images, calls of functions and what came of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import attrs
import msgspec
import pybase64

from .errors import ConfigurationError, InputError

Role = Literal["system", "developer", "user", "assistant"]
Detail = Literal["auto", "low", "high"]

_ROLES = ("system", "developer", "user", "assistant")
_DETAILS = ("auto", "low", "high")
_SYSTEM = ("system", "developer")
# RFC 6838, 4.2.
_MEDIA_TYPE = re.compile(r"image/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


def _text(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(f"{attribute.name} must be a string, not {value!r}")


def _some_text(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    _text(instance, attribute, value)
    if not value:
        raise InputError(f"{attribute.name} must not be empty")


def _one_of(choices: Sequence[str]) -> Any:
    def check(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in choices:
            raise InputError(f"{attribute.name} must be one of {', '.join(choices)}, not {value!r}")

    return check


@attrs.frozen
class ChatImage:
    """An image for the model to see.

    Attributes:
        source: its bytes, which are sent along, or its URL, which the server fetches: ``https:`` or ``data:``.
        media_type: of the bytes, such as ``image/png``; None to tell it from them: PNG, JPEG, GIF or WebP.
        detail: how closely the model looks: ``"auto"``, ``"low"`` or ``"high"``.

    Raises:
        InputError: if it is no image.
    """

    source: bytes | str = attrs.field(repr=False)
    media_type: str | None = None
    detail: Detail = attrs.field(default="auto", validator=_one_of(_DETAILS))

    def __attrs_post_init__(self) -> None:
        named = self.media_type
        if named is not None and not (isinstance(named, str) and _MEDIA_TYPE.fullmatch(named)):
            raise InputError(f"media_type must be that of an image, such as image/png, not {named!r}")
        if isinstance(self.source, str):
            if not self.source.startswith(("https://", "http://", "data:")):
                raise InputError("an image is bytes, or a URL that begins with https://, http:// or data:")
        elif not isinstance(self.source, bytes) or not self.source:
            raise InputError("an image is bytes, or a URL")
        elif (named or _media_type(self.source)) is None:
            raise InputError("these bytes are no PNG, JPEG, GIF or WebP: give their media_type")

    def url(self) -> str:
        """Its URL; of bytes, one that contains them."""
        if isinstance(self.source, str):
            return self.source
        encoded = pybase64.b64encode(self.source).decode()
        return f"data:{self.media_type or _media_type(self.source)};base64,{encoded}"


def _media_type(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


Content: TypeAlias = str | Sequence[str | ChatImage]
"""What a message says: a text, or texts and images in order."""


def _parts(content: Content) -> str | tuple[str | ChatImage, ...]:
    if isinstance(content, str):
        return content
    if isinstance(content, ChatImage):
        return (content,)
    if not isinstance(content, Sequence) or not all(isinstance(part, str | ChatImage) for part in content):
        raise InputError("content must be a string, or a sequence of strings and ChatImages")
    return tuple(content)


@attrs.frozen
class ChatMessage:
    """A message of the conversation.

    Attributes:
        role: ``"system"``, ``"developer"``, ``"user"`` or ``"assistant"``.
        content: a text, or texts and :class:`ChatImage` in order.

    Raises:
        InputError: if it is none.
    """

    role: Role = attrs.field(validator=_one_of(_ROLES))
    content: str | tuple[str | ChatImage, ...] = attrs.field(converter=_parts)


@attrs.frozen
class ToolCall:
    """The model's wish to have a function called.

    As an event of a realtime session it is told whoever calls: the session, if it was given that function, or who
    answers by ``session.send_tool_output(call, …)``.

    Attributes:
        id: the server's name of the call, or one of ours if a realtime model gave none; :class:`ToolOutput` refers to
            it.
        name: the function's.
        arguments: JSON, as the model wrote it: it need not be valid.
    """

    id: str = attrs.field(validator=_some_text)
    name: str = attrs.field(validator=_some_text)
    arguments: str = attrs.field(default="{}", validator=_text)


@attrs.frozen
class ToolOutput:
    """What came of a call.

    Attributes:
        id: of the call.
        output: for the model to read.
    """

    id: str = attrs.field(validator=_some_text)
    output: str = attrs.field(validator=_text)


ChatItem: TypeAlias = ChatMessage | ToolCall | ToolOutput | Mapping[str, Any]
"""One thing in a conversation.  A mapping is a message in OpenAI's own form, and is sent as it is."""


@attrs.define
class ChatContext:
    """A conversation so far.

    Attributes:
        items: in order; change it as you like.
    """

    items: list[ChatItem] = attrs.field(factory=list)

    def system(self, content: Content) -> Self:
        """Add an instruction."""
        return self._add(ChatMessage("system", content))

    def user(self, content: Content) -> Self:
        """Add what the user says."""
        return self._add(ChatMessage("user", content))

    def assistant(self, content: Content) -> Self:
        """Add what the model has said; after an interruption, what of it was heard."""
        return self._add(ChatMessage("assistant", content))

    def copy(self) -> ChatContext:
        """Another context with the same items."""
        return ChatContext(list(self.items))

    def truncated(self, max_items: int) -> ChatContext:
        """Another context with the instructions and the latest of the other items, `max_items` in all.

        A call is never separated from its output: both are kept, or neither.  The latest item is kept in any case,
        with the calls and outputs that it belongs to.

        Raises:
            ConfigurationError: if `max_items` is no whole number over 0.
        """
        if not isinstance(max_items, int) or isinstance(max_items, bool) or max_items < 1:
            raise ConfigurationError(f"max_items must be a whole number over 0, not {max_items!r}")
        units = list(_units(self.items))
        kept = {index for index, unit in enumerate(units) if _role(unit[0]) in _SYSTEM}
        room = max_items - len(kept)
        others = [index for index in reversed(range(len(units))) if index not in kept]
        for index in others:
            room -= len(units[index])
            if room < 0 and index != others[0]:
                break
            kept.add(index)
        return ChatContext([item for index, unit in enumerate(units) if index in kept for item in unit])

    def _add(self, item: ChatItem) -> Self:
        self.items.append(item)
        return self


Messages: TypeAlias = str | ChatContext | Iterable[ChatItem | str]
"""What a chat begins with; a string is a message of the user's."""


def context_of(messages: Messages) -> ChatContext:
    """The messages as a context: the one given, or a new one.

    Raises:
        InputError: if there is something among them that is no message, or nothing at all.
    """
    if isinstance(messages, ChatContext):
        context = messages
    elif isinstance(messages, str):
        context = ChatContext().user(messages)
    elif isinstance(messages, Mapping) or not isinstance(messages, Iterable):
        raise InputError(f"messages must be a string, a ChatContext or a sequence of messages, not {messages!r}")
    else:
        context = ChatContext([ChatMessage("user", item) if isinstance(item, str) else item for item in messages])
    if not isinstance(context.items, list):
        raise InputError(f"the items of a ChatContext must be a list, not {type(context.items).__name__}")
    for item in context.items:
        if not isinstance(item, ChatMessage | ToolCall | ToolOutput) and not (
            isinstance(item, Mapping) and isinstance(item.get("role"), str)
        ):
            raise InputError(f"not a message: {item!r}")
    if not context.items:
        raise InputError("there are no messages")
    return context


def wire_messages(context: ChatContext) -> list[Any]:
    """The messages in OpenAI's form: calls that follow one another, and the text before them, are one message.

    Raises:
        InputError: if outputs do not follow the calls that they belong to.
    """
    wire: list[Any] = []
    for unit in _units(context.items):
        calls = [item for item in unit if isinstance(item, ToolCall)]
        outputs = [item for item in unit if _role(item) == "tool"]
        if not _has_calls(unit[0]):
            _check_outputs(calls, outputs)
        if calls:
            wire.append(_call_message(unit[0], calls))
        wire += map(_wire_item, outputs if calls else unit)
    return wire


def _units(items: Sequence[ChatItem]) -> Iterator[list[ChatItem]]:
    """The items in groups that belong together: calls, the assistant's text before them, their outputs after them."""
    unit: list[ChatItem] = []
    for item in items:
        if unit and not _belongs(item, unit):
            yield unit
            unit = []
        unit.append(item)
    if unit:
        yield unit


def _belongs(item: ChatItem, unit: list[ChatItem]) -> bool:
    last = unit[-1]
    if isinstance(item, ToolCall):
        return isinstance(last, ToolCall) or (isinstance(last, ChatMessage) and last.role == "assistant")
    if _role(item) == "tool":
        return isinstance(last, ToolCall | ToolOutput) or _role(last) == "tool" or _has_calls(last)
    return False


def _has_calls(item: ChatItem) -> bool:
    return isinstance(item, Mapping) and bool(item.get("tool_calls"))


def _role(item: ChatItem) -> Any:
    if isinstance(item, ChatMessage):
        return item.role
    if isinstance(item, ToolOutput):
        return "tool"
    return item.get("role") if isinstance(item, Mapping) else "assistant"


def _check_outputs(calls: list[ToolCall], outputs: list[ChatItem]) -> None:
    wanted, given = sorted(call.id for call in calls), sorted(map(_call_id, outputs))
    if wanted != given:
        raise InputError(
            f"a call must be followed by its output: the calls are {', '.join(wanted) or 'none'}, "
            f"the outputs after them {', '.join(given) or 'none'}"
        )


def _call_id(output: ChatItem) -> str:
    if isinstance(output, ToolOutput):
        return output.id
    return str(output.get("tool_call_id")) if isinstance(output, Mapping) else ""


def _call_message(first: ChatItem, calls: list[ToolCall]) -> dict[str, Any]:
    content = _wire_content(first.content) if isinstance(first, ChatMessage) else None
    return {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in calls
        ],
    }


def _wire_item(item: ChatItem) -> Any:
    if isinstance(item, ChatMessage):
        return {"role": item.role, "content": _wire_content(item.content)}
    if isinstance(item, ToolOutput):
        return {"role": "tool", "tool_call_id": item.id, "content": item.output}
    return item


def _wire_content(content: str | tuple[str | ChatImage, ...]) -> Any:
    if isinstance(content, str):
        return content
    if len(content) == 1 and isinstance(content[0], str):
        return content[0]
    return [_wire_part(part) for part in content]


def _wire_part(part: str | ChatImage) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    detail = {} if part.detail == "auto" else {"detail": part.detail}
    return {"type": "image_url", "image_url": {"url": part.url(), **detail}}


def encode_body(body: Mapping[str, Any]) -> bytes:
    """A request's body.

    Raises:
        InputError: if it has something that JSON or UTF-8 cannot carry.
    """
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise InputError("a text has a lone surrogate, which UTF-8 cannot carry") from None
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"messages must be what JSON can carry: {error}") from None
