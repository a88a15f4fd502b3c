from fractions import Fraction

import numpy as np
import pytest
import samplerate
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voicetrio._converter import AudioConverter
from voicetrio._decimator import Decimator, _coefficients, decimation
from voicetrio._format import AudioFormat
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


# ---- dividing a rate by a whole number -----------------------------------------------------------------------------

DIVIDED = [(48_000, 24_000), (48_000, 16_000), (48_000, 12_000), (48_000, 8000), (44_100, 22_050), (48_000, 4000)]


def tones(rate: int, frequencies: list[float], samples: int) -> np.ndarray:
    """Of equal level and phases of their own."""
    time = np.arange(samples) / rate
    return sum(np.sin(2 * np.pi * frequency * time + number**2) for number, frequency in enumerate(frequencies))


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal**2) / max(1e-9, np.mean(noise**2))))


def mono_of(decimator: Decimator, sound: np.ndarray) -> np.ndarray:
    """What it makes of a second and 20 ms of mono, but for 10 ms at either end, where the tones begin and end."""
    pcm = np.rint(sound).astype("<i2").tobytes()
    out = np.frombuffer(decimator.process(pcm) + decimator.flush(), "<i2").astype(float)
    edge = round(len(out) / 102)
    return out[edge:-edge]


@pytest.mark.parametrize(("in_rate", "out_rate"), DIVIDED)
def test_what_is_below_88_percent_of_the_new_band_passes_and_all_above_the_band_does_not(in_rate, out_rate):
    nyquist, samples = out_rate / 2, round(1.02 * in_rate)
    below = list(np.linspace(0.01, 0.88, 23) * nyquist)
    above = list(np.linspace(1.0, 0.99 * in_rate / out_rate, 23) * nyquist)
    level = 32_000 / 2 / len(below)
    sound = level * (tones(in_rate, below, samples) + tones(in_rate, above, samples))
    got = mono_of(Decimator(decimation(in_rate, out_rate)), sound)
    edge = (round(1.02 * out_rate) - len(got)) // 2
    expected = level * tones(out_rate, below, round(1.02 * out_rate))[edge : edge + len(got)]

    assert decibels(expected, got - expected) > 70


@pytest.mark.parametrize("share", [1.0, 1.01, 1.05, 1.2, 1.5, 2.0, 2.01, 2.5, 2.99])
def test_a_loud_tone_above_the_new_band_is_76_db_softer(share):
    sound = 32_000 * tones(48_000, [share * 8000], 48_960)

    assert decibels(sound, mono_of(Decimator(3), sound)) > 76


@pytest.mark.parametrize("hertz", [20, 1000, 3000, 5500, 6500, 7000])
def test_a_tone_in_the_new_band_stays_where_it_was_and_as_loud_as_it_was(hertz):
    got = mono_of(Decimator(3), 32_000 * tones(48_000, [hertz], 48_960))
    expected = 32_000 * tones(16_000, [hertz], 16_320)[160:-160]

    assert decibels(expected, got - expected) > 75


def test_an_offset_stays_as_it_is():
    got = mono_of(Decimator(3), np.full(48_960, -12_345))

    assert (got == -12_345).all()
    assert all(_coefficients(factor).sum() == 1 for factor in range(2, 13))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(range(2, 13)),
    st.sampled_from([(1, False), (2, False), (2, True), (3, True)]),
    st.lists(st.one_of(st.integers(0, 12), st.integers(0, 3000), st.just(960)), min_size=1, max_size=12),
)
@example(3, (2, True), [20_000, 1, 1, 20_000])  # more than one matrix product takes
@example(6, (1, False), [])
def test_a_divided_rate_gives_the_rounded_sum_bit_for_bit_however_the_input_is_cut(factor, how, cuts):
    channels, mix = how
    data, total = noise(sum(cuts), channels), sum(cuts)
    decimator = Decimator(factor, channels, mix=mix)
    got, start = b"", 0
    for cut in cuts:
        end = start + cut * 2 * channels
        got += decimator.process(data[start:end])
        start = end
    got += decimator.flush()

    coefficients = (_coefficients(factor) * 2**30).astype(np.int64)
    lanes = np.frombuffer(data, "<i2").reshape(-1, channels).T.astype(np.int64)
    lanes = lanes.sum(axis=0, keepdims=True) if mix else lanes
    reach = len(coefficients) // 2
    sums = [np.convolve(np.pad(lane, 2 * reach), coefficients)[3 * reach :: factor] for lane in lanes]
    exact = np.array(sums)[:, : round(total / factor)] / 2**30 / (channels if mix else 1)
    assert got == np.rint(exact).clip(-32768, 32767).astype("<i2").T.tobytes()


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_a_divided_rate_withholds_40_samples(factor):
    decimator = Decimator(factor)
    given = 960 * factor

    assert len(decimator.process(noise(given))) // 2 == 960 - 40
    assert len(decimator.process(noise(factor))) // 2 == 1


