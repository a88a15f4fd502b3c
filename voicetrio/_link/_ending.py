"""How the end of a websocket is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import LinkClosed, LinkStalled

if TYPE_CHECKING:
    from ._target import Target

ABNORMAL_CLOSURE = 1006


def closed(target: Target, request_id: str | None, code: int, reason: str) -> LinkClosed:
    """The error for a connection that ended with a close code, 1006 if there was no close frame."""
    words = target.printable(reason)
    how = "was dropped without a close frame" if code == ABNORMAL_CLOSURE else f"ended with close code {code}"
    return LinkClosed(
        f"the connection to {target.shown} {how}{f': {words}' if words else ''}",
        provider=target.provider,
        request_id=request_id,
        code=code,
        reason=words or None,
    )


def stalled(target: Target, request_id: str | None, send_timeout: float) -> LinkStalled:
    """The error for a peer that took no data."""
    message = f"{target.shown} accepted no data for {send_timeout:g} s"
    return LinkStalled(message, provider=target.provider, request_id=request_id, code=ABNORMAL_CLOSURE)
