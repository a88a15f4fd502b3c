"""Simulated gateways, which run in a process of the project's own environment."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
BIN = Path(os.environ.get("VOICETRIO_BIN", HERE.parent.parent / ".venv" / "bin"))


class Gateways:
    """The process that serves them, while its block runs.

    Args:
        folder: for what it says on standard error.
    """

    def __init__(self, folder):
        self._errors = folder / "errors"

    def __enter__(self):
        command = [BIN / "python", HERE / "serve_gateways.py"]
        pipe = subprocess.PIPE
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
        return self

    def __exit__(self, *_):
        with self._process.stdout, self._process.stdin:
            pass
        assert (self._process.wait(10), self._errors.read_text()) == (0, "")

    def tell(self, **command):
        """Give a command; its answer is a URL."""
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        url = self._process.stdout.readline().strip()
        assert url, self._errors.read_text()
        return url


class Gateway:
    """One of them, while its block runs.

    Args:
        gateways: the process.
        log: where it writes its log.
        options: ``key=value`` each, as ``voicetrio simulate gateway --list-options`` lists them.
        replies: what its language model answers, as arguments of ``ChatReply``; then it says what it was told.

    Attributes:
        url: for a client's ``base_url``.
    """

    def __init__(self, gateways, log, options, replies):
        self._gateways = gateways
        self._log = log
        self._command = {"log": str(log), "options": options, "replies": replies}

    def __enter__(self):
        self.url = self._gateways.tell(**self._command)
        return self

    def __exit__(self, *_):
        self._gateways.tell(stop=self.url)

    @property
    def http_url(self):
        return self.url.replace("ws://", "http://")

    def log(self, event, connection=None):
        """The data of its records of an event so far."""
        lines = self._log.read_text().splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        return [
            record["data"]
            for record in records
            if record["event"] == event and connection in (None, record["connection"])
        ]

    def commands(self, kind):
        """The client's messages of a type, decoded, where the log has them verbatim."""
        received = [json.loads(data["message"]) for data in self.log("received")]
        return [message for message in received if message["type"] == kind]

    @property
    def segments(self):
        """What was asked for: ``(number, text, samples)`` each."""
        return [(data["number"], data["text"], data["samples"]) for data in self.log("segment")]

    @property
    def connections(self):
        return len(self.log("opened"))


async def until(condition, seconds=10):
    """Wait for something that another process does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # nothing in this process tells
            await asyncio.sleep(0.01)


async def settled(value, seconds=0.25):
    """Wait until a value has stayed the same for so long: where the original tells no end, nothing else does."""
    loop = asyncio.get_running_loop()
    latest, since = value(), loop.time()
    while loop.time() - since < seconds:
        await asyncio.sleep(0.01)
        if (now := value()) != latest:
            latest, since = now, loop.time()
    return latest
