"""Ids that look like a vendor's and are the same in every run with the same seed."""

from __future__ import annotations

import random
import uuid

__all__ = ["make_uuid"]


def make_uuid(*seed: object) -> str:
    """A UUID, in its usual spelling, that depends on `seed` alone."""
    source = random.Random("/".join(map(str, seed)))  # noqa: S311 -- not a secret
    return str(uuid.UUID(int=source.getrandbits(128), version=4))
