"""What a client of Cartesia sent, without the secrets in it."""

from __future__ import annotations

from typing import Any

import msgspec

from ._secrets import public

__all__ = ["redacted"]

SHORTEST = 8
"""Characters of the shortest credential that is looked for in text; shorter ones are words of tests, not secrets."""


def redacted(text: str, decoded: Any, credentials: tuple[str, ...]) -> str:
    """A message for the log.

    Args:
        text: as it came.
        decoded: the same decoded from JSON; None if it is no JSON.
        credentials: what the client showed in the handshake.
    """
    clean = public(decoded)
    if clean != decoded:
        text = msgspec.json.encode(clean).decode()
    for credential in credentials:
        if len(credential) >= SHORTEST:
            text = text.replace(credential, "…")
    return text
