"""What a client of Cartesia sent, without the secrets in it."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["redacted"]

SECRET_NAMES = frozenset(
    {"access_token", "api_key", "apikey", "authorization", "key", "password", "secret", "token", "x-api-key"}
)

SHORTEST = 8
"""Characters of the shortest credential that is looked for in text; shorter ones are words of tests, not secrets."""


def redacted(text: str, decoded: Any, credentials: tuple[str, ...]) -> str:
    """A message for the log.

    Args:
        text: as it came.
        decoded: the same decoded from JSON; None if it is no JSON.
        credentials: what the client showed in the handshake.
    """
    clean = _clean(decoded)
    if clean != decoded:
        text = msgspec.json.encode(clean).decode()
    for credential in credentials:
        if len(credential) >= SHORTEST:
            text = text.replace(credential, "…")
    return text


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "…" if name.lower() in SECRET_NAMES else _clean(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return value
