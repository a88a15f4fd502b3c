"""The task that waits for an outcome, and how a cancelled scope around it becomes a fence.

The task that asked for speech does no I/O: it is parked here, and the session's tasks speak.  When any cancel scope
around the call is cancelled, trio calls the parked task's abort function *inside* :meth:`trio.CancelScope.cancel`, and
that function is where the fence falls.  So silence is synchronous even for scopes that voicetrio has never seen.

One gap would remain.  When the outcome is there the caller is rescheduled, and a task that is already scheduled cannot
be aborted: a scope cancelled between that moment and the caller's next step would come too late.  Therefore the sink
lets nothing pass in between (:meth:`voicetrio.audio.TurnAudio.hold_back`), and the caller, back in its own task, first
looks whether it has been cancelled.  Whichever came first, the end or the cancellation, holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from .audio import TurnAudio


class Caller:
    """Where the task of one call waits.

    Attributes:
        waiting: whether it does.
    """

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self._held: TurnAudio | None = None

    @property
    def waiting(self) -> bool:
        return self._task is not None

    async def park(self, on_cancelled: Callable[[], None]) -> None:
        """Wait for :meth:`wake`; `on_cancelled` is called inside of the cancel() of whatever scope cancels it."""

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._task = None
            on_cancelled()
            return trio.lowlevel.Abort.SUCCEEDED

        assert self._task is None, "one task waits here"
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    async def confirm(self, on_cancelled: Callable[[], None]) -> None:
        """Look whether a cancellation came between the outcome and this step, and let the audio pass."""
        try:
            if trio.current_effective_deadline() == -math.inf:
                on_cancelled()
                await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            if self._held is not None:
                self._held.let_pass()

    def wake(self, audio: TurnAudio | None) -> None:
        """Let it go on to :meth:`confirm`, if it waits; nothing of the audio passes until then."""
        if self._task is None:
            return
        if audio is not None:
            self._held = audio
            audio.hold_back()
        trio.lowlevel.reschedule(self._task)
        self._task = None
