"""A nursery that hides itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn

import trio


@asynccontextmanager
async def open_plain_nursery(reason: str) -> AsyncGenerator[trio.Nursery, None]:
    """A nursery that is cancelled when its block is left, and out of which a lone exception comes as it is.

    For owners whose child tasks report failures instead of raising them: then the block's own exception is alone, and
    its caller need not know that there is a nursery.

    From within a :meth:`trio.CancelScope.cancel` that reaches the block no task may be started in it: trio is going
    through the set of its tasks.
    """
    with plain_exceptions():
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel(reason=reason)


@contextmanager
def plain_exceptions() -> Iterator[None]:
    """Around a nursery: let a lone exception out as it is.

    Two exceptions at once, a bug or a KeyboardInterrupt beside the block's own, stay a group: none is hidden.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        # Cancelled from outside, the tasks say so beside whatever the block raised.  That is no second exception: the
        # scope would take it out, and leave a group of one.
        others = [exc for exc in group.exceptions if not _is_cancellation(exc)] or group.exceptions
        if len(others) != 1:
            raise
        reraise(others[0])


def _is_cancellation(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(trio.Cancelled)[1] is None
    return isinstance(exc, trio.Cancelled)


def reraise(exc: BaseException) -> NoReturn:
    """Raise an exception as it is: what carried it here is not why it was raised, so its context is left alone."""
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        del exc, context  # they would keep each other alive through the traceback
