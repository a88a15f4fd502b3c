"""Writing to file descriptors."""

from __future__ import annotations

import os


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little the descriptor takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
