"""RIFF headers in front of PCM: some vendors send one with each message, some once, some none."""

from __future__ import annotations

import struct

from ..errors import ProtocolError

_FMT = struct.Struct("<HHIIHH")
_MAGIC = 12  # bytes that tell a header
_LONGEST = 4096
_PCM = (1, 0xFFFE)  # plain, or extensible


class WavHeaders:
    """Takes RIFF headers off a stream of messages.

    Args:
        sample_rate: that the audio must have, in Hz.
        channels: that it must have.
        provider: the name that errors carry.
    """

    def __init__(self, sample_rate: int, channels: int, provider: str) -> None:
        self._sample_rate = sample_rate
        self._channels = channels
        self._provider = provider
        self._begun = b""  # a header that has not come whole, or what may become one

    def reset(self) -> None:
        """Forget a header that has not come whole."""
        self._begun = b""

    def rest(self) -> bytes:
        """What was withheld as it might have become a header, when nothing follows it."""
        rest, self._begun = self._begun, b""
        return rest if len(rest) < _MAGIC else b""

    def strip(self, message: bytes) -> bytes:
        """The audio of a message, without the header that it may begin with, or continue.

        Raises:
            ProtocolError: if the header says that it is other audio, or does not end.
        """
        data, self._begun = self._begun + message, b""
        if not data or data[:4] != b"RIFF"[: len(data)] or data[8:12] != b"WAVE"[: max(0, len(data) - 8)]:
            return data
        self._begun = data
        position = _MAGIC
        while len(data) >= position + 8:
            name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
            if name == b"data":
                self._begun = b""
                return data[position + 8 :]
            if name == b"fmt " and len(data) >= position + 8 + _FMT.size:
                self._check(*_FMT.unpack_from(data, position + 8))
            position += 8 + size + size % 2
        if len(data) > _LONGEST:
            raise ProtocolError("a RIFF header without an end", provider=self._provider)
        return b""

    def _check(self, encoding: int, channels: int, sample_rate: int, _bytes: int, _block: int, bits: int) -> None:
        if encoding not in _PCM or bits != 16 or channels != self._channels or sample_rate != self._sample_rate:
            raise ProtocolError(
                f"audio of {channels} channels at {sample_rate} Hz with {bits} bits came, "
                f"not s16le of {self._channels} at {self._sample_rate}",
                provider=self._provider,
            )
