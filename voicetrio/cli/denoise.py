"""``voicetrio denoise``: a WAV file in, a cleaner one out."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import ProviderStalled
from ..wav import WavWriter, read_wav
from ._options import given_options, make, print_options
from ._output import check_writable
from ._registry import DENOISERS
from ._status import status_of, until_signal

if TYPE_CHECKING:
    from ..audio import AudioFormat
    from ..denoise import DenoiseProvider, DenoiseStatistics

_PIECE_SECONDS = 0.1


@click.command(
    short_help="Take the noise out of a WAV file.",
    epilog="""Status: 0 denoised; 1 the provider or the way to it failed, or gave nothing back; 2 wrong usage,
option or token; 130 interrupted by Ctrl-C. Whatever came before an error or Ctrl-C is in the file, which is valid;
before there is a connection no file is written, and none replaced.

The token is read from the environment variable VIDEOSDK_AUTH_TOKEN or from --api-key-file.""",
)
@click.argument("source", required=False, type=click.Path(dir_okay=False))
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="The WAV file to write.")
@click.option("--provider", type=click.Choice(sorted(DENOISERS)), default="inference-aicoustics", show_default=True)
@click.option("--model", help="The provider's model.")
@click.option("--base-url", help="Where the gateway is, such as the URL that `voicetrio simulate gateway` prints.")
@click.option("-O", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="Any other option of the provider.")
@click.option("--list-options", is_flag=True, help="List the provider's options and end.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False), help="Read the token from this file.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object on what happened to standard output.")
def denoise(
    source: str | None,
    output: str | None,
    provider: str,
    model: str | None,
    base_url: str | None,
    pairs: tuple[str, ...],
    list_options: bool,
    api_key_file: str | None,
    as_json: bool,
) -> int:
    """Denoise SOURCE, a WAV file of 16-bit PCM, into another of the same format and length."""
    denoiser = DENOISERS[provider]
    if list_options:
        print_options(denoiser)
        return 0
    if source is None or output is None:
        raise click.UsageError("give a WAV file, and say with -o where the result goes")
    check_writable(output)
    options = make(denoiser, [*pairs, *given_options(denoiser, model, base_url, api_key_file)])
    fmt, pcm = read_wav(source)
    if Path(output).exists() and Path(output).samefile(source):
        raise click.UsageError("the result would replace SOURCE, of which nothing would be left if it failed")
    work = _Work(options, fmt, pcm)
    signum = trio.run(until_signal, partial(work.run, output))
    if work.statistics is None:  # a signal came first: nothing has been written
        return status_of(signum or 0)
    _report(work.statistics, output, fmt, as_json=as_json)
    if signum is not None:
        return status_of(signum)
    if pcm and not work.statistics.samples_processed:
        raise ProviderStalled("nothing came back in time: the result is as the source was", provider=options.name)
    return 0


class _Work:
    """A file on its way through a denoiser."""

    def __init__(self, options: DenoiseProvider, fmt: AudioFormat, pcm: bytes) -> None:
        self.statistics: DenoiseStatistics | None = None
        self._options = options
        self._format = fmt
        self._pcm = pcm

    async def run(self, output: str) -> None:
        """Do it, as fast as the provider does; what came before a failure is written all the same.

        A file that is there is replaced once there is a connection, not before.
        """
        step = self._format.samples(_PIECE_SECONDS) * self._format.sample_width
        async with self._options.open(**attrs.asdict(self._format)) as session:
            await session.prewarm()
            with WavWriter(output, self._format) as wav:
                try:
                    with _progress() as progress:
                        task = progress.add_task("", total=len(self._pcm))
                        for begin in range(0, len(self._pcm), step):
                            wav.write(await session.denoise(self._pcm[begin : begin + step]))
                            progress.update(task, completed=begin + step)
                    wav.write(await session.finish())
                finally:
                    self.statistics = session.statistics()


def _progress() -> Progress:
    """A bar on standard error, if somebody looks at it."""
    console = Console(stderr=True)
    columns = (TextColumn("denoising"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _report(statistics: DenoiseStatistics, output: str, fmt: AudioFormat, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"output": output, **attrs.asdict(fmt), **attrs.asdict(statistics)}))
        return
    total = max(1, statistics.samples_processed + statistics.samples_raw)
    p95 = statistics.latency.p95
    click.echo(
        f"{100 * statistics.samples_processed / total:.1f} % processed, the rest as it was → {output}; "
        f"round trip p95 {'unknown' if p95 is None else f'{1000 * p95:.0f} ms'}, "
        f"{statistics.connections} connection(s)",
        err=True,
    )
