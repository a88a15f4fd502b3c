"""What is spoken on one socket of the simulated Smallest: audio in order, and `complete` after it.

Text that is ready to be spoken is a :class:`Release`.  The releases of one :class:`Line`, a classic request or a
context, are spoken one after the other and count as one running request; those of several lines are, too, unless the
options interleave them.  What a `complete` is for is a :class:`Turn`: it is due some time after the last audio, on a
timer that holds up nothing.
"""

from __future__ import annotations

import math
import random
import uuid
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec
import trio

from ._faults import Faults
from ._g711 import encode
from ._smallest_request import RequestError
from ._speaker import Speaker
from ._websocket import Closing
from ._wire import Disconnected

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._server import Connection, Segment
    from ._smallest_account import Account
    from ._smallest_request import Message, SpeechRequest
    from ._speaker import Recording
    from ._speech import Voice
    from ._websocket import WebSocketPeer
    from .smallest import SmallestOptions

__all__ = ["Identity", "Line", "Release", "Synthesizer", "Turn", "left", "speaker_for"]

MAX_RELEASES = 1000
"""Releases that may wait; a client that asks for more is not read until one is over."""

Envelope = dict[str, Any]

_FAULTS = frozenset(field.name for field in attrs.fields(Faults))


@attrs.define
class Times:
    """How far the words of a request have come.

    Attributes:
        words: how many words were told.
        seconds: how much audio the releases before this one have.
    """

    words: int = 0
    seconds: float = 0.0


@attrs.frozen
class Identity:
    """The names under which a request is answered.

    Attributes:
        session_id: the server's name for the socket.
        request_id: the server's name for the request.
        external_session_id: the client's name for its session, None where it gave none or is not told.
        external_request_id: the client's name for the request, likewise.
        times: of the words, which are counted for each request.
    """

    session_id: str
    request_id: str
    external_session_id: str | None = None
    external_request_id: str | None = None
    times: Times = attrs.Factory(Times)

    def names(self) -> Envelope:
        """All names that there are."""
        names = {
            "session_id": self.session_id,
            "request_id": self.request_id,
            "external_session_id": self.external_session_id,
            "external_request_id": self.external_request_id,
        }
        return {name: value for name, value in names.items() if value is not None}

    def envelope(self, status: str, **rest: object) -> Envelope:
        """A message about this request."""
        return {**self.names(), "status": status, **rest}


@attrs.define(eq=False)
class Turn:
    """What one `complete` is for.

    Attributes:
        identity: whose names it carries.
        line: what its releases are queued in.
        delay: seconds from the last audio to it, as asked for.
        pending: releases that are not over.
        closed: whether no further release can come.
        void: whether it is not to be sent, because the request failed or was taken back.
    """

    identity: Identity
    line: Line
    delay: float
    pending: int = 0
    closed: bool = False
    void: bool = False


@attrs.define(eq=False)
class Line:
    """Releases in the order of their speaking, which count as one running request.

    Attributes:
        pending: those that are not over.
        admitted: whether it is counted as running.
        epoch: how many times what it said was taken back, with the completes that were due.
    """

    pending: int = 0
    admitted: bool = False
    epoch: int = 0


@attrs.define(eq=False)
class Release:
    """Text that is ready to be spoken.

    Attributes:
        segment: its audio.
        request: how it is spoken.
        identity: the names under which it is answered.
        turn: what it is part of.
        begun: whether its audio has begun.
        allowance: frames that still may be sent once it was taken back; None before.
        nap: what it waits in.
        over: tells when it is over.
    """

    segment: Segment
    request: SpeechRequest
    identity: Identity
    turn: Turn
    begun: bool = False
    allowance: int | None = None
    nap: trio.CancelScope = attrs.Factory(trio.CancelScope)
    over: trio.Event = attrs.Factory(trio.Event)


