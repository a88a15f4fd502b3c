"""What a session with a realtime model does, whatever the provider.

Theory of operation
-------------------
One task of the session (:meth:`RealtimeSession._keep_a_link`) holds a link at a time and sends it the user's audio; the
link's receive loop brings events (:meth:`RealtimeSession._on_events`).  A reply is a turn on the sink.  Its audio comes
faster than it plays, and the news that the user has interrupted it comes on the same socket behind it; so audio waits in
the reply, and a task of its own writes it to the sink.  Only beyond `reply_seconds` has the socket to wait.

The protocols have no ids.  A reply that begins after a text was sent is taken for the answer to it; of two texts, the
first.  What comes after a cancellation is dropped by the dialect, until the provider shows that it has heard of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio

from ._jpeg import to_jpeg
from ._link.connection import Connection
from ._link.link import Link
from ._link.policy import is_transient
from ._link.pool import LinkPools
from ._realtime_dialect import (
    Acknowledged,
    Asked,
    Audio,
    BargedIn,
    Began,
    Broken,
    Consumed,
    Heard,
    Over,
    RealtimeDialect,
    RealtimeDialectEvent,
    Reported,
    Said,
    UserSpeech,
)
from ._realtime_events import (
    ConnectionLost,
    ErrorReported,
    EventLog,
    InputTranscript,
    OutputTranscript,
    RealtimeEvent,
    Reconnected,
    ReplyEnded,
    ReplyInterrupted,
    ReplyStarted,
    ToolCall,
    Usage,
    UserSpeechEnded,
    UserSpeechStarted,
)
from ._realtime_input import AudioInput
from ._realtime_reply import RealtimeReply, Reply, interruption
from ._realtime_tools import ToolDesk
from .audio import AudioFormat, AudioFrame, AudioSink
from .errors import (
    BreakerOpen,
    ConfigurationError,
    InputError,
    ProviderError,
    ProviderStalled,
    SessionClosed,
    SinkClosed,
    VoiceTrioError,
)
from .text import check_chunk
from .turn import Interruption

if TYPE_CHECKING:
    from .realtime import RealtimeProvider

# Events that wait to be read.
_MOST_EVENTS = 256
# As after so many failures the session waits before it connects anew.
_PATIENT = 5
# Links on which a text is said before its reply has begun.
_ATTEMPTS = 3
# Pictures are at least so far apart, in seconds.
_VIDEO_SECONDS = 0.5


@attrs.frozen
class RealtimeStatistics:
    """What a session has done so far.  Samples are counted per channel, at the provider's rate.

    Attributes:
        connections: links that became ready.
        replies: that began.
        samples_sent: of the user's audio, handed to a link.
        samples_dropped: that could not be kept until there was a connection.
        samples_withheld: that were given while an uninterruptible reply was spoken.
        late_bytes: of audio that came for replies already silenced, and were dropped.
        events_dropped: that nobody read in time.
    """

    connections: int
    replies: int
    samples_sent: int
    samples_dropped: int
    samples_withheld: int
    late_bytes: int
    events_dropped: int


class RealtimeSession:
    """A conversation with a realtime model; made by :meth:`RealtimeProvider.open`.

    Iterate over it for what happens; nobody need, audio flows by itself::

        async for event in session:
            match event:
                case InputTranscript(text=text, final=True): ...

    Events wait for their reader up to a bound of 256, and never make audio wait: beyond the bound a transcript that is
    not final is dropped first, as the next one tells its text again, and else the oldest event; `events_dropped` counts.
    The iteration ends with the session.  If the provider refuses for good, it raises the error once what was there
    before has been read, and all calls raise the same one from then on.

    Attributes:
        provider: whose options it has.
        sink: where replies go.
        last_interruption: what the latest interruption cut off.
    """

    def __init__(
        self,
        provider: RealtimeProvider,
        sink: AudioSink,
        given: AudioFormat,
        nursery: trio.Nursery,
        tools: ToolDesk,
    ) -> None:
        self.provider: RealtimeProvider = provider
        self.sink: AudioSink = sink
        self.last_interruption: Interruption | None = None
        self._nursery = nursery
        self._tools = tools
        self._input = AudioInput(given, provider.audio_format, provider.buffer_seconds)
        self._pools: LinkPools[RealtimeDialect] = LinkPools(nursery, provider.name, provider._policy())
        self._link: Link[RealtimeDialect] | None = None
        self._using = trio.CancelScope()
        self._down: ProviderError | None = None  # why there is no connection
        self._told_down = False
        self._error: VoiceTrioError | None = None
        self._closed = False
        self._events = EventLog(_MOST_EVENTS)
        self._readers = trio.lowlevel.ParkingLot()
        self._changed = trio.lowlevel.ParkingLot()
        self._line: list[Reply] = []  # of calls of say(), until all of the reply has come
        self._pending: list[Reply] = []  # asked for, and not begun
        self._current: Reply | None = None  # begun, and still coming
        self._replies: list[Reply] = []  # that may still be heard
        self._abandoned: list[Reply] = []
        self._user_turn_until = -math.inf  # a reply to what the user has said may begin until then
        self._reply_count = 0
        self._late_bytes = 0
        self._last_video = -math.inf

    def statistics(self) -> RealtimeStatistics:
        """What the session has done so far."""
        return RealtimeStatistics(
            connections=self._pools.connections,
            replies=self._reply_count,
            samples_sent=self._input.sent,
            samples_dropped=self._input.dropped,
            samples_withheld=self._input.withheld,
            late_bytes=self._late_bytes,
            events_dropped=self._events.dropped,
        )

    # -- what happens --------------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RealtimeEvent:
        await trio.lowlevel.checkpoint()
        while not len(self._events):
            if self._error is not None:
                raise self._error.with_traceback(None)  # or it would grow with each call
            if self._closed:
                raise StopAsyncIteration
            await self._readers.park()
        return self._events.take()

    async def prewarm(self) -> None:
        """Wait until there is a connection.

        Raises:
            ProviderError: if there is none, and why; the session goes on trying unless it is refused for good.
            SessionClosed: if the session is closed.
        """
        await self._connected()

    # -- what the user says and shows ----------------------------------------------------------------------------------

    async def send_audio(self, audio: bytes | bytearray | memoryview | AudioFrame) -> None:
        """Let the model hear the user.  It never waits for the network.

        Without a connection the last `buffer_seconds` are kept for it.  While an uninterruptible reply is asked for or
        spoken the user is not heard: what is given then is dropped, and counted.

        Args:
            audio: s16le in the format that the session was opened for, of any length: a sample may be cut anywhere.

        Raises:
            ConfigurationError: if a frame's format is another, or the model takes no audio.
            ProviderError: if the provider has refused for good.
            SessionClosed: if the session is closed.

        Cancelling it has no effect on what it took.
        """
        await trio.lowlevel.checkpoint()
        self._check()
        if not self.provider.speaks:
            raise ConfigurationError("a model of text alone takes no audio")
        self._input.put(audio, withhold=not all(reply.interruptible for reply in self._under_way()))

    async def send_text(self, text: str, *, interruptible: bool = True) -> None:
        """Say something to the model, verbatim, and let it reply when it will: see :meth:`say` to wait for that.

        Sent at once, even during a reply, which the provider may break off for it.  Waits for a connection.  If that is
        lost before a reply has begun the text is sent again on the next one.

        Args:
            text: not blank.
            interruptible: whether :meth:`interrupt` ends the reply.

        Raises:
            InputError: if it cannot be sent.
            ProviderError: if there is no connection.
            SessionClosed: if the session is closed.

        Cancelled, it has sent nothing.
        """
        await self._ask_for(self._new_reply(text, interruptible=interruptible))

    async def send_text_with_frames(self, text: str, frames: Sequence[Any], *, interruptible: bool = True) -> None:
        """Say something about pictures; otherwise as :meth:`send_text`.

        Args:
            text: not blank.
            frames: the pictures, each as for :meth:`send_video`.
            interruptible: whether :meth:`interrupt` ends the reply.

        Raises:
            InputError: if one cannot be sent; nothing is sent then.
            ConfigurationError: if Pillow is needed and not installed.
        """
        pictures = [await to_jpeg(frame) for frame in frames]
        await self._ask_for(self._new_reply(text, interruptible=interruptible, frames=pictures))

    async def send_video(self, frame: Any) -> bool:
        """Show the model a picture, at most two a second.

        Args:
            frame: JPEG as bytes, or an image of Pillow or a ``VideoFrame`` of PyAV, which Pillow encodes.

        Returns:
            Whether it was sent: not if it came too soon, or there is no connection.

        Raises:
            InputError: if it is no picture.
            ConfigurationError: if Pillow is needed and not installed.
            ProviderError: if the provider has refused for good.
            SessionClosed: if the session is closed.
        """
        self._check()
        now = trio.current_time()
        if self._link is None or now - self._last_video < _VIDEO_SECONDS:
            await trio.lowlevel.checkpoint()
            return False
        jpeg = await to_jpeg(frame)
        link = self._link
        if link is None or self._last_video > now - _VIDEO_SECONDS:
            return False  # lost meanwhile, or another task was faster
        self._last_video = now
        await link.send(link.dialect.video(jpeg))
        return True

    async def say(self, text: str, *, interruptible: bool = True) -> RealtimeReply:
        """Say something to the model, verbatim, and wait for its reply: until the last sample of it is in the sink.

        Calls are answered in the order in which they were made; a text is sent when no reply is coming any more.

        Args:
            text: not blank.
            interruptible: whether :meth:`interrupt` ends the reply.

        Returns:
            How it went: `outcome` is ``"interrupted"`` if :meth:`interrupt` or the user came first.

        Raises:
            InputError: if the text cannot be sent.
            ProviderError: if there is no connection, or none that lasts; if no reply comes; if it breaks off.
            SessionClosed: if the session is closed, or was during the call.
            SinkClosed: if nobody will read the sink.

        Cancelling it, by any scope, is an interruption, in the very moment in which the scope is cancelled: not one more
        sample of the reply can be read from the source.  That holds for uninterruptible ones as well.
        """
        reply = self._new_reply(text, interruptible=interruptible)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._line.append(reply)
        self._nursery.start_soon(self._run_say, reply)
        return await reply.wait()

    async def send_tool_output(self, call: ToolCall, output: str) -> None:
        """Tell the model what came of a call of a tool that the session has no function for.

        Raises:
            ProviderError: if there is no connection.
            SessionClosed: if the session is closed.
        """
        link = await self._connected()
        await link.send(link.dialect.tool_output(call, output))

    def interrupt(self) -> Interruption | None:
        """Silence all replies: the one that is coming, those asked for, and what is still queued.

        Synchronous: once it has returned, not one more sample of them can be read from the source, and whoever waits for
        one gets the outcome ``"interrupted"``.

        Returns:
            What was cut off; its `turn` is 0 if nothing of it had come.  None if there was nothing to silence, or if one
            of them is uninterruptible: then all is left as it is.
        """
        under_way = [*self._under_way(), *(reply for reply in self._line if not reply.begun)]
        replies = list(dict.fromkeys(under_way))
        awaited = trio.current_time() < self._user_turn_until
        if not (replies or awaited) or not all(reply.interruptible for reply in replies):
            return None
        asked = len(self._pending) + awaited
        coming = self._current is not None
        self._user_turn_until = -math.inf
        self._silence(replies)
        if coming or asked:
            self._cancel_on_wire(asked)
        return self._note(interruption(replies), by_user=False)

    # -- replies -------------------------------------------------------------------------------------------------------

    def _new_reply(self, text: str, *, interruptible: bool, frames: Sequence[bytes] = ()) -> Reply:
        self._check()
        check_chunk(text)
        if not isinstance(text, str) or not text.strip():
            raise InputError("a text must have something to say")
        return self._make_reply(text, frames, interruptible=interruptible)

    def _make_reply(
        self, text: str | None = None, frames: Sequence[bytes] = (), *, interruptible: bool = True
    ) -> Reply:
        return Reply(
            interruptible=interruptible,
            asked=text,
            frames=frames,
            provider=self.provider.name,
            on_abandoned=self._abandon,
            on_resolved=self._on_resolved,
        )

    def _under_way(self) -> list[Reply]:
        """Replies that may be heard or were asked for; those of calls that wait in line are not among them."""
        now = trio.current_time()
        self._pending = [reply for reply in self._pending if reply.expires > now or reply in self._line]
        self._replies = [reply for reply in self._replies if reply.audible]
        return [*self._replies, *self._pending]

    async def _ask_for(self, reply: Reply) -> None:
        """Say a text to the model; what its reply will be is known from then on."""
        link = await self._connected()
        assert reply.asked is not None
        await link.send(link.dialect.text(reply.asked, reply.frames))
        reply.attempts = 1
        self._pending.append(reply)
        self._expect(reply)

    def _expect(self, reply: Reply) -> None:
        """Give the model its time to begin a reply; while it waits for a tool, that has not begun."""
        waits = self._tools.running or self._link is None
        reply.expires = math.inf if waits else trio.current_time() + self.provider.response_timeout
        reply.changed.unpark_all()

    async def _run_say(self, reply: Reply) -> None:
        try:
            with reply.ask_scope:
                await self._wait_in_line(reply)
                await self._ask_for(reply)
                await self._wait_for_all_of(reply)
        except VoiceTrioError as error:
            reply.fail(error)
        finally:
            self._abandoned = []
            self._line.remove(reply)
            self._changed.unpark_all()

    async def _wait_in_line(self, reply: Reply) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._line[0] is not reply or self._current is not None or self._pending:
            with trio.CancelScope(deadline=min((each.expires for each in self._pending), default=math.inf)):
                await self._changed.park()
            self._under_way()  # forgets those whose time is over

    async def _wait_for_all_of(self, reply: Reply) -> None:
        while not reply.received:
            if not reply.begun and trio.current_time() >= reply.expires:
                self._pending.remove(reply)
                error = ProviderStalled(
                    f"no reply began within {self.provider.response_timeout:g} s", provider=self.provider.name
                )
                if self._link is not None:
                    self._link.fail(error)  # or its reply might come yet
                raise error
            with trio.CancelScope(deadline=math.inf if reply.begun else reply.expires):
                await reply.changed.park()

    def _begin(self) -> Reply | None:
        """A reply begins; None if nobody will hear it."""
        if self._current is not None:
            self._current.end(inferred=True)
        self._under_way()
        reply = self._pending.pop(0) if self._pending else self._make_reply()
        try:
            reply.begin(self.sink.open_turn(self.provider.audio_format) if self.provider.speaks else None)
        except SinkClosed as error:
            reply.fail(error)
            self._fail(error)
            return None
        self._current = reply
        self._replies.append(reply)
        self._reply_count += 1
        self._user_turn_until = -math.inf
        self._tell(ReplyStarted(reply.number))
        self._nursery.start_soon(self._play, reply)
        return reply

    async def _play(self, reply: Reply) -> None:
        try:
            await reply.play(self.provider.response_timeout, self.provider.inferred_end)
        except SinkClosed as error:
            reply.fail(error)
            self._fail(error)
        if self._current is reply:
            self._current = None
        self._changed.unpark_all()

    def _end_current(self, *, cut_short: bool = False) -> None:
        if self._current is not None:
            self._current.end(cut_short=cut_short)
            self._current = None
        self._changed.unpark_all()

    def _on_resolved(self, reply: Reply) -> None:
        if reply.begun:
            self._tell(ReplyEnded(reply.number, reply.outcome, reply.text, reply.error))
        self._changed.unpark_all()

    # -- interruptions -------------------------------------------------------------------------------------------------

    def _silence(self, replies: Sequence[Reply]) -> None:
        for reply in reversed(replies):  # the newest first: a device drops from the end of what it holds
            if reply is self._current:
                self._current = None
            if reply in self._pending:
                self._pending.remove(reply)
            reply.silence()

    def _abandon(self, reply: Reply) -> None:
        """A scope around the caller was cancelled.  Runs inside of that cancel(): synchronous, and raises nothing."""
        if reply.silenced:
            return
        asked, coming = reply in self._pending, reply is self._current
        self._silence([reply])
        if asked or coming:
            self._cancel_on_wire(int(asked))
        # One cancel() may reach several calls, in any order; before their tasks have run it is one interruption.
        self._abandoned = sorted([*self._abandoned, reply], key=lambda reply: reply.number or math.inf)
        self._note(interruption(self._abandoned), by_user=False)

    def _cancel_on_wire(self, asked: int) -> None:
        link = self._link
        if link is None or not link.usable:
            return
        for message in link.dialect.cancel(asked):
            link.send_nowait(message)
        link.expect_acknowledgement(self.provider.cancel_timeout)

    def _barge_in(self) -> None:
        """The provider has heard the user and broken off: what is queued is not to be heard either."""
        replies = self._under_way()
        heard = [reply for reply in replies if reply.interruptible and reply.begun]
        if self._current is not None and not self._current.interruptible:
            self._end_current(cut_short=True)
        self._silence(heard)
        if heard:
            self._note(interruption(heard), by_user=True)

    def _note(self, cut: Interruption, *, by_user: bool) -> Interruption:
        self.last_interruption = cut
        self._tell(ReplyInterrupted(cut, by_user))
        return cut

    # -- what comes ----------------------------------------------------------------------------------------------------

    async def _on_events(self, link: Link[RealtimeDialect], events: Iterable[RealtimeDialectEvent]) -> None:
        """Take what one message is; in the link's receive loop."""
        self._adopt(link)
        if link is not self._link:
            return
        for event in events:
            match event:
                case Audio(pcm=pcm):
                    await self._on_audio(pcm)
                case Asked(call=call):
                    self._on_call(link, call)
                case Broken(error=error):
                    link.clean(error)
                    link.fail(error)
                case Reported(error=error):
                    link.clean(error)
                    self._on_reported(error)
                case Acknowledged(count=count):
                    for _ in range(count):
                        link.acknowledged()
                case _:
                    self._on_notice(event)

    async def _on_audio(self, pcm: bytes) -> None:
        reply = self._current or self._begin()
        if reply is None:
            return
        fmt = self.provider.audio_format
        while reply.queued_seconds(fmt) > self.provider.reply_seconds:
            await reply.changed.park()
        if reply.received:
            self._late_bytes += len(pcm)
        else:
            reply.put(pcm)

    def _on_notice(self, event: RealtimeDialectEvent) -> None:
        match event:
            case Began():
                self._begin()
            case Over():
                self._end_current()
            case BargedIn():
                self._barge_in()
            case UserSpeech(started=started):
                waits = -math.inf if started else trio.current_time() + self.provider.response_timeout
                self._user_turn_until = waits
                self._tell(UserSpeechStarted() if started else UserSpeechEnded())
            case Heard(text=text, final=final):
                self._tell(InputTranscript(text, final))
            case Said(text=text, final=final):
                self._on_said(text, final=final)
            case Consumed(data=data):
                self._tell(Usage(data))

    def _on_said(self, text: str, *, final: bool) -> None:
        reply = self._current or (self._replies[-1] if self._replies else None)  # its text may come late
        if reply is not None:
            reply.add_text(text, final=final)
        whole, number = (text, None) if reply is None else (reply.text, reply.number)
        self._tell(OutputTranscript(whole, "" if final else text, final, number))

    def _on_reported(self, error: ProviderError) -> None:
        """The provider says that something went wrong, and nothing of what."""
        self._tell(ErrorReported(error))
        if self._current is not None:
            self._current.trouble = error  # if nothing more of it comes, that is why
            return
        refused, self._pending = self._pending, []
        for reply in refused:
            reply.fail(error)

    def _on_call(self, link: Link[RealtimeDialect], call: ToolCall) -> None:
        self._tell(call)
        if self._tools.answers(call.name):
            self._nursery.start_soon(self._run_tool, link, call)

    async def _run_tool(self, link: Link[RealtimeDialect], call: ToolCall) -> None:
        for reply in self._pending:
            reply.expires = math.inf
        output = await self._tools.call(call)
        if link is self._link:  # another one does not know of the call
            await link.send(link.dialect.tool_output(call, output))
        for reply in self._pending:
            self._expect(reply)

    def _tell(self, event: RealtimeEvent) -> None:
        self._events.put(event)
        self._readers.unpark_all()

    # -- the link ------------------------------------------------------------------------------------------------------

    async def _connected(self) -> Link[RealtimeDialect]:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            self._check()
            if self._link is not None:
                return self._link
            if self._down is not None:
                raise self._down.with_traceback(None)
            await self._changed.park()

    async def _keep_a_link(
        self,
        new_dialect: Callable[[], RealtimeDialect],
        open_connection: Callable[[], AbstractAsyncContextManager[Connection]],
    ) -> None:
        endpoint, policy = self.provider._endpoint(), self.provider._policy()
        target = endpoint.target(self.provider.name)

        def make_link() -> Link[RealtimeDialect]:
            return Link(new_dialect(), target, open_connection, policy, self._on_events, self._on_lost)

        pool = self._pools.get(endpoint, policy, make_link)
        while not self._closed:
            try:
                link = await pool.acquire()
            except ProviderError as error:
                if not (is_transient(error) or isinstance(error, BreakerOpen)):
                    self._fail(error)
                    return
                self._on_unreachable(error)
                await trio.sleep(error.retry_after or policy.pause(_PATIENT))
                continue
            self._adopt(link)
            with self._using:
                await self._send_audio(link)
            pool.release(link, worked=link.dialect.answered)
            if link.failure is not None and not is_transient(link.failure):
                self._fail(link.failure)
                return

    def _adopt(self, link: Link[RealtimeDialect]) -> None:
        """Use a link: what it says may come before our own task knows that there is one."""
        if self._link is not None or not link.usable:
            return
        self._link = link
        self._using = trio.CancelScope()
        self._down = None
        if self._told_down:
            self._told_down = False
            self._tell(Reconnected())
        self._say_again(link)
        self._changed.unpark_all()

    def _say_again(self, link: Link[RealtimeDialect]) -> None:
        """Say what was said to a link that is lost and what no reply to had begun."""
        for reply in self._pending:
            assert reply.asked is not None
            reply.attempts += 1
            link.send_nowait(link.dialect.text(reply.asked, reply.frames))
            self._expect(reply)

    async def _send_audio(self, link: Link[RealtimeDialect]) -> None:
        while True:
            pcm = await self._input.peek()
            position = self._input.position()
            await link.send(link.dialect.audio(pcm))
            self._input.advance(position, pcm)

    def _on_lost(self, link: Link[RealtimeDialect]) -> None:
        if link is not self._link:
            return
        assert link.failure is not None
        self._link = None
        self._using.cancel(reason="the link is lost")
        self._user_turn_until = -math.inf
        if self._current is not None:
            self._current.fail(link.failure)
            self._current = None
        for reply in [reply for reply in self._pending if reply.attempts >= _ATTEMPTS]:
            self._pending.remove(reply)
            reply.fail(link.failure)
        for reply in self._pending:
            self._expect(reply)
        if not self._closed:
            self._tell_down(link.failure)
        self._changed.unpark_all()

    def _on_unreachable(self, error: ProviderError) -> None:
        self._down = error
        self._fail_pending(error)
        self._tell_down(error)

    def _tell_down(self, error: ProviderError) -> None:
        if not self._told_down:
            self._told_down = True
            self._tell(ConnectionLost(error))

    # -- the end -------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self._closed:
            raise SessionClosed("the session is closed")

    def _fail_pending(self, error: VoiceTrioError) -> None:
        pending, self._pending = self._pending, []
        for reply in pending:
            reply.fail(error)
        self._changed.unpark_all()

    def _fail(self, error: VoiceTrioError) -> None:
        """The provider has refused for good, or nobody listens: say so to whoever waits, and from now on."""
        if self._error is None:
            self._error = error
            self._fail_pending(error)
            self._readers.unpark_all()

    def _close(self) -> None:
        self._closed = True
        error = SessionClosed("the session was closed")
        for reply in list(dict.fromkeys([*self._line, *self._replies, *self._pending])):
            if not reply.over:
                if reply.audio is not None:
                    reply.audio.fence()
                reply.fail(error)
        self._readers.unpark_all()
        self._changed.unpark_all()
