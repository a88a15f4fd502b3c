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
    from .audio import Span as Span
    from .audio import TaggedError as TaggedError
    from .audio import TaggedFrame as TaggedFrame
    from .audio import TaggedReport as TaggedReport
    from .audio import check_tagged as check_tagged
    from .leaks import LeakError as LeakError
    from .leaks import no_leaks as no_leaks
    from .sweeps import SweepError as SweepError
    from .sweeps import SweepProblem as SweepProblem
    from .sweeps import SweepReport as SweepReport
    from .sweeps import SweepTarget as SweepTarget
    from .sweeps import sweep as sweep
    from .sweeps import sweep_pairs as sweep_pairs
    from .sweeps import sweep_target as sweep_target

# Each module is imported when a name of it is asked for: the pytest plugin lies in this package, and is loaded into
# every run of whoever has voicetrio installed.
_HOMES = {
    **dict.fromkeys(("Span", "TaggedError", "TaggedFrame", "TaggedReport", "check_tagged"), "audio"),
    **dict.fromkeys(("LeakError", "no_leaks"), "leaks"),
    **dict.fromkeys(("SweepError", "SweepProblem", "SweepReport", "SweepTarget"), "sweeps"),
    **dict.fromkeys(("sweep", "sweep_pairs", "sweep_target"), "sweeps"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
