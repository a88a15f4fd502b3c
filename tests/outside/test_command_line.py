"""The original against ``voicetrio simulate gateway``, as a user would try it."""

import signal
import subprocess

import pytest
from gateway import BIN, until
from tagged_audio import Track, runs
from videosdk.agents.inference import TTS


@pytest.fixture
def address():
    """What the command prints."""
    command = [BIN / "voicetrio", "simulate", "gateway", "-O", "speed=40"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert (process.wait(10), process.stderr.read()) == (0, "")


async def test_the_printed_address_is_a_base_url(address):
    tts = TTS.google(base_url=address)
    tts.audio_track = track = Track()
    tts.loop = track.loop
    await tts.synthesize("Good morning.")
    await until(lambda: len(track.pcm) >= 2 * 18_720)
    assert runs(track.pcm) == [(0, 0, 18_720)]
    await tts.aclose()
