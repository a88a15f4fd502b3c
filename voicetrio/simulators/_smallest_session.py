"""One accepted websocket of the simulated Smallest: what the client asks for.

Every message is a request of its own, unless it says ``continue``: then its text is joined with that of the messages
after it.  Without a `context_id` there is one such text for each socket, which ends with the first message that does
not say ``continue`` or says ``flush``; with one there is a text for each context.  What is ready of it, sentence by
sentence, goes to the :class:`~voicetrio.simulators._smallest_synthesizer.Synthesizer`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from ._smallest_request import Message, RequestError, SpeechRequest, decode, inherit, parse
from ._smallest_synthesizer import Identity, Line, Release, Synthesizer, Turn
from ._smallest_text import TextBuffer
from ._websocket import Closing, close_after
from ._wire import Disconnected

if TYPE_CHECKING:
    from ._server import Connection
    from ._smallest_account import Account
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .smallest import SmallestOptions

__all__ = ["SmallestSession", "error_message", "redacted"]

MAX_CONTEXTS = 1000
"""Contexts that may be open on one socket."""

MAX_BUFFER = 20_000
"""Characters that may wait in one of them."""

_SECRET = re.compile(r'("(?:api_?key|authorization|secret|token)"\s*:\s*")(?:[^"\\]|\\.)*', re.IGNORECASE)


@attrs.define(eq=False)
class _Stream:
    """Text that comes in fragments: that of a context, or of a classic request.

    Attributes:
        message: the newest fragment, with what it took over from those before.
        request: its settings.
        line: what it is spoken in.
        turn: what is completed once for all of it; None if every release is completed by itself.
        buffer: what is not ready to be spoken.
        closed: whether nothing more comes.
        armed: the epoch of the buffer for which a timer runs.
    """

    message: Message
    request: SpeechRequest
    line: Line
    turn: Turn | None = None
    buffer: TextBuffer = attrs.Factory(TextBuffer)
    closed: bool = False
    armed: int = -1


class SmallestSession:
    """What happens on a websocket after the handshake.

    Args:
        connection: the connection, for its options, its log and its segments.
        peer: its websocket.
        account: what else is running.
        timeout: seconds without a message after which the connection ends; None for no limit.
        voice: what speaks if the options ask for it.
    """

    def __init__(
        self,
        connection: Connection[SmallestOptions],
        peer: WebSocketPeer,
        account: Account,
        timeout: float | None,
        voice: Voice | None,
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._timeout = timeout
        self._classic: _Stream | None = None
        self._contexts: dict[str, _Stream] = {}
        self._synthesizer = Synthesizer(connection, peer, account, voice, busy=self._is_busy)

    @property
    def _options(self) -> SmallestOptions:
        return self._connection.options

    def _is_busy(self) -> bool:
        """Whether the client has begun a text that it has not ended."""
        return self._classic is not None or not all(stream.closed for stream in self._contexts.values())

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        limit = partial(close_after, self._options.session_limit, 1000)
        await self._peer.run(self._read, self._synthesizer.work, limit, on_end=self._synthesizer.abandon)

    # The reader.

    async def _read(self) -> None:
        while True:
            received = await self._receive()
            if isinstance(received, bytes):
                self._connection.log("received", bytes=len(received))
                await self._refuse(RequestError("Only text messages are accepted"), None)
                continue
            self._connection.log("received", message=redacted(received))
            message: Message | None = None
            try:
                message = decode(received)
                await self._on_message(message)
            except RequestError as error:
                await self._refuse(error, message)

    async def _receive(self) -> str | bytes:
        received = await self._peer.receive_within(self._timeout)
        if received is not None:
            return received
        message = f"Connection timed out after {self._timeout:g} seconds of inactivity"
        with suppress(Disconnected):  # a client that has closed already is told nothing
            await self._synthesizer.send(error_message(self._options, RequestError(message, "TIMEOUT")))
        raise Closing(1000)

    async def _refuse(self, error: RequestError, message: Message | None) -> None:
        identity = self._synthesizer.identity(message)
        await self._synthesizer.send(error_message(self._options, error, identity))

    # Messages.

    async def _on_message(self, message: Message) -> None:
        if message.type == "ping" and self._options.pings:
            await self._synthesizer.send({"type": "pong"})
        elif message.context_id is None:
            await self._on_classic(message)
        elif message.cancel_request:
            self._on_cancel(message.context_id, message)
        else:
            await self._on_context(message.context_id, message)

    async def _on_classic(self, message: Message) -> None:
        """A message without a context."""
        if message.cancel_request:
            raise RequestError("cancel_request needs a context_id")
        message = self._complement(message)
        request = self._parse(message)
        stream = self._classic
        if stream is None:
            if not message.text and self._options.flush_only_refused:
                raise RequestError("text must not be empty")
            line = Line()
            turn = Turn(self._synthesizer.identity(request), line, request.complete_delay)
            stream = self._classic = _Stream(message, request, line, turn)
        self._add(stream, message, request)
        if message.flush or not message.continue_:
            self._classic = None
            await self._close(stream)
            return
        await self._release(stream, stream.buffer.take_sentences())
        self._arm(stream, request.flush_delay)

    def _complement(self, message: Message) -> Message:
        """A classic message with the text that it should have."""
        if message.text is not None:
            return message
        if not message.flush or self._options.flush_only_refused:
            raise RequestError("text is required")
        message.text = ""
        return message if self._classic is None else inherit(message, self._classic.message)

    async def _on_context(self, context_id: str, message: Message) -> None:
        if message.flush:
            raise RequestError("flush cannot be used with context_id")
        closing = not message.continue_ or bool(message.context_close)
        stream = self._contexts.get(context_id)
        if stream is not None and not stream.closed:
            message = inherit(message, stream.message)
        elif closing and not message.text:
            self._connection.log("ignored", context=context_id[:128])  # it is closed already
            return
        if message.text is None and not closing:
            raise RequestError("text is required")
        request = self._parse(message)
        if stream is None or stream.closed:
            stream = self._open_context(context_id, message, request, stream)
        self._add(stream, message, request)
        if closing:
            await self._close(stream)
            return
        at_once = request.context_delay == 0
        await self._release(stream, stream.buffer.take() if at_once else stream.buffer.take_sentences())
        self._arm(stream, request.context_delay)

    def _open_context(
        self, context_id: str, message: Message, request: SpeechRequest, before: _Stream | None
    ) -> _Stream:
        if len(self._contexts) >= MAX_CONTEXTS:
            self._contexts = {key: each for key, each in self._contexts.items() if not each.closed or each.line.pending}
            if len(self._contexts) >= MAX_CONTEXTS:
                raise RequestError("Too many contexts are open", "RATE_LIMIT_EXCEEDED")
        line = Line() if before is None else before.line
        stream = self._contexts[context_id] = _Stream(message, request, line)
        if self._options.completes == "once":
            stream.turn = Turn(self._synthesizer.identity(request), line, request.complete_delay)
        return stream

    def _on_cancel(self, context_id: str, message: Message) -> None:
        """Take a context back, as the options have it."""
        options, stream = self._options, self._contexts.get(context_id)
        cut: Release | None = None
        if stream is not None and options.cancel != "ignored":
            stream.buffer.take()
            cut = self._synthesizer.cancel(stream.line, run_on=options.cancel == "run_on")
            stream.closed = True
            if stream.turn is not None:
                self._synthesizer.close(stream.turn)
        if options.cancel_ack == "complete":
            identity = self._synthesizer.identity(message) if cut is None else cut.identity
            self._peer.spawn(partial(self._acknowledge, identity, cut))

    async def _acknowledge(self, identity: Identity, cut: Release | None) -> None:
        """Send `complete` for a cancel, once the last frame of what it cut off is out."""
        if cut is not None:
            await cut.over.wait()
        await self._synthesizer.send(identity.envelope("complete"))

    # Text.

    def _parse(self, message: Message) -> SpeechRequest:
        request = parse(message, self._options)
        if request.encoding == "wav":
            raise RequestError("output_format must be pcm, ulaw or alaw on a websocket")
        return request

    def _add(self, stream: _Stream, message: Message, request: SpeechRequest) -> None:
        text = message.text or ""
        if stream.buffer.size + len(text) > MAX_BUFFER:
            raise RequestError("Too much text is waiting", "TEXT_TOO_LONG")
        stream.buffer.add(text)
        stream.message, stream.request = message, request
        if stream.turn is not None:
            stream.turn.delay = request.complete_delay

    async def _release(self, stream: _Stream, text: str) -> None:
        """Have text spoken, unless there is nothing to say in it."""
        if not text.strip():
            return
        identity, turn = self._identity(stream), stream.turn
        if turn is None:
            turn = Turn(identity, stream.line, stream.request.complete_delay)
        try:
            await self._synthesizer.submit(text, stream.request, identity, turn)
        except RequestError as error:
            turn.void = True
            await self._synthesizer.send(error_message(self._options, error, identity))
            return
        if stream.turn is None and self._options.completes == "each":
            self._synthesizer.close(turn)

    def _identity(self, stream: _Stream) -> Identity:
        """The names for a release: one request for all of a classic one, one each for those of a context."""
        identity = self._synthesizer.identity(stream.request)
        if stream.request.context_id is None and stream.turn is not None:
            before = stream.turn.identity
            return attrs.evolve(identity, request_id=before.request_id, times=before.times)
        return identity

    async def _close(self, stream: _Stream) -> None:
        """Have the rest of a text spoken; nothing more comes."""
        stream.closed = True
        await self._release(stream, stream.buffer.take())
        if stream.turn is not None:
            self._synthesizer.close(stream.turn)

    def _arm(self, stream: _Stream, delay: float) -> None:
        """Have what waits released after `delay` seconds, if that is not seen to already; 0 for never."""
        if delay and not stream.buffer.blank and stream.armed != stream.buffer.epoch:
            stream.armed = stream.buffer.epoch
            self._peer.spawn(partial(self._release_late, stream, stream.armed, delay))

    async def _release_late(self, stream: _Stream, epoch: int, delay: float) -> None:
        await trio.sleep(delay)
        if stream.buffer.epoch == epoch:
            await self._release(stream, stream.buffer.take())


def error_message(options: SmallestOptions, error: RequestError, identity: Identity | None = None) -> dict[str, Any]:
    """The error frame for an error, as the options have it.

    Args:
        options: which shape it has, and whether it names the request.
        error: the error.
        identity: the names of the request, None for an error of the connection.
    """
    names = {} if identity is None or not options.error_ids else identity.names()
    if options.error_shape == "error":
        return {**names, "status": "error", "error": {"message": error.message, "code": error.code}}
    return {**names, "status": "error", "message": error.message}


def redacted(text: str) -> str:
    """A message without what is secret in it."""
    return _SECRET.sub(r"\1…", text)
