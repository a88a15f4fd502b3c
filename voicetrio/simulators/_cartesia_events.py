"""What Cartesia's ``/tts/websocket`` sends: the shapes of its events, and the one who sends them.

The keys of chunk, done and flush_done are exactly those measured on the live endpoint; the others, and the two shapes
of errors, are those of the vendor's documentation and of its Python SDK 4.2 (``types/websocket_response.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ._cartesia_upgrade import is_structured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._cartesia_request import RequestError
    from ._cartesia_upgrade import Upgrade
    from ._server import Connection
    from ._speech import SpokenWord
    from ._websocket import WebSocketPeer
    from .cartesia import CartesiaOptions

__all__ = ["EventSender", "error_event"]

DOCS = "https://docs.cartesia.ai/use-the-api/api-errors"


class EventSender:
    """Sends the events of one connection.

    Args:
        connection: for its options and its log.
        peer: its websocket.
        upgrade: what was agreed on in the handshake.
    """

    def __init__(self, connection: Connection[CartesiaOptions], peer: WebSocketPeer, upgrade: Upgrade) -> None:
        self._connection = connection
        self._peer = peer
        self._upgrade = upgrade
        self._last_step = trio.current_time()

    async def chunk(
        self, context_id: str, flush_id: int, audio: bytes, *, written: Callable[[], None] | None = None
    ) -> None:
        """Send audio, and call `written` when it was; `step_time` is what has passed since the last."""
        now = trio.current_time()
        event: dict[str, Any] = {
            "type": "chunk",
            "data": audio,  # encoded as base64
            "done": False,
            "status_code": 206,
            "step_time": round((now - self._last_step) * 1000, 3),
            "context_id": context_id,
            "flush_id": flush_id,
        }
        self._last_step = now
        if self._connection.options.missing_context:
            del event["context_id"]
        await self._peer.send(msgspec.json.encode(event).decode(), audio=bool(audio), written=written)

    async def words(self, context_id: str, flush_id: int, words: Sequence[SpokenWord]) -> None:
        """Send the times of words."""
        await self._send(_times("timestamps", "word_timestamps", "words", context_id, flush_id, words))

    async def phonemes(self, context_id: str, flush_id: int, phonemes: Sequence[SpokenWord]) -> None:
        """Send the times of phonemes."""
        await self._send(_times("phoneme_timestamps", "phoneme_timestamps", "phonemes", context_id, flush_id, phonemes))

    async def flush_done(self, context_id: str, flush_id: int) -> None:
        """Say that all audio of a section was sent."""
        await self._send(
            {
                "type": "flush_done",
                "done": False,
                "flush_done": True,
                "flush_id": flush_id,
                "status_code": 206,
                "context_id": context_id,
            }
        )

    async def done(self, context_id: str) -> None:
        """Say that a context is over."""
        status = self._connection.options.done_status
        await self._send({"type": "done", "done": True, "status_code": status, "context_id": context_id})

    async def error(self, error: RequestError) -> None:
        """Say what is wrong with a message of the client."""
        context_id = error.context_id if self._connection.options.error_context else None
        upgrade = self._upgrade
        await self._send(
            error_event(
                upgrade.version, upgrade.request_id, error.status, error.code, error.title, error.message, context_id
            )
        )

    async def _send(self, event: dict[str, Any]) -> None:
        text = msgspec.json.encode(event).decode()
        self._connection.log("sent", message=text)
        await self._peer.send(text)


def error_event(
    version: str, request_id: str, status: int, code: str | None, title: str, message: str, context_id: str | None
) -> dict[str, Any]:
    """An error event, in the shape of a version."""
    event: dict[str, Any] = {"type": "error", "done": True, "status_code": status}
    if is_structured(version):
        trace = request_id if context_id is None else f"{request_id}:context:{context_id}"
        event |= {"error_code": code, "title": title, "message": message, "request_id": trace}
        if code is not None:
            event["doc_url"] = f"{DOCS}#{code}"
    else:
        event["error"] = f"{title}: {message}"
    if context_id is not None:
        event["context_id"] = context_id
    return event


def _times(
    kind: str, field: str, names: str, context_id: str, flush_id: int, words: Sequence[SpokenWord]
) -> dict[str, Any]:
    return {
        "type": kind,
        "done": False,
        "status_code": 206,
        "context_id": context_id,
        field: {
            names: [word.text for word in words],
            "start": [round(word.start, 6) for word in words],
            "end": [round(word.end, 6) for word in words],
        },
        "flush_id": flush_id,
    }
