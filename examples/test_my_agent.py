"""How an agent that speaks is tested: against a simulated Deepgram, to the sample, cancelled at every moment.

Run it with ``pytest -o trio_mode=true``; the fixtures come with voicetrio.  docs/testing.md explains them.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio_websocket

from voicetrio import AudioFrame, DeepgramTTS, TTSSession, open_audio_sink
from voicetrio.simulators import DeepgramOptions, Run, Server, read_tags
from voicetrio.testing import SweepTarget, check_tagged, no_leaks, sweep_target

Deepgram = Server[DeepgramOptions]


class Agent:
    """Stands for yours."""

    def __init__(self, tts: TTSSession) -> None:
        self.tts = tts

    async def greet(self) -> None:
        """Begin."""
        await self.tts.synthesize("Hello!")

    async def answer(self) -> None:
        """Go on."""
        await self.tts.synthesize("So so.")


@asynccontextmanager
async def open_agent(server: Deepgram, heard: list[AudioFrame]) -> AsyncIterator[Agent]:
    """An agent that speaks to a simulator, and a listener that notes every frame."""

    async def listen() -> None:
        async for frame in source:
            heard.append(frame)  # noqa: PERF401 - each as it comes

    sink, source = open_audio_sink(sample_rate=24_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        try:
            async with DeepgramTTS(api_key="any", base_url=server.url).open(sink, dial=server.dial) as tts:
                yield Agent(tts)
        finally:
            sink.close()


async def test_on_a_real_socket(
    deepgram_simulator: Deepgram,
    voicetrio_no_leaks: None,  # noqa: ARG001
) -> None:
    """With the real clock, so with a deadline.  A task, socket or thread left behind fails the test."""
    heard: list[AudioFrame] = []
    with trio.fail_after(10):
        async with open_agent(deepgram_simulator, heard) as agent:
            await agent.greet()

    assert [segment.text for segment in deepgram_simulator.segments] == ["Hello!"]


async def test_every_sample_is_heard_once(
    deepgram_simulator_in_memory: Deepgram,
    autojump_clock: trio.abc.Clock,  # noqa: ARG001
) -> None:
    """In memory, the clock jumps from one event to the next: a dialogue of minutes takes milliseconds."""
    heard: list[AudioFrame] = []
    async with open_agent(deepgram_simulator_in_memory, heard) as agent:
        await agent.greet()
        await agent.answer()

    greeting, answer = deepgram_simulator_in_memory.segments
    check_tagged(heard, {1: [greeting], 2: [answer]}).raise_if_problems()


async def test_it_may_be_interrupted_at_any_moment(
    deepgram_simulator_in_memory: Deepgram,
    autojump_clock: trio.abc.Clock,  # noqa: ARG001
) -> None:
    """Wherever the greeting is cut off, nothing of it is heard later, and the answer is heard in full."""
    server = deepgram_simulator_in_memory
    server.options = attrs.evolve(server.options, ms_per_char=10, flush_limit=0, characters_limit=0)

    async def scenario(target: SweepTarget) -> None:
        heard: list[AudioFrame] = []
        already = len(server.segments)
        async with open_agent(server, heard) as agent:
            with target.scope():
                await agent.greet()
            await agent.answer()

        *greeting, answer = server.segments[already:]  # no greeting, if it was cut before it was asked for
        spoken = heard[-1].turn
        interrupted = [spoken - 1] if target.struck else []
        check_tagged(heard, {spoken - 1: greeting, spoken: [answer]}, interrupted=interrupted).raise_if_problems()

    report = await sweep_target(scenario)
    report.raise_if_problems()


async def test_a_fault_of_the_provider(
    deepgram_simulator_in_memory: Deepgram,
    autojump_clock: trio.abc.Clock,  # noqa: ARG001
) -> None:
    """Faults and quirks are options, which may change while the simulator runs."""
    server = deepgram_simulator_in_memory
    server.options = attrs.evolve(server.options, late_frames=3, clear_delay=1.0)
    heard: list[AudioFrame] = []

    async with no_leaks(), open_agent(server, heard) as agent:
        with trio.move_on_after(0.3):
            await agent.greet()
        await agent.answer()

    greeting, answer = server.segments
    check_tagged(heard, {1: [greeting], 2: [answer]}, interrupted=[1]).raise_if_problems()


async def test_any_client_can_use_the_simulator(deepgram_simulator: Deepgram) -> None:
    """It is a server that speaks Deepgram's protocol, whoever asks."""
    pcm = b""
    with trio.fail_after(10):
        async with trio_websocket.open_websocket_url(
            f"{deepgram_simulator.url}?encoding=linear16&sample_rate=16000",
            extra_headers=[(b"Authorization", b"Token any")],
        ) as websocket:
            await websocket.send_message(json.dumps({"type": "Speak", "text": "Hello!"}))
            await websocket.send_message(json.dumps({"type": "Flush"}))
            notice: dict[str, Any] = {}
            while notice.get("type") != "Flushed":
                message = await websocket.get_message()
                if isinstance(message, bytes):
                    pcm += message
                else:
                    notice = json.loads(message)

    (segment,) = deepgram_simulator.segments
    assert read_tags(pcm) == [Run(segment.number, 0, segment.samples)]
