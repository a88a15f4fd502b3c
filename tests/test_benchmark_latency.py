"""The latency benchmark itself: its statistics, its reading of tags, its contract, its report."""

import argparse
import importlib
import io
import json
import math
import os
import re
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from rich.console import Console

from voicetrio import __version__
from voicetrio.simulators import tagged_pcm
from voicetrio.simulators.tagged import SEGMENTS

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))
stats = importlib.import_module("latency.stats")
tags = importlib.import_module("latency.tags")
plan = importlib.import_module("latency.plan")
metrics = importlib.import_module("latency.metrics")
processes = importlib.import_module("latency.processes")
run = importlib.import_module("latency.run")
report = importlib.import_module("latency.report")
summary = importlib.import_module("latency.summary")
terminal = importlib.import_module("latency.terminal")
svg = importlib.import_module("latency.svg")
command_line = importlib.import_module("latency.__main__")
signals = importlib.import_module("latency.signals")

# ---- statistics ----------------------------------------------------------------------------------------------------


def test_a_ratio_of_medians_is_found_and_its_interval_holds_it(seed):
    rng = np.random.default_rng(seed)
    ours = [list(rng.normal(2.0, 0.1, 200)) for _ in range(5)]
    theirs = [list(rng.normal(4.0, 0.1, 200)) for _ in range(5)]

    found = stats.ratio(ours, theirs)

    assert found.low <= found.value <= found.high
    assert found.low < 0.5 < found.high or abs(found.value - 0.5) < 0.01
    assert found.high - found.low < 0.05


def test_a_round_that_disturbed_both_alike_leaves_their_ratio():
    quiet, loud = [1.0, 1.1, 0.9], [10.0, 11.0, 9.0]
    ours = [quiet, loud, quiet, loud]
    theirs = [[2 * figure for figure in figures] for figures in ours]

    paired = stats.ratio(ours, theirs)

    # Drawn apart, a draw of our quiet rounds beside their loud ones would reach 0.05, and the other way round 5.
    assert 0.2 < paired.low <= 0.5 <= paired.high < 1.3


def test_the_bootstrap_is_the_same_each_time():
    rounds = [list(np.random.default_rng(number).normal(size=20)) for number in range(4)]

    assert stats.interval(rounds) == stats.interval(rounds)
    assert stats.interval(rounds) != stats.interval(rounds, seed=1)


@pytest.mark.parametrize("theirs", [[], [[]], [[0.0, 0.0]]], ids=["no rounds", "no figures", "zero"])
def test_there_is_no_ratio_to_nothing(theirs):
    assert stats.ratio([[1.0]], theirs) is None


# ---- tags ----------------------------------------------------------------------------------------------------------

TURN = {"label": 7, "called_ns": 1000_000, "returned_ns": 1200_000}
LABELS = {0: "a00007", 1: "b00007"}
SAMPLES = {"a00007": 4800, "b00007": 960}


def balance(*heard):
    """The account of what was heard: pieces of (time, segment, start, count)."""
    chunks = [(time, count) for time, _segment, _start, count in heard]
    pcm = b"".join(tagged_pcm(segment, start, count) for _time, segment, start, count in heard)
    return tags.account(TURN, tags.stretches(chunks, pcm, LABELS), SAMPLES)


def test_an_exact_interruption_has_a_clean_account():
    found = balance((500_000, 0, 0, 480), (900_000, 0, 480, 480), (2000_000, 1, 0, 960))

    assert found == tags.Account(stale=0, lost=0, doubled=0, accepted=0, last_us=0.0, first=2000_000)


def test_audio_between_the_call_and_its_return_is_accepted_but_not_stale():
    found = balance((900_000, 0, 0, 480), (1100_000, 0, 480, 480), (2000_000, 1, 0, 960))

    assert (found.stale, found.accepted, found.last_us) == (0, 480, 100.0)


def test_audio_of_the_old_turn_after_the_return_is_stale_even_within_the_next_turn():
    found = balance((900_000, 0, 0, 480), (2000_000, 1, 0, 480), (2100_000, 0, 480, 100), (2200_000, 1, 480, 480))

    assert (found.stale, found.lost, found.last_us) == (100, 0, 1100.0)


def test_a_hole_before_the_cut_and_the_missing_end_of_the_next_turn_are_lost():
    found = balance((500_000, 0, 0, 480), (900_000, 0, 600, 480), (2000_000, 1, 0, 900))

    assert found.lost == 120 + 60


def test_what_is_heard_twice_is_doubled():
    found = balance((900_000, 0, 0, 480), (2000_000, 1, 0, 960), (2100_000, 1, 400, 200))

    assert (found.doubled, found.lost) == (200, 0)


def test_a_next_turn_that_never_sounds_is_lost_whole():
    found = balance((900_000, 0, 0, 480))

    assert (found.first, found.lost) == (None, 960)


