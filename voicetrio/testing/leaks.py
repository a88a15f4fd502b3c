"""Whether a block of code leaves anything behind."""

from __future__ import annotations

import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from . import _resources as resources

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator

__all__ = ["LeakError", "no_leaks"]


class LeakError(AssertionError):
    """Something outlived the block of :func:`no_leaks`.

    Attributes:
        leaks: what did, one text each.
    """

    def __init__(self, leaks: tuple[str, ...]) -> None:
        super().__init__("\n  ".join(["left behind:", *leaks]))
        self.leaks = leaks


@attrs.frozen
class _Snapshot:
    """What there was, by means that keep none of it alive except tasks and threads, which live by themselves."""

    tasks: set[trio.lowlevel.Task]
    fds: set[resources.Fd]
    threads: set[threading.Thread]
    processes: set[int]
    generators: weakref.WeakSet[Any]
    channels: weakref.WeakSet[Any] | None

    @classmethod
    def take(cls, *, channels: bool) -> _Snapshot:
        return cls(
            tasks=resources.living_tasks(),
            fds=resources.open_fds(),
            threads=resources.busy_threads(),
            processes=resources.child_processes(),
            generators=weakref.WeakSet(resources.suspended_generators()),
            channels=weakref.WeakSet(resources.open_channels()) if channels else None,
        )

    def leaks(self) -> list[str]:
        """What is there now and was not then."""
        found = [resources.describe_task(task) for task in resources.living_tasks() - self.tasks]
        found += map(resources.describe_fd, resources.open_fds() - self.fds)
        found += (f"thread {thread.name}" for thread in resources.busy_threads() - self.threads)
        found += (f"process {pid}" for pid in resources.child_processes() - self.processes)
        if found:
            return found  # the rest needs a walk over every object, which is slow to repeat
        generators = resources.suspended_generators()
        found += (resources.describe_generator(each) for each in generators if each not in self.generators)
        if self.channels is not None:
            channels = resources.open_channels()
            found += (resources.describe_channel(each) for each in channels if each not in self.channels)
        return found


@asynccontextmanager
async def no_leaks(*, settle: float = 1.0, channels: bool = False) -> AsyncIterator[None]:
    """Check that the block leaves nothing behind that was not there before.

    Looked at are the tasks of this run, file descriptors (sockets, pipes), threads (except those that trio keeps idle
    for the next ``to_thread.run_sync``), child processes and zombies (on Linux), async generators that were begun and
    neither finished nor closed, and, if asked for, memory channels of which an end is open.

    Nothing is checked where the block ends with an exception, so that nothing hides it.

    Args:
        settle: seconds that what is ending may take to end, such as a server's side of a connection.
        channels: look at memory channels too.  trio's own habit is to close one side and drop the other, and this
            reports the dropped one while anything refers to it.

    Raises:
        LeakError: naming everything that was left.

    If cancelled at the end of the block, what was left then goes unreported.
    """
    before = _Snapshot.take(channels=channels)
    yield
    if leaks := await resources.settled(before.leaks, settle):
        raise LeakError(tuple(leaks))
