"""Smallest's simulator in memory, a websocket client and an HTTP client for it."""

import base64
import json
from contextlib import asynccontextmanager, suppress

import attrs
import h11
import trio
from raw_client import EOF, Closed, RawClient

from voicetrio.simulators import Faults
from voicetrio.simulators.smallest import SmallestOptions, SmallestSimulator

LIVE = "/waves/v1/tts/live"
SYNC = "/waves/v1/tts"
KEY = {"Authorization": "Bearer key"}
TEXT = "Hello from trio."  # 16 characters: 0.96 s, 23040 samples at 24 kHz, 24 frames of 40 ms
SAMPLES = 23040
FAST = {"first_audio": 0, "speed": float("inf")}
FAULTS = {field.name for field in attrs.fields(Faults)}
SETTINGS = {"voice_id": "magnus", "sample_rate": 24000}


def options_from(fields):
    """Options without delays; faults are named among the others."""
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    others = {key: value for key, value in fields.items() if key not in FAULTS}
    return SmallestOptions(faults=faults, **(FAST | others))


@asynccontextmanager
async def simulated(speaking=None, **fields):
    """A simulator in memory: ``async with simulated(frame_ms=20, stall_after=3) as server``."""
    async with SmallestSimulator(options_from(fields), voice=speaking).serve_in_memory() as server:
        yield server


def reconfigure(server, **fields):
    """Other options for a server that runs."""
    server.options = options_from(fields)


async def connect(server, target=LIVE, headers=None, **how):
    """A websocket client after the handshake."""
    stream = await server.dial("simulator.test", 80)
    return await Client(stream).handshake(target, headers=KEY if headers is None else headers, **how)


def request(text=TEXT, **fields):
    """A full message that asks for speech, completed at once."""
    return SETTINGS | {"text": text, "complete_backoff_ms": 0} | fields


def fragment(text, context="c", **fields):
    """A message of a context that goes on."""
    return request(text, context_id=context, **{"continue": True} | fields)


class Client(RawClient):
    """A websocket client; JSON comes as dicts, with the audio of chunks decoded under "pcm"."""

    async def ask(self, text=TEXT, **fields):
        """Ask for speech."""
        await self.send(request(text, **fields))

    async def next(self):
        """The next message, Closed or EOF."""
        message = await self.receive()
        if isinstance(message, str) and message is not EOF:
            with suppress(ValueError):
                message = json.loads(message)
        if isinstance(message, dict) and message.get("status") == "chunk":
            message["pcm"] = base64.b64decode(message["data"]["audio"], validate=True)
        return message

    async def until(self, status):
        """What comes up to a message of this status, a Closed, or EOF, included."""
        seen = []
        while True:
            message = await self.next()
            seen.append(message)
            if message is EOF or isinstance(message, Closed) or status_of(message) == status:
                return seen

    async def turn(self, text=TEXT, **fields):
        """Ask for speech; the audio up to `complete`."""
        await self.ask(text, **fields)
        return audio(await self.until("complete"))

    async def hear(self, seconds):
        """What comes within this time."""
        seen = []
        with trio.move_on_after(seconds):
            while True:
                seen.append(await self.next())
                if seen[-1] is EOF:
                    break
        return seen


def status_of(message):
    return message.get("status") if isinstance(message, dict) else None


def audio(messages, request_id=None):
    """The audio among messages, of one of the client's requests if it is named."""
    return b"".join(
        message["pcm"]
        for message in messages
        if status_of(message) == "chunk" and request_id in (None, message.get("external_request_id"))
    )


def statuses(messages):
    """Statuses of messages, and runs of chunks as their number."""
    found = []
    for message in messages:
        if status_of(message) == "chunk":
            found[-1:] = [found[-1] + 1] if found and isinstance(found[-1], int) else [*found[-1:], 1]
        else:
            found.append(status_of(message) or message)
    return found


def noted(server, event):
    """The data of all records of an event."""
    return [record["data"] for record in server.log if record["event"] == event]


@attrs.define
class Answer:
    """What came for an HTTP request.

    `ended` tells whether the body came to its proper end.
    """

    status: int
    headers: dict
    body: bytes = b""
    pieces: list = attrs.Factory(list)
    ended: bool = False

    @property
    def json(self):
        return json.loads(self.body)

    def events(self):
        """The server-sent events: pairs of type and data."""
        text = self.body.decode().replace("\r\n", "\n")
        found = []
        for block in text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            found.append((fields.get("event"), fields["data"]))
        return found

    def event_audio(self):
        """The audio of all events."""
        data = [json.loads(data) for _, data in self.events()]
        return b"".join(base64.b64decode(each["audio"]) for each in data if "audio" in each)


class HttpClient:
    """One HTTP connection."""

    def __init__(self, stream):
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def begin(self, target=SYNC, message=None, *, headers=None, method="POST", body=None):
        """Send a request."""
        body = json.dumps(request() if message is None else message).encode() if body is None else body
        headers = {"Host": "simulator.test", "Content-Length": str(len(body))} | (KEY if headers is None else headers)
        data = self.http.send(h11.Request(method=method, target=target, headers=list(headers.items())))
        data += self.http.send(h11.Data(data=body)) + self.http.send(h11.EndOfMessage())
        await self.stream.send_all(data)

    async def event(self):
        """The next event of h11; ConnectionClosed at the end of the stream."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.stream.receive_some())
        return event

    async def answer(self):
        """The answer, or as much of it as came before TCP was closed."""
        head = await self.event()
        answer = Answer(head.status_code, {name.decode(): value.decode() for name, value in head.headers})
        with suppress(h11.RemoteProtocolError):
            while True:
                event = await self.event()
                if isinstance(event, h11.EndOfMessage):
                    answer.ended = True
                    break
                answer.body += event.data
                answer.pieces.append(bytes(event.data))
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        return answer

    async def post(self, target=SYNC, message=None, **how):
        """Send a request and wait for the answer."""
        await self.begin(target, message, **how)
        return await self.answer()


async def http(server):
    """An HTTP client."""
    return HttpClient(await server.dial("simulator.test", 80))
