"""The demo's recording device, on a clock that jumps."""

import pytest
import trio

from voicetrio import open_audio_sink
from voicetrio.audio import AudioFormat
from voicetrio.cli._recorder import Recorder
from voicetrio.simulators import read_tags, tagged_pcm
from voicetrio.wav import read_wav

RATE = 24_000


@pytest.fixture
async def device(nursery):
    sink, source = open_audio_sink(RATE, max_seconds=2)
    recorder = Recorder(RATE)
    nursery.start_soon(recorder.play, source)
    return sink, recorder


async def test_a_turn_is_played_without_a_gap_at_the_pace_of_speech(autojump_clock, device):
    sink, recorder = device
    turn = sink.open_turn()
    await turn.write(tagged_pcm(0, 0, RATE))
    turn.finish()

    await recorder.played(1, RATE)

    assert trio.current_time() == pytest.approx(1.0)
    assert all(before.end == after.start for before, after in zip(recorder.agent, recorder.agent[1:], strict=False))
    assert read_tags(b"".join(piece.pcm for piece in recorder.agent)) == [(0, 0, RATE)]


async def test_the_fence_cuts_at_the_sample_that_is_being_played(autojump_clock, device):
    sink, recorder = device
    turn = sink.open_turn()
    await turn.write(tagged_pcm(0, 0, RATE))
    await trio.sleep(0.333)

    heard = turn.fence()

    assert heard == recorder.now() == recorder.agent[-1].end == round(0.333 * RATE)
    following = sink.open_turn()
    await following.write(tagged_pcm(1, 0, RATE // 10))
    following.finish()
    await recorder.played(2, RATE // 10)
    assert read_tags(b"".join(piece.pcm for piece in recorder.agent)) == [(0, 0, heard), (1, 0, RATE // 10)]


async def test_the_file_has_both_speakers_in_their_channels_at_their_times(autojump_clock, device, tmp_path):
    sink, recorder = device
    await recorder.pause(0.5)
    await recorder.hear_user(tagged_pcm(7, 0, 2400))
    turn = sink.open_turn()
    await turn.write(tagged_pcm(8, 0, 1200))
    turn.finish()
    await recorder.played(1, 1200)

    seconds = recorder.write(str(tmp_path / "out.wav"))

    fmt, pcm = read_wav(tmp_path / "out.wav")
    assert fmt == AudioFormat(RATE, 2)
    assert seconds == pytest.approx(0.5 + 0.1 + 0.05 + 0.4)
    left, right = (b"".join(pcm[i : i + 2] for i in range(2 * side, len(pcm), 4)) for side in (0, 1))
    assert read_tags(right[2 * 12000 : 2 * 14400]) == [(7, 0, 2400)]
    assert read_tags(left[2 * 14400 : 2 * 15600]) == [(8, 0, 1200)]
    assert not any(left[: 2 * 14400] + left[2 * 15600 :] + right[: 2 * 12000] + right[2 * 14400 :])
