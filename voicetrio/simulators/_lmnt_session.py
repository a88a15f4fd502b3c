"""One accepted connection to the simulated LMNT.

Two loops share it.  The reader takes the client's messages as they come and keeps what they change: the text buffer,
and which utterances are void.  The worker does one job after another and alone sends audio and acknowledgements, so
that they leave in the order in which they were asked for.  A reset overtakes: the reader voids everything before it at
once; the worker skips what it has not begun, lets what it is speaking run on or not, and acknowledges.

Whatever the client does wrong is a :class:`Failure`: an error in the connection's dialect and close code 1002.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs
import msgspec
import trio

from ._lmnt_dialect import DIALECTS, ErrorType, Failure, Finish, Flush, Reset, Text, decode_object
from ._lmnt_frames import FrameSender
from ._lmnt_init import find_dialect, parse_init
from ._secrets import public
from ._websocket import Closing, close_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._lmnt_dialect import Command, Dialect
    from ._server import Connection, Segment
    from ._speaker import Recording
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .lmnt import LMNTOptions

__all__ = ["ERROR_MESSAGES", "LMNTSession"]

MAX_JOBS = 1000
"""Jobs that may wait; a client that asks for more is not read until one is done."""

MAX_BUFFER = 20_000
"""Characters that may wait to be spoken, far over what a turn has."""

ERROR_MESSAGES: dict[ErrorType, str] = {
    "invalid_request_error": "Invalid request",
    "authentication_error": "Invalid API key",
    "permission_error": "Permission denied",
    "not_found_error": "Not found",
    "payment_required_error": "Payment required",
    "rate_limit_error": "Too many requests",
    "internal_server_error": "Internal server error",
}


@attrs.frozen
class _Begin:
    """Say that the session is ready."""


@attrs.frozen
class _Utterance:
    """Something to say: a flush, or text that is spoken by itself.

    Attributes:
        generation: how many times the session had been reset when it was asked for.
        segment: its audio, None for a flush of no text.
        nonce: of the flush that it ends; None if nothing acknowledges it.
    """

    generation: int
    segment: Segment | None
    nonce: int | None


@attrs.frozen
class _Reset:
    """Acknowledge a reset."""

    nonce: int


@attrs.frozen
class _Finish:
    """Close the connection."""


_Job: TypeAlias = "_Begin | _Utterance | _Reset | _Finish"


class LMNTSession:
    """What happens on a connection after the handshake.

    Args:
        connection: the connection, for its options, its log and its segments.
        peer: its websocket.
        voice: what speaks if the options ask for it.
    """

    _frames: FrameSender  # as soon as the init has come

    def __init__(
        self,
        connection: Connection[LMNTOptions],
        peer: WebSocketPeer,
        voice: Voice | None,
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._voice = voice
        self._request_id = connection.request_id
        self._dialect: Dialect = DIALECTS["1.0"]  # until the init says otherwise
        self._jobs_in, self._jobs_out = trio.open_memory_channel[_Job](MAX_JOBS)
        self._buffer = ""
        self._unflushed = False
        self._lowest_nonce = 1
        self._finished = False
        self._failed = False
        self._generation = 0
        self._nap = trio.CancelScope()
        self._stale: Recording | None = None
        self._insert = peer.insert
        peer.insert = self._insert_for

    @property
    def _options(self) -> LMNTOptions:
        return self._connection.options

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        with self._jobs_in, self._jobs_out:
            await self._peer.run(
                partial(self._answer_failure, self._read),
                partial(self._answer_failure, self._work),
                partial(close_after, self._options.session_limit, 1001, "session limit"),
            )

    # Failures.

    async def _answer_failure(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except Failure as failure:
            if self._failed:  # the other loop is saying so already
                await trio.sleep_forever()  # noqa: ASYNC120 - the connection ends, whatever the error was
            self._failed = True
            try:
                await self._send_past_failure(self._error(failure))  # noqa: ASYNC120 - likewise
            except Failure as fault:  # which the faults want here as well
                await self._send_past_failure(self._error(fault))
            raise Closing(1002) from None

    def _insert_for(self, fault: str) -> str:
        """What a fault wants inserted; an error as the connection's failure, unless it should go on."""
        if fault != "error_frame":
            return self._insert(fault)
        kind = self._options.error_type
        failure = Failure(kind, ERROR_MESSAGES[kind])
        if self._options.error_closes:
            raise failure
        return msgspec.json.encode(self._error(failure)).decode()

    def _error(self, failure: Failure) -> dict[str, Any]:
        return self._dialect.error(self._request_id, failure.kind, failure.message)

    # The reader.

    async def _read(self) -> None:
        await self._begin(await self._receive())
        while True:
            message = await self._receive()
            if self._finished:
                raise Failure("invalid_request_error", "Nothing may follow the end of the text.")
            await self._obey(self._dialect.decode(message))

    async def _receive(self) -> dict[str, Any]:
        """The next message of the client, noted in the log without what is secret in it."""
        message = await self._receive_in_time()
        if isinstance(message, bytes):
            self._connection.log("received", bytes=len(message))
            raise Failure("invalid_request_error", "Messages must be text.")
        try:
            decoded = decode_object(message)
            shown = public(decoded)
        except (Failure, RecursionError):  # the latter: nested beyond reason
            # It may be a broken init, key and all.
            self._connection.log("received", message=f"… ({len(message)} characters, not a JSON object)")
            raise Failure("invalid_request_error", "Messages must be JSON objects.") from None
        self._connection.log("received", message=message if shown == decoded else msgspec.json.encode(shown).decode())
        return decoded

    async def _receive_in_time(self) -> str | bytes:
        message = await self._peer.receive_within(self._options.idle_timeout)
        if message is None:
            raise Closing(1001, "idle timeout")
        return message

    async def _begin(self, message: dict[str, Any]) -> None:
        options = self._options
        # A version that nobody knows is refused in types: whoever sends one expects them.
        self._dialect = DIALECTS["1.2" if message.get("lmnt-version", "1.0") != "1.0" else "1.0"]
        self._dialect = find_dialect(message, unknown=options.unknown_version)
        settings = parse_init(
            message,
            self._dialect,
            api_key=options.api_key,
            known_voice=options.known_voice,
            check_model=options.typed_model == "check",
            assume_pcm=options.assume_pcm,
        )
        self._frames = FrameSender(self._connection, self._peer, self._dialect, settings, self._voice, self._send)
        await self._queue(_Begin())

    async def _obey(self, command: Command) -> None:
        if isinstance(command, Text):
            await self._on_text(command.text)
        elif isinstance(command, Flush):
            await self._on_flush(command.nonce)
        elif isinstance(command, Reset):
            await self._on_reset(command.nonce)
        else:
            assert isinstance(command, Finish)
            await self._on_finish()

    async def _on_text(self, text: str) -> None:
        if len(self._buffer) + len(text) > MAX_BUFFER:
            raise Failure("invalid_request_error", f"More than {MAX_BUFFER} characters are waiting.")
        self._buffer += text
        self._unflushed = self._unflushed or bool(text)
        limit = self._options.chunk_chars
        if limit and len(self._buffer) > limit:
            await self._say(_speakable(self._buffer), None)

    async def _on_flush(self, nonce: int) -> None:
        answered = self._unflushed or self._options.empty_flush_answered
        self._unflushed = False
        if self._dialect.acknowledges and answered:
            await self._mislead("flush", nonce)
            await self._say(self._buffer, nonce)
        elif self._buffer:
            await self._say(self._buffer, None)

    async def _on_reset(self, nonce: int) -> None:
        self._buffer = ""
        self._unflushed = False
        self._generation += 1
        self._nap.cancel(reason="the client sent reset")
        await self._mislead("reset", nonce)
        await self._queue(_Reset(nonce))

    async def _on_finish(self) -> None:
        self._finished = True
        if self._buffer:
            await self._say(self._buffer, None)
        await self._queue(_Finish())

    async def _say(self, text: str, nonce: int | None) -> None:
        """Have the beginning of the buffer spoken."""
        self._buffer = self._buffer[len(text) :]
        segment = self._frames.speaker.begin(text) if text else None
        await self._queue(_Utterance(self._generation, segment, nonce))

    async def _mislead(self, command: Literal["flush", "reset"], nonce: int) -> None:
        """Acknowledge something else, if the options say so."""
        self._lowest_nonce = min(self._lowest_nonce, nonce)
        if self._options.wrong_nonce:
            await self._send(self._dialect.acknowledgement(command, self._lowest_nonce - 1))

    async def _queue(self, job: _Job) -> None:
        try:
            self._jobs_in.send_nowait(job)
        except trio.WouldBlock:
            await self._jobs_in.send(job)

    # The worker.

    async def _work(self) -> None:
        while True:
            job = await self._jobs_out.receive()
            if isinstance(job, _Utterance):
                await self._utter(job)
            elif isinstance(job, _Reset):
                await self._acknowledge_reset(job)
            elif isinstance(job, _Begin):
                await self._greet()
            else:
                await self._close()

    async def _greet(self) -> None:
        if self._dialect.typed:
            await trio.sleep(self._options.ready_delay)
            await self._send({"type": "ready", "request_id": self._request_id})
        if self._options.audio_before_asked:
            await self._speak_unasked()

    async def _speak_unasked(self) -> None:
        rest = self._frames.speaker.unasked(self._options.audio_before_asked)
        while not rest.over:
            await self._send_frame(rest)
        self._frames.clock.restart()
        self._connection.server.end_segment(rest.segment, cleared=False)

    async def _utter(self, job: _Utterance) -> None:
        if job.segment is not None and not self._void(job):
            await self._speak(job, job.segment)
        if job.nonce is not None and self._options.end_marker == "late":
            await self._sleep_until(trio.current_time() + self._options.end_marker_delay, self._void, job)
        void = self._void(job)
        if job.segment is not None:
            self._connection.server.end_segment(job.segment, cleared=void)
        if job.nonce is None or (void and not self._options.flush_complete_for_reset):
            return
        await self._acknowledge_flush(job.nonce)

    async def _speak(self, job: _Utterance, segment: Segment) -> None:
        """Send the audio of a segment, or as much as is wanted of it."""
        due = trio.current_time() + self._options.first_audio
        rest = await self._frames.speaker.record(segment)
        self._frames.begin_segment()
        while not rest.over:
            await self._sleep_until(due, self._stopped, job)
            if self._stopped(job):
                self._stale = rest
                return
            due += self._frames.speaker.seconds(await self._send_frame(rest))

    async def _send_frame(self, rest: Recording) -> int:
        """Send the next frame of a recording; how many bytes of audio it has."""
        if self._failed:  # nothing comes between the error and the close
            await trio.sleep_forever()
        return await self._frames.send_frame(rest, buffer_empty=not self._buffer)

    async def _acknowledge_reset(self, job: _Reset) -> None:
        options, stale, self._stale = self._options, self._stale, None
        if stale is not None:
            for _ in range(options.late_frames):
                if not stale.over:
                    await self._send_frame(stale)
        self._frames.clock.restart()
        if options.reset_never:
            return
        await trio.sleep(options.reset_delay)
        await self._send(self._dialect.acknowledgement("reset", job.nonce))

    async def _acknowledge_flush(self, nonce: int) -> None:
        self._frames.clock.restart()
        if self._options.end_marker == "none":
            return
        message = self._dialect.acknowledgement("flush", nonce)
        await self._send(message)
        if self._options.end_marker == "double":
            await self._send(message)

    async def _close(self) -> None:
        """Close the connection after the last audio.

        Raises:
            Closing: always, unless the options keep it open.
        """
        if not self._dialect.acknowledges:
            if self._options.end_marker == "none":
                await trio.sleep_forever()
            if self._options.end_marker == "late":
                await trio.sleep(self._options.end_marker_delay)
        raise Closing(1000)

    # Both.

    def _void(self, job: _Utterance) -> bool:
        """Whether a reset came after this was asked for."""
        return job.generation != self._generation

    def _stopped(self, job: _Utterance) -> bool:
        """Whether no more of this should be spoken though it was begun."""
        return self._void(job) and not self._options.reset_runs_on

    async def _sleep_until(self, deadline: float, ended: Callable[[_Utterance], bool], job: _Utterance) -> None:
        """Sleep, but not on when a reset ends `job`."""
        while not ended(job) and trio.current_time() < deadline:
            with trio.CancelScope(deadline=deadline) as self._nap:
                await trio.sleep_forever()

    async def _send(self, message: dict[str, Any]) -> None:
        if self._failed:  # nothing comes between the error and the close
            await trio.sleep_forever()
        await self._send_past_failure(message)

    async def _send_past_failure(self, message: dict[str, Any]) -> None:
        text = msgspec.json.encode(message).decode()
        self._connection.log("sent", message=text)
        await self._peer.send(text)


def _speakable(text: str) -> str:
    """As much of a text as ends with a whole word; all of it if it is a single one."""
    whole = len(text)
    while whole and not text[whole - 1].isspace():
        whole -= 1
    return text[:whole] or text
