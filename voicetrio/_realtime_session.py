"""What a session with a realtime model does, whatever the provider.

Theory of operation
-------------------
The :class:`~voicetrio._realtime_uplink.Uplink` holds a link at a time and sends it the user's audio; the link's receive
loop brings events (:meth:`RealtimeSession._on_events`).  The :class:`~voicetrio._realtime_floor.Floor` keeps the
replies, each a turn on the sink.  Its audio comes faster than it plays, and the news that the user has interrupted it
comes on the same socket behind it; so audio waits in the reply, and a task of its own writes it to the sink.  Only
beyond `reply_seconds` has the socket to wait.

The protocols have no ids.  A reply that begins after a text was sent is taken for the answer to it; of two texts, the
first.  What comes after a cancellation is dropped by the dialect, until the provider shows that it has heard of it.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio

from ._format import AudioLike
from ._jpeg import to_jpeg
from ._link.connection import Dial
from ._link.endpoint import connector
from ._link.nursery import open_plain_nursery
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
    UsageReported,
    UserSpeechEnded,
    UserSpeechStarted,
)
from ._realtime_floor import Floor
from ._realtime_input import AudioInput
from ._realtime_reply import RealtimeReply, Reply
from ._realtime_tools import ToolDesk
from ._realtime_uplink import RealtimeLink, Uplink
from .audio import AudioFormat, AudioSink
from .chat import ToolCall
from .errors import ConfigurationError, InputError, ProviderError, VoiceTrioError
from .text import check_chunk
from .tools import FunctionTool
from .turn import Interruption

if TYPE_CHECKING:
    from .realtime import RealtimeProvider

# Events that wait to be read.
_MOST_EVENTS = 256
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
    """A conversation with a realtime model; made by :meth:`~voicetrio.realtime.RealtimeProvider.open`.

    Iterate over it for what happens; nobody need, audio flows by itself::

        async for event in session:
            match event:
                case InputTranscript(text=text, final=True): ...

    Events wait for their reader up to a bound of 256, and never make audio wait: beyond the bound a transcript that is
    not final is dropped first, as the next one tells its text again, and else the oldest event; `events_dropped`
    counts them.  The iteration ends with the session.  If the provider refuses for good, it raises the error once what
    was there before has been read, and all calls raise the same one from then on.

    Attributes:
        provider: whose options it has.
        sink: where replies go.
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
        self._nursery = nursery
        self._tools = tools
        self._input = AudioInput(given, provider.audio_format, provider.buffer_seconds)
        self._uplink = Uplink(
            provider,
            nursery,
            self._input,
            on_events=self._on_events,
            on_up=self._on_up,
            on_lost=self._on_lost,
            on_unreachable=self._on_unreachable,
            on_refused=self._fail,
        )
        self._floor = Floor(provider, sink, nursery, self._uplink, tools, self._tell, self._fail)
        self._told_down = False
        self._closed = False
        self._events = EventLog(_MOST_EVENTS)
        self._readers = trio.lowlevel.ParkingLot()
        self._late_bytes = 0
        self._last_video = -math.inf

    @property
    def last_interruption(self) -> Interruption | None:
        """What the latest interruption cut off: by :meth:`interrupt`, by a cancel scope, or by the user.

        And what those just before it did whose callers have not run since: an interrupted call finds its turn here.
        """
        return self._floor.last_interruption

    def statistics(self) -> RealtimeStatistics:
        """What the session has done so far."""
        return RealtimeStatistics(
            connections=self._uplink.connections,
            replies=self._floor.begun,
            samples_sent=self._input.sent,
            samples_dropped=self._input.dropped,
            samples_withheld=self._input.withheld,
            late_bytes=self._late_bytes + self._uplink.late_bytes,
            events_dropped=self._events.dropped,
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RealtimeEvent:
        await trio.lowlevel.checkpoint()
        while not len(self._events):
            if self._uplink.error is not None:
                raise self._uplink.error.with_traceback(None)  # or it would grow with each call
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
        await self._uplink.connected()

    # -- what the user says and shows ----------------------------------------------------------------------------------

    async def send_audio(self, audio: AudioLike) -> None:
        """Let the model hear the user.  It never waits for the network.

        Without a connection the last `buffer_seconds` are kept for it.  While an uninterruptible reply is asked for or
        spoken the user is not heard: what is given then is dropped, and counted.

        Args:
            audio: s16le in the format that the session was opened for, of any length: bytes, which may cut a sample
                anywhere, an array of 16-bit samples, or a frame.

        Raises:
            ConfigurationError: if the model takes no audio.
            InputError: if it is no audio, or a frame of another format or within a sample.
            ProviderError: if the provider has refused for good.
            SessionClosed: if the session is closed.

        Cancelling it has no effect on what it took.
        """
        await trio.lowlevel.checkpoint()
        self._uplink.check()
        if not self.provider.speaks:
            raise ConfigurationError("a model of text alone takes no audio")
        self._input.put(audio, withhold=self._floor.guarded)

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
        await self._floor.ask_for(self._new_reply(text, interruptible=interruptible))

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
        await self._floor.ask_for(self._new_reply(text, interruptible=interruptible, frames=pictures))

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
        self._uplink.check()
        if self._uplink.link is None or trio.current_time() - self._last_video < _VIDEO_SECONDS:
            await trio.lowlevel.checkpoint()
            return False
        jpeg = await to_jpeg(frame)
        link, now = self._uplink.link, trio.current_time()
        if link is None or now - self._last_video < _VIDEO_SECONDS:
            return False  # lost meanwhile, or another task was faster
        self._last_video = now
        return await self._uplink.say(link, link.dialect.video(jpeg))

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

        Cancelling it, by any scope, is an interruption, in the very moment in which the scope is cancelled: not one
        more sample of the reply can be read from the source.  That holds for uninterruptible ones as well.
        """
        reply = self._new_reply(text, interruptible=interruptible)
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._floor.say(reply)

    async def send_tool_output(self, call: ToolCall, output: str) -> None:
        """Tell the model what came of a call of a tool that the session has no function for.

        Raises:
            InputError: if it is no text that can be sent.
            ProviderError: if there is no connection, or it is lost first: another one does not know of the call.
            SessionClosed: if the session is closed.
        """
        if not isinstance(output, str):
            raise InputError(f"the output of a tool must be a string, not {type(output).__name__}")
        check_chunk(output)
        link = await self._uplink.connected()
        if not await self._uplink.say(link, link.dialect.tool_output(call, output)):
            self._uplink.check()
            assert link.failure is not None
            raise link.failure.with_traceback(None)

    def interrupt(self) -> Interruption | None:
        """Silence all replies: the one that is coming, those asked for, and what is still queued.

        A reply to what the user has said is known once it begins: until then it is not among them.

        Synchronous: once it has returned, not one more sample of them can be read from the source, and whoever waits
        for one gets the outcome ``"interrupted"``.

        Returns:
            What was cut off; its `turn` is 0 if nothing of it had come.  None if there was nothing to silence, or if
            one of them is uninterruptible: then all is left as it is.
        """
        return self._floor.interrupt()

    def _new_reply(self, text: str, *, interruptible: bool, frames: Sequence[bytes] = ()) -> Reply:
        self._uplink.check()
        check_chunk(text)
        if not isinstance(text, str) or not text.strip():
            raise InputError("a text must have something to say")
        return self._floor.new_reply(text, frames, interruptible=interruptible)

    # -- what comes ----------------------------------------------------------------------------------------------------

    async def _on_events(self, link: RealtimeLink, events: Iterable[RealtimeDialectEvent]) -> None:
        """Take what one message is; in the link's receive loop."""
        for event in events:
            match event:
                case Audio(pcm=pcm):
                    await self._on_audio(pcm)
                case Asked(call=call):
                    await self._on_call(link, call)
                case Broken(error=error):
                    link.clean(error)
                    link.fail(error)
                case Reported(error=error):
                    link.clean(error)
                    self._on_reported(error)
                case Acknowledged(count=count):
                    for _ in range(count):
                        link.acknowledged()
                    self._floor.look_again()
                case _:
                    self._on_notice(event)

    async def _on_audio(self, pcm: bytes) -> None:
        reply = self._floor.current or self._floor.begin()
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
                self._floor.begin()
            case Over():
                self._floor.end()
            case BargedIn():
                self._floor.barge_in()
            case UserSpeech(started=started):
                self._tell(UserSpeechStarted() if started else UserSpeechEnded())
            case Heard(text=text, final=final):
                self._tell(InputTranscript(text, final))
            case Said(text=text, final=final):
                self._on_said(text, final=final)
            case Consumed(data=data):
                self._tell(UsageReported(data))

    def _on_said(self, text: str, *, final: bool) -> None:
        reply = self._floor.latest  # its text may come late
        if reply is not None:
            reply.add_text(text, final=final)
        whole, number = (text, None) if reply is None else (reply.text, reply.number)
        self._tell(OutputTranscript(whole, "" if final else text, final, number))

    def _on_reported(self, error: ProviderError) -> None:
        """The provider says that something went wrong, and nothing of what."""
        self._tell(ErrorReported(error))
        if self._floor.current is not None:
            self._floor.current.trouble = error  # if nothing more of it comes, that is why
        else:
            self._floor.refuse(error)

    async def _on_call(self, link: RealtimeLink, call: ToolCall) -> None:
        self._tell(call)
        if not self._tools.answers(call.name):
            return
        if self._tools.busy:
            await self._uplink.say(link, link.dialect.tool_output(call, "error: too many calls at once"))
        else:
            self._nursery.start_soon(self._run_tool, link, call)

    async def _run_tool(self, link: RealtimeLink, call: ToolCall) -> None:
        if self._closed:
            return
        with self._tools.at_work():
            self._floor.expect_all()
            output = await self._tools.call(call)
            await self._uplink.say(link, link.dialect.tool_output(call, output))  # no other one knows of the call
        self._floor.expect_all()

    def _tell(self, event: RealtimeEvent) -> None:
        self._events.put(event)
        self._readers.unpark_all()

    # -- the connection ------------------------------------------------------------------------------------------------

    def _on_up(self, link: RealtimeLink) -> None:
        """There is a connection."""
        if self._told_down:
            self._told_down = False
            self._tell(Reconnected())
        self._floor.say_again(link)

    def _on_lost(self, error: ProviderError) -> None:
        """The connection is lost."""
        self._floor.lose(error)
        self._tell_down(error)

    def _on_unreachable(self, error: ProviderError) -> None:
        """None came about; it is tried again in a while."""
        self._floor.refuse(error)
        self._tell_down(error)

    def _tell_down(self, error: ProviderError) -> None:
        if not self._told_down:
            self._told_down = True
            self._tell(ConnectionLost(error))

    def _fail(self, error: VoiceTrioError) -> None:
        """The provider has refused for good, or nobody listens: say so to whoever waits, and from now on."""
        self._uplink.end(error)
        self._floor.refuse(error)
        self._readers.unpark_all()

    def _close(self) -> None:
        self._closed = True
        self._uplink.close()
        self._floor.close()
        self._readers.unpark_all()


@asynccontextmanager
async def open_session(
    provider: RealtimeProvider,
    sink: AudioSink,
    given: AudioFormat,
    instructions: str,
    tools: Mapping[str, FunctionTool | Mapping[str, Any]],
    dial: Dial | None,
    ssl_context: ssl.SSLContext | None,
) -> AsyncGenerator[RealtimeSession, None]:
    """A session that lives as long as the block."""
    async with open_plain_nursery("the session was closed") as nursery:
        new_dialect = partial(provider._new_dialect, instructions, list(tools.values()))
        connect = connector(provider._endpoint(), provider.name, provider._policy(), ssl_context, dial)
        session = RealtimeSession(provider, sink, given, nursery, ToolDesk(tools))
        nursery.start_soon(session._uplink.keep, new_dialect, connect)
        try:
            yield session
        finally:
            session._close()
        with trio.CancelScope(shield=True):  # noqa: ASYNC100 - the nursery waits for its children, which have deadlines
            async with trio.open_nursery() as farewells:
                session._uplink.farewell(farewells)
