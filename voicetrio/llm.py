"""The contract of language models: what a session and a chat do, whatever the provider.

A provider supplies options and the form of its requests; everything that takes time or can be cancelled is here, once.
A chat is read by the caller's own task: there is nothing to cancel but the connection, which is dropped when the block
of the chat is left, however that happens.
"""

from __future__ import annotations

import abc
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Self

import attrs
import trio

from ._link.connection import ConnectionOptions, Dial
from ._link.endpoint import Endpoint, connector
from ._link.exchange import Lines
from ._link.nursery import open_plain_nursery
from ._link.policy import LinkPolicy, Retries
from ._options import check_io, positive
from .chat import ChatContext, Messages, context_of, encode_body, wire_messages
from .errors import ConfigurationError, ConnectError, SessionClosed
from .reply import Reply, Request
from .response_format import Form
from .tool_run import ToolRun
from .tools import Tool, as_tools, wire_tools

ToolChoice = str | Mapping[str, Any]
"""``"auto"``, ``"required"``, ``"none"``, the name of a tool that must be called, or OpenAI's object for it."""


@attrs.frozen(kw_only=True)
class LLMProvider(abc.ABC):
    """Options of a language model.  Does no I/O, and is printed without its key.

    Attributes:
        connect_timeout: seconds that connecting may take, all in all.
        response_timeout: seconds for which the server may be silent, before its first token and between any two.  There
            is no limit to the length of an answer.
    """

    name: ClassVar[str]
    _of_the_session: ClassVar[frozenset[str]] = frozenset({"connect_timeout"})

    connect_timeout: float = attrs.field(default=10.0, validator=positive)
    response_timeout: float = attrs.field(default=30.0, validator=positive)

    @abc.abstractmethod
    def _endpoint(self) -> Endpoint: ...

    @abc.abstractmethod
    def _body(self) -> dict[str, Any]:
        """A request's body, without what belongs to one chat."""

    @abc.abstractmethod
    def _response_format(self, name: str, schema: dict[str, Any]) -> dict[str, Any]: ...

    @property
    def _tool_choice(self) -> ToolChoice:
        return "auto"

    def _policy(self) -> LinkPolicy:
        return LinkPolicy(connection=ConnectionOptions(connect_timeout=self.connect_timeout))

    def _variant(self, overrides: Mapping[str, Any]) -> Self:
        """These options with a chat's own in their place."""
        known = {field.alias for field in attrs.fields(type(self))}
        if unknown := sorted(set(overrides) - known):
            raise ConfigurationError(f"{type(self).__name__} has no option {', '.join(unknown)}")
        if fixed := sorted(set(overrides) & self._of_the_session):
            raise ConfigurationError(f"{', '.join(fixed)} cannot differ from chat to chat: open another session")
        return attrs.evolve(self, **overrides) if overrides else self

    def open(
        self, *, dial: Dial | None = None, ssl_context: ssl.SSLContext | None = None
    ) -> AbstractAsyncContextManager[LLMSession]:
        """Open a session, which keeps connections warm: ``async with provider.open() as session:``.

        It does not connect yet: :meth:`LLMSession.prewarm` or the first chat does.  While a chat is under way another
        connection is kept ready, so that the chat after an interruption does not wait for one.  Leaving the block drops
        all connections; chats of other tasks get :exc:`~voicetrio.errors.SessionClosed`.

        Args:
            dial: opens the byte stream to a host and port, instead of :func:`trio.open_tcp_stream`: for proxies and
                tests.  TLS comes on top of it.
            ssl_context: for ``https``, instead of the system's trust store.

        Raises:
            ConfigurationError: if one of them is none of its kind.
        """
        check_io(dial, ssl_context)
        return _open_session(self, dial, ssl_context, reserve=True)

    def chat(
        self,
        messages: Messages,
        *,
        tools: Iterable[Tool] = (),
        tool_choice: ToolChoice | None = None,
        response_format: Form = None,
        spoken_field: str | None = None,
        dial: Dial | None = None,
        ssl_context: ssl.SSLContext | None = None,
        **overrides: Any,
    ) -> AbstractAsyncContextManager[Reply]:
        """Ask the model once, in a session of its own; as :meth:`LLMSession.chat`, on a new connection."""
        request = self._request(context_of(messages), tools, tool_choice, response_format, spoken_field, overrides)
        check_io(dial, ssl_context)
        return _one_chat(_open_session(self, dial, ssl_context, reserve=False), request)

    def _request(
        self,
        context: ChatContext,
        tools: Iterable[Tool],
        tool_choice: ToolChoice | None,
        response_format: Form,
        spoken_field: str | None,
        overrides: Mapping[str, Any],
    ) -> Request:
        options = self._variant(overrides)
        request = Request.of_form(response_format, spoken_field, options.response_timeout)
        body = options._body()
        body["messages"] = wire_messages(context)
        if named := as_tools(tools):
            body["tools"] = wire_tools(named.values())
            body["tool_choice"] = _wire_choice(options._tool_choice if tool_choice is None else tool_choice, named)
        elif tool_choice is not None:
            raise ConfigurationError("tool_choice without tools")
        if request.form.wire is not None:
            body["response_format"] = request.form.wire
        elif request.form.schema is not None:
            body["response_format"] = options._response_format(request.form.name, request.form.schema)
        return attrs.evolve(request, body=encode_body(body))


