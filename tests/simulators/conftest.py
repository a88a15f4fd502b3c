"""Simulators in memory and clients for them."""

from contextlib import asynccontextmanager

import pytest
from raw_client import RawClient, options_from

from voicetrio.simulators import DeepgramSimulator


@pytest.fixture
def simulate():
    """`async with simulate(frame_ms=20, stall_after=3) as server`."""

    @asynccontextmanager
    async def simulate(voice=None, **fields):
        async with DeepgramSimulator(options_from(fields), voice=voice).serve_in_memory() as server:
            yield server

    return simulate


@pytest.fixture
def connect():
    """`await connect(server)`: a client after the handshake."""

    async def connect(server, target="/v1/speak", **how):
        return await RawClient(await server.dial("simulator.test", 80)).handshake(target, **how)

    return connect
