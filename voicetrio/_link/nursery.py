"""A nursery that hides itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

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
        only = group.exceptions[0]
        # The group is how the exception travelled, not why it was raised: leave its own context alone.
        context = only.__context__
        try:
            raise only
        finally:
            only.__context__ = context
            del only, context, group
