"""Each fault of a connection, and a cancellation at each step: all samples come out once, in order."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from slices import every

from voicetrio.denoise import DenoiseSession
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    LinkClosed,
    PaymentRequired,
    ProviderError,
    RateLimited,
    UpgradeRejected,
)
from voicetrio.inference import Denoise
from voicetrio.simulators import Faults
from voicetrio.simulators.gateway_denoise import GatewayDenoiseOptions, GatewayDenoiseSimulator
from voicetrio.simulators.tagged import read_tags, tagged_pcm
from voicetrio.testing import SweepTarget, _resources, sweep, sweep_target

TOKEN = "a-token-nobody-may-see"
RATE = 16_000
FRAME = RATE // 50
RAW, MARKED = 0, 33  # what the simulator's mark makes of segment 0
LEAVING = 1.0
"""Seconds in which a block must be left, whatever the server does."""


class Talk:
    """A session, what it was given and what it gave back.

    Attributes:
        given: samples, cancelled calls and all.
        out: what came out.
    """

    def __init__(self, session: DenoiseSession, server: Any) -> None:
        self.session = session
        self.server = server
        self.given = 0
        self.out = b""

    async def give(self, samples: int = FRAME) -> None:
        """Give audio in its time."""
        await trio.sleep(samples / RATE)
        pcm = tagged_pcm(RAW, self.given, samples)
        self.given += samples  # even if the call is cancelled
        self.out += await self.session.denoise(pcm)

    async def finish(self) -> None:
        self.out += await self.session.finish()

    def runs(self) -> list[tuple[int, int]]:
        """Segment and length of what came out: all that was given, without a gap, a repetition or a step back."""
        runs, position = [], 0
        for run in read_tags(self.out):
            assert run.segment in (RAW, MARKED)
            assert run.start == position
            position += run.length
            runs.append((run.segment, run.length))
        assert position == self.given
        return runs


@asynccontextmanager
async def served(**options: Any) -> AsyncGenerator[Any, None]:
    simulator = GatewayDenoiseSimulator(GatewayDenoiseOptions(api_key=TOKEN, **options))
    async with simulator.serve_in_memory() as server:
        yield server


@asynccontextmanager
async def talking(server: Any, **options: Any) -> AsyncGenerator[Talk, None]:
    provider = Denoise.aicoustics(
        model_id="quail-l-16khz",
        sample_rate=RATE,
        token=TOKEN,
        fade=0.0,
        base_url=server.url.removesuffix("/v1/denoise"),
        **options,
    )
    streams = []

    async def dial(host: str, port: int) -> trio.abc.Stream:
        streams.append(await server.dial(host, port))
        return streams[-1]

    async with provider.open(dial=dial) as session:
        yield Talk(session, server)
        leaving = trio.current_time()
    assert trio.current_time() - leaving <= LEAVING, "the block was not left in time"
    for stream in streams:
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")


# ---- the fault matrix ------------------------------------------------------------------------------------------------


@attrs.frozen
class Row:
    """A line of the fault matrix.

    Attributes:
        faults: of the simulator.
        error: that ends the denoising; None if it goes on.
        always: whether the provider is of use though all connections have the fault.
        seconds: of audio.
    """

    faults: dict[str, Any]
    error: type[ProviderError] | None = None
    always: bool = False
    seconds: float = 2.5


def _closed(code: int, error: type[ProviderError] | None = None) -> Row:
    return Row({"close_after": 20, "close_code": code, "close_reason": "so"}, error, always=error is None)


MATRIX = {
    "no fault": Row({}, always=True),
    "refused": Row({"handshake": "refuse"}),
    "closed without a reply": Row({"handshake": "eof"}),
    "no websocket at all": Row({"handshake": "garbage"}),
    "silent handshake": Row({"handshake": "silent"}),
    "slow handshake": Row({"handshake": "slow", "handshake_delay": 0.4}, always=True),
    "302": Row({"refuse_status": 302}, UpgradeRejected),
    "400": Row({"refuse_status": 400}, BadRequest),
    "401": Row({"refuse_status": 401}, AuthenticationError),
    "402": Row({"refuse_status": 402}, PaymentRequired),
    "403": Row({"refuse_status": 403}, AuthenticationError),
    "404": Row({"refuse_status": 404}, BadRequest),
    "429": Row({"refuse_status": 429}),
    "429, later": Row({"refuse_status": 429, "retry_after": 1.0}),
    "503": Row({"refuse_status": 503}),
    "accepts and is silent": Row({"accept_silent": True}),
    "stalls": Row({"stall_after": 20}, always=True),
    "half open": Row({"half_open_after": 20}, always=True),
    "close 1000": _closed(1000),
    "close 1011": _closed(1011),
    "close 1008": _closed(1008, LinkClosed),
    "close 1009": _closed(1009, LinkClosed),
    "dropped": Row({"drop_after_messages": 20}, always=True),
    "dropped within a message": Row({"drop_after_bytes": 20_001}, always=True),
    "never answers Close": Row({"never_close": True}, always=True),
    "byte by byte": Row({"one_byte_writes": True}, always=True, seconds=0.4),
    "fragments": Row({"fragment": 20}, always=True),
    "a message of 1 MiB": Row({"big_message": True}, always=True),
    "unknown message": Row({"unknown_message": 3}, always=True),
    "non-JSON": Row({"non_json": 3}, always=True),
    "wrong shape": Row({"wrong_shape": 20}, always=True),
    "error frame": Row({"error_frame": 20}, always=True),
}


async def _denoise(it: Talk, seconds: float) -> ProviderError | None:
    """Speech in its time; the error that ended it."""
    error = None
    for _ in range(round(seconds * RATE / FRAME)):
        given = it.given
        try:
            await it.give()
        except ProviderError as caught:
            error, it.given = caught, given  # what a call that fails was given was not taken
            break
    await it.finish()
    return error


@pytest.mark.parametrize("name", MATRIX)
async def test_a_fault_of_the_first_connection(name: str, autojump_clock: object) -> None:
    """What is due meanwhile comes out as it was, and from then on it is denoised again."""
    row = MATRIX[name]
    async with (
        served(faults=Faults(**row.faults, connections=1)) as server,
        talking(server, connect_timeout=0.5, response_timeout=0.5) as it,
    ):
        error = await _denoise(it, row.seconds)
        runs = it.runs()
    assert isinstance(error, row.error or type(None)), repr(error)
    if row.error is None:
        assert runs[-1][0] == MARKED, "it was not connected again"


@pytest.mark.parametrize("name", MATRIX)
async def test_a_fault_of_all_connections(name: str, autojump_clock: object) -> None:
    """The audio goes on all the same, and the provider is not stormed."""
    row = MATRIX[name]
    async with (
        served(faults=Faults(**row.faults)) as server,
        talking(server, connect_timeout=0.5, response_timeout=0.5) as it,
    ):
        error = await _denoise(it, row.seconds)
        runs = it.runs()
        assert server.connections < 30
    assert isinstance(error, row.error or type(None)), repr(error)
    if row.error is None:
        assert any(segment == MARKED for segment, _ in runs) == row.always


async def test_who_waits_for_the_connection_is_told_why_there_is_none(autojump_clock: object) -> None:
    async with served(faults=Faults(refuse_status=429, retry_after=7.0)) as server, talking(server) as it:
        with pytest.raises(RateLimited) as caught:
            await it.session.prewarm()
    assert (caught.value.status, caught.value.retry_after, caught.value.provider) == (429, 7.0, "videosdk")


# ---- the checkpoint sweeps -------------------------------------------------------------------------------------------


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no descriptors to watch, and looking for them would be half of the work."""
    monkeypatch.setattr(_resources, "open_fds", set)


