"""The sweep: each kind of fault that it promises to find, planted, and the same code without the fault."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from voicetrio.testing import SweepError, SweepProblem, SweepReport, sweep, sweep_pairs, sweep_target
from voicetrio.testing import sweeps as sweeps_module


@pytest.fixture(autouse=True)
def _settle_fast(monkeypatch):
    monkeypatch.setattr(sweeps_module, "_SETTLE", 0.05)


def texts(report):
    return [problem.text for problem in report.problems]


async def pipeline():
    """A producer and a consumer with clean ends."""
    send, receive = trio.open_memory_channel[int](1)
    with receive:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def produce():
                with send:
                    for number in range(3):
                        await send.send(number)
                        await trio.sleep(0.01)

            assert [number async for number in receive] == [0, 1, 2]


# The moments.


async def test_a_clean_scenario_has_no_problems(autojump_clock):
    report = await sweep(pipeline)

    assert report.steps > 15
    assert report.problems == ()
    report.raise_if_problems()


async def test_moments_are_before_and_after_each_step(autojump_clock):
    """Of two waits: before the first, in the first, at its end, in the second, at its end."""
    ends = []

    async def scenario():
        start = trio.current_time()
        waits = 0
        try:
            for _ in range(2):
                waits += 1
                await trio.sleep(1)
        finally:
            ends.append((waits, trio.current_time() - start))

    assert await sweep(scenario) == SweepReport(5, ())
    assert ends == [(1, 0), (1, 0), (1, 1), (2, 1), (2, 2), (2, 2)]


async def test_a_range_of_steps_is_swept_alone(autojump_clock):
    runs = []

    async def scenario():
        runs.append(trio.current_time())
        await trio.sleep(1)
        await trio.sleep(1)

    assert (await sweep(scenario, steps=range(2, 4))).steps == 2
    assert len(runs) == 2
    assert (await sweep(scenario, steps=range(1, 100, 2))).steps == 3


async def test_a_scenario_that_grows_for_ever_is_given_up(autojump_clock, monkeypatch):
    monkeypatch.setattr(sweeps_module, "_MAX_STEPS", 50)
    runs = []

    async def scenario():
        runs.append(None)
        for _ in runs:
            await trio.lowlevel.checkpoint()

    (problem,) = texts(await sweep(scenario))
    assert "no end of steps" in problem


async def test_tasks_beside_the_scenario_are_not_struck(autojump_clock):
    """A server's steps are no moments, its tasks and sockets no leaks."""
    ticks = []

    async def tick():
        while True:
            ticks.append(socket.socketpair())  # what a server keeps open is its own affair
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:

        async def serve():
            while True:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep(0.1)

        nursery.start_soon(tick)
        nursery.start_soon(serve)
        report = await sweep(partial(trio.sleep, 0.35))
        nursery.cancel_scope.cancel()
    for pair in ticks:
        for end in pair:
            end.close()

    assert report == SweepReport(3, ())
    assert len(ticks) > 4


async def test_real_sockets_and_the_real_clock():
    async def echo(stream):
        with suppress(trio.BrokenResourceError):
            async with stream:
                async for data in stream:
                    await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        address = listeners[0].socket.getsockname()[:2]

        async def scenario():
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some(5)

        with trio.fail_after(20):
            report = await sweep(scenario)
        nursery.cancel_scope.cancel()

    report.raise_if_problems()
    assert report.steps > 5


# The faults.


async def test_finds_an_exception(autojump_clock):
    async def scenario():
        try:
            await trio.sleep(1)
        finally:
            await trio.lowlevel.cancel_shielded_checkpoint()
            {}["no such key"]

    report = await sweep(scenario, steps=range(1, 2))

    assert "raised KeyError('no such key')" in texts(report)[0]
    assert "in scenario" in texts(report)[0]


async def test_finds_an_exception_beside_cancelled(autojump_clock):
    async def fail():
        try:
            await trio.sleep(1)
        finally:
            raise OSError("in the clean-up")

    async def scenario():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(trio.sleep, 1)

    assert "in the clean-up" in texts(await sweep(scenario))[0]


@pytest.mark.parametrize("swallowed", [trio.Cancelled, BaseException])
async def test_finds_a_swallowed_cancelled(autojump_clock, swallowed):
    async def scenario():
        with suppress(swallowed):
            await trio.sleep(1)

    report = await sweep(scenario)

    assert [text.rpartition(": ")[2] for text in texts(report)] == ["swallowed Cancelled"] * 2
    assert "struck when about to begin" in texts(report)[0]
    assert "struck when waiting at" in texts(report)[1]
    assert f"{__file__}:" in texts(report)[1]


