"""``voicetrio simulate``: a provider's protocol on loopback, for any client of it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import attrs
import click
import trio

from ..simulators._voice import EspeakVoice
from ._options import make, print_options
from ._registry import SIMULATORS
from ._status import until_signal

if TYPE_CHECKING:
    import ssl

    from ..simulators import Options
    from ._registry import SimulatorEntry


@click.command(epilog="Status: 0 ended by Ctrl-C or SIGTERM; 1 the port cannot be had; 2 wrong usage or option.")
@click.argument("name", type=click.Choice(sorted(SIMULATORS)))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="The port; 0 for a free one.")
@click.option(
    "--log", type=click.File("w", encoding="utf-8", lazy=False), help="Write what happens there, as lines of JSON."
)
@click.option("-O", "--option", "pairs", multiple=True, metavar="KEY=VALUE", help="How it behaves, and its faults.")
@click.option("--list-options", is_flag=True, help="List those and end.")
@click.option("--tls", is_flag=True, help="Serve wss, with a certificate made for this run.")
@click.option(
    "--ca-out",
    type=click.Path(dir_okay=False),
    default="voicetrio-ca.pem",
    show_default=True,
    help="With --tls: where to write the certificate that clients must trust.",
)
@click.option("--voice", is_flag=True, help="Really speak, by espeak-ng, instead of sending tagged audio.")
def simulate(
    name: str,
    host: str,
    port: int,
    log: TextIO | None,
    pairs: tuple[str, ...],
    list_options: bool,
    tls: bool,
    ca_out: str,
    voice: bool,
) -> None:
    """Serve the protocol of provider NAME until Ctrl-C or SIGTERM.

    The first line of standard output is the URL to give to a client.
    """
    entry = SIMULATORS[name]
    if list_options:
        print_options(entry.options)
        return
    options = make(entry.options, [*pairs, "voice=yes"] if voice else pairs)
    simulation = _Simulation(entry, options, host, port, log, _certificate(host, ca_out) if tls else None)
    trio.run(until_signal, simulation.run)


def _certificate(host: str, ca_out: str) -> tuple[ssl.SSLContext, str]:
    from ..simulators import throw_away_certificate

    try:
        certificate = throw_away_certificate(*dict.fromkeys((host, "127.0.0.1", "localhost")))
    except ImportError as error:
        raise click.UsageError("--tls needs trustme: pip install trustme") from error
    try:
        Path(ca_out).write_bytes(certificate.ca_pem)
    except OSError as error:
        raise click.UsageError(f"{ca_out}: {error.strerror}") from error
    return certificate.server_context, ca_out


@attrs.frozen
class _Simulation:
    entry: SimulatorEntry
    options: Options
    host: str
    port: int
    log: TextIO | None
    tls: tuple[ssl.SSLContext, str] | None

    async def run(self) -> None:
        context, ca_file = self.tls or (None, None)
        async with AsyncExitStack() as stack:
            voice = await stack.enter_async_context(EspeakVoice()) if getattr(self.options, "voice", False) else None
            simulator = self.entry.make(self.options, voice=voice)
            serving = simulator.serve(self.host, self.port, ssl_context=context, log_file=self.log)
            try:
                server = await stack.enter_async_context(serving)
            except OSError as error:
                raise OSError(error.errno, f"{self.host}:{self.port}: {error.strerror or error}") from error
            click.echo(server.url)
            if ca_file is not None:
                click.echo(f"CA certificate: {ca_file}")
            await trio.sleep_forever()
