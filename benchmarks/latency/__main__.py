"""``make bench``: run the benchmark, or show a run again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import report
from .plan import ENTRIES, Scenario, scenarios
from .processes import PEERS
from .run import Run, entries_for, plan_for, read, write
from .terminal import markdown, progress, show

_OUT = Path(__file__).resolve().parents[1] / "out"


def main() -> int:
    """Run, write ``results.json`` and ``report.html``, print the table."""
    parser = argparse.ArgumentParser(prog="python -m latency", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer providers: under 3 minutes")
    parser.add_argument("--only", default="", help="scenarios, separated by commas: import,cold,warm,interrupt,…")
    parser.add_argument("--contenders", default="", help="contenders by name, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=_OUT)
    parser.add_argument("--from", dest="again", type=Path, metavar="JSON", help="show these results, run nothing")
    parser.add_argument("--markdown", action="store_true", help="with --from: print the table for a document")
    options = parser.parse_args()
    if options.again is not None:
        results = read(options.again)
        if options.markdown:
            print(markdown(results), end="")
            return 0
    else:
        if not PEERS.exists():
            print(f"{PEERS} is missing: `make bench-peers` makes it; without it only voicetrio and one floor can run")
        _know("scenario", _names(options.only), [_family(each) for each in scenarios(quick=False)], parser)
        _know("contender", _names(options.contenders), [entry.name for entry in ENTRIES], parser)
        plan = plan_for(quick=options.quick, only=_names(options.only))
        entries = entries_for(_names(options.contenders))
        if not plan or not entries:
            parser.error("nothing to run")
        with progress() as tell:
            results = Run(plan, entries, options.seed, tell).run()
        results.meta["part"] = part_of(options)
        write(results, options.out / "results.json")
    report.write(results, options.out / "report.html")
    show(results)
    print(f"{options.out / 'report.html'}")
    return 0


def part_of(options: argparse.Namespace) -> str:
    """Which part of the benchmark a run with these options is; "" for all of it."""
    parts = ["quick"] if options.quick else []
    parts += [f"only {options.only}"] if options.only else []
    parts += [f"only of {options.contenders}"] if options.contenders else []
    return ", ".join(parts)


def _know(what: str, names: list[str], known: list[str], parser: argparse.ArgumentParser) -> None:
    for name in names:
        if name not in known:
            parser.error(f"there is no {what} {name}; there are {', '.join(dict.fromkeys(known))}")


def _family(scenario: Scenario) -> str:
    return scenario.name.partition("-")[0]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
