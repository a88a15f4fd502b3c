"""One accepted connection to Cartesia's simulated speech-to-text: what both endpoints do, and what each does.

The reader takes audio and commands as they come, and puts what is to be said into the outbox; that sends each message
when its time has come, and ends the connection where that was put in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ._cartesia_stt_request import error_message
from ._dictation import Dictation
from ._ear import Ear
from ._outbox import Outbox
from ._websocket import Closing, close_after

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._cartesia_stt_request import Asked
    from ._connection import Connection
    from ._dictation import Piece
    from ._websocket import WebSocketPeer
    from .cartesia_stt import CartesiaSTTOptions, Cue

__all__ = ["ListeningSession", "ManualSession", "TurnsSession"]

BIG = 1 << 20
"""Characters that the fault ``big_message`` adds to the first transcript."""

MAX_LOGGED = 200
"""Characters of a client's text that are logged."""


class ListeningSession(ABC):
    """What both endpoints do.

    Args:
        connection: the connection, for its options and its log.
        peer: its websocket.
        asked: what it is for.
        structured: whether errors have the newer shape.
        script: what to say instead of words, in order of position.
        on_audio: called with the connection's number and its audio, s16le.
    """

    def __init__(
        self,
        connection: Connection[CartesiaSTTOptions],
        peer: WebSocketPeer,
        asked: Asked,
        *,
        structured: bool,
        script: Sequence[Cue] | None,
        on_audio: Callable[[int, bytes], None] | None,
    ) -> None:
        options = connection.options
        self._connection = connection
        self._peer = peer
        self._asked = asked
        self._structured = structured
        self._script = None if script is None else deque(script)
        self._on_audio = on_audio
        self._ear = Ear(connection.log)
        length = max(1, round(options.word_ms * asked.sample_rate / 1000))
        self._dictation = Dictation(length, options.phrase_words, options.pause_words)
        self._outbox = Outbox(peer)
        self._rest = b""
        self._padded = False

    @property
    def _options(self) -> CartesiaSTTOptions:
        return self._connection.options

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        try:
            await self._peer.run(
                self._read, self._outbox.run, partial(close_after, self._options.session_limit, 1000, "session limit")
            )
        finally:
            self._connection.log("audio", samples=self._ear.samples, runs=[list(run) for run in self._ear.runs])

    async def _read(self) -> None:
        await self._greet()
        while (message := await self._peer.receive_within(self._options.idle_timeout)) is not None:
            if isinstance(message, bytes):
                await self._hear(message)
            else:
                self._connection.log("received", message=message[:MAX_LOGGED])
                await self._obey(message)
        raise Closing(self._options.idle_code, "connection idle timeout")

    async def _hear(self, data: bytes, *, last: bool = False) -> None:
        data = self._rest + data
        whole = len(data) - len(data) % self._asked.width
        self._rest = data[whole:]
        pcm = self._asked.decode(data[:whole])
        if self._on_audio is not None:
            self._on_audio(self._connection.number, pcm)
        stretches = self._ear.hear(pcm, last=last)
        if self._script is not None:
            while self._script and self._script[0].position <= self._ear.samples:
                await self._say(self._script.popleft().message)
            return
        for stretch in stretches:
            for piece in self._dictation.take(stretch):
                await self._take(piece)

    async def _listen_to_the_end(self) -> None:
        """Hear the sample that waits for its neighbour, and the word that has begun."""
        await self._hear(b"", last=True)
        if (piece := self._dictation.cut()) is not None:
            await self._take(piece)

    @abstractmethod
    async def _greet(self) -> None:
        """Say what is said before anything is heard."""

    @abstractmethod
    async def _take(self, piece: Piece) -> None:
        """A slot has ended."""

    @abstractmethod
    async def _obey(self, message: str) -> None:
        """Do what a text message asks for."""

    async def _say(self, event: dict[str, Any], *, after: float = 0.0, audio: bool = False) -> None:
        message = {"request_id": self._connection.request_id} | event
        if audio and self._connection.faults.big_message and not self._padded:
            self._padded = True
            message["padding"] = "x" * BIG
        text = msgspec.json.encode(message).decode()
        self._connection.log("sent", message=text[:MAX_LOGGED])
        await self._outbox.put(text, self._options.latency + after, audio=audio)

    async def _complain(self, message: str) -> None:
        event = error_message(400, "Invalid request", message, self._connection.request_id, structured=self._structured)
        await self._say(event)

    async def _end(self) -> None:
        delay = self._options.latency + self._options.close_delay
        if self._options.end_marker == "late":
            delay += self._options.end_marker_delay
        await self._outbox.put(Closing(1000), delay)

    def _seconds(self, samples: int) -> float:
        return samples / self._asked.sample_rate


