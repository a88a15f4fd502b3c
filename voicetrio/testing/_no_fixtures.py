"""The fixtures of voicetrio where pytest-trio is absent: each says so when it is asked for."""

from __future__ import annotations

from typing import NoReturn

import pytest

_MESSAGE = "the fixture {} of voicetrio needs pytest-trio: pip install pytest-trio"


@pytest.fixture
def voicetrio_no_leaks() -> NoReturn:
    """Needs pytest-trio."""
    pytest.fail(_MESSAGE.format("voicetrio_no_leaks"), pytrace=False)


@pytest.fixture
def voicetrio_sweep() -> NoReturn:
    """Needs pytest-trio."""
    pytest.fail(_MESSAGE.format("voicetrio_sweep"), pytrace=False)


@pytest.fixture
def deepgram_simulator() -> NoReturn:
    """Needs pytest-trio."""
    pytest.fail(_MESSAGE.format("deepgram_simulator"), pytrace=False)


@pytest.fixture
def deepgram_simulator_in_memory() -> NoReturn:
    """Needs pytest-trio."""
    pytest.fail(_MESSAGE.format("deepgram_simulator_in_memory"), pytrace=False)