def test_a_turn_that_never_sounds_is_mute_and_not_late():
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "many-20")
    times = {"began_ns": 0, "called_ns": 200_000, "returned_ns": 210_000, "freed_ns": 220_000}
    session = {"turns": [{"label": 7, **times, "reached": True, "hung": [0, 0, 0]}], "chunks": [[100_000, 480]]}
    log = [json.dumps({"event": "segment", "data": {"number": 0, "text": "a00007", "samples": 480}})]

    answer = {"sessions": [session], "cpu_s": 0.02, "simulator": 0.5}
    found = metrics.figures(scenario, answer, tagged_pcm(0, 0, 480), log)

    assert found["many.late@20"] == [0]
    assert found["many.mute@20"] == [1]


def test_segments_are_told_apart_by_the_simulators_log():
    lines = [
        json.dumps({"event": "opened", "data": {}}),
        json.dumps({"event": "segment", "data": {"number": 3, "text": "a00012 Hello", "samples": 10}}),
        json.dumps({"event": "segment", "data": {"number": 4, "text": "b00012 and", "samples": 20}}),
        json.dumps({"event": "segment", "data": {"number": 5, "text": " more b00012", "samples": 5}}),
    ]

    assert tags.labels_of(lines) == ({3: "a00012", 4: "b00012", 5: "b00012"}, {"a00012": 10, "b00012": 25})


def test_late_audio_is_what_comes_behind_its_place():
    begin = 1_000_000_000
    on_time = [tags.Stretch(begin + 20_000_000 * n, "a00001", 480 * n, 480) for n in range(10)]
    late = [*on_time[:9], on_time[9]._replace(time=on_time[9].time + 200_000_000)]

    assert metrics._late(on_time) == 0
    assert metrics._late(late) == pytest.approx(10)


# ---- what arrives of a sound ---------------------------------------------------------------------------------------


def tone(rate, seconds, hertz, shift=0.0):
    """A tone that fades in and out."""
    time = np.arange(round(seconds * rate)) / rate
    return 8000 * np.sin(2 * np.pi * hertz * (time - shift)) * np.sin(np.pi * time / seconds) ** 2


def s16(sound):
    return np.rint(sound).astype("<i2").tobytes()


def test_the_reference_keeps_what_16_khz_can_carry_and_nothing_else():
    low, high = tone(48_000, 0.5, 1000), tone(48_000, 0.5, 9000)

    found = signals.reference(s16(np.repeat(low + high, 2)))

    assert np.abs(found - tone(16_000, 0.5, 1000)).max() < 2


def test_the_reference_is_the_mean_of_both_channels():
    left = tone(48_000, 0.2, 500)

    found = signals.reference(s16(np.stack([left, np.zeros_like(left)], axis=1).ravel()))

    assert np.abs(found - tone(16_000, 0.2, 500) / 2).max() < 2


@pytest.mark.parametrize("shift", [0.0, 0.25, 7.0, 330.6])
def test_a_delay_is_no_error_whatever_part_of_a_sample_it_is(shift):
    wanted = np.pad(tone(16_000, 0.5, 1000) + tone(16_000, 0.5, 3100), 500)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(len(wanted)) * shift)

    late = np.fft.irfft(np.fft.rfft(wanted) * turn, len(wanted))

    assert signals.ratio(s16(late), wanted, (50, 7000)) > 75


def test_noise_is_measured_for_what_it_is_and_only_within_the_band():
    wanted = tone(16_000, 1.0, 1000)
    hum, hiss = wanted + tone(16_000, 1.0, 2000) / 100, wanted + tone(16_000, 1.0, 6500) / 10

    assert signals.ratio(s16(hum), wanted, (50, 5500)) == pytest.approx(40, abs=0.2)
    assert signals.ratio(s16(hiss), wanted, (50, 5500)) > 70
    assert signals.ratio(s16(hiss), wanted, (50, 7000)) == pytest.approx(20, abs=0.2)


def test_what_is_missing_is_noise():
    wanted = tone(16_000, 1.0, 1000)
    arrived = s16(wanted)

    assert signals.ratio(arrived[:16_000] + arrived[16_040:], wanted, (50, 5500)) < 20
    assert signals.ratio(b"", wanted, (50, 5500)) == signals.ratio(bytes(64), wanted, (50, 5500)) == 0


def test_the_sound_is_silent_at_its_ends_and_reaches_above_what_16_khz_carries():
    sound = np.frombuffer(signals.voice(1.0), "<i2").reshape(-1, 2)

    assert len(sound) == 48_000
    assert not sound[:4800].any()
    assert not sound[-4800:].any()
    spectrum = np.abs(np.fft.rfft(sound[:, 0])) ** 2
    assert spectrum[9000:19_000].sum() > 1e-3 * spectrum.sum()
    assert not np.array_equal(sound[:, 0], sound[:, 1])


# ---- the contract --------------------------------------------------------------------------------------------------

