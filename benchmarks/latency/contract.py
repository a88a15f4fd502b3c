"""The contract of a contender: a process that is told what to do, and answers with what it measured, in lines of JSON.

A contender extends :class:`Contender` and ends its file with ``serve(MyContender)``.  It says how to open a session,
how to speak and how to interrupt; what is measured, and when the clock is read, is the same code for all of them
(:mod:`latency.scenarios`), on asyncio as on trio.  This module imports nothing but the standard library, so that the
import of the library under test can be measured.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import traceback
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

SAMPLE_RATE = 24_000
"""Of all audio that is spoken; 16 bits, mono."""

FRAME_MS = 20
FRAME_BYTES = 4 * 48 * FRAME_MS
"""Of the audio that is listened to: 16 bits, stereo, 48 kHz, as WebRTC delivers it."""

now = time.monotonic_ns
"""The clock of every figure, in nanoseconds."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Flush:
    """In a streamed text: what came so far is a whole sentence, and can be spoken."""


class Speaker(ABC):
    """A session that is open."""

    @abstractmethod
    async def speak(self, text: str) -> None:
        """Speak a text; return when the library says that the turn is over."""

    @abstractmethod
    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        """Speak a text that comes in pieces; return when the library says that the turn is over."""

    @abstractmethod
    async def interrupt(self) -> None:
        """Stop what is being spoken, in the way in which the library wants it done."""


class Listener(ABC):
    """A speech-to-text session that is open; `heard` is told of each transcript."""

    @abstractmethod
    async def give(self, pcm: bytes) -> None:
        """Take a frame of audio: 20 ms of 16 bits, stereo, at 48 kHz; what is sent is mono at 16 kHz."""

    @abstractmethod
    async def end(self) -> None:
        """End the audio; return when the library says that it is over, at once if it has no such call."""


class Model(ABC):
    """A language model's session; `heard` is told of each piece of an answer's text, and of its characters."""

    @abstractmethod
    async def ask(self, text: str) -> None:
        """Ask, and return when the answer is complete."""


class Contender(ABC):
    """What is measured.

    Attributes:
        name: as the report shows it.
        runtime: ``"asyncio"`` or ``"trio"``.
        providers: those that it speaks.
        packages: whose versions are recorded.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    providers: ClassVar[tuple[str, ...]]
    packages: ClassVar[tuple[str, ...]]

    @abstractmethod
    def load(self, provider: str) -> None:
        """Import the library, as an application that uses this provider would; timed, called once."""

    @abstractmethod
    def session(self, provider: str, url: str, heard: Heard) -> AbstractAsyncContextManager[Speaker | Listener | Model]:
        """Open a session, connected as far as the library can connect beforehand; `heard` is told of all that comes."""

    def decode(self, data: Any) -> bytes:
        """The s16le PCM of what :meth:`Heard.put` was given; called when nothing is measured any more."""
        return bytes(data)


class Heard:
    """What the consumer got, and when.

    Args:
        keep: keep the audio; otherwise only count it, so that keeping is not measured.
        event: makes an event of the runtime, with ``set()`` and ``wait()``.
    """

    def __init__(self, event: Callable[[], Any], *, keep: bool = True) -> None:
        self.samples = 0
        self.chunks: list[tuple[int, int, Any]] = []
        self._event = event
        self._keep = keep
        self._goal = 0
        self._reached: Any = None

    def put(self, data: Any, samples: int) -> None:
        """Note audio that the consumer can take now."""
        self.samples += samples
        if self._keep:
            self.chunks.append((now(), samples, data))
        if self._reached is not None and self.samples >= self._goal:
            self._reached.set()
            self._reached = None

    async def until(self, samples: int) -> None:
        """Wait until so many samples were heard in all."""
        if self.samples < samples:
            self._goal, self._reached = samples, self._event()
            await self._reached.wait()

    def wake(self) -> None:
        """End the wait of :meth:`until`: no more will come."""
        if self._reached is not None:
            self._reached.set()
            self._reached = None

    def since(self, time_ns: int) -> list[tuple[int, Any]]:
        """What came that is not older than this: when, and what was put."""
        return [(time_, data) for time_, _samples, data in self.chunks if time_ >= time_ns]


class Job:
    """Something that runs beside the scenario.

    Attributes:
        ended: when it did.
        error: what it raised.
    """

    def __init__(self, done: Any) -> None:
        self.ended: int | None = None
        self.error: str | None = None
        self.done = done
        self.cancel: Callable[[], object] = lambda: None

    async def run(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run it, and note how it ended."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 -- a contender's failure is a result, not the benchmark's end
            cause = _innermost(error)
            self.error = f"{type(cause).__name__}: {cause}"
        finally:
            self.ended = now()
            self.done.set()


class Runtime(ABC):
    """The little that scenarios need of an event loop, so that they are written once."""

    @abstractmethod
    def run(self, main: Callable[[Runtime], Awaitable[Any]]) -> Any:
        """Run `main` in a fresh loop."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Sleep."""

    @abstractmethod
    def event(self) -> Any:
        """A fresh event."""

    @abstractmethod
    def start(self, work: Callable[[], Awaitable[object]]) -> Job:
        """Run something beside."""

    @abstractmethod
    async def within(self, seconds: float, wait: Callable[[], Awaitable[object]]) -> bool:
        """Whether a wait ended in time; it is cancelled otherwise."""

    @abstractmethod
    def tasks(self) -> int:
        """How many tasks there are."""


