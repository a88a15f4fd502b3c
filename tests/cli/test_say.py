"""`voicetrio say` against a simulator in another process: real sockets, files, pipes and signals."""

import json
import os
import signal
import socket

import pytest
from processes import PATIENCE, SAMPLES_PER_CHARACTER, simulate, voicetrio, wait_until

from voicetrio import FlushMarker, read_wav
from voicetrio.cli.say import _words_to_speak, mark_sentences
from voicetrio.simulators import read_tags


def is_one_complaint(text):
    return text.startswith("voicetrio: ") and text.count("\n") == 1 and text.endswith("\n")


def spoken(wav):
    """Position and length of each stretch of tagged audio in a file."""
    fmt, pcm = read_wav(wav)
    assert (fmt.sample_rate, fmt.channels) == (24_000, 1)
    return [(run.start, run.length) for run in read_tags(pcm)]


def test_a_text_is_in_the_file_to_the_sample(run, simulator, tmp_path):
    text, wav = "Hello from trio.", tmp_path / "out.wav"

    status, out, err = run("say", text, "-o", wav, "--base-url", simulator.url)

    assert (status, out) == (0, "")
    assert spoken(wav) == [(0, len(text) * SAMPLES_PER_CHARACTER)]
    assert "time to first audio" in err
    assert "first sample" in err


def test_a_file_is_spoken(run, simulator, tmp_path):
    wav, text = tmp_path / "out.wav", tmp_path / "text"
    text.write_text("Grüße, one and two.\nThree.\n", encoding="utf-8")

    status, _, _ = run("say", "--file", text, "-o", wav, "--base-url", simulator.url)

    assert status == 0
    assert spoken(wav) == [(0, 27 * SAMPLES_PER_CHARACTER)]


def test_json_is_one_object_that_says_what_is_in_the_file(run, simulator, tmp_path):
    wav = tmp_path / "out.wav"

    status, out, err = run(
        "say", "Hello.", "--json", "-o", wav, "--rate", 8000, "--base-url", simulator.url, "--voice", "aura-2-thalia-en"
    )

    report = json.loads(out)
    fmt, pcm = read_wav(wav)
    assert (status, err) == (0, "")
    assert (fmt.sample_rate, len(pcm) // 2) == (report["sample_rate"], report["samples"]) == (8000, 6 * 480)
    assert report["outcome"] == "completed"
    assert report["connections"] == 1
    assert sum(report["parts"].values()) == pytest.approx(report["timeline"]["ended"])
    assert report["timeline"]["first_sample"] == report["time_to_first_audio"]
    assert "aura-2-thalia-en" in simulator.log_file.read_text()


def test_standard_input_is_spoken_line_by_line_as_it_comes(simulator, tmp_path):
    wav = tmp_path / "out.wav"
    with voicetrio("say", "-o", wav, "--base-url", simulator.url) as process:
        process.stdin.write(b"The first line.\n")
        process.stdin.flush()
        wait_until(lambda: wav.exists() and wav.stat().st_size > SAMPLES_PER_CHARACTER, process)
        process.stdin.write(b"And the second.")
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out) == (0, b""), err
    assert spoken(wav) == [(0, 16 * SAMPLES_PER_CHARACTER), (0, 15 * SAMPLES_PER_CHARACTER)]


def test_raw_audio_goes_to_a_pipe(simulator):
    with voicetrio("say", "Hello.", "-o", "-", "--base-url", simulator.url) as process:
        pcm, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert [(run.start, run.length) for run in read_tags(pcm)] == [(0, 6 * SAMPLES_PER_CHARACTER)]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_interrupts_the_turn_and_leaves_what_was_spoken(strict_simulator, tmp_path, signum, status):
    wav, environment = tmp_path / "out.wav", {"DEEPGRAM_API_KEY": "right"}
    with voicetrio("say", "--json", "-o", wav, "--base-url", strict_simulator.url, env=environment) as process:
        process.stdin.write(b"A line.\n")  # more would follow, so the turn does not end by itself
        process.stdin.flush()
        wait_until(lambda: wav.exists() and wav.stat().st_size > SAMPLES_PER_CHARACTER, process)
        process.send_signal(signum)
        process.wait(PATIENCE)  # although its standard input is open
        report, err = json.loads(process.stdout.read()), process.stderr.read()

    assert (process.returncode, err) == (status, b"")
    assert report["outcome"] == "interrupted"
    assert 0 < report["samples"] <= 8 * SAMPLES_PER_CHARACTER
    assert spoken(wav) == [(0, report["samples"])]


def test_a_second_signal_during_the_goodbye_costs_nothing(tmp_path):
    """The server does not answer a Close, so there is a goodbye of 0.3 s."""
    wav, log = tmp_path / "out.wav", tmp_path / "log.jsonl"
    with simulate("deepgram", log, "-O", "speed=1", "-O", "never_close=yes") as simulator:

        def parting():
            return any(record["data"].get("name") == "never_close" for record in simulator.log())

        with voicetrio("say", "--json", "-o", wav, "--base-url", simulator.url) as process:
            process.stdin.write(b"A line.\n")
            process.stdin.flush()
            wait_until(lambda: wav.exists() and wav.stat().st_size > SAMPLES_PER_CHARACTER, process)
            process.send_signal(signal.SIGINT)
            wait_until(parting, process)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, err) == (143, b"")
    assert spoken(wav) == [(0, json.loads(out)["samples"])]
    assert wav.stat().st_size == 44 + 2 * json.loads(out)["samples"]


