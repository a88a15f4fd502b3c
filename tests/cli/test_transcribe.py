"""`voicetrio transcribe`, with the gateway and Cartesia simulated in another process."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from threading import Timer

import pytest
from processes import PATIENCE, simulate, voicetrio, wait_until

from voicetrio import AudioFormat, WavWriter
from voicetrio.simulators import tagged_pcm

TOKEN = "a+token"
RATE = 16_000
QUICK = ("-O", "word_ms=50", "-O", "phrase_words=3", "-O", "pause_words=3", "-O", "latency=0")
GIVEN = ("-O", f"input_sample_rate={RATE}", "-O", "inferred_end=0.6", "--pace", "4")
WORDS = ["w0 w1 w2", "w6 w7 w8", "w12 w13 w14", "w18 w19"]


KEY = ("-O", f"api_key={TOKEN}")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with simulate("gateway", tmp_path_factory.mktemp("log") / "log.jsonl", *KEY, *QUICK) as running:
        yield running


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("CARTESIA_API_KEY", TOKEN)


@pytest.fixture
def wav(tmp_path):
    """A second of tagged audio."""
    path = tmp_path / "in.wav"
    with WavWriter(path, AudioFormat(RATE)) as writer:
        writer.write(tagged_pcm(0, 0, RATE))
    return path


def heard_by(simulator, number):
    """The tagged audio that a connection got."""
    records = [record for record in simulator.log() if record["event"] == "audio"]
    return [record["data"]["runs"] for record in records if record["connection"] == number]


@pytest.mark.parametrize("vendor", ["google", "sarvam", "deepgram"])
def test_final_transcripts_are_the_lines_of_standard_output(run, gateway, wav, vendor):
    status, out, err = run("transcribe", wav, "--provider", f"inference-{vendor}", "--base-url", gateway.url, *GIVEN)

    assert status == 0, err
    assert out.splitlines() == WORDS
    assert err == "1.0 s transcribed, 1 connection(s); the end is inferred: the provider does not tell it\n"
    number = [record["connection"] for record in gateway.log() if record["event"] == "request"][-1]
    heard = partial(heard_by, gateway, number)
    wait_until(heard, gateway.process)  # it is told when the connection has ended
    assert heard() == [[[0, 0, RATE]]]


def test_cartesia_tells_its_end(run, tmp_path, wav):
    options = (*QUICK[:-2], "-O", "flush_done=normal")
    with simulate("cartesia", tmp_path / "log.jsonl", *KEY, *options) as running:
        host = running.url.partition("/tts")[0]
        status, out, err = run("transcribe", wav, "--base-url", host, "--pace", "4")
    assert status == 0, err
    assert out.splitlines() == WORDS
    assert err == "1.0 s transcribed, 1 connection(s)\n"


def test_events_are_objects_of_json_as_they_come(run, gateway, wav):
    status, out, _ = run(
        "transcribe", wav, "--provider", "inference-google", "--base-url", gateway.url, "--json", *GIVEN
    )

    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [event["event"] for event in events[:6]] == ["speech_started", *["transcript"] * 4, "speech_ended"]
    assert [event["kind"] for event in events[1:5]] == ["interim", "interim", "interim", "final"]
    assert (events[4]["text"], events[4]["language"], events[4]["end"]) == (" w0 w1 w2", "en-US", None)
    assert events[6]["event"] == "turn_ended"
    assert events[-1]["event"] == "finished"
    assert events[-1]["outcome"] == "completed_inferred"
    assert (events[-1]["seconds"], events[-1]["samples_sent"], events[-1]["samples_dropped"]) == (1.0, RATE, 0)


def test_model_and_lists_of_words_reach_the_vendor(run, gateway, wav):
    given = ["--model", "nova-3", "-O", "keyterm=trio, nursery", "-O", 'config={"more": [1]}']

    status, _, err = run(
        "transcribe", wav, "--provider", "inference-deepgram", "--base-url", gateway.url, *GIVEN, *given
    )

    assert status == 0, err
    config = [record["data"]["config"] for record in gateway.log() if record["event"] == "config"][-1]
    assert (config["model"], config["keyterm"], config["more"]) == ("nova-3", ["trio", "nursery"], [1])


def test_any_vendor_can_be_told_all_of_it(run, gateway, wav):
    given = ["-O", "provider=assemblyai", "--model", "m", "-O", f'config={{"input_sample_rate": {RATE}}}', *GIVEN[2:]]

    status, out, err = run("transcribe", wav, "--provider", "inference", "--base-url", gateway.url, *given)

    assert status == 0, err
    assert out.splitlines() == WORDS


def test_a_token_can_be_in_a_file(run, gateway, wav, tmp_path, monkeypatch):
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    given = ["transcribe", wav, "--provider", "inference-google", "--base-url", gateway.url, *GIVEN]

    assert run(*given, "--api-key-file", file)[0] == 0
    status, out, err = run(*given)
    assert (status, out) == (2, "")
    assert "VIDEOSDK_AUTH_TOKEN" in err
    file.write_text("nobodys-token")
    status, _, err = run(*given, "--api-key-file", file)
    assert status == 2
    assert "401" in err
    assert "nobodys-token" not in err


def test_a_provider_that_is_not_there_is_a_failure(run, wav):
    given = ["-O", "buffer_seconds=0.3", "--pace", "4"]
    status, out, err = run(
        "transcribe", wav, "--provider", "inference-google", "--base-url", "ws://127.0.0.1:9", *given
    )
    assert (status, out) == (1, "")
    assert "127.0.0.1" in err


def test_audio_that_is_lost_is_a_failure(run, tmp_path, wav):
    slow = ("-O", "handshake=slow", "-O", "handshake_delay=1")
    with simulate("gateway", tmp_path / "log.jsonl", *KEY, *QUICK, *slow) as it:
        given = [*GIVEN[:4], "--pace", "100", "-O", "buffer_seconds=0.4"]
        status, out, err = run("transcribe", wav, "--provider", "inference-google", "--base-url", it.url, *given)
    assert status == 1
    assert "w12 w13 w14" in out
    assert "0.6 s of audio were lost: send it more slowly" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a WAV file"),
        (["{wav}", "--provider", "nobody"], "nobody"),
        (["{wav}", "--pace", "0"], "pace"),
        (["{wav}", "-O", "volume=3"], "unknown option volume"),
        (["{wav}", "--provider", "inference-google", "-O", "enable_streaming=no"], "enable_streaming"),
        (["{wav}", "--base-url", "ftp://x"], "base_url"),
        (["no-such-file.wav"], "no-such-file.wav"),
        ([__file__], f"{__file__}: not a WAV file"),
        (["{wav}", "--provider", "inference"], "say what model_id and provider is: -O model_id="),
    ],
)
def test_wrong_usage(run, wav, arguments, words):
    status, out, err = run("transcribe", *[str(wav) if argument == "{wav}" else argument for argument in arguments])
    assert out == ""
    assert words in err
    assert status == (1 if "no-such" in words else 2)


def test_the_options_of_a_recognizer_are_listed(run):
    status, out, _ = run("transcribe", "--list-options", "--provider", "inference-deepgram")
    assert status == 0
    assert "endpointing=50  (int)\n    milliseconds of silence that end a phrase." in out
    assert "inferred_end=2.5  (float)\n    seconds of silence" in out
    assert "provider=" not in out  # which is what the name stands for


def test_ctrl_c_keeps_what_was_final(gateway, wav):
    given = [
        "--provider",
        "inference-google",
        "--base-url",
        gateway.url,
        "-O",
        f"input_sample_rate={RATE}",
        "--pace",
        "0.2",
    ]
    with voicetrio("transcribe", wav, *given) as process:
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert (line, rest, errors) == (b"w0 w1 w2\n", b"", b"")


def on_a_terminal(*arguments):
    """Run the command with a terminal for its standard error; gives its status, its output, and what was shown."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "voicetrio.cli", "transcribe", *map(str, arguments)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "PYTHONWARNINGS": "error"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown, deadline = bytearray(), Timer(PATIENCE, process.kill)
        deadline.start()
        with suppress(OSError):  # what a terminal says when nobody has its other side any more
            while more := os.read(ours, 1 << 16):
                shown.extend(more)
        out = process.stdout.read().decode()
        deadline.cancel()
    os.close(ours)
    return process.returncode, out, bytes(shown)