class Synthesizer:
    """Speaks on one socket.

    Args:
        connection: for its options, faults and segments.
        peer: the socket.
        account: what else is running.
        voice: what speaks if the options ask for it.
        busy: whether the client has begun something that it has not ended.

    Attributes:
        session_id: the server's name for the socket.
    """

    def __init__(
        self,
        connection: Connection[SmallestOptions],
        peer: WebSocketPeer,
        account: Account,
        voice: Voice | None,
        *,
        busy: Callable[[], bool],
    ) -> None:
        self._ending: Disconnected | None = None
        # The same in every run with the same seed; not a secret.
        self._random = random.Random(f"{connection.options.seed}/{connection.number}")  # noqa: S311
        self.session_id = f"ws_{uuid.UUID(int=self._random.getrandbits(128), version=4)}"
        self._connection = connection
        self._peer = peer
        self._account = account
        self._voice = voice
        self._busy = busy
        self._speakers: dict[tuple[int, str], Speaker] = {}
        self._releases: list[Release] = []
        self._completes = 0
        self._abandoned = False
        self._jobs_in, self._jobs_out = trio.open_memory_channel[Release](MAX_RELEASES)

    @property
    def _options(self) -> SmallestOptions:
        return self._connection.options

    # What the session asks for.

    async def submit(self, text: str, request: SpeechRequest, identity: Identity, turn: Turn) -> None:
        """Have a text spoken after what its line has to say already.

        Raises:
            RequestError: too many requests are running.
        """
        line = turn.line
        if not line.admitted and not self._account.queues:
            if self._account.full:
                raise RequestError("Concurrency limit exceeded: too many running requests", "RATE_LIMIT_EXCEEDED")
            self._account.start()
            line.admitted = True
        segment = self._speaker(request).begin(text)
        release = Release(segment, request, identity, turn)
        line.pending += 1
        turn.pending += 1
        turn.identity = identity
        self._releases.append(release)
        try:
            self._jobs_in.send_nowait(release)
        except trio.WouldBlock:
            await self._jobs_in.send(release)

    def close(self, turn: Turn) -> None:
        """Note that nothing more comes for a turn."""
        turn.closed = True
        if turn.pending == 0:
            self._end_turn(turn)

    def cancel(self, line: Line, *, run_on: bool) -> Release | None:
        """Take back what a line has not said; the release that is cut off in the middle, if one is.

        Args:
            line: the line.
            run_on: whether what is being said is said to its end.
        """
        releases = [each for each in self._releases if each.turn.line is line]
        spoken = next((each for each in releases if each.begun), None)
        for release in releases:
            if release is not spoken or not run_on:
                release.turn.void = True
                release.allowance = self._options.late_frames
                release.nap.cancel(reason="the client took it back")
                if release is not spoken:
                    self._end(release)
        if not run_on:
            line.epoch += 1
        elif spoken is not None:
            spoken.turn.void = False
        return None if run_on else spoken

    def identity(self, request: SpeechRequest | Message | None = None) -> Identity:
        """The names of a new request, with those that the client gave it, if they are echoed."""
        number = f"task_{uuid.UUID(int=self._random.getrandbits(128), version=4)}"
        if request is None or not self._options.echo:
            return Identity(self.session_id, number)
        return Identity(self.session_id, number, request.session_id, request.request_id)

    # The loops.

    async def work(self) -> None:
        """Speak what is asked for, for ever."""
        if self._options.audio_before_asked:
            await self._speak_unasked()
        while True:
            release = await self._jobs_out.receive()
            if self._options.interleave:
                self._peer.spawn(partial(self._utter, release))
            else:
                await self._utter(release)

    def abandon(self) -> None:
        """End what is not over, because the connection is."""
        self._abandoned = True
        for release in list(self._releases):
            self._end(release)
        self._jobs_in.close()
        self._jobs_out.close()

    async def send(self, message: Envelope) -> None:
        """Send a message without audio, and log it."""
        text = msgspec.json.encode(message).decode()
        self._connection.log("sent", message=text)
        await self._peer.send(text)

    def _speaker(self, request: SpeechRequest) -> Speaker:
        key = (request.sample_rate, request.encoding)
        if key not in self._speakers:
            self._speakers[key] = speaker_for(self._connection, request, self._voice)
        return self._speakers[key]

    # One release.

    async def _utter(self, release: Release) -> None:
        try:
            await self._await_turn(release)
            if not release.over.is_set():
                await self._speak(release)
        except Disconnected as ending:
            self._ending = ending
            raise
        finally:
            self._end(release)

    async def _await_turn(self, release: Release) -> None:
        """Wait for the releases before it in its line, and until another request may run."""
        line = release.turn.line
        before = list(takewhile(lambda each: each is not release, self._releases))
        with release.nap:
            for each in before:
                if each.turn.line is line:
                    await each.over.wait()
            if not line.admitted:
                await self._account.wait()
                line.admitted = True

    async def _speak(self, release: Release) -> None:
        """Send the audio of a release, or as much as is wanted of it."""
        release.begun = True
        speaker = self._speaker(release.request)
        due = trio.current_time() + self._options.first_audio
        rest = await speaker.record(release.segment)
        words = self._words(release, rest)
        while not rest.over:
            await self._sleep_until(due, release)
            if release.allowance is not None:
                if release.allowance <= 0:
                    return
                release.allowance -= 1
            # The wire is handed on in the order of asking, so that requests that are interleaved alternate.
            due += speaker.seconds(await self._send_chunk(speaker, rest, release.identity))
            await self._tell(words, rest.segment.sent / speaker.sample_rate)
        await self._tell(words, math.inf)
        release.identity.times.seconds += rest.segment.samples / speaker.sample_rate

    async def _send_chunk(self, speaker: Speaker, rest: Recording, identity: Identity) -> int:
        """Send the next chunk of a recording; how many bytes of audio it has."""
        if self._options.empty_frames:
            await self._send_audio(b"", identity)
        frame = speaker.cut(rest)
        await self._send_audio(frame, identity, partial(rest.advance, len(frame)))
        return len(frame)

    async def _send_audio(self, frame: bytes, identity: Identity, written: Callable[[], None] | None = None) -> None:
        message = identity.envelope("chunk", data={"audio": frame})  # msgspec writes bytes as base64
        await self._peer.send(msgspec.json.encode(message).decode(), audio=bool(frame), written=written)

    def _words(self, release: Release, rest: Recording) -> list[tuple[float, Envelope]]:
        """The messages about words, last first, each with the second of the release at which its word begins."""
        voices = self._options.word_voices.split()
        if not release.request.word_timestamps or release.request.voice_id not in voices:
            return []
        times, messages = release.identity.times, []
        for word in rest.words:
            start, end = (round(times.seconds + second, 3) for second in (word.start, word.end))
            data = {"id": times.words, "word": word.text, "start": start, "end": end}
            messages.append((word.start, release.identity.envelope("word_timestamp", data=data)))
            times.words += 1
        return messages[::-1]

    async def _tell(self, words: list[tuple[float, Envelope]], seconds: float) -> None:
        """Send the messages about the words that begin before this second."""
        while words and words[-1][0] < seconds:
            await self.send(words.pop()[1])

    async def _speak_unasked(self) -> None:
        rate, identity = 44100, self.identity()
        speaker = Speaker(self._connection, rate, self._voice)
        rest = speaker.unasked(self._options.audio_before_asked)
        while not rest.over:
            await self._send_chunk(speaker, rest, identity)

    async def _sleep_until(self, deadline: float, release: Release) -> None:
        """Sleep, but not on when the release is taken back."""
        if release.allowance is not None or deadline <= trio.current_time():
            return
        with trio.CancelScope(deadline=deadline) as release.nap:
            await trio.sleep_forever()

    # The ends.

    @property
    def _client_left(self) -> bool:
        """Whether the connection ends because of the client; what was not said by then was taken back."""
        ending = self._peer.ending or self._ending
        return ending is not None and left(ending)

    def _end(self, release: Release) -> None:
        """Note that a release is over, whichever way it ended."""
        if release not in self._releases:
            return
        self._releases.remove(release)
        segment, line, turn = release.segment, release.turn.line, release.turn
        cleared = release.allowance is not None or self._client_left
        self._connection.server.end_segment(segment, cleared=cleared)
        release.over.set()
        line.pending -= 1
        if line.pending == 0 and line.admitted:
            line.admitted = False
            self._account.stop()
        turn.pending -= 1
        if turn.closed and turn.pending == 0:
            self._end_turn(turn)

    def _end_turn(self, turn: Turn) -> None:
        if self._abandoned:
            return
        self._completes += 1
        self._peer.spawn(partial(self._complete, turn, turn.line.epoch))

    async def _complete(self, turn: Turn, epoch: int) -> None:
        """Send `complete` for a turn when it is due."""
        options = self._options
        delay = max(turn.delay, (options.backoff_clamp or 0) / 1000)
        await trio.sleep(delay + (options.end_marker_delay if options.end_marker == "late" else 0))
        self._completes -= 1
        if turn.void or turn.line.epoch != epoch or options.end_marker == "none":
            return
        for _ in range(2 if options.end_marker == "double" else 1):
            await self.send(turn.identity.envelope("complete"))
        if options.close_after_complete and not (self._completes or self._releases or self._busy()):
            raise Closing(1000)


def left(ending: Closing | Disconnected) -> bool:
    """Whether a connection ended because the client left it, rather than by a fault or by the server."""
    return isinstance(ending, Disconnected) and str(ending) not in _FAULTS


def speaker_for(connection: Connection[SmallestOptions], request: SpeechRequest, voice: Voice | None) -> Speaker:
    """A speaker for the format of a request."""
    laws: dict[str, Literal["mulaw", "alaw"]] = {"ulaw": "mulaw", "alaw": "alaw"}
    law = laws.get(request.encoding)
    encoder = None if law is None else partial(encode, law=law)
    return Speaker(connection, request.sample_rate, voice, width=request.width, encode=encoder)
