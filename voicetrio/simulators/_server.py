"""What all simulators share: listening, the log, and the block that ends everything.

A :class:`Simulator` says how a provider speaks; a :class:`Server` is one that is running.  Each connection gets a
:class:`Connection`, on which the simulator's `handle` answers a request, or accepts the upgrade and then speaks.  A
client may do what it likes: it ends its own connection at most.  A mistake in a simulator, on the other hand, is raised
from the block that serves.
"""

from __future__ import annotations

import errno
import json
import os
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import attrs
import trio

from ._connection import Connection
from ._faults import NO_FAULTS, Faults
from ._nursery import lone_error
from ._options import SimulatorOptions
from ._wire import Disconnected
from .tagged import SEGMENTS

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from typing import TextIO

__all__ = ["Connection", "Segment", "Server", "Simulator"]

OptionsT = TypeVar("OptionsT", bound=SimulatorOptions)

CLOSE_TIMEOUT = 1.0
"""Seconds for TLS to say goodbye."""

IN_MEMORY_HOST = "simulator.test"


@attrs.define
class Segment:
    """One stretch of tagged audio that the simulator was asked for.

    Attributes:
        number: the number in its tags: segments are counted per server, modulo 1024.
        connection: number of the connection.
        text: what it says.
        samples: how long it is; 0 until known, if a voice speaks it.
        sent: samples so far whose message was handed to the transport whole.
        cleared: whether the client took it back.
    """

    number: int
    connection: int
    text: str
    samples: int
    sent: int = 0
    cleared: bool = False


