"""A reply: one answer of a language model, while it is arriving."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import attrs
import msgspec
import trio

from ._completions import Completion, Usage, explain
from ._json_stream import FieldStream
from ._link._handshake import request_id
from ._link._target import Target
from ._link.exchange import Line, Lines
from ._link.policy import LinkPolicy, Retries, is_transient
from ._one_task import OneTask
from ._sse import EventDecoder
from .chat import ToolCall
from .errors import (
    ClosedError,
    ConnectError,
    InvalidAnswer,
    LinkClosed,
    ProtocolError,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
    SessionClosed,
)
from .response_format import AnswerFormat, Form

# Pieces that are there are given without waiting, but others must have their turn.
_PIECES_PER_PASS = 16

# Seconds of waiting, in all, for what may follow the end of the answer: its cost, the end marker.
_TAIL_TIMEOUT = 1.0
_MAX_BODY = 8 * 2**20


@attrs.frozen
class Request:
    """What is asked, and in which form the answer is wanted.

    Attributes:
        body: of the HTTP request.
        form: of the answer.
        spoken_field: the field of the answer that is to be heard.
        response_timeout: seconds for which the server may be silent.
    """

    form: AnswerFormat
    spoken_field: str | None
    response_timeout: float
    body: bytes = attrs.field(default=b"", repr=False)

    @classmethod
    def of_form(cls, form: Form, spoken_field: str | None, response_timeout: float) -> Request:
        """A request whose body is still to be made.

        Raises:
            ConfigurationError: if there is no such form, or no such field in it.
        """
        wanted = AnswerFormat.of(form)
        if spoken_field is not None:
            wanted.check_field(spoken_field)
        return cls(wanted, spoken_field, response_timeout)


@attrs.define
class ReplyTimeline:
    """When a reply reached its stations, all by :func:`trio.current_time`; None where it did not.

    Attributes:
        requested: the request was made.
        connected: it had a connection; the latest, if it was tried again.
        first_token: the first text, call or end came.
        ended: it was over: complete, failed, or left.
    """

    requested: float | None = None
    connected: float | None = None
    first_token: float | None = None
    ended: float | None = None


class Reply:
    """One answer: an async iterator of its text, piece by piece; made by :meth:`LLMSession.chat`.

    What the iteration raises: :exc:`~voicetrio.errors.ProviderStalled` if nothing comes for too long,
    :exc:`~voicetrio.errors.LinkClosed` if the answer is cut off, the error that the server tells in the middle,
    :exc:`~voicetrio.errors.InvalidAnswer` at the end of an answer that is not of the form asked for, and
    :exc:`~voicetrio.errors.SessionClosed` if the session is closed meanwhile.  What came before an error is given
    before it is raised.  Leaving the block throws away what was not taken; going on then raises
    :exc:`~voicetrio.errors.ClosedError`.  Cancelled, it has taken nothing: go on, or leave the block.  One task at a
    time may iterate; another gets :exc:`trio.BusyResourceError`.

    Attributes:
        finish_reason: why the answer ended, in the server's word: ``"stop"``, ``"length"``, ``"tool_calls"``, …; None
            before.
        tool_calls: what the model wants called, with the server's ids; empty until the answer is complete.
        parsed: the answer as what `response_format` asked for; None until it is complete, and if the model calls tools
            instead.
        request_id: the server's name of the request, if it gave one.
        timeline: when what happened.
    """

    def __init__(self, request: Request, lines: Lines, policy: LinkPolicy, target: Target) -> None:
        self.finish_reason: str | None = None
        self.tool_calls: tuple[ToolCall, ...] = ()
        self.parsed: Any = None
        self.request_id: str | None = None
        self.timeline: ReplyTimeline = ReplyTimeline()
        self._request = request
        self._lines = lines
        self._policy = policy
        self._target = target
        self._line: Line | None = None
        self._said: list[str] = []
        self._entered = False
        self._cut = False  # the block was left before all was given
        self._one_task = OneTask("reading this reply")
        self._begin_anew()

    @property
    def text(self) -> str:
        """The text that the iteration has given so far."""
        return "".join(self._said)

    @property
    def content(self) -> str:
        """All that has arrived of the answer, as the model wrote it: with a spoken field, the JSON around it too."""
        return self._completion.content

    @property
    def usage(self) -> Usage | None:
        """What the answer cost; None until the server tells, after the text, if it does."""
        return self._completion.usage

    @property
    def complete(self) -> bool:
        """Whether the whole answer has come."""
        return self._over and self._failure is None

    async def read(self) -> str:
        """Read the rest of the answer and return all its text; raises as the iteration does."""
        async for _ in self:
            pass
        return self.text

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a chat is made once: call chat() again")
        self._entered = True
        self.timeline.requested = trio.current_time()
        begun = False
        try:
            await self._begin()
            begun = True
        finally:
            if not begun:
                await self._leave()  # noqa: ASYNC102 - it is shielded where it has to be, and waits for nobody
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._leave()  # noqa: ASYNC102 - as above

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if self._pending:
            await self._let_others_run()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        while not self._pending:
            if self._failure is not None and not self._cut:
                raise self._failure
            if self._over and not self._cut:
                raise StopAsyncIteration
            if self._line is None:
                raise ClosedError("the block of the chat was left, or not entered")
            with self._one_task:
                try:
                    await self._advance()
                except ProviderError as error:
                    await self._fail(error)
        delta = self._pending.popleft()
        self._said.append(delta)
        return delta

    async def _let_others_run(self) -> None:
        if (len(self._said) + 1) % _PIECES_PER_PASS:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    # -- the beginning -----------------------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        self._pending: deque[str] = deque()
        self._failure: ProviderError | None = None
        self._over = False
        self._tail_left = _TAIL_TIMEOUT
        self._completion = Completion(self._target.provider)
        self._decoder: EventDecoder | None = EventDecoder(self._target.provider)
        self._body = bytearray()  # of an answer that is no event stream
        self._field = None if self._request.spoken_field is None else FieldStream(self._request.spoken_field)

    async def _begin(self) -> None:
        """Ask, until the answer has begun or asking again would not help."""
        retries = Retries(self._policy)
        while (error := await self._attempt_fails()) is not None:
            stale = self._line is not None and self._line.used and isinstance(error, LinkClosed)
            await self._drop()
            if not is_transient(error):
                raise error
            if not stale:  # the server has closed it while it was idle: that is nobody's failure
                await retries.pause_or_raise(error)

    async def _attempt_fails(self) -> ProviderError | None:
        """Ask once; return what asking again may mend."""
        try:
            await self._attempt()
        except ProviderError as failure:
            error = self._own(explain(failure, self._target.shown))
        else:
            return None
        if not isinstance(error, ConnectError | LinkClosed | RateLimited | ServiceUnavailable):
            raise error
        return error

    async def _attempt(self) -> None:
        self._begin_anew()
        self.request_id = None
        self._line = await self._lines.acquire()
        self.timeline.connected = trio.current_time()
        await self._send()
        self._take_head(msgspec.json.decode(await self._receive(), type=dict[str, str]))
        while not self._completion.begun and not self._over:
            await self._advance()
        if not self._pending and self._failure is not None:
            raise self._failure
        # An answer that came at once has ended with it.
        self.timeline.first_token = self.timeline.ended if self._over else trio.current_time()

    def _take_head(self, headers: Mapping[str, str]) -> None:
        self.request_id = self._printable_id(request_id(headers))
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            self._decoder = None
        elif kind != "text/event-stream":
            raise ProtocolError(
                f"{self._target.shown} answered with {self._target.printable(kind) or 'no type'}, no event stream",
                provider=self._target.provider,
                request_id=self.request_id,
            )

    # -- the middle --------------------------------------------------------------------------------------------------

    async def _advance(self) -> None:
        """Take the next piece of the body."""
        completion = self._completion
        try:
            piece = await self._receive()
        except (ProviderStalled, LinkClosed):
            if not completion.complete:
                raise
            await self._drop()  # only what follows the answer is missing
            self._end(whole=False)
            return
        assert isinstance(piece, bytes)
        try:
            self._take(piece)
        except ProviderError as error:
            if not self._pending:
                raise
            await self._fail(error)  # which is raised when the text before it has been taken
            return
        if completion.done or not piece:
            self._end(whole=not piece)

    async def _send(self) -> None:
        assert self._line is not None
        try:
            await self._line.connection.send(self._request.body)
        except ClosedError:
            raise SessionClosed("the session was closed during the chat") from None

    async def _receive(self) -> str | bytes:
        assert self._line is not None
        silence, tail = self._request.response_timeout, self._completion.complete
        if tail:
            silence = min(silence, self._tail_left)
        began = trio.current_time()
        with trio.move_on_after(silence):
            try:
                return await self._line.connection.receive()
            except ClosedError:
                raise SessionClosed("the session was closed during the chat") from None
            finally:
                if tail:  # only waiting counts: a slow reader loses nothing
                    self._tail_left = max(0.0, self._tail_left - (trio.current_time() - began))
        raise ProviderStalled(
            f"nothing came from {self._target.shown} for {silence:g} s",
            provider=self._target.provider,
            request_id=self.request_id,
        )

    def _take(self, piece: bytes) -> None:
        if self._decoder is not None:
            for event in self._decoder.feed(piece):
                if not self._completion.done:
                    self._say(self._completion.take(event))
            return
        self._body += piece
        if len(self._body) > _MAX_BODY:
            raise ProtocolError("an answer of more than 8 MiB", provider=self._target.provider)
        if not piece:
            self._say(self._completion.take_whole(self._body.decode("utf-8", "replace")))

    def _say(self, text: str) -> None:
        if self._field is not None:
            text = self._field.feed(text)
        if text:
            self._pending.append(text)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _end(self, *, whole: bool) -> None:
        """Nothing more will come; `whole` if the end of the body has."""
        if self._failure is None:
            try:
                self._finish()
            except ProviderError as error:
                self._failure = self._own(error)
        self._over = True
        self.timeline.ended = trio.current_time()
        if self._line is not None:
            self._line.give_back(whole=whole)
            self._line = None

    def _finish(self) -> None:
        completion, form = self._completion, self._request.form
        self.request_id = self.request_id or self._printable_id(completion.id)
        if not completion.complete:
            raise LinkClosed(
                f"{self._target.shown} ended the answer in the middle",
                provider=self._target.provider,
                request_id=self.request_id,
            )
        self.finish_reason = completion.finish_reason
        calls = completion.tool_calls()
        if not calls and form.kind is not None and completion.refusal:
            raise InvalidAnswer(f"the model refused: {completion.refusal}", provider=self._target.provider)
        if not calls:
            self.parsed = form.parse(completion.content, self._target.provider)
        self.tool_calls = calls

    def _printable_id(self, name: str | None) -> str | None:
        return None if name is None else self._target.printable(name)

    def _own(self, error: ProviderError) -> ProviderError:
        """An error of this reply: it tells of which request it is, and no secret."""
        if error.request_id is None:
            error.request_id = self.request_id or self._completion.id
        self._target.clean(error)
        return error

    async def _fail(self, error: ProviderError) -> None:
        self._failure = self._own(error)
        self._over = True
        self.timeline.ended = trio.current_time()
        await self._drop()

    async def _leave(self) -> None:
        if not self._over and self.timeline.ended is None:
            self.timeline.ended = trio.current_time()
        self._cut = bool(self._pending) or not self._over
        self._pending.clear()
        await self._drop()

    async def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.drop()
