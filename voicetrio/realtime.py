"""Realtime models: the user's audio, text and pictures in, replies on a sink, whatever the provider.

What a session does is in :mod:`voicetrio._realtime_session`; here are the options of providers, and all public names.
"""

from __future__ import annotations

import abc
import math
import ssl
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import attrs
import msgspec

from ._link.connection import DEFAULT_DRIVER, ConnectionOptions, Dial, Driver, known_driver
from ._link.policy import LinkPolicy
from ._link.pool import Endpoint
from ._options import check_io, positive, positive_or_none
from ._realtime_dialect import RealtimeDialect
from ._realtime_events import ConnectionLost as ConnectionLost
from ._realtime_events import ErrorReported as ErrorReported
from ._realtime_events import InputTranscript as InputTranscript
from ._realtime_events import OutputTranscript as OutputTranscript
from ._realtime_events import RealtimeEvent as RealtimeEvent
from ._realtime_events import Reconnected as Reconnected
from ._realtime_events import ReplyEnded as ReplyEnded
from ._realtime_events import ReplyInterrupted as ReplyInterrupted
from ._realtime_events import ReplyStarted as ReplyStarted
from ._realtime_events import UsageReported as UsageReported
from ._realtime_events import UserSpeechEnded as UserSpeechEnded
from ._realtime_events import UserSpeechStarted as UserSpeechStarted
from ._realtime_reply import RealtimeReply as RealtimeReply
from ._realtime_session import RealtimeSession as RealtimeSession
from ._realtime_session import RealtimeStatistics as RealtimeStatistics
from ._realtime_session import open_session
from .audio import AudioFormat, AudioSink, check_sink
from .chat import ToolCall as ToolCall
from .errors import ConfigurationError
from .tools import FunctionTool, Tool, as_tools, wire_tools

DEFAULT_INSTRUCTIONS = "You are a helpful voice assistant that can answer questions and help with tasks."


@attrs.frozen(kw_only=True)
class RealtimeProvider(abc.ABC):
    """Options of a realtime model.  Does no I/O; equal, hashable, and printed without its key.

    Attributes:
        connect_timeout: seconds that connecting may take, all in all.
        response_timeout: seconds in which a reply must begin once it was asked for, and its audio once it has begun.
        inferred_end: seconds without audio after which a reply is over whose end the provider does not tell.
        cancel_timeout: seconds in which the provider must show that it heard of an interruption, or the link is given
            up.
        heartbeat: seconds between pings; None for none.
        driver: the library that drives websockets: ``"websockets"`` or ``"trio-websocket"``.
        buffer_seconds: of the user's audio kept while there is no connection; the oldest is dropped.
        reply_seconds: of a reply's audio kept before the sink; beyond that the socket has to wait.
    """

    name: ClassVar[str]

    connect_timeout: float = attrs.field(default=10.0, validator=positive)
    response_timeout: float = attrs.field(default=15.0, validator=positive)
    inferred_end: float = attrs.field(default=3.0, validator=positive)
    cancel_timeout: float = attrs.field(default=2.0, validator=positive)
    heartbeat: float | None = attrs.field(default=30.0, validator=positive_or_none)
    driver: Driver = attrs.field(default=DEFAULT_DRIVER, validator=known_driver)
    buffer_seconds: float = attrs.field(default=10.0, validator=positive)
    reply_seconds: float = attrs.field(default=120.0, validator=positive)

    @property
    @abc.abstractmethod
    def audio_format(self) -> AudioFormat:
        """The format of the audio that the provider takes and sends."""

    @property
    def speaks(self) -> bool:
        """Whether it takes audio and replies in audio."""
        return True

    @abc.abstractmethod
    def _endpoint(self) -> Endpoint: ...

    @abc.abstractmethod
    def _new_dialect(self, instructions: str, tools: Sequence[FunctionTool | Mapping[str, Any]]) -> RealtimeDialect: ...

    def _policy(self) -> LinkPolicy:
        connection = ConnectionOptions(connect_timeout=self.connect_timeout, driver=self.driver)
        return LinkPolicy(connection=connection, heartbeat=self.heartbeat, max_age=math.inf)

    def open(
        self,
        sink: AudioSink,
        *,
        sample_rate: int = 48_000,
        channels: int = 1,
        instructions: str = DEFAULT_INSTRUCTIONS,
        tools: Iterable[Tool] = (),
        dial: Dial | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> AbstractAsyncContextManager[RealtimeSession]:
        """Open a session: ``async with provider.open(sink) as session:``.  It connects and configures at once.

        Leaving the block ends all of it within a second, whatever the provider does: replies that are not in the sink
        to their end are silenced, and whoever waits for one gets :exc:`~voicetrio.errors.SessionClosed`.

        Args:
            sink: where replies go; resampled if its rate differs.  It is not closed.
            sample_rate: of the audio that will be given, in Hz; resampled to the provider's.
            channels: interleaved in that audio; averaged where the provider takes one.  Mono is never taken for stereo.
            instructions: for the model.
            tools: functions that the model may call, see :func:`voicetrio.tools.function_tool`.  The session calls them
                itself; of a mapping in OpenAI's form only the event :class:`ToolCall` comes.
            dial: opens the byte stream to a host and port, instead of :func:`trio.open_tcp_stream`.
            ssl_context: for ``wss``, instead of the system's trust store.

        Raises:
            ConfigurationError: for a format or a tool that cannot be, or an argument of another kind.
        """
        check_sink(sink, self.audio_format)
        check_io(dial, ssl_context)
        if not isinstance(instructions, str):
            raise ConfigurationError(f"instructions must be a string, not {instructions!r}")
        given, named = AudioFormat(sample_rate, channels), as_tools(tools)
        _check_sendable(instructions, named.values())
        return open_session(self, sink, given, instructions, named, dial, ssl_context)


def _check_sendable(instructions: str, tools: Iterable[FunctionTool | Mapping[str, Any]]) -> None:
    try:
        msgspec.json.encode([instructions, wire_tools(tools)])
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"instructions and tools must be what JSON can carry: {error}") from None