FAKE = """
import time
from contextlib import asynccontextmanager
from latency.contract import Contender, Listener, Model, Speaker, serve
from voicetrio.simulators import tagged_pcm

def later_asyncio(seconds, call, *args):
    import asyncio
    asyncio.get_running_loop().call_later(seconds, call, *args)

def later_trio(seconds, call, *args):
    import trio
    async def run():
        await trio.sleep(seconds)
        call(*args)
    trio.lowlevel.spawn_system_task(run)

LATER = [later_{runtime}]

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

class Fake(Contender):
    name, runtime, providers, packages = "fake", "{runtime}", ("deepgram",), ()

    def load(self, provider):
        print("a library that prints to standard output")
        assert provider == "deepgram"

    @asynccontextmanager
    async def session(self, provider, url, heard):
        yield {{"deepgram": FakeSpeaker, "cartesia-stt": FakeListener, "chat": FakeModel}}[provider](heard)
        if url == "ws://costly":
            burn(0.5)
        if url == "ws://angry":
            raise RuntimeError("cannot leave")

class FakeSpeaker(Speaker):
    def __init__(self, heard):
        self.heard = heard

    async def speak(self, text):
        if text == "fail":
            raise RuntimeError("cannot speak")
        if text == "late":
            LATER[0](0.05, self.heard.put, tagged_pcm(7, 0, 480), 480)
        elif text == "rest":
            self.heard.put(tagged_pcm(7, 2048, 480), 480)
            LATER[0](0.05, self.heard.put, tagged_pcm(7, 2528, 100) + tagged_pcm(8, 0, 380), 480)
        elif text != "mute":
            self.heard.put(tagged_pcm(7, 0, 480), 480)

    async def stream(self, pieces):
        async for piece in pieces:
            if isinstance(piece, str):
                self.heard.put(bytes(960), 480)

    async def interrupt(self):
        pass

class FakeListener(Listener):
    def __init__(self, heard):
        self.heard = heard

    async def give(self, pcm):
        assert len(pcm) == 3840
        self.heard.put("a frame", 1)

    async def end(self):
        self.heard.put("the end", 1000)
        burn(0.2)

class FakeModel(Model):
    def __init__(self, heard):
        self.heard = heard

    async def ask(self, text):
        for piece in text.split():
            self.heard.put(piece, len(piece))

serve(Fake)
"""


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def worker(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fake")
    (folder / "fake_contender.py").write_text(FAKE.format(runtime=request.param))
    worker = processes.Worker("fake_contender", sys.executable, None, path=folder)
    yield worker
    worker.kill()


def command(do, tmp_path, **arguments):
    return {"do": do, "provider": "deepgram", "url": "ws://nowhere", "pcm": str(tmp_path / "pcm"), **arguments}


def test_a_contender_prepares_and_its_prints_disturb_nobody(worker):
    prepared = worker.ask({"do": "prepare", "provider": "deepgram"})

    assert prepared["import_seconds"] >= 0
    assert prepared["resident"] >= prepared["resident_before"] > 0


def test_warm_turns_are_measured_and_the_first_are_dropped(worker, tmp_path):
    answer = worker.ask(command("warm", tmp_path, turns=5, drop=2, text="Hello.", seconds=60))

    assert len(answer["first_ns"]) == len(answer["whole_ns"]) == 5
    assert answer["failed"] == []


def test_a_turn_that_is_over_before_it_is_heard_is_a_figure(worker, tmp_path):
    cold = worker.ask(command("cold", tmp_path, turns=2, text="late"))
    warm = worker.ask(command("warm", tmp_path, turns=2, drop=0, text="late", seconds=60))

    assert len(cold["first_ns"]) == len(warm["first_ns"]) == 2


def test_what_was_left_of_another_turn_is_told_and_is_not_the_first_of_this(worker, tmp_path):
    whole = worker.ask(command("warm", tmp_path, turns=3, drop=1, text="Hello.", seconds=60))
    left = worker.ask(command("warm", tmp_path, turns=3, drop=1, text="rest", seconds=60))

    assert (whole["strays"], left["strays"]) == (0, 3)
    assert len(left["first_ns"]) == 3
    assert min(left["first_ns"]) >= 50e6


def test_a_turn_that_fails_is_told_and_is_no_figure(worker, tmp_path):
    answer = worker.ask(command("warm", tmp_path, turns=2, drop=0, text="fail", seconds=60))

    assert answer["first_ns"] == []
    assert answer["failed"] == ["RuntimeError: cannot speak"] * 2


def test_a_scenario_that_fails_is_an_error_and_the_next_one_runs(worker, tmp_path):
    assert "KeyError" in worker.ask(command("warm", tmp_path))["error"]
    assert worker.ask(command("cold", tmp_path, turns=1, text="Hello."))["first_ns"]


def test_what_was_heard_of_a_streamed_text_comes_with_its_times(worker, tmp_path):
    answer = worker.ask(command("stream", tmp_path, turns=1, label=0, gap=0.0, sentences=["One.", "Two."]))

    assert [samples for _time, samples in answer["chunks"]] == [480, 480]
    assert len(answer["turns"][0]["given_ns"]) == 2
    assert (tmp_path / "pcm").stat().st_size == 4 * 480


def test_the_cpu_of_closing_is_not_that_of_receiving(worker, tmp_path):
    how = {"sessions": 2, "first": "One.", "text": "Two.", "expected": 480, "settle": 5, "timeout": 20}

    answer = worker.ask({**command("receive", tmp_path, **how), "url": "ws://costly"})

    assert answer["samples"] == 2 * 480
    assert answer["cpu_s"] < 0.5
    assert (answer["hung"], answer["errors"]) == (0, [])


def test_many_sessions_each_tell_what_they_heard(worker, tmp_path):
    how = {"sessions": 3, "turns": 2, "text": "one", "next": "two", "after": 1, "spread": 0.0, "wander": 0.0}

    answer = worker.ask(command("many", tmp_path, **how, seconds=20, label=40))

    turns = [turn for session in answer["sessions"] for turn in session["turns"]]
    assert sorted(turn["label"] for turn in turns) == [40, 41, 42, 43, 44, 45]
    assert all(turn["began_ns"] <= turn["called_ns"] and turn["hung"] == [False] * 3 for turn in turns)
    assert [[samples for _time, samples in session["chunks"]] for session in answer["sessions"]] == [[480] * 4] * 3
    assert (tmp_path / "pcm").stat().st_size == 3 * 4 * 960


def test_recognizers_are_given_every_frame_and_the_end_is_not_measured(worker, tmp_path):
    (tmp_path / "sound").write_bytes(bytes(3840 * 4))
    how = {"sessions": 2, "lead": 3, "timeout": 20, "sound": str(tmp_path / "sound")}

    answer = worker.ask({**command("uplink", tmp_path, **how), "provider": "cartesia-stt"})

    assert answer["samples"] == 2 * (3 + 4 + 1000)
    assert answer["cpu_s"] < 0.2
    assert answer["seconds"] == pytest.approx(2 * 4 * 0.02)
    assert (answer["hung"], answer["errors"]) == (0, [])


def test_a_model_is_asked_as_a_speaker_speaks(worker, tmp_path):
    asked = {**command("warm", tmp_path, turns=2, drop=1, text="two words", seconds=60), "provider": "chat"}
    how = {"sessions": 2, "first": "one", "text": "two words", "expected": 8, "settle": 5, "timeout": 20}

    warm = worker.ask(asked)
    received = worker.ask({**command("receive", tmp_path, **how), "provider": "chat"})

    assert len(warm["first_ns"]) == 2
    assert warm["connections"] == 0
    assert received["samples"] == 2 * 8


def test_memory_is_looked_at_idle_and_speaking_and_silence_is_told(worker, tmp_path):
    how = {"sessions": 2, "first": "One.", "after": 1, "speak": 0.1}

    answer = worker.ask(command("idle", tmp_path, text="Two.", **how))
    mute = worker.ask(command("idle", tmp_path, text="mute", **how))

    assert answer["errors"] == []
    assert answer["idle"]["tasks"] == 1
    assert answer["speaking"]["tasks"] >= 1
    assert mute["errors"] == ["only 0 of 4 sessions spoke"]


def test_an_interruption_is_timed_and_labelled(worker, tmp_path):
    answer = worker.ask(command("interrupt", tmp_path, turns=2, label=7, text="a", next="b", after=1, rest=0))

    assert [turn["label"] for turn in answer["turns"]] == [7, 8]
    for turn in answer["turns"]:
        assert turn["called_ns"] <= turn["returned_ns"] <= turn["asked_ns"] <= turn["ended_ns"]
        assert turn["reached"]
    assert answer["connections"] == 0


def test_leaving_that_fails_is_told(worker, tmp_path):
    answer = worker.ask({**command("close", tmp_path, turns=1, text="One.", timeout=5), "url": "ws://angry"})

    assert answer["errors"] == ["RuntimeError: cannot leave"]
    assert (answer["closed_ns"], answer["asked"]) == ([], 1)


def test_a_contender_that_dies_is_said_to_have(tmp_path):
    (tmp_path / "broken_contender.py").write_text("raise SystemExit('no such library')\n")
    worker = processes.Worker("broken_contender", sys.executable, None, path=tmp_path)
    try:
        with pytest.raises(processes.ContenderFailed, match="no such library"):
            worker.ask({"do": "prepare", "provider": "deepgram"})
    finally:
        worker.kill()


# ---- the run and the report ----------------------------------------------------------------------------------------


@pytest.fixture
def results():
    """Made up: we are ahead in one figure, behind in another, and exact where the others are not."""
    found = run.Results()
    found.meta = {
        "date": "2026-01-01T00:00:00+00:00",
        "seed": 1,
        "machine": {"cpu": "a <cpu>", "cores": 2, "system": "Linux"},
        "pinned": True,
        "load_before": [0.1, 0.1, 0.1],
        "waited": 0.01,
        "versions": {"trio": "1", "Python of voicetrio": "3"},
        "seconds": 10.0,
        "cpu_seconds": 5.0,
    }
    for round_ in range(3):
        wobble = 0.01 * round_
        for name, first, next_ in (("voicetrio", 1.0, 2.0), ("videosdk-agents", 2.0, 1.0)):
            found.add("warm.first_ms", "deepgram", name, [first + wobble + 0.001 * n for n in range(30)])
            found.add("interrupt.next_ms", "deepgram", name, [next_ + wobble + 0.001 * n for n in range(30)])
            found.add("interrupt.stale", "deepgram", name, [0.0 if name == "voicetrio" else 480.0])
            for size in (1, 20):
                found.add(f"many.first_ms@{size}", "deepgram", name, [first * size] * 5)
                found.add(f"many.late@{size}", "deepgram", name, [0.0])
    pieces = [[-20.0, 480, "old"], [3.0, 480, "old"], [5.0, 480, "next"]]
    marks = {"returned": 0.1, "freed": 0.2, "asked": 0.3, "ended": 9.0}
    found.timelines = {"deepgram": {"voicetrio": {"pieces": pieces, "marks": marks}}}
    found.note("videosdk-agents <said> something")
    return found


def one_round(name):
    """A scenario that needs no simulator, run once."""
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "import")
    return attrs.evolve(scenario, name=name, rounds=1, providers=("deepgram",))


