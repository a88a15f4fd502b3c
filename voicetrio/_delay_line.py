"""A delay line of samples of which a better version may still come.

Theory of operation
-------------------
Every sample that is put in comes out once, in order.  It lies in the line until it is *decided*: whether the processed
version of it, if that has come by then, or itself.  Where the one follows the other, the processed version is faded in
behind the seam, or out before it; so a sample goes out when what comes up to a fade's length behind it is decided.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.int16]


class DelayLine:
    """Samples of several channels, by their positions in the stream.

    Args:
        channels: interleaved channels.
        fade: length of a cross-fade, in samples; 0 for none.

    Attributes:
        begun: position of the first sample that has not gone out.
        decided: position of the first that is not decided.
        end: position behind the last that was put in.
        processed: how many samples were decided to be the processed ones.
    """

    def __init__(self, channels: int, fade: int) -> None:
        self.begun: int = 0
        self.decided: int = 0
        self.end: int = 0
        self.processed: int = 0
        self._channels = channels
        self._fade = fade
        self._raw: Samples = np.empty((0, channels), np.int16)
        self._better: Samples = np.empty((0, channels), np.int16)
        self._have = np.empty(0, bool)
        self._since_seam = math.inf  # samples that went out since the last that was not processed

    def put(self, pcm: bytes) -> None:
        """Add samples at the end: interleaved s16le, whole samples of all channels."""
        samples = np.frombuffer(pcm, "<i2").reshape(-1, self._channels)
        count = len(samples)
        self._raw = np.concatenate([self._raw, samples])
        self._better = np.concatenate([self._better, np.zeros_like(samples)])
        self._have = np.concatenate([self._have, np.zeros(count, bool)])
        self.end += count

    def place(self, position: int, pcm: bytes) -> int:
        """Give the processed version of what was put in from `position` on.

        Returns:
            How many samples of it come in time; what is decided already stays as it is.
        """
        samples = np.frombuffer(pcm, "<i2").reshape(-1, self._channels)
        first = max(position, self.decided)
        last = min(position + len(samples), self.end)
        if first >= last:
            return 0
        here = slice(first - self.begun, last - self.begun)
        self._better[here] = samples[first - position : last - position]
        self._have[here] = True
        return last - first

    def ready(self, until: int) -> int:
        """The position up to which, from `decided` on, the processed version has come, at most `until`."""
        missing = np.flatnonzero(~self._have[self.decided - self.begun : until - self.begun])
        return self.decided + int(missing[0]) if len(missing) else until

    def decide(self, until: int) -> None:
        """Let what lies before `until` be what it is now."""
        if until > self.decided:
            self.processed += int(np.count_nonzero(self._have[self.decided - self.begun : until - self.begun]))
            self.decided = until

    def take(self, *, final: bool = False) -> bytes:
        """What may go out; all that is decided if this is the end."""
        count = self.decided - self.begun - (0 if final else self._fade)
        if count <= 0:
            return b""
        mixed = self._mix(count)
        self._raw = self._raw[count:]
        self._better = self._better[count:]
        self._have = self._have[count:]
        self.begun += count
        return mixed.astype("<i2", copy=False).tobytes()

    def _mix(self, count: int) -> Samples:
        have = self._have[: self.decided - self.begun]
        if not have.any():
            self._since_seam = 0
            return self._raw[:count]
        if have.all() and self._since_seam >= self._fade:
            self._since_seam += count
            return self._better[:count]
        weights = self._weights(have)[:count]
        self._since_seam = self._distance_back(have)[count - 1]
        raw, better = self._raw[:count].astype(np.float64), self._better[:count].astype(np.float64)
        mixed: Samples = np.rint(raw + (better - raw) * weights[:, None]).astype(np.int16)
        return mixed

    def _distance_back(self, have: NDArray[np.bool_]) -> NDArray[np.float64]:
        """For each sample, how far behind the last one it is that is not processed."""
        index = np.arange(len(have), dtype=np.float64)
        last = np.maximum.accumulate(np.where(have, -np.inf, index))
        return np.where(np.isinf(last), index + 1 + self._since_seam, index - last)

    def _weights(self, have: NDArray[np.bool_]) -> NDArray[np.float64]:
        """How much of each sample is the processed version: 1 but for a fade's length on either side of a gap."""
        index = np.arange(len(have), dtype=np.float64)
        following = np.minimum.accumulate(np.where(have, np.inf, index)[::-1])[::-1]
        distance = np.minimum(self._distance_back(have), following - index)
        return np.where(have, np.minimum(1.0, distance / (self._fade + 1)), 0.0)
