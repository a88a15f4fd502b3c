"""`voicetrio denoise`, with the gateway simulated in another process."""

import json
import signal
import socket

import pytest
from processes import PATIENCE, simulate, voicetrio, wait_until

from voicetrio import AudioFormat, WavWriter, read_wav
from voicetrio.simulators import read_tags, tagged_pcm

TOKEN = "a+token"
RATE = 16_000
QUAIL = ("--model", "quail-vf-l-16khz", "-O", f"sample_rate={RATE}", "-O", "fade=0")
MARKED = 33  # what the simulator's mark makes of segment 0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    with simulate("gateway", log, "-O", f"api_key={TOKEN}") as running:
        yield running


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)


@pytest.fixture
def wav(tmp_path):
    """A second of tagged audio, and a bit."""
    path = tmp_path / "in.wav"
    with WavWriter(path, AudioFormat(RATE)) as writer:
        writer.write(tagged_pcm(0, 0, RATE + 77))
    return path


@pytest.fixture
def result(tmp_path):
    return tmp_path / "out.wav"


def configs(simulator):
    return [each["data"]["config"] for each in simulator.log() if each["event"] == "config"]


def test_the_result_is_as_long_as_the_source_and_all_of_it_was_processed(run, gateway, wav, result):
    status, out, err = run("denoise", wav, "-o", result, "--base-url", gateway.url, *QUAIL)

    assert (status, out) == (0, ""), err
    assert err.startswith(f"100.0 % processed, the rest as it was → {result}; round trip p95 ")
    fmt, pcm = read_wav(result)
    assert fmt == AudioFormat(RATE)
    assert [(each.segment, each.start, each.length) for each in read_tags(pcm)] == [(MARKED, 0, RATE + 77)]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["--provider", "inference-aicoustics"], ("sparrow-xxs-48khz", 48_000)),
        (["--provider", "inference-sanas"], ("VI_G_NC3.0", 16_000)),
        (["--provider", "inference", "-O", "provider=krisp", "--model", "k", "-O", "chunk_ms=20"], ("k", 48_000)),
    ],
)
def test_every_vendor_gets_what_it_wants_to_know(run, gateway, wav, result, given, wanted):
    status, out, err = run("denoise", wav, "-o", result, "--base-url", gateway.url, "--json", *given)

    assert status == 0, err
    told = json.loads(out)
    assert (told["output"], told["sample_rate"], told["samples_raw"]) == (str(result), RATE, 0)
    assert len(read_wav(result)[1]) == len(read_wav(wav)[1])
    config = configs(gateway)[-1]
    assert (config["model"], config["sample_rate"]) == wanted


def test_a_provider_that_is_not_there_is_a_failure(run, wav, result):
    status, out, err = run("denoise", wav, "-o", result, "--base-url", "ws://127.0.0.1:9")
    assert (status, out) == (1, "")
    assert "cannot connect to ws://127.0.0.1:9" in err


def test_a_file_that_is_there_stays_until_there_is_a_connection(run, gateway, wav, result, tmp_path):
    result.write_bytes(b"the result of an hour")
    key = tmp_path / "key"
    key.write_text("nobodys-token")
    assert run("denoise", wav, "-o", result, "--base-url", "ws://127.0.0.1:9")[0] == 1
    assert run("denoise", wav, "-o", result, "--base-url", gateway.url, "--api-key-file", key)[0] == 2
    assert result.read_bytes() == b"the result of an hour"


def test_ctrl_c_before_there_is_a_connection_writes_nothing(wav, result):
    result.write_bytes(b"the result of an hour")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        with voicetrio("denoise", wav, "-o", result, "--base-url", url) as process:
            peer, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
            peer.close()
    assert (process.returncode, out, err) == (130, b"", b"")
    assert result.read_bytes() == b"the result of an hour"


def test_a_wrong_token_is_the_callers_to_mend(run, gateway, wav, result, tmp_path):
    key = tmp_path / "key"
    key.write_text("nobodys-token\n")
    status, _, err = run("denoise", wav, "-o", result, "--base-url", gateway.url, "--api-key-file", key)
    assert status == 2
    assert "401" in err
    assert "nobodys-token" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a WAV file"),
        (["{wav}"], "say with -o where"),
        (["{wav}", "-o", "{wav}"], "would replace SOURCE"),
        (["{wav}", "-o", "{out}/missing/clean.wav"], "cannot be written"),
        (["{wav}", "-o", "{out}", "--provider", "nobody"], "nobody"),
        (["{wav}", "-o", "{out}", "--provider", "inference"], "say what model_id and provider is: -O model_id="),
        (["{wav}", "-o", "{out}", "-O", "volume=3"], "unknown option volume"),
        (["no-such-file.wav", "-o", "{out}"], "no-such-file.wav"),
        ([__file__, "-o", "{out}"], f"{__file__}: not a WAV file"),
    ],
)
def test_wrong_usage_writes_nothing(run, wav, result, arguments, words):
    before = wav.read_bytes()
    status, out, err = run("denoise", *[each.format(wav=wav, out=result) for each in arguments])
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1
    assert status == (1 if "no-such" in words else 2)
    assert not result.exists()
    assert wav.read_bytes() == before


def test_ctrl_c_keeps_what_was_done(gateway, tmp_path, result):
    long = tmp_path / "long.wav"
    with WavWriter(long, AudioFormat(RATE)) as writer:
        writer.write(bytes(2 * RATE * 600))
    with voicetrio("denoise", long, "-o", result, "--base-url", gateway.url, *QUAIL) as process:
        wait_until(lambda: result.exists() and result.stat().st_size > 44, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"% processed" in err
    assert 0 < len(read_wav(result)[1]) < 2 * RATE * 600


def test_the_options_of_a_vendor_are_listed(run):
    status, out, _ = run("denoise", "--list-options", "--provider", "inference-sanas")
    assert status == 0
    assert "chunk_ms=20  (int)\n    milliseconds of audio in a message." in out
    assert "delay=0.15  (float)" in out
    assert "provider=" not in out  # which is what the name stands for