def test_it_is_not_always_the_same_contender_that_begins(monkeypatch):
    order = []
    monkeypatch.setattr(run.Run, "_step", lambda _self, scenario, _p, entry, *_: order.append(entry.name) or set())
    entries = run.entries_for(["voicetrio", "deepgram-sdk", "raw trio stream"])

    run.Run([one_round(name) for name in "abc"], entries, 1, lambda _what, _share: None).run()

    assert sorted(order[::3]) == ["deepgram-sdk", "raw trio stream", "voicetrio"]
    assert all(len(set(order[at : at + 3])) == 3 for at in (0, 3, 6))


def test_a_round_that_failed_stays_beside_those_of_the_others(monkeypatch):
    def step(self, _scenario, provider, entry, round_, *_):
        if (entry.name, round_) == ("voicetrio", 1):
            return set()
        self.results.add("warm.first_ms", provider, entry.name, [float(round_)])
        return {"warm.first_ms"}

    monkeypatch.setattr(run.Run, "_step", step)
    scenario, entries = attrs.evolve(one_round("warm"), rounds=3), run.entries_for(["voicetrio", "deepgram-sdk"])

    found = run.Run([scenario], entries, 1, lambda _what, _share: None).run()

    assert found.values["warm.first_ms"]["deepgram"] == {
        "voicetrio": [[0], [], [2]],
        "deepgram-sdk": [[0], [1], [2]],
    }


