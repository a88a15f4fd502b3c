"""One accepted connection to the simulated gateway's speech-to-text.

The reader takes audio and flushes as they come, and puts what is to be said into the outbox, which sends each message
when its time has come.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ._dictation import Dictation
from ._ear import Ear
from ._gateway_command import Failure, decode_command
from ._gateway_stt_config import input_rate_of
from ._gateway_upgrade import error_message, event_message
from ._outbox import Outbox
from ._websocket import Closing, close_after

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._connection import Connection
    from ._dictation import Piece
    from ._websocket import WebSocketPeer
    from .cartesia_stt import Cue
    from .gateway_stt import GatewaySTTOptions

__all__ = ["GatewaySTTSession"]

BIG = 1 << 20
"""Characters that the fault ``big_message`` adds to the first transcript."""

MAX_LOGGED = 200
"""Characters of a message that are logged."""


class GatewaySTTSession:
    """What happens on a connection after the handshake.

    Args:
        connection: the connection, for its options and its log.
        peer: its websocket.
        script: what to say instead of words, in order of position.
        on_audio: called with the connection's number and its audio, s16le.
    """

    _dictation: Dictation  # as soon as the configuration has come

    def __init__(
        self,
        connection: Connection[GatewaySTTOptions],
        peer: WebSocketPeer,
        *,
        script: Sequence[Cue] | None,
        on_audio: Callable[[int, bytes], None] | None,
    ) -> None:
        self._connection = connection
        self._peer = peer
        query = dict(connection.request.query)
        self._vendor = query["provider"]
        self._language = ""
        self._configured = False
        self._script = None if script is None else deque(script)
        self._on_audio = on_audio
        self._ear = Ear(connection.log)
        self._outbox = Outbox(peer)
        self._phrase = ""
        self._speaking = False
        self._padded = False

    @property
    def _options(self) -> GatewaySTTOptions:
        return self._connection.options

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        limit = partial(close_after, self._options.session_limit, 1001, "session limit")
        try:
            await self._peer.run(self._read, self._outbox.run, limit)
        finally:
            self._connection.log("audio", samples=self._ear.samples, runs=[list(run) for run in self._ear.runs])

    async def _read(self) -> None:
        while (message := await self._peer.receive_within(self._options.idle_timeout)) is not None:
            try:
                await self._obey(*decode_command(message))
            except Failure as failure:
                await self._send(error_message(self._options.error_shape, failure.words))
                if self._options.error_closes:
                    await self._outbox.put(Closing(1011), self._options.latency)
        raise Closing(1001, "idle timeout")

    async def _obey(self, kind: str, data: object) -> None:
        if kind == "config":
            self._configure(data)
        elif kind not in ("audio", "flush"):
            raise Failure(f"Invalid message: unknown type {kind}")
        elif not self._configured:
            raise Failure("Invalid message: config expected first")
        elif kind == "audio":
            await self._hear(self._decode(data))
        else:
            self._connection.log("received", message=kind)
            await self._flush()

    def _configure(self, config: Any) -> None:
        options = self._options
        if self._vendor not in options.vendors.split(","):
            raise Failure(f"Unsupported provider: {self._vendor}")
        rate = input_rate_of(self._vendor, config, check=options.config_checked)
        self._connection.log("config", config=config)
        self._language = str(config.get("language", ""))
        length = max(1, round(options.word_ms * rate / 1000))
        self._dictation = Dictation(length, options.phrase_words, options.pause_words)
        self._configured = True

    def _decode(self, data: object) -> bytes:
        try:
            pcm = base64.b64decode(data, validate=True) if isinstance(data, str) else b"\0"
        except (binascii.Error, ValueError):
            raise Failure("Invalid audio: no base64") from None
        if len(pcm) % (2 * self._options.channels):
            raise Failure("Invalid audio: not whole samples of all channels")
        return pcm

    # What is heard.

    async def _hear(self, pcm: bytes, *, last: bool = False) -> None:
        if self._on_audio is not None and not last:
            self._on_audio(self._connection.number, pcm)
        first = np.frombuffer(pcm, "<i2")[:: self._options.channels].tobytes()
        stretches = self._ear.hear(first, last=last)
        if self._script is not None:
            while self._script and self._script[0].position <= self._ear.samples:
                await self._recite(self._script.popleft().message)
            return
        for stretch in stretches:
            for piece in self._dictation.take(stretch):
                await self._take(piece)

    async def _take(self, piece: Piece) -> None:
        if piece.text:
            if not self._speaking:
                self._speaking = True
                await self._tell_speech("START_SPEECH")
            self._phrase += piece.text
            if self._options.interims:
                await self._transcribe(self._phrase, final=False)
        if piece.last and self._options.auto_final:
            await self._end_phrase()

    async def _flush(self) -> None:
        """Hear the sample that waits for its neighbour, and the word that has begun; all of it is final."""
        options = self._options
        await self._hear(b"", last=True)
        if self._script is not None:
            return
        if (piece := self._dictation.cut()) is not None:
            await self._take(piece)
        delay = options.final_delay + (options.end_marker_delay if options.end_marker == "late" else 0.0)
        if options.end_marker == "none":
            return
        if self._phrase:
            await self._end_phrase(after=delay, twice=options.end_marker == "double")
        elif options.empty_final:
            await self._transcribe("", final=True, after=delay)

    # What is said.

    async def _end_phrase(self, *, after: float = 0.0, twice: bool = False) -> None:
        phrase, self._phrase = self._phrase, ""
        if not phrase:
            return
        self._speaking = False
        before = self._options.speech_events == "before"
        if before:
            await self._tell_speech("END_SPEECH")
        await self._transcribe(phrase, final=True, after=after)
        for _ in range((not before) + twice):
            await self._tell_speech("END_SPEECH", after=after)

    async def _tell_speech(self, name: str, *, after: float = 0.0) -> None:
        if self._options.speech_events != "none":
            await self._send(event_message(name), after=after)

    async def _transcribe(self, text: str, *, final: bool, after: float = 0.0) -> None:
        told: dict[str, Any] = {"text": text, "language": self._language, "confidence": 0.9}
        if self._options.is_final == "all" or (self._options.is_final == "interims" and not final):
            told["is_final"] = final
        if self._connection.faults.big_message and not self._padded:
            self._padded = True
            told["padding"] = "x" * BIG
        await self._send(event_message("TRANSCRIPT", **told), after=after, audio=True)

    async def _recite(self, message: dict[str, Any]) -> None:
        await self._send(json.dumps(message if "type" in message else {"type": "event", "data": message}))

    async def _send(self, message: str, *, after: float = 0.0, audio: bool = False) -> None:
        self._connection.log("sent", message=message[:MAX_LOGGED])
        await self._outbox.put(message, self._options.latency + after, audio=audio)
