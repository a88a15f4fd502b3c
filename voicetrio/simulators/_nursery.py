"""Nurseries that the caller does not see."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["lone_error"]


@contextmanager
def lone_error() -> Generator[None, None, None]:
    """Put around a nursery: a lone error leaves as it is, since the caller knows of no nursery; several as a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        _raise(group.exceptions[0])


def _raise(error: BaseException) -> NoReturn:
    """Raise `error` with the context it had: the group is not why it was raised, and would show it twice."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context  # they would keep each other alive through the traceback