def test_what_may_still_change_is_shown_on_a_terminal(gateway, wav):
    given = [wav, "--provider", "inference-google", *GIVEN, "--base-url", gateway.url]
    status, out, shown = on_a_terminal(*given)
    assert status == 0
    assert out.splitlines() == WORDS
    assert b"w0 w1" in shown
    assert b"w0 w1 w2\n" not in shown


def test_a_terminal_shows_how_far_it_is(gateway, wav):
    given = [wav, "--provider", "inference-google", *GIVEN, "--base-url", gateway.url]
    status, _, shown = on_a_terminal(*given, "--pace", "2")
    assert status == 0
    assert b"0/1 s" in shown
    assert b"1/1 s" in shown.partition(b"0/1 s")[2]


def test_a_terminal_shows_why_there_is_no_connection(wav):
    """Otherwise nothing would be told until `finish_timeout`."""
    given = [wav, "--provider", "inference-google", "--base-url", "ws://127.0.0.1:9"]
    status, out, shown = on_a_terminal(*given, *GIVEN, "-O", "finish_timeout=1.5")
    assert (status, out) == (1, "")
    live, _, error = shown.partition(b"voicetrio: ")
    assert b"connecting" in live
    assert b"connecting again: videosdk: cannot connect to ws://127.0.0.1:9" in live
    assert b"cannot connect to ws://127.0.0.1:9" in error
