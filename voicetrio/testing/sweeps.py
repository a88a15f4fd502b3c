"""The checkpoint sweep: run a scenario again and again, each time cancelled at another moment.

A cancellation may arrive before or after any step of any task (see :func:`sweep`).  Code that is right at all of these
moments is right under interruption; a test that cancels after 0.1 seconds tries one of them.
"""

from __future__ import annotations

import gc
import traceback
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import attrs
import trio

from . import _resources as resources
from ._steps import MAX_DELIVERIES, StepWatch, Strike, SwallowsCancelled, drive, place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

__all__ = ["SweepError", "SweepProblem", "SweepReport", "SweepTarget", "sweep", "sweep_pairs", "sweep_target"]

Scenario: TypeAlias = "Callable[[], Awaitable[object]]"
TargetScenario: TypeAlias = "Callable[[SweepTarget], Awaitable[object]]"
Check: TypeAlias = "Callable[[], Awaitable[object]]"

# A scenario with more moments than this takes hours to sweep, or grows with every run.
_MAX_STEPS = 10_000
# More problems than this are the same few again.
_MAX_PROBLEMS = 10
# How long what is ending may take to end once the scenario has.
_SETTLE = 1.0
_INSISTENCE = 0.05


class SweepError(AssertionError):
    """A sweep found problems; the message tells the first in full."""


class SweepProblem(NamedTuple):
    """What was wrong in one run.

    Attributes:
        step: the moment at which the run was struck, counted from 1; give ``steps=range(step, step + 1)`` to sweep
            that one alone.
        text: where the scenario stood then and what was wrong after.
    """

    step: int
    text: str


@attrs.frozen
class SweepReport:
    """What a sweep has found.

    Attributes:
        steps: how many moments it has struck at.
        problems: what was wrong, in the order of the runs.
    """

    steps: int
    problems: tuple[SweepProblem, ...]

    def raise_if_problems(self) -> None:
        """Raise if anything was wrong.

        Raises:
            SweepError: with the first problem in full and the first lines of the others.
        """
        if not self.problems:
            return
        first, *others = self.problems
        lines = [f"{len(self.problems)} problems in a sweep of {self.steps} steps", _line(first, first.text)]
        lines += (_line(problem, problem.text.partition("\n")[0]) for problem in others)
        raise SweepError("\n".join(lines))


def _line(problem: SweepProblem, text: str) -> str:
    return f"step {problem.step}: {text}"


class SweepTarget:
    """What a scenario of :func:`sweep_target` marks as the thing to interrupt.  It may mark several, one at a time."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    @property
    def struck(self) -> bool:
        """Whether this run's interruption has come already."""
        return self._run.first.done

    @contextmanager
    def scope(self) -> Iterator[trio.CancelScope]:
        """A cancel scope for the block, to be cancelled at some moment before its end."""
        with self._run.cancelling() as scope:
            yield scope

    @contextmanager
    def calling(self, interrupt: Callable[[], object]) -> Iterator[None]:
        """Call `interrupt`, a synchronous function, at some moment before the end of the block.

        An exception that it raises is a problem of the run and goes no further.
        """
        with self._run.armed(interrupt):
            yield


async def sweep(
    scenario: Scenario, *, check: Check | None = None, deadline: float = 5.0, steps: range | None = None
) -> SweepReport:
    """Run `scenario` once for each moment at which a cancellation can reach it, cancelled at that moment.

    trio runs a task in steps, from one wait to the next.  The moments are: before the first step; after each step of
    any task under the scenario, so that the wait then begun is aborted; and before each next one, when that wait has
    its result and the cancellation comes at the following checkpoint.  The sweep ends with the first run that is over
    before its moment comes.

    Each run is watched, and a problem is: an exception, other than Cancelled; a Cancelled that the scenario's own task
    swallowed, or one that is nobody's; not ending within the deadline, shielded or not; a task that it started
    elsewhere, a descriptor that it opened, or a thread, still there a second later; an exception from `check`.  Tasks
    beside the scenario, such as a server with its connections, are neither struck nor counted.

    It works with real sockets and the real clock and, much faster, with in-memory streams and a
    :class:`trio.testing.MockClock` that jumps.

    Args:
        scenario: an async function without arguments.  It is run many times, so it leaves the world as it was.
        check: an async function, called after each run, that raises if something is not as it should be.
        deadline: seconds that a run may take until it is struck, and as many after.
        steps: the moments to strike at, such as ``range(17, 18)`` to repeat one or ``range(1, 10_000, 7)`` for every
            seventh; all of them by default.

    Returns:
        The report; call its :meth:`~SweepReport.raise_if_problems`.

    If cancelled, it ends with the run that it is in.
    """

    async def whole(target: SweepTarget) -> None:
        with target.scope():
            await scenario()

    return await sweep_target(whole, check=check, deadline=deadline, steps=steps)


