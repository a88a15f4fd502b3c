"""Deepgram's text-to-speech websocket, ``/v1/speak``, simulated.

Where Deepgram's documentation, its specification and what was measured on the wire agree, the simulator does what they
say.  Where they do not, or are silent, :class:`DeepgramOptions` has a switch and its default is the stricter reading:
a client that works with the default does not rely on what is not promised.

The audio is tagged (see :mod:`voicetrio.simulators.tagged`): each flush that is accepted is one segment, a text of
n characters gives ``round(n * sample_rate * ms_per_char / 1000)`` samples.  mu-law and A-law audio is that PCM encoded,
of which only the length and the upper bits survive.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from ._checks import at_least, positive
from ._deepgram_query import QueryError, SpeechSettings, parse_query
from ._deepgram_session import DeepgramSession
from ._speaker import SpeechOptions, SpeechSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._http import Request
    from ._server import Connection
    from ._speech import Voice

__all__ = ["DeepgramOptions", "DeepgramSimulator"]


@attrs.frozen(kw_only=True)
class DeepgramOptions(SpeechOptions):
    """How the simulated Deepgram behaves, besides what all voices have.  Times are in seconds.

    On the wire 0.130 to 0.145 s were measured to the first audio, and frames of 40 ms.

    Attributes:
        concurrent_limit: connections open at once before the next gets 429; None for no limit.  (Deepgram: by plan.)

        flush_limit: flushes accepted within `flush_window`, 0 for no limit.  One more is answered with a Warning and is
            not carried out; its text stays in the buffer.
        flush_window: seconds.
        speak_limit: characters of one Speak message; more closes with 1009 BIG-0001.
        characters_limit: characters within `characters_window`, 0 for no limit; more closes with 1008 DATA-0001.
        characters_window: seconds.
        session_limit: seconds after which the connection is closed with 1011 NET-0003; none for no limit.
        idle_timeout: seconds without a message after which it is closed with 1011 NET-0001; none for no limit.

        warning: fields of a Warning: ``wire``, warn_code and warn_msg, as captured; ``spec``, code and description.
        error_shape: fields of the Error message that the fault ``error_frame`` inserts: ``description`` and code, or
            ``err_code`` and err_msg.
        shared_sequence: whether Flushed and Cleared share one counter of `sequence_id`.
        empty_flush_answered: whether a flush of no text is answered by Flushed.
        close_drains: whether Close lets the flushes before it finish; documented are both this and an end at once.
        early_audio: send audio before any flush once this many characters are buffered, 0 for never.

        late_frames: audio frames of the cut utterance that are sent between receiving Clear and sending Cleared.
        flushed_for_cleared: whether flushes that were cleared are answered by Flushed all the same.
        clear_delay: seconds by which Cleared is late.
        clear_never: whether Cleared is never sent.

        end_marker: Flushed is sent as it should, never, `end_marker_delay` late, or twice.
        end_marker_delay: seconds.
        audio_before_asked: send this many frames of audio right after Metadata, as a segment of their own.
    """

    flush_limit: int = attrs.field(default=20, validator=at_least(0))
    flush_window: float = attrs.field(default=60.0, validator=positive)
    speak_limit: int = attrs.field(default=2000, validator=positive)
    characters_limit: int = attrs.field(default=2400, validator=at_least(0))
    characters_window: float = attrs.field(default=60.0, validator=positive)
    session_limit: float | None = attrs.field(default=3600.0, validator=positive)

    warning: Literal["wire", "spec"] = "wire"
    error_shape: Literal["description", "err_code"] = "description"
    shared_sequence: bool = False
    empty_flush_answered: bool = True
    close_drains: bool = False
    early_audio: int = attrs.field(default=0, validator=at_least(0))

    late_frames: int = attrs.field(default=0, validator=at_least(0))
    flushed_for_cleared: bool = False
    clear_delay: float = attrs.field(default=0.0, validator=at_least(0))
    clear_never: bool = False

    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    audio_before_asked: int = attrs.field(default=0, validator=at_least(0))


class DeepgramSimulator(SpeechSimulator[DeepgramOptions]):
    """A server that speaks Deepgram's protocol.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    path: ClassVar[str] = "/v1/speak"

    def __init__(self, options: DeepgramOptions | None = None, *, voice: Voice | None = None) -> None:
        super().__init__(DeepgramOptions() if options is None else options, voice)

    async def handle(self, connection: Connection[DeepgramOptions]) -> None:
        """Check the request as Deepgram does, path, key, query, then speak."""
        request, options = connection.request, connection.options
        if not request.path.endswith(self.path):
            await self._refuse(connection, 404, "NOT_FOUND", "The page you are looking for does not exist.")
            return
        subprotocol = _accepted_subprotocol(request, options)
        if subprotocol is None and not _authorized(request.headers.get("authorization", ""), options):
            await self._refuse(connection, 401, "INVALID_AUTH", "Invalid credentials.")
            return
        if not request.upgrade:
            await self._refuse(connection, 426, "UPGRADE_REQUIRED", "Only websockets are served here.")
            return
        try:
            settings = parse_query(request.query)
        except QueryError as error:
            await self._refuse(connection, 400, error.code, error.message)
            return
        if connection.over_limit:
            await self._refuse(connection, 429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later.")
            return
        await self._speak(connection, settings, subprotocol)

    def refusal(self, connection: Connection[DeepgramOptions], status: int) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal, as Deepgram words it."""
        code, message = _REFUSALS.get(status, ("INTERNAL_SERVER_ERROR", f"Status {status}."))
        return self._refusal(connection, code, message)

    def inserts(self, connection: Connection[DeepgramOptions]) -> Mapping[str, str]:
        """The messages that faults insert."""
        error = {
            "description": {"type": "Error", "description": "An internal error occurred.", "code": "INTERNAL"},
            "err_code": {"type": "Error", "err_code": "INTERNAL", "err_msg": "An internal error occurred."},
        }
        return {**super().inserts(connection), "error_frame": json.dumps(error[connection.options.error_shape])}

    async def _speak(
        self, connection: Connection[DeepgramOptions], settings: SpeechSettings, subprotocol: str | None
    ) -> None:
        request_id = connection.request_id
        headers = [
            ("dg-request-id", request_id),
            ("dg-model-name", settings.model),
            ("dg-model-uuid", _model_uuid(settings.model)),
            ("dg-char-count", "0"),
        ]
        peer = await connection.accept(headers, subprotocol=subprotocol, too_big="BIG-0000")
        metadata: dict[str, object] = {
            "type": "Metadata",
            "request_id": request_id,
            "model_name": settings.model,
            "model_version": "2025-01-09.0",
            "model_uuid": _model_uuid(settings.model),
            "additional_model_uuids": [],
        }
        await DeepgramSession(connection, peer, settings, metadata, self.voice).run()

    def _refusal(
        self, connection: Connection[DeepgramOptions], code: str, message: str
    ) -> tuple[list[tuple[str, str]], bytes]:
        request_id = connection.request_id
        body = {"err_code": code, "err_msg": message, "request_id": request_id}
        headers = [("Content-Type", "application/json"), ("dg-request-id", request_id), ("dg-error", message)]
        return headers, json.dumps(body).encode()

    async def _refuse(self, connection: Connection[DeepgramOptions], status: int, code: str, message: str) -> None:
        headers, body = self._refusal(connection, code, message)
        await connection.refuse(status, headers=headers, body=body)


_REFUSALS = {
    400: ("INVALID_QUERY_PARAMETER", "Failed to deserialize query parameters."),
    401: ("INVALID_AUTH", "Invalid credentials."),
    402: (
        "PAYMENT_REQUIRED",
        "Project does not have enough credits for an ASR request and does not have an overage agreement.",
    ),
    403: ("INSUFFICIENT_PERMISSIONS", "Project does not have access to the requested model."),
    404: ("NOT_FOUND", "The page you are looking for does not exist."),
    429: ("TOO_MANY_REQUESTS", "Too many requests. Please try again later."),
    503: ("SERVICE_UNAVAILABLE", "The service is temporarily unavailable."),
}


def _authorized(authorization: str, options: DeepgramOptions) -> bool:
    """Whether an Authorization header is good: ``Token`` and an API key, or ``Bearer`` and a token."""
    scheme, _, credentials = authorization.strip().partition(" ")
    return scheme.lower() in ("token", "bearer") and options.accepts(credentials.strip())


def _accepted_subprotocol(request: Request, options: DeepgramOptions) -> str | None:
    """The subprotocol that carried a good key, for browsers, which cannot send the header: ``token, <key>``."""
    offered = request.subprotocols
    if len(offered) == 2 and offered[0].lower() in ("token", "bearer") and options.accepts(offered[1]):
        return offered[0]
    return None


def _model_uuid(model: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, model))