def test_where_we_failed_and_they_did_not_we_are_behind(results):
    for key, figure in (("cold.first_ms", 3.0), ("uplink.short", 0.0)):
        results.add(key, "lmnt", "voicetrio", [])
        results.add(key, "lmnt", "lmnt-sdk", [figure])

    found = [each for each in summary.comparisons(summary.rows(results)) if each.row.provider == "lmnt"]

    assert [each.verdict for each in found] == ["behind", "behind"]
    assert "behind in" in report.render(results)


def test_sessions_that_did_not_end_or_brought_no_sound_are_told():
    found = run.Run([], [], 1, lambda _what, _share: None)
    uplink = next(each for each in plan.scenarios(quick=True) if each.name == "uplink")
    entry = run.entries_for(["voicetrio"])[0]

    found._note_troubles(uplink, "cartesia-stt", entry, {"hung": 2, "arrived": [b""] * 9, "simulator": 0.1})

    assert found.results.notes == [
        "voicetrio, cartesia-stt, uplink: 2 sessions did not end",
        "voicetrio, cartesia-stt, uplink: 10 sessions, and 9 connections with sound",
    ]


def test_a_part_of_the_benchmark_does_not_look_like_all_of_it(results):
    options = argparse.Namespace(quick=True, only="warm,cold", contenders="voicetrio")
    whole = argparse.Namespace(quick=False, only="", contenders="")

    assert command_line.part_of(whole) == ""
    assert "A part of the benchmark" not in report.render(results)
    results.meta["part"] = command_line.part_of(options)
    assert "A part of the benchmark: quick, only warm,cold, only of voicetrio." in report.render(results)


@pytest.mark.parametrize("arguments", [["--only", "warm,wram"], ["--contenders", "voicetrio,nobody"]], ids=" ".join)
def test_what_is_not_there_is_not_left_out_silently(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["latency", *arguments])
    monkeypatch.setattr(command_line, "Run", None)  # nothing is run

    with pytest.raises(SystemExit) as told:
        command_line.main()

    assert told.value.code == 2
    assert "there is no " in capsys.readouterr().err


def test_verdicts_follow_the_interval_and_the_counts(results):
    verdicts = {
        (each.row.metric.key, each.row.sessions): each.verdict for each in summary.comparisons(summary.rows(results))
    }

    assert verdicts["warm.first_ms", None] == "ahead"
    assert verdicts["interrupt.next_ms", None] == "behind"
    assert verdicts["interrupt.stale", None] == "ahead"
    assert verdicts["many.late", 1] == "even"


def test_of_decibels_more_are_better_and_how_busy_the_simulator_was_is_nobodys_merit(results):
    for name, decibels, busy in (("voicetrio", 77.0, 20.0), ("videosdk-agents", 70.0, 30.0)):
        results.add("uplink.snr_db", "cartesia-stt", name, [decibels])
        results.add("many.simulator@20", "deepgram", name, [busy])

    verdicts = {each.row.metric.key: each.verdict for each in summary.comparisons(summary.rows(results))}

    assert (verdicts["uplink.snr_db"], verdicts["many.simulator"]) == ("ahead", "even")


