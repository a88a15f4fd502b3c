"""The report: one page of HTML that needs nothing else, in light and dark."""

from __future__ import annotations

import html
import itertools
from typing import TYPE_CHECKING

from . import charts
from .metrics import BY_KEY, Metric
from .plan import BASE, FLOORS
from .stats import Rounds, quantile
from .summary import ENOUGH, SOME, Comparison, Row, comparisons, number, rows, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .run import Results

_DISTRIBUTIONS = (
    "warm.first_ms",
    "warmburst.first_ms",
    "interrupt.next_ms",
    "interrupt.free_ms",
    "many.first_ms@20",
    "many.next_ms@20",
    "cold.first_ms",
    "stream.first_ms",
    "sentences.gap_ms",
    "ask.first_ms",
)
_GROWTH = (
    ("many.first_ms", 0.5, "warm request → first sample, median"),
    ("many.first_ms", 0.99, "warm request → first sample, p99"),
    ("many.next_ms", 0.5, "interruption → next first sample, median"),
    ("many.next_ms", 0.99, "interruption → next first sample, p99"),
    ("many.cpu_ms", 0.5, "CPU of two turns and an interruption"),
    ("many.late", None, "late audio"),
    ("many.simulator", None, "the simulator's busiest half second"),
)
BUSY = 0.1
"""Share of the time that may be lost to other processes; contenders and simulators have a core each."""

_EXACT = (
    "interrupt.stale",
    "interrupt.lost",
    "interrupt.doubled",
    "interrupt.mute",
    "interrupt.hung",
    "interrupt.connections",
    "stream.missing",
)
_LISTENING = ("uplink.cpu_ms", "uplink.snr_db", "uplink.wide_db", "uplink.short")
_MODELS = ("ask.first_ms", "tokens.cpu_us", "tokenburst.cpu_us", "ask.connections")
_MEMORY = ("idle.kib", "idle.tasks", "speaking.kib", "speaking.tasks")

_STYLE = """
:root { --paper: #fff; --ink: #1b1f24; --soft: #59636e; --rule: #d8dee4; --band: #f6f8fa; --good: #116329;
  --bad: #b3261e; --c0: #0b57d0; --c1: #c2410c; --c2: #7c3aed; --c3: #0f766e; --c4: #a21caf; --c5: #be185d;
  --c6: #6b7280; --c7: #92790b; --next: #0b57d0; --old: #8b949e; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1; --rule: #30363d;
  --band: #161b22; --good: #56d364; --bad: #ff7b72; --c0: #79b8ff; --c1: #ffa657; --c2: #c4a7ff; --c3: #4fd1c5;
  --c4: #f0a6ff; --c5: #ff9eb5; --c6: #a8b1bb; --c7: #e3c341; --next: #79b8ff; --old: #8b949e; } }
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 1000px;
  margin: 0 auto; padding: 24px 20px 80px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 44px 0 6px; } h3 { font-size: 15px;
  margin: 22px 0 2px; }
p, li { max-width: 75ch; } .soft { color: var(--soft); }
nav a { margin-right: 10px; white-space: nowrap; } a { color: var(--c0); }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .tick, svg .axis { fill: var(--soft); } svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .value { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .whisker { stroke-width: 2; } svg .median { stroke: var(--ink); stroke-width: 2.5; } svg .half { opacity: 0.75; }
svg .hollow { fill: var(--paper); stroke-width: 2; } svg .curve { fill: none; stroke-width: 2; }
svg .call { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .heard-old { fill: var(--old); } svg .heard-stale { fill: var(--bad); } svg .heard-next { fill: var(--next); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); gap: 6px 28px; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin: 0 4px -1px 10px; }
.named { white-space: nowrap; }
.scroll { overflow-x: auto; } .scroll > svg { min-width: 640px; }
table { border-collapse: collapse; font-size: 13px; width: 100%;
  font-variant-numeric: tabular-nums; } th { text-align: left; border-bottom: 2px solid var(--rule);
  padding: 4px 10px 4px 0; vertical-align: bottom; } td { border-bottom: 1px solid var(--rule);
  padding: 3px 10px 3px 0; vertical-align: top; } td { white-space: nowrap; } td[colspan] { white-space: normal; }
.n { text-align: right; }
tr.group td { background: var(--band); font-weight: 600; padding: 6px; } .ahead { color: var(--good); }
.behind { color: var(--bad); } details { margin: 12px 0; }
summary { font-weight: 600; cursor: pointer; padding: 4px 0; } code { background: var(--band); padding: 1px 4px; }
"""


