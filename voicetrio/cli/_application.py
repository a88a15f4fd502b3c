"""The group of commands, and how an exception becomes a line and a status."""

from __future__ import annotations

from importlib import import_module

import click

from .. import __version__
from ..errors import AuthenticationError, BadRequest, ConfigurationError, InputError, VoiceTrioError
from ..simulators import VoiceError
from ._status import FAILED, INTERRUPTED, USAGE

_COMMANDS = ("bench", "chat", "demo", "denoise", "say", "simulate", "transcribe")

# Doing the same again gives the same: whoever called has to change something first.
_CALLERS_MOVE = (ConfigurationError, InputError, AuthenticationError, BadRequest)


class _Commands(click.Group):
    """Each command is a module of its own, and is imported when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - they are the same in any context
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __package__), cmd_name)
        return command


@click.group(
    cls=_Commands,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Status:
  0    it went well
  1    the provider, the way to it or this machine failed
  2    wrong usage: an option, a key or a text that cannot work,
       refused here or by the provider
  130  interrupted by Ctrl-C (143: by SIGTERM); `simulate` ends with 0 then
An error is one line on stderr.""",
)
@click.version_option(__version__, prog_name="voicetrio")
def _commands() -> None:
    """Realtime speech on trio."""


def run(arguments: list[str] | None = None) -> int:
    """Run a command line, by default the process's own, and give its status.

    Errors that are somebody's fault become one line; a bug stays a traceback.
    """
    try:
        status = _commands.main(arguments, prog_name="voicetrio", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "voicetrio"
        return _complain(f"{error.format_message().rstrip('.')}; see {path} --help", USAGE)
    except click.ClickException as error:
        return _complain(error.format_message(), USAGE)
    except click.Abort:
        return INTERRUPTED
    except _CALLERS_MOVE as error:
        return _complain(str(error), USAGE)
    except (VoiceTrioError, VoiceError) as error:
        return _complain(str(error), FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _complain(where + (error.strerror or str(error)), FAILED)
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    click.echo(f"voicetrio: {' '.join(message.split())}", err=True)
    return status
