"""WAV files of 16-bit PCM, on the standard library's :mod:`wave`.

Plain blocking file I/O: a frame's write takes microseconds.  Use :func:`trio.to_thread.run_sync` for slow disks.
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ._format import AudioFormat, pcm_of
from .errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ._format import AudioLike


class WavWriter:
    """Write frames to a WAV file; a context manager.  The header is right once it is closed.

    Args:
        file: a path, or a binary file that can seek.
        fmt: of everything that will be written.
    """

    def __init__(self, file: str | Path | IO[bytes], fmt: AudioFormat) -> None:
        self.format: AudioFormat = fmt
        self.samples: int = 0
        self._path = str(file) if isinstance(file, str | Path) else None
        # A path that cannot be opened must fail here: half a Wave_write complains again when it is collected.  Without
        # a buffer, which could not be emptied on a full disk, the header can still be completed.
        self._file = Path(file).open("wb", buffering=0) if isinstance(file, str | Path) else file  # noqa: SIM115 - see close()
        self._owned = self._file is not file
        self._wave = wave.open(self._file, "wb")  # noqa: SIM115 - see close()
        self._wave.setnchannels(fmt.channels)
        self._wave.setsampwidth(2)
        self._wave.setframerate(fmt.sample_rate)

    def write(self, audio: AudioLike) -> None:
        """Append a frame, or raw s16le in the file's format.

        Raises:
            InputError: if it is no audio, for a frame of another format, or half a sample.
            OSError: if it cannot be written, such as on a full disk; :meth:`close` then completes what is there.
        """
        pcm = pcm_of(audio, self.format)
        if len(pcm) % self.format.sample_width:
            raise InputError(f"{len(pcm)} bytes are not a whole number of samples")
        try:
            self._wave.writeframesraw(pcm)
        except OSError as error:
            error.filename = error.filename or self._path
            raise
        self.samples += len(pcm) // self.format.sample_width

    def close(self) -> None:
        """Complete the header and close the file.  Idempotent."""
        try:
            self._wave.close()
        finally:
            if self._owned:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def read_wav(file: str | Path | IO[bytes]) -> tuple[AudioFormat, bytes]:
    """Read a WAV file of 16-bit PCM.

    Returns:
        Its format and its interleaved s16le; of a file that was cut short, the whole samples that are there.

    Raises:
        InputError: if it is not a WAV file, or not 16-bit PCM.
        OSError: if it cannot be read.
    """
    named = f"{file}: " if isinstance(file, str | Path) else ""
    try:
        with wave.open(str(file) if isinstance(file, Path) else file, "rb") as reader:
            if reader.getsampwidth() != 2:
                raise InputError(f"{named}16-bit PCM is needed, not {8 * reader.getsampwidth()}-bit")
            fmt = AudioFormat(reader.getframerate(), reader.getnchannels())
            pcm = reader.readframes(reader.getnframes())
    except (
        wave.Error,
        EOFError,
        RuntimeError,
        ConfigurationError,
    ) as exc:  # RuntimeError: a chunk beyond the file's end
        raise InputError(f"{named}not a WAV file of 16-bit PCM: {exc}") from exc
    return fmt, pcm[: len(pcm) - len(pcm) % fmt.sample_width]