class AsyncioRuntime(Runtime):
    """asyncio, with its default loop."""

    def run(self, main: Callable[[Runtime], Awaitable[Any]]) -> Any:
        import asyncio

        self._asyncio = asyncio
        return asyncio.run(main(self))  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        await self._asyncio.sleep(seconds)

    def event(self) -> Any:
        return self._asyncio.Event()

    def start(self, work: Callable[[], Awaitable[object]]) -> Job:
        job = Job(self.event())
        task = self._asyncio.create_task(job.run(work))
        job.cancel = task.cancel
        job.task = task  # type: ignore[attr-defined]  # the loop itself holds tasks weakly
        return job

    async def within(self, seconds: float, wait: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with self._asyncio.timeout(seconds):
                await wait()
        except TimeoutError:
            return False
        return True

    def tasks(self) -> int:
        return len(self._asyncio.all_tasks())


class TrioRuntime(Runtime):
    """trio."""

    def run(self, main: Callable[[Runtime], Awaitable[Any]]) -> Any:
        import trio

        self._trio = trio
        return trio.run(self._run, main)

    async def _run(self, main: Callable[[Runtime], Awaitable[Any]]) -> Any:
        async with self._trio.open_nursery() as self._nursery:
            result = await main(self)
            self._nursery.cancel_scope.cancel()
        return result

    async def sleep(self, seconds: float) -> None:
        await self._trio.sleep(seconds)

    def event(self) -> Any:
        return self._trio.Event()

    def start(self, work: Callable[[], Awaitable[object]]) -> Job:
        job, scope = Job(self.event()), self._trio.CancelScope()
        job.cancel = scope.cancel

        async def run() -> None:
            with scope:
                await job.run(work)

        self._nursery.start_soon(run)
        return job

    async def within(self, seconds: float, wait: Callable[[], Awaitable[object]]) -> bool:
        with self._trio.move_on_after(seconds) as scope:
            await wait()
        return not scope.cancelled_caught

    def tasks(self) -> int:
        return int(self._trio.lowlevel.current_statistics().tasks_living)


RUNTIMES: dict[str, type[Runtime]] = {"asyncio": AsyncioRuntime, "trio": TrioRuntime}


class Connections:
    """Counts the sockets that this process connects, whatever library does it."""

    def __init__(self) -> None:
        self.opened = 0
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(args[1], tuple):
            self.opened += 1


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def prepare(contender: Contender, provider: str) -> dict[str, Any]:
    """Import the library and say what that took."""
    before, began = resident(), time.perf_counter()
    contender.load(provider)
    seconds = time.perf_counter() - began
    return {
        "import_seconds": seconds,
        "resident": resident(),
        "resident_before": before,
        "versions": {name: importlib.metadata.version(name) for name in contender.packages},
        "python": sys.version.split()[0],
    }


def serve(kind: type[Contender]) -> None:
    """Answer commands on standard input until it ends.  What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    contender, connections = kind(), Connections()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = _obey(contender, connections, command)
        except Exception as error:  # noqa: BLE001 -- told, and the next command may go better
            traceback.print_exc()
            cause = _innermost(error)
            answer = {"error": f"{type(cause).__name__}: {cause}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _obey(contender: Contender, connections: Connections, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "prepare":
        return prepare(contender, command["provider"])
    from . import scenarios

    scenario = scenarios.SCENARIOS[command["do"]]
    runtime = RUNTIMES[contender.runtime]()

    async def main(runtime: Runtime) -> Any:
        bench = scenarios.Bench(runtime, contender, connections, command)
        return await scenario(bench)

    return runtime.run(main)  # type: ignore[no-any-return]
