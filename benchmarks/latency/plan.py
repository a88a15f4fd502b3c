"""Who runs, what is asked of them, and how often."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs

from .processes import PEERS, RECOGNIZER

MS_PER_CHAR = 57
"""Milliseconds of audio for each character: a turn is seldom a whole number of frames, as in life."""

SAMPLES_PER_CHAR = 24 * MS_PER_CHAR

MANY_PATIENCE = 2.0
"""Seconds after which a call of many sessions is said to hang: their turns are short, and 5 s for each take minutes."""

_TEXT = "all of this is one sentence that goes on and on so that somebody can cut it off in the midst of it "


@attrs.frozen
class Entry:
    """A contender of the run; one that speaks, listens and asks has an entry, and a process, for each."""

    name: str
    module: str
    python: str | Path
    providers: tuple[str, ...]


_ALL = ("deepgram", "lmnt", "cartesia", "smallest")
_MODEL = "chat"

OURS = "voicetrio"
ORIGINALS = "videosdk-agents"

ENTRIES = (
    Entry(OURS, "latency.contenders.ours", sys.executable, _ALL),
    Entry(OURS, "latency.contenders.ours_stt", sys.executable, (RECOGNIZER,)),
    Entry(OURS, "latency.contenders.ours_llm", sys.executable, (_MODEL,)),
    Entry(ORIGINALS, "latency.contenders.videosdk_agents", PEERS, _ALL),
    Entry(ORIGINALS, "latency.contenders.videosdk_stt", PEERS, (RECOGNIZER,)),
    Entry(ORIGINALS, "latency.contenders.videosdk_llm", PEERS, (_MODEL,)),
    Entry("deepgram-sdk", "latency.contenders.deepgram_sdk", PEERS, ("deepgram",)),
    Entry("lmnt-sdk", "latency.contenders.lmnt_sdk", PEERS, ("lmnt",)),
    Entry("cartesia-sdk", "latency.contenders.cartesia_sdk", PEERS, ("cartesia",)),
    Entry("openai-sdk", "latency.contenders.openai_sdk", PEERS, (_MODEL,)),
    Entry("bare aiohttp", "latency.contenders.floor_aiohttp", PEERS, ("deepgram",)),
    Entry("bare aiohttp", "latency.contenders.floor_aiohttp_stt", PEERS, (RECOGNIZER,)),
    Entry("bare aiohttp", "latency.contenders.floor_aiohttp_llm", PEERS, (_MODEL,)),
    Entry("raw trio stream", "latency.contenders.floor_trio", sys.executable, ("deepgram",)),
)
FLOORS = ("bare aiohttp", "raw trio stream")

BASE: dict[str, dict[str, object]] = {
    "deepgram": {"flush_limit": 0, "characters_limit": 0, "session_limit": "none", "ms_per_char": MS_PER_CHAR},
    "lmnt": {"reset_runs_on": "no", "ms_per_char": MS_PER_CHAR},
    "cartesia": {"cancel": "immediate", "constant_fields": "any", "ms_per_char": MS_PER_CHAR},
    "smallest": {"ms_per_char": MS_PER_CHAR},
    RECOGNIZER: {},
    _MODEL: {"first_token": 0},
}
"""How each simulator behaves in every scenario: no limits, and cancelling works wherever the protocol has it."""


@attrs.frozen(kw_only=True)
class Scenario:
    """A command of the contract, and the simulator that it meets.

    Attributes:
        name: of the scenario in the results.
        do: the command.
        options: of the simulator.
        command: its arguments.
        rounds: how often every contender runs it, in turn.
        providers: for which.
        log: whether the simulator's log is read, to know whose each sample is.
        fresh: whether each run is in a fresh process.
        timeout: seconds after which a contender is given up.
    """

    name: str
    do: str
    options: dict[str, object] = attrs.field(factory=dict)
    command: dict[str, Any] = attrs.field(factory=dict)
    rounds: int = 3
    providers: tuple[str, ...] = _ALL
    log: bool = False
    fresh: bool = False
    timeout: float = 120.0


def text_of(characters: int) -> str:
    """A text of so many characters without the end of a sentence in it."""
    return (_TEXT * (characters // len(_TEXT) + 1))[:characters].strip().ljust(characters, "x")


def samples_of(text: str) -> int:
    """How long its audio is."""
    return len(text) * SAMPLES_PER_CHAR


def scenarios(*, quick: bool) -> list[Scenario]:
    """The scenarios of a run, in order."""
    rounds = 2 if quick else 3
    some = ("deepgram", "cartesia") if quick else _ALL
    few = ("deepgram",) if quick else ("deepgram", "cartesia")
    burst, paced = {"speed": "inf", "first_audio": 0}, {"speed": 1, "first_audio": 0}
    brisk = {"speed": 4, "first_audio": 0}
    others = [] if quick else _variants(brisk, burst, few)
    return [
        Scenario(
            name="import",
            do="prepare",
            rounds=1 if quick else 3,
            providers=(*few, RECOGNIZER, _MODEL),
            fresh=True,
        ),
        Scenario(
            name="cold",
            do="cold",
            options=burst,
            command={"turns": 4 if quick else 8, "text": "Hello."},
            rounds=rounds,
            providers=some,
        ),
        _warm("warm", {"speed": 20, "first_audio": 0}, quick=quick, rounds=rounds, providers=some),
        _interruptions("interrupt", brisk, turns=3 if quick else 4, rounds=rounds, providers=some),
        *others,
        _sentences("stream", burst, turns=2, gap=0.1, rounds=1 if quick else 2, providers=some),
        # Whole frames: a frame that held the end of one sentence and the beginning of the next would have no gap in it.
        _sentences("sentences", {**burst, "ms_per_char": 60}, turns=4, gap=0.0, rounds=rounds, providers=some),
        _receive("paced", paced, sessions=10, characters=14 if quick else 18, rounds=rounds, providers=some),
        _receive("burst", burst, sessions=1, characters=1053, rounds=1 if quick else 3, providers=some),
        *(_many(sessions, providers=few if quick else some) for sessions in ((20,) if quick else (1, 20, 100, 500))),
        Scenario(
            name="idle",
            do="idle",
            options=paced,
            command={
                "sessions": 20 if quick else 40,
                "first": "Hi.",
                "text": text_of(40),
                "after": 4800,
                "speak": 1.0,
            },
            rounds=1,
            providers=few if quick else some,
            fresh=True,
        ),
        Scenario(
            name="close",
            do="close",
            options={**paced, "never_close": "yes"},
            command={"turns": 1, "text": text_of(100), "timeout": 2.0},
            rounds=1,
            providers=("deepgram",) if quick else ("deepgram", "lmnt"),
            fresh=True,
        ),
        _uplink(quick=quick, rounds=rounds),
        *_questions(quick=quick, rounds=rounds),
    ]


def _variants(brisk: dict[str, object], burst: dict[str, object], few: tuple[str, ...]) -> list[Scenario]:
    """Warm turns whose audio comes at once, and interruptions of servers that cannot be stopped."""
    runs_on = {"lmnt": {"reset_runs_on": "yes"}, "cartesia": {"cancel": "run_on"}}
    return [
        _warm("warmburst", burst, quick=False, rounds=2, providers=few),
        *(
            _interruptions("runon", {**brisk, **options}, turns=4, rounds=2, providers=(provider,))
            for provider, options in runs_on.items()
        ),
    ]


def _interruptions(
    name: str, options: dict[str, object], *, turns: int, rounds: int, providers: tuple[str, ...]
) -> Scenario:
    command = {"turns": turns, "text": text_of(54), "next": "and now", "after": 4800}
    return Scenario(
        name=name, do="interrupt", options=options, command=command, rounds=rounds, providers=providers, log=True
    )


def _sentences(
    name: str, options: dict[str, object], *, turns: int, gap: float, rounds: int, providers: tuple[str, ...]
) -> Scenario:
    """A text in three sentences, so many seconds apart."""
    sentences = ["This is the first. ", "Here is the second. ", "That was all. "]
    command = {"turns": turns, "gap": gap, "sentences": sentences}
    return Scenario(
        name=name, do="stream", options=options, command=command, rounds=rounds, providers=providers, log=True
    )


def _warm(name: str, options: dict[str, object], *, quick: bool, rounds: int, providers: tuple[str, ...]) -> Scenario:
    # Paced turns are short, so that there are enough of them for a 99th percentile.
    text = "Hi." if name == "warm" else "Hello there."
    command = {"turns": 40 if quick else 100, "drop": 10, "text": text, "seconds": 0.5 if quick else 1.0}
    return Scenario(name=name, do="warm", options=options, command=command, rounds=rounds, providers=providers)


def _receive(name: str, options: dict[str, object], **how: Any) -> Scenario:
    text = text_of(how["characters"])
    seconds = 0.001 * MS_PER_CHAR * len(text) if options["speed"] == 1 else 2.0
    # The originals keep what is shorter than a frame of 20 ms back: nobody waits for that.
    expected = samples_of(text) - 480
    command = {
        "sessions": how["sessions"],
        "text": text,
        "first": "Hi.",
        "expected": expected,
        "settle": 1.0,
        "timeout": seconds + 5,
    }
    return Scenario(
        name=name, do="receive", options=options, command=command, rounds=how["rounds"], providers=how["providers"]
    )


def _many(sessions: int, *, providers: tuple[str, ...]) -> Scenario:
    # So many interruptions of each session that there are hundreds in all: fewer tell nothing of a 99th percentile.
    turns = {1: 3, 20: 5, 100: 2, 500: 1}[sessions]
    command = {
        "sessions": sessions,
        "turns": turns,
        "text": text_of(24),
        "next": "and",
        "after": 2400,
        "wander": 1.0,
        # All 500 at once would take the simulator's whole core: so some 300 of them speak at any moment.
        "spread": 2.0 if sessions > 100 else 1.0 if sessions > 20 else 0.5,
        "seconds": 10.0,
        "patience": MANY_PATIENCE,
    }
    return Scenario(
        name=f"many-{sessions}",
        do="many",
        # A little faster than it plays, so that the simulator's own drift makes no frame late; in frames so large that
        # it can serve 500 with one core.
        options={"speed": 1.05, "first_audio": 0, "frame_ms": 200},
        command=command,
        rounds=1,
        providers=providers,
        log=True,
        timeout=90.0,
    )


def _uplink(*, quick: bool, rounds: int) -> Scenario:
    command = {"sessions": 10, "seconds": 1.0 if quick else 2.0, "lead": 10, "timeout": 15.0}
    return Scenario(name="uplink", do="uplink", command=command, rounds=rounds, providers=(RECOGNIZER,))


def _questions(*, quick: bool, rounds: int) -> list[Scenario]:
    """The simulated model says what it is told; a word is a token."""
    short, long = "tell " * 8, "word " * 100
    ask = {"turns": 40 if quick else 100, "drop": 10, "text": short, "seconds": 1.0}
    return [
        Scenario(
            name="ask",
            do="warm",
            options={"tokens_per_second": 1000},
            command=ask,
            rounds=rounds,
            providers=(_MODEL,),
        ),
        _tokens("tokens", {"tokens_per_second": 100}, 10, long, rounds=rounds),
        _tokens("tokenburst", {"tokens_per_second": "none"}, 1, long * 10, rounds=rounds),
    ]


def _tokens(name: str, options: dict[str, object], sessions: int, text: str, *, rounds: int) -> Scenario:
    command = {
        "sessions": sessions,
        "text": text.strip(),
        "first": "Hello there.",
        "expected": len(text.strip()),
        "tokens": text.count(" "),
        "settle": 1.0,
        "timeout": 20.0,
    }
    return Scenario(name=name, do="receive", options=options, command=command, rounds=rounds, providers=(_MODEL,))
