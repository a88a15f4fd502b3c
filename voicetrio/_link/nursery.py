"""A nursery that hides itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NoReturn

import trio


@asynccontextmanager
async def open_plain_nursery(reason: str) -> AsyncGenerator[trio.Nursery, None]:
    """A nursery that is cancelled when its block is left, and out of which a lone exception comes as it is.

    For owners whose child tasks report failures instead of raising them: then the block's own exception is alone, and
    its caller need not know that there is a nursery.  Two exceptions at once, a bug or a KeyboardInterrupt beside the
    block's own, stay a group: none is hidden.
    """
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel(reason=reason)
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        reraise(group.exceptions[0])


def reraise(exc: BaseException) -> NoReturn:
    """Raise an exception as it is: what carried it here is not why it was raised, so its context is left alone."""
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        del exc, context  # they would keep each other alive through the traceback
