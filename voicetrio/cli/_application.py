"""The group of commands, and how an exception becomes a line and a status."""

from __future__ import annotations

import click

from .. import __version__
from ..errors import AuthenticationError, BadRequest, ConfigurationError, InputError, VoiceTrioError
from ..simulators._voice import VoiceError
from ._status import FAILED, INTERRUPTED, USAGE
from .bench import bench
from .chat import chat
from .demo import demo
from .denoise import denoise
from .say import say
from .simulate import simulate
from .transcribe import transcribe

# Doing the same again gives the same: whoever called has to change something first.
_CALLERS_MOVE = (ConfigurationError, InputError, AuthenticationError, BadRequest)


@click.group(
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


for _command in (say, transcribe, denoise, chat, simulate, demo, bench):
    _commands.add_command(_command)


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
