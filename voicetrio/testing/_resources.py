"""What a piece of code can leave behind, each as a set to compare with an earlier one."""

from __future__ import annotations

import dis
import gc
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import AsyncGeneratorType, FrameType
from typing import Any, TypeAlias, TypeVar

import trio
import trio.testing

_T = TypeVar("_T")

Fd: TypeAlias = tuple[int, int, int]
"""A descriptor's number, and the device and inode of what is behind it: a number alone is soon used again."""

Channel: TypeAlias = "trio.MemorySendChannel[Any] | trio.MemoryReceiveChannel[Any]"

# Where the system lists the open descriptors: Linux, macOS and the BSDs.
_FD_DIRECTORY = next((path for path in ("/proc/self/fd", "/dev/fd") if Path(path).is_dir()), None)
# Elsewhere each number has to be tried; programs under test have few open.
_FDS_TRIED = 1024
_RETURN_GENERATOR = dis.opmap["RETURN_GENERATOR"]
_NOT_A_PLACE = ("trio.", "contextlib", "voicetrio.testing.")
_TICK = 0.002


def open_fds() -> set[Fd]:
    """The open file descriptors, sockets included."""
    if _FD_DIRECTORY is None:
        numbers: Iterator[int] = iter(range(_FDS_TRIED))
    else:
        numbers = map(int, os.listdir(_FD_DIRECTORY))  # noqa: PTH208 - Path.iterdir is three times slower
    found = set()
    for number in numbers:
        try:
            status = os.fstat(number)
        except OSError:
            continue  # not open; in a listing, the one that was opened to list them
        found.add((number, status.st_dev, status.st_ino))
    return found


def describe_fd(fd: Fd) -> str:
    """A descriptor in words: its number, what it is, and for a socket its two ends."""
    number = fd[0]
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISSOCK(mode):
            return f"fd {number}: {_describe_socket(number)}"
        target = str(Path(f"/proc/self/fd/{number}").readlink()) if _FD_DIRECTORY == "/proc/self/fd" else ""
    except OSError:
        return f"fd {number}"
    kind = "pipe" if stat.S_ISFIFO(mode) else "file" if stat.S_ISREG(mode) else ""
    return f"fd {number}: {target or kind or stat.filemode(mode)}"


def _describe_socket(number: int) -> str:
    with socket.socket(fileno=os.dup(number)) as sock:
        ends = f"socket {sock.getsockname()}"
        try:
            return f"{ends} connected to {sock.getpeername()}"
        except OSError:
            return f"{ends}, not connected"


def living_tasks() -> set[trio.lowlevel.Task]:
    """The tasks of this run, system tasks included."""
    root = trio.lowlevel.current_root_task()
    found: set[trio.lowlevel.Task] = set()
    todo = [root] if root is not None else []
    while todo:
        task = todo.pop()
        found.add(task)
        todo.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


def describe_task(task: trio.lowlevel.Task) -> str:
    """A task in words: its name and where it waits."""
    place = describe_frames(task.iter_await_frames())
    return f"task {task.name}{place and f' {place}'}"


def describe_frames(frames: Iterator[tuple[FrameType, int]]) -> str:
    """The innermost place outside trio and this package, or an empty text where there is none.

    Args:
        frames: frames and line numbers, the innermost last.
    """
    place = ""
    for frame, line in frames:
        if not frame.f_globals.get("__name__", "").startswith(_NOT_A_PLACE):
            place = f"at {frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"
    return place


def busy_threads() -> set[threading.Thread]:
    """The living threads, except those that trio keeps idle on purpose.

    trio gives a thread that it keeps for the next ``to_thread.run_sync`` the name "Trio thread" and a number, and the
    name of the work while there is work.  An idle one ends after ten seconds.
    """
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Trio thread ")}


def child_processes() -> set[int]:
    """The child processes that are not reaped yet, on Linux; elsewhere none."""
    found: set[int] = set()
    for children in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, children.read_text().split()))
        except OSError:
            continue  # the thread has just ended
    return found


def suspended_generators() -> set[AsyncGeneratorType[Any, Any]]:
    """The async generators that were begun and are neither finished, closed, nor running."""
    return {
        generator
        for generator in gc.get_objects()
        if type(generator) is AsyncGeneratorType
        and generator.ag_frame is not None
        and not generator.ag_running
        # This instruction makes the generator object: the frame stands there until the first step.
        and generator.ag_code.co_code[generator.ag_frame.f_lasti] != _RETURN_GENERATOR
    }


def describe_generator(generator: AsyncGeneratorType[Any, Any]) -> str:
    """An async generator in words: its name and where it stands."""
    frame = generator.ag_frame
    line = frame.f_lineno if frame is not None else "?"
    return f"async generator {generator.__qualname__} at {generator.ag_code.co_filename}:{line}"


def open_channels() -> set[Channel]:
    """The memory channels of which an end is open."""
    kinds = (trio.MemorySendChannel, trio.MemoryReceiveChannel)
    return {
        channel
        for channel in gc.get_objects()
        if type(channel) in kinds
        and (channel.statistics().open_send_channels or channel.statistics().open_receive_channels)
    }


def describe_channel(channel: Channel) -> str:
    """A memory channel in words: which end of it this is, and how many ends are open."""
    seen = channel.statistics()
    end = "send" if isinstance(channel, trio.MemorySendChannel) else "receive"
    return (
        f"memory channel, a {end} end: {seen.open_send_channels} send and {seen.open_receive_channels} receive ends "
        f"open, {seen.current_buffer_used} items in it"
    )


async def settled(left: Callable[[], _T], seconds: float) -> _T:
    """Wait until `left()` is empty, but no longer than `seconds`, and return it.

    It takes as long both by the real clock, for threads, and by trio's, for tasks; where trio's clock stands still it
    gives the other tasks their steps all the same.
    """
    real_end = time.monotonic() + seconds
    end = trio.current_time() + seconds
    clock = trio.lowlevel.current_clock()
    frozen = isinstance(clock, trio.testing.MockClock) and clock.rate == 0 and clock.autojump_threshold == float("inf")
    while True:
        remaining = left()
        if not remaining or (time.monotonic() >= real_end and (frozen or trio.current_time() >= end)):
            return remaining
        if frozen or trio.current_time() >= end:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(_TICK)
