"""`voicetrio chat` against simulators in other processes: real sockets, pipes and signals."""

import json
import os
import signal
import socket
from contextlib import ExitStack

import pytest
from processes import PATIENCE, simulate, voicetrio, wait_until

KEY = "sk-nobody-may-see-this"
LONG = "word " * 200
GREETING = "Hello there, how are you?"


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Start a simulator; all end with the module."""
    with ExitStack() as running:

        def start(name, *options):
            log = tmp_path_factory.mktemp("log") / "log.jsonl"
            return running.enter_context(simulate(name, log, *(part for option in options for part in ("-O", option))))

        yield start


@pytest.fixture(scope="module")
def fast(serve):
    """Says again what it was asked, at once."""
    return serve("chat", "first_token=0", "tokens_per_second=none", f"api_key={KEY}")


@pytest.fixture(scope="module")
def slow(serve):
    """Takes ten seconds for an answer of 200 words."""
    return serve("chat", "first_token=0", "tokens_per_second=20", "needs_key=no")


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    return file


@pytest.fixture
def ask(run, fast, key_file):
    """Ask the fast one."""

    def ask_it(*arguments):
        return run("chat", "--model", "m", "--base-url", fast.url, "--api-key-file", key_file, *arguments)

    return ask_it


def requests(server):
    """The bodies that a simulator has got."""
    return [json.loads(record["data"]["message"]) for record in server.log() if record["event"] == "received"]


def is_one_complaint(text):
    return text.startswith("voicetrio: ") and text.count("\n") == 1 and text.endswith("\n")


def said(messages):
    return [(message["role"], message["content"]) for message in messages]


def test_the_answer_is_on_standard_output(ask):
    assert ask(GREETING) == (0, f"{GREETING}\n", "")


def test_instruction_model_and_options_reach_the_server(ask, fast):
    status, _, err = ask("Hi.", "--system", "Be brief.", "-O", "temperature=0.2", "-O", 'extra={"x": 1}')

    assert (status, err) == (0, "")
    request = requests(fast)[-1]
    assert said(request["messages"]) == [("system", "Be brief."), ("user", "Hi.")]
    assert (request["model"], request["temperature"], request["x"]) == ("m", 0.2, 1)


def test_json_is_one_object_that_tells_what_happened(ask):
    status, out, err = ask(GREETING, "--json")

    report = json.loads(out)
    assert (status, err) == (0, "")
    assert (report["text"], report["finish_reason"], report["interrupted"]) == (GREETING, "stop", False)
    assert report["usage"]["completion_tokens"] == 5
    assert report["request_id"].startswith("req_")
    times = [report["timeline"][name] for name in ("requested", "connected", "first_token", "ended")]
    assert times[0] == 0
    assert times == sorted(times)


def test_lines_of_standard_input_are_one_conversation(fast, key_file):
    command = ("chat", "--model", "m", "--base-url", fast.url, "--api-key-file", key_file)
    with voicetrio(*command) as process:
        out, err = process.communicate("Grüße.\n\nAnd now?".encode(), timeout=PATIENCE)

    assert (process.returncode, out.decode(), err) == (0, "Grüße.\nAnd now?\n", b"")
    assert said(requests(fast)[-1]["messages"]) == [("user", "Grüße."), ("assistant", "Grüße."), ("user", "And now?")]


def test_ctrl_c_interrupts_the_answer_and_the_conversation_goes_on(slow):
    with voicetrio("chat", "--model", "m", "--base-url", slow.url) as process:
        process.stdin.write(f"{LONG}\n".encode())
        process.stdin.flush()
        begun = process.stdout.read(len("word word"))
        process.send_signal(signal.SIGINT)
        heard = begun + process.stdout.readline()
        process.stdin.write(b"Stop.\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        process.stdin.close()
        process.wait(PATIENCE)
        errors = process.stderr.read()

    assert (process.returncode, answer, errors) == (0, b"Stop.\n", b"")
    text = heard.decode().removesuffix("\n")
    assert LONG.startswith(text)
    assert len(text) < len(LONG) / 2
    assert said(requests(slow)[-1]["messages"]) == [("user", LONG), ("assistant", text), ("user", "Stop.")]
    ended = [record["data"]["interrupted"] for record in slow.log() if record["event"] == "reply_ended"]
    assert ended[-2:] == [True, False]


def test_a_terminal_is_prompted_and_ctrl_d_ends_it(slow):
    ours, theirs = os.openpty()
    with voicetrio("chat", "--model", "m", "--base-url", slow.url, stdin=theirs) as process:
        os.write(ours, b"Hi.\n")
        answer = process.stdout.readline()
        os.write(ours, b"\x04")
        out, err = process.communicate(timeout=PATIENCE)
    os.close(ours)
    os.close(theirs)

    assert (process.returncode, answer + out, err) == (0, b"Hi.\n", b"> > \n")


def test_ctrl_c_where_there_is_no_answer_ends_it(slow):
    with voicetrio("chat", "--model", "m", "--base-url", slow.url) as process:
        process.stdin.write(b"Hi.\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"Hi.\n"
        before = len(slow.log())
        process.stdin.write(b"\n")  # no question
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)  # although its standard input is open
        errors = process.stderr.read()

    assert (process.returncode, errors) == (130, b"")
    assert "request" not in [record["event"] for record in slow.log()[before:]]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_single_answer(slow, signum, status):
    with voicetrio("chat", LONG, "--model", "m", "--base-url", slow.url) as process:
        begun = process.stdout.read(len("word"))
        process.send_signal(signum)
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, err) == (status, b"")
    text = (begun + out).decode()
    assert text.endswith("\n")
    assert LONG.startswith(text.removesuffix("\n"))


def test_an_interrupted_answer_is_told_as_json(slow):
    asked = len(requests(slow))
    with voicetrio("chat", LONG, "--model", "m", "--base-url", slow.url, "--json") as process:
        wait_until(lambda: len(requests(slow)) > asked, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)

    report = json.loads(out)
    assert (process.returncode, err) == (130, b"")
    assert report["interrupted"]
    assert LONG.startswith(report["text"])
    assert report["usage"] is None


def test_a_model_behind_the_gateway_answers(serve, run, monkeypatch):
    gateway = serve("gateway", "first_token=0", "tokens_per_second=none", "api_key=a+token")
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", "a+token")
    given = ("--provider", "inference-google", "--base-url", gateway.url)

    assert run("chat", GREETING, *given) == (0, f"{GREETING}\n", "")
    assert requests(gateway)[-1]["model"] == "gemini-2.0-flash"
    assert run("chat", GREETING, *given, "--model", "other")[0] == 0
    assert requests(gateway)[-1]["model"] == "other"


def test_a_wrong_key_is_one_line_without_the_key(ask, key_file):
    key_file.write_text("wrong-secret")

    status, out, err = ask("Hi.")

    assert (status, out) == (2, "")
    assert is_one_complaint(err)
    assert "401" in err
    assert "wrong-secret" not in err


def test_a_server_that_is_not_there_is_its_failure(run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        status, out, err = run("chat", "Hi.", "--model", "m", "--base-url", url)

    assert (status, out) == (1, "")
    assert is_one_complaint(err)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Hi."], "--model"),
        (["--model", "m", "--json"], "give QUESTION"),
        (["Hi.", "--model", "m"], "OPENAI_API_KEY"),
        (["Hi.", "--model", "m", "-O", "model=n"], "model is given twice"),
        (["Hi.", "--model", "m", "-O", "temperature=9"], "temperature"),
        (["Hi.", "--model", "m", "-O", "api_key=k", "-O", "foo=1"], "unknown option foo"),
        (["Hi.", "--provider", "nobody"], "nobody"),
        (["Hi.", "--provider", "inference-google"], "VIDEOSDK_AUTH_TOKEN"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run, monkeypatch, arguments, complaint):
    for name in ("OPENAI_API_KEY", "VIDEOSDK_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    status, out, err = run("chat", *arguments)

    assert (status, out) == (2, "")
    assert is_one_complaint(err)
    assert complaint in err


def test_options_are_listed_without_the_key(run, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")

    status, out, _ = run("chat", "--list-options")

    assert status == 0
    assert "temperature=none  (float | None)\n    0 to 2." in out
    assert "secret" not in out


def test_a_simulated_model_says_nothing_aloud(run):
    status, out, err = run("simulate", "chat", "--voice")

    assert (status, out) == (2, "")
    assert "unknown option voice" in err
