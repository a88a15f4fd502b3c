"""A websocket client that sees everything, for tests of what a server puts on the wire, and options in short."""

import json
from contextlib import suppress

import attrs
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from voicetrio.simulators import DeepgramOptions, Faults, read_tags


@attrs.frozen
class Refused(Exception):
    """The upgrade was answered by something else."""

    status: int
    headers: dict
    body: bytes


@attrs.frozen
class Closed:
    """A Close frame."""

    code: int
    reason: str


EOF = "the end of the stream"


class RawClient:
    """One connection.  `received` yields str, bytes, Closed and EOF; JSON objects as dicts."""

    def __init__(self, stream):
        self.stream = stream
        self.ws = WSConnection(ConnectionType.CLIENT)
        self._bare = Connection(ConnectionType.CLIENT)
        self.headers = {}
        self.subprotocol = None
        self.pings = 0
        self.pongs = []
        self.fragments = 0
        self.answer_close = True
        self._parts = []
        self._events = iter(())

    async def handshake(self, target="/v1/speak", *, headers=None, subprotocols=(), extensions=()):
        """Ask for the upgrade."""
        headers = {"Authorization": "Token key"} if headers is None else headers
        request = self.request(target, headers, subprotocols, extensions)
        await self.stream.send_all(self.ws.send(request))
        return await self.accepted()

    def request(self, target, headers, subprotocols=(), extensions=()):
        """The request for an upgrade."""
        return Request(
            host="simulator.test",
            target=target,
            extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            subprotocols=list(subprotocols),
            extensions=list(extensions),
        )

    async def accepted(self):
        """Wait for the answer to the request."""
        event = await self._next()
        if isinstance(event, AcceptConnection):
            self.headers = {name.decode(): value.decode() for name, value in event.extra_headers}
            self.subprotocol = event.subprotocol
            self.extensions = event.extensions
            return self
        assert isinstance(event, RejectConnection), event
        body = b""
        while isinstance(data := await self._next(), RejectData):
            body += data.data
            if data.body_finished:
                break
        raise Refused(event.status_code, {name.decode(): value.decode() for name, value in event.headers}, body)

    async def send(self, message):
        """Send text, bytes, or an object as JSON."""
        if isinstance(message, bytes):
            event = BytesMessage(data=message)
        else:
            event = TextMessage(data=message if isinstance(message, str) else json.dumps(message))
        await self.stream.send_all(self.ws.send(event))

    async def say(self, *texts):
        """Speak each text and flush once."""
        for text in texts:
            await self.send({"type": "Speak", "text": text})
        await self.send({"type": "Flush"})

    def close_frame(self, code=1000, reason=""):
        """The bytes of a Close frame."""
        return self.ws.send(CloseConnection(code=code, reason=reason))

    def frame(self, text, *, finished=True):
        """The bytes of a text frame, before or after the handshake."""
        return self._bare.send(TextMessage(data=text, message_finished=finished))

    async def ping(self, payload):
        """Send a Ping."""
        await self.stream.send_all(self._bare.send(Ping(payload=payload)))

    async def clear(self):
        """Take back what was said."""
        await self.send({"type": "Clear"})

    async def receive(self):
        """The next message, Close frame or end."""
        while True:
            event = await self._next()
            if event is EOF:
                return EOF
            if isinstance(event, Ping):
                self.pings += 1
                await self.stream.send_all(self.ws.send(event.response()))
            elif isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                if self.answer_close and self.ws.state.name == "REMOTE_CLOSING":
                    await self.stream.send_all(self.ws.send(event.response()))
                return Closed(int(event.code), event.reason or "")
            else:
                self._parts.append(event.data)
                self.fragments += event.frame_finished
                if event.message_finished:
                    whole, self._parts = type(event.data)().join(self._parts), []
                    return whole if isinstance(whole, str) else bytes(whole)

    async def until(self, kind):
        """What comes up to a message of this type, a Closed, or EOF, included.  JSON objects come as dicts."""
        seen = []
        while True:
            message = await self.receive()
            if isinstance(message, str) and message is not EOF:
                with suppress(ValueError):
                    message = json.loads(message)
            seen.append(message)
            if (
                message is EOF
                or (isinstance(message, dict) and message.get("type") == kind)
                or (kind is Closed and isinstance(message, Closed))
            ):
                return seen

    async def turn(self, *texts):
        """Say something; the audio up to Flushed."""
        await self.say(*texts)
        return audio(await self.until("Flushed"))

    async def _next(self):
        while True:
            event = next(self._events, None)
            if event is not None:
                return event
            try:
                data = await self.stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return EOF
            if not data:
                return EOF
            self.ws.receive_data(data)
            self._events = self.ws.events()


def audio(messages):
    """The audio among messages."""
    return b"".join(message for message in messages if isinstance(message, bytes))


def runs(pcm):
    """What the audio says about itself, as plain tuples."""
    return [tuple(run) for run in read_tags(pcm)]


FAST = {"first_audio": 0, "speed": float("inf"), "flush_limit": 0, "characters_limit": 0}
FAULTS = {field.name for field in attrs.fields(Faults)}


def options_from(fields):
    """Options of a Deepgram without delays and limits; faults are named among the others."""
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    others = {key: value for key, value in fields.items() if key not in FAULTS}
    return DeepgramOptions(faults=faults, **(FAST | others))
