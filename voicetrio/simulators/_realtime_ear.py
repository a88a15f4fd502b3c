"""When the user speaks, and what a picture is, as a simulated realtime model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ._ear import Ear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._message_faults import Log

__all__ = ["SpeechDetector", "jpeg_size"]

LOUD = 500.0
"""Root mean square of samples from which audio is speech, for ``energy``."""

_WINDOW = 0.02


class SpeechDetector:
    """Tells when the user begins and ends to speak, by the samples that came.

    Args:
        log: for the ear.
        rate: samples a second.

    Attributes:
        ear: which heard them.
        speaking: whether the user does.
    """

    def __init__(self, log: Log, rate: int) -> None:
        self.ear = Ear(log)
        self.speaking: bool = False
        self._rate = rate
        self._rest = b""
        self._same = 0  # samples for which it has been otherwise than it was

    def hear(self, pcm: bytes, how: Literal["silence", "energy", "off"], start: float, end: float) -> Iterator[bool]:
        """Take audio in; True for each beginning of speech, False for each end."""
        self.ear.hear(pcm)
        if how == "off":
            return
        self._rest += pcm
        size = 2 * round(_WINDOW * self._rate)
        while len(self._rest) >= size:
            window, self._rest = self._rest[:size], self._rest[size:]
            speech = any(window) if how == "silence" else _is_loud(window)
            self._same = self._same + len(window) // 2 if speech != self.speaking else 0
            if self._same and self._same >= round((end if self.speaking else start) * self._rate):
                self._same = 0
                self.speaking = speech
                yield speech


def _is_loud(pcm: bytes) -> bool:
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    return bool(np.sqrt(np.mean(samples**2)) > LOUD)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG; None if it is none."""
    if not data.startswith(b"\xff\xd8") or not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a start of frame
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return int.from_bytes(data[position + 7 : position + 9], "big"), height
        position += 2 + length
    return None
