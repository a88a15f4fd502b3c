"""The task that waits for an outcome, and how a cancelled scope around it becomes a fence.

The task that asked for speech does no I/O: it is parked here, and the session's tasks speak.  When any cancel scope
around the call is cancelled, trio calls the parked task's abort function *inside* :meth:`trio.CancelScope.cancel`, and
that function is where the fence falls.  So silence is synchronous even for scopes that voicetrio has never seen.

One gap would remain.  When the outcome is there the caller is rescheduled, and a task that is already scheduled cannot
be aborted: a scope cancelled between that moment and the caller's next step would come too late.  Therefore the sink
lets nothing pass in between (:meth:`voicetrio.audio.TurnAudio.hold_back`), and the caller, back in its own task, first
looks whether it has been cancelled.  A cancellation that comes before that look wins over the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from .audio import TurnAudio


class Call(Protocol):
    """What a task waits for.

    Attributes:
        number: its turn in the sink, if it has one yet.
        silenced: whether an interruption has reached it.
    """

    @property
    def number(self) -> int | None: ...

    @property
    def silenced(self) -> bool: ...


C = TypeVar("C", bound=Call)


class Callers(Generic[C]):
    """The calls of a session whose tasks wait for their outcome, or have not had a step since it was there.

    An interruption can only be told of when the caller's task runs, and others may be interrupted until then.  So what
    a session tells of its latest interruption goes on telling of each call until its own task has looked.
    """

    def __init__(self) -> None:
        self._calls: list[C] = []

    @contextmanager
    def waiting(self, call: C) -> Iterator[None]:
        """Around the waiting of a call."""
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    def told_with(self, silenced: Iterable[C]) -> list[C]:
        """Calls that are silenced now, and those before them whose tasks have not looked, in the order of turns."""
        unseen = [call for call in self._calls if call.silenced]
        return sorted(dict.fromkeys([*unseen, *silenced]), key=lambda call: call.number or math.inf)


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
