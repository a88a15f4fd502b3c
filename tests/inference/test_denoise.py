"""Denoising: every sample once, in order, processed or raw; N1 to N8 are the defects of the original."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest
import trio
import trio.testing

from voicetrio.audio import AudioFrame
from voicetrio.denoise import DenoiseSession
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    ConnectError,
    InputError,
    ProviderError,
    RateLimited,
    SessionClosed,
)
from voicetrio.inference import Denoise
from voicetrio.simulators import Faults
from voicetrio.simulators.gateway_denoise import GatewayDenoiseOptions, GatewayDenoiseSimulator
from voicetrio.simulators.tagged import read_tags, tagged_pcm

TOKEN = "a+token/that=nobody-may-see"
RATE = 48_000
FRAME = RATE // 100
RAW, MARKED = 0, 33  # what the simulator's mark makes of segment 0


def denoiser(**options: Any) -> Denoise:
    return Denoise.aicoustics(**{"token": TOKEN, "fade": 0.0, **options})


@asynccontextmanager
async def opened(
    provider: Denoise | None = None, how: tuple[int | None, int | None] = (None, None), **options: Any
) -> AsyncGenerator[tuple[DenoiseSession, Any], None]:
    faults = options.pop("faults", Faults())
    simulator = GatewayDenoiseSimulator(GatewayDenoiseOptions(api_key=TOKEN, faults=faults, **options))
    async with simulator.serve_in_memory() as server:
        url = server.url.removesuffix("/v1/denoise")
        provider = denoiser(base_url=url) if provider is None else provider
        rate, channels = how
        opening = attrs.evolve(provider, base_url=url).open(sample_rate=rate, channels=channels, dial=server.dial)
        async with opening as session:
            yield session, server


def positions(pcm: bytes, start: int = 0) -> list[tuple[int, int, int]]:
    """Runs of segment, first position and length; the positions must go on without gap, repeat or step back."""
    runs = [(run.segment, run.start, run.length) for run in read_tags(pcm)]
    for segment, begin, length in runs:
        assert segment in (RAW, MARKED), runs
        assert begin == start, runs
        start += length
    return runs


async def in_real_time(session: DenoiseSession, pcm: bytes, *, frame: int = FRAME, rate: int = RATE) -> list[bytes]:
    out = []
    for begin in range(0, len(pcm), 2 * frame):
        await trio.sleep(frame / rate)
        out.append(await session.denoise(pcm[begin : begin + 2 * frame]))
    out.append(await session.finish())
    return out


async def test_a_file_comes_out_whole_and_processed(autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, 2 * RATE + 77)
    async with opened() as (session, _):
        await session.prewarm()
        out = b"".join([await session.denoise(pcm[n : n + 5000]) for n in range(0, len(pcm), 5000)])
        out += await session.finish()
        assert await session.finish() == b""
        statistics = session.statistics()
    assert positions(out) == [(MARKED, 0, 2 * RATE + 77)]
    assert (statistics.samples_in, statistics.samples_processed, statistics.samples_raw) == (len(pcm) // 2,) * 2 + (0,)


async def test_n1_raw_and_processed_audio_never_go_back_in_time(autojump_clock: object, seed: int) -> None:
    pcm = tagged_pcm(RAW, 0, 3 * RATE)
    async with opened(latency=0.1, jitter=0.1, loss=0.1, seed=seed) as (session, _):
        out = await in_real_time(session, pcm)
    runs = positions(b"".join(out))
    assert sum(length for *_, length in runs) == 3 * RATE
    assert {segment for segment, *_ in runs} == {RAW, MARKED}


async def test_n2_each_piece_is_sent_once(autojump_clock: object) -> None:
    async with opened() as (session, server):
        await in_real_time(session, tagged_pcm(RAW, 0, RATE))
    numbers = [record["data"]["number"] for record in server.log if record["event"] == "piece"]
    assert numbers == list(range(100))


@pytest.mark.parametrize("merge", [1, 3])
@pytest.mark.parametrize("numbered", [True, False])
async def test_n3_answers_are_put_where_they_belong(autojump_clock: object, merge: int, numbered: bool) -> None:
    pcm = tagged_pcm(RAW, 0, 2 * RATE)
    async with opened(merge=merge, numbered=numbered, latency=0.02, jitter=0.02, overtaking=numbered) as (session, _):
        await session.prewarm()
        out = b"".join(await in_real_time(session, pcm))
    runs = positions(out)
    assert sum(length for *_, length in runs) == 2 * RATE
    assert sum(length for segment, _, length in runs if segment == MARKED) >= 2 * RATE - merge * FRAME


@pytest.mark.parametrize("frame", [1, 7, 160, 479, 480, 481, 960, 5000])
async def test_n4_as_many_samples_come_out_as_went_in(autojump_clock: object, frame: int) -> None:
    pcm = tagged_pcm(RAW, 0, 12_000)
    async with opened(latency=0.01) as (session, _):
        out = await in_real_time(session, pcm, frame=frame)
    delay = round(session.provider.delay * RATE)
    given = 0
    for number, piece in enumerate(out[:-1]):
        size = min(frame, 12_000 - number * frame)
        assert len(piece) // 2 == max(0, given + size - delay) - max(0, given - delay)
        given += size
    positions(b"".join(out))


async def test_n5_a_dead_link_does_not_hold_up_the_audio(autojump_clock: object) -> None:
    async with opened(faults=Faults(half_open_after=20)) as (session, _):
        pcm = tagged_pcm(RAW, 0, RATE)
        for begin in range(0, len(pcm), 2 * FRAME):
            await trio.sleep(0.01)
            before = trio.current_time()
            await session.denoise(pcm[begin : begin + 2 * FRAME])
            assert trio.current_time() - before <= 1e-6


@pytest.mark.parametrize("faults", [{"error_frame": 30}, {"drop_after_messages": 30}, {"close_after": 30}])
async def test_n6_every_failure_is_followed_by_a_new_link(autojump_clock: object, faults: dict[str, int]) -> None:
    pcm = tagged_pcm(RAW, 0, 4 * RATE)
    async with opened(faults=Faults(connections=3, **faults)) as (session, server):
        out = b"".join(await in_real_time(session, pcm))
        statistics = session.statistics()
    runs = positions(out)
    assert sum(length for *_, length in runs) == 4 * RATE
    assert statistics.errors == 3
    assert statistics.connections == server.connections == 4
    assert runs[-1][0] == MARKED
    assert statistics.samples_processed > 2 * RATE


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 1), (48_000, 2), (44_100, 2), (8_000, 1)])
async def test_n7_sanas_gets_its_stereo_at_48_khz_from_any_audio(
    autojump_clock: object, rate: int, channels: int
) -> None:
    provider = Denoise.sanas(token=TOKEN)
    tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    pcm = np.repeat(np.rint(tone).astype("<i2"), channels).tobytes()
    async with opened(provider, (rate, channels), process="none") as (session, server):
        await session.prewarm()
        out = await session.denoise(pcm) + await session.finish()
        statistics = session.statistics()
    assert statistics.samples_raw == 0
    (config,) = [record["data"]["config"] for record in server.log if record["event"] == "config"]
    assert config == {"model": "VI_G_NC3.0", "sample_rate": 16_000, "channels": 1}
    sizes = {record["data"]["bytes"] for record in server.log if record["event"] == "piece"}
    assert sizes == {48_000 // 50 * 4}
    assert len(out) == len(pcm)
    difference = np.frombuffer(out, "<i2").astype(float) - np.frombuffer(pcm, "<i2").astype(float)
    inner = slice(rate // 10 * channels, -rate // 10 * channels)
    assert np.sqrt(np.mean(difference[inner] ** 2)) < 8000 / math.sqrt(2) / 100


async def test_n8_before_there_is_data_the_latency_is_none(autojump_clock: object) -> None:
    async with opened(latency=0.03) as (session, _):
        empty = session.statistics().latency
        assert (empty.last, empty.mean, empty.min, empty.max, empty.p95) == (None,) * 5
        await session.prewarm()
        await in_real_time(session, tagged_pcm(RAW, 0, RATE))
        latency = session.statistics().latency
    for seconds in (latency.last, latency.mean, latency.min, latency.max, latency.p95):
        assert seconds == pytest.approx(0.03, abs=1e-6)


async def test_where_it_is_not_connected_the_audio_passes_raw(autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, RATE)
    async with opened(faults=Faults(handshake="refuse")) as (session, _):
        out = b"".join(await in_real_time(session, pcm))
    assert out == pcm


async def test_when_the_provider_is_back_after_a_while_it_is_used_again(autojump_clock: object) -> None:
    async with opened(faults=Faults(handshake="eof")) as (session, server):
        await in_pieces(session, 20)
        server.options = attrs.evolve(server.options, faults=Faults())
        await in_pieces(session, 25)
        out = await in_pieces(session, 1)
        assert server.connections < 60
    assert {segment for segment, *_ in read_tags(out)} == {MARKED}


async def in_pieces(session: DenoiseSession, seconds: int) -> bytes:
    """Tagged audio of so many seconds, given as it plays, in pieces of a tenth of a second."""
    out = b""
    for _ in range(10 * seconds):
        await trio.sleep(0.1)
        out += await session.denoise(tagged_pcm(RAW, session.statistics().samples_in, RATE // 10))
    return out


async def test_a_stalled_provider_is_given_up(autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, 8 * RATE)
    async with opened(faults=Faults(connections=1, accept_silent=True)) as (session, server):
        out = b"".join(await in_real_time(session, pcm))
        assert server.connections == 2
        assert session.connected
        assert session.statistics().reconnects == 1
    assert positions(out)[-1][0] == MARKED


async def test_whether_it_is_connected_and_why_not_is_told(autojump_clock: object) -> None:
    async with opened(faults=Faults(connections=6, handshake="refuse")) as (session, _):
        assert not session.connected
        assert session.trouble is None
        with pytest.raises(ProviderError) as refusal:
            await session.prewarm()
        assert session.trouble is refusal.value
        await trio.sleep(60)
        assert session.connected
        assert session.trouble is None


async def test_what_was_lost_stays_raw_and_the_numbers_tell(autojump_clock: object, seed: int) -> None:
    async with opened(loss=0.3, seed=seed) as (session, _):
        await session.prewarm()
        out = b"".join(await in_real_time(session, tagged_pcm(RAW, 0, 3 * RATE)))
        statistics = session.statistics()
    raw = sum(length for segment, _, length in positions(out) if segment == RAW)
    assert raw == statistics.samples_raw == (statistics.pieces_sent - statistics.pieces_received) * FRAME
    assert statistics.pieces_sent == 300
    assert statistics.bytes_sent == 300 * 2 * FRAME
    assert statistics.bytes_received == statistics.pieces_received * 2 * FRAME


async def test_what_comes_too_late_is_counted_and_dropped(autojump_clock: object) -> None:
    async with opened(latency=0.4) as (session, _):
        await session.prewarm()
        pcm = tagged_pcm(RAW, 0, RATE)
        out = b"".join(await in_real_time(session, pcm))
        statistics = session.statistics()
    assert out == pcm
    assert statistics.pieces_late == statistics.pieces_received > 50


@pytest.mark.parametrize("shape", ["data.error", "data", "message", "error", "plain"])
async def test_an_error_of_any_shape_costs_the_link_and_no_sample(autojump_clock: object, shape: str) -> None:
    pcm = tagged_pcm(RAW, 0, 2 * RATE)
    async with opened(faults=Faults(connections=1, error_frame=10), error_shape=shape) as (session, server):
        out = b"".join(await in_real_time(session, pcm))
        assert server.connections == 2
        assert session.statistics().errors == 1
    positions(out)
    assert len(out) == len(pcm)


async def test_a_refused_token_is_raised_and_the_audio_is_not_lost(autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, RATE)
    provider = denoiser(token="wrong-token-of-mine")
    async with opened(provider) as (session, _):
        out, taken = b"", 0
        with pytest.raises(AuthenticationError) as caught:
            while True:
                await trio.sleep(0.001)
                out += await session.denoise(pcm[2 * taken : 2 * taken + 2 * FRAME])
                taken += FRAME
        assert "wrong-token" not in repr(caught.value) + str(caught.value)
        with pytest.raises(AuthenticationError):
            await session.prewarm()
        out += await session.finish()
    assert out == pcm[: 2 * taken]


async def test_a_bad_request_is_raised(autojump_clock: object) -> None:
    async with opened(faults=Faults(refuse_status=400)) as (session, _):
        with pytest.raises(BadRequest):
            await session.prewarm()


async def test_cancelled_it_loses_nothing(autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, RATE)
    async with opened(latency=0.1) as (session, _):
        await session.prewarm()
        out = b""
        for begin in range(0, len(pcm), 9600):
            with trio.move_on_after(0.03):
                out += await session.denoise(pcm[begin : begin + 9600])
        with trio.move_on_after(0.01):
            out += await session.finish()
        out += await session.finish()
    assert sum(length for *_, length in positions(out)) == RATE


async def test_a_call_that_was_cancelled_before_it_began_has_taken_its_audio(autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, RATE)
    async with opened() as (session, _):
        out = b""
        for number, begin in enumerate(range(0, len(pcm), 2 * FRAME)):
            with trio.CancelScope() as scope:
                if number % 2:
                    scope.cancel()
                out += await session.denoise(pcm[begin : begin + 2 * FRAME])
        out += await session.finish()
    assert sum(length for *_, length in positions(out)) == RATE


async def test_who_waits_for_a_provider_out_of_reach_is_told_and_the_session_goes_on_trying(
    autojump_clock: object,
) -> None:
    async with opened(faults=Faults(connections=6, handshake="refuse")) as (session, _):
        with trio.fail_after(30), pytest.raises(ConnectError):
            await session.prewarm()
        out = await in_real_time(session, tagged_pcm(RAW, 0, 12 * RATE))
        await session.prewarm()
    runs = positions(b"".join(out))
    assert [segment for segment, *_ in runs] == [RAW, MARKED]


async def test_a_sample_may_be_cut_anywhere(autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, 5000)
    async with opened() as (session, _):
        out = b"".join([await session.denoise(pcm[n : n + 333]) for n in range(0, len(pcm), 333)])
        out += await session.finish()
    assert sum(length for *_, length in positions(out)) == 5000


async def test_frames_are_taken_if_their_format_is_the_sessions(autojump_clock: object) -> None:
    async with opened() as (session, _):
        pcm = tagged_pcm(RAW, 0, FRAME)
        assert await session.denoise(AudioFrame(pcm, RATE)) == b""
        with pytest.raises(InputError, match="16000 Hz"):
            await session.denoise(AudioFrame(pcm, 16_000))
        with pytest.raises(InputError, match="2 channels"):
            await session.denoise(AudioFrame(pcm, RATE, 2))
        assert len(await session.finish()) == len(pcm)


async def test_a_frame_within_a_sample_is_refused_and_nothing_of_it_taken(autojump_clock: object) -> None:
    async with opened() as (session, _):
        await session.denoise(tagged_pcm(RAW, 0, FRAME) + b"\1")
        with pytest.raises(InputError, match="within a sample"):
            await session.denoise(AudioFrame(bytes(2 * FRAME), RATE))
        assert len(await session.finish()) == 2 * FRAME


@pytest.mark.parametrize("audio", [5, True, 3.5, None, "words", [1, 2], np.zeros(9, np.float32)])
async def test_what_is_no_audio_is_refused(audio: Any, autojump_clock: object) -> None:
    async with opened() as (session, _):
        with pytest.raises(InputError):
            await session.denoise(audio)
        assert await session.finish() == b""


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda pcm: np.frombuffer(pcm, np.int16)])
async def test_any_buffer_of_samples_is_audio(kind: Any, autojump_clock: object) -> None:
    pcm = tagged_pcm(RAW, 0, 5000)
    async with opened() as (session, _):
        out = await session.denoise(kind(pcm)) + await session.finish()
    assert sum(length for *_, length in positions(out)) == 5000


async def test_after_its_end_a_session_is_closed(autojump_clock: object) -> None:
    async with opened() as (session, server):
        await session.prewarm()
        await session.finish()
        with pytest.raises(SessionClosed):
            await session.denoise(b"")
    for call in (session.finish, session.prewarm):
        with pytest.raises(SessionClosed):
            await call()
    assert "stopped" in [record["event"] for record in server.log]
    assert server.open_connections == 0


async def test_two_tasks_at_once_are_told(autojump_clock: object) -> None:
    async with opened(latency=0.1) as (session, _), trio.open_nursery() as nursery:
        await session.prewarm()
        nursery.start_soon(session.denoise, bytes(2 * RATE))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await session.denoise(bytes(2 * RATE))
        nursery.cancel_scope.cancel()


async def test_a_server_that_never_closes_does_not_hold_up_the_end(autojump_clock: object) -> None:
    async with opened(faults=Faults(never_close=True)) as (session, _):
        await session.prewarm()
        before = trio.current_time()
    assert trio.current_time() - before <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"sample_rate": 16_000},
        {"model_id": "quail-l-16khz", "sample_rate": 48_000},
        {"model_id": ""},
        {"fade": 0.15},
        {"fade": -1},
        {"delay": 0},
        {"channels": 0},
        {"token": ""},
        {"token": "two words"},
        {"base_url": "ftp://host"},
        {"config": {"a": object()}},
        {"config": 3},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        denoiser(**options)


@pytest.mark.parametrize("options", [{"chunk_ms": 0}, {"chunk_ms": 3000}, {"sample_rate": 11_025, "chunk_ms": 5}])
def test_pieces_must_be_whole_samples(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Denoise(provider="krisp", model_id="x", token=TOKEN, **options)


def test_it_takes_the_originals_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)
    quail = Denoise.aicoustics(model_id="quail-vf-l-16khz", channels=1, base_url=None)
    assert (quail.provider, quail.chunk_ms, quail.wire_format.sample_rate) == ("aicoustics", 10, 16_000)
    sanas = Denoise.sanas()
    assert (sanas.provider, sanas.model_id, sanas.chunk_ms) == ("sanas", "VI_G_NC3.0", 20)
    assert (sanas.wire_format.sample_rate, sanas.wire_format.channels) == (48_000, 2)
    plain = Denoise(provider="krisp", model_id="m", config={"level": 2})
    assert plain == Denoise(provider="krisp", model_id="m", config={"level": 2})
    assert hash(plain) == hash(Denoise(provider="krisp", model_id="m", config={"level": 2}))
    assert plain != Denoise(provider="krisp", model_id="m", config={"level": 3})
    assert TOKEN not in repr(plain)
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN")
    with pytest.raises(ConfigurationError, match="VIDEOSDK_AUTH_TOKEN"):
        Denoise.sanas()


async def test_channels_that_cannot_be_mapped_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        Denoise.sanas(token=TOKEN).open(sample_rate=48_000, channels=3)


async def test_a_format_is_given_by_name_and_is_the_vendors_by_default() -> None:
    """As with all that hears: two numbers in a row say nothing to who reads them."""
    with pytest.raises(TypeError):
        Denoise.sanas(token=TOKEN).open(48_000, 1)  # type: ignore[misc]
    async with Denoise.sanas(token=TOKEN, base_url="ws://127.0.0.1:9").open() as session:
        assert session.audio_format == session.provider.wire_format


# ---- odd answers, long absences, callers at the wrong moment ---------------------------------------------------------


@pytest.mark.parametrize("fault", ["error_frame", "drop_after_messages", "close_after"])
@pytest.mark.parametrize("after", [0, 1])
async def test_a_provider_that_fails_again_and_again_is_left_alone_for_longer(
    autojump_clock: object, fault: str, after: int
) -> None:
    async with opened(faults=Faults(**{fault: after})) as (session, server):
        await in_pieces(session, 20)
        assert 3 <= server.connections <= 40


async def test_without_a_link_the_audio_does_not_pile_up(autojump_clock: object) -> None:
    async with opened(faults=Faults(handshake="refuse")) as (session, _):
        await in_pieces(session, 60)
        assert len(session._pieces) <= 2 * session.provider.delay / session.provider.piece_seconds
        assert len(session._arrivals) <= 10


async def test_with_a_link_nothing_piles_up(autojump_clock: object) -> None:
    async with opened(latency=0.0) as (session, _):
        await session.prewarm()
        await in_pieces(session, 30)
        assert len(session._arrivals) <= 10
        assert len(session._pieces) <= 20


async def test_answers_in_order_may_be_cut_within_a_sample(autojump_clock: object) -> None:
    async with opened(answer="binary", odd=True) as (session, _):
        await session.prewarm()
        out = b"".join(await in_real_time(session, tagged_pcm(RAW, 0, RATE)))
    runs = positions(out)
    assert sum(length for segment, _, length in runs if segment == MARKED) >= RATE - 2 * FRAME


async def test_a_call_that_is_refused_takes_nothing(autojump_clock: object) -> None:
    async with opened(latency=0.1) as (session, _), trio.open_nursery() as nursery:
        await session.prewarm()
        nursery.start_soon(session.denoise, bytes(RATE // 2))
        await trio.testing.wait_all_tasks_blocked()
        taken = session.statistics().samples_in
        for call in (partial(session.denoise, bytes(960)), session.finish):
            with pytest.raises(trio.BusyResourceError):
                await call()
        await trio.sleep(2)
        assert session.statistics().samples_in == RATE // 4 >= taken
        await session.denoise(b"")


async def test_a_provider_that_wants_to_be_left_alone_for_years_is_asked_after_a_minute(
    autojump_clock: object,
) -> None:
    async with opened(faults=Faults(connections=1, refuse_status=429, retry_after=999_999_999)) as (session, _):
        with pytest.raises(RateLimited):
            await session.prewarm()
        await trio.sleep(61)
        await session.prewarm()


async def test_all_of_a_file_may_be_given_at_once(autojump_clock: object) -> None:
    async with opened() as (session, _):
        await session.prewarm()
        out = await session.denoise(tagged_pcm(RAW, 0, 20 * RATE)) + await session.finish()
    assert positions(out) == [(MARKED, 0, 20 * RATE)]


@pytest.mark.parametrize("spelling", ["string", "float"])
async def test_a_number_may_be_spelt_otherwise(autojump_clock: object, spelling: str, seed: int) -> None:
    async with opened(loss=0.2, seed=seed, number_as=spelling) as (session, _):
        await session.prewarm()
        out = b"".join(await in_real_time(session, tagged_pcm(RAW, 0, RATE)))
    assert sum(length for *_, length in positions(out)) == RATE


async def test_an_answer_that_is_too_long_is_not_believed(autojump_clock: object) -> None:
    async with opened(padding=99) as (session, _):
        await session.prewarm()
        out = b"".join(await in_real_time(session, tagged_pcm(RAW, 0, RATE)))
    assert sum(length for *_, length in positions(out)) == RATE


async def test_a_session_tells_the_format_of_its_audio(autojump_clock: object) -> None:
    async with opened(how=(16_000, 2)) as (session, _):
        assert (session.audio_format.sample_rate, session.audio_format.channels) == (16_000, 2)
