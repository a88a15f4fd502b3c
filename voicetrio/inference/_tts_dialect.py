"""The gateway's ``/v1/tts``: what a turn is on the wire, what ends it, and what cannot be told.

Nothing that the gateway says names a turn, and nothing cancels one.  ``TTS_COMPLETE`` ends something, but whether each
flush or all that was asked for is not known, nor whether every vendor behind the gateway has it.  So completions are
counted, where audio came before them: as many as flushes are the end; fewer, and then silence, are an end that is
inferred, after which the link is not used again, as more may come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .._dialect import Answered, Audio, Ended, Event, Failed, Step, TTSDialect
from .._link.link import Message
from ..errors import LinkClosed
from ._gateway import NAME, decode, message
from ._tts_batches import Batches
from ._wav_header import WavHeaders

if TYPE_CHECKING:
    from .tts import TTS

# Letters and digits that a vendor wants at least; Sarvam refuses less.
_SHORTEST = {"sarvamai": 5}
# Seconds of silence after a completion from which the turn is over though flushes have none of their own.  A vendor
# that speaks one batch after the other may think for so long in between.
_AFTER_COMPLETE = 2.0

_FLUSH = message("flush")


class GatewayTTSDialect(TTSDialect):
    """Speech through the gateway."""

    provider = NAME

    def __init__(self, options: TTS) -> None:
        self._greeting = message("config", options.config)
        self._headers = WavHeaders(options.sample_rate, 1, NAME)
        self._used = False  # a turn has been on the link
        self._tells = False  # … and the end of something was told
        self._doubtful = False  # the end of a turn was inferred: more of it may come
        self._forget()

    def _forget(self) -> None:
        self._turn: int | None = None
        self._batches = Batches(streaming=True)
        self._inferred_end = 0.0
        self._said = False
        self._complete = False  # the turn's text is all there
        self._flushes = 0
        self._completions = 0
        self._heard = False
        self._unfinished = False  # audio has come since the last completion
        self._completed = False  # nothing has come since it, nor was anything asked for
        self._asked = False  # no audio has come since the last flush
        self._headers.reset()

    # -- the connection ----------------------------------------------------------------------------------------------

    @property
    def spent(self) -> bool:
        return self._doubtful

    def greet(self, headers: Mapping[str, str]) -> Iterable[Message]:  # noqa: ARG002 - they tell nothing
        return (self._greeting,)

    # -- turns -------------------------------------------------------------------------------------------------------

    @property
    def awaiting(self) -> bool:
        if self._asked:
            return True
        # After audio an end is owed only by those who are known to tell it.
        return self._tells and self._unfinished and self._completions < self._flushes

    @property
    def patience(self) -> float | None:
        if not self._complete:
            return None
        if self._asked:
            # It says that it is done, and nothing was heard; or it said so of the turn before.
            return self._inferred_end if self._completed and not self._heard else None
        if self._completed:
            return min(_AFTER_COMPLETE, self._inferred_end)
        return None if self._tells else self._inferred_end

    def begin(self, turn: int, options: TTS) -> None:
        self._forget()
        self._turn = turn
        self._inferred_end = options.inferred_end
        self._batches = Batches(streaming=options.enable_streaming, shortest=_SHORTEST.get(options.provider, 0))

    def say(self, text: str) -> Iterator[Step]:
        for batch in self._batches.feed(text):
            yield from self._ask(batch)

    def flush(self) -> Iterator[Step]:
        yield from self._ask(self._batches.flush())

    def end(self) -> Iterator[Step]:
        yield from self._ask(self._batches.flush(last=True))
        self._complete = True
        if self._completions >= self._flushes:
            yield self._over()

    def cancel(self, turn: int) -> Sequence[Message] | None:
        if turn != self._turn:
            return ()
        said = self._said
        self._forget()
        return None if said else ()

    def _ask(self, batch: str) -> Iterator[Message]:
        if not batch:
            return
        self._said = self._used = True
        yield message("text", batch)
        self._flushes += 1
        self._asked = True
        self._completed = False
        yield _FLUSH

    def _over(self, *, inferred: bool = False) -> Ended:
        assert self._turn is not None
        turn = self._turn
        self._forget()
        return Ended(turn, inferred)

    # -- what comes --------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> Iterable[Event]:
        if isinstance(message, bytes):
            return self._on_audio(self._headers.strip(message))
        notice = decode(message)
        if notice is None:
            return () if self._turn is None else (Answered(self._turn),)
        if (failure := notice.failure()) is not None:
            return (Failed(None, failure),)
        if notice.type == "audio":
            return self._on_audio(self._headers.strip(notice.audio()))
        return self._on_completion() if notice.event == "TTS_COMPLETE" else ()

    def lapse(self) -> Iterable[Event]:
        if self._turn is None or self.patience is None:
            return ()
        self._doubtful = True
        return [*self._rest(), self._over(inferred=True)]

    def _on_audio(self, pcm: bytes) -> Iterable[Event]:
        if self._turn is None or not self._said:
            late = LinkClosed("audio came of a turn that was over", provider=NAME, code=1006)
            # How much more comes is not known, and nothing could tell it from the next turn's.
            return (Audio(-1, pcm), Failed(None, late)) if pcm and self._used else (Audio(-1, pcm),)
        if pcm:
            self._heard = self._unfinished = True
            self._asked = self._completed = False
        return (Audio(self._turn, pcm),)

    def _on_completion(self) -> Iterable[Event]:
        self._tells = True
        if self._turn is None or not self._flushes:
            return ()
        rest = self._rest()
        # One without audio before it is the last one again, maybe that of the turn before.
        self._completions += self._unfinished
        self._unfinished = False
        self._completed = True
        over = self._complete and self._completions >= self._flushes
        return [*rest, self._over() if over else Answered(self._turn)]

    def _rest(self) -> list[Event]:
        """What was withheld as it might have become a header."""
        assert self._turn is not None
        pcm = self._headers.rest()
        return list(self._on_audio(pcm)) if pcm else []
