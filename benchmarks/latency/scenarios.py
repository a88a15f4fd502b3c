"""What is measured, the same for every contender: each scenario is one command of the contract.

A scenario runs in the contender's process.  It gives raw numbers (nanoseconds of one clock, bytes, samples) and leaves
statistics and the reading of tags to the process that asked.
"""

from __future__ import annotations

import ctypes
import gc
import random
import time
from array import array
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contract import (
    FRAME_BYTES,
    FRAME_MS,
    Connections,
    Contender,
    Flush,
    Heard,
    Job,
    Model,
    Runtime,
    Speaker,
    now,
    resident,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# Of a tagged sample: the parity of its position, and ten bits of the pair's; and of the second of a pair, the parity.
_PLACE, _ODD = 0x83FF, 0x8000

PATIENCE = 5.0
"""Seconds after which a turn that should have ended is said to hang."""


class Bench:
    """One command at work.

    Attributes:
        runtime: the loop it runs in.
        command: its arguments.
        connections: the count of sockets connected.
    """

    def __init__(
        self, runtime: Runtime, contender: Contender, connections: Connections, command: dict[str, Any]
    ) -> None:
        self.runtime = runtime
        self.contender = contender
        self.connections = connections
        self.command = command
        self.random = random.Random(command.get("seed", 0))

    def heard(self, *, keep: bool = True) -> Heard:
        """A fresh ear."""
        return Heard(self.runtime.event, keep=keep)

    def session(self, heard: Heard) -> Any:
        """A fresh session."""
        return self.contender.session(self.command["provider"], self.command["url"], heard)

    async def say(self, speaker: Speaker | Model, text: str) -> None:
        """Speak a text, or ask it."""
        await (speaker.ask(text) if isinstance(speaker, Model) else speaker.speak(text))

    def speak(self, speaker: Speaker | Model, text: str, heard: Heard) -> Job:
        """Begin a turn; its end wakes whoever waits for what it brings."""

        async def turn() -> None:
            try:
                await self.say(speaker, text)
            finally:
                heard.wake()

        return self.runtime.start(turn)

    async def finish(self, job: Job, seconds: float = PATIENCE) -> bool:
        """Wait for a turn's end; whether it came.  A turn that hangs is cancelled."""
        if await self.runtime.within(seconds, job.done.wait):
            return True
        job.cancel()
        await self.runtime.within(1.0, job.done.wait)
        return False

    async def closed(self, jobs: list[Job]) -> int:
        """Wait until sessions that were told to close have closed, which is not measured; how many hung."""
        gc.freeze()  # there are clients that collect all garbage for each session that closes: a minute, for 500
        try:
            return sum([not await self.finish(job) for job in jobs])
        finally:
            gc.unfreeze()

    async def sound_of(self, heard: Heard, samples: int) -> None:
        """Wait for the sound of a turn that is over: it may return before its consumer has taken anything."""
        await self.runtime.within(0.5, lambda: heard.until(samples))

    def begins_a_turn(self, data: Any) -> bool:
        """Whether it is text, or the first two samples of a segment are in it, by their tags."""
        if isinstance(data, str):
            return True
        samples = array("H", self.contender.decode(data))
        return any(one & _PLACE == 0 and two & _PLACE == _ODD for one, two in pairwise(samples))

    async def beginning_of(self, heard: Heard, began: int) -> int | None:
        """When the first of a turn's own samples came; None if it never did."""
        found: list[int] = []

        async def look() -> None:
            while not found:
                found.extend(time_ for time_, data in heard.since(began) if self.begins_a_turn(data))
                if not found:
                    await heard.until(heard.samples + 1)

        await self.runtime.within(0.5, look)
        return found[0] if found else None

    def sound(self) -> bytes:
        """What a recognizer is given."""
        return Path(self.command["sound"]).read_bytes()

    def export(self, heard: Heard) -> list[tuple[int, int]]:
        """Write the audio to the file that the command names; when which samples came."""
        with Path(self.command["pcm"]).open("ab") as file:
            for _time, _samples, data in heard.chunks:
                file.write(self.contender.decode(data))
        return [(time_, samples) for time_, samples, _data in heard.chunks]


async def cold(bench: Bench) -> dict[str, Any]:
    """Construct, connect, and hear the first sample; `turns` times, each in a session of its own."""
    took: list[int] = []
    for _ in range(bench.command["turns"]):
        heard, began = bench.heard(), now()
        async with bench.session(heard) as speaker:
            job = bench.speak(speaker, bench.command["text"], heard)
            await bench.finish(job)
            await bench.sound_of(heard, 1)
            if heard.chunks:
                took.append(heard.chunks[0][0] - began)
    return {"first_ns": took}


async def warm(bench: Bench) -> dict[str, Any]:
    """Turn after turn on one session: from the request to the first sample, and to the end of the call."""
    first: list[int] = []
    whole: list[int] = []
    failed: list[str] = []
    strays = 0
    enough = now() + int(bench.command["seconds"] * 1e9)
    opened = bench.connections.opened
    async with bench.session(heard := bench.heard()) as speaker:
        for turn in range(bench.command["drop"] + bench.command["turns"]):
            if turn == bench.command["drop"]:
                opened = bench.connections.opened
            if turn > bench.command["drop"] + 4 and now() > enough:
                break  # a contender that is slow at ending its turns has fewer of them
            began, own = now(), None
            job = bench.speak(speaker, bench.command["text"], heard)
            if not await bench.finish(job) or job.error:
                failed.append(job.error or "hangs")
            else:
                own = await bench.beginning_of(heard, began)
                came = heard.since(began)
                strays += turn >= bench.command["drop"] and bool(came) and came[0][0] != own
            assert job.ended is not None
            if turn >= bench.command["drop"]:
                whole.append(job.ended - began)
                first += [] if own is None else [own - began]
            heard.chunks.clear()
            await bench.runtime.sleep(bench.command.get("pause", 0.002))
    return {
        "first_ns": first,
        "whole_ns": whole,
        "failed": failed,
        "strays": strays,
        "connections": bench.connections.opened - opened,
    }


async def stream(bench: Bench) -> dict[str, Any]:
    """A text that comes sentence by sentence: when each was given, and all that was heard."""
    turns: list[dict[str, Any]] = []
    async with bench.session(heard := bench.heard()) as speaker:
        for number in range(bench.command["turns"]):
            given: list[int] = []
            label = bench.command["label"] + number

            async def pieces(given: list[int] = given, label: int = label) -> AsyncIterator[str | type[Flush]]:
                for place, sentence in enumerate(bench.command["sentences"]):
                    given.append(now())
                    yield f"{'abcdefgh'[place]}{label:05} {sentence}"
                    yield Flush
                    if place + 1 < len(bench.command["sentences"]):
                        await bench.runtime.sleep(bench.command["gap"])

            job = bench.runtime.start(lambda pieces=pieces: speaker.stream(pieces()))
            ended = await bench.finish(job)
            await bench.runtime.sleep(0.05)
            turns.append(
                {"label": label, "given_ns": given, "ended_ns": job.ended, "hung": not ended, "error": job.error}
            )
    return {"turns": turns, "chunks": bench.export(heard)}


async def interrupt(bench: Bench) -> dict[str, Any]:
    """Speak, interrupt in the midst of it, and speak again at once."""
    turns: list[dict[str, Any]] = []
    opened = bench.connections.opened
    async with bench.session(heard := bench.heard()) as speaker:
        connected = bench.connections.opened - opened
        for _ in range(bench.command["turns"]):
            turns.append(await _interrupt_once(bench, speaker, heard, len(turns), bench.random))
            await bench.runtime.sleep(0.02)
        await bench.runtime.sleep(bench.command.get("rest", 0.3))  # what is late may still come
    total = bench.connections.opened - opened
    return {"turns": turns, "chunks": bench.export(heard), "connected": connected, "connections": total}


async def _interrupt_once(
    bench: Bench, speaker: Speaker, heard: Heard, number: int, chance: random.Random
) -> dict[str, Any]:
    runtime, command = bench.runtime, bench.command
    patience = command.get("patience", PATIENCE)
    label = command["label"] + number  # tells the simulator's log which turn its audio is of
    goal, began = heard.samples + command["after"], now()
    job = bench.speak(speaker, f"a{label:05} {command['text']}", heard)
    await runtime.within(patience, lambda: heard.until(goal))
    reached = heard.samples >= goal
    await runtime.sleep(chance.uniform(0, command.get("wander", 0.03)))
    called = now()
    await speaker.interrupt()
    returned = now()
    free = await bench.finish(job, patience)
    asked, before = now(), heard.samples
    again = bench.speak(speaker, f"b{label:05} {command['next']}", heard)
    await runtime.within(patience, lambda: heard.until(before + 1))
    came = heard.samples > before
    ended = await bench.finish(again, patience)
    return {
        "label": label,
        "began_ns": began,
        "called_ns": called,
        "returned_ns": returned,
        "freed_ns": job.ended if free else None,
        "asked_ns": asked,
        "ended_ns": again.ended,
        "reached": reached,
        "hung": [not free, not came, not ended],
        "error": job.error or again.error,
    }


async def receive(bench: Bench) -> dict[str, Any]:
    """CPU of receiving: `sessions` at once speak one text each."""
    command = bench.command
    speakers = [_speak_and_count(bench) for _ in range(command["sessions"])]
    return await _measured(bench, speakers)


async def _measured(bench: Bench, speakers: list[Callable[[Any, Any, Any], Awaitable[int]]]) -> Any:
    party = _Party(bench, len(speakers))
    heard: list[int] = []

    async def one(work: Any, number: int) -> None:
        heard.append(await work(party.ready[number], party.go, lambda: party.leave(number)))

    jobs = [
        party.start(number, lambda work=work, number=number: one(work, number)) for number, work in enumerate(speakers)
    ]
    await party.gathered(bench.command["timeout"])
    usage = await party.measure(bench.command["timeout"])
    hung = await bench.closed(jobs)
    errors = [job.error for job in jobs if job.error]
    return {**usage, "samples": sum(heard), "hung": hung, "errors": errors[:3]}


class _Party:
    """Sessions that begin together and leave together, so that opening and closing are not measured.

    Attributes:
        ready: set by each session when it is connected.
        go: set when all may begin.
    """

    def __init__(self, bench: Bench, count: int) -> None:
        self.ready = [bench.runtime.event() for _ in range(count)]
        self.go = bench.runtime.event()
        self._done = [bench.runtime.event() for _ in range(count)]
        self._over = bench.runtime.event()
        self._runtime = bench.runtime

    def start(self, number: int, work: Callable[[], Awaitable[object]]) -> Job:
        """Start a session; one that fails holds nobody up."""

        async def run() -> None:
            try:
                await work()
            finally:
                self.ready[number].set()
                self._done[number].set()

        return self._runtime.start(run)

    async def gathered(self, seconds: float) -> None:
        """Wait until all are ready."""
        for event in self.ready:
            await self._runtime.within(seconds, event.wait)

    async def leave(self, number: int) -> None:
        """Called by a session that is done: wait for the others."""
        self._done[number].set()
        await self._over.wait()

    async def measure(self, seconds: float) -> dict[str, float]:
        """Let them begin, and measure until the last is done."""
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        self.go.set()
        for event in self._done:
            await self._runtime.within(max(0.0, wall + seconds - time.perf_counter()), event.wait)
        usage = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        self._over.set()
        return usage


def _speak_and_count(bench: Bench) -> Any:
    async def work(ready: Any, go: Any, leave: Any) -> int:
        heard = bench.heard(keep=False)
        async with bench.session(heard) as speaker:
            for _ in range(bench.command.get("warm", 1)):
                await bench.say(speaker, bench.command["first"])
            before = heard.samples
            ready.set()
            await go.wait()
            await bench.say(speaker, bench.command["text"])
            # Some return before their audio has come: the scenario waits for all of it, up to its timeout.
            await bench.runtime.within(bench.command["settle"], lambda: heard.until(before + bench.command["expected"]))
            await leave()
            return heard.samples - before

    return work


async def many(bench: Bench) -> dict[str, Any]:
    """`sessions` at once in one process, each at real-time pace, each interrupted `turns` times on the way."""
    command, runtime, opened = bench.command, bench.runtime, bench.connections.opened
    records: list[dict[str, Any]] = []
    party = _Party(bench, command["sessions"])
    enough = 0

    async def one(number: int) -> None:
        chance = random.Random(f"{command.get('seed', 0)}/{number}")
        heard = bench.heard()
        turns: list[dict[str, Any]] = []
        async with bench.session(heard) as speaker:
            party.ready[number].set()
            await party.go.wait()
            await runtime.sleep(chance.uniform(0, command["spread"]))
            for turn in range(command["turns"]):
                if turn and now() > enough:
                    break  # a contender whose turns hang has fewer of them
                place = number * command["turns"] + turn
                turns.append(await _interrupt_once(bench, speaker, heard, place, chance))
                await runtime.sleep(chance.uniform(0, 0.1))
            records.append({"turns": turns, "heard": heard})
            await party.leave(number)

    jobs = []
    for number in range(command["sessions"]):
        jobs.append(party.start(number, lambda number=number: one(number)))
        if number % 20 == 19:
            await party.ready[number - 19].wait()  # not all handshakes at once
    await party.gathered(2 * PATIENCE)
    if errors := [job.error for job in jobs if job.error]:
        return {"error": errors[0]}
    enough = now() + int(command["seconds"] * 1e9)
    usage = await party.measure(command["seconds"] + 6 * PATIENCE)
    await bench.closed(jobs)
    for record in records:
        record["chunks"] = bench.export(record.pop("heard"))
    return {
        "sessions": records,
        **usage,
        "connections": bench.connections.opened - opened,
        "errors": [job.error for job in jobs if job.error][:3],
    }


async def uplink(bench: Bench) -> dict[str, Any]:
    """`sessions` at once listen to the same sound, given frame by frame at real-time pace."""
    sound = bench.sound()
    frames = [sound[at : at + FRAME_BYTES] for at in range(0, len(sound), FRAME_BYTES)]
    usage = await _measured(bench, [_listen(bench, frames) for _ in range(bench.command["sessions"])])
    await bench.runtime.sleep(0.2)  # what is on its way arrives
    return {**usage, "seconds": bench.command["sessions"] * len(frames) * FRAME_MS / 1000}


def _listen(bench: Bench, frames: list[bytes]) -> Any:
    async def work(ready: Any, go: Any, leave: Any) -> int:
        heard = bench.heard(keep=False)
        offset = bench.random.uniform(0, FRAME_MS / 1000)  # callers do not speak in step
        async with bench.session(heard) as listener:
            for _ in range(bench.command["lead"]):  # some connect with their first frame
                await listener.give(bytes(FRAME_BYTES))
                await bench.runtime.sleep(FRAME_MS / 1000)
            ready.set()
            await go.wait()
            due = time.perf_counter() + offset
            for frame in frames:
                await bench.runtime.sleep(max(0.0, due - time.perf_counter()))
                await listener.give(frame)
                due += FRAME_MS / 1000
            await leave()
            await listener.end()
            return heard.samples

    return work


async def idle(bench: Bench) -> dict[str, Any]:
    """Bytes and tasks of a session that is connected and idle, and of one in the midst of a turn.

    Half of the sessions are opened beforehand, so that what is made once is there, and holes in the heap are filled.
    """
    runtime, command, count = bench.runtime, bench.command, bench.command["sessions"]
    go, over = runtime.event(), runtime.event()
    spoken: list[Heard] = []

    async def one(ready: Any) -> None:
        heard = bench.heard(keep=False)
        async with bench.session(heard) as speaker:
            await bench.say(speaker, command["first"])
            ready.set()
            before = heard.samples
            await go.wait()
            job = bench.speak(speaker, command["text"], heard)
            await bench.runtime.within(command["speak"], lambda: heard.until(before + command["after"]))
            if heard.samples > before:
                spoken.append(heard)
            await over.wait()
            job.cancel()
            await bench.finish(job, 1.0)

    jobs: list[Job] = []

    async def open_more() -> None:
        ready = [runtime.event() for _ in range(count)]
        jobs.extend(runtime.start(lambda event=event: one(event)) for event in ready)
        for event in ready:
            await runtime.within(PATIENCE, event.wait)

    await open_more()
    before = _footprint(bench)
    await open_more()
    connected = _footprint(bench)
    go.set()
    await runtime.sleep(command["speak"])
    speaking = _footprint(bench)
    over.set()
    await bench.closed(jobs)
    errors = [f"only {len(spoken)} of {2 * count} sessions spoke"] if len(spoken) < 2 * count else []
    bytes_, tasks = ((after - begin) / count for after, begin in zip(connected, before, strict=True))
    more_bytes, more_tasks = ((after - begin) / count / 2 for after, begin in zip(speaking, connected, strict=True))
    return {
        "idle": {"bytes": bytes_, "tasks": tasks},
        "speaking": {"bytes": bytes_ + more_bytes, "tasks": tasks + more_tasks},
        "errors": errors + [job.error for job in jobs if job.error][:3],
    }


def _footprint(bench: Bench) -> tuple[int, int]:
    """Bytes of memory and tasks; what was freed is given back first."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    return resident(), bench.runtime.tasks()


async def close(bench: Bench) -> dict[str, Any]:
    """Leave a session in the midst of a turn, with a server that does not answer any more."""
    took: list[int] = []
    left: list[int] = []
    errors: list[str] = []
    for _ in range(bench.command["turns"]):
        heard, before = bench.heard(), bench.runtime.tasks()
        times: list[int] = []

        async def one(heard: Heard = heard, times: list[int] = times) -> None:
            async with bench.session(heard) as speaker:
                job = bench.runtime.start(lambda: speaker.speak(bench.command["text"]))
                await bench.runtime.within(PATIENCE, lambda: heard.until(1))
                times.append(now())
            times.append(now())
            await bench.finish(job, 1.0)

        job = bench.runtime.start(one)
        ended = await bench.finish(job, bench.command["timeout"])
        if ended and len(times) == 2:
            took.append(times[1] - times[0])
        errors += [job.error] if job.error else []
        await bench.runtime.sleep(0.05)
        left.append(bench.runtime.tasks() - before)
    return {"closed_ns": took, "asked": bench.command["turns"], "tasks_left": left, "errors": errors}


SCENARIOS: dict[str, Callable[[Bench], Awaitable[dict[str, Any]]]] = {
    "cold": cold,
    "warm": warm,
    "stream": stream,
    "interrupt": interrupt,
    "receive": receive,
    "many": many,
    "uplink": uplink,
    "idle": idle,
    "close": close,
}
