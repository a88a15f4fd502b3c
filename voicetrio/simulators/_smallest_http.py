"""Smallest's text-to-speech over plain HTTP: the synchronous one, audio as the body, and server-sent events.

Both are taken back by closing the connection.  A chunk of audio counts as a message for the faults; those that insert a
message befall the events only.
"""

from __future__ import annotations

import random
import struct
import uuid
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from ._smallest_synthesizer import left, speaker_for
from ._wire import Disconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ._http_body import HttpBody
    from ._server import Connection
    from ._smallest_account import Account
    from ._smallest_request import SpeechRequest
    from ._speaker import Recording
    from ._speech import Voice
    from .smallest import SmallestOptions

__all__ = ["HttpSpeech"]

CONTENT_TYPES = {"pcm": "audio/pcm", "wav": "audio/wav", "ulaw": "audio/basic", "alaw": "audio/x-alaw-basic"}

UNKNOWN_LENGTH = 0xFFFF_FFFF


class HttpSpeech:
    """One request over HTTP, that was checked and may run.

    Args:
        connection: the connection, for its options, its log and its segments.
        text: what to say.
        request: how to say it.
        account: what else is running.
        voice: what speaks if the options ask for it.
        inserts: for each fault that inserts a message, that message.
    """

    def __init__(
        self,
        connection: Connection[SmallestOptions],
        text: str,
        request: SpeechRequest,
        account: Account,
        voice: Voice | None,
        inserts: Mapping[str, str],
    ) -> None:
        self._connection = connection
        self._request = request
        self._account = account
        self._inserts = inserts
        self._speaker = speaker_for(connection, request, voice)
        self._segment = self._speaker.begin(text)
        self._running = not account.queues
        self._over = False
        if self._running:
            account.start()

    @property
    def _options(self) -> SmallestOptions:
        return self._connection.options

    async def answer_audio(self) -> None:
        """Answer with the audio.

        Raises:
            Disconnected: the client is gone, or the body was cut.
        """
        headers = [("Content-Type", CONTENT_TYPES[self._request.encoding]), *self._names()]
        await self._answer(self._send_audio, headers, {})

    async def answer_events(self) -> None:
        """Answer with server-sent events.

        Raises:
            Disconnected: the client is gone, or the body was cut.
        """
        headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"), *self._names()]
        inserts = {
            name: self._event(text, "error" if name == "error_frame" else "audio")
            for name, text in self._inserts.items()
        }
        await self._answer(self._send_events, headers, inserts)

    async def _answer(
        self,
        produce: Callable[[HttpBody], Awaitable[None]],
        headers: list[tuple[str, str]],
        inserts: Mapping[str, bytes],
    ) -> None:
        taken_back = True
        try:
            await self._connection.stream(produce, headers=headers, inserts=inserts)
        except Disconnected as ending:
            taken_back = left(ending)
            raise
        finally:
            self._end(cleared=taken_back)

    def _end(self, *, cleared: bool) -> None:
        """Note that the audio is over, all of it or as much as was wanted."""
        if self._over:
            return
        self._over = True
        if self._running:
            self._account.stop()
        self._connection.server.end_segment(self._segment, cleared=cleared)

    def _names(self) -> list[tuple[str, str]]:
        """The headers that name the request, the same in every run with the same seed."""
        seed = f"{self._options.seed}/{self._connection.number}/{self._segment.number}"
        source = random.Random(seed)  # noqa: S311 -- not a secret
        session, request = (uuid.UUID(int=source.getrandbits(128), version=4) for _ in range(2))
        headers = [("X-Session-Id", f"http_{session}"), ("X-Request-Id", f"task_{request}")]
        if self._options.echo and self._request.session_id is not None:
            headers.append(("X-External-Session-Id", self._request.session_id))
        if self._options.echo and self._request.request_id is not None:
            headers.append(("X-External-Request-Id", self._request.request_id))
        return headers

    # The bodies.

    async def _send_audio(self, body: HttpBody) -> None:
        async def send(frame: bytes, written: Callable[[], None] | None) -> None:
            await body.send(frame, audio=bool(frame), written=written)

        await self._speak(send)
        if self._options.end_marker == "none":
            raise Disconnected("end_marker=none")
        await self._delay_end()

    async def _send_events(self, body: HttpBody) -> None:
        async def send(frame: bytes, written: Callable[[], None] | None) -> None:
            data = {"audio": frame, "done": False, "status": "206"}  # msgspec writes bytes as base64
            await body.send(
                self._event(msgspec.json.encode(data).decode(), "audio"), audio=bool(frame), written=written
            )

        await self._speak(send)
        if self._options.end_marker == "none":
            return
        await self._delay_end()
        done = '{"status":"200","done":true}'
        for _ in range(2 if self._options.end_marker == "double" else 1):
            self._connection.log("sent", message=done)
            await body.send(self._event(done))

    async def _delay_end(self) -> None:
        if self._options.end_marker == "late":
            await trio.sleep(self._options.end_marker_delay)

    def _event(self, data: str, kind: str | None = None) -> bytes:
        lines = [*([] if kind is None else [f"event: {kind}"]), f"data: {data}", "", ""]
        return ("\r\n" if self._options.sse_crlf else "\n").join(lines).encode()

    async def _speak(self, send: Callable[[bytes, Callable[[], None] | None], Awaitable[None]]) -> None:
        """Send the audio, when the request may run."""
        if not self._running:
            await self._account.wait()
            self._running = True
        due = trio.current_time() + self._options.first_audio
        rest = await self._speaker.record(self._segment)
        head = self._wav_head(rest) if self._request.encoding == "wav" else b""
        while not rest.over:
            await trio.sleep_until(due)
            if self._options.empty_frames:
                await send(b"", None)
            frame = self._speaker.cut(rest)
            await send(head + frame, partial(rest.advance, len(frame)))
            head = b""
            due += self._speaker.seconds(len(frame))
        self._end(cleared=False)

    def _wav_head(self, rest: Recording) -> bytes:
        rate, width = self._request.sample_rate, self._request.width
        size = len(rest.audio) if self._options.wav_length == "exact" else UNKNOWN_LENGTH
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * width, width, 8 * width)
        whole = min(size + 36, UNKNOWN_LENGTH)
        return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", size)
