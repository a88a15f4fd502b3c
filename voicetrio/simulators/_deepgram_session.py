"""One accepted connection to the simulated Deepgram.

Two loops share it.  The reader takes the client's messages as they come and keeps what they change: the text buffer,
the limits, which utterances are void.  The worker does one job after another and alone sends audio and
acknowledgements, so that they leave in the order in which they were asked for.  ``Clear`` overtakes: the reader voids
everything before it at once and wakes the worker, which skips to the acknowledgement.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import msgspec
import trio

from ._g711 import encode
from ._speaker import Speaker
from ._websocket import Closing, close_after

if TYPE_CHECKING:
    from ._deepgram_query import SpeechSettings
    from ._server import Connection, Segment
    from ._speaker import Recording
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .deepgram import DeepgramOptions

__all__ = ["DeepgramSession"]

MAX_JOBS = 1000
"""Jobs that may wait; a client that asks for more is not read until one is done."""

MAX_BUFFER = 20_000
"""Characters that may wait for a flush, far over what Deepgram's limits let through."""


class _Command(msgspec.Struct):
    type: str
    text: str | None = None


@attrs.frozen
class _Utterance:
    """Something to say: a flush, or text that is spoken early.

    Attributes:
        generation: how many times the session had been cleared when it was asked for.
        segment: its audio, None for a flush of no text.
        marked: whether it ends with Flushed.
    """

    generation: int
    segment: Segment | None
    marked: bool


class _Clear:
    """Acknowledge a Clear."""


class _Close:
    """Close the connection."""


_Job: TypeAlias = "_Utterance | _Clear | _Close"


