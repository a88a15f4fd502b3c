"""Messages of clients as a log may show them."""

from __future__ import annotations

from typing import Any

__all__ = ["public"]

NAMES = frozenset(
    {
        *("access_token", "api-key", "api_key", "apikey", "authorization", "key", "password", "secret", "token"),
        "x-api-key",
    }
)
"""Fields that hold a secret, in lower case."""


def public(value: Any) -> Any:
    """A message decoded from JSON, without what is secret in it.

    Raises:
        RecursionError: it is nested too deep.
    """
    if isinstance(value, dict):
        return {name: "…" if name.lower() in NAMES else public(each) for name, each in value.items()}
    if isinstance(value, list):
        return [public(each) for each in value]
    return value
