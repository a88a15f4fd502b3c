"""The leak check: each kind of thing that it promises to find, left behind, and the same not left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest
import trio

from voicetrio.testing import LeakError, no_leaks


async def leaks_of(function, **kwargs):
    """What no_leaks reports of an async function."""
    try:
        async with no_leaks(settle=0.02, **kwargs):
            await function()
    except LeakError as exc:
        return str(exc).split("\n  ")[1:]
    return []


async def test_a_clean_block_passes():
    async with no_leaks(channels=True):
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[int](1)
            with send, receive:
                nursery.start_soon(send.send, 1)
                assert await receive.receive() == 1
        left, right = trio.socket.socketpair()
        left.close()
        right.close()
        await trio.to_thread.run_sync(lambda: None)
        await trio.run_process([sys.executable, "-c", ""])


async def test_finds_a_task_and_tells_where_it_waits():
    async with trio.open_nursery() as nursery:

        async def forgotten():
            await trio.sleep_forever()

        async def leak():
            nursery.start_soon(forgotten)

        (found,) = await leaks_of(leak)
        nursery.cancel_scope.cancel()

    assert found.startswith("task ")
    assert f"{__file__}:{forgotten.__code__.co_firstlineno + 1} in forgotten" in found


async def test_finds_a_connection_and_tells_its_ends():
    kept = []

    async def leak():
        listener = socket.create_server(("127.0.0.1", 0))
        kept.extend([listener, socket.create_connection(listener.getsockname()), listener.accept()[0]])

    found = sorted(await leaks_of(leak))
    port = kept[0].getsockname()[1]
    for sock in kept:
        sock.close()

    assert len(found) == 3
    assert sum(f"socket ('127.0.0.1', {port}), not connected" in each for each in found) == 1
    assert sum(f"connected to ('127.0.0.1', {port})" in each for each in found) == 1


async def test_finds_a_pipe_whose_number_was_in_use_before():
    """A number says little: the one that is free now is the first to be used again."""
    old = os.pipe()
    new = []

    async def leak():
        for end in old:
            os.close(end)
        new.extend(os.pipe())

    found = await leaks_of(leak)
    for end in new:
        os.close(end)

    assert sorted(new) == sorted(old)
    assert len(found) == 2
    assert all("pipe" in each for each in found)


async def test_finds_a_thread():
    ending = threading.Event()

    async def leak():
        threading.Thread(target=ending.wait, name="forgotten").start()

    found = await leaks_of(leak)
    ending.set()

    assert found == ["thread forgotten"]


async def test_finds_a_thread_of_trio_that_works():
    ending = threading.Event()
    async with trio.open_nursery() as nursery:

        async def leak():
            nursery.start_soon(trio.to_thread.run_sync, ending.wait)
            await trio.testing.wait_all_tasks_blocked()

        found = await leaks_of(leak)
        ending.set()

    assert sorted(each.split()[0] for each in found) == ["task", "thread"]


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process


async def test_finds_a_zombie():
    process = None

    async def leak():
        nonlocal process
        process = ended_process()

    found = await leaks_of(leak)
    process.wait()

    assert found == [f"process {process.pid}"]


async def numbers():
    for number in range(3):
        yield number
        await trio.lowlevel.checkpoint()


async def test_finds_an_async_generator_that_was_begun():
    generator = None

    async def leak():
        nonlocal generator
        generator = numbers()
        async for _ in generator:
            break

    (found,) = await leaks_of(leak)
    await generator.aclose()

    assert found == f"async generator numbers at {__file__}:{numbers.__code__.co_firstlineno + 2}"


async def test_async_generators_finished_closed_or_never_begun_are_no_leaks():
    kept = [numbers(), numbers(), numbers()]

    async def clean():
        assert [number async for number in kept[0]] == [0, 1, 2]
        assert await anext(kept[1]) == 0
        await kept[1].aclose()

    assert await leaks_of(clean) == []


async def test_finds_channels_if_asked():
    kept = []

    async def leak():
        kept.extend(trio.open_memory_channel[int](3))
        await kept[-2].send(5)
        kept[-1].close()

    assert await leaks_of(leak) == []
    found = await leaks_of(leak, channels=True)
    for channel in kept:
        channel.close()

    assert len(found) == 2
    assert "memory channel, a send end: 1 send and 0 receive ends open, 0 items in it" in found


async def test_what_was_there_before_is_no_leak():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        generator = numbers()
        await anext(generator)
        send, receive = trio.open_memory_channel[int](0)
        left, right = trio.socket.socketpair()
        with send, receive, left, right:
            async with no_leaks(settle=0, channels=True):
                pass
        await generator.aclose()
        nursery.cancel_scope.cancel()


async def test_what_ends_soon_is_no_leak(autojump_clock):
    async with trio.open_nursery() as nursery:
        async with no_leaks():
            nursery.start_soon(trio.sleep, 0.9)

        with pytest.raises(LeakError, match=r"task trio\.sleep"):
            async with no_leaks():
                nursery.start_soon(trio.sleep, 1.5)


async def test_a_clock_that_stands_still_is_no_reason_to_wait_for_ever(mock_clock):
    async with trio.open_nursery() as nursery:
        with pytest.raises(LeakError, match=r"task trio\.sleep"):
            async with no_leaks(settle=0.02):
                nursery.start_soon(trio.sleep, 1)
        nursery.cancel_scope.cancel()


async def test_an_exception_of_the_block_is_not_hidden():
    kept = []

    async def leak_and_fail():
        kept.append(socket.socket())
        raise KeyError

    with pytest.raises(KeyError):
        await leaks_of(leak_and_fail)
    kept[0].close()


async def test_a_clock_that_goes_slowly_is_waited_for(mock_clock):
    mock_clock.rate = 0.2
    async with trio.open_nursery() as nursery, no_leaks(settle=0.05):
        nursery.start_soon(trio.sleep, 0.04)