async def connected(it: Talk) -> None:
    await it.session.prewarm()
    for _ in range(3):
        await it.give()


async def not_yet_connected(it: Talk) -> None:
    for samples in (FRAME, 1, 3 * FRAME):
        await it.give(samples)


async def finished(it: Talk) -> None:
    await it.session.prewarm()
    await it.give(5 * FRAME)
    await it.finish()


async def connection_lost(it: Talk) -> None:
    await it.session.prewarm()
    await it.give()
    it.server.options = attrs.evolve(it.server.options, faults=Faults(drop_after_messages=0))
    await it.give()
    it.server.options = attrs.evolve(it.server.options, faults=Faults())
    await it.give(10 * FRAME)


Part = Callable[[Talk], Awaitable[None]]


@pytest.mark.parametrize("part", [connected, not_yet_connected, finished, connection_lost])
async def test_a_part_cut_at_any_step_loses_no_sample(
    part: Part, seed: int, in_memory: None, autojump_clock: object
) -> None:
    cut = 0
    async with served(latency=0.03) as server:

        async def scenario(target: SweepTarget) -> None:
            nonlocal cut
            server.options = attrs.evolve(server.options, faults=Faults())
            async with talking(server) as it:
                with target.scope() as scope:
                    await part(it)
                cut += scope.cancelled_caught
                if part is not finished:
                    await it.give()
                await it.finish()
                it.runs()

        report = await sweep_target(scenario, steps=every(7, seed))
        report.raise_if_problems()
    assert cut


@pytest.mark.parametrize("part", [connected, not_yet_connected, finished, connection_lost])
async def test_a_session_cancelled_at_any_step_leaves_nothing_behind(
    part: Part, seed: int, in_memory: None, autojump_clock: object
) -> None:
    async with served(latency=0.03) as server:

        async def scenario() -> None:
            server.options = attrs.evolve(server.options, faults=Faults())
            async with talking(server) as it:
                await part(it)

        async def check() -> None:
            await trio.sleep(1)
            assert server.open_connections == 0

        report = await sweep(scenario, check=check, steps=every(7, seed))
        report.raise_if_problems()
    assert report.steps > 1
