"""The messages of the gateway's realtime models, and what belongs to a reply that was cancelled.

Replies have no ids, so what comes after ``interrupt`` is dropped until the gateway shows that it has heard of it:

- by ``response_interrupted``; or
- by the end of the reply that was cancelled; or
- by the beginning of another one.

A reply that had been asked for and had not begun may still begin, if the gateway began it before it was told; so as
many beginnings as were asked for are of cancelled replies as well, and nothing is asked until that is settled: the
answer could be taken for one of them.  Where the gateway acknowledges nothing the link is given up after
`cancel_timeout`.

What shows that it has heard may come before its ``response_interrupted``, which still comes then: in the order of the
interruptions, within `cancel_timeout`.  Such an answer is neither one to a later interruption nor the gateway's own,
unless the user has begun to speak: then, if nothing is owed, it may be the gateway's own, and is taken for that.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pybase64
import trio

from .._link.link import Message
from .._realtime_dialect import (
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
from ..chat import ToolCall
from ..errors import AuthenticationError, PaymentRequired, ProtocolError, ProviderError
from ._gateway import NAME, Notice, audio_message, decode, message

_TOOL_CALLS = ("tool_call", "function_call")


class GatewayRealtimeDialect(RealtimeDialect):
    """One connection to ``/v1/llm``.

    Args:
        config: what the first message carries.
        speaks: whether replies are spoken; else they are text, and end with it.
        cancel_timeout: seconds in which an interruption is answered, if it is, and in which the answer follows what
            showed before it that the gateway had heard.
        clock: for that.
    """

    provider = NAME

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        speaks: bool,
        cancel_timeout: float = 2.0,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._config = config
        self._speaks = speaks
        self._coming = False  # a reply has begun and is not over
        self._announced = False  # the gateway tells of replies that begin
        self._owed = 0  # interruptions that it has not shown to have heard of
        self._stale = 0  # cancelled replies that may still begin
        self._uncertain = False  # a cancelled reply may still begin, and cannot be told from one that is asked now
        self._broken_off = False  # what comes is of a reply that was broken off, until another is announced
        self._credit: deque[float] = deque()  # answers to interruptions that may still come, and until when
        self._doubtful: deque[float] = deque()  # the same, from before the user spoke: it may have been used up since
        self._cancel_timeout = cancel_timeout
        self._clock = clock
        self._calls = itertools.count(1)

    # -- what is said to the model -------------------------------------------------------------------------------------

    def greet(self, headers: Mapping[str, str]) -> Iterable[Message]:  # noqa: ARG002 - it tells nothing
        return (message("config", self._config),)

    def farewell(self) -> Iterable[Message]:
        return (message("stop"),)

    def audio(self, pcm: bytes) -> Message:
        return audio_message(pcm)

    def video(self, jpeg: bytes) -> Message:
        return message("video", _base64(jpeg))

    def text(self, text: str, frames: Sequence[bytes] = ()) -> Message:
        if frames:
            return message("text_with_frames", {"text": text, "frames": [_base64(frame) for frame in frames]})
        return message("text", text)

    def tool_output(self, call: ToolCall, output: str) -> Message:
        return message("tool_response", {"id": call.id, "name": call.name, "response": output})

    def cancel(self, asked: int) -> Sequence[Message]:
        self._owed += 1
        self._stale += asked
        self._uncertain |= bool(asked) or not self._announced
        self._coming = False
        self._broken_off = True
        return (message("interrupt"),)

    # -- what comes ----------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> Iterable[RealtimeDialectEvent]:
        if isinstance(message, bytes):
            return self._on_audio(message)
        try:
            notice = decode(message)
        except ProtocolError:
            raise
        except ProviderError as error:
            return self._on_error(error)
        if notice is None:
            self.answered = True
            return ()
        if (told := notice.failure()) is not None:
            return self._on_error(told)
        kind = notice.event or notice.type
        if kind in _TOOL_CALLS:
            return self._on_call(notice)
        if kind == "audio":
            return self._on_audio(notice.audio())
        handle = _HANDLERS.get(kind)
        if handle is None:
            return ()
        self.answered = True
        return handle(self, notice)

    def _on_error(self, error: ProviderError) -> Sequence[RealtimeDialectEvent]:
        fatal = not self.answered or isinstance(error, AuthenticationError | PaymentRequired)
        return (Broken(error) if fatal else Reported(error),)

    @property
    def certain(self) -> bool:
        """Whether a reply that is asked for now can be told from those that were cancelled."""
        return not self._uncertain

    @property
    def _dropping(self) -> bool:
        """Whether what comes is of a reply that was cancelled or broken off."""
        return self._owed > 0 or (self._broken_off and self._announced)

    def _on_audio(self, pcm: bytes) -> Sequence[RealtimeDialectEvent]:
        self.answered = True
        if self._dropping:
            self.late_bytes += len(pcm)
            return ()
        if not pcm or not self._speaks:  # nobody has asked a model of text alone to speak
            return ()
        self._coming, self._broken_off = True, False
        return (Audio(pcm),)

    def _on_started(self, _notice: Notice) -> Sequence[RealtimeDialectEvent]:
        self._announced = True
        if self._stale:  # implies that an interruption is owed
            self._stale -= 1
            return ()
        acknowledged = self._settle()
        self._coming, self._broken_off = True, False
        return (*acknowledged, Began())

    def _on_ended(self, _notice: Notice) -> Sequence[RealtimeDialectEvent]:
        if self._owed:
            return () if self._stale else self._settle()
        if not self._coming:
            return ()
        self._coming = False
        return (Over(),)

    def _on_interrupted(self, _notice: Notice) -> Sequence[RealtimeDialectEvent]:
        # One that may be an earlier interruption's says nothing of the latest.
        if (self._owed and self._use_up(self._doubtful)) or self._use_up(self._credit):
            return ()
        if self._owed:
            self._owed -= 1
            if not self._owed:
                self._stale, self._uncertain = 0, False
            return (Acknowledged(),)
        self._coming, self._broken_off = False, True
        return (BargedIn(),)

    def _settle(self) -> Sequence[RealtimeDialectEvent]:
        """The gateway has heard of all interruptions, though it has not said so; it may still do."""
        if not self._owed:
            return ()
        count, self._owed = self._owed, 0
        for credit in (self._doubtful, self._credit):
            self._forget_expired(credit)
        self._credit += [self._clock() + self._cancel_timeout] * count
        self._uncertain = False
        return (Acknowledged(count),)

    def _use_up(self, credit: deque[float]) -> bool:
        """Take one from those that have not expired; whether there was one."""
        self._forget_expired(credit)
        if not credit:
            return False
        credit.popleft()
        return True

    def _forget_expired(self, credit: deque[float]) -> None:
        while credit and credit[0] < self._clock():
            credit.popleft()

    def _on_user_speech(self, notice: Notice) -> Sequence[RealtimeDialectEvent]:
        started = notice.event == "user_speech_started"
        if started:
            # From now on the gateway may break off by itself.
            self._doubtful += self._credit
            self._credit.clear()
        return (UserSpeech(started),)

    def _on_heard(self, notice: Notice) -> Sequence[RealtimeDialectEvent]:
        text = _text(notice)
        return (Heard(text, notice.event == "user_transcript"),) if text else ()

    def _on_said(self, notice: Notice) -> Sequence[RealtimeDialectEvent]:
        final = notice.event == "text_response"
        text = _text(notice)
        if not text or self._dropping or (final and notice.field("is_final") is not True):
            return ()
        if self._speaks:
            return (Said(text, final),)
        begins = () if self._coming else (Began(),)
        self._coming = not final
        return (*begins, Said(text, final), *((Over(),) if final else ()))

    def _on_usage(self, notice: Notice) -> Sequence[RealtimeDialectEvent]:
        used = {name: value for name, value in notice.fields.items() if name != "eventType"}
        return (Consumed(used),) if used else ()

    def _on_call(self, notice: Notice) -> Sequence[RealtimeDialectEvent]:
        """A call, of any sensible shape: the gateway's own client knows none."""
        self.answered = True
        function = notice.field("function")
        fields = {**notice.fields, **(function if isinstance(function, dict) else {})}
        name = fields.get("name")
        if not isinstance(name, str) or not name or self._owed:  # one of a cancelled reply is not to be made
            return ()
        identity = next((fields[key] for key in ("id", "call_id", "tool_call_id") if fields.get(key)), None)
        arguments: Any = next((fields[key] for key in ("arguments", "args") if fields.get(key) is not None), {})
        if not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        return (Asked(ToolCall(f"call-{next(self._calls)}" if identity is None else str(identity), name, arguments)),)


_HANDLERS = {
    "agent_speech_started": GatewayRealtimeDialect._on_started,
    "agent_speech_ended": GatewayRealtimeDialect._on_ended,
    "response_interrupted": GatewayRealtimeDialect._on_interrupted,
    "user_speech_started": GatewayRealtimeDialect._on_user_speech,
    "user_speech_ended": GatewayRealtimeDialect._on_user_speech,
    "input_transcription": GatewayRealtimeDialect._on_heard,
    "user_transcript": GatewayRealtimeDialect._on_heard,
    "output_transcription": GatewayRealtimeDialect._on_said,
    "text_response": GatewayRealtimeDialect._on_said,
    "usage_metadata": GatewayRealtimeDialect._on_usage,
}


def _text(notice: Notice) -> str:
    text = notice.field("text")
    return text if isinstance(text, str) else ""


def _base64(data: bytes) -> str:
    return pybase64.b64encode(data).decode()
