"""The four dialects of LMNT's speech sessions: what a client's message means, and what the server's look like.

==========  ==================================  =====================  =========================================
name        chosen by                           spoken by the SDKs     messages
==========  ==================================  =====================  =========================================
``1.0``     no version, or ``1.0``              1.x, 2.0               untyped, no acknowledgements
``2``       ``"protocol_version": 2``           2.2 to 2.5             untyped commands with a nonce
``1.1``     ``"lmnt-version": "1.1"``           2.6                    typed; word times restart with each frame
``1.2``     ``"lmnt-version": "1.2"``           2.13                   typed; word times go on until the next ack
==========  ==================================  =====================  =========================================

The names and shapes are those of LMNT's SDKs for Python, 1.2, 2.0, 2.4, 2.6 and 2.13; the untyped error followed by
close code 1002 was measured on the live endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import attrs
import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "DIALECTS",
    "Command",
    "Dialect",
    "ErrorType",
    "Failure",
    "Finish",
    "Flush",
    "Reset",
    "Text",
    "decode_object",
]

ErrorType: TypeAlias = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "payment_required_error",
    "rate_limit_error",
    "internal_server_error",
]
"""What LMNT calls its errors."""

_Nonce = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]  # what every JSON implementation can hold


class Failure(Exception):
    """What ends a connection the vendor's way: an error message, then a Close frame with code 1002.

    Attributes:
        kind: the error's type.
        message: what a human is told.
    """

    def __init__(self, kind: ErrorType, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class Text(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Append to the text."""

    text: str


class Flush(msgspec.Struct, frozen=True, tag_field="type", tag="flush"):
    """Speak what is buffered; the nonce means nothing in the dialect without acknowledgements."""

    nonce: _Nonce


class Reset(msgspec.Struct, frozen=True, tag_field="type", tag="reset"):
    """Drop the text that is not spoken yet."""

    nonce: _Nonce


class Finish(msgspec.Struct, frozen=True, tag_field="type", tag="finish"):
    """Speak what is buffered and close."""


Command: TypeAlias = Text | Flush | Reset | Finish


class _Untyped(msgspec.Struct):
    text: str | UnsetType = UNSET
    flush: bool | UnsetType = UNSET
    eof: bool | UnsetType = UNSET


class _Commanded(msgspec.Struct):
    text: str | UnsetType = UNSET
    command: Literal["flush", "reset", "eof"] | UnsetType = UNSET
    nonce: _Nonce | UnsetType = UNSET


@attrs.frozen
class Dialect:
    """One way to speak with LMNT.

    Attributes:
        name: as in the table above.
        typed: whether messages have a ``type``; only then there is a ``ready``, and word times come in messages of
            their own.
        acknowledges: whether flush and reset have a nonce, and are answered with it.
        cumulative: whether word times go on from one frame to the next.
        decode: what a message of the client, a JSON object, means.
    """

    name: str
    typed: bool
    acknowledges: bool
    cumulative: bool
    decode: Callable[[Mapping[str, Any]], Command] = attrs.field(repr=False)

    def acknowledgement(self, of: Literal["flush", "reset"], nonce: int) -> dict[str, Any]:
        """The message that answers a flush or a reset."""
        return {"type": f"{of}_complete", "nonce": nonce} if self.typed else {"complete": of, "nonce": nonce}

    def error(self, request_id: str, kind: ErrorType, message: str) -> dict[str, Any]:
        """The message that says what went wrong."""
        if not self.typed:
            return {"error": message}
        return {"type": "error", "request_id": request_id, "error": {"type": kind, "message": message}}


def decode_object(message: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Failure: the message is not one.
        RecursionError: it is nested too deep.
    """
    try:
        decoded: dict[str, Any] = msgspec.json.decode(message, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise Failure("invalid_request_error", "Messages must be JSON objects.") from None
    return decoded


def _decode_untyped(message: Mapping[str, Any]) -> Command:
    fields = _convert(message, _Untyped)
    if isinstance(fields.text, str) and fields.flush is UNSET and fields.eof is UNSET:
        return Text(fields.text)
    if fields.text is UNSET and fields.flush is True and fields.eof is UNSET:
        return Flush(0)
    if fields.text is UNSET and fields.flush is UNSET and fields.eof is True:
        return Finish()
    raise Failure("invalid_request_error", 'Expected one of "text", "flush": true, "eof": true.')


def _decode_commanded(message: Mapping[str, Any]) -> Command:
    fields = _convert(message, _Commanded)
    if isinstance(fields.text, str) and fields.command is UNSET:
        return Text(fields.text)
    if fields.text is UNSET and fields.command == "eof":
        return Finish()
    if fields.text is UNSET and isinstance(fields.nonce, int) and fields.command in ("flush", "reset"):
        return Flush(fields.nonce) if fields.command == "flush" else Reset(fields.nonce)
    raise Failure("invalid_request_error", 'Expected one of "text", or "command" with its "nonce".')


def _decode_typed(message: Mapping[str, Any]) -> Command:
    try:
        return msgspec.convert(message, Command)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise Failure("invalid_request_error", str(error)) from None


def _convert(message: Mapping[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise Failure("invalid_request_error", str(error)) from None


DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("1.0", typed=False, acknowledges=False, cumulative=False, decode=_decode_untyped),
        Dialect("2", typed=False, acknowledges=True, cumulative=False, decode=_decode_commanded),
        Dialect("1.1", typed=True, acknowledges=True, cumulative=False, decode=_decode_typed),
        Dialect("1.2", typed=True, acknowledges=True, cumulative=True, decode=_decode_typed),
    )
}
