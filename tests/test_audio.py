import math

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from voicetrio.audio import AudioFormat, AudioFrame, TurnAudio, open_audio_sink
from voicetrio.errors import ConfigurationError, SinkClosed, VoiceTrioError


def ramp(count: int, start: int = 0) -> bytes:
    return (np.arange(start, start + count) % 30_000).astype("<i2").tobytes()


def drain(source) -> list[AudioFrame]:
    frames = []
    while True:
        try:
            frames.append(source.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return frames


def pcm_of(frames: list[AudioFrame]) -> bytes:
    return b"".join(frame.pcm for frame in frames)


class Device:
    """A player that keeps what it took until told otherwise."""

    def __init__(self) -> None:
        self.samples = 0
        self.dropped: list[int] = []

    def held(self) -> int:
        return self.samples

    def drop(self, samples: int) -> None:
        self.samples -= samples
        self.dropped.append(samples)


async def test_frames_have_the_chosen_length_and_the_last_may_be_short():
    sink, source = open_audio_sink(8000, frame_seconds=0.02)
    turn = sink.open_turn()
    await turn.write(ramp(400))
    turn.finish()
    frames = drain(source)

    assert [(f.samples, f.position, f.turn) for f in frames] == [(160, 0, 1), (160, 160, 1), (80, 320, 1)]
    assert pcm_of(frames) == ramp(400)
    assert frames[0].sample_rate == 8000
    assert frames[0].channels == 1
    assert frames[0].seconds == 0.02


async def test_a_frame_never_mixes_turns_and_turns_come_in_order():
    sink, source = open_audio_sink(8000)
    first, second = sink.open_turn(), sink.open_turn()
    await second.write(ramp(100, 500))
    second.finish()
    await first.write(ramp(100))
    assert drain(source) == []
    first.finish()

    assert [(f.turn, f.samples) for f in drain(source)] == [(1, 100), (2, 100)]


async def test_a_half_filled_frame_waits_for_its_rest():
    sink, source = open_audio_sink(8000, frame_seconds=0.02)
    turn = sink.open_turn()
    await turn.write(ramp(159))
    with pytest.raises(trio.WouldBlock):
        source.receive_nowait()
    await turn.write(ramp(1, 159))

    assert source.receive_nowait().pcm == ramp(160)


async def test_a_writer_waits_for_room_and_wakes_when_there_is_some(autojump_clock):
    sink, source = open_audio_sink(8000, max_seconds=0.1)
    turn = sink.open_turn()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn.write, ramp(8000))
        await trio.testing.wait_all_tasks_blocked()
        assert sink.queued_seconds == 0.1
        got = b""
        while len(got) < 16000:
            got += (await source.receive()).pcm
            await trio.testing.wait_all_tasks_blocked()
            assert sink.queued_seconds <= 0.1

    assert got == ramp(8000)


async def test_a_later_turn_does_not_take_the_room_of_an_earlier_one():
    sink, _ = open_audio_sink(8000, max_seconds=0.1)
    first, second = sink.open_turn(), sink.open_turn()
    await second.write(ramp(800))
    with trio.fail_after(1):
        await first.write(ramp(800))

    assert first.queued == second.queued == 800


async def test_the_fence_wakes_a_blocked_writer_and_lets_nothing_pass():
    sink, source = open_audio_sink(8000, max_seconds=0.1)
    turn = sink.open_turn()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turn.write, ramp(8000))
        await trio.testing.wait_all_tasks_blocked()
        assert source.receive_nowait().samples == 160
        assert turn.fence() == 160
        with pytest.raises(trio.WouldBlock):
            source.receive_nowait()
    await turn.write(ramp(100))

    assert drain(source) == []
    assert turn.heard == 160
    assert turn.fenced
    assert not turn.audible


