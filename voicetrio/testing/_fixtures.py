"""The fixtures of voicetrio, for pytest-trio.  What they give is imported when a test asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from voicetrio.simulators import DeepgramOptions, Server

    from .sweeps import SweepReport


def _trio_fixture(function: Callable[..., Any]) -> Any:
    # What pytest_trio.trio_fixture does, so that the fixture works outside trio_mode too, without importing trio.
    function._force_trio_fixture = True  # type: ignore[attr-defined]
    return pytest.fixture(function)


@_trio_fixture
async def voicetrio_no_leaks() -> AsyncGenerator[None, None]:
    """Fail the test if it leaves tasks, descriptors, threads, processes or suspended async generators behind."""
    from .leaks import no_leaks

    async with no_leaks():
        yield  # noqa: ASYNC119 - pytest-trio finishes what it has begun


@_trio_fixture
async def deepgram_simulator() -> AsyncGenerator[Server[DeepgramOptions], None]:
    """A simulated Deepgram on a loopback socket, for tests with the real clock."""
    from voicetrio.simulators import DeepgramSimulator

    async with DeepgramSimulator().serve() as server:
        yield server  # noqa: ASYNC119 - as above


@_trio_fixture
async def deepgram_simulator_in_memory() -> AsyncGenerator[Server[DeepgramOptions], None]:
    """A simulated Deepgram over streams in memory, which its ``dial`` gives; for tests with ``autojump_clock``."""
    from voicetrio.simulators import DeepgramSimulator

    async with DeepgramSimulator().serve_in_memory() as server:
        yield server  # noqa: ASYNC119 - as above


@pytest.fixture
def voicetrio_sweep() -> Callable[..., Awaitable[SweepReport]]:
    """:func:`voicetrio.testing.sweep`, failing the test on the first sweep with problems."""
    from .sweeps import sweep

    async def sweep_or_fail(*args: Any, **kwargs: Any) -> SweepReport:
        report = await sweep(*args, **kwargs)
        report.raise_if_problems()
        return report

    return sweep_or_fail
