import numpy as np
import pytest
import samplerate
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voicetrio.errors import ConfigurationError
from voicetrio.resample import Resampler

RATES = [8000, 16000, 22050, 24000, 44100, 48000]


def noise(count: int, channels: int = 1, seed: int = 1) -> bytes:
    rng = np.random.default_rng(seed)
    return rng.integers(-32768, 32768, count * channels).astype("<i2").tobytes()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(RATES),
    st.sampled_from(RATES),
    st.sampled_from([1, 2]),
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
)
def test_the_output_is_the_same_however_the_input_is_cut(in_rate, out_rate, channels, cuts):
    data = noise(sum(cuts), channels)
    whole = Resampler(in_rate, out_rate, channels=channels)
    expected = whole.process(data) + whole.flush()
    pieces = Resampler(in_rate, out_rate, channels=channels)
    got, start = b"", 0
    for cut in cuts:
        end = start + cut * 2 * channels
        got += pieces.process(data[start:end])
        start = end
    got += pieces.flush()

    assert got == expected
    assert len(got) // (2 * channels) == round(sum(cuts) * out_rate / in_rate)


def test_no_input_is_lost_when_the_pieces_are_of_a_few_samples():
    # The converter owes one sample of output when the piece of one sample comes.
    cuts = [3, 1, 2, 1, 5, 1, 2, 1, 4, 1, 1, 5, 4, 1, 4, 2, 3, 2, 1, 1, 5, 4, 2, 5, 4, 5, 2, 4000]
    data = noise(sum(cuts))
    whole = Resampler(32_000, 24_000)
    expected = whole.process(data) + whole.flush()
    pieces = Resampler(32_000, 24_000)
    got, start = b"", 0
    for cut in cuts:
        got += pieces.process(data[2 * start : 2 * (start + cut)])
        start += cut

    assert got + pieces.flush() == expected


@pytest.mark.parametrize("quality", ["sinc_fastest", "sinc_medium", "sinc_best"])
def test_discard_forgets_everything(quality):
    resampler = Resampler(24_000, 44_100, quality=quality)
    first = resampler.process(noise(5000)) + resampler.flush()
    resampler.process(noise(1234, seed=2))
    resampler.discard()

    assert resampler.process(noise(5000)) + resampler.flush() == first


def test_full_scale_input_does_not_wrap_around():
    square = np.tile(np.repeat([32767, -32768], 37), 200).astype("<i2")
    resampler = Resampler(24_000, 48_000)
    out = np.frombuffer(resampler.process(square.tobytes()) + resampler.flush(), "<i2").astype(int)

    # Where the input has been high for long the output is high too; a wrapped sample would be of the other sign.
    middle = out[2 * 18 :: 2 * 37][:-2]
    assert (np.sign(middle) == np.resize([1, -1], len(middle))).all()


@pytest.mark.parametrize(("in_rate", "out_rate"), [(24_000, 48_000), (48_000, 16_000), (24_000, 44_100)])
def test_a_tone_stays_where_it_was_and_as_loud_as_it_was(in_rate, out_rate):
    seconds, frequency = 0.5, 1000
    tone = (10_000 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * in_rate)) / in_rate)).astype("<i2")
    resampler = Resampler(in_rate, out_rate)
    out = np.frombuffer(resampler.process(tone.tobytes()) + resampler.flush(), "<i2").astype(float)
    expected = 10_000 * np.sin(2 * np.pi * frequency * np.arange(len(out)) / out_rate)
    inner = slice(out_rate // 20, -out_rate // 20)
    error = out[inner] - expected[inner]

    assert 10 * np.log10(np.mean(expected[inner] ** 2) / np.mean(error**2)) > 60


@pytest.mark.parametrize("arguments", [(0, 8000), (8000, 0), (8000, 10**9)])
def test_rates_that_cannot_be_are_refused(arguments):
    with pytest.raises(ConfigurationError):
        Resampler(*arguments)


def test_channels_and_qualities_that_cannot_be_are_refused():
    with pytest.raises(ConfigurationError, match="channels"):
        Resampler(8000, 16000, channels=0)
    with pytest.raises(ConfigurationError, match="quality"):
        Resampler(8000, 16000, quality="zero_order_hold")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from([1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 48, 960, 3542, 4888, 6210, 9600]), min_size=5, max_size=60
    )
)
@example([8, 6210, 10, 3542, 11, 1, 4888, 7, 7955])
def test_no_input_is_lost_where_few_samples_come_of_many(cuts):
    """The wrapper's own process() drops input that is not needed to fill the output it allots."""
    data = noise(sum(cuts))
    whole = Resampler(48_000, 8000)
    expected = np.frombuffer(whole.process(data) + whole.flush(), "<i2").astype(int)
    pieces = Resampler(48_000, 8000)
    got, start = b"", 0
    for cut in cuts:
        got += pieces.process(data[2 * start : 2 * (start + cut)])
        start += cut
    got += pieces.flush()

    assert np.abs(np.frombuffer(got, "<i2") - expected).max(initial=0) <= 1


@pytest.mark.parametrize("quality", ["sinc_fastest", "sinc_medium", "sinc_best"])
@pytest.mark.parametrize(("in_rate", "out_rate"), [(48_000, 8000), (24_000, 44_100), (8000, 48_000), (44_100, 16_000)])
def test_the_output_is_that_of_converting_all_at_once(in_rate, out_rate, quality):
    data = noise(30_000)
    resampler = Resampler(in_rate, out_rate, quality=quality)
    got = np.frombuffer(resampler.process(data) + resampler.flush(), "<i2").astype(int)
    at_once = samplerate.resample(np.frombuffer(data, "<i2").astype(np.float32), out_rate / in_rate, quality)
    expected = np.clip(np.rint(at_once), -32768, 32767)
    compared = len(got) - out_rate // 50  # it drops what its filter withholds at the end

    assert np.abs(got[:compared] - expected[:compared]).max() <= 1
