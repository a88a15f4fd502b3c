"""``voicetrio transcribe``: a WAV file in, its words out."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import click
import trio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from .._link.nursery import open_plain_nursery
from ..errors import ProviderError
from ..transcript import SpeechEnded, SpeechStarted, Transcript, TurnEnded, TurnResumed
from ..wav import read_wav
from ._options import given_options, make, print_options
from ._output import write_all
from ._registry import RECOGNIZERS
from ._status import status_of, until_signal

if TYPE_CHECKING:
    from ..audio import AudioFormat
    from ..stt import STTProvider, STTSession, STTStatistics
    from ..transcript import Outcome, STTEvent

_STDOUT = 1
_PIECE_SECONDS = 0.1
_LOOK_SECONDS = 0.25  # between looks at the connection, for a terminal

_NAMES: dict[type[STTEvent], str] = {
    Transcript: "transcript",
    SpeechStarted: "speech_started",
    SpeechEnded: "speech_ended",
    TurnResumed: "turn_resumed",
    TurnEnded: "turn_ended",
}


@click.command(
    short_help="Write down the words of a WAV file.",
    epilog="""Status: 0 transcribed; 1 the provider or the way to it failed, or audio was lost; 2 wrong usage,
option or key; 130 interrupted by Ctrl-C. Whatever was final before an error or Ctrl-C has been written.

The key is read from the environment (CARTESIA_API_KEY; VIDEOSDK_AUTH_TOKEN for those behind VideoSDK's inference
gateway) or from --api-key-file.""",
)
@click.argument("source", required=False, type=click.Path(dir_okay=False))
@click.option("--provider", type=click.Choice(sorted(RECOGNIZERS)), default="cartesia", show_default=True)
@click.option("--model", help="The provider's model.")
@click.option("--base-url", help="Where the provider is, such as the URL that `voicetrio simulate gateway` prints.")
@click.option(
    "--pace",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="How many times as fast as it is heard the audio is sent. These providers are made for live audio, and say "
    "nothing of more than 1; audio that runs ahead of them by more than buffer_seconds is lost.",
)
@click.option("-O", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Any other option of the provider.")
@click.option("--list-options", is_flag=True, help="List the provider's options and end.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False), help="Read the key from this file.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Write one JSON object for each event as it comes, and a last one on what happened.",
)
def transcribe(
    source: str | None,
    provider: str,
    model: str | None,
    base_url: str | None,
    pace: float,
    pairs: tuple[str, ...],
    list_options: bool,
    api_key_file: str | None,
    as_json: bool,
) -> int:
    """Write the words of SOURCE, a WAV file of 16-bit PCM, to standard output.

    Each final transcript is a line, written as it comes; on a terminal those that may still change are shown as well,
    and how much of the audio has been sent.
    """
    recognizer = RECOGNIZERS[provider]
    if list_options:
        print_options(recognizer)
        return 0
    if source is None:
        raise click.UsageError("give a WAV file")
    options = make(recognizer, [*pairs, *given_options(recognizer, model, base_url, api_key_file)])
    work = _Work(options, *read_wav(source), pace, as_json=as_json)
    signum = trio.run(until_signal, work.run)
    if signum is not None:
        return status_of(signum)
    work.report()
    return 0


class _Work:
    """A file on its way through a recognizer."""

    def __init__(self, options: STTProvider, fmt: AudioFormat, pcm: bytes, pace: float, *, as_json: bool) -> None:
        self._options = options
        self._format = fmt
        self._pcm = pcm
        self._pace = pace
        self._as_json = as_json
        self._outcome: Outcome | None = None
        self._finished = trio.Event()
        self._statistics: STTStatistics | None = None
        self._interim = ""
        self._seconds = fmt.seconds(len(pcm) // fmt.sample_width)
        self._given = 0.0  # of them
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    async def run(self) -> None:
        """Do it; what is final is written as it comes."""
        fmt = self._format
        async with self._options.open(sample_rate=fmt.sample_rate, channels=fmt.channels) as session:
            async with open_plain_nursery("all has been read") as nursery:
                nursery.start_soon(self._give, session)
                if self._live is None:
                    await self._read(session)
                else:
                    nursery.start_soon(self._watch, session)
                    with self._live:
                        await self._read(session)
                await self._finished.wait()
            self._statistics = session.statistics()

    async def _give(self, session: STTSession) -> None:
        began, step = trio.current_time(), self._format.samples(_PIECE_SECONDS) * self._format.sample_width
        for begin in range(0, len(self._pcm), step):
            await trio.sleep_until(began + self._format.seconds(begin // self._format.sample_width) / self._pace)
            await session.send_audio(self._pcm[begin : begin + step])
            self._given = min(self._seconds, self._given + _PIECE_SECONDS)
        self._outcome = await session.finish()
        self._finished.set()

    async def _read(self, session: STTSession) -> None:
        async for event in session:
            if isinstance(event, Transcript):
                self._interim = "" if event.kind == "final" else " ".join(event.text.split())
                self._show(self._interim)
            if self._as_json:
                await _write_line(json.dumps({"event": _NAMES[type(event)], **attrs.asdict(event)}, ensure_ascii=False))
            elif isinstance(event, Transcript) and event.kind == "final" and event.text.strip():
                await _write_line(" ".join(event.text.split()))

    async def _watch(self, session: STTSession) -> None:
        """Show that there is no connection, and why, for as long as there is none."""
        while True:
            if not session.connected:
                trouble = session.trouble
                self._show("connecting" if trouble is None else f"connecting again: {trouble}", its_end=False)
            else:
                self._show(self._interim)
            await trio.sleep(_LOOK_SECONDS)

    def _show(self, text: str, *, its_end: bool = True) -> None:
        """Show in one line how far it is, and of the text what fits in: its end or its beginning."""
        if self._live is not None:
            progress = f"{self._given:.0f}/{self._seconds:.0f} s "
            width = max(1, self._live.console.width - len(progress))
            line = progress + (text[-width:] if its_end else text[:width])
            self._live.update(Text(line, no_wrap=True, overflow="crop"), refresh=True)

    def report(self) -> None:
        """Tell how it went.

        Raises:
            ProviderError: audio was lost.
        """
        statistics = self._statistics
        assert statistics is not None
        if self._as_json:
            summary: dict[str, Any] = {"event": "finished", "outcome": self._outcome, "seconds": self._seconds}
            click.echo(json.dumps(summary | attrs.asdict(statistics)))
        else:
            how = "" if self._outcome == "completed" else "; the end is inferred: the provider does not tell it"
            click.echo(f"{self._seconds:.1f} s transcribed, {statistics.connections} connection(s){how}", err=True)
        lost = statistics.samples_dropped + statistics.samples_unrepeated
        if lost:
            seconds = self._options.audio_format.seconds(lost)
            raise ProviderError(f"{seconds:.1f} s of audio were lost: send it more slowly", provider=self._options.name)


async def _write_line(line: str) -> None:
    # Whoever reads may be slow, and Ctrl-C must work all the same.
    write = partial(write_all, _STDOUT, f"{line}\n".encode(errors="replace"))
    await trio.to_thread.run_sync(write, abandon_on_cancel=True)
