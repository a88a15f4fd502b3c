"""A client for the simulated speech of the gateway, and its options in short."""

import base64
import json
from contextlib import asynccontextmanager, suppress

from raw_client import EOF, FAULTS, Closed, RawClient

from voicetrio.simulators import Faults, GatewayOptions, GatewaySimulator

TARGET = "/v1/tts?provider=google&secret=key&modelId=Chirp3-HD&voiceId=Achernar"
TEXT = "Hello from trio."  # 16 characters: 0.96 s, 23040 samples at 24 kHz, 24 frames of 40 ms
GOOGLE = {
    "voice_name": "en-US-Chirp3-HD-Achernar",
    "language_code": "en-US",
    "speed": 1.0,
    "pitch": 0.0,
    "sample_rate": 24000,
    "model_id": "Chirp3-HD",
}
FAST = {"first_audio": 0, "speed": float("inf")}


def options_from(fields):
    """Options of a gateway without delays; faults are named among the others."""
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    others = {key: value for key, value in fields.items() if key not in FAULTS}
    return GatewayOptions(faults=faults, **(FAST | others))


@asynccontextmanager
async def serving(voice=None, **fields):
    """`async with serving(frame_ms=20, stall_after=3) as server`."""
    async with GatewaySimulator(options_from(fields), voice=voice).serve_in_memory() as server:
        yield server


class GatewayTTSClient(RawClient):
    """One connection."""

    async def handshake(self, target=TARGET, *, headers=None, **how):
        """Ask for the upgrade."""
        return await super().handshake(target, headers=headers or {}, **how)

    async def configure(self, config=GOOGLE):
        """Send the configuration."""
        await self.send({"type": "config", "data": config})

    async def say(self, *texts):
        """Speak each text with a flush of its own."""
        for text in texts:
            await self.send({"type": "text", "data": text})
            await self.send({"type": "flush"})

    async def message(self):
        """The next message; JSON decoded, but audio, which comes as bytes."""
        message = await self.receive()
        if isinstance(message, str) and message is not EOF:
            with suppress(ValueError):
                message = json.loads(message)
        if isinstance(message, dict) and message.get("type") == "audio":
            return base64.b64decode(message["data"]["audio"], validate=True)
        return message

    async def completed(self, times=1):
        """What comes up to so many completions, or to the end."""
        seen = []
        while times and (not seen or not (isinstance(seen[-1], Closed) or seen[-1] is EOF)):
            seen.append(await self.message())
            times -= is_completion(seen[-1])
        return seen


def is_completion(message):
    """Whether a message tells that something was spoken."""
    return isinstance(message, dict) and message.get("data") == {"eventType": "TTS_COMPLETE"}


def shown(messages):
    """Messages in short: runs of audio as their number, completions as an asterisk, errors as their words."""
    found = []
    for message in messages:
        if isinstance(message, bytes):
            found[-1:] = [found[-1] + 1] if found and isinstance(found[-1], int) else [*found[-1:], 1]
        elif is_completion(message):
            found.append("*")
        elif isinstance(message, dict) and message.get("type") == "error":
            found.append(message["data"]["error"])
        else:
            found.append(message)
    return found


async def connect(server, target=TARGET, config=GOOGLE):
    """A client after the handshake, and after its configuration if there is one."""
    client = await GatewayTTSClient(await server.dial("simulator.test", 80)).handshake(target)
    if config is not None:
        await client.configure(config)
    return client
