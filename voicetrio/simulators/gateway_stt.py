"""Speech-to-text of VideoSDK's inference gateway, the websocket ``/v1/stt``, simulated.

The gateway has no public documentation.  The messages are those that its own client, videosdk-agents 1.0.30, sends and
reads; what the server does with them is not known, so :class:`GatewaySTTOptions` has a switch for each reading.

It recognizes tagged audio (:mod:`voicetrio.simulators.tagged`): its words name the positions of the samples that they
are of (:mod:`voicetrio.simulators._dictation`), and each gap in the audio, and each repetition, is a record of the
server's log (``gap``, ``double``).  What a connection heard in all is its record ``audio``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from ._checks import at_least, positive
from ._gateway_stt_session import GatewaySTTSession
from ._gateway_upgrade import ErrorShape, error_message, refusal_status
from ._options import SimulatorOptions
from ._server import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._server import Connection
    from .cartesia_stt import Cue

__all__ = ["GatewaySTTOptions", "GatewaySTTSimulator"]


@attrs.frozen(kw_only=True, slots=False)  # so that the options of all endpoints can be one class
class GatewaySTTOptions(SimulatorOptions):
    """How the simulated gateway listens.  Times are in seconds unless the name says milliseconds.

    Attributes:
        vendors: that it knows, with commas between them.
        config_checked: whether a configuration must have all fields of its vendor.
        channels: that it takes the audio to have, of which it hears the first.

        word_ms: of audio for each word.
        phrase_words: words of a phrase.
        pause_words: and then silence for as long as so many words.
        interims: whether there is a transcript after each word, not only the final ones.
        auto_final: whether the transcript of a phrase becomes final with the silence behind it, not only by a flush.
        is_final: whether transcripts say if they are final: all, the final ones not, or none.
        speech_events: ``START_SPEECH`` comes with the first word, and ``END_SPEECH`` behind the final transcript,
            ``before`` it, or neither comes.
        latency: from the audio to the message that it makes.
        final_delay: from a flush to its transcript, beyond that.
        end_marker: the final transcript that a flush asks for comes as it should, never, `end_marker_delay` late, or
            with a second ``END_SPEECH``.
        end_marker_delay: see there.
        empty_final: whether a flush of nothing is answered by a final transcript of nothing.

        error_shape: how an error looks.
        error_words: what the fault ``error_frame`` says.
        error_closes: whether what the client did wrong closes the connection, with 1011.
    """

    vendors: str = "google,sarvamai,deepgram,assemblyai,cartesia"
    config_checked: bool = True
    channels: int = attrs.field(default=2, validator=at_least(1))

    word_ms: float = attrs.field(default=250.0, validator=positive)
    phrase_words: int = attrs.field(default=4, validator=at_least(1))
    pause_words: int = attrs.field(default=2, validator=at_least(0))
    interims: bool = True
    auto_final: bool = True
    is_final: Literal["all", "interims", "none"] = "all"
    speech_events: Literal["behind", "before", "none"] = "behind"
    latency: float = attrs.field(default=0.0, validator=at_least(0))
    final_delay: float = attrs.field(default=0.0, validator=at_least(0))
    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    empty_final: bool = False

    error_shape: ErrorShape = "data.error"
    error_words: str = "Internal server error"
    error_closes: bool = False


class GatewaySTTSimulator(Simulator[GatewaySTTOptions]):
    """A server that listens as the gateway does.

    Args:
        options: how it behaves, to begin with.
        script: what to say instead of words, on each connection, in order of position.  A message without a ``type``
            is the data of an event.
        on_audio: called with the number of a connection and its audio, s16le of all channels, as it comes.

    Attributes:
        endpoint: what the path of a request ends with.
    """

    path: ClassVar[str] = ""  # clients are given the gateway's address
    endpoint: ClassVar[str] = "/v1/stt"

    def __init__(
        self,
        options: GatewaySTTOptions | None = None,
        *,
        script: Sequence[Cue] | None = None,
        on_audio: Callable[[int, bytes], None] | None = None,
    ) -> None:
        super().__init__(GatewaySTTOptions() if options is None else options)
        self._script = script
        self._on_audio = on_audio

    async def handle(self, connection: Connection[GatewaySTTOptions]) -> None:
        """Check path, token and parameters; whatever else can be wrong is told on the websocket."""
        status = refusal_status(connection, self.endpoint)
        if status is not None:
            await self.refuse(connection, status)
            return
        peer = await connection.accept()
        await GatewaySTTSession(connection, peer, script=self._script, on_audio=self._on_audio).run()

    def inserts(self, connection: Connection[GatewaySTTOptions]) -> Mapping[str, str]:
        """The messages that faults insert; the error in the shape that the options say."""
        options = connection.options
        return {**super().inserts(connection), "error_frame": error_message(options.error_shape, options.error_words)}
