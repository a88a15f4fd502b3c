import numpy as np
import pytest

from voicetrio._delay_line import DelayLine

FADE = 4


def ramp(start: int, count: int, offset: int = 0) -> bytes:
    return (np.arange(start, start + count) + offset).astype("<i2").tobytes()


def numbers(pcm: bytes) -> list[int]:
    return np.frombuffer(pcm, "<i2").tolist()


def test_raw_samples_come_out_once_and_in_order() -> None:
    line = DelayLine(1, 0)
    line.put(ramp(0, 10))
    line.decide(4)
    assert numbers(line.take()) == [0, 1, 2, 3]
    line.put(ramp(10, 3))
    line.decide(13)
    assert numbers(line.take(final=True)) == list(range(4, 13))
    assert (line.begun, line.processed) == (13, 0)


def test_what_is_decided_stays_as_it_is() -> None:
    line = DelayLine(1, 0)
    line.put(ramp(0, 8))
    line.decide(4)
    assert line.place(2, ramp(2, 4, 1000)) == 2
    assert line.place(0, ramp(0, 4, 1000)) == 0
    line.decide(8)
    assert numbers(line.take()) == [0, 1, 2, 3, 1004, 1005, 6, 7]
    assert line.processed == 2


def test_ready_is_up_to_the_first_that_is_missing() -> None:
    line = DelayLine(1, 0)
    line.put(ramp(0, 8))
    line.place(0, ramp(0, 3))
    line.place(5, ramp(5, 3))
    assert line.ready(8) == 3
    assert line.ready(2) == 2
    line.decide(5)
    assert line.ready(8) == 8


def test_beyond_what_was_put_in_nothing_is_placed() -> None:
    line = DelayLine(1, 0)
    line.put(ramp(0, 4))
    assert line.place(2, ramp(2, 100, 50)) == 2
    assert line.place(90, ramp(90, 4)) == 0


@pytest.mark.parametrize("step", [1, 3, 7, 64])
def test_seams_are_cross_faded_however_it_is_cut(step: int) -> None:
    line = DelayLine(1, FADE)
    line.put(bytes(2 * 60))  # silence, of which the processed version is a constant
    loud = np.full(60, 1000, "<i2")
    line.place(10, loud[10:30].tobytes())
    line.place(40, loud[40:46].tobytes())
    out: list[int] = []
    for until in range(0, 60 + step, step):
        line.decide(min(until, 60))
        out += numbers(line.take())
    out += numbers(line.take(final=True))
    assert len(out) == 60
    assert out[:10] == [0] * 10
    assert out[10:14] == [200, 400, 600, 800]
    assert out[14:26] == [1000] * 12
    assert out[26:30] == [800, 600, 400, 200]
    assert out[30:40] == [0] * 10
    assert out[40:46] == [200, 400, 600, 600, 400, 200]
    assert out[46:] == [0] * 14


def test_where_the_stream_begins_and_ends_there_is_no_seam() -> None:
    line = DelayLine(1, FADE)
    line.put(bytes(2 * 20))
    line.place(0, np.full(20, 1000, "<i2").tobytes())
    line.decide(20)
    assert numbers(line.take() + line.take(final=True)) == [1000] * 20


def test_a_sample_goes_out_a_fade_later_than_it_is_decided() -> None:
    line = DelayLine(1, FADE)
    line.put(ramp(0, 10))
    line.decide(6)
    assert numbers(line.take()) == [0, 1]
    assert numbers(line.take(final=True)) == [2, 3, 4, 5]


def test_channels_fade_together() -> None:
    line = DelayLine(2, FADE)
    line.put(bytes(4 * 20))
    line.place(5, np.tile(np.array([1000, -500], "<i2"), 15).tobytes())
    line.decide(20)
    pairs = np.frombuffer(line.take() + line.take(final=True), "<i2").reshape(-1, 2)
    assert pairs[5:9].tolist() == [[200, -100], [400, -200], [600, -300], [800, -400]]
    assert pairs[9:].tolist() == [[1000, -500]] * 11


def test_against_a_model_that_knows_the_whole_stream(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        total, fade = int(rng.integers(1, 200)), int(rng.integers(0, 9))
        raw = rng.integers(-32768, 32768, total).astype("<i2")
        better = rng.integers(-32768, 32768, total).astype("<i2")
        have = np.repeat(rng.random(total // 10 + 1) < 0.6, 10)[:total]
        line, out = DelayLine(1, fade), b""
        line.put(raw.tobytes())
        for position in np.flatnonzero(have):
            line.place(int(position), better[position : position + 1].tobytes())
        while line.decided < total:
            line.decide(min(total, line.decided + int(rng.integers(1, 40))))
            out += line.take()
        out += line.take(final=True)
        missing = [-(10**9), *np.flatnonzero(~have).tolist(), 10**9]
        for index in range(total):
            near = min(abs(index - gap) for gap in missing)
            weight = min(1.0, near / (fade + 1)) if have[index] else 0.0
            wanted = raw[index] + (float(better[index]) - float(raw[index])) * weight
            assert abs(np.frombuffer(out, "<i2")[index] - wanted) <= 1, (index, fade)
