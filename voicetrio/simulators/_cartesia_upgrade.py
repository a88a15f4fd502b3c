"""What Cartesia checks before it accepts a websocket: the key and the version of its API.

The names of headers and parameters and the versions are those of Cartesia's documentation and of its Python SDK, which
sends a key as ``Authorization: Bearer`` since 4.0 and as ``X-API-Key`` before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ._http import Request
    from ._options import SimulatorOptions

__all__ = [
    "VERSIONS",
    "Refusal",
    "Upgrade",
    "asked_version",
    "check_upgrade",
    "is_structured",
    "refusal_body",
]

VERSIONS = ("2024-06-10", "2024-11-13", "2025-04-16", "2026-03-01", "2026-08-14")
"""The versions that exist, the oldest first; as text they sort by age."""

STRUCTURED_SINCE = "2026-03-01"
"""The version since which errors have a code, a title and a message instead of one line of text."""


@attrs.frozen
class Upgrade:
    """What was agreed on in the handshake.

    Attributes:
        version: of the API.
        request_id: of the connection, a UUID.
        credentials: what the client showed, to be kept out of the log.
    """

    version: str
    request_id: str
    credentials: tuple[str, ...] = attrs.field(repr=False)


@attrs.frozen
class Refusal(Exception):
    """The upgrade is refused.

    Attributes:
        status: the HTTP status.
        code: machine-readable, None where Cartesia has none.
        title: what is wrong, in short.
        message: what is wrong.
    """

    status: int
    code: str | None
    title: str
    message: str

    @classmethod
    def of(cls, status: int) -> Refusal:
        """The refusal that goes with a status."""
        return cls(status, *_REFUSALS.get(status, (None, f"Status {status}", "The request was refused.")))


_REFUSALS: dict[int, tuple[str | None, str, str]] = {
    400: (None, "Invalid request", "The request is not valid."),
    401: (None, "Unauthorized", "The API key or access token is missing or not valid."),
    402: (None, "Payment required", "The account has no credits left."),
    403: (None, "Forbidden", "The account may not use this."),
    404: (None, "Not found", "There is nothing at this path."),
    426: (None, "Upgrade required", "Only websockets are served here."),
    429: ("concurrency_limited", "Too many connections", "The account has too many open websockets."),
    500: (None, "Internal server error", "Something went wrong."),
    503: (None, "Service unavailable", "The service is temporarily unavailable."),
}


def check_upgrade(request: Request, options: SimulatorOptions, request_id: str) -> Upgrade:
    """What the client asked for.

    Args:
        request: the request.
        options: which keys and tokens are accepted.
        request_id: of the connection.

    Raises:
        Refusal: the key is not good, or the version is missing or unknown.
    """
    shown = _credentials(request)
    if not shown or not all(map(options.accepts, shown)):
        raise Refusal.of(401)
    version = asked_version(request)
    if version is None:
        raise Refusal(400, None, "Missing version", "Say which API version is meant with the Cartesia-Version header.")
    if version not in VERSIONS:
        raise Refusal(400, None, "Invalid version", f"There is no API version {version[:40]!r}.")
    if not request.upgrade:
        raise Refusal.of(426)
    return Upgrade(version, request_id, shown)


def asked_version(request: Request) -> str | None:
    """The version that a request names, whether or not it exists: the query's, or else the header's."""
    return dict(request.query).get("cartesia_version", request.headers.get("cartesia-version"))


def is_structured(version: str | None) -> bool:
    """Whether errors of this version have fields of their own for code, title and message."""
    return version not in VERSIONS or version >= STRUCTURED_SINCE


def refusal_body(refusal: Refusal, version: str | None, request_id: str) -> tuple[str, bytes]:
    """Content type and body with which an upgrade is refused."""
    if not is_structured(version):
        return "text/plain; charset=utf-8", f"{refusal.title}: {refusal.message}".encode()
    body = {
        "error_code": refusal.code,
        "title": refusal.title,
        "message": refusal.message,
        "request_id": request_id,
    }
    return "application/json", json.dumps(body).encode()


def _credentials(request: Request) -> tuple[str, ...]:
    """Every key and token that the request shows; empty ones too, which are good for nothing."""
    shown = [value for name, value in request.query if name in ("api_key", "access_token")]
    if "x-api-key" in request.headers:
        shown.append(request.headers["x-api-key"])
    if "authorization" in request.headers:
        scheme, _, token = request.headers["authorization"].strip().partition(" ")
        shown.append(token.strip() if scheme.lower() == "bearer" else "")
    return tuple(shown)