@pytest.mark.parametrize(("ours", "theirs", "verdict"), [(0.3, 0, "behind"), (0, 0, "even"), (0, 0.3, "ahead")])
def test_there_is_a_verdict_beside_nothing(results, ours, theirs, verdict):
    for name, value in (("voicetrio", ours), ("cartesia-sdk", theirs)):
        for _ in range(3):
            results.add("sentences.gap_ms", "cartesia", name, [value] * 8)

    found = {each.row.metric.key: each.verdict for each in summary.comparisons(summary.rows(results))}

    assert found["sentences.gap_ms"] == verdict


def test_there_is_no_high_percentile_of_a_few_figures(results):
    for name in ("voicetrio", "videosdk-agents"):
        results.add("cold.first_ms", "deepgram", name, [1.0 + 0.001 * n for n in range(200)])
        results.add("ask.first_ms", "chat", name, [1.0 + 0.001 * n for n in range(20)])
        results.add("tokens.cpu_us", "chat", name, [1.0 + 0.001 * n for n in range(19)])

    cells = {row.metric.key: row.cells for row in summary.rows(results)}

    assert cells["cold.first_ms"]["voicetrio"].p99 == pytest.approx(1.197, abs=0.001)
    assert cells["cold.first_ms"]["videosdk-agents"].ratio_p99.value == 1
    assert math.isnan(cells["ask.first_ms"]["voicetrio"].p99)
    assert cells["ask.first_ms"]["voicetrio"].p95 == pytest.approx(1.018, abs=0.001)
    assert math.isnan(cells["tokens.cpu_us"]["voicetrio"].p95)
    assert cells["ask.first_ms"]["videosdk-agents"].ratio_p99 is None


def test_the_report_shows_listening_and_models_where_there_are_figures(results):
    results.add("uplink.snr_db", "cartesia-stt", "voicetrio", [77.25])
    results.add("tokens.cpu_us", "chat", "voicetrio", [101.0])

    page = report.render(results)

    listening = page[page.index("id='listening'") : page.index("id='models'")]
    models = page[page.index("id='models'") : page.index("id='memory'")]
    assert "<td class='n'>77.2</td>" in listening
    assert "<td class='n'>101</td>" in models
    assert "No figures." in page[page.index("id='memory'") :]


def test_the_report_needs_nothing_but_itself(results):
    page = report.render(results)

    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", page)
    assert not re.search(r"https?://|@import|url\(|<script", page)
    assert "prefers-color-scheme: dark" in page
    assert page.count("<svg") == page.count("</svg>") > 3


def test_the_report_shows_losses_as_plainly_as_wins_and_escapes_what_others_said(results):
    page = report.render(results)

    assert "ahead in" in page
    assert "class='n ahead'" in page
    assert "class='n behind'" in page
    assert "&lt;said&gt;" in page
    assert "<said>" not in page
    assert "a &lt;cpu&gt;" in page


def test_the_table_for_a_document_leaves_the_floors_out(results):
    results.add("warm.first_ms", "deepgram", "bare aiohttp", [1.0, 1.1, 1.2])

    table = terminal.markdown(results)

    assert "| warm request → first sample (ms) | deepgram | videosdk-agents | 1.02 |" in table
    assert "bare aiohttp" not in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {12}


def shown(results, width):
    """The lines that a terminal of this width, or a pipe, gets."""
    console = Console(file=io.StringIO(), width=width)
    terminal.show(results, console)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "p95", "p99"), [(80, False, False), (110, True, False), (160, True, True)])
def test_the_table_keeps_each_comparison_on_one_line_of_a_terminal(results, width, p95, p99):
    for name in ("voicetrio", "raw trio stream"):
        results.add("many.next_ms@500", "deepgram", name, [100_000.0 + 1000 * n for n in range(200)])

    lines = shown(results, width)

    assert max(map(len, lines)) <= width
    assert "interruption: call → next first sample, 500 sessions, ms" in lines
    (line,) = [line for line in lines if "raw trio stream" in line]
    assert line.split()[4:6] == ["199,500", "199,500"]
    assert ("289,050" in line, "297,010" in line) == (p95, p99)
    assert any("All percentiles are in the report" in each for each in lines) is not p99


def test_the_table_says_in_words_who_is_ahead(results):
    lines = shown(results, 80)

    words = [line.split()[-1] for line in lines if line.startswith("  deepgram")]
    assert {"ahead", "behind"} <= set(words)
    assert f"ahead in {words.count('ahead')}, " in "".join(lines)
    assert f"behind in {words.count('behind')}, " in "".join(lines)


def test_every_class_of_colour_in_the_pictures_is_in_the_style_sheet(results):
    page = report.render(results)
    style = page[page.index("<style>") : page.index("</style>")]

    used = set(re.findall(r"\bc\d\b", page[page.index("</style>") :]))

    assert used
    assert all(f".{colour} " in style for colour in used)


def test_growth_is_drawn_for_every_provider_and_only_of_several_sizes(results):
    for size in (1, 20):
        results.add(f"many.first_ms@{size}", "lmnt", "voicetrio", [1.0 * size] * 200)
    both = report.render(results)
    for key in list(results.values):
        if key.endswith("@1"):
            del results.values[key]
    one = report.render(results)

    assert "<summary>deepgram</summary>" in both
    assert "<summary>lmnt</summary>" in both
    assert "<summary>" not in one
    assert "one number of sessions only" in one


