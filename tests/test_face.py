"""The names that the package shows."""

import subprocess
import sys

import pytest

import voicetrio
from voicetrio import inference, simulators


@pytest.mark.parametrize("package", ["voicetrio", "voicetrio.inference", "voicetrio.simulators"])
def test_every_name_and_module_is_there_before_it_is_used(package):
    program = (
        f"import {package} as it\n"
        "assert set(it.__all__) <= set(dir(it))\n"
        "for home in it._HOMES: assert getattr(it, home).__name__ == f'{it.__name__}.{home}'"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("package", [voicetrio, inference, simulators])
def test_every_name_of_the_face_is_there(package):
    names = [name for home in package._HOMES.values() for name in home]

    assert sorted(names) == sorted(package.__all__)
    for name in names:
        assert getattr(package, name).__name__ in (name, "SimulatorOptions")
        assert name in dir(package)


def test_what_every_program_writes_down_is_there():
    sessions = {"TTSSession", "STTSession", "LLMSession", "DenoiseSession", "RealtimeSession"}
    assert not (sessions | {"VoiceTrioError", "ToolError"}) - set(voicetrio.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        voicetrio.no_such_name  # noqa: B018
    assert not hasattr(simulators, "no_such_name")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import voicetrio.testing.plugin", {"trio", "numpy", "httpx", "click", "rich"}),
        ("from voicetrio import DeepgramTTS, open_audio_sink", {"click", "rich", "pytest", "hypothesis", "scipy"}),
        ("from voicetrio import *", {"click", "rich", "pytest", "hypothesis", "scipy", "httpx", "trio_websocket"}),
        ("import voicetrio.simulators", {"trio", "numpy"}),
        (
            "from voicetrio.simulators import *",
            {"click", "rich", "pytest", "trustme", "cryptography", "voicetrio.tts", "voicetrio._link"},
        ),
        ("from voicetrio.simulators import LMNTSimulator", {"voicetrio.simulators.cartesia", "httpx"}),
        ("from voicetrio.cli import _application", {"numpy", "rich"}),
        ("from voicetrio.cli import say, _registry", {"httpx", "voicetrio.deepgram", "voicetrio.simulators.deepgram"}),
    ],
)
def test_importing_it_stays_light(statement, absent):
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not absent & set(done.stdout.split())


@pytest.mark.parametrize(
    "make",
    [
        lambda url: voicetrio.DeepgramTTS(api_key="k", base_url=url),
        lambda url: voicetrio.LMNTTTS(api_key="k", ws_url=url),
        lambda url: voicetrio.CartesiaTTS(api_key="k", base_url=url),
        lambda url: voicetrio.CartesiaSTT(api_key="k", base_url=url),
        lambda url: voicetrio.SmallestAITTS(api_key="k", base_url=url),
        lambda url: inference.TTS.google(token="t", base_url=url),
        lambda url: inference.STT.google(token="t", base_url=url),
        lambda url: inference.Denoise.sanas(token="t", base_url=url),
        lambda url: inference.LLM.google(token="t", base_url=url),
        lambda url: inference.Realtime.gemini(token="t", base_url=url),
    ],
)
def test_a_secret_in_a_url_is_not_shown(make):
    shown = repr(make("wss://host.test/path?token=nobody-may-see-this"))
    assert "host.test" in shown
    assert "nobody-may-see" not in shown


def test_one_name_is_one_thing():
    """Whoever imports from both places must not compare what never is equal."""
    import voicetrio.realtime

    for name in voicetrio.__all__:
        assert getattr(voicetrio.realtime, name, None) in (None, getattr(voicetrio, name)), name
