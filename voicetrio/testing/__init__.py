"""Tools to test what is built on voicetrio, and voicetrio itself.

- :func:`sweep`, :func:`sweep_target` and :func:`sweep_pairs`: cancel a scenario at every moment at which it can be.
- :func:`no_leaks`: whether a block leaves tasks, descriptors, threads or processes behind.
- :func:`check_tagged`: whether every sample arrived once and in order, and none that should not have.

The simulators of ``voicetrio.simulators`` are the providers to test against.  All of these are pytest fixtures as well:
see docs/testing.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audio import Span, TaggedError, TaggedFrame, TaggedReport, check_tagged
    from .leaks import LeakError, no_leaks
    from .sweeps import SweepError, SweepProblem, SweepReport, SweepTarget, sweep, sweep_pairs, sweep_target

__all__ = [
    "LeakError",
    "Span",
    "SweepError",
    "SweepProblem",
    "SweepReport",
    "SweepTarget",
    "TaggedError",
    "TaggedFrame",
    "TaggedReport",
    "check_tagged",
    "no_leaks",
    "sweep",
    "sweep_pairs",
    "sweep_target",
]


# Each module is imported when a name of it is asked for: the pytest plugin lies in this package, and is loaded into
# every run of whoever has voicetrio installed.
def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "sweeps" if name.lower().startswith("sweep") else "leaks" if "leak" in name.lower() else "audio"
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
