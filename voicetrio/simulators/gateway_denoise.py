"""The denoisers of VideoSDK's inference gateway, the websocket ``/v1/denoise``, simulated.

The messages are those that the gateway's own client (videosdk-agents 1.0.30) sends and reads; there is no public
documentation.  Audio comes in pieces and goes back, each after `latency` and up to `jitter` more.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
import random
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import numpy as np
import trio

from ._checks import at_least
from ._gateway_upgrade import ErrorShape, error_message, event_message, refusal_status
from ._options import SimulatorOptions
from ._server import Simulator
from ._websocket import Closing, WebSocketPeer, close_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._server import Connection

__all__ = ["GatewayDenoiseOptions", "GatewayDenoiseSimulator"]

MARK = 0x0400
"""The bit that ``process=mark`` turns over: segment n of tagged audio becomes segment n ^ 33."""


@attrs.frozen(kw_only=True, slots=False)  # so that the options of all endpoints can be one class
class GatewayDenoiseOptions(SimulatorOptions):
    """How the simulated denoisers behave.  Times are in seconds.

    Attributes:
        latency: from a piece to its answer.
        jitter: up to this much more, drawn for each piece.
        loss: the part of the pieces that is never answered, from 0 to 1.
        process: what is done to the audio.  ``mark`` turns over one bit of each sample, so that tagged audio (see
            :mod:`voicetrio.simulators.tagged`) stays readable, in another segment; ``soften`` halves it; ``none``
            gives it back as it is.
        answer: as an event, as a message of audio, or binary.
        numbered: whether an answer has the number of its piece; binary ones never have.
        overtaking: whether an answer may be sent before that of an earlier piece.
        merge: answer this many pieces with one message.
        error_shape: of the error that the fault ``error_frame`` inserts.
    """

    latency: float = attrs.field(default=0.03, validator=at_least(0))
    jitter: float = attrs.field(default=0.0, validator=at_least(0))
    loss: float = attrs.field(default=0.0, validator=at_least(0))
    process: Literal["mark", "soften", "none"] = "mark"
    answer: Literal["event", "audio", "binary"] = "event"
    numbered: bool = True
    overtaking: bool = False
    merge: int = attrs.field(default=1, validator=at_least(1))
    error_shape: ErrorShape = "data.error"


class GatewayDenoiseSimulator(Simulator[GatewayDenoiseOptions]):
    """A server that speaks the gateway's protocol of denoising.

    Its log has ``config`` and, for each piece, ``piece`` with its number and size in bytes.

    Args:
        options: how it behaves, to begin with.
    """

    path: ClassVar[str] = "/v1/denoise"

    def __init__(self, options: GatewayDenoiseOptions | None = None) -> None:
        super().__init__(GatewayDenoiseOptions() if options is None else options)

    async def handle(self, connection: Connection[GatewayDenoiseOptions]) -> None:
        """Check path, token and upgrade, and denoise until the client stops."""
        status = refusal_status(connection, self.path)
        if status is not None:
            await self.refuse(connection, status)
            return
        peer = await connection.accept()
        session = _Session(connection, peer)
        limit = partial(close_after, connection.options.session_limit, 1000, "session limit")
        await peer.run(session.receive, session.answer, limit)

    def inserts(self, connection: Connection[GatewayDenoiseOptions]) -> dict[str, str]:
        """For each fault that inserts a message, that message."""
        words = error_message(connection.options.error_shape, "the denoiser failed")
        return {**super().inserts(connection), "error_frame": words}


class _Session:
    def __init__(self, connection: Connection[GatewayDenoiseOptions], peer: WebSocketPeer) -> None:
        self._connection = connection
        self._peer = peer
        self._random = random.Random(f"{connection.options.seed}/{connection.number}/denoise")  # noqa: S311
        self._due: list[tuple[float, int, int | None, bytes]] = []
        self._count = 0
        self._latest = 0.0
        self._wake = trio.lowlevel.ParkingLot()
        self._configured = False
        self._unmerged: list[tuple[int | None, bytes]] = []

    async def receive(self) -> None:
        """Take messages until the client stops."""
        while (message := await self._peer.receive_within(self._connection.options.idle_timeout)) is not None:
            fields = await self._read(message)
            if fields is None:
                continue
            if fields.get("type") == "stop":
                self._connection.log("stopped")
                raise Closing(1000)
            if fields.get("type") == "config" and isinstance(fields.get("data"), dict):
                self._connection.log("config", config=fields["data"])
                self._configured = True
            elif fields.get("type") == "audio" and self._configured:
                await self._on_audio(fields)
            else:
                await self._complain("a config message must come first" if not self._configured else "unknown message")
        raise Closing(1001, "idle timeout")

    async def answer(self) -> None:
        """Send what is due, when it is."""
        while True:
            delay = self._due[0][0] - trio.current_time() if self._due else float("inf")
            if delay > 0:
                with trio.move_on_after(delay):
                    await self._wake.park()
                continue
            _, _, sequence, pcm = heapq.heappop(self._due)
            await self._peer.send(self._message(sequence, pcm), audio=True)

    async def _read(self, message: str | bytes) -> dict[str, Any] | None:
        try:
            fields = json.loads(message)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            await self._complain("a message must be an object of JSON")
            return None
        return fields

    async def _complain(self, words: str) -> None:
        await self._peer.send(error_message(self._connection.options.error_shape, words))

    async def _on_audio(self, fields: dict[str, Any]) -> None:
        try:
            pcm = base64.b64decode(fields["data"], validate=True)
        except (KeyError, TypeError, binascii.Error):
            await self._complain("invalid audio")
            return
        sequence = fields.get("seq")
        self._connection.log("piece", number=sequence, bytes=len(pcm))
        options = self._connection.options
        if self._random.random() < options.loss:
            return
        self._unmerged.append((sequence, pcm))
        if len(self._unmerged) < options.merge:
            return
        pieces, self._unmerged = self._unmerged, []
        due = trio.current_time() + options.latency + self._random.uniform(0, options.jitter)
        if not options.overtaking:
            due = self._latest = max(due, self._latest)
        self._count += 1
        audio = _PROCESSES[options.process](b"".join(pcm for _, pcm in pieces))
        heapq.heappush(self._due, (due, self._count, pieces[0][0], audio))
        self._wake.unpark_all()

    def _message(self, sequence: int | None, pcm: bytes) -> str | bytes:
        options = self._connection.options
        if options.answer == "binary":
            return pcm
        audio = base64.b64encode(pcm).decode()
        number = {"seq": sequence} if options.numbered and sequence is not None else {}
        if options.answer == "audio":
            return json.dumps({"type": "audio", "data": audio, **number})
        return event_message("DENOISE_AUDIO", audio=audio, **number)


def _mark(pcm: bytes) -> bytes:
    return bytes((np.frombuffer(pcm[: len(pcm) // 2 * 2], "<u2") ^ np.uint16(MARK)).tobytes())


def _soften(pcm: bytes) -> bytes:
    return bytes((np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2") // 2).astype("<i2").tobytes())


_PROCESSES: dict[str, Callable[[bytes], bytes]] = {"mark": _mark, "soften": _soften, "none": bytes}