def test_versions_that_differ_are_told_apart():
    found = run.Results()

    for contender, version in (("voicetrio", "17"), ("lmnt-sdk", "15"), ("cartesia-sdk", "17")):
        found.note_versions(contender, {"websockets": version, "Python": "3.11"})

    assert found.meta["versions"] == {"websockets": "17", "websockets of lmnt-sdk": "15", "Python": "3.11"}


def test_results_survive_their_file(results, tmp_path):
    run.write(results, tmp_path / "out" / "results.json")

    assert attrs.asdict(run.read(tmp_path / "out" / "results.json")) == attrs.asdict(results)


def test_a_report_of_a_run_in_which_nothing_worked_can_be_made(results):
    results.values, results.timelines = {"warm.first_ms": {"deepgram": {"voicetrio": [[]]}}}, {}

    assert "No figures." in report.render(results)


@pytest.mark.parametrize("quick", [True, False])
def test_the_plan_covers_what_it_says(quick):
    found = {each.name.partition("-")[0] for each in plan.scenarios(quick=quick)}

    assert found | ({"warmburst", "runon"} if quick else set()) == {
        "import", "cold", "warm", "warmburst", "interrupt", "runon", "stream", "sentences", "paced", "burst", "many",
        "idle", "close", "uplink", "ask", "tokens", "tokenburst",
    }  # fmt: skip


def test_the_segments_of_many_sessions_can_be_told_apart():
    for each in plan.scenarios(quick=False):
        if each.do == "many":
            assert 2 * each.command["sessions"] * each.command["turns"] <= SEGMENTS, each.name


def test_twenty_sessions_are_interrupted_often_enough_for_a_99th_percentile():
    for quick in (True, False):
        twenty = next(each for each in plan.scenarios(quick=quick) if each.name == "many-20")
        assert 20 * twenty.command["turns"] * twenty.rounds >= summary.ENOUGH


def test_the_cpu_of_a_token_is_that_of_those_that_came():
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "tokenburst")
    expected, tokens = scenario.command["expected"], scenario.command["tokens"]

    whole = metrics.figures(scenario, {"cpu_s": 0.5, "samples": expected}, b"", [])
    half = metrics.figures(scenario, {"cpu_s": 0.5, "samples": expected / 2}, b"", [])

    assert tokens == len(scenario.command["text"].split())
    assert whole["tokenburst.cpu_us"] == [pytest.approx(5e5 / tokens)]
    assert half["tokenburst.cpu_us"] == [pytest.approx(1e6 / tokens)]


def test_every_interruption_of_every_session_is_a_figure():
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "many-20")
    sessions, pcm, log = [], b"", []
    for number in range(2):
        turns, chunks = [], []
        for turn in range(2):
            label, begin = 2 * number + turn, 1_000_000 * (turn + 1)
            for which, later in (("a", 100_000), ("b", 300_000)):
                segment = len(log)
                pcm += tagged_pcm(segment, 0, 480)
                chunks.append([begin + later, 480])
                data = {"number": segment, "text": f"{which}{label:05}", "samples": 480}
                log.append(json.dumps({"event": "segment", "data": data}))
            times = {"began_ns": begin, "called_ns": begin + 200_000, "returned_ns": begin + 210_000}
            turns.append({"label": label, **times, "freed_ns": begin + 220_000, "reached": True, "hung": [0, 0, 0]})
        sessions.append({"turns": turns, "chunks": chunks})

    found = metrics.figures(scenario, {"sessions": sessions, "cpu_s": 0.02, "simulator": 0.5}, pcm, log)

    assert found["many.first_ms@20"] == [pytest.approx(0.1)] * 4
    assert found["many.next_ms@20"] == [pytest.approx(0.1)] * 4
    assert found["many.cpu_ms@20"] == [pytest.approx(5)]
    assert found["many.simulator@20"] == [50]
    assert found["many.stale@20"] == found["many.lost@20"] == [0] * 4


def test_between_two_sentences_is_what_passes_from_the_last_sample_of_one_to_the_first_of_the_next():
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "sentences")
    log = [
        json.dumps({"event": "segment", "data": {"number": n, "text": f"{letter}00007", "samples": 480}})
        for n, letter in enumerate("abc")
    ]
    pcm = tagged_pcm(0, 0, 480) + tagged_pcm(1, 0, 480) + tagged_pcm(2, 0, 240)
    chunks = [[1_000_000, 240], [2_000_000, 240], [2_500_000, 240], [3_000_000, 480]]  # the last one is of both
    turn = {"label": 7, "given_ns": [0, 0, 0]}

    found = metrics.figures(scenario, {"turns": [turn], "chunks": chunks}, pcm, log)

    assert found == {"sentences.gap_ms": [pytest.approx(0.5), 0], "sentences.missing": [240]}


