"""The client's messages on the gateway's websockets."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Failure", "decode_command"]


class Failure(Exception):
    """What the client did wrong, told in an error message.

    Attributes:
        words: that message's.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


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
