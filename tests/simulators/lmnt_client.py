"""A client for LMNT's simulator that speaks all four dialects, and its options in short."""

import json
from contextlib import suppress

from raw_client import EOF, FAULTS, Closed, RawClient, audio

from voicetrio.simulators import Faults
from voicetrio.simulators.lmnt import LMNTOptions

PATH = "/v1/ai/speech/stream"
TEXT = "Hello from trio."  # 16 characters: 0.96 s, 23040 samples at 24 kHz, 24 frames of 40 ms

CHOOSE = {
    "1.0": {},
    "2": {"protocol_version": 2},
    "1.1": {"lmnt-version": "1.1"},
    "1.2": {"lmnt-version": "1.2"},
}
DIALECTS = list(CHOOSE)
ACKNOWLEDGING = DIALECTS[1:]
TYPED = DIALECTS[2:]

FAST = {"first_audio": 0, "speed": float("inf")}


def options_from(fields):
    """Options of an LMNT without delays; faults are named among the others."""
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    others = {key: value for key, value in fields.items() if key not in FAULTS}
    return LMNTOptions(faults=faults, **(FAST | others))


def init(dialect="1.2", **fields):
    """An init; a field that is `...` is left out."""
    message = {"X-API-Key": "key", "voice": "leah", "format": "pcm_s16le"} | CHOOSE[dialect]
    message |= {
        name.replace("X_API_Key", "X-API-Key").replace("lmnt_", "lmnt-"): value for name, value in fields.items()
    }
    return {name: value for name, value in message.items() if value is not ...}


class LMNTClient(RawClient):
    """One connection; what it says depends on `dialect`."""

    dialect = "1.2"
    nonce = 0

    async def handshake(self, target=PATH, *, headers=None, **how):
        """Ask for the upgrade, without a key."""
        return await super().handshake(target, headers=headers or {}, **how)

    async def begin(self, dialect="1.2", **fields):
        """Send the init, and wait for `ready` where there is one."""
        self.dialect = dialect
        await self.send(init(dialect, **fields))
        return (await self.until("ready"))[-1] if dialect in TYPED else None

    async def say(self, *texts):
        """Append to the text."""
        for text in texts:
            await self.send({"text": text} | ({"type": "text"} if self.dialect in TYPED else {}))

    async def flush(self):
        """Flush; the nonce."""
        return await self._command("flush")

    async def reset(self):
        """Reset; the nonce."""
        return await self._command("reset")

    async def finish(self):
        """End the text."""
        untyped = {"command": "eof"} if self.dialect == "2" else {"eof": True}
        await self.send({"type": "finish"} if self.dialect in TYPED else untyped)

    async def answer(self, to="flush"):
        """What comes up to the acknowledgement of a flush or a reset, or up to the end."""
        seen = []
        while True:
            seen.append(await self.message())
            if is_answer(seen[-1], to) or seen[-1] is EOF:
                return seen

    async def message(self):
        """The next message; JSON decoded."""
        message = await self.receive()
        if isinstance(message, str) and message is not EOF:
            with suppress(ValueError):
                return json.loads(message)
        return message

    async def turn(self, *texts):
        """Say something; what comes up to the acknowledgement."""
        await self.say(*texts)
        await self.flush()
        return await self.answer()

    async def refusal(self):
        """The error and the Close frame that should be all that comes."""
        seen = [await self.message(), await self.message()]
        assert await self.receive() is EOF
        return seen

    async def _command(self, name):
        self.nonce += 1
        if self.dialect == "1.0":
            await self.send({name: True})
        elif self.dialect == "2":
            await self.send({"command": name, "nonce": self.nonce})
        else:
            await self.send({"type": name, "nonce": self.nonce})
        return self.nonce


def is_answer(message, to):
    """Whether a message acknowledges a flush or a reset."""
    return isinstance(message, dict) and (message.get("type") == f"{to}_complete" or message.get("complete") == to)


def shown(messages):
    """Messages in short: runs of audio frames as their number, JSON by type, acknowledgements with their nonce."""
    found = []
    for message in messages:
        if isinstance(message, bytes):
            found[-1:] = [found[-1] + 1] if found and isinstance(found[-1], int) else [*found[-1:], 1]
        elif isinstance(message, dict):
            name = message.get("type") or message.get("complete") or next(iter(message))
            found.append((name.removesuffix("_complete"), message["nonce"]) if "nonce" in message else name)
        else:
            found.append(message)
    return found


__all__ = [
    "ACKNOWLEDGING",
    "DIALECTS",
    "EOF",
    "PATH",
    "TEXT",
    "TYPED",
    "Closed",
    "LMNTClient",
    "audio",
    "init",
    "is_answer",
    "options_from",
    "shown",
]