class Server(Generic[OptionsT]):
    """A running simulator, as given by :meth:`Simulator.serve` and :meth:`Simulator.serve_in_memory`.

    Attributes:
        options: how it behaves.  Replace it at any time, ``server.options = attrs.evolve(server.options, …)``; what
            comes next follows the new ones.
        url: where a client of the provider should connect to.
        host: host of the URL.
        port: port of the URL.
        log: what happened, in order: dicts of ``time`` (seconds since the server began), ``connection`` (its number,
            from 0), ``event`` and ``data``.  Secrets are left out.
        segments: the stretches of audio asked for, in order.
        connections: how many connections were ever begun.
        open_connections: how many of them are open.
    """

    def __init__(
        self,
        simulator: Simulator[OptionsT],
        nursery: trio.Nursery,
        url: str,
        address: tuple[str, int] | None,
        *,
        log_file: TextIO | None,
        history: int,
    ) -> None:
        self.options: OptionsT = simulator.options
        self.url = url
        host, port = address or (IN_MEMORY_HOST, 80)
        self.host: str = host
        self.port: int = port
        self.log: list[dict[str, Any]] = []
        self.segments: list[Segment] = []
        self.connections: int = 0
        self.open_connections: int = 0
        self._simulator = simulator
        self._nursery = nursery
        self._in_memory = address is None
        self._log_file = log_file
        self._history = history
        self._segments_begun = 0
        self._began = trio.current_time()

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """A stream to the simulator, whatever `host` and `port` say; in memory, the client's end of a pair.

        Raises:
            OSError: the faults refuse the connection, or the server's block was left.
        """
        if not self._in_memory:
            return await trio.open_tcp_stream(self.host, self.port)
        await trio.lowlevel.checkpoint()
        if self._nursery.cancel_scope.cancel_called:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"{host}:{port}: the simulator has ended")
        if self.faults(self.connections).handshake == "refuse":
            self.note(self.connections, "refused")
            self.connections += 1
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        # Not at the top: it imports pytest where that is installed, a fifth of a second of every start.
        from trio.testing import memory_stream_pair

        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve_stream, ours)
        return theirs

    def note(self, connection: int, event: str, /, **data: object) -> None:
        """Add a record to the log."""
        record = {
            "time": round(trio.current_time() - self._began, 6),
            "connection": connection,
            "event": event,
            "data": data,
        }
        self.log.append(record)
        _forget(self.log, self._history)
        if self._log_file is not None:
            self._log_file.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._log_file.flush()

    def begin_segment(self, connection: int, text: str, samples: int) -> Segment:
        """The next segment, noted in `segments` and in the log."""
        segment = Segment(self._segments_begun % SEGMENTS, connection, text, samples)
        self._segments_begun += 1
        self.segments.append(segment)
        _forget(self.segments, self._history)
        self.note(connection, "segment", number=segment.number, text=text, samples=samples)
        return segment

    def end_segment(self, segment: Segment, *, cleared: bool) -> None:
        """Note that no more of a segment is sent, and whether the client took it back."""
        segment.cleared = cleared
        self.note(segment.connection, "segment_ended", number=segment.number, sent=segment.sent, cleared=cleared)

    def faults(self, connection: int) -> Faults:
        """The faults that hold for a connection, by its number, now."""
        faults = self.options.faults
        if faults.connections is not None and connection >= faults.connections:
            return NO_FAULTS
        return faults

    async def _serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end, whatever the client does."""
        number = self.connections
        self.connections += 1
        self.open_connections += 1
        self.note(number, "opened")
        try:
            await Connection(self, self._simulator, number, stream).run()
            with trio.move_on_after(CLOSE_TIMEOUT):
                await stream.aclose()
        except Disconnected as ending:
            self.note(number, "disconnected", reason=str(ending))
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            self.open_connections -= 1
            self.note(number, "closed")


class Simulator(ABC, Generic[OptionsT]):
    """A provider's side of its protocol: what to extend for a new one, whatever it does.

    One that sends speech extends :class:`~voicetrio.simulators.SpeechSimulator`, whose options have a pace and a length
    of frames as well.  The others begin like this one, which counts the bytes that it is sent::

        @attrs.frozen(kw_only=True)
        class CounterOptions(SimulatorOptions):
            unit: Literal["bytes", "bits"] = "bytes"


        class CounterSimulator(Simulator[CounterOptions]):
            path = "/count"

            async def handle(self, connection):
                options = connection.options
                if not options.accepts(connection.request.headers.get("x-api-key", "")):
                    await self.refuse(connection, 401)
                elif connection.over_limit:
                    await self.refuse(connection, 429)
                elif connection.request.upgrade:
                    peer = await connection.accept([("x-request-id", connection.request_id)])
                    limit = partial(close_after, options.session_limit, 1000, "session limit")
                    await peer.run(partial(self.count, connection, peer), limit)
                else:  # one HTTP exchange; `connection.stream` for a body in pieces, such as server-sent events
                    await connection.answer(200, body=str(len(connection.request.body)).encode())

            async def count(self, connection, peer):
                total = 0
                while (message := await peer.receive_within(connection.options.idle_timeout)) is not None:
                    total += len(message)
                    await peer.send(f'{{"{connection.options.unit}":{total}}}')
                raise Closing(1001, "idle timeout")


        async with CounterSimulator(CounterOptions(idle_timeout=5)).serve() as server:
            ...

    A loop given to :meth:`WebSocketPeer.run` ends the connection by raising :class:`Closing`.  All faults befall it
    without a line of its own, if `inserts` and `refusal` know the provider's messages.  Read ``connection.options``
    each time: they can be replaced while it runs.  What is sent and received belongs in the log,
    ``connection.log("sent", message=…)``, without its secrets.

    Args:
        options: how it behaves, to begin with.

    Attributes:
        path: path of the URL given to clients.
        options: as above.  Each server begins with these.
    """

    path: ClassVar[str]

    def __init__(self, options: OptionsT) -> None:
        self.options: OptionsT = options

    @abstractmethod
    async def handle(self, connection: Connection[OptionsT]) -> None:
        """Answer the request of a connection, or accept its upgrade and speak until it ends.

        Called for each request: several may come on one connection.

        Raises:
            Disconnected: the client is gone.
        """

    def inserts(
        self,
        connection: Connection[OptionsT],  # noqa: ARG002 -- for those that override it
    ) -> Mapping[str, str]:
        """For each fault that inserts a message, that message; asked for on `connection` when it is committed."""
        return {
            "unknown_message": '{"type":"FromTheFuture","since":2031}',
            "non_json": "this is {not JSON",
            "wrong_shape": '[{"type":null}]',
            "error_frame": '{"type":"Error","description":"something broke","code":"INTERNAL"}',
        }

    def refusal(
        self,
        connection: Connection[OptionsT],  # noqa: ARG002 -- for those that override it
        status: int,
    ) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body with which this provider refuses a request."""
        return [("Content-Type", "application/json")], json.dumps({"error": f"status {status}"}).encode()

    async def refuse(self, connection: Connection[OptionsT], status: int) -> None:
        """Refuse the request of a connection in this provider's words; the connection ends with it.

        Raises:
            Disconnected: the client is gone.
        """
        headers, body = self.refusal(connection, status)
        await connection.refuse(status, headers=headers, body=body)

    @asynccontextmanager
    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl_context: ssl.SSLContext | None = None,
        log_file: TextIO | None = None,
        history: int = 10_000,
    ) -> AsyncGenerator[Server[OptionsT], None]:
        """Serve on a real socket.  Leaving the block ends every connection and every task.

        Args:
            host: the address to listen on.
            port: the port, 0 for a free one.
            ssl_context: serve TLS with this.
            log_file: where to write the log as well, a line of JSON for each record.
            history: how many records and segments are kept at least; beyond twice this, the oldest are forgotten.

        Raises:
            OSError: the port cannot be had.
            BaseExceptionGroup: several things went wrong, such as the block and the simulator; a single error is
                raised as it is.
        """
        sockets = await trio.open_tcp_listeners(port, host=host)
        listeners: list[trio.abc.Listener[trio.abc.Stream]] = [
            each if ssl_context is None else trio.SSLListener(each, ssl_context, https_compatible=True)
            for each in sockets
        ]
        authority = f"[{host}]" if ":" in host else host
        bound: int = sockets[0].socket.getsockname()[1]
        url = f"{'ws' if ssl_context is None else 'wss'}://{authority}:{bound}{self.path}"
        with lone_error():
            async with trio.open_nursery() as nursery:
                server = Server(self, nursery, url, (host, bound), log_file=log_file, history=history)
                nursery.start_soon(_listen, server._serve_stream, listeners, nursery)
                try:
                    yield server
                finally:
                    nursery.cancel_scope.cancel(reason="the simulator's block was left")

    @asynccontextmanager
    async def serve_in_memory(
        self, *, log_file: TextIO | None = None, history: int = 10_000
    ) -> AsyncGenerator[Server[OptionsT], None]:
        """Serve over streams in memory, which :meth:`Server.dial` gives: no sockets, and exact under a mock clock.

        Such streams hold any amount of data, so a client that does not read causes no back-pressure here.  Otherwise
        as :meth:`serve`.
        """
        with lone_error():
            async with trio.open_nursery() as nursery:
                url = f"ws://{IN_MEMORY_HOST}{self.path}"
                server = Server(self, nursery, url, None, log_file=log_file, history=history)
                try:
                    yield server
                finally:
                    nursery.cancel_scope.cancel(reason="the simulator's block was left")


async def _listen(
    handler: Callable[[trio.abc.Stream], Awaitable[None]],
    listeners: list[trio.abc.Listener[trio.abc.Stream]],
    nursery: trio.Nursery,
) -> None:
    await trio.serve_listeners(handler, listeners, handler_nursery=nursery)


def _forget(records: list[Any], history: int) -> None:
    """Keep the newest `history` records at least, at little cost for each."""
    if len(records) > 2 * history:
        del records[:-history]
