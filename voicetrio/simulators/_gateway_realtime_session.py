"""One accepted connection to a simulated realtime model of the gateway.

Three loops share it.  The reader takes the client's messages as they come, and hears when the user speaks; the worker
speaks one reply after the other; the third sends what comes late.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from ._gateway_command import Failure, decode_command
from ._gateway_upgrade import error_message, event_message
from ._realtime_ear import SpeechDetector, jpeg_size
from ._speaker import Speaker
from ._websocket import Closing, close_after

if TYPE_CHECKING:
    from ._server import Connection, Segment
    from ._speaker import Recording
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .gateway_realtime import GatewayRealtimeOptions

__all__ = ["GatewayRealtimeSession"]

RATE = 24_000
"""Of all audio, in Hz; it is mono."""

MAX_REPLIES = 1000
"""Replies that may wait; a client that asks for more is told so."""

_CALL = re.compile(r"call (\w+)\s*(\{.*\})?", re.DOTALL)
_NEEDED = ("model", "instructions", "voice", "language_code", "candidate_count", "response_modalities")


@attrs.define(eq=False)
class _Reply:
    """A reply to be spoken.

    Attributes:
        text: what the model says.
        cut: whether it was broken off.
        answers: ``interrupt`` messages to be answered when it is.
        more: messages of audio that are still sent then.
        by_user: whether it was the user's speech.
    """

    text: str
    cut: bool = False
    answers: int = 0
    more: int = 0
    by_user: bool = False
    segment: Segment | None = None


class GatewayRealtimeSession:
    """What happens on a connection after the handshake.

    Args:
        connection: the connection, for its options, its log and its segments.
        peer: its websocket.
        voice: what speaks if the options ask for it.
    """

    def __init__(
        self, connection: Connection[GatewayRealtimeOptions], peer: WebSocketPeer, voice: Voice | None
    ) -> None:
        self._connection = connection
        self._peer = peer
        self._speaker = Speaker(connection, RATE, voice)
        self._detector = SpeechDetector(connection.log, RATE)
        self._script = deque(filter(None, connection.options.replies.split("|")))
        self._modalities: list[str] = []
        self._replies: deque[_Reply] = deque()
        self._current: _Reply | None = None
        self._wake = trio.lowlevel.ParkingLot()
        self._late_in, self._late_out = trio.open_memory_channel[tuple[float, str]](MAX_REPLIES)
        self._calls: dict[str, str] = {}
        self._words = 0

    @property
    def _options(self) -> GatewayRealtimeOptions:
        return self._connection.options

    async def run(self) -> None:
        """Serve until the connection ends.

        Raises:
            Disconnected: the client is gone.
        """
        with self._late_in, self._late_out:
            await self._peer.run(
                self._read,
                self._work,
                self._send_late,
                partial(close_after, self._options.session_limit, 1001, "session limit"),
            )

    # The reader.

    async def _read(self) -> None:
        while True:
            message = await self._peer.receive_within(self._options.idle_timeout)
            if message is None:
                raise Closing(1001, "idle timeout")
            try:
                await self._obey(*decode_command(message))
            except Failure as failure:
                await self._send(error_message(self._options.error_shape, failure.words))

    async def _obey(self, kind: str, data: Any) -> None:
        obey = {
            "config": self._on_config,
            "audio": self._on_audio,
            "video": self._on_video,
            "text": self._on_text,
            "text_with_frames": self._on_text_with_frames,
            "interrupt": self._on_interrupt,
            "tool_response": self._on_tool_response,
            "stop": self._on_stop,
        }.get(kind)
        if obey is None:
            raise Failure(f"Invalid message: unknown type {kind}")
        if not self._modalities and kind not in ("config", "stop"):
            raise Failure("Invalid message: config expected first")
        await obey(data)

    async def _on_config(self, config: Any) -> None:
        if not isinstance(config, dict):
            raise Failure("Invalid config")
        self._connection.log("config", config=config)
        if self._options.config_checked:
            missing = [name for name in _NEEDED if config.get(name) is None]
            if missing or not str(config["model"]).startswith("models/"):
                raise Failure(f"Invalid config: {', '.join(missing) or 'model'}")
        self._modalities = list(config.get("response_modalities") or ["AUDIO"])

    async def _on_audio(self, data: Any) -> None:
        pcm = _decode(data)
        if not pcm or len(pcm) % 2:
            raise Failure("Invalid audio: no whole samples")
        self._connection.log("audio", bytes=len(pcm))
        options = self._options
        for started in self._detector.hear(pcm, options.vad, options.vad_start, options.vad_end):
            await (self._on_speech_started() if started else self._on_speech_ended())

    async def _on_speech_started(self) -> None:
        await self._send(event_message("user_speech_started"))
        if self._options.barge_in:
            self._break_off(by_user=True)

    async def _on_speech_ended(self) -> None:
        await self._send(event_message("user_speech_ended"))
        heard = f"{self._detector.ear.samples} samples"
        if self._options.transcripts:
            await self._send(event_message("input_transcription", text=heard[:2]))
            await self._send(event_message("input_transcription", text=heard))
            await self._send(event_message("user_transcript", text=heard))
        self._ask_for(self._options.speech_reply)

    async def _on_video(self, data: Any) -> None:
        self._see(data)

    async def _on_text(self, text: Any) -> None:
        if not isinstance(text, str) or not text:
            raise Failure("Invalid message: text without text")
        self._connection.log("received", type="text", text=text)
        if self._options.text_breaks_off:
            self._break_off()
        if (called := _CALL.fullmatch(text)) is not None:
            await self._call(called[1], called[2] or "{}")
        else:
            self._ask_for(self._script.popleft() if self._script else text)

    async def _on_text_with_frames(self, data: Any) -> None:
        frames = data.get("frames") if isinstance(data, dict) else None
        if not isinstance(frames, list) or not frames:
            raise Failure("Invalid message: frames expected")
        for frame in frames:
            self._see(frame)
        await self._on_text(data.get("text"))

    async def _on_interrupt(self, _data: Any) -> None:
        self._connection.log("received", type="interrupt")
        if not self._break_off(answered=True) and self._options.interrupt_idle:
            await self._send(event_message("response_interrupted"))

    async def _on_tool_response(self, data: Any) -> None:
        fields = data if isinstance(data, dict) else {}
        self._connection.log("received", type="tool_response", data=fields)
        name = self._calls.pop(str(fields.get("id")), None)
        if name is None or name != fields.get("name") or not isinstance(fields.get("response"), str):
            raise Failure("Invalid tool response")
        self._ask_for(fields["response"])

    async def _on_stop(self, _data: Any) -> None:
        self._connection.log("received", type="stop")
        await trio.sleep(self._options.stop_delay)
        raise Closing(1000)

    def _see(self, data: Any) -> None:
        jpeg = _decode(data)
        size = jpeg_size(jpeg)
        if size is None:
            raise Failure("Invalid picture: no JPEG")
        self._connection.log("picture", bytes=len(jpeg), width=size[0], height=size[1])

    async def _call(self, name: str, arguments: str) -> None:
        options = self._options
        identity = f"call_{len(self._calls)}_{self._words}"
        self._words += 1
        self._calls[identity if options.tool_id else f"call-{self._words}"] = name
        fields: dict[str, Any] = {"id": identity} if options.tool_id else {}
        fields["arguments"] = arguments if options.tool_arguments == "string" else _loads(arguments)
        await self._send(event_message(options.tool_event, name=name, **fields))

    def _ask_for(self, text: str) -> None:
        if len(self._replies) >= MAX_REPLIES:
            raise Failure("Rate limit: too many replies")
        self._replies.append(_Reply(text))
        self._wake.unpark_all()

    def _break_off(self, *, by_user: bool = False, answered: bool = False) -> bool:
        """Drop all that is to be said; whether there was anything."""
        reply = self._current or (self._replies[0] if self._replies else None)
        if reply is None:
            return False
        if self._current is None:
            self._current = reply  # the worker will find it broken off
        self._replies.clear()
        if not reply.cut:
            reply.cut, reply.by_user = True, by_user
            options = self._options
            reply.more = options.interrupt_after if answered and options.interrupt_answer == "after" else 0
        reply.answers += answered
        self._wake.unpark_all()
        return True

    # The worker.

    async def _work(self) -> None:
        while True:
            while self._current is None and not self._replies:
                await self._wake.park()
            if self._current is None:
                self._current = self._replies.popleft()
            reply = self._current
            await self._reply(reply)
            self._current = None

    async def _reply(self, reply: _Reply) -> None:
        await self._pause(reply, self._options.first_audio)
        begun = not reply.cut
        if begun:
            if self._options.announces:
                await self._send(event_message("agent_speech_started"))
            if "AUDIO" in self._modalities:
                await self._speak(reply)
            if not reply.cut:
                await self._end(reply)
        if reply.cut:
            await self._tell_broken_off(reply, begun=begun)

    async def _speak(self, reply: _Reply) -> None:
        reply.segment = self._speaker.begin(reply.text)
        rest = await self._speaker.record(reply.segment)
        due = trio.current_time()
        for word in reply.text.split(" "):
            await self._tell_word(reply, word)
        while not rest.over and not (reply.cut and not reply.more):
            reply.more = max(0, reply.more - reply.cut)
            frame = await self._send_frame(rest)
            due += self._speaker.seconds(len(frame))
            await self._pause(reply, due - trio.current_time())
        reply.segment.cleared = not rest.over

    async def _send_frame(self, rest: Recording) -> bytes:
        if self._options.empty_frames:
            await self._peer.send(_audio(b""), audio=False)
        frame = self._speaker.cut(rest)
        await self._peer.send(_audio(frame), audio=True, written=partial(rest.advance, len(frame)))
        return frame

    async def _tell_word(self, reply: _Reply, word: str) -> None:
        if self._options.transcripts and not reply.cut:
            await self._send(event_message("output_transcription", text=word + " "))

    async def _end(self, reply: _Reply) -> None:
        options = self._options
        if options.transcripts or "AUDIO" not in self._modalities:
            await self._send(event_message("text_response", text=reply.text, is_final=True))
        if options.end_marker == "late":
            await self._pause(reply, options.end_marker_delay)
            if reply.cut:
                return
        for _ in range({"none": 0, "double": 2}.get(options.end_marker, 1)):
            await self._send(event_message("agent_speech_ended"))
        if options.tell_usage:
            await self._send(event_message("usage_metadata", total_tokens=len(reply.text)))

    async def _tell_broken_off(self, reply: _Reply, *, begun: bool) -> None:
        options = self._options
        if begun and options.interrupt_ends == "before":
            await self._send(event_message("agent_speech_ended"))
        interrupted = event_message("response_interrupted")
        if reply.by_user:
            await self._send(interrupted)
        for _ in range(reply.answers):
            if options.interrupt_answer == "late":
                await self._late_in.send((trio.current_time() + options.interrupt_delay, interrupted))
            elif options.interrupt_answer != "none":
                await self._send(interrupted)
        if begun and options.interrupt_ends == "after":
            await self._send(event_message("agent_speech_ended"))
        if begun and options.late_frames and "AUDIO" in self._modalities:
            rest = self._speaker.unasked(options.late_frames)
            while not rest.over:
                await self._send_frame(rest)

    async def _pause(self, reply: _Reply, seconds: float) -> None:
        """Wait, but not for a reply that is broken off meanwhile."""
        if seconds <= 0:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(seconds):
            while not reply.cut or reply.more:
                await self._wake.park()

    async def _send_late(self) -> None:
        async for due, message in self._late_out:
            await trio.sleep_until(due)
            await self._send(message)

    async def _send(self, message: str) -> None:
        self._connection.log("sent", message=message)
        await self._peer.send(message)


def _audio(pcm: bytes) -> str:
    return msgspec.json.encode({"type": "audio", "data": {"audio": pcm}}).decode()  # bytes as base64


def _decode(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Failure("Invalid data: no base64") from None


def _loads(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
