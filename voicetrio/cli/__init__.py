"""The command ``voicetrio``: speak a text, ask a model, run a simulator, hear a dialogue.

click and rich come with ``voicetrio[cli]`` and are imported in this package only, when the command runs.
"""

import sys
from typing import NoReturn

__all__ = ["main"]

_EXTRA = ("click", "rich")


def main() -> NoReturn:
    """Run the command and end the process with its status, see ``voicetrio --help``."""
    try:
        from ._application import run

        status = run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"voicetrio: {missing} is missing: pip install 'voicetrio[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:  # before the command could answer it
        sys.exit(130)
    sys.exit(status)
