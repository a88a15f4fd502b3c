"""Simulators in memory and clients for them."""

from contextlib import asynccontextmanager

import attrs
import pytest
from raw_client import RawClient

from voicetrio.simulators import DeepgramOptions, DeepgramSimulator, Faults

FAST = {"first_audio": 0, "speed": float("inf"), "flush_limit": 0, "characters_limit": 0}
FAULTS = {field.name for field in attrs.fields(Faults)}


def options_from(fields):
    """Options of a Deepgram without delays and limits; faults are named among the others."""
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    others = {key: value for key, value in fields.items() if key not in FAULTS}
    return DeepgramOptions(faults=faults, **(FAST | others))


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