class ManualSession(ListeningSession):
    """``/stt/websocket``: the client says where transcripts end."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._phrase: list[Piece] = []

    async def _greet(self) -> None:
        pass

    async def _take(self, piece: Piece) -> None:
        if piece.text:
            self._phrase.append(piece)
            if self._options.interims:
                await self._transcribe(final=False)
        if piece.last_word and self._options.auto_final:
            await self._transcribe(final=True)

    async def _obey(self, message: str) -> None:
        match message:
            case "finalize":
                await self._flush()
            case "done" | "close":
                await self._flush()
                await self._finish()
            case _:
                await self._complain(f"Unknown command {message[:40]!r}: send finalize, done or close")

    async def _flush(self) -> None:
        options = self._options
        await self._listen_to_the_end()
        if options.flush_done == "before":
            await self._say({"type": "flush_done", "is_final": False})
        await self._transcribe(final=True, after=options.final_delay)
        if options.flush_done != "none" and options.flush_done != "before":
            delay = options.final_delay + (options.end_marker_delay if options.flush_done == "late" else 0.0)
            for _ in range(2 if options.flush_done == "double" else 1):
                await self._say({"type": "flush_done", "is_final": False}, after=delay)

    async def _finish(self) -> None:
        options = self._options
        late = options.end_marker_delay if options.end_marker == "late" else 0.0
        if options.end_marker != "none":
            for _ in range(2 if options.end_marker == "double" else 1):
                await self._say({"type": "done", "is_final": False}, after=options.final_delay + late)
            if not self._connection.faults.never_close:
                await self._end()

    async def _transcribe(self, *, final: bool, after: float = 0.0) -> None:
        phrase = self._phrase
        if not phrase or self._script is not None:
            return
        event: dict[str, Any] = {
            "type": "transcript",
            "is_final": final,
            "text": "".join(piece.text for piece in phrase),
            "duration": self._seconds(phrase[-1].end - phrase[0].start),
            "language": self._asked.language,
        }
        if self._options.word_times:
            event["words"] = [
                {"word": piece.text, "start": self._seconds(piece.start), "end": self._seconds(piece.end)}
                for piece in phrase
            ]
        await self._say(event, after=after, audio=True)
        if final:
            self._phrase = []


class TurnsSession(ListeningSession):
    """``/stt/turns/websocket``: the server finds the turns, each a phrase and the silence after it."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._said = ""

    async def _greet(self) -> None:
        await self._say({"type": "connected"})

    async def _take(self, piece: Piece) -> None:
        options = self._options
        if piece.text:
            if not self._said:
                await self._say({"type": "turn.start"})
            elif options.resume and self._said.count(" ") == 1:
                await self._say({"type": "turn.eager_end", "transcript": self._said})
                await self._say({"type": "turn.resume"})
            self._said += piece.text
            if options.interims:
                await self._say({"type": "turn.update", "transcript": self._said}, audio=True)
        if piece.last_word and options.eager_end and self._said:
            await self._say({"type": "turn.eager_end", "transcript": self._said})
        if piece.last:
            await self._end_turn()

    async def _obey(self, message: str) -> None:
        try:
            command = msgspec.json.decode(message, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError):
            await self._complain("Invalid message: send a JSON object")
            return
        match command.get("type"):
            case "config":
                pass  # the turns of a simulator are where its options say
            case "close":
                await self._listen_to_the_end()
                await self._end_turn()
                if self._options.end_marker != "none" and not self._connection.faults.never_close:
                    await self._end()
            case other:
                await self._complain(f"Unknown type {str(other)[:40]!r}: send config or close")

    async def _end_turn(self) -> None:
        if self._said:
            await self._say({"type": "turn.end", "transcript": self._said}, audio=True)
            self._said = ""