def _colours() -> str:
    parts = []
    for number_ in range(8):
        colour = f"var(--c{number_})"
        parts.append(f"svg .c{number_} {{ stroke: {colour}; fill: {colour}; }}")
        parts.append(f"svg text.c{number_} {{ stroke: none; }}")
        parts.append(f"svg .hollow.c{number_} {{ fill: var(--paper); }} svg .curve.c{number_} {{ fill: none; }}")
    return "\n".join(parts)


def write(results: Results, path: Path) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(results), encoding="utf-8")


def render(results: Results) -> str:
    """The page."""
    all_rows = rows(results)
    compared = list(comparisons(all_rows))
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        "<meta name='color-scheme' content='light dark'><title>voicetrio: latency benchmark</title>",
        f"<style>{_STYLE}{_colours()}</style></head><body>",
        *_head(results, compared),
        *_exactness(all_rows),
        *_timelines(results),
        *_distributions(results),
        *_growth(results),
        *_listening(all_rows),
        *_models(all_rows),
        *_memory(all_rows),
        *_ratios(compared),
        *_method(results),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(results: Results, compared: list[Comparison]) -> Iterator[str]:
    meta = results.meta
    machine = meta["machine"]
    peers = [each for each in compared if not each.row.metric.counted and each.other not in FLOORS]
    verdicts = [each.verdict for each in peers]
    yield "<h1>Latency benchmark of speech clients</h1>"
    yield (
        f"<p class='soft'>{_safe(meta['date'])} · {_safe(machine['cpu'])}, {machine['cores']} cores · "
        f"{meta['seconds']:.0f} s, {meta['cpu_seconds']:.0f} s of CPU · seed {meta['seed']}"
        f"{'' if meta['pinned'] else ' · processes not pinned'} · load before it {meta['load_before'][0]:.1f}</p>"
    )
    if meta.get("part"):
        yield f"<p><strong>A part of the benchmark: {_safe(meta['part'])}.</strong></p>"
    if meta["waited"] > BUSY:
        yield (
            f"<p><strong>The machine was busy with something else: for {meta['waited']:.0%} of the time in which "
            "contenders and simulators could have run, others had their core. Take these figures for a try, not for a "
            "result.</strong></p>"
        )
    yield (
        "<p>Every contender speaks to the same simulators over loopback, in a process of its own, in turn. Of "
        f"{len(verdicts)} medians that can be compared with a peer's, floors left out, voicetrio is ahead in "
        f"{verdicts.count('ahead')} and behind in {verdicts.count('behind')}; in {verdicts.count('even')} the interval "
        "of the ratio holds 1, or there are too few figures to tell.</p>"
    )
    yield (
        "<nav><a href='#exact'>Exactness</a> <a href='#timeline'>One interruption</a> <a href='#distributions'>"
        "Distributions</a> <a href='#growth'>Growth</a> <a href='#listening'>Listening</a> <a href='#models'>"
        "Language models</a> <a href='#memory'>Memory</a> <a href='#ratios'>All ratios</a> "
        "<a href='#method'>Method</a></nav>"
    )


def _exactness(all_rows: list[Row]) -> Iterator[str]:
    yield "<h2 id='exact'>Is an interruption exact?</h2>"
    yield (
        "<p>Every sample tells which turn it belongs to, and where. A sample is <em>stale</em> if it is of the "
        "interrupted turn and reached the consumer after the interrupting call had returned; <em>lost</em> if it is "
        "missing before the cut, or anywhere in the turn that follows. Means for each interruption.</p>"
    )
    yield from _table(all_rows, _EXACT)


def _listening(all_rows: list[Row]) -> Iterator[str]:
    yield "<h2 id='listening'>Listening</h2>"
    yield (
        "<p>Ten sessions of speech-to-text, each given frames of 20 ms, 48 kHz stereo, as a room delivers them; the "
        "provider is sent mono at 16 kHz. What arrives there is compared with one resampling of the whole sound. More "
        "dB are better. The floor takes every third sample of one channel: it shows what the rest costs.</p>"
    )
    yield from _table(all_rows, _LISTENING)


def _models(all_rows: list[Row]) -> Iterator[str]:
    yield "<h2 id='models'>Language models</h2>"
    yield (
        "<p>An OpenAI-compatible model that answers at once. A token's CPU is measured with ten answers under way, "
        "each with 100 tokens a second, and with one whose tokens come as fast as they are taken. Medians.</p>"
    )
    yield from _table(all_rows, _MODELS)