async def test_the_fence_beats_a_reader_that_is_already_scheduled():
    """trio finishes the step of a task that was woken: the reader must look again in that step."""
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    got = []

    async def read() -> None:
        got.append(await source.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await turn.write(ramp(160))  # wakes the reader; no checkpoint follows before the fence
        turn.fence()
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        nursery.cancel_scope.cancel()


async def test_a_fence_leaves_other_turns_alone():
    sink, source = open_audio_sink(8000)
    turns = [sink.open_turn() for _ in range(3)]
    for number, turn in enumerate(turns):
        await turn.write(ramp(160, 1000 * number))
        turn.finish()
    turns[1].fence()

    assert [f.turn for f in drain(source)] == [1, 3]


async def test_held_back_audio_waits_and_then_passes():
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    await turn.write(ramp(320))
    turn.hold_back()
    assert drain(source) == []
    turn.let_pass()

    assert len(drain(source)) == 2


async def test_odd_bytes_are_carried_over():
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    data = ramp(200)
    for start, end in ((0, 1), (1, 1), (1, 4), (4, 131), (131, 400)):
        await turn.write(data[start:end])
    turn.finish()

    assert pcm_of(drain(source)) == data
    assert turn.received == turn.converted == 200


async def test_half_a_sample_at_the_end_is_dropped():
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    await turn.write(ramp(10) + b"\x01")
    turn.finish()

    assert pcm_of(drain(source)) == ramp(10)


@pytest.mark.parametrize("quality", ["sinc_fastest", "sinc_medium", "sinc_best"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
async def test_every_sample_is_accounted_for_at_any_rate(rate, quality):
    sink, source = open_audio_sink(rate, quality=quality, max_seconds=10)
    turn = sink.open_turn(AudioFormat(24_000))
    for _ in range(31):
        await turn.write(ramp(777))
    turn.finish()

    expected = round(31 * 777 * rate / 24_000)
    assert turn.converted == expected
    assert sum(f.samples for f in drain(source)) == expected


async def test_what_the_resampler_withholds_is_discarded_by_the_fence():
    sink, source = open_audio_sink(48_000)
    turn = sink.open_turn(AudioFormat(24_000))
    await turn.write(ramp(2400))
    drain(source)
    turn.fence()
    turn.finish()

    assert drain(source) == []


async def test_mono_is_copied_to_all_channels_and_nothing_else_is_mapped():
    sink, source = open_audio_sink(8000, channels=2)
    turn = sink.open_turn(AudioFormat(8000, 1))
    await turn.write(ramp(3))
    turn.finish()

    assert np.frombuffer(pcm_of(drain(source)), "<i2").tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ConfigurationError, match="channels"):
        open_audio_sink(8000, channels=1)[0].open_turn(AudioFormat(8000, 2))


async def test_the_position_heard_is_corrected_by_what_the_device_holds():
    sink, source = open_audio_sink(8000)
    device = Device()
    source.attach(device)
    turn = sink.open_turn()
    await turn.write(ramp(480))
    source.receive_nowait()
    source.receive_nowait()
    device.samples = 200
    assert turn.heard == 120

    assert turn.fence() == 120
    assert device.dropped == [200]
    assert device.samples == 0


async def test_a_device_that_holds_two_turns_keeps_the_one_that_was_not_interrupted():
    sink, source = open_audio_sink(8000)
    device = Device()
    source.attach(device)
    first, second = sink.open_turn(), sink.open_turn()
    for turn in (first, second):
        await turn.write(ramp(320))
        turn.finish()
    assert len(drain(source)) == 4
    device.samples = 500
    assert (first.heard, second.heard) == (140, 0)
    second.fence()

    assert device.dropped == [320]
    assert (first.heard, second.heard) == (140, 0)
    assert first.audible
    device.samples = 0
    assert first.heard == 320
    assert not first.audible


async def test_what_lies_beneath_another_turn_in_the_device_will_be_heard_and_is_counted_so():
    sink, source = open_audio_sink(8000)
    device = Device()
    source.attach(device)
    first, second = sink.open_turn(), sink.open_turn()
    for turn in (first, second):
        await turn.write(ramp(320))
        turn.finish()
    drain(source)
    device.samples = 500
    assert first.fence() == 320
    assert device.dropped == []
    assert second.fence() == 0
    assert device.dropped == [320]


async def test_a_device_that_fails_keeps_nothing_from_being_silenced(caplog):
    class Unplugged:
        def held(self) -> int:
            raise OSError("gone")

        def drop(self, samples: int) -> None:
            raise OSError("gone")

    sink, source = open_audio_sink(8000)
    source.attach(Unplugged())
    turn = sink.open_turn()
    await turn.write(ramp(480))
    source.receive_nowait()

    assert turn.fence() == 160
    assert drain(source) == []
    assert "gone" in caplog.text


async def test_turns_without_audio_do_not_pile_up_while_nobody_reads():
    sink, _ = open_audio_sink(8000)
    for _ in range(100):
        sink.open_turn().finish()
        sink.open_turn().fence()

    assert len(sink._turns) == 0


async def test_drained_waits_until_all_that_was_asked_for_is_taken_or_silenced(autojump_clock):
    sink, source = open_audio_sink(8000)
    first, second = sink.open_turn(), sink.open_turn()
    done = []

    async def wait() -> None:
        await sink.drained()
        done.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await first.write(ramp(320))
        await trio.sleep(1)
        first.finish()
        source.receive_nowait()
        await trio.sleep(1)
        source.receive_nowait()
        await trio.sleep(1)
        assert done == []
        start = trio.current_time()
        second.fence()
    assert done == [start]
    await sink.drained()


async def test_who_is_cancelled_by_what_silences_the_rest_has_not_drained_it(autojump_clock):
    """Or an agent would note as heard what was cut off."""
    sink, _ = open_audio_sink(8000)
    turn = sink.open_turn()
    await turn.write(ramp(320))
    turn.finish()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await sink.drained()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        turn.fence()
        scope.cancel()
    assert scope.cancelled_caught


async def test_closing_the_sink_lets_the_rest_be_heard_and_then_ends_the_source():
    sink, source = open_audio_sink(8000)
    with sink:
        turn = sink.open_turn()
        await turn.write(ramp(160))
        turn.finish()
    with pytest.raises(SinkClosed):
        sink.open_turn()

    assert [f.samples async for f in source] == [160]
    with pytest.raises(trio.EndOfChannel):
        await source.receive()


async def test_a_source_waits_for_a_turn_that_is_not_finished_when_the_sink_is_closed(autojump_clock):
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    sink.close()
    async with trio.open_nursery() as nursery:

        async def write_later() -> None:
            await trio.sleep(1)
            await turn.write(ramp(10))
            turn.finish()

        nursery.start_soon(write_later)
        assert [f.samples async for f in source] == [10]


async def test_closing_the_source_fails_the_writers_and_frees_the_queue():
    sink, source = open_audio_sink(8000, max_seconds=0.1)
    turn = sink.open_turn()
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(SinkClosed):
                await turn.write(ramp(8000))

        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        await source.aclose()
    assert turn.queued == 0
    with pytest.raises(trio.ClosedResourceError):
        await source.receive()
    with pytest.raises(SinkClosed):
        sink.open_turn()


async def test_a_cancelled_receive_takes_nothing():
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    await turn.write(ramp(160))
    with trio.CancelScope() as scope:
        scope.cancel()
        await source.receive()

    assert scope.cancelled_caught
    assert turn.taken == 0


async def test_frames_of_another_length():
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    await turn.write(ramp(1000))
    turn.finish()
    sink.close()

    assert [f.samples async for f in source.frames(0.05)] == [400, 400, 200]


async def test_the_byte_stream_gives_whole_samples_and_ends():
    sink, source = open_audio_sink(8000)
    turn = sink.open_turn()
    await turn.write(ramp(300))
    turn.finish()
    sink.close()
    stream = source.byte_stream()
    assert len(await stream.receive_some(7)) == 6
    assert len(await stream.receive_some(1)) == 2
    rest = b"".join([chunk async for chunk in stream])

    assert len(rest) == 600 - 8
    assert await stream.receive_some() == b""
    with pytest.raises(ValueError, match="max_bytes"):
        await stream.receive_some(0)
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


async def test_a_long_message_is_converted_bit_by_bit():
    """One MiB of audio must not hold up the other tasks while it is converted."""
    sink, _ = open_audio_sink(48_000, max_seconds=60)
    turn = sink.open_turn(AudioFormat(24_000))
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            steps += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await turn.write(ramp(2**19))
        nursery.cancel_scope.cancel()

    assert steps > 100


@pytest.mark.parametrize(
    "arguments",
    [
        {"sample_rate": 0},
        {"sample_rate": -8000},
        {"sample_rate": 24_000.5},
        {"channels": 0},
        {"channels": 9},
        {"max_seconds": 0},
        {"max_seconds": math.inf},
        {"max_seconds": math.nan},
        {"max_seconds": 1e300},
        {"max_seconds": None},
        {"frame_seconds": "x"},
        {"frame_seconds": 0},
        {"frame_seconds": 2, "max_seconds": 1},
        {"quality": "linear"},
    ],
)
def test_formats_and_bounds_that_cannot_be_are_refused_at_once(arguments):
    with pytest.raises(ConfigurationError) as caught:
        open_audio_sink(**arguments)
    assert isinstance(caught.value, VoiceTrioError)
    assert isinstance(caught.value, ValueError)


def test_frames_longer_than_the_bound_are_refused():
    _, source = open_audio_sink(8000, max_seconds=0.1)
    with pytest.raises(ConfigurationError):
        source.frames(0.2)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from([8000, 24_000])),
        st.tuples(st.just("write"), st.integers(0, 900)),
        st.tuples(st.just("finish"), st.integers(0, 3)),
        st.tuples(st.just("fence"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 6)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS, st.booleans())
def test_no_order_of_operations_loses_doubles_or_reorders_a_sample(operations, with_device):
    trio.run(_operate, operations, with_device)


async def _operate(operations, with_device: bool) -> None:
    sink, source = open_audio_sink(8000, max_seconds=100)
    device = Device()
    source.attach(device if with_device else None)
    turns: list[TurnAudio] = []
    heard: dict[int, bytes] = {}
    fenced: set[int] = set()
    for name, value in operations:
        if name == "open":
            turns.append(sink.open_turn(AudioFormat(value)))
        elif not turns:
            continue
        elif name == "write":
            turn = turns[-1]
            await turn.write(ramp(value, turn.received))
        elif name == "take":
            try:
                frame = source.receive_nowait()
            except trio.WouldBlock:
                continue
            assert frame.turn not in fenced
            assert frame.position == len(heard.get(frame.turn, b"")) // 2
            heard[frame.turn] = heard.get(frame.turn, b"") + frame.pcm
            device.samples += frame.samples
            device.samples -= min(device.samples, 50 * value)
        else:
            turn = turns[-1 - value % len(turns)]
            if name == "finish":
                turn.finish()
            else:
                turn.fence()
                fenced.add(turn.number)
    for turn in turns:
        turn.finish()
        assert 0 <= turn.heard <= turn.taken <= turn.converted
        assert turn.taken == len(heard.get(turn.number, b"")) // 2
        if turn.format.sample_rate == 8000 and turn.number in heard:
            assert ramp(turn.received).startswith(heard[turn.number])
    for frame in drain(source):
        assert frame.turn not in fenced
        heard[frame.turn] = heard.get(frame.turn, b"") + frame.pcm
    for turn in turns:
        if turn.number not in fenced:
            assert len(heard.get(turn.number, b"")) // 2 == turn.converted
            assert turn.converted == round(turn.received * 8000 / turn.format.sample_rate)
