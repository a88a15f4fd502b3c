"""What all sockets of the inference gateway check at the upgrade, and the shapes of what they say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from ._options import SimulatorOptions

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["ErrorShape", "error_message", "event_message", "refusal_status"]

ErrorShape: TypeAlias = Literal["data.error", "data", "message", "error", "top", "event", "plain"]

_OptionsT = TypeVar("_OptionsT", bound=SimulatorOptions)


def refusal_status(connection: Connection[_OptionsT], path: str) -> int | None:
    """The HTTP status with which a request is refused, None if it is accepted.

    The statuses are this simulator's: what the gateway answers to a bad token is not known.
    """
    request = connection.request
    query = dict(request.query)
    if request.path != path:
        return 404
    if not request.upgrade:
        return 426
    token = query.get("secret", "")
    # A token has no spaces: this one had a +, and was not percent-encoded.
    if " " in token or not connection.options.accepts(token):
        return 401
    if not query.get("provider") or not query.get("modelId"):
        return 400
    if connection.over_limit:
        return 429
    return None


def error_message(shape: ErrorShape, words: str) -> str:
    """An error, in one of the shapes that the gateway's client reads."""
    shapes: dict[ErrorShape, Any] = {
        "data.error": {"type": "error", "data": {"error": words}},
        "data": {"type": "error", "data": words},
        "message": {"type": "error", "message": words},
        "error": {"type": "error", "error": {"message": words}},
        "top": {"error": words},
        "event": {"type": "event", "data": {"eventType": "ERROR", "error": words}},
    }
    return words if shape == "plain" else json.dumps(shapes[shape], ensure_ascii=False)


def event_message(name: str, /, **data: object) -> str:
    """An event."""
    return json.dumps({"type": "event", "data": {"eventType": name, **data}}, ensure_ascii=False)
