"""Parrot, the provider of docs/adding-a-provider.md, simulated on the parts of voicetrio.simulators."""

from __future__ import annotations

from typing import ClassVar

import attrs
import msgspec
import trio

from voicetrio.simulators import Closing
from voicetrio.simulators._speaker import Speaker, SpeechOptions, SpeechSimulator


@attrs.frozen(kw_only=True)
class ParrotOptions(SpeechOptions):
    """How it behaves, besides what all voices have.

    Attributes:
        late_frames: frames that are still sent after a ``stop``.
        stop_never: whether a ``stop`` is not answered.
    """

    late_frames: int = 0
    stop_never: bool = False


class ParrotSimulator(SpeechSimulator):
    """A server that speaks Parrot's protocol."""

    path: ClassVar[str] = "/v1/speak"

    def __init__(self, options=None, *, voice=None):
        super().__init__(ParrotOptions() if options is None else options, voice)

    async def handle(self, connection):
        """Check the upgrade and the key, then speak."""
        request, key = connection.request, connection.options.api_key
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if not request.path.endswith(self.path) or not request.upgrade:
            await connection.refuse(404)
        elif scheme != "Bearer" or given != (key or given):
            await connection.refuse(401, body=b'{"error":"wrong key"}')
        else:
            peer = await connection.accept(headers=[("x-request-id", f"parrot-{connection.number}")])
            await _Session(connection, peer, self.voice).run()

    def inserts(self, options):
        """The messages that faults insert."""
        error = {"type": "error", "code": "unavailable", "message": "the parrot sleeps", "fatal": True}
        return {**super().inserts(options), "error_frame": msgspec.json.encode(error).decode()}


@attrs.frozen
class _Stop:
    """Acknowledge a stop."""


@attrs.frozen
class _Flush:
    """Speak a segment, and say so; not if there was a stop since."""

    generation: int
    segment: object


class _Session:
    """A reader keeps what the client says; a worker speaks and acknowledges, in order."""

    def __init__(self, connection, peer, voice):
        self._connection = connection
        self._peer = peer
        query = dict(connection.request.query)
        self._speaker = Speaker(connection, int(query["sample_rate"]), voice)
        self._jobs_in, self._jobs_out = trio.open_memory_channel(1000)
        self._buffer = ""
        self._generation = 0
        self._stopped = trio.Event()
        self._stale = None

    async def run(self):
        with self._jobs_in, self._jobs_out:
            await self._peer.run(self._read, self._work)

    async def _read(self):
        while True:
            message = await self._peer.receive()
            self._connection.log("received", message=message)
            asked = msgspec.json.decode(message)
            match asked["type"]:
                case "text" if len(asked["text"]) > 1000:
                    raise Closing(4029, "too much text")
                case "text" if "\N{SKULL}" in asked["text"]:
                    await self._say(type="error", code="bad_request", message="not in front of the parrot")
                case "text":
                    self._buffer += asked["text"]
                case "flush":
                    segment = self._speaker.begin(self._buffer)
                    self._buffer = ""
                    await self._jobs_in.send(_Flush(self._generation, segment))
                case "stop":
                    self._buffer = ""
                    self._generation += 1
                    self._stopped.set()
                    await self._jobs_in.send(_Stop())
                case "bye":
                    raise Closing(1000)

    async def _work(self):
        while True:
            job = await self._jobs_out.receive()
            await (self._on_stop() if isinstance(job, _Stop) else self._on_flush(job))

    async def _on_flush(self, job):
        due = trio.current_time() + self._connection.options.first_audio
        rest = await self._speaker.record(job.segment)
        if job.generation == self._generation:
            self._stopped = trio.Event()
            await self._say(type="words", words=[word._asdict() for word in rest.words])
        while not rest.over:
            with trio.move_on_at(due):
                await self._stopped.wait()
            if job.generation != self._generation:
                job.segment.cleared = True
                self._stale = rest
                return
            due += self._speaker.seconds(await self._send_frame(rest))
        await self._say(type="flushed")

    async def _on_stop(self):
        options, stale, self._stale = self._connection.options, self._stale, None
        for _ in range(options.late_frames if stale is not None else 0):
            await self._send_frame(stale)
        if not options.stop_never:
            await self._say(type="stopped")

    async def _send_frame(self, rest):
        frame = self._speaker.cut(rest)
        await self._peer.send(frame, audio=True)
        rest.advance(len(frame))
        return len(frame)

    async def _say(self, **message):
        text = msgspec.json.encode(message).decode()
        self._connection.log("sent", message=text)
        await self._peer.send(text)
