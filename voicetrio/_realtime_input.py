"""The user's audio on its way to a realtime model."""

from __future__ import annotations

import trio

from ._converter import AudioConverter
from ._format import AudioFormat, AudioLike
from ._ring import AudioRing

# Of audio in a message: not much to lose with a connection.
_PIECE_SECONDS = 0.1


class AudioInput:
    """Converts audio as it is given and keeps it until it is sent; beyond its bound the oldest is dropped.

    Args:
        given: the format of what is given.
        wire: the format that the provider takes.
        seconds: of audio kept at most.

    Attributes:
        sent: samples handed to a link, at the provider's rate.
        dropped: samples that the bound has cost.
        withheld: samples that were given while the user was not to be heard.
    """

    def __init__(self, given: AudioFormat, wire: AudioFormat, seconds: float) -> None:
        self.sent: int = 0
        self.dropped: int = 0
        self.withheld: int = 0
        self._wire = wire
        self._converter = AudioConverter(given, wire)
        self._ring = AudioRing(wire.samples(seconds), wire.sample_width)
        self._position = 0
        self._more = trio.lowlevel.ParkingLot()

    def put(self, audio: AudioLike, *, withhold: bool) -> None:
        """Take audio in, cut anywhere; `withhold` to let it be as if it had not been said.

        Raises:
            InputError: if it is no audio, or a frame of another format or within a sample.
        """
        pcm = self._converter.process(self._converter.pcm_of(audio))
        if withhold:
            self.withheld += len(pcm) // self._wire.sample_width
            return
        self._ring.append(pcm)
        lost = self._ring.start - self._position
        if lost > 0:
            self.dropped += lost
            self._position = self._ring.start
        self._more.unpark_all()

    async def peek(self) -> tuple[int, bytes]:
        """The oldest audio and its position, as soon as there is any; :meth:`advance` when it is under way."""
        while self._position >= self._ring.end:
            await self._more.park()
        return self._position, self._ring.read(self._position, self._wire.samples(_PIECE_SECONDS))

    def advance(self, position: int, pcm: bytes) -> None:
        """Note that what was peeked at a position was sent."""
        count = len(pcm) // self._wire.sample_width
        self.sent += count
        self.dropped -= max(0, min(self._position, position + count) - position)  # it went out before it was dropped
        self._position = max(self._position, position + count)
        self._ring.forget(self._position)
