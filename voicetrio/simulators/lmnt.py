"""LMNT's speech sessions, the websocket ``/v1/ai/speech/stream``, simulated.

The messages are those of LMNT's SDKs for Python (1.2, 2.0, 2.4, 2.6 and 2.13) and of its documentation; the refusal of
a wrong path, and an error message followed by close code 1002, were measured on the live endpoint.  Where these
disagree or are silent, :class:`LMNTOptions` has a switch and its default is the stricter reading: a client that works
with the default does not rely on what is not promised.

A session begins with one message that says everything, the key included, and chooses one of four dialects (see
:mod:`voicetrio.simulators._lmnt_dialect`).  Text is joined as it comes.  It is spoken when there is enough of it, and
the rest when it is flushed; each such stretch is one segment of tagged audio (see
:mod:`voicetrio.simulators.tagged`), ``round(n * sample_rate * ms_per_char / 1000)`` samples for n characters.

The formats are ``pcm_s16le``, ``raw`` (the same), ``pcm_f32le`` (whose samples keep their tags, times 32768) and
``ulaw`` (of which only the length and the upper bits survive).  The vendor's default is mp3, which takes a codec: such
a session is refused in words that say so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from ._checks import at_least
from ._lmnt_dialect import ErrorType
from ._lmnt_session import LMNTSession
from ._speaker import SpeechOptions, SpeechSimulator

if TYPE_CHECKING:
    from ._server import Connection
    from ._speech import Voice

__all__ = ["LMNTOptions", "LMNTSimulator"]


@attrs.frozen(kw_only=True)
class LMNTOptions(SpeechOptions):
    """How the simulated LMNT behaves, besides what all voices have.  Times are in seconds.

    Attributes:
        concurrent_limit: connections open at once before the next gets 429; None for no limit.  (LMNT publishes no
            limits, neither this nor the next two.)
        session_limit: seconds after which the connection is closed with 1001; None for no limit.
        idle_timeout: seconds without a message of the client after which it is closed with 1001; None for no limit.

        known_voice: the only voice there is; any other is answered by a ``not_found_error``.  None for any.
        unknown_version: an ``lmnt-version`` that no SDK sends (the documentation names ``2025-09-25``) is refused, or
            taken for 1.2.
        typed_model: ``model`` is not in the schema of 1.1 and 1.2: check it there as in 1.0, or ignore it.
        assume_pcm: send ``pcm_s16le`` where the format is mp3, webm, aac or wav, asked for or by default, instead of
            refusing the session.
        wav_header: the header that ``ulaw`` has comes once, ahead of the connection's first audio, or with each
            segment.
        ready_delay: seconds by which ``ready`` is late.

        chunk_chars: speak by itself what is buffered, up to its last white space, once it is more than this many
            characters; 0 for never.
        timestamps: the words' times of an audio frame follow it, or go ahead.  (1.0 and 2: always ahead.)
        empty_flush_answered: whether a flush is answered if there was no text since the one before.

        reset_runs_on: whether the segment being spoken runs on to its end after a reset; only text that was not yet
            turned into speech is promised to be dropped.
        late_frames: if it does not: audio frames of that segment that are sent between receiving the reset and
            acknowledging it.
        flush_complete_for_reset: whether flushes whose text was dropped are acknowledged all the same.
        reset_delay: seconds by which the acknowledgement of a reset is late.
        reset_never: whether it is never sent.
        wrong_nonce: answer each flush and each reset at once with a nonce that was never sent, and later with its own.

        error_type: type of the error that the fault ``error_frame`` inserts; the untyped dialects show its message
            only.
        error_closes: whether that error is followed at once by close code 1002, as LMNT's errors are.

        end_marker: what acknowledges a flush is sent as it should, never, `end_marker_delay` late, or twice.  In the
            dialect without acknowledgements this goes for the close that answers ``eof``, which cannot come twice.
        end_marker_delay: seconds.
        audio_before_asked: send this many frames of audio right after ``ready`` (in the untyped dialects, after the
            init), as a segment of their own.
    """

    known_voice: str | None = None
    unknown_version: Literal["refuse", "1.2"] = "refuse"
    typed_model: Literal["check", "ignore"] = "check"
    assume_pcm: bool = False
    wav_header: Literal["once", "each"] = "once"
    ready_delay: float = attrs.field(default=0.0, validator=at_least(0))

    chunk_chars: int = attrs.field(default=60, validator=at_least(0))
    timestamps: Literal["after", "before"] = "after"
    empty_flush_answered: bool = True

    reset_runs_on: bool = True
    late_frames: int = attrs.field(default=0, validator=at_least(0))
    flush_complete_for_reset: bool = False
    reset_delay: float = attrs.field(default=0.0, validator=at_least(0))
    reset_never: bool = False
    wrong_nonce: bool = False

    error_type: ErrorType = "internal_server_error"
    error_closes: bool = True

    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    audio_before_asked: int = attrs.field(default=0, validator=at_least(0))


class LMNTSimulator(SpeechSimulator[LMNTOptions]):
    """A server that speaks LMNT's protocol.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    path: ClassVar[str] = "/v1/ai/speech/stream"

    def __init__(self, options: LMNTOptions | None = None, *, voice: Voice | None = None) -> None:
        super().__init__(LMNTOptions() if options is None else options, voice)

    async def handle(self, connection: Connection[LMNTOptions]) -> None:
        """Check path and upgrade; whatever else can be wrong is told on the websocket."""
        request = connection.request
        if not request.path.endswith(self.path):
            await self.refuse(connection, 403 if request.upgrade else 404)
        elif not request.upgrade:
            await self.refuse(connection, 404)
        elif connection.over_limit:
            await self.refuse(connection, 429)
        else:
            await LMNTSession(connection, await connection.accept(), self.voice).run()

    def refusal(
        self,
        connection: Connection[LMNTOptions],  # noqa: ARG002 -- LMNT's refusals have no request id
        status: int,
    ) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal, as LMNT words it."""
        body = {"detail": "Not Found"} if status == 404 else {"error": _REFUSALS.get(status, f"Status {status}")}
        return [("Content-Type", "application/json")], json.dumps(body).encode()


_REFUSALS = {
    400: "Bad request",
    401: "Invalid API key",
    402: "Payment required",
    403: "Forbidden",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}
