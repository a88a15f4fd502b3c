"""One seed for everything that is left to chance, printed so that a failing run can be run again exactly."""

import gc
import os
import random
from collections.abc import Generator

import pytest
import trio

collect_ignore = ["outside"]  # it runs in an environment of its own: `make outside`

_SEED = int(os.environ.get("VOICETRIO_SEED") or random.SystemRandom().randrange(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"voicetrio: VOICETRIO_SEED={_SEED}"


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are cores: some tests wait for other processes."""
    return (yield) + ("PYTEST_XDIST_AUTO_NUM_WORKERS" not in os.environ)


def pytest_collection_finish() -> None:
    """Keep what is imported and collected from the garbage collector, and from checks that look at every object."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> int:
    """Seed jitter and the order in which trio runs tasks, for each test: it fails alone as it failed in the run."""
    seed = random.Random(f"{_SEED}/{request.node.nodeid}").randrange(2**32)
    print(f"VOICETRIO_SEED={_SEED}")  # noqa: T201 - shown if the test fails
    random.seed(seed)
    trio._core._run._r.seed(seed)
    return seed
