"""Real speech for the simulators: espeak-ng in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import samplerate
import trio

from ._espeak_worker import ANSWER, REQUEST
from ._speech import Speech, SpokenWord, VoiceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

MAX_TEXT = 10_000
"""Characters of one utterance: about ten minutes, 27 MB, of speech."""

# A worker that waits for a request takes it in well under a millisecond, even on a loaded machine.
_WRITE_DEADLINE = 5.0
# A killed process is gone in about a millisecond.
_END_DEADLINE = 5.0
_RECEIVE_SIZE = 256 * 1024
_GONE = "the espeak-ng worker has died, or its block was left"


class EspeakVoice:
    """A voice of espeak-ng, as an async context manager.  Several tasks may use it.

    espeak-ng keeps its state in globals, is not thread-safe, and is under the GPL, so it runs in a worker
    process. Leaving the block kills the worker and waits for its end, also when the block is cancelled.  The
    worker lives outside trio's clock: under a :class:`trio.testing.MockClock` that jumps, timeouts expire
    while it works.

    Args:
        voice: a language or voice of espeak-ng, with a variant after ``+`` if wanted: ``"en-us+klatt4"``,
            ``"en-gb"``.
        rate: words a minute, 80 to 450.

    Raises:
        ValueError: for a rate outside these.
        VoiceError: at the start of the block, where espeak-ng is not installed or does not know the voice.
    """

    def __init__(self, voice: str = "en-us+klatt4", rate: int = 175) -> None:
        if not 80 <= rate <= 450:
            raise ValueError(f"rate must be 80 to 450 words a minute, not {rate}")
        self.voice = voice
        self.rate = rate
        self._process: trio.Process | None = None
        self._worker_rate = 0
        self._lock = trio.Lock()
        self._received = bytearray()
        self._owed = 0  # answers still to come for requests whose caller has been cancelled

    async def __aenter__(self) -> Self:
        if self._process is not None:
            raise RuntimeError("an EspeakVoice can be entered once")
        self._process = await trio.lowlevel.open_process(
            _command(self.voice, self.rate), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        ready = False
        try:
            body, _ = await self._receive_answer()
            if error := body.get("error"):
                raise VoiceError(error)
            self._worker_rate = int(body["sample_rate"])
            ready = True
        finally:
            if not ready:
                with trio.move_on_after(_END_DEADLINE, shield=True):
                    await self._end()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with trio.move_on_after(_END_DEADLINE, shield=True):
            await self._end()

    async def speak(self, text: str, sample_rate: int) -> Speech:
        """Speak `text`.  Several calls at once are spoken in call order.

        The same text twice differs by some 20 samples; the same texts in the same order in two fresh voices
        do not.

        Args:
            text: at most :data:`MAX_TEXT` characters.  Blank text gives empty speech.
            sample_rate: of the speech wanted, in Hz.

        Raises:
            ValueError: for a longer text.
            VoiceError: where the worker has died, or the voice is not open.

        If cancelled, what the worker has begun is discarded and the voice stays usable.
        """
        if len(text) > MAX_TEXT:
            raise ValueError(f"text of {len(text)} characters: at most {MAX_TEXT}")
        if not text.strip():
            await trio.lowlevel.checkpoint()
            return Speech(b"", ())
        async with self._lock:
            while self._owed:
                await self._receive_answer()
                self._owed -= 1
            await self._request(text)
            body, pcm = await self._receive_answer()
            self._owed -= 1
        if error := body.get("error"):
            raise VoiceError(error)
        # A minute of speech takes half a second to resample; samplerate releases the GIL meanwhile.
        resampled = await trio.to_thread.run_sync(_resample, pcm, self._worker_rate, sample_rate)
        return Speech(resampled, _words(text, body["words"], len(pcm) / 2 / self._worker_rate))

    async def _request(self, text: str) -> None:
        process = self._running()
        assert process.stdin is not None  # it was asked for
        data = text.encode("utf-8", "replace")
        # Half a request would put the pipe out of step, so a cancellation waits for the rest of it.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _WRITE_DEADLINE) as scope:
            try:
                await process.stdin.send_all(REQUEST.pack(len(data)) + data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise VoiceError(_GONE) from exc
        if scope.cancelled_caught:
            process.kill()
            raise VoiceError(f"the espeak-ng worker took no request for {_WRITE_DEADLINE} s")
        self._owed += 1

    async def _receive_answer(self) -> tuple[dict[str, Any], bytes]:
        """Take one answer.  If cancelled, what has come of it is kept for the next call."""
        await self._receive_at_least(ANSWER.size)
        head_size, pcm_size = ANSWER.unpack_from(self._received)
        head_end = ANSWER.size + head_size
        end = head_end + pcm_size
        await self._receive_at_least(end)
        body: dict[str, Any] = json.loads(self._received[ANSWER.size : head_end])
        pcm = bytes(self._received[head_end:end])
        del self._received[:end]
        return body, pcm

    async def _receive_at_least(self, size: int) -> None:
        stdout = self._running().stdout
        assert stdout is not None  # it was asked for
        while len(self._received) < size:
            try:
                data = await stdout.receive_some(_RECEIVE_SIZE)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                raise VoiceError(_GONE) from exc
            if not data:
                raise VoiceError(_GONE)
            self._received += data

    def _running(self) -> trio.Process:
        if self._process is None:
            raise VoiceError("an EspeakVoice speaks inside its `async with` block only")
        return self._process

    async def _end(self) -> None:
        process = self._running()
        process.kill()  # there is nothing in it that a polite ending would save
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # both were asked for
            await pipe.aclose()
        await process.wait()


def _command(voice: str, rate: int) -> list[str]:
    try:
        import espeakng_loader  # finds the files; the library is loaded by the worker alone
    except ImportError as exc:
        raise VoiceError("espeak-ng is not installed: pip install voicetrio[speech]") from exc
    worker = Path(__file__).with_name("_espeak_worker.py")
    files = (espeakng_loader.get_library_path(), espeakng_loader.get_data_path())
    return [sys.executable, "-I", "-S", str(worker), *files, voice, str(rate)]


def _resample(pcm: bytes, in_rate: int, out_rate: int) -> bytes:
    if in_rate == out_rate:
        return pcm
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    resampled: NDArray[np.float32] = samplerate.resample(samples, out_rate / in_rate, "sinc_medium")
    return np.clip(np.rint(resampled), -32768, 32767).astype("<i2").tobytes()


def _words(text: str, marks: Sequence[tuple[int, int]], seconds: float) -> tuple[SpokenWord, ...]:
    """The words of `text`, as white space parts them, with their times.

    espeak-ng marks what it speaks, which is not the same: ``of the`` may be one of its words and ``$3.50`` is
    several. A word starts at its first mark and ends where the next one starts, the pause between them
    included.  Words without a mark share the time of the marked word before them evenly.

    Args:
        text: what was spoken.
        marks: positions in `text`, counted from 0, and milliseconds.
        seconds: the length of the speech.
    """
    first: dict[int, float] = {}
    for position, ms in marks:
        first.setdefault(position, ms / 1000)
    groups: list[tuple[float, list[str]]] = []
    for match in re.finditer(r"\S+", text):
        starts = [first[position] for position in range(*match.span()) if position in first]
        if not groups or (starts and starts[0] > groups[-1][0]):
            groups.append((starts[0] if groups else 0.0, []))
        groups[-1][1].append(match.group())
    ends = [start for start, _ in groups[1:]] + [seconds]
    spoken: list[SpokenWord] = []
    for (start, words), end in zip(groups, ends, strict=True):
        share = (end - start) / len(words)
        spoken += (SpokenWord(word, start + i * share, start + (i + 1) * share) for i, word in enumerate(words))
    return tuple(spoken)