class DeepgramSession:
    """What happens on a connection after the handshake.

    Args:
        connection: the connection, for its options, its log and its segments.
        peer: its websocket.
        settings: what the query asked for.
        metadata: the first message.
        voice: what speaks if the options ask for it.
    """

    def __init__(
        self,
        connection: Connection[DeepgramOptions],
        peer: WebSocketPeer,
        settings: SpeechSettings,
        metadata: dict[str, object],
        voice: Voice | None,
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._metadata = metadata
        encoding = settings.encoding
        encoder = None if encoding == "linear16" else partial(encode, law=encoding)
        self._speaker = Speaker(connection, settings.sample_rate, voice, width=settings.width, encode=encoder)
        self._decoder = msgspec.json.Decoder(_Command)
        self._jobs_in, self._jobs_out = trio.open_memory_channel[_Job](MAX_JOBS)
        self._buffer: list[str] = []
        self._buffered = 0
        self._flushes: deque[float] = deque()
        self._spoken = _Window()
        self._generation = 0
        self._nap = trio.CancelScope()
        self._stale: Recording | None = None
        self._next_flushed = 0
        self._next_cleared = 0

    @property
    def _options(self) -> DeepgramOptions:
        return self._connection.server.options

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        with self._jobs_in, self._jobs_out:
            limit = partial(close_after, self._options.session_limit, 1011, "NET-0003")
            await self._peer.run(self._read, self._work, limit)

    # The reader.

    async def _read(self) -> None:
        handlers = {"Speak": self._on_speak, "Flush": self._on_flush, "Clear": self._on_clear}
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                self._connection.log("received", bytes=len(message))
                raise Closing(1003, "MESSAGE-0000")
            self._connection.log("received", message=message)
            try:
                command = self._decoder.decode(message)
            except (msgspec.MsgspecError, RecursionError):  # the latter: nested beyond reason
                raise Closing(1008, "DATA-0000") from None
            if command.type == "Close":
                await self._on_close()
            elif command.type in handlers:
                await handlers[command.type](command)
            else:
                raise Closing(1008, "DATA-0000")

    async def _receive(self) -> str | bytes:
        message = await self._peer.receive_within(self._options.idle_timeout)
        if message is None:
            raise Closing(1011, "NET-0001")
        return message

    async def _on_speak(self, command: _Command) -> None:
        options, text = self._options, command.text
        if text is None:
            raise Closing(1008, "DATA-0000")
        if len(text) > options.speak_limit or self._buffered + len(text) > MAX_BUFFER:
            raise Closing(1009, "BIG-0001")
        spoken = self._spoken.add(len(text), options.characters_window)
        if options.characters_limit and spoken > options.characters_limit:
            raise Closing(1008, "DATA-0001")
        self._buffer.append(text)
        self._buffered += len(text)
        if options.early_audio and self._buffered >= options.early_audio:
            await self._queue(_Utterance(self._generation, self._take_segment(), marked=False))

    async def _on_flush(self, _command: _Command) -> None:
        if not self._may_flush():
            await self._warn()
            return
        await self._queue(_Utterance(self._generation, self._take_segment(), marked=True))

    async def _on_clear(self, _command: _Command) -> None:
        self._buffer.clear()
        self._buffered = 0
        self._generation += 1
        self._nap.cancel(reason="the client sent Clear")
        await self._queue(_Clear())

    async def _on_close(self) -> None:
        if not self._options.close_drains:
            raise Closing(1000)
        await self._queue(_Close())

    def _may_flush(self) -> bool:
        options, now = self._options, trio.current_time()
        while self._flushes and self._flushes[0] <= now - options.flush_window:
            self._flushes.popleft()
        if options.flush_limit and len(self._flushes) >= options.flush_limit:
            return False
        if options.flush_limit:
            self._flushes.append(now)
        return True

    async def _warn(self) -> None:
        code = "EXCESSIVE_FLUSH"
        text = f"Flush is limited to {self._options.flush_limit} times every {self._options.flush_window:g} seconds."
        if self._options.warning == "wire":
            await self._send({"type": "Warning", "warn_code": code, "warn_msg": text})
        else:
            await self._send({"type": "Warning", "code": code, "description": text})

    def _take_segment(self) -> Segment | None:
        """The segment for the text that is buffered, which it takes; None if there is none."""
        text = "".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        return self._speaker.begin(text) if text else None

    async def _queue(self, job: _Job) -> None:
        try:
            self._jobs_in.send_nowait(job)
        except trio.WouldBlock:
            await self._jobs_in.send(job)

    # The worker.

    async def _work(self) -> None:
        await self._send(self._metadata)
        if self._options.audio_before_asked:
            await self._speak_unasked()
        while True:
            job = await self._jobs_out.receive()
            if isinstance(job, _Utterance):
                await self._utter(job)
            elif isinstance(job, _Clear):
                await self._acknowledge_clear()
            else:
                raise Closing(1000)

    async def _speak_unasked(self) -> None:
        rest = self._speaker.unasked(self._options.audio_before_asked)
        while not rest.over:
            await self._send_frame(rest)

    async def _utter(self, job: _Utterance) -> None:
        if job.segment is not None and not self._void(job):
            await self._speak(job, job.segment)
        if job.marked and self._options.end_marker == "late":
            await self._sleep_until(trio.current_time() + self._options.end_marker_delay, job)
        void = self._void(job)
        if job.segment is not None:
            self._connection.server.end_segment(job.segment, cleared=void)
        if not job.marked or (void and not self._options.flushed_for_cleared):
            return
        if job.segment is None and not self._options.empty_flush_answered:
            return
        await self._send_flushed()

    async def _speak(self, job: _Utterance, segment: Segment) -> None:
        """Send the audio of a segment, or as much as is wanted of it."""
        due = trio.current_time() + self._options.first_audio
        rest = await self._speaker.record(segment)
        while not rest.over:
            await self._sleep_until(due, job)
            if self._void(job):
                self._stale = rest
                return
            due += self._speaker.seconds(await self._send_frame(rest))

    async def _send_frame(self, rest: Recording) -> int:
        """Send the next frame of a recording; how many bytes of audio it has."""
        if self._options.empty_frames:
            await self._peer.send(b"")
        frame = self._speaker.cut(rest)
        await self._peer.send(frame, audio=True, written=partial(rest.advance, len(frame)))
        return len(frame)

    async def _acknowledge_clear(self) -> None:
        options, stale, self._stale = self._options, self._stale, None
        if stale is not None:
            for _ in range(options.late_frames):
                if not stale.over:
                    await self._send_frame(stale)
        if options.clear_never:
            return
        if options.clear_delay:
            await trio.sleep(options.clear_delay)
        await self._send({"type": "Cleared", "sequence_id": self._take_sequence(cleared=True)})

    async def _send_flushed(self) -> None:
        if self._options.end_marker == "none":
            return
        message = {"type": "Flushed", "sequence_id": self._take_sequence(cleared=False)}
        await self._send(message)
        if self._options.end_marker == "double":
            await self._send(message)

    def _take_sequence(self, *, cleared: bool) -> int:
        if cleared and not self._options.shared_sequence:
            self._next_cleared += 1
            return self._next_cleared - 1
        self._next_flushed += 1
        return self._next_flushed - 1

    # Both.

    def _void(self, job: _Utterance) -> bool:
        """Whether a Clear came after this was asked for."""
        return job.generation != self._generation

    async def _sleep_until(self, deadline: float, job: _Utterance) -> None:
        """Sleep, but not on when a Clear voids `job`."""
        if self._void(job) or deadline <= trio.current_time():
            return
        with trio.CancelScope(deadline=deadline) as self._nap:
            await trio.sleep_forever()

    async def _send(self, message: dict[str, Any]) -> None:
        text = msgspec.json.encode(message).decode()
        self._connection.log("sent", message=text)
        await self._peer.send(text)


class _Window:
    """A sum over the last seconds."""

    def __init__(self) -> None:
        self._amounts: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, amount: int, seconds: float) -> int:
        """Add `amount` now; the sum of what was added within `seconds`."""
        now = trio.current_time()
        self._amounts.append((now, amount))
        self._sum += amount
        while self._amounts[0][0] <= now - seconds:
            self._sum -= self._amounts.popleft()[1]
        return self._sum