async def test_a_cancelled_that_a_shielded_clean_up_times_out_on_is_not_swallowed(autojump_clock):
    async def scenario():
        try:
            await trio.sleep(1)
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.sleep_forever()

    (await sweep(scenario)).raise_if_problems()


async def test_finds_a_cancelled_swallowed_in_a_loop(autojump_clock):
    async def scenario():
        for _ in range(100_000):
            with suppress(trio.Cancelled):
                await trio.sleep(1)

    assert texts(await sweep(scenario, deadline=1e6, steps=range(2, 3))) == [
        f"struck when waiting at {__file__}:{scenario.__code__.co_firstlineno + 3} in scenario: "
        "swallows Cancelled in a loop and would never end"
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what is abandoned cannot be closed
async def test_finds_that_everything_is_swallowed_in_a_loop(autojump_clock):
    async def scenario():
        while True:
            with suppress(BaseException):
                await trio.lowlevel.checkpoint()

    assert "swallows Cancelled in a loop" in texts(await sweep(scenario, steps=range(2, 3)))[0]
    gc.collect()


async def test_finds_a_stray_cancelled(autojump_clock):
    async def scenario():
        stray = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                stray = exc
                raise
        await trio.sleep(1)
        raise stray

    assert "let a Cancelled out that belongs to no cancelled scope" in texts(await sweep(scenario))[-1]


async def test_a_cancellation_from_outside_passes(autojump_clock):
    with trio.move_on_after(5) as scope:
        await sweep(trio.sleep_forever, deadline=100)
    assert scope.cancelled_caught


async def test_finds_a_clean_up_shielded_without_a_deadline(autojump_clock):
    async def scenario():
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()

    report = await sweep(scenario, deadline=3, steps=range(1, 3))

    assert len(report.problems) == 2
    assert all("still running after 3 s at " in text for text in texts(report))


async def test_finds_a_scenario_that_hangs_uncancelled(autojump_clock):
    """Such as one whose server an earlier, cancelled run has spoilt."""
    runs = []

    async def scenario():
        runs.append(None)
        await trio.sleep(1 if len(runs) == 1 else 1000)

    assert texts(await sweep(scenario, steps=range(2, 3))) == []

    assert "still running after 5.0 s" in texts(await sweep(scenario))[0]


async def test_the_deadline_begins_anew_when_struck(autojump_clock):
    async def scenario():
        await trio.sleep(0.9)
        try:
            await trio.sleep(0.05)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.9)

    (await sweep(scenario, deadline=1, steps=range(4, 5))).raise_if_problems()


async def test_finds_a_task_left(autojump_clock):
    async with trio.open_nursery() as outer:

        async def scenario():
            outer.start_soon(trio.sleep, 30)
            await trio.sleep(1)

        report = await sweep(scenario, steps=range(2, 3))
        outer.cancel_scope.cancel()

    assert [text.rpartition(": left ")[2].partition(" at ")[0] for text in texts(report)] == ["behind: task trio.sleep"]


async def test_a_task_that_ends_by_itself_is_not_left(autojump_clock):
    async with trio.open_nursery() as outer:

        async def scenario():
            outer.start_soon(trio.sleep, 0.02)
            await trio.sleep(1)

        (await sweep(scenario)).raise_if_problems()


async def test_finds_a_socket_left():
    keep = []  # as a reference cycle does until the collector runs

    async def scenario():
        sock = socket.socket()
        keep.append(sock)
        await trio.lowlevel.checkpoint()
        sock.close()

    report = await sweep(scenario)

    for sock in keep:
        sock.close()
    assert report.steps == 3
    assert all("left behind: fd" in text and "socket" in text for text in texts(report))
    assert [problem.step for problem in report.problems] == [1, 2, 3]


async def test_finds_a_thread_left():
    ending = threading.Event()

    async def scenario():
        threading.Thread(target=ending.wait, name="forgotten").start()
        await trio.lowlevel.checkpoint()

    report = await sweep(scenario, steps=range(2, 3))
    ending.set()

    assert "left behind: thread forgotten" in texts(report)[0]


async def test_threads_that_trio_keeps_are_not_left():
    (await sweep(lambda: trio.to_thread.run_sync(lambda: None))).raise_if_problems()


async def test_check_runs_after_each_run_and_its_exception_is_a_problem(autojump_clock):
    runs = []

    async def check():
        await trio.sleep(0.1)
        runs.append(None)
        assert len(runs) != 2, "the second run spoilt something"

    report = await sweep(partial(trio.sleep, 1), check=check)

    assert len(runs) == 4
    ((step, text),) = report.problems
    assert step == 2
    assert "check raised" in text
    assert "the second run spoilt something" in text


