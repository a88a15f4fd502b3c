"""One accepted connection to the simulated gateway's speech.

Two loops share it.  The reader takes the client's messages as they come; the worker speaks one flush after the other
and alone sends audio and completions.
"""

from __future__ import annotations

import struct
import unicodedata
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from ._gateway_command import Failure, decode_command
from ._gateway_tts_config import sample_rate_of
from ._gateway_upgrade import error_message, event_message
from ._server import Segment
from ._speaker import Speaker
from ._websocket import Closing, close_after

if TYPE_CHECKING:
    from ._server import Connection
    from ._speaker import Recording
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .gateway_tts import GatewayTTSOptions

__all__ = ["GatewayTTSSession"]

MAX_JOBS = 1000
"""Flushes that may wait; a client that asks for more is not read until one is done."""

COMPLETE = event_message("TTS_COMPLETE")


class GatewayTTSSession:
    """What happens on a connection after the handshake.

    Args:
        connection: the connection, for its options, its log and its segments.
        peer: its websocket.
        voice: what speaks if the options ask for it.
    """

    _speaker: Speaker  # as soon as the configuration has come

    def __init__(self, connection: Connection[GatewayTTSOptions], peer: WebSocketPeer, voice: Voice | None) -> None:
        self._connection = connection
        self._peer = peer
        self._voice = voice
        self._vendor = dict(connection.request.query)["provider"]
        self._configured = trio.Event()
        self._jobs_in, self._jobs_out = trio.open_memory_channel[Segment](MAX_JOBS)
        self._buffer = ""

    @property
    def _options(self) -> GatewayTTSOptions:
        return self._connection.options

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        with self._jobs_in, self._jobs_out:
            await self._peer.run(
                self._read, self._work, partial(close_after, self._options.session_limit, 1001, "session limit")
            )

    # The reader.

    async def _read(self) -> None:
        while True:
            message = await self._peer.receive_within(self._options.idle_timeout)
            if message is None:
                raise Closing(1001, "idle timeout")
            shown = {"bytes": len(message)} if isinstance(message, bytes) else {"message": message}
            self._connection.log("received", **shown)
            words = ""
            try:
                await self._obey(*decode_command(message))
            except Failure as failure:
                words = failure.words
            if words:
                await self._complain(words)

    async def _complain(self, words: str) -> None:
        await self._send(error_message(self._options.error_shape, words))
        if self._options.error_closes:
            raise Closing(1011)

    async def _obey(self, kind: str, data: object) -> None:
        if kind == "config":
            self._configure(data)
            await self._acknowledge("success")
            return
        if kind not in ("text", "flush"):
            raise Failure(f"Invalid message: unknown type {kind}")
        if not self._configured.is_set():
            raise Failure("Invalid message: config expected first")
        if kind == "flush":
            await self._flush()
        elif isinstance(data, str):
            self._buffer += data
        else:
            raise Failure("Invalid message: text without text")
        await self._acknowledge("ok")

    def _configure(self, config: object) -> None:
        rate = sample_rate_of(self._vendor, config, check=self._options.config_checked)
        self._speaker = Speaker(self._connection, rate, self._voice)
        self._configured.set()

    async def _flush(self) -> None:
        text, self._buffer = self._buffer, ""
        if not text:
            return
        options = self._options
        if self._vendor in options.short_refused.split(",") and self._length(text) < options.shortest:
            raise Failure("400: text is too short")
        segment = self._speaker.begin(text)
        try:
            self._jobs_in.send_nowait(segment)
        except trio.WouldBlock:
            await self._jobs_in.send(segment)

    def _length(self, text: str) -> int:
        if self._options.short_counts == "characters":
            return len(text.strip())
        return sum(unicodedata.category(char)[0] in "LMN" for char in text)

    async def _acknowledge(self, words: str) -> None:
        if self._options.acknowledges:
            await self._send(words)

    # The worker.

    async def _work(self) -> None:
        await self._configured.wait()
        await self._speak_unasked(self._options.audio_before_asked)
        while True:
            segment = await self._jobs_out.receive()
            await self._speak(await self._speaker.record(segment), self._options.first_audio)
            if self._options.completes == "flush" or not self._jobs_out.statistics().current_buffer_used:
                await self._complete()

    async def _speak(self, rest: Recording, first_audio: float = 0.0) -> None:
        due = trio.current_time() + first_audio
        first = True
        while not rest.over:
            await trio.sleep_until(due)
            if self._options.empty_frames:
                await self._send_audio(b"", first=False)
            frame = self._speaker.cut(rest)
            await self._send_audio(frame, first=first)
            rest.advance(len(frame))
            due += self._speaker.seconds(len(frame))
            first = False
        segment = rest.segment
        self._connection.log("segment_ended", number=segment.number, sent=segment.sent, cleared=segment.cleared)

    async def _complete(self) -> None:
        options = self._options
        if options.end_marker == "late":
            await trio.sleep(options.end_marker_delay)
        for _ in range({"none": 0, "double": 2}.get(options.end_marker, 1)):
            await self._send(COMPLETE)
        if options.late_frames:
            await trio.sleep(options.late_delay)
            await self._speak_unasked(options.late_frames)

    async def _speak_unasked(self, frames: int) -> None:
        if frames:
            await self._speak(self._speaker.unasked(frames))

    # What goes out.

    async def _send_audio(self, pcm: bytes, *, first: bool) -> None:
        options = self._options
        if pcm and (options.riff == "each" or (options.riff in ("first", "split") and first)):
            pcm = _riff_header(self._speaker.sample_rate) + pcm
        if first and options.riff == "split":
            await self._send_part(pcm[: options.riff_split], audio=False)
            pcm = pcm[options.riff_split :]
        await self._send_part(pcm, audio=bool(pcm))

    async def _send_part(self, pcm: bytes, *, audio: bool) -> None:
        if self._options.audio == "binary":
            await self._peer.send(pcm, audio=audio)
        else:
            message = msgspec.json.encode({"type": "audio", "data": {"audio": pcm}}).decode()  # bytes as base64
            await self._peer.send(message, audio=audio)

    async def _send(self, message: str) -> None:
        self._connection.log("sent", message=message)
        await self._peer.send(message)


def _riff_header(sample_rate: int) -> bytes:
    """The header of 16-bit samples whose end is not known."""
    layout = struct.pack("<HHIIHH", 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data\xff\xff\xff\xff"
