"""Speech of VideoSDK's inference gateway, the websocket ``/v1/tts``, simulated.

The gateway has no public documentation.  The messages are those that its own client, videosdk-agents 1.0.30, sends and
reads; what the server does with them is not known, so :class:`GatewayTTSOptions` has a switch for each reading.

A connection begins with the vendor's configuration.  Text is joined as it comes and spoken when it is flushed: each
flush is one segment of tagged audio (see :mod:`voicetrio.simulators.tagged`), ``round(n * sample_rate * ms_per_char /
1000)`` samples for n characters.  There is nothing that cancels.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from ._checks import at_least
from ._gateway_tts_session import GatewayTTSSession
from ._gateway_upgrade import ErrorShape, error_message, refusal_status
from ._speaker import SpeechOptions, SpeechSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._server import Connection
    from ._speech import Voice

__all__ = ["GatewayTTSOptions", "GatewayTTSSimulator"]


@attrs.frozen(kw_only=True)
class GatewayTTSOptions(SpeechOptions):
    """How the simulated gateway speaks, besides what all voices have.  Times are in seconds.

    Attributes:
        config_checked: whether a configuration must have all fields of its vendor.
        acknowledges: answer what the client sends in words that are no JSON.
        short_refused: vendors, with commas between them, that answer 400 to short text.
        shortest: what a text must have, so as not to be short.
        short_counts: characters without the white space around them, or letters and digits.

        completes: ``TTS_COMPLETE`` comes for each flush, or when all that was asked for has been spoken.
        end_marker: it is sent as it should, never, `end_marker_delay` late, or twice.
        end_marker_delay: seconds.
        late_frames: frames of audio that come `late_delay` after it, as a segment of their own.
        late_delay: see `late_frames`.
        audio_before_asked: frames of audio that come right after the configuration, as a segment of their own.

        audio: in JSON, as base64, or in binary messages.
        riff: a RIFF header is in front of no message, each, the first of a segment, or there in two parts.
        riff_split: for ``split``: bytes of the first message, which has nothing but the header's beginning.
        error_shape: how an error looks.
        error_words: what the fault ``error_frame`` says.
        error_closes: whether what the client did wrong closes the connection, with 1011.
    """

    config_checked: bool = True
    acknowledges: bool = False
    short_refused: str = "sarvamai"
    shortest: int = attrs.field(default=5, validator=at_least(0))
    short_counts: Literal["characters", "letters"] = "characters"

    completes: Literal["flush", "turn"] = "flush"
    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    late_frames: int = attrs.field(default=0, validator=at_least(0))
    late_delay: float = attrs.field(default=0.0, validator=at_least(0))
    audio_before_asked: int = attrs.field(default=0, validator=at_least(0))

    audio: Literal["json", "binary"] = "json"
    riff: Literal["none", "each", "first", "split"] = "none"
    riff_split: int = attrs.field(default=20, validator=at_least(1))
    error_shape: ErrorShape = "data.error"
    error_words: str = "Internal server error"
    error_closes: bool = False


class GatewayTTSSimulator(SpeechSimulator[GatewayTTSOptions]):
    """A server that speaks as the gateway does.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.

    Attributes:
        endpoint: what the path of a request ends with.
    """

    path: ClassVar[str] = ""  # clients are given the gateway's address
    endpoint: ClassVar[str] = "/v1/tts"

    def __init__(self, options: GatewayTTSOptions | None = None, *, voice: Voice | None = None) -> None:
        super().__init__(GatewayTTSOptions() if options is None else options, voice)

    async def handle(self, connection: Connection[GatewayTTSOptions]) -> None:
        """Check path, token and parameters; whatever else can be wrong is told on the websocket."""
        status = refusal_status(connection, self.endpoint)
        if status is not None:
            await self.refuse(connection, status)
        else:
            await GatewayTTSSession(connection, await connection.accept(), self.voice).run()

    def inserts(self, connection: Connection[GatewayTTSOptions]) -> Mapping[str, str]:
        """The messages that faults insert; the error in the shape that the options say."""
        options = connection.options
        return {**super().inserts(connection), "error_frame": error_message(options.error_shape, options.error_words)}

    def refusal(
        self,
        connection: Connection[GatewayTTSOptions],  # noqa: ARG002 -- the gateway's words are not known
        status: int,
    ) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal."""
        return [("Content-Type", "application/json")], json.dumps({"message": f"Status {status}"}).encode()
