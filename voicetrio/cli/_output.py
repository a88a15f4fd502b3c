"""Writing to files and file descriptors."""

from __future__ import annotations

import os
from pathlib import Path

import click


def check_writable(path: str) -> None:
    """Find out before anything is spent that a file cannot be written, as far as that can be known.

    Raises:
        click.UsageError: it cannot.
    """
    file = Path(path).absolute()
    if not os.access(file if file.exists() else file.parent, os.W_OK) or file.is_dir():
        raise click.UsageError(f"{path} cannot be written")


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little the descriptor takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