def test_a_decimator_that_was_told_to_forget_or_was_flushed_starts_afresh():
    decimator = Decimator(3, 2)
    first = decimator.process(noise(5000, 2)) + decimator.flush()
    again = decimator.process(noise(5000, 2)) + decimator.flush()
    decimator.process(noise(1234, 2, seed=2))
    decimator.discard()

    assert again == first
    assert decimator.process(noise(5000, 2)) + decimator.flush() == first


def test_a_divided_rate_clips_and_does_not_wrap_around():
    square = np.tile(np.repeat([32767, -32768], 48), 200).astype("<i2")
    out = np.frombuffer(Decimator(3).process(square.tobytes()), "<i2")

    assert (out.max(), out.min()) == (32767, -32768)
    assert (np.sign(out[8::32].astype(int)) == 1).all()
    assert (np.sign(out[24::32].astype(int)) == -1).all()


@pytest.mark.parametrize(
    ("in_rate", "out_rate", "factor"),
    [
        (48_000, 16_000, 3),
        (44_100, 22_050, 2),
        (96_000, 8000, 12),
        (384_000, 8000, None),
        (48_000, 48_000, None),
        (16_000, 48_000, None),
        (44_100, 16_000, None),
        (48_000, 32_000, None),
    ],
)
def test_a_rate_is_divided_where_a_whole_number_gets_there(in_rate, out_rate, factor):
    assert decimation(in_rate, out_rate) == factor


# ---- a session's audio, from any format to the provider's ----------------------------------------------------------


def test_audio_that_is_right_already_passes_untouched():
    pcm = noise(320, 2)

    assert AudioConverter(AudioFormat(16_000, 2), AudioFormat(16_000, 2)).process(pcm) is pcm


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_channels_are_averaged_and_rounded_to_the_nearest_ties_to_even(channels):
    loud = [[32767] * channels, [-32768] * channels, [1] + [0] * (channels - 1), [3] + [0] * (channels - 1)]
    pcm = np.array(loud, "<i2").tobytes() + noise(5000, channels)
    got = AudioConverter(AudioFormat(16_000, channels), AudioFormat(16_000)).process(pcm)
    samples = np.frombuffer(pcm, "<i2").reshape(-1, channels)

    assert np.frombuffer(got, "<i2").tolist() == [round(Fraction(int(sum_), channels)) for sum_ in samples.sum(axis=1)]


def test_channels_that_are_averaged_on_the_way_down_are_rounded_once():
    mean = np.rint(np.frombuffer(noise(9600), "<i2") / 4).astype("<i2")
    apart = np.stack([mean + 101, mean - 100], axis=1)  # the mean lies halfway between two samples
    converter = AudioConverter(AudioFormat(48_000, 2), AudioFormat(16_000))
    got = np.frombuffer(converter.process(apart.tobytes()) + converter.flush(), "<i2")
    double = Decimator(3, mix=True)  # of the sum, which has 16 bits here
    sums = np.frombuffer(double.process((2 * mean + 1).tobytes()) + double.flush(), "<i2")

    assert np.abs(got - sums / 2).max() <= 0.75  # half a step, and half a step of the sum


@pytest.mark.parametrize("rates", [(48_000, 16_000), (44_100, 16_000), (16_000, 16_000), (16_000, 48_000)])
@pytest.mark.parametrize("channels", [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)])
@settings(max_examples=10, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 7), st.integers(0, 4000)), min_size=1, max_size=8))
def test_a_converted_stream_is_the_same_wherever_bytes_are_cut(rates, channels, cuts):
    given_format, wanted = AudioFormat(rates[0], channels[0]), AudioFormat(rates[1], channels[1])
    width = given_format.sample_width
    data = noise(-(-sum(cuts) // width), channels[0])[: sum(cuts)]
    whole, pieces = AudioConverter(given_format, wanted), AudioConverter(given_format, wanted)
    expected = whole.process(data) + whole.flush()
    got, start = b"", 0
    for cut in cuts:
        got += pieces.process(data[start : start + cut])
        start += cut

    assert got + pieces.flush() == expected
    assert len(expected) == round(len(data) // width * rates[1] / rates[0]) * wanted.sample_width
