"""Encoding of the messages that providers take, and decoding of those that they send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import pybase64

from .errors import ProtocolError

T = TypeVar("T")


def decode_json(message: str, kind: type[T], provider: str) -> T:
    """Decode a message into a struct; fields that it does not name are ignored, as providers add new ones.

    Raises:
        ProtocolError: if it is no JSON, or not of that shape.
    """
    try:
        return msgspec.json.decode(message, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:  # the latter: nested beyond reason
        raise ProtocolError(f"a message that is not understood: {error}", provider=provider) from None


def encode_json(message: Any) -> str:
    """Encode a message of ours."""
    return msgspec.json.encode(message).decode()


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a message that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def audio_size(data: str) -> int:
    """How many bytes the base64 of a message's audio stands for, whatever is in it."""
    return len(data) * 3 // 4 - data[-2:].count("=")


def decode_audio(data: str, provider: str) -> bytes:
    """Decode the base64 of a message's audio.

    Raises:
        ProtocolError: if it is none.
    """
    try:
        return pybase64.b64decode(data, validate=True)
    except ValueError as error:
        raise ProtocolError(f"audio that is not understood: {error}", provider=provider) from None