async def test_asyncio_under_trio_is_reported_as_trio_does(autojump_clock):
    async def scenario():
        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()
        finally:
            loop.close()

    assert "unrecognized yield message" in texts(await sweep(scenario, steps=range(2, 3)))[0]


async def test_it_stops_when_enough_is_wrong(autojump_clock):
    async def scenario():
        try:
            for _ in range(100):
                await trio.lowlevel.checkpoint()
        finally:
            raise ValueError

    report = await sweep(scenario)
    assert len(report.problems) == report.steps == 10


def test_a_report_tells_the_first_problem_in_full_and_the_heads_of_the_others():
    report = SweepReport(7, (SweepProblem(2, "raised\nTraceback"), SweepProblem(5, "left\nmore")))

    with pytest.raises(SweepError) as caught:
        report.raise_if_problems()
    assert str(caught.value) == "2 problems in a sweep of 7 steps\nstep 2: raised\nTraceback\nstep 5: left"


# A target.


class Speaker:
    """Says one thing after another; spoilt if an interruption is not cleaned up after."""

    def __init__(self, *, careful):
        self.careful = careful
        self.busy = False
        self.scope = None

    async def say(self, seconds):
        assert not self.busy, "it is still speaking"
        self.busy = True
        try:
            with trio.CancelScope() as self.scope:
                await trio.sleep(seconds)
                self.busy = False
        finally:
            if self.careful:
                self.busy = False

    def interrupt(self):
        self.scope.cancel()


async def test_what_follows_an_interrupted_target_must_work(autojump_clock):
    async def scenario(target, *, careful):
        speaker = Speaker(careful=careful)
        await speaker.say(1)
        with target.scope() as scope:
            await speaker.say(1)
        assert target.struck or not scope.cancel_called
        await speaker.say(1)

    clean = await sweep_target(lambda target: scenario(target, careful=True))
    faulty = await sweep_target(lambda target: scenario(target, careful=False))

    assert clean == SweepReport(3, ())
    assert "it is still speaking" in texts(faulty)[0]


async def test_a_target_may_be_interrupted_by_calling(autojump_clock):
    async def scenario(target, *, careful):
        speaker = Speaker(careful=careful)
        await speaker.say(1)
        with target.calling(speaker.interrupt):
            await speaker.say(1)
        await speaker.say(1)

    clean = await sweep_target(lambda target: scenario(target, careful=True))
    faulty = await sweep_target(lambda target: scenario(target, careful=False))

    assert clean == SweepReport(3, ())
    assert "it is still speaking" in texts(faulty)[0]


async def test_an_exception_of_the_interruption_is_a_problem(autojump_clock):
    async def scenario(target):
        with target.calling(lambda: 1 / 0):
            await trio.sleep(1)

    report = await sweep_target(scenario)
    assert len(report.problems) == report.steps == 3
    assert all("the interruption raised ZeroDivisionError" in text for text in texts(report))


async def test_several_targets_are_counted_through(autojump_clock):
    async def scenario(target):
        with target.scope():
            await trio.sleep(1)
        await trio.sleep(1)
        with target.scope():
            await trio.sleep(1)

    assert (await sweep_target(scenario)) == SweepReport(6, ())


async def test_a_target_never_entered_is_a_problem(autojump_clock):
    async def scenario(target):
        await trio.sleep(1)

    assert "never entered its target" in texts(await sweep_target(scenario))[0]
    assert "never entered its target" in texts(await sweep_pairs(scenario))[0]


async def test_two_targets_at_once_are_refused(autojump_clock):
    async def scenario(target):
        with target.scope(), target.scope():
            await trio.sleep(1)

    assert "by one block at a time" in texts(await sweep_target(scenario, steps=range(1, 2)))[0]


# Pairs.


async def test_pairs_cancel_the_clean_up_too(autojump_clock):
    """A clean-up that is right unless it is cancelled itself: only two cancellations can show it."""

    taken = []

    async def scenario(target, *, shield):
        taken.append(None)
        try:
            with target.scope():
                await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=shield):
                await trio.sleep(0.1)
            taken.clear()

    async def check():
        assert not taken, "it was not given back"

    clean = await sweep_pairs(lambda target: scenario(target, shield=True), check=check)
    single = await sweep_target(lambda target: scenario(target, shield=False), check=check)
    faulty = await sweep_pairs(lambda target: scenario(target, shield=False), check=check)

    assert clean.problems == single.problems == ()
    assert clean.steps == 9
    assert "it was not given back" in texts(faulty)[0]
    assert ", then struck when waiting at" in texts(faulty)[0]
