"""From a contender's raw answer to figures: what each is called, what it means, and how it is computed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs

from .contract import FRAME_MS, SAMPLE_RATE
from .plan import MANY_PATIENCE
from .signals import BANDS, SENT_RATE, ratio, reference, voice
from .tags import Stretch, account, labels_of, missing, stretches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Literal

    from .plan import Scenario

Figures = dict[str, list[float]]
"""The figures of one answer, by metric."""

PLAYOUT_DELAY = 0.1
"""Seconds that a listener buffers: a sample is late if it comes later than this behind its place."""


@attrs.frozen
class Metric:
    """A figure of the report.

    Attributes:
        key: in the results.
        title: in tables.
        unit: of the values.
        meaning: in one sentence.
        counted: whether it is a count, shown as a mean for each interruption or turn, and not as a distribution.
        goal: a ratio or a value to be reached, in words; "" for none.
        better: which figure is; ``"none"`` if it is only told.
    """

    key: str
    title: str
    unit: str
    meaning: str
    counted: bool = False
    goal: str = ""
    better: Literal["less", "more", "none"] = "less"


METRICS: tuple[Metric, ...] = (
    Metric("import.s", "import", "s", "Importing the library in a fresh process.", goal="≤ 0.5 s"),
    Metric("import.mib", "memory after import", "MiB", "Resident memory after it.", goal="≤ 60 MiB"),
    Metric("cold.first_ms", "cold start", "ms", "From construction, through connecting, to the first sample."),
    Metric(
        "warm.first_ms",
        "warm request → first sample",
        "ms",
        "On a session that is connected; the simulator answers at once, so this is the library and the loopback.",
        goal="≤ 0.8 × the best peer at p50",
    ),
    Metric(
        "warmburst.first_ms",
        "the same, if all audio comes at once",
        "ms",
        "The simulator sends 0.7 s of audio in one go: what is behind the first sample must not hold it up.",
    ),
    Metric("stream.first_ms", "sentence → its first sample", "ms", "Text that comes sentence by sentence."),
    Metric("stream.end_ms", "last sentence → last sample", "ms", "The same turns, to their end."),
    Metric(
        "sentences.gap_ms",
        "last sample of a sentence → first of the next",
        "ms",
        "Three sentences are given at once, and spoken as fast as they can be taken.",
    ),
    Metric("stream.missing", "samples lost in streamed turns", "samples", "Missing or doubled, a turn.", True, "0"),
    Metric("sentences.missing", "samples lost of sentences given at once", "samples", "As above, a turn.", True, "0"),
    Metric("interrupt.call_us", "interruption: the call", "µs", "How long the call that interrupts takes."),
    Metric("interrupt.last_us", "interruption: call → last old sample", "µs", "0: none came after the call.", goal="0"),
    Metric("interrupt.accepted", "old samples heard after the call", "samples", "An interruption.", True, "0"),
    Metric("interrupt.free_ms", "interruption: call → task free", "ms", "Until the interrupted call has returned."),
    Metric(
        "interrupt.next_ms",
        "interruption: call → next turn's first sample",
        "ms",
        "The next turn is asked for as soon as the interrupted one's task is free.",
    ),
    Metric("interrupt.stale", "stale samples", "samples", "Of the old turn, after the call returned.", True, "0"),
    Metric("interrupt.lost", "lost samples", "samples", "Missing before the cut, or in the next turn.", True, "0"),
    Metric("interrupt.doubled", "doubled samples", "samples", "Heard twice.", True, "0"),
    Metric("interrupt.mute", "turns without a sound", "turns", "Of the two turns of an interruption.", True, "0"),
    Metric("interrupt.hung", "calls that hung", "calls", "Not over after 5 s.", True, "0"),
    Metric("interrupt.connections", "connections opened", "connections", "For each interruption.", True),
    Metric(
        "runon.next_ms",
        "the same, if the server cannot be stopped: call → next turn's first sample",
        "ms",
        "The server acknowledges the cancellation, but sends what it had begun to its end.",
    ),
    Metric("runon.stale", "the same: stale samples", "samples", "Of the old turn, after the call returned.", True, "0"),
    Metric("runon.lost", "the same: lost samples", "samples", "As above.", True, "0"),
    Metric("runon.mute", "the same: turns without a sound", "turns", "As above.", True, "0"),
    Metric("runon.connections", "the same: connections opened", "connections", "For each interruption.", True),
    Metric("paced.cpu_ms", "CPU, real-time pace", "ms/s", "CPU for a second of audio, 10 sessions, 40 ms frames."),
    Metric("burst.cpu_ms", "CPU, burst", "ms/s", "CPU for a second of audio, as fast as it can be taken."),
    Metric("many.first_ms", "warm request → first sample", "ms", "With this many sessions speaking."),
    Metric(
        "many.next_ms",
        "interruption: call → next first sample",
        "ms",
        "With this many sessions speaking.",
        goal="p99 ≤ 5 ms at 20 sessions",
    ),
    Metric("many.free_ms", "interruption: call → task free", "ms", "With this many sessions speaking."),
    Metric(
        "many.cpu_ms",
        "CPU of two turns and an interruption",
        "ms",
        "Of all sessions together, over the number of interruptions.",
        goal="at 500 within 10 % of that at 20",
    ),
    Metric(
        "many.late",
        "late audio",
        "%",
        f"Came more than {1000 * PLAYOUT_DELAY:g} ms behind its place, of turns that sounded.",
        True,
    ),
    Metric("many.stale", "stale samples", "samples", "An interruption.", True, "0"),
    Metric("many.lost", "lost samples", "samples", "An interruption.", True, "0"),
    Metric("many.mute", "turns without a sound", "turns", "Of the two turns of an interruption.", True, "0"),
    Metric("many.hung", "calls that hung", "calls", f"Not over after {MANY_PATIENCE:g} s.", True, "0"),
    Metric(
        "many.simulator",
        "the simulator's busiest half second",
        "%",
        "Of it, how much it ran or waited for its core; near 100 the simulator is what was measured.",
        True,
        better="none",
    ),
    Metric("idle.kib", "memory of an idle session", "KiB", "Connected and waiting.", True, "≤ 100 KiB"),
    Metric("idle.tasks", "tasks of an idle session", "tasks", "The adapter's consumer and its holder included.", True),
    Metric("speaking.kib", "memory of a speaking session", "KiB", "In the midst of a turn, at real-time pace.", True),
    Metric("speaking.tasks", "tasks of a speaking session", "tasks", "And with the one that waits for the turn.", True),
    Metric(
        "uplink.cpu_ms",
        "CPU, listening",
        "ms/s",
        "CPU for a second of speech given: 48 kHz stereo in, 16 kHz mono out, 10 sessions at real-time pace.",
        goal="≤ 0.5 × the original",
    ),
    Metric(
        "uplink.snr_db",
        "what arrives of the sound, to 5.5 kHz",
        "dB",
        "Signal over error beside a one-shot resampling of the same sound, 50 Hz to 5.5 kHz.",
        True,
        "≥ 70 dB",
        "more",
    ),
    Metric(
        "uplink.wide_db",
        "what arrives of the sound, to 7 kHz",
        "dB",
        "The same, 50 Hz to 7 kHz: a filter that falls early loses here.",
        True,
        better="more",
    ),
    Metric("uplink.short", "samples that did not arrive", "samples", "Of those at 16 kHz, a session.", True, "0"),
    Metric("ask.first_ms", "question → first text", "ms", "A language model that answers at once."),
    Metric("ask.connections", "connections opened for a question", "connections", "After the first ten.", True),
    Metric("tokens.cpu_us", "CPU of a token", "µs", "10 answers at once, each with 100 tokens a second."),
    Metric("tokenburst.cpu_us", "CPU of a token, burst", "µs", "One answer, as fast as it can be taken."),
    Metric("close.ms", "leaving with a hostile server", "ms", "It never answers a Close.", goal="≤ 1000 ms"),
    Metric("close.tasks", "tasks left behind", "tasks", "0.05 s later.", True, "0"),
)
BY_KEY = {metric.key: metric for metric in METRICS}


def figures(scenario: Scenario, answer: Mapping[str, Any], pcm: bytes, log: Iterable[str]) -> Figures:
    """The figures of an answer."""
    compute = _COMPUTE[scenario.do]
    return compute(scenario, answer, pcm, labels_of(log) if scenario.log else ({}, {}))


Labels = tuple[dict[int, str], dict[str, int]]


def _ms(values: Iterable[float]) -> list[float]:
    return [value / 1e6 for value in values]


def _prepare(_scenario: Scenario, answer: Mapping[str, Any], _pcm: bytes, _labels: Labels) -> Figures:
    return {"import.s": [answer["import_seconds"]], "import.mib": [answer["resident"] / 2**20]}


def _cold(_scenario: Scenario, answer: Mapping[str, Any], _pcm: bytes, _labels: Labels) -> Figures:
    return {"cold.first_ms": _ms(answer["first_ns"])}


def _warm(scenario: Scenario, answer: Mapping[str, Any], _pcm: bytes, _labels: Labels) -> Figures:
    found = {f"{scenario.name}.first_ms": _ms(answer["first_ns"])}
    if scenario.name == "ask":
        found["ask.connections"] = [answer["connections"] / max(len(answer["whole_ns"]), 1)]
    return found


def _stream(scenario: Scenario, answer: Mapping[str, Any], pcm: bytes, labels: Labels) -> Figures:
    heard = stretches(answer["chunks"], pcm, labels[0])
    first: list[float] = []
    end: list[float] = []
    gap: list[float] = []
    wrong: list[float] = []
    for turn in answer["turns"]:
        names = [f"{letter}{turn['label']:05}" for letter, _ in zip("abcdefgh", turn["given_ns"], strict=False)]
        times = [[each.time for each in heard if each.label == name] for name in names]
        for came, given in zip(times, turn["given_ns"], strict=True):
            first += [(min(came) - given) / 1e6] if came else []
        end += [(max(times[-1]) - turn["given_ns"][-1]) / 1e6] if times[-1] else []
        gap += [max(0, min(two) - max(one)) / 1e6 for one, two in pairwise(times) if one and two]
        wrong.append(missing(names, heard, labels[1]))
    if scenario.name == "sentences":
        return {"sentences.gap_ms": gap, "sentences.missing": wrong}
    return {"stream.first_ms": first, "stream.end_ms": end, "stream.missing": wrong}


def _interrupt(scenario: Scenario, answer: Mapping[str, Any], pcm: bytes, labels: Labels) -> Figures:
    heard = stretches(answer["chunks"], pcm, labels[0])
    found: Figures = _interruptions(answer["turns"], heard, labels[1])
    turns = len(answer["turns"])
    found["connections"] = [(answer["connections"] - answer["connected"]) / turns]
    return {f"{scenario.name}.{key}": values for key, values in found.items()}


def _interruptions(turns: Sequence[Mapping[str, Any]], heard: Sequence[Stretch], samples: Mapping[str, int]) -> Figures:
    keys = ("call_us", "last_us", "accepted", "free_ms", "next_ms", "stale", "lost", "doubled", "mute", "hung")
    found: Figures = {key: [] for key in keys}
    for turn in turns:
        balance = account(turn, heard, samples)
        found["stale"].append(balance.stale)
        found["lost"].append(balance.lost)
        found["doubled"].append(balance.doubled)
        found["accepted"].append(balance.accepted)
        reached = turn.get("reached", True)
        found["mute"].append((not reached) + (balance.first is None))
        found["hung"].append(sum(turn["hung"]))
        if not reached:
            continue  # nothing was interrupted
        found["call_us"].append((turn["returned_ns"] - turn["called_ns"]) / 1e3)
        found["last_us"].append(balance.last_us)
        if turn["freed_ns"] is not None:
            found["free_ms"].append(max(0, turn["freed_ns"] - turn["called_ns"]) / 1e6)
        if balance.first is not None:
            found["next_ms"].append((balance.first - turn["called_ns"]) / 1e6)
    return found


def _receive(scenario: Scenario, answer: Mapping[str, Any], _pcm: bytes, _labels: Labels) -> Figures:
    tokens = scenario.command.get("tokens")
    if tokens is not None:
        share = answer["samples"] / (scenario.command["sessions"] * scenario.command["expected"])
        tokens *= scenario.command["sessions"] * share
        return {f"{scenario.name}.cpu_us": [1e6 * answer["cpu_s"] / tokens] if tokens else []}
    seconds = answer["samples"] / SAMPLE_RATE
    return {f"{scenario.name}.cpu_ms": [1000 * answer["cpu_s"] / seconds] if seconds else []}


def _uplink(scenario: Scenario, answer: Mapping[str, Any], _pcm: bytes, _labels: Labels) -> Figures:
    wanted = reference(voice(scenario.command["seconds"]))
    given = SENT_RATE * (scenario.command["seconds"] + scenario.command["lead"] * FRAME_MS / 1000)
    found: Figures = {"uplink.cpu_ms": [1000 * answer["cpu_s"] / answer["seconds"]]}
    found["uplink.short"] = [round(given) - len(pcm) // 2 for pcm in answer["arrived"]]
    for name, band in BANDS.items():
        found[f"uplink.{name}"] = [ratio(pcm, wanted, band) for pcm in answer["arrived"]]
    return found


def _many(scenario: Scenario, answer: Mapping[str, Any], pcm: bytes, labels: Labels) -> Figures:
    found: Figures = {"first_ms": [], "late": [], "simulator": [100 * answer["simulator"]]}
    at = cycles = 0
    for session in answer["sessions"]:
        count = 2 * sum(samples for _time, samples in session["chunks"])
        heard = stretches(session["chunks"], pcm[at : at + count], labels[0])
        at += count
        cycles += len(session["turns"])
        for key, values in _interruptions(session["turns"], heard, labels[1]).items():
            found.setdefault(key, []).extend(values)
        for turn in session["turns"]:
            old, new = ([each for each in heard if each.label == f"{which}{turn['label']:05}"] for which in "ab")
            found["first_ms"] += [(old[0].time - turn["began_ns"]) / 1e6] if old else []
            found["late"] += [_late(sounded) for sounded in (old, new) if sounded]  # the others are mute
    found["cpu_ms"] = [1000 * answer["cpu_s"] / cycles] if cycles else []
    return {f"many.{key}@{scenario.command['sessions']}": values for key, values in found.items()}


def _late(heard: Sequence[Stretch]) -> float:
    """Percent of the samples of a turn that came after they should have been played."""
    begin = heard[0].time / 1e9 - heard[0].start / SAMPLE_RATE + PLAYOUT_DELAY
    late = sum(each.count for each in heard if each.time / 1e9 > begin + each.start / SAMPLE_RATE)
    return 100 * late / sum(each.count for each in heard)


def _idle(_scenario: Scenario, answer: Mapping[str, Any], _pcm: bytes, _labels: Labels) -> Figures:
    found: Figures = {}
    for state in ("idle", "speaking"):
        found[f"{state}.kib"] = [answer[state]["bytes"] / 1024]
        found[f"{state}.tasks"] = [answer[state]["tasks"]]
    return found


def _close(scenario: Scenario, answer: Mapping[str, Any], _pcm: bytes, _labels: Labels) -> Figures:
    closed = _ms(answer["closed_ns"])
    given_up = [1000 * scenario.command["timeout"]] * (answer["asked"] - len(closed))
    return {"close.ms": closed + given_up, "close.tasks": [float(left) for left in answer["tasks_left"]]}


_COMPUTE: dict[str, Callable[[Scenario, Mapping[str, Any], bytes, Labels], Figures]] = {
    "prepare": _prepare,
    "cold": _cold,
    "warm": _warm,
    "stream": _stream,
    "interrupt": _interrupt,
    "receive": _receive,
    "many": _many,
    "uplink": _uplink,
    "idle": _idle,
    "close": _close,
}


def timeline(answer: Mapping[str, Any], pcm: bytes, log: Iterable[str]) -> dict[str, Any] | None:
    """One interruption as it went, for a picture: milliseconds from the call, of every piece that was heard."""
    heard = stretches(answer["chunks"], pcm, labels_of(log)[0])
    for turn in answer["turns"]:
        if not turn["reached"]:
            continue
        zero = turn["called_ns"]

        def since(time: int | None, zero: int = zero) -> float | None:
            return None if time is None else (time - zero) / 1e6

        kinds = {f"a{turn['label']:05}": "old", f"b{turn['label']:05}": "next"}
        pieces = [
            (since(each.time), each.count, kinds[each.label])
            for each in heard
            if each.label in kinds and each.time - zero > -1e8
        ]
        marks = {name: since(turn[f"{name}_ns"]) for name in ("returned", "freed", "asked", "ended")}
        return {"pieces": pieces, "marks": marks}
    return None
