"""What the gateway's websockets have in common: the upgrade, and the shapes of messages and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._http import Request
    from ._options import SimulatorOptions

__all__ = ["ErrorShape", "Failure", "check_upgrade", "decode_command", "encode", "error_message"]

ErrorShape: TypeAlias = Literal["data", "text", "message", "object", "top", "event", "words"]
"""How an error looks: its words in ``data.error``, as ``data`` itself, in ``message``, in ``error.message`` of an
object, in ``error`` without a type, in an event, or as words that are no JSON."""


class Failure(Exception):
    """What the client did wrong, told in an error message.

    Attributes:
        words: that message's.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


def check_upgrade(request: Request, endpoint: str, options: SimulatorOptions) -> int | None:
    """The status with which a request for a websocket is refused; None if it is good.

    The token is a parameter of the query.  Tokens have no spaces, so that one with a space is one whose ``+`` was not
    percent-encoded.
    """
    query = dict(request.query)
    token = query.get("secret", "")
    if not request.path.endswith(endpoint) or not request.upgrade:
        return 404
    if " " in token or not options.accepts(token):
        return 401
    return None if query.get("provider") and query.get("modelId") else 400


def encode(message: dict[str, Any]) -> str:
    """A message as it goes out."""
    return msgspec.json.encode(message).decode()


def decode_command(message: str | bytes) -> tuple[str, Any]:
    """Type and data of a message of the client's.

    Raises:
        Failure: it is none.
    """
    if isinstance(message, bytes):
        raise Failure("Invalid message: text expected")
    try:
        decoded = json.loads(message)
    except (ValueError, RecursionError):
        raise Failure("Invalid message: no JSON") from None
    kind = decoded.get("type") if isinstance(decoded, dict) else None
    if not isinstance(kind, str):
        raise Failure("Invalid message: no type")
    return kind, decoded.get("data")


_SHAPES: dict[ErrorShape, Callable[[str], dict[str, Any]]] = {
    "data": lambda words: {"type": "error", "data": {"error": words}},
    "text": lambda words: {"type": "error", "data": words},
    "message": lambda words: {"type": "error", "message": words},
    "object": lambda words: {"type": "error", "error": {"message": words}},
    "top": lambda words: {"error": words},
    "event": lambda words: {"type": "event", "data": {"eventType": "ERROR", "error": words}},
}


def error_message(shape: ErrorShape, words: str) -> str:
    """The message that tells an error."""
    return f"error: {words}" if shape == "words" else encode(_SHAPES[shape](words))