def _memory(all_rows: list[Row]) -> Iterator[str]:
    yield "<h2 id='memory'>Memory and tasks of a session</h2>"
    yield "<p>Of each further session, the first ones left out; the adapters' own tasks included.</p>"
    yield from _table(all_rows, _MEMORY)


def _table(all_rows: list[Row], keys: tuple[str, ...]) -> Iterator[str]:
    """Contenders down, figures across: medians, of counts the means."""
    found = {(row.metric.key, row.provider): row for row in all_rows if row.metric.key in keys}
    if not found:
        yield "<p>No figures.</p>"
        return
    shown = [key for key in keys if any(key == metric for metric, _ in found)]
    yield "<div class='scroll'><table><tr><th>provider</th><th>contender</th>"
    yield "".join(f"<th class='n'>{_safe(_headed(BY_KEY[key]))}</th>" for key in shown)
    yield "</tr>"
    for provider in dict.fromkeys(provider for _, provider in found):
        names = dict.fromkeys(name for key in shown if (key, provider) in found for name in found[key, provider].cells)
        for name in names:
            yield f"<tr><td>{_safe(provider)}</td><td>{_safe(name)}</td>"
            for key in shown:
                row = found.get((key, provider))
                cell = row.cells.get(name) if row else None
                value = cell.value.value if cell else float("nan")
                wrong = value > 0 and BY_KEY[key].goal == "0"
                yield f"<td class='n{' behind' if wrong else ''}'>{number(value)}</td>"
            yield "</tr>"
    yield "</table></div>"


def _headed(metric: Metric) -> str:
    """Title and unit, unless the title tells it."""
    return metric.title if metric.unit in metric.title else f"{metric.title}, {metric.unit}"


def _timelines(results: Results) -> Iterator[str]:
    yield "<h2 id='timeline'>One interruption, as it went</h2>"
    yield (
        "<p>The first interruption of the first round. Each mark is audio that reached the consumer at that time: "
        "<span class='named'><span class='key' style='background:var(--old)'></span>of the turn that was interrupted,"
        "</span> <span class='named'><span class='key' style='background:var(--bad)'></span>of the same turn after the "
        "call had returned,</span> <span class='named'><span class='key' style='background:var(--next)'></span>of the "
        "turn that was asked for next.</span> "
        "The dashed line is the call.</p>"
    )
    if not results.timelines:
        yield "<p>No interruption was recorded.</p>"
    for provider, timelines in results.timelines.items():
        yield f"<h3>{_safe(provider)}</h3>{_scrolled(charts.interruption(timelines, f'One interruption, {provider}'))}"


def _scrolled(picture: str) -> str:
    """A wide picture, which is moved on a narrow screen, and not made smaller than can be read."""
    return f"<div class='scroll'>{picture}</div>"


def _distributions(results: Results) -> Iterator[str]:
    yield "<h2 id='distributions'>Distributions</h2>"
    yield (
        "<p>Box: the middle half. Line: 5th to 95th percentile. Bar: the median, also written at the right. Ring: the "
        f"99th percentile, where there are {ENOUGH} figures. Further left is faster. Rest the pointer on a box for its "
        "figures.</p>"
    )
    for key in _DISTRIBUTIONS:
        if key not in results.values:
            continue
        name, _, size = key.partition("@")
        metric = BY_KEY[name]
        title = f"{metric.title}, {size} sessions" if size else metric.title
        yield f"<h3>{_safe(title)}</h3><p class='soft'>{_safe(metric.meaning)}</p>"
        for provider, contenders in results.values[key].items():
            yield f"<p class='soft'>{_safe(provider)}</p>"
            yield _scrolled(charts.distribution(contenders, metric.unit, f"{title}, {provider}"))


def _growth(results: Results) -> Iterator[str]:
    found = {key for key in results.values if key.startswith("many.")}
    if not found:
        return
    yield "<h2 id='growth'>Many sessions in one process</h2>"
    yield (
        "<p>Every session speaks at real-time pace, is interrupted, and speaks again at once. Both axes of the first "
        "five are logarithmic. Where a line ends early, or a 99th percentile is not shown, there are too few figures: "
        "turns did not sound, or too few were asked for. The last picture shows how busy the simulator was, on its own "
        "core: near 100 % it is the simulator that was measured. Every contender meets the same one.</p>"
    )
    if len({full.partition("@")[2] for full in found}) == 1:
        yield "<p>This run had one number of sessions only: its figures are among all ratios.</p>"
        return
    providers = dict.fromkeys(provider for full in found for provider in results.values[full])
    for place, provider in enumerate(sorted(providers, key=list(BASE).index)):
        yield f"<details{'' if place else ' open'}><summary>{_safe(provider)}</summary><div class='two'>"
        for key, q, title in _GROWTH:
            curves: dict[str, dict[int, float]] = {}
            for full in found:
                name, _, size = full.partition("@")
                if name != key:
                    continue
                for contender, rounds in results.values[full].get(provider, {}).items():
                    curves.setdefault(contender, {})[int(size)] = _of(rounds, q)
            picture = charts.growth(curves, BY_KEY[key].unit, f"{title}, {provider}", log=q is not None)
            yield f"<div><h3>{_safe(title)}</h3>{picture}</div>"
        yield "</div></details>"