def _wire_choice(choice: ToolChoice, tools: Mapping[str, Any]) -> Any:
    if not isinstance(choice, str) or choice in ("auto", "required", "none"):
        return choice
    if choice not in tools:
        raise ConfigurationError(f"tool_choice must be auto, required, none, or the name of a tool, not {choice!r}")
    return {"type": "function", "function": {"name": choice}}


@asynccontextmanager
async def _open_session(
    provider: LLMProvider, dial: Dial | None, ssl_context: ssl.SSLContext | None, *, reserve: bool
) -> AsyncGenerator[LLMSession, None]:
    async with open_plain_nursery("the session was closed") as nursery:
        session = LLMSession(provider, nursery, dial, ssl_context, reserve=reserve)
        try:
            yield session
        finally:
            session._close()


@asynccontextmanager
async def _one_chat(opened: AbstractAsyncContextManager[LLMSession], request: Request) -> AsyncGenerator[Reply, None]:
    async with opened as session, session._ask(request) as reply:
        yield reply


class LLMSession:
    """A provider's session; made by :meth:`LLMProvider.open`.

    Attributes:
        provider: whose options it has.
    """

    def __init__(
        self,
        provider: LLMProvider,
        nursery: trio.Nursery,
        dial: Dial | None,
        ssl_context: ssl.SSLContext | None,
        *,
        reserve: bool,
    ) -> None:
        endpoint = provider._endpoint()
        policy = provider._policy()
        open_connection = connector(endpoint, provider.name, policy, ssl_context, dial)
        self.provider: LLMProvider = provider
        self._policy = policy
        self._target = endpoint.target(provider.name)
        self._lines = Lines(nursery, open_connection, reserve=reserve)
        self._closed = False

    async def prewarm(self) -> None:
        """Have a warm connection, so that the next chat does not pay for the handshake.  Safe to call at any time.

        A server closes a connection on which nothing happens, after seconds or minutes of its own choosing; the next
        chat then makes a new one.

        Raises:
            ProviderError: if none can be had.
            SessionClosed: if the session is closed.

        Cancelling it leaves the connecting under way.
        """
        self._check_open()
        retries = Retries(self._policy)
        while True:
            try:
                await self._lines.ready()
            except ConnectError as error:
                await retries.pause_or_raise(error)
            else:
                return

    def chat(
        self,
        messages: Messages,
        *,
        tools: Iterable[Tool] = (),
        tool_choice: ToolChoice | None = None,
        response_format: Form = None,
        spoken_field: str | None = None,
        **overrides: Any,
    ) -> AbstractAsyncContextManager[Reply]:
        """Ask the model: ``async with session.chat(…) as reply: async for delta in reply: …``.

        Entering the block sends the request and waits until the answer begins.  Until then, what may succeed if it is
        tried again is: a connection that failed or was lost, 429 and 5xx; after a pause, which is the server's
        ``Retry-After`` if that is short.  Leaving the block before the answer is over, or cancelling it, drops the
        connection at once, by which the server knows.  Any number of chats may be under way at the same time, each on a
        connection of its own.

        Args:
            messages: a string, which the user says; a :class:`~voicetrio.chat.ChatContext`; or a sequence of messages,
                strings, and mappings in OpenAI's form.
            tools: what the model may call: functions, see :func:`~voicetrio.tools.function_tool`, or mappings in
                OpenAI's form.  Nothing is called here; :meth:`run_tools` does.
            tool_choice: ``"auto"``, ``"required"``, ``"none"``, or the name of the tool to call; None for the
                provider's option.
            response_format: what the answer is: an attrs class, a dataclass or a msgspec Struct; a JSON schema; or a
                mapping in OpenAI's form, whose ``type`` is ``json_object``, ``json_schema`` or ``text``.
            spoken_field: the field of such an answer that is to be heard: its text is what the reply gives, while the
                rest of the answer is still arriving.
            overrides: other options of the provider for this chat.

        Raises:
            InputError: if there is something among the messages that cannot be sent.
            ConfigurationError: if a tool or an option cannot be.
            SessionClosed: if the session is closed.
            ProviderError: on entering: the server refused, or failed, and trying again did not help.
            ProviderStalled: on entering: nothing came for `response_timeout` seconds.
        """
        self._check_open()
        request = self.provider._request(
            context_of(messages), tools, tool_choice, response_format, spoken_field, overrides
        )
        return self._ask(request)

    def run_tools(
        self,
        messages: Messages,
        *,
        tools: Iterable[Tool],
        max_rounds: int = 8,
        tool_choice: ToolChoice | None = None,
        response_format: Form = None,
        spoken_field: str | None = None,
        **overrides: Any,
    ) -> AbstractAsyncContextManager[ToolRun]:
        """Ask the model, call what it wants called, tell it what came of it, and so on until it only answers.

        ``async with session.run_tools(…) as run: async for delta in run: …`` gives the text of all rounds.  The calls
        of a round run at the same time, in a nursery; their outputs go to the model in the order of the calls.  An
        argument that does not fit and a :exc:`~voicetrio.errors.ToolError` go to the model as well, as text; any other
        exception of a tool cancels the other calls and is raised by the iteration (several at once as a group).
        Leaving the block, or cancelling it, stops whatever is under way, the calls too.  No call is made twice: a run
        that failed raises the same again, and one that was cancelled while it called tools, or whose block was left,
        raises :exc:`~voicetrio.errors.ClosedError`.

        Args:
            messages: as in :meth:`chat`.  To a :class:`~voicetrio.chat.ChatContext` each round is added once it is
                complete: the text, the calls and their outputs.
            tools: functions; all can be called.
            max_rounds: requests at most.
            tool_choice: as in :meth:`chat`, for the first round only; the others have ``"auto"``, whatever the
                provider's option: the model could never end otherwise.
            response_format: as in :meth:`chat`.
            spoken_field: as in :meth:`chat`.
            overrides: other options of the provider.

        Raises:
            TooManyRounds: by the iteration: the model still calls tools in the last round.  What it called last was
                not called and is not in the context.

        Otherwise as :meth:`chat`; entering the block makes the first request.
        """
        self._check_open()
        context, named = context_of(messages), as_tools(tools)

        def ask(*, first: bool) -> Reply:
            choice = tool_choice if first else "auto"
            return self._ask(
                self.provider._request(context, named.values(), choice, response_format, spoken_field, overrides)
            )

        return ToolRun(ask, context, named, max_rounds)

    def _ask(self, request: Request) -> Reply:
        return Reply(request, self._lines, self._policy, self._target)

    def _close(self) -> None:
        self._closed = True
        self._lines.close()

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed("the session is closed")
