"""Realtime models of VideoSDK's inference gateway, the websocket ``/v1/llm``, simulated.

The gateway has no public documentation.  The messages are those that its own client, videosdk-agents 1.0.30, sends and
reads; what the server does with them is not known, so :class:`GatewayRealtimeOptions` has a switch for each reading.

A connection begins with the model's configuration.  The model replies to each text, and to the user's speech once it
has ended, with a segment of tagged audio (see :mod:`voicetrio.simulators.tagged`), ``round(n * 24 * ms_per_char)``
samples for a reply of n characters.  The reply to a text is the text itself, or what `replies` say.  A text
``call NAME {…}`` makes the model call that function first, and its reply is what came of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from ._checks import at_least
from ._gateway_realtime_session import GatewayRealtimeSession
from ._gateway_upgrade import ErrorShape, error_message, refusal_status
from ._speaker import SpeechOptions, SpeechSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._server import Connection
    from ._speech import Voice

__all__ = ["GatewayRealtimeOptions", "GatewayRealtimeSimulator"]


@attrs.frozen(kw_only=True, slots=False)  # so that the options of all endpoints can be one class
class GatewayRealtimeOptions(SpeechOptions):
    """How the simulated model behaves, besides what all voices have.  Times are in seconds.

    Attributes:
        config_checked: whether a configuration must have what the gateway's client always sends.
        replies: what the model says, ``|`` between one reply and the next; then, and without, it says what it was told.
        speech_reply: what it says to the user's speech.
        vad: the user speaks where audio is not silent, where it is loud, or never.
        vad_start: seconds of speech after which ``user_speech_started`` comes.
        vad_end: seconds of silence after which ``user_speech_ended`` comes.
        barge_in: whether the user's speech breaks a reply off.
        text_breaks_off: whether a text does.

        announces: whether ``agent_speech_started`` comes.
        end_marker: ``agent_speech_ended`` comes as it should, never, `end_marker_delay` late, or twice.
        end_marker_delay: seconds.
        interrupt_answer: ``interrupt`` is answered by ``response_interrupted``, by nothing, `interrupt_delay` late, or
            after `interrupt_after` more messages of audio; what was to be said is dropped at once, but for the latter.
        interrupt_delay: see `interrupt_answer`.
        interrupt_after: see `interrupt_answer`.
        interrupt_idle: whether ``interrupt`` is answered if there is nothing to interrupt.
        interrupt_ends: where ``agent_speech_ended`` comes for a reply that was broken off.
        late_frames: frames of audio that come after a reply was broken off, and told to be so.
        stop_delay: seconds for which all goes on after ``stop``.

        transcripts: tell what the user and the model say.
        tell_usage: tell how much was used, after each reply.
        tool_event: what a call of a function is called.
        tool_arguments: as an object, or as JSON in a string.
        tool_id: whether a call has an id.
        error_shape: how an error looks.
        error_words: what the fault ``error_frame`` says.
    """

    config_checked: bool = True
    replies: str = ""
    speech_reply: str = "I heard you."
    vad: Literal["silence", "energy", "off"] = "silence"
    vad_start: float = attrs.field(default=0.06, validator=at_least(0))
    vad_end: float = attrs.field(default=0.3, validator=at_least(0))
    barge_in: bool = True
    text_breaks_off: bool = False

    announces: bool = True
    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    interrupt_answer: Literal["interrupted", "none", "late", "after"] = "interrupted"
    interrupt_delay: float = attrs.field(default=0.5, validator=at_least(0))
    interrupt_after: int = attrs.field(default=3, validator=at_least(0))
    interrupt_idle: bool = False
    interrupt_ends: Literal["before", "after", "none"] = "none"
    late_frames: int = attrs.field(default=0, validator=at_least(0))
    stop_delay: float = attrs.field(default=0.0, validator=at_least(0))

    transcripts: bool = True
    tell_usage: bool = True
    tool_event: Literal["tool_call", "function_call"] = "tool_call"
    tool_arguments: Literal["object", "string"] = "object"
    tool_id: bool = True
    error_shape: ErrorShape = "data.error"
    error_words: str = "Internal server error"


class GatewayRealtimeSimulator(SpeechSimulator[GatewayRealtimeOptions]):
    """A server that converses as the gateway's realtime models do.

    Its log has each message of the client's (``received``; of audio and pictures the size), each of its own that is no
    audio (``sent``), and what is wrong with tagged audio that it hears (``gap``, ``double``).

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    path: ClassVar[str] = ""  # clients are given the gateway's address
    endpoint: ClassVar[str] = "/v1/llm"

    def __init__(self, options: GatewayRealtimeOptions | None = None, *, voice: Voice | None = None) -> None:
        super().__init__(GatewayRealtimeOptions() if options is None else options, voice)

    async def handle(self, connection: Connection[GatewayRealtimeOptions]) -> None:
        """Check path, token and parameters; whatever else can be wrong is told on the websocket."""
        status = refusal_status(connection, self.endpoint)
        if status is not None:
            await self.refuse(connection, status)
        else:
            await GatewayRealtimeSession(connection, await connection.accept(), self.voice).run()

    def inserts(self, connection: Connection[GatewayRealtimeOptions]) -> Mapping[str, str]:
        """The messages that faults insert; the error in the shape that the options say."""
        options = connection.options
        return {**super().inserts(connection), "error_frame": error_message(options.error_shape, options.error_words)}

    def refusal(
        self,
        connection: Connection[GatewayRealtimeOptions],  # noqa: ARG002 -- the gateway's words are not known
        status: int,
    ) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal."""
        return [("Content-Type", "application/json")], json.dumps({"message": f"Status {status}"}).encode()
