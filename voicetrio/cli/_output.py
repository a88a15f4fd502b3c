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
    try:
        file = Path(path).resolve()
        found = file.exists()
    except OSError as error:  # such as a name that is too long
        raise click.UsageError(f"{path}: {error.strerror}") from error
    except RuntimeError as error:  # links in a circle
        raise click.UsageError(f"{path}: {error}") from error
    possible = os.access(file, os.W_OK) if found else file.parent.is_dir() and os.access(file.parent, os.W_OK | os.X_OK)
    if found and (file.is_fifo() or file.is_socket()):
        raise click.UsageError(f"{path} is a pipe, and a WAV file needs its length in front")
    if not possible or file.is_dir():
        raise click.UsageError(f"{path} cannot be written")


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little the descriptor takes at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
