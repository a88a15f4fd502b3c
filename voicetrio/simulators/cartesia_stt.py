"""Cartesia's speech-to-text websockets, ``/stt/websocket`` and ``/stt/turns/websocket``, simulated.

What is sent, and when, follows the vendor's documentation, its Python SDK 4.2, and what was measured on the live
endpoint.  Where those disagree, or are silent, :class:`CartesiaSTTOptions` has a switch.

It recognizes tagged audio (:mod:`voicetrio.simulators.tagged`): its words name the positions of the samples that they
are of (:mod:`voicetrio.simulators._dictation`), so that a transcript in which something is missing or comes twice is
found by reading it; and each gap in the audio, and each repetition, is a record of the server's log (``gap``,
``double``).  What a connection heard in all is its record ``audio``.  Of other audio it makes words by its position on
the connection, and of silence none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import msgspec

from ._cartesia_stt_request import BadParameter, check_parameters, error_message
from ._cartesia_stt_session import ManualSession, TurnsSession
from ._cartesia_upgrade import VERSIONS, Refusal, asked_version, check_upgrade, is_structured, refusal_body
from ._checks import at_least, positive
from ._options import SimulatorOptions
from ._server import Simulator
from ._websocket import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._connection import Connection

__all__ = ["CartesiaSTTOptions", "CartesiaSTTSimulator", "Cue", "ListeningOptions"]

PATH, TURNS_PATH = "/stt/websocket", "/stt/turns/websocket"


# Without slots, and apart from the options of all simulators, so that `cartesia_api` can have those of the voice, too.
@attrs.frozen(kw_only=True, slots=False)
class ListeningOptions:
    """How it listens.  Times are in seconds unless the name says milliseconds.

    Attributes:
        word_ms: of audio for each word.
        phrase_words: words of a phrase, or of a turn.
        pause_words: and then silence for as long as so many words.
        interims: whether there is a transcript after each word, not only the final ones.
        auto_final: whether the transcript of a phrase becomes final with its last word, not only when asked for
            (``/stt/websocket``).
        word_times: whether transcripts have the times of words.
        latency: from the audio to the message that it makes.
        final_delay: from ``finalize`` to its transcript, beyond that.
        flush_done: comes after the transcript that it belongs to, ``before`` it, `end_marker_delay` late, twice or
            never.
        end_marker: ``done``, or on the other endpoint the end of the connection, comes as it should, never,
            `end_marker_delay` late, or twice.
        end_marker_delay: see there.
        close_delay: from ``done`` to the end of the connection.
        eager_end: whether ``turn.eager_end`` comes with the last word of a turn.
        resume: whether it also comes after the first word of a turn, and ``turn.resume`` at once.
        error_shape: of error events: what the version of the API says, or the old one or the new one all the same.
    """

    word_ms: float = attrs.field(default=250.0, validator=positive)
    phrase_words: int = attrs.field(default=4, validator=at_least(1))
    pause_words: int = attrs.field(default=2, validator=at_least(0))
    interims: bool = True
    auto_final: bool = True
    word_times: bool = True
    latency: float = attrs.field(default=0.0, validator=at_least(0))
    final_delay: float = attrs.field(default=0.0, validator=at_least(0))
    flush_done: Literal["normal", "before", "late", "double", "none"] = "normal"
    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    close_delay: float = attrs.field(default=0.158, validator=at_least(0))
    eager_end: bool = True
    resume: bool = False
    error_shape: Literal["version", "old", "new"] = "version"


@attrs.frozen(kw_only=True)
class CartesiaSTTOptions(SimulatorOptions, ListeningOptions):
    """How the simulated Cartesia behaves, see also :class:`ListeningOptions`.

    Attributes:
        idle_timeout: seconds without a message from the client after which the connection is closed; pings do not
            count.  (Cartesia: 20 in an older text, 180 in a newer one.)
        idle_code: the close code then.
    """

    idle_timeout: float | None = attrs.field(default=20.0, validator=positive)
    idle_code: int = attrs.field(default=1000, validator=at_least(1000))


@attrs.frozen
class Cue:
    """What to say when so many samples have come on a connection.

    Attributes:
        position: samples.
        message: the event; it gets the connection's `request_id` if it has none.
    """

    position: int
    message: dict[str, Any]


class CartesiaSTTSimulator(Simulator[CartesiaSTTOptions]):
    """A server that speaks the protocol of Cartesia's speech-to-text.

    Args:
        options: how it behaves, to begin with.
        script: what to say instead of words, on each connection, in order of position.
        on_audio: called with the number of a connection and its audio, s16le mono, as it comes.
    """

    path: ClassVar[str] = PATH

    def __init__(
        self,
        options: CartesiaSTTOptions | None = None,
        *,
        script: Sequence[Cue] | None = None,
        on_audio: Callable[[int, bytes], None] | None = None,
    ) -> None:
        super().__init__(CartesiaSTTOptions() if options is None else options)
        self._script = script
        self._on_audio = on_audio

    async def handle(self, connection: Connection[CartesiaSTTOptions]) -> None:
        """Check the request as Cartesia does, and listen; wrong parameters are refused in band."""
        path = connection.request.path
        turns = path.endswith(TURNS_PATH)
        try:
            if not turns and not path.endswith(PATH):
                raise Refusal.of(404)
            upgrade = check_upgrade(connection.request, connection.options, connection.request_id)
            if connection.over_limit:
                raise Refusal.of(429)
        except Refusal as refusal:
            headers, body = _worded(connection, refusal)
            await connection.refuse(refusal.status, headers=headers, body=body)
            return
        peer = await connection.accept([("x-request-id", upgrade.request_id)])
        structured = _is_structured(connection)
        try:
            asked = check_parameters(connection.request, turns=turns)
        except BadParameter as error:
            event = error_message(400, "Invalid request", str(error), connection.request_id, structured=structured)

            async def complain(reason: str = str(error)) -> None:
                await peer.send(msgspec.json.encode(event).decode())
                raise Closing(1008, reason.partition(":")[0])

            await peer.run(complain)
            return
        session = TurnsSession if turns else ManualSession
        await session(
            connection, peer, asked, structured=structured, script=self._script, on_audio=self._on_audio
        ).run()

    def refusal(self, connection: Connection[CartesiaSTTOptions], status: int) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal, as Cartesia words it."""
        return _worded(connection, Refusal.of(status))

    def inserts(self, connection: Connection[CartesiaSTTOptions]) -> Mapping[str, str]:
        """The messages that faults insert."""
        error = error_message(
            500,
            "Internal server error",
            "Something went wrong.",
            connection.request_id,
            structured=_is_structured(connection),
            code="internal",
        )
        return {**super().inserts(connection), "error_frame": msgspec.json.encode(error).decode()}


def _is_structured(connection: Connection[CartesiaSTTOptions]) -> bool:
    shape = connection.options.error_shape
    return is_structured(asked_version(connection.request) or VERSIONS[-1]) if shape == "version" else shape == "new"


def _worded(connection: Connection[CartesiaSTTOptions], refusal: Refusal) -> tuple[list[tuple[str, str]], bytes]:
    request_id = connection.request_id
    content_type, body = refusal_body(refusal, asked_version(connection.request), request_id)
    return [("Content-Type", content_type), ("x-request-id", request_id)], body
