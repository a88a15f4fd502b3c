"""A slice of ``make frames``: audio through a denoiser with losses, delays and reconnections."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))
denoise_frames = importlib.import_module("denoise_frames")


@pytest.mark.parametrize("number", range(6))
def test_positions_come_out_in_order_with_no_gap_and_no_repeat(number, seed):
    outcome = denoise_frames.run_session(seed + number, 300)

    assert outcome.problem == "", outcome
    assert outcome.raw + outcome.processed > 0