def test_the_busiest_moment_of_a_process_is_kept(monkeypatch):
    clock = {"ran": 1.0, "waited": 2.0, "time": 10.0}
    monkeypatch.setattr(processes, "scheduled", lambda _pid: (clock["ran"], clock["waited"]))
    monkeypatch.setattr(processes.time, "perf_counter", lambda: clock["time"])
    watch = processes.Watch(1)

    for ran, waited, seconds in ((0.1, 0.0, 0.5), (0.3, 0.1, 0.5), (0.01, 0.0, 0.01), (0.19, 0.1, 0.49)):
        clock["ran"] += ran
        clock["waited"] += waited
        clock["time"] += seconds
        watch.look()

    assert watch.most == pytest.approx(0.8)
    assert (watch.ran, watch.waited) == (pytest.approx(0.6), pytest.approx(0.2))


def test_what_a_process_ran_is_read_from_the_kernel():
    ran, waited = processes.scheduled(os.getpid())

    assert ran > 0
    assert waited >= 0
    assert processes.scheduled(2**22 + 1) == (0, 0)


def test_a_run_on_a_busy_machine_says_so(results):
    assert "busy with something else" not in report.render(results)

    results.meta["waited"] = 0.4

    assert "for 40% of the time" in report.render(results)


def test_every_metric_that_is_computed_is_explained():
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "interrupt")
    answer = {"turns": [], "chunks": [], "connections": 1, "connected": 1}

    with pytest.raises(ZeroDivisionError):
        metrics.figures(scenario, answer, b"", [])
    turn = {"label": 1, "called_ns": 1, "returned_ns": 2, "freed_ns": 3, "reached": True, "hung": [0, 0, 0]}
    found = metrics.figures(scenario, {**answer, "turns": [turn]}, b"", [])

    assert set(found) <= set(metrics.BY_KEY)
    assert found["interrupt.mute"] == [1]


def test_texts_are_as_long_as_asked_for_and_hold_one_sentence():
    for characters in (1, 54, 88, 1053):
        text = plan.text_of(characters)
        assert len(text) == characters
        assert not re.search(r"[.!?]", text)


def test_ticks_are_round_and_within_their_bounds():
    assert svg.log_ticks(1, 100) == [1, 2, 5, 10, 20, 50, 100]
    assert svg.log_ticks(0.01, 1000) == pytest.approx([0.01, 0.1, 1, 10, 100, 1000])


def test_a_scale_keeps_what_is_outside_at_its_edge():
    scale = svg.LogScale(1, 100, 0, 200)

    assert [scale(value) for value in (0, 1, 10, 100, 1e6)] == pytest.approx([0, 0, 100, 200, 200])
    assert not math.isnan(scale(0))


def test_voicetrio_itself_is_exact_in_a_small_run():
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "interrupt")
    scenario = attrs.evolve(scenario, rounds=1, providers=("deepgram",), command={**scenario.command, "turns": 2})
    told = []

    found = run.Run([scenario], run.entries_for(["voicetrio"]), 1, lambda what, share: told.append((what, share))).run()

    assert found.notes == []
    for wrong in ("stale", "lost", "doubled", "mute", "hung", "accepted", "connections"):
        assert set(found.values[f"interrupt.{wrong}"]["deepgram"]["voicetrio"][0]) == {0}, wrong
    assert len(found.values["interrupt.next_ms"]["deepgram"]["voicetrio"][0]) == 2
    assert {piece[2] for piece in found.timelines["deepgram"]["voicetrio"]["pieces"]} == {"old", "next"}
    assert told == [("deepgram interrupt voicetrio", 0.0)]


def small(name, **command):
    """A scenario of the plan, made small, and run by voicetrio alone."""
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == name)
    scenario = attrs.evolve(scenario, rounds=1, command={**scenario.command, **command})
    return run.Run([scenario], run.entries_for(["voicetrio"]), 1, lambda _what, _share: None).run()


def test_all_that_voicetrio_is_given_arrives_as_it_should():
    found = small("uplink", sessions=2, seconds=0.4)

    assert found.notes == []
    figures = {key: contenders["cartesia-stt"]["voicetrio"][0] for key, contenders in found.values.items()}
    assert figures["uplink.short"] == [0, 0]
    assert min(figures["uplink.snr_db"]) > 70
    assert len(figures["uplink.wide_db"]) == 2


def test_voicetrio_asks_on_the_connection_that_it_has():
    found = small("ask", turns=3, drop=1)

    assert found.notes == []
    assert len(found.values["ask.first_ms"]["chat"]["voicetrio"][0]) == 3
    assert found.values["ask.connections"]["chat"]["voicetrio"] == [[0]]


def test_a_run_that_is_cut_short_tells_what_it_found():
    scenario = next(each for each in plan.scenarios(quick=True) if each.name == "import")
    scenario = attrs.evolve(scenario, rounds=2, providers=("deepgram",))

    def tell(_what, share):
        if share:
            raise KeyboardInterrupt

    found = run.Run([scenario], run.entries_for(["raw trio stream"]), 1, tell).run()

    assert len(found.values["import.s"]["deepgram"]["raw trio stream"]) == 1
    assert found.notes == ["the run was cut short"]
    assert found.meta["cpu_seconds"] >= 0
    assert found.meta["versions"]["voicetrio"].split()[0] == __version__
