"""``voicetrio say``: speak a text into a file or a pipe."""

from __future__ import annotations

import codecs
import json
import os
import re
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from .._link.nursery import open_plain_nursery
from ..audio import AudioFormat, open_audio_sink
from ..errors import InputError, VoiceTrioError
from ..text import FlushMarker
from ..wav import WavWriter
from ._options import given_options, make, print_options
from ._output import check_writable, write_all
from ._registry import PROVIDERS
from ._status import ENDING, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator

    from ..audio import AudioFrame, AudioSink, AudioSource
    from ..text import Chunk, Text
    from ..tts import TTSProvider, TTSSession
    from ..turn import Synthesis

    Write = Callable[[AudioFrame], Awaitable[None]]

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_PROGRESS_SECONDS = 0.1

_SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]]*\s+|[。！？]|\n+""")


@click.command(
    epilog="""Status: 0 spoken; 1 the provider or the way to it failed; 2 wrong usage, option, key or text;
130 interrupted by Ctrl-C. What came before an error or Ctrl-C is in the file, which is valid. Where
nothing came, a file that is there is left alone, and none is made.

The key is read from the environment (such as DEEPGRAM_API_KEY, VIDEOSDK_AUTH_TOKEN) or from --api-key-file."""
)
@click.argument("text", required=False)
@click.option("-f", "--file", type=click.Path(allow_dash=True), help="Speak this UTF-8 file; - for standard input.")
@click.option(
    "-o",
    "--output",
    type=click.Path(allow_dash=True),
    help="The WAV file to write; - writes raw s16le to standard output.",
)
@click.option("--provider", type=click.Choice(sorted(PROVIDERS)), default="deepgram", show_default=True)
@click.option("--model", help="The provider's model.")
@click.option("--voice", help="The provider's voice.")
@click.option("--base-url", help="Where the provider is, such as the URL that `voicetrio simulate` prints.")
@click.option("--rate", type=int, help="Samples a second to write; by default what the provider sends.")
@click.option("-O", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Any other option of the provider.")
@click.option("--list-options", is_flag=True, help="List the provider's options and end.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False), help="Read the key from this file.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object on what happened to standard output.")
def say(
    text: str | None,
    file: str | None,
    output: str | None,
    provider: str,
    model: str | None,
    voice: str | None,
    base_url: str | None,
    rate: int | None,
    pairs: tuple[str, ...],
    list_options: bool,
    api_key_file: str | None,
    as_json: bool,
) -> int:
    """Speak TEXT, a file, or standard input as it comes.

    Lines and sentences of standard input are spoken as soon as they are there.
    """
    kind = PROVIDERS[provider]
    if list_options:
        print_options(kind)
        return 0
    _check_usage(text, file, output, as_json)
    options = make(kind, [*pairs, *given_options(kind, model, base_url, api_key_file)])
    fmt = AudioFormat(options.audio_format.sample_rate if rate is None else rate, options.audio_format.channels)
    words = _words_to_speak(text, file)
    if output not in (None, "-"):
        check_writable(output)
    speech = _Speech(options, voice, fmt)
    trio.run(speech.run, words, output)
    synthesis = speech.result()
    written = output if speech.written else None
    if as_json:
        report = _report(options, synthesis, speech.connections, written, fmt)
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        _print_summary(synthesis, written)
    return 0 if speech.signal is None else status_of(speech.signal)


def _check_usage(text: str | None, file: str | None, output: str | None, as_json: bool) -> None:
    if text is not None and file is not None:
        raise click.UsageError("give TEXT or --file, not both")
    if output is None and not as_json:
        raise click.UsageError("say where the audio goes: -o FILE, or --json to drop it and be told about it")
    if output == "-" and as_json:
        raise click.UsageError("-o - and --json both want standard output")
    if output == "-" and os.isatty(_STDOUT):
        raise click.UsageError("-o - writes audio, and standard output is a terminal: pipe it somewhere")


# ---- text ----------------------------------------------------------------------------------------------------------


def _words_to_speak(text: str | None, file: str | None) -> Text:
    if text is not None and text != "-":
        return text
    if file is not None and file != "-":
        try:
            return Path(file).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise click.UsageError(f"{file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from None
    if os.isatty(_STDIN):
        click.echo("speaking what you type; Ctrl-D ends it", err=True)
    return read_text(_STDIN)


async def read_text(fd: int) -> AsyncGenerator[Chunk, None]:
    """Text as it comes from a file descriptor, with a marker behind what ends a sentence or a line.

    It is read in a thread, because not every file can be waited for, and by :func:`os.read`, because a thread left
    behind inside :data:`sys.stdin` would make the interpreter abort at its end.

    Raises:
        InputError: it is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        while data := await trio.to_thread.run_sync(os.read, fd, 1 << 16, abandon_on_cancel=True):
            for chunk in mark_sentences(decoder.decode(data)):
                yield chunk
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not UTF-8: {error.reason}") from None


def mark_sentences(text: str) -> Iterator[Chunk]:
    """The text, with one marker behind the last end of a sentence or line: those before it came along with it."""
    end = max((match.end() for match in _SENTENCE_END.finditer(text)), default=0)
    if end:
        yield text[:end]
        yield FlushMarker()
    if end < len(text):
        yield text[end:]


# ---- audio ---------------------------------------------------------------------------------------------------------


