import numpy as np
import pytest

from voicetrio.simulators.tagged import POSITIONS, SEGMENTS, Run, read_tags, tagged_pcm


def samples(segment, start, count):
    return np.frombuffer(tagged_pcm(segment, start, count), "<u2").astype(np.uint32)


def test_the_bits_are_where_the_table_says():
    position, segment = 0b1_0110_0111_0101_1001_1010, 0b10110_01101
    even, odd = samples(segment, position, 2).tolist()
    assert even == 0 << 15 | 0b01101 << 10 | (position >> 1) & 1023
    assert odd == 1 << 15 | 0b10110 << 10 | position >> 11


def test_no_two_positions_of_a_segment_look_alike_over_two_samples():
    whole = samples(0, 0, POSITIONS)
    neighbours = np.sort(whole << 16 | np.roll(whole, -1))
    assert len(neighbours) == POSITIONS
    assert np.all(np.diff(neighbours))


def test_position_and_segment_use_different_bits_for_every_value():
    # So what holds for segment 0 at every position holds for every segment: the exhaustive check in two halves.
    positions = samples(0, 0, POSITIONS)
    assert not np.any(positions & 0x7C00)
    evens, odds = zip(*(samples(segment, 0, 2).tolist() for segment in range(SEGMENTS)), strict=True)
    assert not np.any((np.array(evens) | np.array(odds)) & 0x03FF)
    assert len(set(zip(evens, odds, strict=True))) == SEGMENTS
    for segment in (1, 31, 32, 1023):
        assert np.array_equal(samples(segment, 0, POSITIONS) & 0x83FF, positions)


def test_every_segment_is_read_back():
    for segment in range(SEGMENTS):
        for start in (0, 1, 2047, 2048):
            assert read_tags(tagged_pcm(segment, start, 2)) == [(segment, start, 2)]


def test_every_position_is_read_back():
    for segment in (0, 677, 1023):
        assert read_tags(tagged_pcm(segment, 0, POSITIONS)) == [(segment, 0, POSITIONS)]


def test_segments_and_positions_wrap_around():
    assert tagged_pcm(SEGMENTS + 5, POSITIONS + 7, 100) == tagged_pcm(5, 7, 100)
    over = tagged_pcm(9, POSITIONS - 10, 30)
    assert over == tagged_pcm(9, POSITIONS - 10, 10) + tagged_pcm(9, 0, 20)
    assert read_tags(over) == [(9, POSITIONS - 10, 30)]
    assert len(tagged_pcm(9, 0, 2 * POSITIONS + 3)) == 2 * (2 * POSITIONS + 3)


def test_a_negative_count_or_position_is_refused():
    for start, count in ((-1, 5), (0, -1)):
        with pytest.raises(ValueError, match="there are no"):
            tagged_pcm(0, start, count)


def test_reading_finds_what_happened_to_the_audio():
    whole = tagged_pcm(3, 0, 1000)
    assert read_tags(whole[:400] + whole[404:]) == [(3, 0, 200), (3, 202, 798)], "lost"
    assert read_tags(whole[:400] + whole[398:]) == [(3, 0, 200), (3, 199, 801)], "doubled"
    assert read_tags(whole[:400] + whole[600:800] + whole[400:600]) == [(3, 0, 200), (3, 300, 100), (3, 200, 100)]
    assert read_tags(whole + tagged_pcm(4, 17, 500)) == [(3, 0, 1000), (4, 17, 500)], "two segments"


def test_untagged_samples_have_segment_minus_one():
    silence = bytes(20)
    assert read_tags(silence) == [Run(-1, -1, 10)]
    assert read_tags(silence + tagged_pcm(1, 5, 50) + silence) == [(-1, -1, 10), (1, 5, 50), (-1, -1, 10)]
    assert read_tags(silence[:2]) == [(-1, -1, 1)]
    assert read_tags(b"") == []


def test_half_a_sample_is_refused():
    with pytest.raises(ValueError, match="3 bytes"):
        read_tags(b"abc")


@pytest.mark.parametrize("seed", range(20))
def test_random_pieces_are_found_again(seed):
    rng = np.random.default_rng(seed)
    pieces, total = [], 0
    for _ in range(rng.integers(1, 20)):
        pieces.append((int(rng.integers(SEGMENTS)), int(rng.integers(POSITIONS)), int(rng.integers(20, 500))))
        total += pieces[-1][2]
    found = read_tags(b"".join(tagged_pcm(*piece) for piece in pieces))
    assert sum(run.length for run in found) == total
    # Where two pieces meet, one sample may carry the same bits in both.
    for run, (segment, start, length) in zip(found, pieces, strict=True):
        assert run.segment == segment
        assert 0 <= run.start - start <= 1
        assert abs(run.length - length) <= 1
