"""Nothing that the original does can reach the network."""

import socket

import pytest
from videosdk.agents.inference import TTS


@pytest.mark.parametrize("host", ["192.0.2.1", "example.invalid"])
def test_a_connection_beyond_loopback_is_refused(host):
    with pytest.raises(PermissionError, match="stay on loopback"):
        socket.create_connection((host, 9))


async def test_the_originals_own_gateway_is_out_of_reach():
    tts = TTS.google()
    with pytest.raises(OSError, match="Cannot connect to host inference-gateway") as raised:
        await tts._ensure_connection()
    assert "stay on loopback" in str(raised.value.os_error)
    await tts.aclose()