def test_a_pipe_cannot_be_a_wav_file(run, simulator, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    status, out, err = run("say", "Hi", "-o", pipe, "--base-url", simulator.url)

    assert (status, out) == (2, "")
    assert is_one_complaint(err)
    assert "is a pipe" in err


def test_where_nothing_can_be_written_is_found_out_before_anything_is_said(run, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing" / "out.wav")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for path in ("file/out.wav", "nowhere", "circle", "x" * 300, "."):
        status, out, err = run("say", "Hi", "-o", tmp_path / path, "--base-url", "ws://127.0.0.1:9")

        assert (status, out) == (2, ""), err
        assert is_one_complaint(err)


def test_a_wrong_key_is_one_line_without_the_key(run, strict_simulator, tmp_path):
    key = tmp_path / "key"
    key.write_text("wrong-secret\n")

    status, out, err = run("say", "Hello.", "--json", "--api-key-file", key, "--base-url", strict_simulator.url)

    assert (status, out) == (2, "")
    assert is_one_complaint(err)
    assert "401" in err
    assert "wrong-secret" not in err


def test_the_key_comes_from_a_file(run, strict_simulator, tmp_path, monkeypatch):
    key = tmp_path / "key"
    key.write_text("right\n")
    monkeypatch.delenv("DEEPGRAM_API_KEY")

    status, _, err = run("say", "Hi", "--json", "--api-key-file", key, "--base-url", strict_simulator.url)

    assert (status, err) == (0, "")


def test_no_key_is_wrong_usage(run, monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPGRAM_API_KEY")
    wav = tmp_path / "out.wav"

    status, out, err = run("say", "Hello.", "-o", wav)

    assert (status, out) == (2, "")
    assert is_one_complaint(err)
    assert "DEEPGRAM_API_KEY" in err
    assert not wav.exists()


def test_a_refused_connection_is_the_providers_failure_and_costs_no_file(run, tmp_path):
    wav = tmp_path / "out.wav"
    wav.write_bytes(b"what was spoken before")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        status, out, err = run(
            "say",
            "Hello.",
            "-o",
            wav,
            "-O",
            "connect_timeout=5",
            "--base-url",
            f"ws://127.0.0.1:{free.getsockname()[1]}",
        )

    assert (status, out) == (1, "")
    assert is_one_complaint(err)
    assert wav.read_bytes() == b"what was spoken before"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Hi", "--json", "-O", "foo=1"], "unknown option foo"),
        (["Hi", "--json", "-O", "flush_limit=many"], "flush_limit=many: not a whole number"),
        (["Hi", "--json", "-O", "speed=9"], "speed must be from 0.7 to 1.5"),
        (["Hi", "--json", "--model", "a", "-O", "model=b"], "model is given twice"),
        (["Hi", "--json", "--rate", "0"], "sample_rate"),
        (["Hi", "--json", "--provider", "nobody"], "nobody"),
        (["Hi", "--json", "--file", "text"], "not both"),
        (["Hi"], "-o FILE"),
        (["Hi", "--json", "-o", "-"], "both want standard output"),
        (["Hi", "-o", "/nowhere/out.wav"], "/nowhere/out.wav cannot be written"),
        (["--file", "/nowhere/text", "--json"], "/nowhere/text: No such file"),
        (["Hi", "--json", "--loud"], "No such option"),
        ([" \n", "--json"], "nothing to speak"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run, arguments, complaint):
    status, out, err = run("say", *arguments)

    assert (status, out) == (2, "")
    assert is_one_complaint(err)
    assert complaint in err


def test_a_bug_is_a_traceback(run, monkeypatch):
    monkeypatch.setattr("voicetrio.cli.say._words_to_speak", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        run("say", "Hi", "--json")


def test_options_are_listed_without_the_key(run, monkeypatch):
    monkeypatch.setenv("DEEPGRAM_API_KEY", "secret")

    status, out, _ = run("say", "--list-options")

    assert status == 0
    assert "flush_limit=20  (int)\n    flushes that one connection may have" in out
    assert "connect_timeout=10.0  (float)\n    seconds that one connection may take" in out
    assert "secret" not in out


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("One. Two", ["One. ", FlushMarker(), "Two"]),
        ("One.\nTwo! Three?\n", ["One.\nTwo! Three?\n", FlushMarker()]),
        ("no end", ["no end"]),
        ("3.14 is “it.” So", ["3.14 is “it.” ", FlushMarker(), "So"]),
        ("完了。次", ["完了。", FlushMarker(), "次"]),
        ("", []),
    ],
)
def test_one_marker_follows_the_last_sentence_that_has_come(text, chunks):
    assert list(mark_sentences(text)) == chunks


def test_a_dash_is_standard_input():
    assert _words_to_speak("a dash - inside", None) == "a dash - inside"
    assert not isinstance(_words_to_speak("-", None), str)
