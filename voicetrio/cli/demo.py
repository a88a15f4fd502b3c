"""``voicetrio demo``: a dialogue with an interruption, to be heard, to be looked at, and checked."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.table import Table

from ..simulators import SpokenWord
from . import timeline_svg as svg
from ._dialogue import SAMPLE_RATE, Cut, Recording, Turn, hold_dialogue
from ._status import FAILED, status_of, until_signal


@click.command(
    short_help="Hold a dialogue with a simulated provider.",
    epilog="Status: 0 held as it should be; 1 it failed, or a stale sample was heard; 130 Ctrl-C.",
)
@click.option("--out", type=click.Path(file_okay=False), default="demo", show_default=True, help="Where to write.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object to standard output and nothing else.")
@click.option("--speed", type=click.FloatRange(0.1, 20), default=1.0, hidden=True)
def demo(out: str, as_json: bool, speed: float) -> int:
    """Hold a dialogue with a simulated provider, interrupt it in the middle of a word, and record it.

    The provider is the Deepgram simulator on a loopback port, with the voice of espeak-ng.  Writes out.wav (the agent
    left, the user right) and timeline.svg.  No key and no network are needed.
    """
    directory = Path(out)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"{out}: {error.strerror}") from error
    console = Console(highlight=False, quiet=as_json)
    held: list[Recording] = []

    async def hold() -> None:
        held.append(await hold_dialogue(speed, partial(_tell, console)))

    signum = trio.run(until_signal, hold)
    if signum is not None:
        return status_of(signum)
    (recording,) = held
    wav, drawing = directory / "out.wav", directory / "timeline.svg"
    seconds = recording.recorder.write(str(wav))
    drawing.write_text(svg.draw(_chart(recording, seconds)), encoding="utf-8")
    if as_json:
        click.echo(json.dumps(_report(recording, seconds, wav, drawing), ensure_ascii=False))
    else:
        _print_report(console, recording)
        console.print(f"wrote {wav} ({seconds:.1f} s) and {drawing}", soft_wrap=True)
    return FAILED if recording.stale or recording.connections != 1 else 0


def _tell(console: Console, seconds: float, who: str, text: str) -> None:
    console.print(f"{seconds:6.2f} s  {who:5}  {text}", soft_wrap=True)


# ---- the report ----------------------------------------------------------------------------------------------------


def _print_report(console: Console, recording: Recording) -> None:
    table = Table(title="The agent's turns (samples at 24 kHz)")
    table.add_column("turn")
    for title in ("first audio", "wanted", "heard", "dropped", "stale"):
        table.add_column(title, justify="right")
    for number, turn in enumerate(recording.turns, 1):
        table.add_row(
            f"{number} {turn.line.how}",
            f"{1000 * (turn.synthesis.timeline.time_to_first_audio or 0):.1f} ms",
            *map(str, (len(turn.wanted) // 2, len(turn.heard) // 2, _dropped(turn), turn.stale)),
        )
    console.print(table)
    for turn in recording.turns:
        if turn.cut is not None:
            share = f"{100 * _share(turn, _word_cut(turn)):.0f} %"
            console.print(f"interrupted at {_fence_text(turn)} ({share} of it spoken)", soft_wrap=True)
            console.print(f"interrupt() returned after {turn.cut.call_microseconds:.0f} µs")
    console.print(
        f"connections: {recording.connections}, stale samples: {recording.stale}, "
        f"late bytes not heard: {recording.late_bytes}"
    )


def _fence_text(turn: Turn) -> str:
    assert turn.cut is not None
    samples = turn.cut.samples_until_silence
    after = f"{samples} sample{'' if samples == 1 else 's'} ({1e6 * samples / SAMPLE_RATE:.0f} µs) later"
    return f"{turn.end / SAMPLE_RATE:.3f} s, in “{_word_cut(turn).text}”, silent {after}"


def _report(recording: Recording, seconds: float, wav: Path, drawing: Path) -> dict[str, object]:
    return {
        "wav": str(wav),
        "timeline": str(drawing),
        "seconds": seconds,
        "sample_rate": SAMPLE_RATE,
        "connections": recording.connections,
        "stale_samples": recording.stale,
        "late_bytes": recording.late_bytes,
        "turns": [_turn_report(number, turn) for number, turn in enumerate(recording.turns, 1)],
    }


def _turn_report(number: int, turn: Turn) -> dict[str, object]:
    return {
        "turn": number,
        "text": turn.line.text,
        "how": turn.line.how,
        "outcome": turn.synthesis.outcome,
        "time_to_first_audio": turn.synthesis.timeline.time_to_first_audio,
        "requested": turn.requested / SAMPLE_RATE,
        "start": turn.start / SAMPLE_RATE,
        "end": turn.end / SAMPLE_RATE,
        "samples_wanted": len(turn.wanted) // 2,
        "samples_heard": len(turn.heard) // 2,
        "samples_dropped": _dropped(turn),
        "samples_stale": turn.stale,
        "gaps": turn.gaps,
        "interruption": None if turn.cut is None else _cut_report(turn, turn.cut),
    }


def _cut_report(turn: Turn, cut: Cut) -> dict[str, object]:
    word = _word_cut(turn)
    return {
        "at": cut.at / SAMPLE_RATE,
        "word": word.text,
        "share_of_word": _share(turn, word),
        "call_microseconds": cut.call_microseconds,
        "samples_until_silence": cut.samples_until_silence,
    }


def _dropped(turn: Turn) -> int:
    return turn.cut.interruption.samples_dropped if turn.cut is not None else 0


def _word_cut(turn: Turn) -> SpokenWord:
    """The word in which the turn fell silent."""
    heard = len(turn.heard) / 2 / SAMPLE_RATE
    return next(word for word in turn.words if word.start <= heard < word.end)


def _share(turn: Turn, word: SpokenWord) -> float:
    return (len(turn.heard) / 2 / SAMPLE_RATE - word.start) / (word.end - word.start)


# ---- the drawing ---------------------------------------------------------------------------------------------------


def _chart(recording: Recording, seconds: float) -> svg.Chart:
    user = [
        svg.Utterance(piece.start / SAMPLE_RATE, piece.pcm, _placed(speech.words, piece.start))
        for piece, speech in recording.user
    ]
    agent = [_utterance(number, turn) for number, turn in enumerate(recording.turns, 1)]
    fences = [
        svg.Fence(turn.end / SAMPLE_RATE, f"interrupted at {_fence_text(turn)}")
        for turn in recording.turns
        if turn.cut is not None
    ]
    subtitle = (
        f"voicetrio and the Deepgram simulator on one loopback connection; stale samples heard: {recording.stale}; "
        f"connections: {recording.connections}"
    )
    return svg.Chart("A dialogue, interrupted once", subtitle, SAMPLE_RATE, seconds, user, agent, fences)


def _utterance(number: int, turn: Turn) -> svg.Utterance:
    heard = turn.heard
    words = _placed(turn.words, turn.start)
    end = turn.end / SAMPLE_RATE
    return svg.Utterance(
        start=turn.start / SAMPLE_RATE,
        pcm=heard,
        words=[word for word in words if word.start < end],
        title=f"turn {number}: {turn.line.how}",
        requested=turn.requested / SAMPLE_RATE,
        latency=turn.synthesis.timeline.time_to_first_audio,
        lost_pcm=turn.wanted[len(heard) :],
        lost_words=[word for word in words if word.start >= end],
    )


def _placed(words: tuple[SpokenWord, ...] | list[SpokenWord], start: int) -> list[svg.Word]:
    """Words with their times on the recorder's clock."""
    seconds = start / SAMPLE_RATE
    return [svg.Word(word.text, word.start + seconds, word.end + seconds) for word in words]