@contextmanager
def _open_output(where: str | None, fmt: AudioFormat) -> Generator[Write, None, None]:
    """What takes the frames; its file is complete when the block is left, however it is left.

    Without a first frame it is not touched: a wrong key costs nobody what was spoken before.
    """
    if where is None:
        yield _drop
    elif where == "-":
        yield _write_to_stdout
    else:
        with ExitStack() as stack:
            wav: WavWriter | None = None

            async def write(frame: AudioFrame) -> None:
                nonlocal wav
                if wav is None:
                    wav = stack.enter_context(WavWriter(where, fmt))
                wav.write(frame)
                await trio.lowlevel.checkpoint()  # behind the write: a frame that was taken must not be lost

            yield write


async def _drop(_frame: AudioFrame) -> None:
    pass


async def _write_to_stdout(frame: AudioFrame) -> None:
    # Whoever reads may be as slow as a loudspeaker.
    await trio.to_thread.run_sync(write_all, _STDOUT, frame.pcm, abandon_on_cancel=True)


class _Speech:
    """One turn, from the first byte of text to the last sample written.

    Attributes:
        signal: the signal that interrupted it.
        connections: how many it took.
        written: seconds of audio written so far.
    """

    def __init__(self, provider: TTSProvider, voice: str | None, fmt: AudioFormat) -> None:
        self.signal: int | None = None
        self.connections = 0
        self.written = 0.0
        self._provider = provider
        self._voice = voice
        self._format = fmt
        self._draining = trio.CancelScope()
        self._over = trio.Event()
        self._synthesis: Synthesis | None = None
        self._failure: Exception | None = None

    def result(self) -> Synthesis:
        """How it went.

        Raises:
            VoiceTrioError: it failed, or there was nothing to speak.
        """
        if self._failure is not None:
            raise self._failure
        assert self._synthesis is not None
        if not self._synthesis.samples and self.signal is None:
            raise InputError("there is nothing to speak in this text")
        return self._synthesis

    async def run(self, text: Text, output: str | None) -> None:
        """Speak; what came before a failure or a signal is written all the same."""
        sink, source = open_audio_sink(self._format.sample_rate, self._format.channels)
        # A second signal may come while the session says goodbye: until then somebody must hear it, and when the
        # receiver is left and it ends the process, the file must be whole.
        with trio.open_signal_receiver(*ENDING) as signals, _open_output(output, self._format) as write:
            async with (
                open_plain_nursery("all is written") as nursery,
                self._provider.open(sink) as session,
            ):
                nursery.start_soon(self._interrupt_on_signal, signals, session)
                nursery.start_soon(self._synthesize, session, sink, text)
                if os.isatty(_STDERR):
                    nursery.start_soon(self._show_progress)
                with self._draining:
                    await self._drain(source, write)
                await self._over.wait()
                self.connections = session.statistics().connections

    async def _synthesize(self, session: TTSSession, sink: AudioSink, text: Text) -> None:
        try:
            self._synthesis = await session.synthesize(text, voice_id=self._voice)
        except VoiceTrioError as error:
            self._failure = error
        finally:
            sink.close()
            self._over.set()

    async def _drain(self, source: AudioSource, write: Write) -> None:
        async for frame in source:
            await write(frame)
            self.written += frame.seconds

    async def _interrupt_on_signal(self, signals: AsyncIterator[int], session: TTSSession) -> None:
        async for signum in signals:
            self.signal = signum
            session.interrupt()
            self._draining.cancel(reason=f"signal {signum}")  # a pipe may be full for ever

    async def _show_progress(self) -> None:
        began = trio.current_time()
        with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
            while True:
                live.update(f"{self.written:6.2f} s spoken after {trio.current_time() - began:.1f} s", refresh=True)
                await trio.sleep(_PROGRESS_SECONDS)


# ---- the report ----------------------------------------------------------------------------------------------------


def _report(
    provider: TTSProvider, synthesis: Synthesis, connections: int, output: str | None, fmt: AudioFormat
) -> dict[str, object]:
    timeline = synthesis.timeline
    return {
        "provider": provider.name,
        "outcome": synthesis.outcome,
        "samples": synthesis.samples,
        "seconds": synthesis.seconds,
        "sample_rate": fmt.sample_rate,
        "channels": fmt.channels,
        "output": output,
        "request_id": synthesis.request_id,
        "connections": connections,
        "words": [attrs.asdict(word) for word in synthesis.words],
        "time_to_first_audio": timeline.time_to_first_audio,
        "timeline": {name: time - timeline.requested for name, time in timeline.marks()},
        "parts": timeline.parts(),
    }


def _print_summary(synthesis: Synthesis, where: str | None) -> None:
    """What happened, for people: on standard error, because standard output may be the audio."""
    timeline = synthesis.timeline
    title = f"turn {synthesis.outcome}: {synthesis.samples} samples, {synthesis.seconds:.3f} s"
    table = Table(title=title if where is None else f"{title} → {where}")
    table.add_column("station")
    table.add_column("since the station before (ms)", justify="right")
    table.add_column("since the call (ms)", justify="right")
    since_call = 0.0
    for name, seconds in timeline.parts().items():
        since_call += seconds
        table.add_row(name.replace("_", " "), f"{1000 * seconds:.1f}", f"{1000 * since_call:.1f}")
    console = Console(stderr=True, highlight=False)
    console.print(table)
    first = timeline.time_to_first_audio
    console.print("time to first audio", "none" if first is None else f"{1000 * first:.1f} ms")
    console.print("request id", synthesis.request_id or "none")
