"""Who has the floor in a conversation with a realtime model: replies asked for, coming, and still heard."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from ._caller import Callers
from ._realtime_events import RealtimeEvent, ReplyEnded, ReplyInterrupted, ReplyStarted
from ._realtime_reply import RealtimeReply, Reply, interruption
from ._realtime_tools import ToolDesk
from ._realtime_uplink import RealtimeLink, Uplink
from .audio import AudioSink
from .errors import ProviderStalled, SessionClosed, SinkClosed, VoiceTrioError
from .turn import Interruption

if TYPE_CHECKING:
    from .realtime import RealtimeProvider

# Links on which a text is said before its reply has begun.
_ATTEMPTS = 3


class Floor:
    """The replies of a session.

    Args:
        provider: whose options hold.
        sink: where replies go.
        nursery: of the tasks that write them; the session's.
        uplink: to the model.
        tools: while one of them works the model is not expected to speak.
        tell: takes events.
        fail: ends the session, as nobody will read the sink.

    Attributes:
        last_interruption: what the latest interruption cut off.
        begun: how many replies have begun.
        current: the reply that is coming; None if none is.
    """

    def __init__(
        self,
        provider: RealtimeProvider,
        sink: AudioSink,
        nursery: trio.Nursery,
        uplink: Uplink,
        tools: ToolDesk,
        tell: Callable[[RealtimeEvent], None],
        fail: Callable[[VoiceTrioError], None],
    ) -> None:
        self.last_interruption: Interruption | None = None
        self.begun: int = 0
        self.current: Reply | None = None
        self._provider = provider
        self._sink = sink
        self._nursery = nursery
        self._uplink = uplink
        self._tools = tools
        self._tell = tell
        self._fail = fail
        self._line: list[Reply] = []  # of calls of say(), until all of the reply has come
        self._pending: list[Reply] = []  # asked for, and not begun
        self._replies: list[Reply] = []  # begun, and perhaps still heard
        self._callers: Callers[Reply] = Callers()
        self._changed = trio.lowlevel.ParkingLot()
        self._closed = False
        self._unheard = False  # a reply has come since

    @property
    def latest(self) -> Reply | None:
        """The reply that is coming, or was the last to come and may still be heard."""
        if self._unheard:
            return None
        return self.current or (self._replies[-1] if self._replies else None)

    @property
    def guarded(self) -> bool:
        """Whether an uninterruptible reply is asked for or may be heard."""
        return not all(reply.interruptible for reply in self._under_way())

    # -- asking --------------------------------------------------------------------------------------------------------

    def new_reply(self, text: str | None = None, frames: Sequence[bytes] = (), *, interruptible: bool = True) -> Reply:
        """A reply that is not asked for yet."""
        return Reply(
            interruptible=interruptible,
            asked=text,
            frames=frames,
            provider=self._provider.name,
            on_abandoned=self._abandon,
            on_resolved=self._on_resolved,
        )

    async def ask_for(self, reply: Reply) -> None:
        """Say its text to the model.  Cancelled, it has said nothing.

        Raises:
            VoiceTrioError: if there is no connection.
        """
        assert reply.asked is not None
        said = False
        while not said:
            link = await self._uplink.connected()
            if link.dialect.certain:
                said = await self._uplink.say(link, link.dialect.text(reply.asked, reply.frames))
            else:
                await self._changed.park()
        reply.attempts = 1
        self._pending.append(reply)
        self._expect(reply)

    async def say(self, reply: Reply) -> RealtimeReply:
        """Ask for it when it is its turn, behind all that was asked for so far, and wait for its outcome."""
        self._line.append(reply)
        self._nursery.start_soon(self._ask_in_turn, reply)
        with self._callers.waiting(reply):
            return await reply.wait()

    async def _ask_in_turn(self, reply: Reply) -> None:
        try:
            with reply.ask_scope:
                await self._wait_in_line(reply)
                await self.ask_for(reply)
                await self._wait_for_all_of(reply)
        except VoiceTrioError as error:
            reply.fail(error)
        finally:
            if not reply.received:
                self._end_with_session(reply)
            self._line.remove(reply)
            self._changed.unpark_all()

    async def _wait_in_line(self, reply: Reply) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._line[0] is not reply or self.current is not None or self._pending:
            with trio.CancelScope(deadline=min((each.expires for each in self._pending), default=math.inf)):
                await self._changed.park()
            self._under_way()  # forgets those whose time is over

    async def _wait_for_all_of(self, reply: Reply) -> None:
        while not (reply.begun or reply.received):
            if trio.current_time() >= reply.expires:
                self._pending.remove(reply)
                silence = f"no reply began within {self._provider.response_timeout:g} s"
                error = ProviderStalled(silence, provider=self._provider.name)
                if self._uplink.link is not None:
                    self._uplink.link.fail(error)  # or its reply might come yet
                raise error
            with trio.CancelScope(deadline=reply.expires):
                await reply.changed.park()
        await reply.whole.wait()

    def _expect(self, reply: Reply) -> None:
        """Give the model its time to begin a reply."""
        waits = self._tools.running or self._uplink.link is None
        reply.expires = math.inf if waits else trio.current_time() + self._provider.response_timeout
        reply.changed.unpark_all()
        self._changed.unpark_all()

    def expect_all(self) -> None:
        """Give the model its time anew, or, while it waits for a tool or there is no connection, all of it."""
        for reply in self._pending:
            self._expect(reply)

    def look_again(self) -> None:
        """Whoever waits may perhaps go on: a cancellation was acknowledged."""
        self._changed.unpark_all()

    def say_again(self, link: RealtimeLink) -> None:
        """Say what was said to a link that is lost and what no reply to had begun."""
        for reply in self._pending:
            assert reply.asked is not None
            reply.attempts += 1
            link.send_nowait(link.dialect.text(reply.asked, reply.frames))
        self.expect_all()

    # -- speaking ------------------------------------------------------------------------------------------------------

    def begin(self) -> Reply | None:
        """A reply begins; None if nobody will hear it, as while the goodbye is said."""
        if self._closed:
            self._unheard = True
            return None
        if self.current is not None:
            self.current.end(inferred=True)
        self._under_way()
        reply = self._pending.pop(0) if self._pending else self.new_reply()
        try:
            reply.begin(self._sink.open_turn(self._provider.audio_format) if self._provider.speaks else None)
        except SinkClosed as error:
            reply.fail(error)
            self._fail(error)
            return None
        self.current = reply
        self._replies.append(reply)
        self.begun += 1
        self._tell(ReplyStarted(reply.number))
        self._nursery.start_soon(self._play, reply)
        return reply

    def end(self, *, cut_short: bool = False) -> None:
        """All of the reply that was coming has come."""
        if self.current is not None:
            self.current.end(cut_short=cut_short)
            self.current = None
        self._changed.unpark_all()

    async def _play(self, reply: Reply) -> None:
        try:
            await reply.play(self._provider.response_timeout, self._provider.inferred_end)
        except SinkClosed as error:
            reply.fail(error)
            self._fail(error)
        finally:
            self._end_with_session(reply)
            if self.current is reply:
                self.current = None
            self._changed.unpark_all()

    def _on_resolved(self, reply: Reply) -> None:
        if reply.begun:
            self._tell(ReplyEnded(reply.number, reply.outcome, reply.text, reply.error))
        self._changed.unpark_all()

    def _under_way(self) -> list[Reply]:
        """Replies that may be heard or were asked for; those of calls that wait in line are not among them."""
        now = trio.current_time()
        self._pending = [reply for reply in self._pending if reply.expires > now or reply in self._line]
        self._replies = [reply for reply in self._replies if reply.audible]
        return [*self._replies, *self._pending]

    # -- interrupting --------------------------------------------------------------------------------------------------

    def interrupt(self) -> Interruption | None:
        """Silence all replies, those in line too; None if there was none, or one is uninterruptible."""
        replies = [*self._under_way(), *(reply for reply in self._line if not (reply.begun or reply.over))]
        replies = list(dict.fromkeys(replies))
        if not replies or not all(reply.interruptible for reply in replies):
            return None
        asked = len(self._pending)
        coming = self.current is not None
        self._silence(replies)
        if coming or asked:
            self._uplink.cancel(asked)
        return self._note(replies, by_user=False)

    def barge_in(self) -> None:
        """The provider has heard the user and broken off: what is queued is not to be heard either."""
        heard = [reply for reply in self._under_way() if reply.interruptible and reply.begun]
        if self.current is not None and not self.current.interruptible:
            self.end(cut_short=True)
        self._silence(heard)
        if heard:
            self._note(heard, by_user=True)

    def _abandon(self, reply: Reply) -> None:
        """A scope around the caller was cancelled.  Runs inside of that cancel(): synchronous, and raises nothing."""
        if reply.silenced:
            return
        asked, coming = reply in self._pending, reply is self.current
        self._silence([reply])
        if asked or coming:
            self._uplink.cancel(int(asked))
        self._note([reply], by_user=False)

    def _silence(self, replies: Sequence[Reply]) -> None:
        for reply in reversed(replies):  # the newest first: a device drops from the end of what it holds
            if reply is self.current:
                self.current = None
            if reply in self._pending:
                self._pending.remove(reply)
            reply.silence()

    def _note(self, replies: list[Reply], *, by_user: bool) -> Interruption:
        cut = self.last_interruption = interruption(replies)
        if (told := self._callers.told_with(replies)) != replies:
            self.last_interruption = interruption(told)
        self._tell(ReplyInterrupted(cut, by_user))
        return cut

    # -- failing -------------------------------------------------------------------------------------------------------

    def lose(self, error: VoiceTrioError) -> None:
        """The connection is lost: the reply that was coming has failed; what had not begun is said again."""
        if self._nursery.cancel_scope.cancel_called:
            self.close()  # it is nobody's fault
            return
        if self.current is not None:
            self.current.fail(error)
            self.current = None
        for reply in [reply for reply in self._pending if reply.attempts >= _ATTEMPTS]:
            self._pending.remove(reply)
            reply.fail(error)
        self.expect_all()
        self._changed.unpark_all()

    def refuse(self, error: VoiceTrioError) -> None:
        """What was asked for will not be answered."""
        pending, self._pending = self._pending, []
        for reply in pending:
            reply.fail(error)
        self._changed.unpark_all()

    def close(self) -> None:
        """Silence what is not in the sink to its end, and let nothing begin."""
        self._closed = True
        for reply in dict.fromkeys([*self._line, *self._replies, *self._pending]):
            self._end_with_session(reply)
        self._changed.unpark_all()

    @staticmethod
    def _end_with_session(reply: Reply) -> None:
        """If it is not over, the session is closed, or its tasks are being cancelled."""
        if not reply.over:
            if reply.audio is not None:
                reply.audio.fence()
            reply.fail(SessionClosed("the session was closed"))
