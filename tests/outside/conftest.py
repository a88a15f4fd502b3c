"""The original's classes against the simulated gateway, which is a process of its own.

This runs in an environment of its own (``make outside``), beside the one in which the simulator runs.
"""

import os
import sys
from contextlib import ExitStack

import pytest

os.environ["VIDEOSDK_AUTH_TOKEN"] = "token"

from gateway import Gateway, Gateways
from videosdk.agents import audio_format

LOOPBACK = ("127.0.0.1", "::1")


def _refuse_the_world(event, arguments):
    host = LOOPBACK[0]
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if host not in LOOPBACK:
        raise PermissionError(f"{host}: these tests stay on loopback")


sys.addaudithook(_refuse_the_world)


@pytest.fixture(autouse=True)
def forgotten_format():
    """What the original believes about the microphone is global to it."""
    audio_format.reset()
    yield
    audio_format.reset()


@pytest.fixture(scope="session")
def gateways(tmp_path_factory):
    """The process of the simulators."""
    with Gateways(tmp_path_factory.mktemp("gateways")) as gateways:
        yield gateways


@pytest.fixture
def simulate(gateways, tmp_path):
    """``simulate("frame_ms=20", …)``: a gateway with these options, until the test ends."""
    with ExitStack() as stack:

        def start(*options, replies=()):
            return stack.enter_context(Gateway(gateways, tmp_path / "gateway.jsonl", options, replies))

        yield start
