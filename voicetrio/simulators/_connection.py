"""One connection to a simulator: its requests, the faults of the handshake, and the ways to answer.

A connection is either a websocket, from its first request on, or carries one HTTP exchange after the other.  The faults
of the handshake befall every request; the others are those of the websocket, or of the bodies (:mod:`._http_body`).
"""

from __future__ import annotations

import socket
import struct
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from ._faults import Faults, FaultState
from ._http import MAX_BODY, BadRequest, Request, read_request, response, stream_head, switching_protocols
from ._http_body import HttpBody
from ._ids import make_uuid
from ._message_faults import hold
from ._nursery import lone_error
from ._options import SimulatorOptions
from ._websocket import WebSocketPeer
from ._wire import Disconnected, Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ._message_faults import Log
    from ._server import Server, Simulator

__all__ = ["Connection"]

OptionsT = TypeVar("OptionsT", bound=SimulatorOptions)

REQUEST_TIMEOUT = 30.0
"""Seconds that a client has to send its request."""

KEEP_ALIVE_TIMEOUT = 75.0
"""Seconds without a further request after which a connection is closed; the default of nginx."""

GARBAGE = b"\x16\x03\x01 this is not HTTP \x00\xff\r\n\r\n"


class Connection(Generic[OptionsT]):
    """One connection to a simulator, before and after the handshake.

    Attributes:
        number: its number, from 0.
        server: the server it belongs to.
        log: notes an event of this connection: ``connection.log("accepted", …)``.
        request: the client's request, the latest if there were several.
    """

    request: Request

    def __init__(
        self,
        server: Server[OptionsT],
        simulator: Simulator[OptionsT],
        number: int,
        stream: trio.abc.Stream,
    ) -> None:
        self.server = server
        self.number = number
        self.log: Log = partial(server.note, number)
        self._simulator = simulator
        self._stream = stream
        self._state = FaultState(lambda: server.faults(number))
        self._wire = Wire(stream, self._state)
        self._received = b""  # of the next request
        self._kept_alive = False

    @property
    def options(self) -> OptionsT:
        """The options that hold now."""
        return self.server.options

    @property
    def faults(self) -> Faults:
        """The faults that hold for this connection now."""
        return self._state.look()

    @property
    def request_id(self) -> str:
        """A UUID for this connection, the same in every run with the same seed."""
        return make_uuid(self.options.seed, self.number)

    @property
    def over_limit(self) -> bool:
        """Whether more connections are open, this one among them, than the options allow."""
        limit = self.options.concurrent_limit
        return limit is not None and self.server.open_connections > limit

    async def run(self) -> None:
        """Read requests, commit the faults of the handshake, and let the simulator answer or speak.

        Raises:
            Disconnected: the client is gone, or a fault dropped it.
        """
        if self.faults.handshake == "refuse":
            _reset_on_close(self._stream)
            raise Disconnected("handshake=refuse")
        await self._exchange()
        while self._kept_alive and await self._another():
            await self._exchange()

    async def accept(
        self,
        headers: Iterable[tuple[str, str]] = (),
        *,
        subprotocol: str | None = None,
        too_big: str = "message too big",
    ) -> WebSocketPeer:
        """Accept the upgrade.

        Args:
            headers: headers of the answer.
            subprotocol: the one chosen of those offered.
            too_big: reason of the Close frame for a message over 1 MiB.

        Raises:
            Disconnected: the client is gone.
        """
        await self._wire.send(switching_protocols(self.request, headers, subprotocol))
        self.log("accepted")
        return WebSocketPeer(
            self._wire,
            self._state,
            insert=lambda fault: self._simulator.inserts(self)[fault],
            log=self.log,
            trailing=self.request.trailing,
            too_big=too_big,
        )

    async def refuse(
        self, status: int, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", length: bool = True
    ) -> None:
        """Answer with a status and a body; the connection ends with it.

        Raises:
            Disconnected: the client is gone.
        """
        self.log("refused", status=status)
        await self._wire.send(response(status, headers, body, length=length))

    async def answer(self, status: int, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """Answer with a status and a whole body; further requests may follow.

        Raises:
            Disconnected: the client is gone.
        """
        keep_alive = self.request.keep_alive
        self.log("answered", status=status)
        await self._wire.send(response(status, headers, body, keep_alive=keep_alive))
        await self._end_exchange(keep_alive=keep_alive)

    async def stream(
        self,
        produce: Callable[[HttpBody], Awaitable[None]],
        *,
        status: int = 200,
        headers: Iterable[tuple[str, str]] = (),
        inserts: Mapping[str, bytes] | None = None,
    ) -> None:
        """Answer with a body that `produce` sends piece by piece; further requests may follow.

        The client is listened to meanwhile: when it leaves, `produce` is cancelled where it stands.  A body that must
        not end as it should is one whose `produce` raises Disconnected.

        Args:
            produce: sends the body; when it returns, the body's end is sent.
            status: the HTTP status.
            headers: further headers.
            inserts: for each fault that inserts a message, that message as it is written into this body.

        Raises:
            Disconnected: the client is gone, or the faults or `produce` ended the connection.
        """
        chunked = self.request.version != "1.0"
        keep_alive = self.request.keep_alive
        body = HttpBody(self._wire, self._state, chunked=chunked, inserts=inserts or {}, log=self.log)
        gone: list[Disconnected] = []
        self.log("answered", status=status)
        with lone_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, nursery.cancel_scope, gone)
                await self._wire.send(stream_head(status, headers, chunked=chunked, keep_alive=keep_alive))
                await produce(body)
                await body.finish()
                nursery.cancel_scope.cancel(reason="the body has been sent")
        if gone:
            raise gone[0]
        await self._end_exchange(keep_alive=keep_alive)

    async def _listen(self, scope: trio.CancelScope, gone: list[Disconnected]) -> None:
        """Keep what the client sends for the next request, and cancel `scope` when it leaves."""
        try:
            while len(self._received) < MAX_BODY:
                self._received += await self._wire.receive()
        except Disconnected as ending:
            gone.append(ending)
            scope.cancel(reason="the client is gone")

    async def _end_exchange(self, *, keep_alive: bool) -> None:
        if not keep_alive and self.faults.never_close:
            await hold(self.log, "never_close")
        self._kept_alive = keep_alive

    async def _another(self) -> bool:
        """Wait for the next request to begin; whether one does."""
        if self._received:
            return True
        with trio.move_on_after(KEEP_ALIVE_TIMEOUT):
            try:
                self._received = await self._wire.receive()
            except Disconnected:
                return False
            return True
        return False

    async def _exchange(self) -> None:
        self._kept_alive = False
        try:
            with trio.fail_after(REQUEST_TIMEOUT):
                self.request = await read_request(self._wire, self._received)
        except BadRequest as error:
            await self.refuse(400, body=str(error).encode())
            return
        except trio.TooSlowError as error:
            raise Disconnected("no request came") from error
        self._received = self.request.trailing
        self.log("request", **self.request.public())
        if not await self._spoil_handshake(self.faults):
            await self._simulator.handle(self)

    async def _spoil_handshake(self, faults: Faults) -> bool:
        """Commit the faults of the handshake; whether that was all there is to the connection."""
        if faults.handshake != "ok":
            self.log("fault", name="handshake", value=faults.handshake)
        if faults.handshake == "eof":
            return True
        if faults.handshake == "silent":
            await trio.sleep_forever()
        if faults.handshake == "garbage":
            await self._wire.send(GARBAGE)
            return True
        if faults.handshake == "slow":
            await trio.sleep(faults.handshake_delay)
        if faults.refuse_status is None:
            return False
        headers, body = self._simulator.refusal(self, faults.refuse_status)
        if faults.retry_after is not None:
            headers = [*headers, ("Retry-After", f"{faults.retry_after:.15g}")]
        if faults.refuse_body is not None:
            body = faults.refuse_body.encode()
        await self.refuse(
            faults.refuse_status,
            headers=[*headers, *faults.refuse_headers],
            body=body,
            length=not faults.refuse_without_length,
        )
        return True


def _reset_on_close(stream: trio.abc.Stream) -> None:
    """Make the closing of a TCP stream look like a refusal: RST instead of FIN."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if isinstance(transport, trio.SocketStream):
        transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
