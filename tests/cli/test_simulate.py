"""`voicetrio simulate` as a process."""

import signal
import socket

import pytest
from processes import FAST, PATIENCE, simulate, voicetrio


def test_the_url_is_the_first_line_and_the_log_is_lines_of_json(tmp_path, run):
    with simulate("deepgram", tmp_path / "log", *FAST, ending=signal.SIGINT) as simulator:
        assert simulator.url.startswith("ws://127.0.0.1:")
        assert simulator.url.endswith("/v1/speak")
        assert run("say", "Hi", "--json", "--base-url", simulator.url)[0] == 0

    log = simulator.log()
    assert [record["event"] for record in log][:3] == ["opened", "request", "accepted"]
    assert [record["data"]["text"] for record in log if record["event"] == "segment"] == ["Hi"]


def test_tls_and_a_chosen_port(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ca = tmp_path / "ca.pem"
    with simulate("deepgram", tmp_path / "log", *FAST, "--tls", "--ca-out", ca, "--port", port) as simulator:
        assert simulator.url == f"wss://127.0.0.1:{port}/v1/speak"
        assert simulator.process.stdout.readline().decode() == f"CA certificate: {ca}\n"
        how = {"env": {"SSL_CERT_FILE": str(ca)}}
        with voicetrio("say", "Hi", "--json", "--base-url", simulator.url, **how) as process:
            _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (0, b"")


def test_a_port_that_is_taken_is_one_line(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = run("simulate", "deepgram", "--port", port)

    assert (status, out) == (1, "")
    assert err == f"voicetrio: 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nobody"], "nobody"),
        (["deepgram", "-O", "speed=fast"], "speed=fast: not a number"),
        (["deepgram", "-O", "handshake=maybe"], "handshake=maybe: choose one of ok,"),
        (["deepgram", "--port", "70000"], "70000"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run, arguments, complaint):
    status, out, err = run("simulate", *arguments)

    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("voicetrio: ")
    assert complaint in err


def test_options_and_faults_are_listed(run):
    status, out, _ = run("simulate", "deepgram", "--list-options")

    assert status == 0
    assert "first_audio=0.137  (float)\n    from what asks for speech to its first audio" in out
    assert "handshake=ok  (ok|refuse|eof|silent|garbage|slow)\n    what happens" in out
