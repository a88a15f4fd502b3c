"""`voicetrio say` through the inference gateway, simulated in another process."""

import json

import pytest
from processes import FAST, SAMPLES_PER_CHARACTER, simulate

from voicetrio import read_wav

TOKEN = "a+token"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    with simulate("gateway", log, "-O", f"api_key={TOKEN}", *FAST) as running:
        yield running


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)


@pytest.mark.parametrize("vendor", ["google", "sarvam", "cartesia", "deepgram"])
def test_each_vendor_speaks(run, gateway, tmp_path, vendor):
    wav = tmp_path / "out.wav"

    status, _, err = run(
        "say", "Hello from trio.", "-o", wav, "--provider", f"inference-{vendor}", "--base-url", gateway.url
    )

    assert status == 0, err
    assert len(read_wav(wav)[1]) // 2 == 16 * SAMPLES_PER_CHARACTER


def test_model_voice_and_configuration_reach_the_vendor(run, gateway):
    given = ["--model", "Neural2", "--voice", "A", "-O", "speed=1.5", "-O", 'config={"effects": ["x", "y"]}']

    status, out, err = run("say", "Hi.", "--json", "--provider", "inference-google", "--base-url", gateway.url, *given)

    assert status == 0, err
    assert json.loads(out)["outcome"] == "completed"
    sent = [record["data"]["message"] for record in gateway.log() if record["event"] == "received"]
    config = [json.loads(message)["data"] for message in sent if '"Neural2"' in message][-1]
    assert config["voice_name"] == "en-US-Neural2-A"
    assert (config["speed"], config["effects"]) == (1.5, ["x", "y"])


def test_any_vendor_can_be_told_all_of_it(run, gateway):
    given = ["-O", "provider=other", "-O", "model_id=m", "-O", 'config={"sample_rate": 8000}', "-O", "sample_rate=8000"]

    status, out, err = run("say", "Hi.", "--json", "--provider", "inference", "--base-url", gateway.url, *given)

    assert status == 0, err
    assert json.loads(out)["sample_rate"] == 8000


def test_a_token_can_be_in_a_file(run, gateway, tmp_path, monkeypatch):
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    given = ["--provider", "inference-google", "--base-url", gateway.url]

    assert run("say", "Hi.", "--json", "--api-key-file", file, *given)[0] == 0
    status, _, err = run("say", "Hi.", "--json", *given)
    assert status == 2
    assert "VIDEOSDK_AUTH_TOKEN" in err
    file.write_text("nobodys-token")
    status, _, err = run("say", "Hi.", "--json", "--api-key-file", file, *given)
    assert status == 2
    assert "401" in err
    assert "nobodys-token" not in err


@pytest.mark.parametrize("config", ["[1]", "x", '{"a":'])
def test_a_configuration_is_an_object(run, config):
    status, _, err = run("say", "Hi.", "--json", "--provider", "inference-google", "-O", f"config={config}")
    assert status == 2
    assert "config" in err


def test_the_options_of_a_vendor_are_listed(run):
    status, out, _ = run("say", "--list-options", "--provider", "inference-sarvam")
    assert status == 0
    assert "speaker=anushka  (str)\n    the voice." in out
    assert "options" not in out
