"""The original's Denoise against the simulated ``/v1/denoise``.

The simulated denoiser turns over one bit of each sample, by which segment 0 becomes segment 33 and tells where it was.
"""

from contextlib import asynccontextmanager
from math import inf

import pytest
from gateway import settled, until
from tagged_audio import runs, tagged_pcm
from videosdk.agents.inference import Denoise

FRAME = 480  # samples of 10 ms at 48 kHz, mono
RAW, DONE = 0, 33
FAST = "latency=0.005"


class Stream:
    """A denoiser that is given one frame after the other."""

    def __init__(self, denoise):
        self.denoise = denoise
        self._given = 0

    async def give(self, frames, *, patiently=True):
        """Give so many frames; what comes out, as ``(segment, frame)``.

        Args:
            frames: how many.
            patiently: wait behind each until all that was sent is answered.
        """
        out = []
        for _ in range(frames):
            pcm = await self.denoise.denoise(tagged_pcm(0, FRAME * self._given, FRAME))
            ((segment, start, samples),) = runs(pcm)
            assert (start % FRAME, samples) == (0, FRAME)
            out.append((segment, start // FRAME))
            self._given += 1
            if patiently:
                await self.answered()
        return out

    async def answered(self):
        await until(lambda: not self.denoise._pending_chunks)


@asynccontextmanager
async def denoising(gateway, make=Denoise.aicoustics):
    denoise = make(base_url=gateway.url)
    try:
        yield Stream(denoise)
    finally:
        await denoise.aclose()


@pytest.mark.parametrize("answer", ["event", "audio", "binary"])
async def test_n2_frames_come_back_denoised_behind_a_first_one_that_was_sent_twice(simulate, answer):
    gateway = simulate(FAST, f"answer={answer}")
    async with denoising(gateway) as stream:
        assert await stream.give(10) == [(RAW, 0), (DONE, 0), *((DONE, number) for number in range(8))]
        assert await stream.give(10) == [(DONE, number) for number in range(8, 18)]
        assert stream.denoise.get_stats()["errors"] == 0
        assert stream.denoise.get_stats()["bytes_sent"] == 21 * 960
        assert stream.denoise.get_latency_stats()["min_ms"] >= 5
    assert gateway.connections == 1
    assert [data["config"] for data in gateway.log("config")] == [
        {"model": "quail-l-16khz", "sample_rate": 48_000, "channels": 1}
    ]
    assert [(data["number"], data["bytes"]) for data in gateway.log("piece")] == [(number, 960) for number in range(21)]


@pytest.mark.parametrize("option", ["numbered=no", "merge=3", "odd=yes"])
async def test_answers_cut_and_merged_come_out_in_order(simulate, option):
    gateway = simulate("latency=0.5", option, "answer=binary")
    async with denoising(gateway) as stream:
        assert await stream.give(3, patiently=False) == [(RAW, 0), (RAW, 1), (RAW, 2)]
        await until(lambda: stream.denoise._audio_buffer.qsize())
        await settled(stream.denoise._audio_buffer.qsize)
        assert await stream.give(2, patiently=False) == [(DONE, 0), (DONE, 0)]


async def test_n1_what_comes_out_goes_back_in_time(simulate):
    gateway = simulate("latency=1")
    async with denoising(gateway) as stream:
        assert await stream.give(4, patiently=False) == [(RAW, 0), (RAW, 1), (RAW, 2), (RAW, 3)]
        await stream.answered()
        assert await stream.give(4, patiently=False) == [(DONE, 0), (DONE, 0), (DONE, 1), (DONE, 2)]


async def test_n4_as_many_bytes_come_back_as_went_in(simulate):
    gateway = simulate(FAST)
    async with denoising(gateway) as stream:
        for samples in (480, 100, 480, 1_000, 7):
            assert len(await stream.denoise.denoise(tagged_pcm(0, 0, samples))) == 2 * samples
            await stream.answered()


async def test_an_error_is_answered_by_a_new_connection(simulate):
    gateway = simulate(FAST, "error_frame=2", "connections=1")
    async with denoising(gateway) as stream:
        assert await stream.give(1) == [(RAW, 0)]
        await until(lambda: stream.denoise._ws is None)
        assert stream.denoise.get_stats()["errors"] == 1
        assert await stream.give(3) == [(DONE, 0), (DONE, 0), (DONE, 1)]
    assert gateway.connections == 2


@pytest.mark.parametrize("fault", ["close_after=3", "drop_after_messages=3"])
async def test_after_a_close_the_next_frame_connects(simulate, fault):
    gateway = simulate(FAST, fault, "connections=1")
    async with denoising(gateway) as stream:
        assert await stream.give(2) == [(RAW, 0), (DONE, 0)]
        await until(lambda: stream.denoise._ws is None)
        out = await stream.give(4)
        assert out[0] == (DONE, 1)  # the last answer of the old connection; frame 0 is still owed and lost
        assert out[1:] == [(DONE, 2), (DONE, 2), (DONE, 3)]
    assert gateway.connections == 2


async def test_n6_after_five_refusals_it_does_not_try_again(simulate):
    gateway = simulate("refuse_status=503")
    async with denoising(gateway) as stream:
        assert await stream.give(10, patiently=False) == [(RAW, number) for number in range(10)]
        assert stream.denoise.get_stats()["denoise_disabled"]
    assert gateway.connections == 5


async def test_n7_sanas_is_told_16_khz_and_given_48(simulate):
    gateway = simulate(FAST)
    async with denoising(gateway, Denoise.sanas) as stream:
        stereo = bytes(2 * 2 * 960)
        assert await stream.denoise.denoise(stereo) == stereo
        await stream.answered()
    (config,) = gateway.log("config")
    assert config["config"]["sample_rate"] == 16_000
    assert {data["bytes"] for data in gateway.log("piece")} == {2 * 2 * 960}  # 20 ms of 48 kHz


async def test_n8_the_smallest_latency_is_infinite_until_there_is_one(simulate):
    async with denoising(simulate()) as stream:
        assert stream.denoise.get_latency_stats()["min_ms"] == inf


async def test_closing_does_not_say_stop(simulate):
    """It would, but its listener has by then forgotten the connection."""
    gateway = simulate(FAST)
    async with denoising(gateway) as stream:
        await stream.give(2)
    await until(lambda: gateway.log("closed"))
    assert gateway.log("stopped") == []
