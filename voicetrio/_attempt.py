"""One attempt to get a turn spoken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import trio

from ._dialect import (
    Answered,
    Audio,
    Ended,
    MoreToSend,
    Pause,
    Reached,
    Reply,
    Spoken,
    Step,
    TimesRestart,
    TTSDialect,
)
from ._link.link import Link
from .errors import SinkClosed, VoiceTrioError
from .text import FlushMarker, says_something
from .turn import Timestamps, Turn


class Attempt:
    """A turn on a link; a turn may take several.

    `scope` surrounds the work on it.  Whatever comes puts off the link's watch over a silent provider, which does not
    run while it rests: then it is we who take nothing.

    Args:
        turn: what is to be spoken.
        link: on what.
        response_timeout: seconds for which the provider may be silent while it owes us something.
        cancel_timeout: seconds in which it must acknowledge a cancellation.
        on_timestamps: called with words and phonemes as they come.
    """

    def __init__(
        self,
        turn: Turn,
        link: Link[TTSDialect],
        response_timeout: float,
        cancel_timeout: float,
        on_timestamps: Callable[[Timestamps], object] | None = None,
    ) -> None:
        self.turn = turn
        self._characters = turn.reached  # of the text that earlier attempts have spoken
        self.link = link
        self._cancel_timeout = cancel_timeout
        self._on_timestamps = on_timestamps
        self.scope = trio.CancelScope()
        self.error: VoiceTrioError | None = None
        self.ended = False
        self._resting = False
        self._response_timeout = response_timeout
        self._more = False
        self._wake = trio.lowlevel.ParkingLot()
        self._restart_times()

    @property
    def got_somewhere(self) -> bool:
        """Whether it has spoken a part of the text to its end, from which another can go on."""
        return self.turn.reached > self._characters

    def takes_from(self, link: Link[TTSDialect]) -> bool:
        """Whether what comes on a link is for it: nothing is behind its error."""
        return self.link is link and self.error is None

    def fail(self, error: VoiceTrioError) -> None:
        """End it with an error; what came first counts, the end or an error."""
        if self.ended or self.error is not None:
            return
        self.error = error
        self.scope.cancel(reason="the attempt failed")

    def end(self, inferred: bool) -> None:
        """All audio has come, unless it has failed before."""
        if self.error is not None:
            return
        self.ended = True
        self.turn.inferred = inferred
        self._wake.unpark_all()

    def watch(self) -> None:
        """Give the provider its time for the next word, if it owes us one and we are listening."""
        watched = self.link.dialect.awaiting and not self._resting
        self.link.expect_answer(self._response_timeout if watched else math.inf)

    # -- what is sent ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Say the turn's text, and wait until all audio has come."""
        await self._say_all()
        while not self.ended:
            if self._more:
                self._more = False
                await self._send(self.link.dialect.resume())
            else:
                await self._wake.park()

    def cancel(self) -> None:
        """Make the provider stop.

        This may run inside of a cancel(): it makes marks, sets deadlines and cancels scopes; it starts no task and
        touches no socket.
        """
        link = self.link
        if not link.usable or self.ended:
            return
        messages = link.dialect.cancel(self.turn.number)
        if messages is None:
            link.close()
            return
        for message in messages:
            link.send_nowait(message)
        if messages and link.dialect.gated:
            link.expect_acknowledgement(self._cancel_timeout)

    async def _say_all(self) -> None:
        script, dialect = self.turn.script, self.link.dialect
        blank = ""  # is said with what follows it: alone it would be something to speak in which nothing is heard
        index, spoken = 0, self._characters
        while (chunk := await script.chunk(index)) is not None:
            index += 1
            if spoken:  # by an earlier attempt
                if isinstance(chunk, FlushMarker):
                    continue
                chunk, spoken = chunk[spoken:], max(0, spoken - len(chunk))
            if isinstance(chunk, FlushMarker):
                await self._send(dialect.flush())
            elif says_something(chunk):
                await self._send(dialect.say(blank + chunk))
                blank = ""
            else:
                blank += chunk
        await self._send(dialect.end())

    async def _send(self, steps: Iterator[Step]) -> None:
        while True:
            # A task that was woken goes on though it has been cancelled since, and the dialect has forgotten its turn.
            await trio.lowlevel.checkpoint_if_cancelled()
            step = next(steps, None)
            if step is None:
                break
            if isinstance(step, Pause):
                await trio.sleep(step.seconds)
            elif isinstance(step, Ended):
                self.end(step.inferred)
            else:
                await self.link.send(step)
                self.turn.mark("first_text")
        self.watch()
        self.link.listen_on()

    # -- what comes --------------------------------------------------------------------------------------------------

    async def on_event(
        self, event: Audio | Spoken | TimesRestart | Answered | Ended | Reached | Reply | MoreToSend
    ) -> int:
        """Take an event of the turn, in the link's receive loop; gives how many bytes of its audio came too late."""
        late = 0
        match event:
            case Audio():
                if not event.pcm:
                    return 0  # nothing came, as if nothing had
                late = await self._on_audio(event.pcm)
            case Spoken():
                self._on_spoken(event)
            case TimesRestart():
                self._restart_times()
            case Reached():
                self.turn.reach(self._characters + event.characters)
            case Reply():
                self.link.send_nowait(event.message)
            case Ended():
                self.end(event.inferred)
            case MoreToSend():
                self._more = True
                self._wake.unpark_all()
        self.watch()
        return late

    async def _on_audio(self, pcm: bytes) -> int:
        self.turn.mark("first_audio")
        self._resting = True  # a full sink is not the provider's silence
        self.watch()
        try:
            return await self.turn.audio.write(pcm)
        except SinkClosed as error:
            self.fail(error)
            return 0
        finally:
            self._resting = False

    def _on_spoken(self, event: Spoken) -> None:
        words = tuple(word.shifted(self._seconds) for word in event.words)
        phonemes = tuple(phoneme.shifted(self._seconds) for phoneme in event.phonemes)
        self.turn.words += words
        self.turn.phonemes += phonemes
        if self._on_timestamps is not None:
            self._on_timestamps(Timestamps(self.turn.number, words, phonemes))

    def _restart_times(self) -> None:
        """The times of words that come now count from the audio that has come."""
        self._seconds: float = self.turn.audio.received / self.turn.audio.format.sample_rate
