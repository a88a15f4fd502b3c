"""``voicetrio chat``: ask a language model, and read the answer while it arrives."""

from __future__ import annotations

import codecs
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import attrs
import click
import trio

from .._link.nursery import open_plain_nursery
from ..chat import ChatContext
from ..errors import InputError
from ._options import MODEL, given_options, make, print_options, required_options
from ._output import write_all
from ._registry import MODELS
from ._status import ENDING, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from ..llm import LLMProvider, LLMSession
    from ..reply import Reply

    Write = Callable[[str], Awaitable[None]]

_STDIN, _STDOUT = 0, 1


@click.command(
    short_help="Ask a language model.",
    epilog="""Status: 0 answered; 1 the server or the way to it failed; 2 wrong usage, option or key;
130 interrupted by Ctrl-C.

The key is read from the environment (OPENAI_API_KEY, for OpenAI only; VIDEOSDK_AUTH_TOKEN) or from --api-key-file.""",
)
@click.argument("question", required=False)
@click.option("--provider", type=click.Choice(sorted(MODELS)), default="openai", show_default=True)
@click.option("--model", help="The model.")
@click.option("--base-url", help="Where an OpenAI-compatible server or the gateway is: http://localhost:11434/v1.")
@click.option("--system", help="The instruction that the conversation begins with.")
@click.option("-O", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Any other option of the provider.")
@click.option("--list-options", is_flag=True, help="List the provider's options and end.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False), help="Read the key from this file.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object at the end, in place of the text.")
def chat(
    question: str | None,
    provider: str,
    model: str | None,
    base_url: str | None,
    system: str | None,
    pairs: tuple[str, ...],
    list_options: bool,
    api_key_file: str | None,
    as_json: bool,
) -> int:
    """Ask a language model QUESTION, or the lines of standard input, one after another.

    Ctrl-C interrupts the answer to a line, and ends the command where there is none; so does Ctrl-D.
    """
    kind = MODELS[provider]
    if list_options:
        print_options(kind)
        return 0
    if as_json and question is None:
        raise click.UsageError("--json tells of one answer: give QUESTION")
    given = [*pairs, *given_options(kind, model, base_url, api_key_file)]
    if required_options(kind) & set(MODEL) and not {pair.partition("=")[0] for pair in given} & set(MODEL):
        raise click.UsageError("say which model: --model gpt-4o-mini, or what the server calls its own")
    options = make(kind, given)
    context = ChatContext() if system is None else ChatContext().system(system)
    conversation = _Conversation(options, context, _drop if as_json else _print)
    try:
        trio.run(conversation.run, question)
    finally:
        if conversation.within_line and not as_json:
            click.echo()
    if as_json:
        click.echo(json.dumps(_report(options, conversation), ensure_ascii=False))
    return 0 if conversation.signal is None else status_of(conversation.signal)


async def _drop(_text: str) -> None:
    pass


async def _print(text: str) -> None:
    # Whoever reads a pipe may be slow.
    await trio.to_thread.run_sync(write_all, _STDOUT, text.encode(errors="replace"), abandon_on_cancel=True)


class _Conversation:
    """Questions and their answers, one after another.

    Attributes:
        signal: the signal that ended it.
        reply: the latest answer.
        within_line: what was written does not end with the end of a line.
    """

    def __init__(self, provider: LLMProvider, context: ChatContext, write: Write) -> None:
        self.signal: int | None = None
        self.reply: Reply | None = None
        self.within_line = False
        self._provider = provider
        self._context = context
        self._write = write
        self._all = trio.CancelScope()
        self._turn: trio.CancelScope | None = None  # of the answer that may be interrupted

    async def run(self, question: str | None) -> None:
        """Answer one question, or the lines of standard input until it ends.

        Raises:
            VoiceTrioError: if an answer fails.
        """
        with trio.open_signal_receiver(*ENDING) as signals:
            async with open_plain_nursery("the conversation is over") as nursery:
                nursery.start_soon(self._obey, signals)
                with self._all:
                    async with self._provider.open() as session:
                        if question is None:
                            await self._answer_lines(session)
                        else:
                            await self._answer(session, question)

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for signum in signals:
            if signum == signal.SIGINT and self._turn is not None and not self._turn.cancel_called:
                self._turn.cancel(reason="Ctrl-C")
            else:
                self.signal = signum
                self._all.cancel(reason=f"signal {signum}")

    async def _answer_lines(self, session: LLMSession) -> None:
        with _Lines(_STDIN) as lines:
            while (line := await lines.next()) is not None:
                if not line.strip():
                    continue
                with trio.CancelScope() as self._turn:
                    await self._answer(session, line)
                self._turn = None
                if self.within_line:
                    await self._say("\n")

    async def _answer(self, session: LLMSession, question: str) -> None:
        self._context.user(question)
        self.reply = None
        try:
            async with session.chat(self._context) as self.reply:
                async for delta in self.reply:
                    await self._say(delta)
        finally:
            if self.reply is not None and self.reply.text:
                self._context.assistant(self.reply.text)  # as far as it could be read

    async def _say(self, text: str) -> None:
        self.within_line = not text.endswith("\n")
        await self._write(text)


class _Lines:
    """The lines of a file descriptor as they come; a context manager.

    It is read in a thread, because not every file can be waited for, and by :func:`os.read`, because a thread left
    behind inside :data:`sys.stdin` would make the interpreter abort at its end.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._rest = ""
        self._ended = False
        self._prompts = os.isatty(fd)
        self._prompted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._prompted:
            click.echo(err=True)

    async def next(self) -> str | None:
        """The next line, without its end; None behind the last.

        Raises:
            InputError: it is not UTF-8.
        """
        if self._prompts:
            click.echo("> ", nl=False, err=True)
            self._prompted = True  # on a line that nobody has ended
        while "\n" not in self._rest and not self._ended:
            data = await trio.to_thread.run_sync(os.read, self._fd, 1 << 16, abandon_on_cancel=True)
            self._ended = not data
            try:
                self._rest += self._decode(data, self._ended)
            except UnicodeDecodeError as error:
                raise InputError(f"standard input is not UTF-8: {error.reason}") from None
        line, newline, self._rest = self._rest.partition("\n")
        self._prompted = self._prompted and not newline
        return line.removesuffix("\r") if line or newline else None


def _report(provider: LLMProvider, conversation: _Conversation) -> dict[str, Any]:
    """What happened, for programs."""
    reply = conversation.reply
    report: dict[str, Any] = {"provider": provider.name, "interrupted": conversation.signal is not None}
    if reply is None:
        return {**report, "text": "", "finish_reason": None, "usage": None, "request_id": None, "timeline": {}}
    marks = {name: time for name, time in attrs.asdict(reply.timeline).items() if time is not None}
    return {
        **report,
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "usage": None if reply.usage is None else attrs.asdict(reply.usage),
        "request_id": reply.request_id,
        "timeline": {name: time - marks["requested"] for name, time in marks.items()},
    }
