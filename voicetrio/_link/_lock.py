"""A lock that is taken at no cost where it is free."""

from __future__ import annotations

import trio


async def acquire(lock: trio.Lock) -> None:
    """Acquire a lock, in the order of asking; with a checkpoint only where it must wait.

    :meth:`trio.Lock.acquire` lets all others run first.  What is done under the lock has a checkpoint of its own.
    """
    if lock.locked():
        await lock.acquire()
    else:
        lock.acquire_nowait()
