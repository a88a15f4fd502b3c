"""espeak-ng in its worker process: real processes and the real clock, so every test has a deadline."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from voicetrio.simulators import EspeakVoice, VoiceError, _voice
from voicetrio.simulators._voice import _words

TEXT = "Hello from trio. Don't forget the second sentence!"


def children() -> set[int]:
    """The processes that this one has started and not reaped, zombies included."""
    task = Path("/proc/self/task")
    return {int(pid) for thread in task.iterdir() for pid in (thread / "children").read_text().split()}


def fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names are wanted


def seconds(pcm: bytes, sample_rate: int) -> float:
    return len(pcm) / 2 / sample_rate


@pytest.fixture
async def voice():
    with trio.fail_after(10):
        async with EspeakVoice() as voice:
            yield voice


@pytest.mark.parametrize("sample_rate", [8000, 22050, 24000, 48000])
async def test_a_sentence_is_spoken_at_the_rate_asked_for(voice, sample_rate):
    speech = await voice.speak(TEXT, sample_rate)

    samples = np.frombuffer(speech.pcm, "<i2").astype(float)
    assert 8 / 175 * 60 < seconds(speech.pcm, sample_rate) < 8 / 175 * 60 + 1  # 8 words, 175 a minute, and pauses
    assert np.sqrt(np.mean(samples**2)) > 500
    assert len(np.unique(samples)) > 1000


async def test_words_have_increasing_times_inside_the_audio(voice):
    speech = await voice.speak(TEXT, 24000)

    assert [word.text for word in speech.words] == TEXT.split()
    assert speech.words[0].start == 0
    assert speech.words[-1].end == pytest.approx(seconds(speech.pcm, 24000), abs=0.001)
    for word, following in zip(speech.words, speech.words[1:], strict=False):
        assert word.start < word.end == following.start


async def test_the_times_are_where_the_words_are(voice):
    """The pause between two sentences lies at the end of the word before it."""
    speech = await voice.speak("One. Two.", 24000)

    _, second = speech.words
    samples = np.abs(np.frombuffer(speech.pcm, "<i2").astype(float))
    pause = samples[int((second.start - 0.15) * 24000) : int((second.start - 0.05) * 24000)]
    start = samples[int(second.start * 24000) : int((second.start + 0.2) * 24000)]
    assert pause.max() < 100 < 2000 < start.max()


def test_words_without_a_mark_share_the_time_of_the_one_before():
    words = _words("in the $3.50 — box", [(0, 0), (7, 500), (8, 600), (15, 900)], 1.1)

    assert [(word.text, word.start, word.end) for word in words] == [
        ("in", 0, 0.25),
        ("the", 0.25, 0.5),
        ("$3.50", 0.5, 0.7),
        ("—", 0.7, 0.9),
        ("box", 0.9, 1.1),
    ]


def test_words_before_the_first_mark_begin_with_the_audio():
    assert [tuple(word) for word in _words("— hi", [(2, 300)], 1.0)] == [("—", 0, 0.3), ("hi", 0.3, 1.0)]


async def test_calls_at_once_are_spoken_in_order(voice):
    texts = ["One.", "Two two two two.", "Three three."]
    speeches = {}

    async def speak(text):
        speeches[text] = await voice.speak(text, 16000)

    async with trio.open_nursery() as nursery:
        for text in texts:
            nursery.start_soon(speak, text)

    assert {text: [word.text for word in speech.words] for text, speech in speeches.items()} == {
        text: text.split() for text in texts
    }
    assert len(speeches[texts[1]].pcm) > len(speeches[texts[2]].pcm) > len(speeches[texts[0]].pcm)


@pytest.mark.parametrize("text", ["", "  \n", "..."])
async def test_a_text_with_nothing_to_say_is_all_but_empty(voice, text):
    assert seconds((await voice.speak(text, 24000)).pcm, 24000) < 0.01


async def test_odd_characters_do_no_harm(voice):
    text = "naïve\0 \ud800 日本 😀 <b>bold</b> &amp; [[x]]"
    speech = await voice.speak(text, 24000)

    assert [word.text for word in speech.words] == text.split()


async def test_a_text_beyond_the_bound_is_refused(voice):
    with pytest.raises(ValueError, match="at most 10000"):
        await voice.speak("a" * 10_001, 24000)


async def test_after_a_cancelled_call_the_next_one_gets_its_own_speech(voice):
    long = "This goes on and on. " * 300
    for _ in range(3):
        with trio.move_on_after(0.005) as scope:
            await voice.speak(long, 24000)
        assert scope.cancelled_caught

    speech = await voice.speak("Short.", 24000)

    assert [word.text for word in speech.words] == ["Short."]
    assert seconds(speech.pcm, 24000) < 1.5


@pytest.mark.parametrize("name", ["en-gb", "fr-fr", "en-gb+klatt4", "gmw/en-US"])
async def test_voices_known_as_languages_only(name):
    with trio.fail_after(10):
        async with EspeakVoice(name) as voice:
            assert (await voice.speak("bonjour", 16000)).pcm


@pytest.mark.parametrize("name", ["klingon-xx", "en-us+nobody"])
async def test_an_unknown_voice_is_an_error_at_the_start(name):
    before = children(), fds()
    with trio.fail_after(10), pytest.raises(VoiceError, match="has no v"):
        async with EspeakVoice(name):
            pass
    assert (children(), fds()) == before


@pytest.mark.parametrize("rate", [79, 451])
def test_a_rate_that_espeak_would_not_keep_is_refused(rate):
    with pytest.raises(ValueError, match="80 to 450"):
        EspeakVoice(rate=rate)


async def test_a_higher_rate_is_faster():
    with trio.fail_after(10):
        async with EspeakVoice(rate=120) as slow, EspeakVoice(rate=300) as fast:
            slowly = await slow.speak(TEXT, 16000)
            quickly = await fast.speak(TEXT, 16000)
    assert len(slowly.pcm) > 1.7 * len(quickly.pcm)


async def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(VoiceError, match=r"pip install voicetrio\[speech\]"):
        async with EspeakVoice():
            pass


async def test_a_worker_killed_from_outside_is_a_plain_error(voice):
    await voice.speak("Hello.", 24000)
    os.kill(voice._process.pid, signal.SIGKILL)

    for _ in range(2):
        with pytest.raises(VoiceError, match="has died"):
            await voice.speak("Hello again.", 24000)


async def test_a_worker_that_takes_no_request_is_given_up(voice, monkeypatch):
    monkeypatch.setattr(_voice, "_WRITE_DEADLINE", 0.05)
    monkeypatch.setattr(_voice, "MAX_TEXT", 1_000_000)
    os.kill(voice._process.pid, signal.SIGSTOP)

    with pytest.raises(VoiceError, match="took no request"):
        await voice.speak("a pipe holds less than this " * 10_000, 24000)


async def test_leaving_the_block_ends_the_worker_and_its_pipes():
    before = children(), fds()
    with trio.fail_after(10):
        async with EspeakVoice() as voice:
            await voice.speak("Hello.", 24000)
            assert len(children()) == len(before[0]) + 1
    assert (children(), fds()) == before

    with pytest.raises(VoiceError, match="has died"):
        await voice.speak("Too late.", 24000)


async def test_a_cancelled_block_ends_the_worker_and_its_pipes():
    before = children(), fds()
    with trio.fail_after(10):
        with trio.move_on_after(0.2) as scope:
            async with EspeakVoice() as voice:
                await voice.speak("Hello.", 24000)
                os.kill(voice._process.pid, signal.SIGSTOP)  # it could not end politely
                await voice.speak("Hello.", 24000)
        assert scope.cancelled_caught
    assert (children(), fds()) == before


async def test_leaving_the_block_wakes_a_call_of_another_task():
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def speak(voice, task_status):
                task_status.started()
                with pytest.raises(VoiceError, match="its block was left"):
                    await voice.speak("Hello.", 24000)

            async with EspeakVoice() as voice:
                os.kill(voice._process.pid, signal.SIGSTOP)
                await nursery.start(lambda task_status: speak(voice, task_status))
                await trio.testing.wait_all_tasks_blocked()


async def test_the_worker_ends_when_its_stdin_does(voice):
    await voice._process.stdin.aclose()
    assert await voice._process.wait() == 0


async def test_speaking_outside_the_block_is_an_error():
    with pytest.raises(VoiceError, match="inside"):
        await EspeakVoice().speak("Hello.", 24000)
