"""What the sweep sees of a run of the scenario: its steps, what they leave, and the Cancelled it is sent.

Theory of operation
-------------------
trio runs a task from one yield to the next; that is a step.  A cancellation can arrive at two kinds of moment: just
*before* a step, when what the task waited for is done already and the next checkpoint raises, and just *after* one,
when the task waits and the wait itself is aborted.  Both go wrong in their own ways, so both count as places to strike.

:class:`StepWatch` is a trio instrument, and so is called at these moments.  It belongs to one run and follows the tasks
under that run's root task, whoever else is running: servers, the test, fixtures.  Descriptors and tasks are laid to the
scenario only where one of its own steps opened or spawned them.

:func:`drive` is between trio and the scenario's coroutine, the only place from which one can see, without touching what
is private to trio, that a Cancelled was delivered.
"""

from __future__ import annotations

import types
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from . import _resources as resources

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator

# A task that meets its cancellation this often has swallowed it in a loop; honest clean-up meets it a few times.
MAX_DELIVERIES = 1000
_MAX_THROWS = 10


class SwallowsCancelled(Exception):
    """Thrown into a scenario that has met :data:`MAX_DELIVERIES` Cancelled and would go on for ever."""


@attrs.define(eq=False)
class Strike:
    """Something to do at one moment of a run.

    Attributes:
        at: the moment's number, from 1.
        reached: how many moments there have been.
        place: where the scenario stood when it was struck; empty until then.
    """

    at: int
    reached: int = 0
    place: str = ""

    def __str__(self) -> str:
        return f"struck when {self.place}" if self.place else "not struck"

    @property
    def done(self) -> bool:
        """Whether it has struck."""
        return self.reached >= self.at

    def count(self) -> bool:
        """Count a moment; true if it is the one."""
        self.reached += 1
        return self.reached == self.at


@attrs.define(eq=False)
class StepWatch(trio.abc.Instrument):
    """Follow the tasks under one root, calling `on_moment` before and after each of their steps."""

    on_moment: Callable[[trio.lowlevel.Task, str], None]
    root: trio.lowlevel.Task = attrs.field(init=False)
    tasks_left: set[trio.lowlevel.Task] = attrs.field(factory=set, init=False)
    _members: set[trio.lowlevel.Task] = attrs.field(factory=set, init=False)
    _opened: set[resources.Fd] = attrs.field(factory=set, init=False)
    _open_now: set[resources.Fd] | None = attrs.field(default=None, init=False)
    _stepping: trio.lowlevel.Task | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        """Make the calling task the root, from the step on in which it calls this."""
        self.root = trio.lowlevel.current_task()
        self._members.add(self.root)
        self.before_task_step(self.root)

    def fds_left(self) -> set[resources.Fd]:
        """The descriptors that the scenario has opened and that are open still."""
        return self._opened & resources.open_fds() if self._opened else set()

    # What follows is called by trio.

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Tell the scenario's own tasks from those that it starts elsewhere and those of others."""
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self._members:
            self._members.add(task)
        elif self._stepping is not None:
            self.tasks_left.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget a task."""
        self._members.discard(task)
        self.tasks_left.discard(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a moment, then watch what the step opens."""
        if task not in self._members:
            self._open_now = None  # what it opens is not the scenario's
            return
        self.on_moment(task, "about to go on")
        self._stepping = task
        if self._open_now is None:
            self._open_now = resources.open_fds()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note what the step opened, then count a moment."""
        if task is not self._stepping:
            return
        self._stepping = None
        before, now = self._open_now, resources.open_fds()
        assert before is not None  # from before this step, or after the last one if no other task came between
        self._opened = (self._opened & now) | (now - before)
        self._open_now = now
        if task in self._members:
            self.on_moment(task, "waiting")


def place_of(task: trio.lowlevel.Task, root: trio.lowlevel.Task, scenario: object) -> str:
    """Where a task under `root` stands, in words."""
    # The chain of awaits from the root task ends at drive(), which goes on by hand.
    frames = _await_frames(scenario) if task is root else task.iter_await_frames()
    return resources.describe_frames(frames)


def _await_frames(awaitable: Any) -> Iterator[tuple[types.FrameType, int]]:
    while awaitable is not None:
        frame = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is not None:
            yield frame, frame.f_lineno
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)


@types.coroutine
def drive(scenario: Awaitable[object], reason: str, delivered: Callable[[], int]) -> Generator[Any, Any, None]:
    """Await `scenario`, noting each Cancelled that it is sent with this `reason`.

    Args:
        scenario: what to await.
        reason: of the cancellation to look for.
        delivered: is called for each such Cancelled and returns how many there have been.

    Raises:
        SwallowsCancelled: where the scenario goes on after :data:`MAX_DELIVERIES` of them.
    """
    iterator = scenario.__await__()
    resume: Callable[[], Any] = partial(next, iterator)
    while True:
        try:
            trap = resume()
        except StopIteration:
            return
        try:
            message = yield trap
        except TypeError as exc:  # how trio refuses what it does not know, such as a future of asyncio
            resume = partial(iterator.throw, exc)
            continue
        resume = partial(iterator.send, message)
        error = getattr(message, "error", None)  # trio sends an outcome
        if isinstance(error, trio.Cancelled) and error.reason == reason:
            excess = delivered() - MAX_DELIVERIES
            if excess >= 0:
                resume = partial(iterator.throw, SwallowsCancelled())
            if excess == _MAX_THROWS:
                raise SwallowsCancelled  # it swallows everything: abandon it where it stands
