"""How a session with LMNT puts a frame of audio on the wire: what goes ahead of it, and the times of its words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ._lmnt_words import WordClock
from ._speaker import Speaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._lmnt_dialect import Dialect
    from ._lmnt_init import Settings
    from ._server import Connection
    from ._speaker import Recording
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .lmnt import LMNTOptions

__all__ = ["FrameSender"]


class FrameSender:
    """Sends the audio of one session.

    Args:
        connection: for its options.
        peer: takes the audio.
        dialect: says how the words' times look.
        settings: what the init asked for.
        voice: what speaks if the options ask for it.
        send: takes the JSON messages.

    Attributes:
        speaker: makes the audio.
        clock: counts it; to be restarted by what LMNT restarts it.
    """

    def __init__(
        self,
        connection: Connection[LMNTOptions],
        peer: WebSocketPeer,
        dialect: Dialect,
        settings: Settings,
        voice: Voice | None,
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        audio, rate = settings.audio, settings.sample_rate
        self.speaker = Speaker(connection, rate, voice, width=audio.width, encode=audio.encode)
        self.clock = WordClock(rate * audio.width, cumulative=dialect.cumulative)
        self._connection = connection
        self._peer = peer
        self._dialect = dialect
        self._settings = settings
        self._send = send
        self._header_sent = False

    def begin_segment(self) -> None:
        """The next frame is a segment's first."""
        if self._connection.options.wav_header == "each":
            self._header_sent = False

    async def send_frame(self, rest: Recording, *, buffer_empty: bool) -> int:
        """Send the next frame of a recording; how many bytes of audio it has.

        Args:
            rest: the recording.
            buffer_empty: what the untyped dialects say of the text that is not spoken yet.

        Raises:
            Disconnected: the connection is gone.
            Closing: the faults want it closed here.
        """
        options = self._connection.options
        if options.empty_frames:
            await self._send_extras([], buffer_empty=buffer_empty)
            await self._peer.send(b"")
        frame = self.speaker.cut(rest)
        words = self.clock.advance(rest, len(frame))
        await self._send_extras(words, buffer_empty=buffer_empty)
        if options.timestamps == "before":
            await self._send_timestamps(words)
        written = partial(rest.advance, len(frame))
        await self._peer.send(self._take_header() + frame, audio=True, written=written)
        if options.timestamps == "after":
            await self._send_timestamps(words)
        return len(frame)

    def _take_header(self) -> bytes:
        """What goes ahead of the next samples."""
        make = self._settings.audio.header
        if make is None or self._header_sent:
            return b""
        self._header_sent = True
        return make(self._settings.sample_rate)

    async def _send_extras(self, words: list[dict[str, Any]], *, buffer_empty: bool) -> None:
        """What the untyped dialects say before each binary message."""
        if self._settings.word_times and not self._dialect.typed:
            await self._send({"durations": words, "buffer_empty": buffer_empty})

    async def _send_timestamps(self, words: list[dict[str, Any]]) -> None:
        """What the typed dialects say of a frame in which words begin."""
        if self._settings.word_times and self._dialect.typed and words:
            await self._send({"type": "timestamps", "timestamps": words})