def _of(rounds: Rounds, q: float | None) -> float:
    figures = [figure for each in rounds for figure in each]
    if q is not None:
        return quantile(rounds, q) if q <= 0.5 or len(figures) >= ENOUGH else float("nan")
    return sum(figures) / len(figures) if figures else float("nan")


def _ratios(compared: list[Comparison]) -> Iterator[str]:
    yield "<h2 id='ratios'>All ratios</h2>"
    yield (
        "<p>Ours over theirs: below 1, voicetrio is ahead. In brackets the interval that holds 95 % of 1,000 bootstrap "
        "draws over rounds. It is too narrow where there are three figures, as of CPU: no draw lies outside of them; "
        "and where there is one round, as with many sessions: nothing tells how rounds differ. "
        "<span class='ahead'>Green</span>: the whole interval is below 1. <span class='behind'>Red</span>: above. Of "
        f"counts, memory and decibels the mean is shown, and no ratio; of fewer than {SOME} figures no 95th "
        f"percentile, of fewer than {ENOUGH} no 99th.</p>"
    )
    yield "<div class='scroll'><table><tr><th>provider</th><th>beside</th><th class='n'>ours</th>"
    yield "<th class='n'>theirs</th><th class='n'>ratio of medians</th><th class='n'>our p95</th>"
    yield "<th class='n'>their p95</th><th class='n'>our p99</th><th class='n'>their p99</th>"
    yield "<th class='n'>ratio of p99</th><th class='n'>our n</th><th class='n'>their n</th></tr>"
    for title, group in itertools.groupby(compared, key=lambda each: (each.row.title, each.row.metric)):
        name, metric = title
        goal = f" · goal {metric.goal}" if metric.goal else ""
        yield (
            f"<tr class='group'><td colspan='12'>{_safe(name)}, {_safe(metric.unit)}{_safe(goal)} "
            f"<span class='soft' style='font-weight:400'>{_safe(metric.meaning)}</span></td></tr>"
        )
        for each in group:
            counted = metric.counted
            yield (
                f"<tr><td>{_safe(each.row.provider)}</td><td>{_safe(each.other)}</td>"
                f"<td class='n'>{number(each.ours.value.value)}</td>"
                f"<td class='n'>{number(each.theirs.value.value)}</td>"
                f"<td class='n {each.verdict}'>{each.verdict if counted else span(each.theirs.ratio)}</td>"
                f"<td class='n'>{'' if counted else number(each.ours.p95)}</td>"
                f"<td class='n'>{'' if counted else number(each.theirs.p95)}</td>"
                f"<td class='n'>{'' if counted else number(each.ours.p99)}</td>"
                f"<td class='n'>{'' if counted else number(each.theirs.p99)}</td>"
                f"<td class='n'>{'' if counted else span(each.theirs.ratio_p99)}</td>"
                f"<td class='n'>{each.ours.count}</td><td class='n'>{each.theirs.count}</td></tr>"
            )
    yield "</table></div>"


def _method(results: Results) -> Iterator[str]:
    yield "<h2 id='method'>Method, versions and troubles</h2>"
    yield (
        "<p>Simulators and contenders run in processes of their own, pinned to different cores. Rounds are interleaved "
        "and their order rotates; the first turns of a session are dropped. The simulator answers at once, so nothing "
        "has to be subtracted. What the figures mean, and what they cannot say: <code>docs/benchmarks.md</code>.</p>"
    )
    yield _list("Troubles on the way", results.notes or ["none"])
    versions = results.meta["versions"]
    yield _list("Versions", [f"{name} {version}" for name, version in sorted(versions.items())])


def _list(title: str, items: Iterable[str]) -> str:
    return f"<h3>{title}</h3><ul>" + "".join(f"<li>{_safe(item)}</li>" for item in items) + "</ul>"


def _safe(text: object) -> str:
    return html.escape(str(text))