async def sweep_target(
    scenario: TargetScenario, *, check: Check | None = None, deadline: float = 5.0, steps: range | None = None
) -> SweepReport:
    """Like :func:`sweep`, but interrupt only a part of the scenario; what follows must work.

    ::

        async def scenario(target):
            async with provider.open(sink) as tts:
                with target.scope():                        # or: with target.calling(tts.interrupt):
                    await tts.synthesize("never mind")
                await tts.synthesize("the next turn")       # must succeed, wherever the first was cut

    The moments are those from the beginning to the end of the marked block, in any task under the scenario.

    Args:
        scenario: an async function that takes a :class:`SweepTarget` and enters it at least once.
        check: see :func:`sweep`.
        deadline: see :func:`sweep`.
        steps: see :func:`sweep`.
    """
    problems: list[SweepProblem] = []
    tried = 0
    for step in steps or range(1, _MAX_STEPS):
        run = _Run(deadline, step)
        found = await run.execute(scenario, check)
        problems += (SweepProblem(step, f"{run.first}: {text}") for text in found)
        if not run.first.done:
            if run.first.reached == 0 and not found:
                problems.append(SweepProblem(step, "the scenario never entered its target"))
            break
        tried += 1
        if len(problems) >= _MAX_PROBLEMS:
            break
    else:
        if steps is None:
            problems.append(SweepProblem(_MAX_STEPS, "gave up: the scenario has no end of steps"))
    return SweepReport(tried, tuple(problems))


async def sweep_pairs(
    scenario: TargetScenario, *, check: Check | None = None, deadline: float = 5.0, steps: range | None = None
) -> SweepReport:
    """Like :func:`sweep_target`, and then cancel the whole scenario as well, at each moment after that.

    This tries the clean-up of an interruption under a cancellation of its own.  The runs are as many as the *square* of
    the moments: for short scenarios.

    Args:
        scenario: an async function that takes a :class:`SweepTarget` and enters it at least once.
        check: see :func:`sweep`.
        deadline: see :func:`sweep`; it begins anew with the second cancellation.
        steps: the moments for the first interruption, see :func:`sweep`; those for the second are always all.
    """
    problems: list[SweepProblem] = []
    tried = 0
    firsts = iter(steps or range(1, _MAX_STEPS))
    step, later = next(firsts, None), 1
    while step is not None and len(problems) < _MAX_PROBLEMS:
        run = _Run(deadline, step, later)
        found = await run.execute(scenario, check)
        problems += (SweepProblem(step, f"{run.first}, then {run.second}: {text}") for text in found)
        if run.second.done:
            tried += 1
            later += 1
        elif run.first.done:
            step, later = next(firsts, None), 1
        else:
            break
    if not tried and not problems:
        problems.append(SweepProblem(1, "the scenario never entered its target, or ended with it"))
    return SweepReport(tried, tuple(problems))


