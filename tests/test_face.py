"""The names that the package shows."""

import subprocess
import sys

import pytest

import voicetrio


def test_every_name_of_the_face_is_there():
    names = [name for home in voicetrio._HOMES.values() for name in home]

    assert sorted(names) == sorted(voicetrio.__all__)
    for name in names:
        assert getattr(voicetrio, name).__name__ == name
        assert name in dir(voicetrio)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        voicetrio.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import voicetrio.testing.plugin", {"trio", "numpy", "httpx", "click", "rich"}),
        ("from voicetrio import DeepgramTTS, open_audio_sink", {"click", "rich", "pytest", "hypothesis", "scipy"}),
        ("from voicetrio import *", {"click", "rich", "pytest", "hypothesis", "scipy", "httpx", "trio_websocket"}),
        ("import voicetrio.simulators", {"click", "rich", "pytest", "trustme", "cryptography"}),
    ],
)
def test_importing_it_stays_light(statement, absent):
    program = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not absent & set(done.stdout.split())
