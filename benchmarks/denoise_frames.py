"""A million frames of tagged audio through a denoiser, with losses, delays and reconnections: ``make frames``.

What comes out must be positions 0, 1, 2, …: no gap, no repeat, no step back.  In memory under virtual time; sessions of
ten thousand frames, in as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import attrs
import numpy as np
import trio
import trio.testing
from rich.progress import track

from voicetrio.inference import Denoise
from voicetrio.simulators import Faults
from voicetrio.simulators.gateway_denoise import GatewayDenoiseOptions, GatewayDenoiseSimulator
from voicetrio.simulators.tagged import tagged_pcm

FRAMES = 10_000
"""Frames of a session, of ten milliseconds each."""

RATE = 16_000
FRAME = RATE // 100
MARKED = 33
"""What the simulator's mark makes of segment 0."""


@attrs.frozen
class Outcome:
    """Of one session, in samples, pieces and links."""

    seed: int
    raw: int
    processed: int
    connections: int
    problem: str = ""


def run_session(seed: int, frames: int) -> Outcome:
    """One session; everything in it is drawn from its seed."""
    return trio.run(_run, seed, frames, clock=trio.testing.MockClock(autojump_threshold=0))


async def _run(seed: int, frames: int) -> Outcome:
    rng = random.Random(seed)
    options = GatewayDenoiseOptions(
        latency=rng.choice((0.0, 0.02, 0.08, 0.14)),
        jitter=rng.choice((0.0, 0.05, 0.2)),
        loss=rng.choice((0.0, 0.01, 0.3)),
        seed=seed,
        overtaking=rng.random() < 0.5,
    )
    async with GatewayDenoiseSimulator(options).serve_in_memory(history=10) as server:
        provider = Denoise.aicoustics(
            model_id="quail-l-16khz",
            sample_rate=RATE,
            token="a-token",
            fade=0.0,
            base_url=server.url.removesuffix("/v1/denoise"),
        )
        async with provider.open(dial=server.dial) as session:
            at, given, problem = 0, 0, ""
            for number in range(frames + 1):
                if rng.random() < 0.001:
                    kind = rng.choice(("drop_after_messages", "close_after", "error_frame", "drop_after_bytes"))
                    server.options = attrs.evolve(options, faults=Faults(**{kind: rng.randrange(20)}))
                elif rng.random() < 0.01:
                    server.options = options
                if number == frames:
                    out = await session.finish()
                else:
                    await trio.sleep(0.01 * rng.choice((0.5, 1, 1, 1.5)))
                    size = rng.choice((FRAME, FRAME, FRAME // 2, 2 * FRAME, rng.randrange(1, 3 * FRAME)))
                    out = await session.denoise(tagged_pcm(0, given, size))
                    given += size
                if (wrong := _first_wrong(out, at)) is not None:
                    problem = problem or f"frame {number}: position {at + wrong} is not where it should be"
                at += len(out) // 2
            if at != given:
                problem = problem or f"{given} samples in, {at} out"
            done = session.statistics()
    return Outcome(seed, done.samples_raw, done.samples_processed, done.connections, problem)


def _first_wrong(pcm: bytes, start: int) -> int | None:
    """The index of the first sample that is neither the raw nor the processed one of its position."""
    samples = np.frombuffer(pcm, "<i2")
    fits = [np.frombuffer(tagged_pcm(segment, start, len(samples)), "<i2") == samples for segment in (0, MARKED)]
    wrong = np.flatnonzero(~(fits[0] | fits[1]))
    return int(wrong[0]) if len(wrong) else None


def main() -> None:
    """Run the sessions and tell what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    arguments = parser.parse_args()
    sessions = -(-arguments.frames // FRAMES)
    began = time.perf_counter()
    print(f"seed {arguments.seed}")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run_session, arguments.seed + number, FRAMES) for number in range(sessions)]
        outcomes = list(_results(track(futures, "sessions")))
    bad = [outcome for outcome in outcomes if outcome.problem]
    for outcome in bad[:10]:
        print(f"--seed {outcome.seed} --frames {FRAMES}: {outcome.problem}")
    raw, processed = sum(each.raw for each in outcomes), sum(each.processed for each in outcomes)
    print(f"{sessions * FRAMES:,} frames, {raw + processed:,} samples: {processed:,} processed, {raw:,} raw")
    print(f"{sum(each.connections for each in outcomes):,} connections, {time.perf_counter() - began:.0f} s")
    print(f"sessions with a gap, a repeat or a step back: {len(bad)}")
    raise SystemExit(bool(bad))


def _results(futures: Iterator) -> Iterator[Outcome]:
    for future in futures:
        yield future.result()


if __name__ == "__main__":
    main()
