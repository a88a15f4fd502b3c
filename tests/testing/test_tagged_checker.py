"""The check of tagged audio: each fault that it counts, planted."""

from __future__ import annotations

import random

import attrs
import pytest

from voicetrio.audio import AudioFrame
from voicetrio.simulators import Segment, tagged_pcm
from voicetrio.testing import Span, TaggedError, TaggedReport, check_tagged

RATE = 24_000


def frames_of(turn, *pieces, size=480):
    """Frames of one turn that hold these (segment, start, count)."""
    pcm = b"".join(tagged_pcm(*piece) for piece in pieces)
    return [AudioFrame(pcm[at : at + 2 * size], RATE, 1, turn, at // 2) for at in range(0, len(pcm), 2 * size)]


def counts(report):
    """What is not zero, but for the number of samples."""
    return {key: value for key, value in attrs.asdict(report).items() if value and key not in ("samples", "problems")}


def test_whole_audio_has_no_problems():
    frames = [*frames_of(1, (7, 0, 5000), (8, 0, 333)), *frames_of(2, (9, 0, 1001))]

    report = check_tagged(frames, {1: [(7, 0, 5000), Span(8, 0, 333)], 2: [Segment(9, 0, "text", 1001)]})

    assert report == TaggedReport(samples=6334)
    report.raise_if_problems()


def test_no_audio_and_nothing_expected_is_fine():
    assert check_tagged([], {}) == TaggedReport()


@pytest.mark.parametrize("first", [4, 5, 960, 961, 4097])
@pytest.mark.parametrize("hole", [1, 2, 31, 480, 2048, 10_000])
def test_lost_samples_are_counted(first, hole):
    report = check_tagged(frames_of(1, (3, 0, first), (3, first + hole, 1000)), {1: [(3, 0, first + hole + 1000)]})
    assert counts(report) == {"lost": hole}


@pytest.mark.parametrize("count", [2, 3, 480, 481])
def test_doubled_samples_are_counted(count):
    report = check_tagged(frames_of(1, (3, 0, 1000), (3, 1000 - count, count), (3, 1000, 500)), {1: [(3, 0, 1500)]})

    assert counts(report) == {"doubled": count}
    assert f"turn 1: {count} samples doubled, the first at position" in report.problems[0]


def test_reordered_samples_are_counted():
    report = check_tagged(frames_of(1, (3, 0, 480), (3, 960, 480), (3, 480, 480), (3, 1440, 480)), {1: [(3, 0, 1920)]})
    assert counts(report) == {"reordered": 480}


def test_reordered_segments_are_counted():
    report = check_tagged(frames_of(1, (4, 0, 700), (3, 0, 500)), {1: [(3, 0, 500), (4, 0, 700)]})
    assert counts(report) == {"reordered": 500}


def test_samples_of_another_turn_are_stale():
    """The tail of an interrupted turn, heard in the next one."""
    report = check_tagged(
        [*frames_of(1, (3, 0, 480)), *frames_of(2, (3, 480, 96), (4, 0, 1000))],
        {1: [(3, 0, 5000)], 2: [(4, 0, 1000)]},
        interrupted={1},
    )

    assert counts(report) == {"stale": 96, "missing": 4520}
    assert report.problems == ("turn 2: 96 samples stale of segment 3 from position 480",)


def test_samples_beyond_the_end_of_a_span_are_stale():
    report = check_tagged(frames_of(1, (3, 90, 120)), {1: [(3, 100, 100)]})
    assert counts(report) == {"stale": 20}


def test_a_frame_after_a_later_turn_has_begun_is_stale():
    late, *_ = reversed(frames_of(1, (3, 0, 960)))
    report = check_tagged(
        [frames_of(1, (3, 0, 960))[0], *frames_of(2, (4, 0, 480)), late],
        {1: [(3, 0, 960)], 2: [(4, 0, 480)]},
        interrupted=[1],
    )
    assert counts(report) == {"stale": 480, "missing": 480}


def test_a_turn_that_nobody_expected_is_stale():
    assert counts(check_tagged(frames_of(5, (3, 0, 480)), {})) == {"stale": 480}


def test_missing_samples_are_right_for_an_interrupted_turn_alone():
    frames = frames_of(1, (3, 0, 480))
    expected = {1: [(3, 0, 500), (4, 0, 20)]}

    interrupted = check_tagged(frames, expected, interrupted=[1])
    whole = check_tagged(frames, expected)

    assert counts(interrupted) == counts(whole) == {"missing": 40}
    assert interrupted.problems == ()
    assert whole.problems == ("turn 1: 40 samples missing at its end",)


def test_a_hole_is_lost_in_an_interrupted_turn_too():
    report = check_tagged(frames_of(1, (3, 100, 480)), {1: [(3, 0, 5000)]}, interrupted=[1])
    assert counts(report) == {"lost": 100, "missing": 4420}


def test_a_turn_of_which_nothing_came_is_missing():
    assert counts(check_tagged([], {1: [(3, 0, 100)]})) == {"missing": 100}


def test_positions_of_frames_must_go_on_from_one_to_the_next():
    first, second, third = frames_of(1, (3, 0, 1440))
    report = check_tagged([first, attrs.evolve(second, position=479), third], {1: [(3, 0, 1440)]})

    assert counts(report) == {"misplaced": 480}
    assert "position 479 should be 480" in report.problems[0]


def test_samples_without_a_tag_are_unreadable():
    pcm = tagged_pcm(3, 0, 100) + b"\x00\x00" + tagged_pcm(3, 100, 100)
    report = check_tagged([AudioFrame(pcm, RATE, 1, 1, 0)], {1: [(3, 0, 200)]})
    assert counts(report) == {"unreadable": 1}


def test_segment_numbers_wrap_around():
    assert counts(check_tagged(frames_of(1, (1025, 0, 480)), {1: [(1025, 0, 480)]})) == {}


def test_a_span_that_cannot_be_told_from_itself_is_refused():
    with pytest.raises(ValueError, match="at most 2097152"):
        check_tagged([], {1: [(1, 0, 2**21 + 1)]})


def test_the_error_tells_the_problems_but_not_thousands():
    frames = frames_of(1, *((3, at, 10) for at in range(0, 4000, 40)))
    report = check_tagged(frames[:1] * 50, {1: [(3, 0, 4000)]})

    with pytest.raises(TaggedError, match=r"turn 1: .*misplaced") as caught:
        report.raise_if_problems()
    assert len(str(caught.value).splitlines()) == 21
    assert "more" in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_random_cuts_are_counted_as_they_were_made(seed):
    """Blocks of a turn dropped, repeated and strange, at random.

    Cuts are at even positions: where two blocks meet, a sample at an odd one may be the same for both.
    """
    chance = random.Random(seed)
    print("seed", seed)  # noqa: T201
    pieces, lost, doubled, stale, at = [], 0, 0, 0, 0
    while at < 20_000:
        count = chance.randrange(4, 3000, 2)
        match chance.choice(["keep", "keep", "drop", "repeat", "strange"]):
            case "keep":
                pieces.append((3, at, count))
            case "drop":
                lost += count
            case "repeat":
                pieces += [(3, at, count), (3, at, count)]
                doubled += count
            case "strange":
                pieces += [(3, at, count), (4, chance.randrange(1000), 50)]
                stale += 50
        at += count
    pieces.append((3, at, 100))

    report = check_tagged(frames_of(1, *pieces), {1: [(3, 0, at + 100)]})

    assert (report.lost, report.doubled, report.stale) == (lost, doubled, stale)
    assert report.reordered == report.missing == report.misplaced == report.unreadable == 0
