"""Exit statuses, and the signals that end a command."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from .._link.nursery import open_plain_nursery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FAILED = 1
USAGE = 2
INTERRUPTED = 128 + signal.SIGINT

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a command to end; Windows has no SIGHUP."""


def status_of(signum: int) -> int:
    """The status that tells, as shells do, that a signal ended the command."""
    return 128 + signum


async def until_signal(work: Callable[[], Awaitable[None]]) -> int | None:
    """Run `work` until it ends or a signal asks for it, which cancels it.

    Returns:
        The signal, None if there was none.
    """
    scope = trio.CancelScope()
    caught: list[int] = []
    with trio.open_signal_receiver(*ENDING) as signals:
        async with open_plain_nursery("the command's work is done") as nursery:
            nursery.start_soon(_cancel_on_signal, signals, scope, caught)
            with scope:
                await work()
    return caught[0] if caught else None


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope, caught: list[int]) -> None:
    async for signum in signals:
        caught.append(signum)
        scope.cancel(reason=f"signal {signum}")