class _Run:
    """One run of a scenario, struck once or twice."""

    def __init__(self, deadline: float, first: int, second: int = 0) -> None:
        self.first: Strike = Strike(first)
        self.second: Strike = Strike(second)
        self._deadline = deadline
        self._limit = trio.current_time() + deadline
        self._act: Callable[[], object] | None = None
        self._whole: trio.CancelScope = trio.CancelScope()
        self._scopes: list[trio.CancelScope] = [self._whole]
        self._reason = f"sweep {id(self):x}"
        self._deliveries = 0  # of our own Cancelled, to the scenario's own task
        self._failed = False
        self._problems: list[str] = []

    async def execute(self, scenario: TargetScenario, check: Check | None) -> list[str]:
        """Run the scenario and return what was wrong, in words."""
        threads = resources.busy_threads()
        self._awaitable: Awaitable[object] = scenario(SweepTarget(self))
        self._watch: StepWatch = StepWatch(self._moment)
        trio.lowlevel.add_instrument(self._watch)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run, nursery.cancel_scope)
                nursery.start_soon(self._limit_time)
            left = await resources.settled(partial(self._left, threads), _SETTLE)
        finally:
            trio.lowlevel.remove_instrument(self._watch)
        if self._deliveries and not self._failed and not any(scope.cancelled_caught for scope in self._scopes):
            self._problems.append("swallowed Cancelled")
        self._problems += left
        if check is not None:
            try:
                await check()
            except Exception as exc:  # noqa: BLE001 - it is reported
                self._problems.append(f"check {_raised(exc)}")
        return self._problems

    @contextmanager
    def armed(self, act: Callable[[], object]) -> Iterator[None]:
        """Count the moments of the block, and call `act` at the one to strike at."""
        if self._act is not None:
            raise RuntimeError("a SweepTarget can be entered by one block at a time")
        self._act = act
        self._moment(trio.lowlevel.current_task(), "about to begin")
        try:
            yield
        finally:
            self._act = None

    @contextmanager
    def cancelling(self) -> Iterator[trio.CancelScope]:
        """A scope around the block that is cancelled at the moment to strike at."""
        scope = trio.CancelScope()
        self._scopes.append(scope)
        with self.armed(partial(scope.cancel, reason=self._reason)), scope:
            yield scope

    async def _run(self, run_is_over: trio.CancelScope) -> None:
        self._watch.begin()
        try:
            with self._whole:
                await self._awaited()
        except SwallowsCancelled:
            assert self._failed  # it is reported
        except Exception as exc:  # noqa: BLE001 - it is reported
            self._fail(_raised(exc))
        self._limit = float("inf")  # should its end fall into this very moment
        run_is_over.cancel()

    async def _awaited(self) -> None:
        stray = True
        try:
            await drive(self._awaitable, self._reason, self._delivered)
            stray = False
        except Exception:
            stray = False
            raise
        finally:
            if stray and trio.current_effective_deadline() > -float("inf"):
                self._fail("let a Cancelled out that belongs to no cancelled scope")
                self._whole.cancel(reason="stray")  # which then catches it

    def _delivered(self) -> int:
        self._deliveries += 1
        if self._deliveries == MAX_DELIVERIES:
            self._fail("swallows Cancelled in a loop and would never end")
        return self._deliveries

    def _fail(self, problem: str) -> None:
        self._failed = True
        self._problems.append(problem)

    def _moment(self, task: trio.lowlevel.Task, doing: str) -> None:
        if not self.first.done:
            if self._act is not None and self.first.count():
                self._strike(self.first, self._act, task, doing)
        elif not self.second.done and self.second.count():
            self._strike(self.second, partial(self._whole.cancel, reason=self._reason), task, doing)

    def _strike(self, strike: Strike, act: Callable[[], object], task: trio.lowlevel.Task, doing: str) -> None:
        strike.place = f"{doing} {place_of(task, self._watch.root, self._awaitable)}".rstrip()
        self._limit = trio.current_time() + self._deadline
        try:
            act()
        except Exception as exc:  # noqa: BLE001 - trio would log it and go on without the instrument
            self._fail(f"the interruption {_raised(exc)}")

    async def _limit_time(self) -> None:
        while trio.current_time() < self._limit:  # noqa: ASYNC110 - a strike moves the limit
            await trio.sleep_until(min(self._limit, trio.current_time() + self._deadline))
        place = place_of(self._watch.root, self._watch.root, self._awaitable)
        self._fail(f"still running after {self._deadline} s {place}".rstrip())
        while True:
            self._whole.cancel(reason="too late")
            _break_shields()
            await trio.sleep(_INSISTENCE)

    def _left(self, threads: Iterable[object]) -> list[str]:
        found = [f"left behind: {resources.describe_task(task)}" for task in self._watch.tasks_left]
        found += (f"left behind: {resources.describe_fd(fd)}" for fd in self._watch.fds_left())
        found += (f"left behind: thread {each.name}" for each in resources.busy_threads().difference(threads))
        return found


def _raised(exc: Exception) -> str:
    return f"raised {exc!r}\n{''.join(traceback.format_exception(exc))}"


def _break_shields() -> None:
    """Open every shield there is, so that a cancellation reaches a scenario that shields itself for ever.

    A shield on which no cancellation presses is not missed.
    """
    for candidate in gc.get_objects():
        if type(candidate) is trio.CancelScope and candidate.shield:
            candidate.shield = False
