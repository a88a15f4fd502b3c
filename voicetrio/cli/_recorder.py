"""A loudspeaker and a microphone in one: what an agent and a user say, written down at the time it is heard."""

from __future__ import annotations

import attrs
import numpy as np
import trio

from ..audio import AudioFormat, AudioSource
from ..wav import WavWriter

# How far ahead the device takes audio, as a sound card does: a machine that is busy for this long is not heard.
_AHEAD_SECONDS = 0.06
_TAIL_SECONDS = 0.4


@attrs.define
class Piece:
    """Audio that was played.

    Attributes:
        turn: whose it is.
        position: of its first sample in its turn.
        start: of its first sample on the recorder's clock, in samples.
        pcm: s16le mono.
    """

    turn: int
    position: int
    start: int
    pcm: bytes

    @property
    def samples(self) -> int:
        """Its length."""
        return len(self.pcm) // 2

    @property
    def end(self) -> int:
        """The sample behind its last one, on the recorder's clock."""
        return self.start + self.samples


class Recorder:
    """Plays a source at the pace of a loudspeaker, and is the source's :class:`~voicetrio.audio.Playout`.

    Its clock counts samples since it was made.  The agent's audio follows without a gap where it is there in time, and
    starts at the present otherwise.

    Args:
        sample_rate: in Hz, mono.
        speed: its clock runs this many times faster than trio's.

    Attributes:
        agent: what was played from the source, in order.
        user: what the user said, in order; `turn` counts from 1.
    """

    def __init__(self, sample_rate: int, speed: float = 1.0) -> None:
        self.format = AudioFormat(sample_rate)
        self.agent: list[Piece] = []
        self.user: list[Piece] = []
        self._speed = speed
        self._began = trio.current_time()
        self._end = 0
        self._grown = trio.lowlevel.ParkingLot()

    def now(self) -> int:
        """Samples that have gone through the loudspeaker."""
        return self.at(trio.current_time())

    def at(self, time: float) -> int:
        """The same for any time of trio's clock."""
        return round((time - self._began) * self._speed * self.format.sample_rate)

    def held(self) -> int:
        """Samples taken from the source and not yet played."""
        return max(0, self._end - self.now())

    def drop(self, samples: int) -> None:
        """Forget the newest samples: they will not be played."""
        self._end -= samples
        while samples:
            piece = self.agent[-1]
            cut = min(samples, piece.samples)
            piece.pcm = piece.pcm[: 2 * (piece.samples - cut)]
            samples -= cut
            if not piece.pcm:
                self.agent.pop()

    async def play(self, source: AudioSource) -> None:
        """Play the source to its end."""
        source.attach(self)
        async for frame in source:
            piece = Piece(frame.turn, frame.position, max(self._end, self.now()), frame.pcm)
            self.agent.append(piece)
            self._end = piece.end
            self._grown.unpark_all()
            await self._until(self._end - self.format.samples(_AHEAD_SECONDS))

    async def hear_user(self, pcm: bytes) -> None:
        """Record the user saying this from now on, and return when it is said."""
        piece = Piece(len(self.user) + 1, 0, self.now(), pcm)
        self.user.append(piece)
        await self._until(piece.end)

    async def played(self, turn: int, position: int) -> None:
        """Wait until this position of a turn of the agent has been played."""
        while (moment := self._moment(turn, position)) is None:
            await self._grown.park()
        await self._until(moment)

    async def pause(self, seconds: float) -> None:
        """Wait, by the recorder's clock."""
        await self._until(self.now() + self.format.samples(seconds))

    def write(self, path: str) -> float:
        """Write all of it, the agent to the left channel and the user to the right one; gives the seconds."""
        last = max(piece.end for piece in (*self.agent, *self.user))
        tracks = np.zeros((last + self.format.samples(_TAIL_SECONDS), 2), "<i2")
        for channel, pieces in enumerate((self.agent, self.user)):
            for piece in pieces:
                tracks[piece.start : piece.end, channel] = np.frombuffer(piece.pcm, "<i2")
        with WavWriter(path, AudioFormat(self.format.sample_rate, 2)) as wav:
            wav.write(tracks.tobytes())
        return self.format.seconds(len(tracks))

    def _moment(self, turn: int, position: int) -> int | None:
        for piece in reversed(self.agent):
            if piece.turn == turn and piece.position <= position <= piece.position + piece.samples:
                return piece.start + position - piece.position
        return None

    async def _until(self, sample: int) -> None:
        await trio.sleep_until(self._began + sample / self.format.sample_rate / self._speed)
