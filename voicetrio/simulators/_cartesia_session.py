"""One accepted connection to the simulated ``/tts/websocket`` of Cartesia.

The reader takes the client's messages as they come and hands each to its context; every context speaks in a task of
its own, so that contexts interleave on the socket.  Errors are sent by the reader, at once.  Whichever task finds that
the connection ends, ends all others.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ._cartesia_context import FOREIGN_CONTEXT, Context, ContextClosed
from ._cartesia_events import EventSender
from ._cartesia_format import DEFAULT_FORMAT
from ._cartesia_log import redacted
from ._cartesia_request import Cancel, Generation, RequestError, default_delay, parse_message
from ._speaker import Speaker
from ._websocket import Closing, close_after

if TYPE_CHECKING:
    from ._cartesia_format import OutputFormat
    from ._cartesia_live import LiveContexts
    from ._cartesia_upgrade import Upgrade
    from ._server import Connection
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .cartesia import CartesiaOptions

__all__ = ["CartesiaSession"]

MAX_CONTEXTS = 1000
"""Contexts that one connection may have open; no plan allows more."""

MAX_CLOSED = 10_000
"""Ids of closed contexts that are remembered."""


class CartesiaSession:
    """What happens on a connection after the handshake.

    Args:
        connection: the connection, for its options, its log and its segments.
        peer: its websocket.
        upgrade: what was agreed on in the handshake.
        live: counts the live contexts of all connections.
        voice: what speaks if the options ask for it.
    """

    def __init__(
        self,
        connection: Connection[CartesiaOptions],
        peer: WebSocketPeer,
        upgrade: Upgrade,
        live: LiveContexts,
        voice: Voice | None,
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._upgrade = upgrade
        self._live = live
        self._voice = voice
        self._events = EventSender(connection, peer, upgrade)
        self._speakers: dict[OutputFormat, Speaker] = {}
        self._contexts: dict[str, Context] = {}
        self._closed: dict[str, None] = {}  # in the order in which they closed

    @property
    def _options(self) -> CartesiaOptions:
        return self._connection.server.options

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        limit = partial(close_after, self._options.session_limit, 1000, "connection time limit")
        await self._peer.run(self._read, limit)

    # The reader.

    async def _read(self) -> None:
        self._peer.spawn(self._speak_unasked)
        while True:
            message = await self._receive()
            try:
                await self._take(message)
            except RequestError as error:
                context = None if error.context_id is None else self._contexts.get(error.context_id)
                if context is not None and not isinstance(error, ContextClosed):
                    context.fail()
                self._connection.log("rejected", title=error.title, context_id=error.context_id)
                await self._events.error(error)

    async def _receive(self) -> str | bytes:
        message = await self._peer.receive_within(self._options.idle_timeout)
        if message is None:
            raise Closing(self._options.idle_code, "connection idle timeout")
        return message

    async def _take(self, message: str | bytes) -> None:
        """Do what a message asks for.

        Raises:
            RequestError: it asks for nothing that can be done.
        """
        if isinstance(message, bytes):
            self._connection.log("received", bytes=len(message))
            raise RequestError(400, "Invalid request", "A message must be text.")
        try:
            decoded: Any = msgspec.json.decode(message)
        except (msgspec.MsgspecError, RecursionError):  # the latter: nested beyond reason
            self._connection.log("received", message=redacted(message, None, self._upgrade.credentials))
            raise RequestError(400, "Invalid request", "A message must be JSON.") from None
        self._connection.log("received", message=redacted(message, decoded, self._upgrade.credentials))
        request = parse_message(decoded, self._upgrade.version)
        if isinstance(request, Cancel):
            self._cancel(request)
        else:
            self._generate(request)

    def _cancel(self, request: Cancel) -> None:
        context = self._contexts.get(request.context_id)
        if context is not None:
            context.cancel()
        elif self._options.cancel_unknown == "error":
            raise ContextClosed(request.context_id)

    def _generate(self, request: Generation) -> None:
        context = self._contexts.get(request.context_id)
        if context is None:
            context = self._open(request)
            context.add(request)
            self._contexts[context.id] = context
            self._live.add(self._connection.server)
            self._peer.spawn(partial(self._serve_context, context))
        else:
            context.add(request)

    def _open(self, request: Generation) -> Context:
        """A new context.

        Raises:
            ContextClosed: there was one with this id.
            RequestError: there are too many, or its first text cannot be spoken.
        """
        options, context_id = self._options, request.context_id
        if context_id in self._closed:
            raise ContextClosed(context_id)
        if options.initial_transcript == "checked" and not any(map(str.isalnum, request.transcript)):
            detail = "Your initial transcript is empty or contains only punctuation."
            raise RequestError(400, "Invalid transcript", detail, context_id=context_id)
        limit = options.context_limit
        if len(self._contexts) >= MAX_CONTEXTS or (
            limit is not None and self._live.count(self._connection.server) >= limit
        ):
            detail = "You have reached the limit of contexts that may be active at once."
            raise RequestError(
                429, "Too many concurrent requests", detail, code="concurrency_limited", context_id=context_id
            )
        delay = request.delay
        if delay is None:
            delay = default_delay(self._upgrade.version) if options.buffer_delay is None else options.buffer_delay
        return Context(self._connection, self._events, self._speaker(request.output_format), request, delay)

    def _speaker(self, output: OutputFormat) -> Speaker:
        if output not in self._speakers:
            self._speakers[output] = Speaker(
                self._connection, output.sample_rate, self._voice, width=output.width, encode=output.encoder
            )
        return self._speakers[output]

    # The contexts.

    async def _serve_context(self, context: Context) -> None:
        try:
            await context.run()
        finally:
            del self._contexts[context.id]
            self._live.remove(self._connection.server)
            self._closed[context.id] = None
            if len(self._closed) > MAX_CLOSED:
                del self._closed[next(iter(self._closed))]

    async def _speak_unasked(self) -> None:
        options, speaker = self._options, self._speaker(DEFAULT_FORMAT)
        if not options.audio_before_asked:
            return
        rest = speaker.unasked(options.audio_before_asked)
        while not rest.over:
            frame = speaker.cut(rest)
            written = partial(rest.advance, len(frame))
            await self._events.chunk(FOREIGN_CONTEXT, options.first_flush_id, frame, written=written)
        self._connection.server.end_segment(rest.segment, cleared=False)
