import logging

import pytest
import trio

from voicetrio._attempt import Attempt
from voicetrio.audio import open_audio_sink
from voicetrio.errors import InputError, LinkClosed
from voicetrio.text import FlushMarker
from voicetrio.turn import Script, TextFailed, Timeline, Turn, Word, interruption


async def read_all(script: Script) -> list:
    chunks = []
    while (chunk := await script.chunk(len(chunks))) is not None:
        chunks.append(chunk)
    return chunks


class Stage:
    """A turn with its sink, and what happened to it."""

    def __init__(self, text="hello") -> None:
        self.sink, self.source = open_audio_sink(8000)
        self.abandoned = 0
        self.turn = Turn(Script(text), self.sink.open_turn(), self._on_abandoned)

    def _on_abandoned(self, turn: Turn) -> None:
        self.abandoned += 1
        turn.fence()

    def all_frames(self) -> list:
        frames = []
        while True:
            try:
                frames.append(self.source.receive_nowait())
            except trio.WouldBlock:
                return frames

    def frames(self) -> int:
        return len(self.all_frames())


async def test_a_string_is_one_chunk():
    script = Script("hello")
    assert not script.streamed
    assert await read_all(script) == ["hello"]


async def test_a_stream_can_be_read_again_from_the_start():
    async def tokens():
        yield "a"
        yield FlushMarker()
        yield "b"

    script = Script(tokens())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script.feed, trio.CancelScope())
        assert await read_all(script) == ["a", FlushMarker(), "b"]
    assert await read_all(script) == ["a", FlushMarker(), "b"]


async def test_a_fast_stream_is_read_no_further_than_needed():
    taken = 0

    async def tokens():
        nonlocal taken
        while True:
            taken += 1
            yield "a"

    script = Script(tokens())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script.feed, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        first = taken
        await script.chunk(0)
        await trio.testing.wait_all_tasks_blocked()
        assert taken == first + 1 < 100
        nursery.cancel_scope.cancel()


async def test_what_the_iterator_raises_comes_out_behind_what_it_gave():
    async def tokens():
        yield "a"
        raise KeyError("mine")

    script = Script(tokens())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script.feed, trio.CancelScope())
        assert await script.chunk(0) == "a"
        with pytest.raises(TextFailed) as caught:
            await script.chunk(1)
    assert isinstance(caught.value.error, KeyError)


async def test_an_iterable_that_cannot_be_iterated_fails_like_one_that_raises():
    class Broken:
        def __aiter__(self):
            raise RuntimeError("no")

    script = Script(Broken())
    await script.feed(trio.CancelScope())
    with pytest.raises(TextFailed):
        await script.chunk(0)


async def test_a_chunk_that_cannot_be_spoken_fails_the_script():
    async def tokens():
        yield "a\udfff"

    script = Script(tokens())
    await script.feed(trio.CancelScope())
    with pytest.raises(TextFailed) as caught:
        await script.chunk(0)
    assert isinstance(caught.value.error, InputError)


async def test_a_generator_that_is_not_needed_any_more_is_closed():
    closed = False

    async def tokens():
        nonlocal closed
        try:
            while True:
                yield "a"
        finally:
            await trio.lowlevel.checkpoint()
            closed = True

    script = Script(tokens())
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script.feed, trio.CancelScope())
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert closed


async def test_a_generator_that_fails_while_it_is_closed_is_logged(caplog):
    async def tokens():
        try:
            while True:
                yield "a"
        finally:
            raise KeyError("in cleanup")

    script = Script(tokens())
    with trio.CancelScope() as scope, caplog.at_level(logging.ERROR):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script.feed, trio.CancelScope())
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert "in cleanup" in caplog.text


async def test_a_generator_that_never_ends_its_cleanup_holds_nobody_up(autojump_clock):
    async def tokens():
        try:
            while True:
                yield "a"
        finally:
            with trio.CancelScope(shield=False):
                await trio.sleep(1000)

    script = Script(tokens())
    start = trio.current_time()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(script.feed, trio.CancelScope())
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert trio.current_time() - start <= 1.0


async def test_the_fence_falls_inside_cancel():
    stage = Stage()
    await stage.turn.audio.write(bytes(320))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.turn.wait)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert stage.turn.audio.fenced
        assert stage.frames() == 0
    assert stage.abandoned == 1


@pytest.mark.parametrize("deadline", [False, True])
async def test_a_cancellation_between_the_end_and_the_callers_next_step_is_in_time(deadline, mock_clock):
    """The caller cannot be aborted any more: the sink must keep the turn back until it has looked."""
    stage = Stage()
    outcome = None

    async def call(scope: trio.CancelScope) -> None:
        nonlocal outcome
        with scope:
            outcome = await stage.turn.wait()

    scope = trio.CancelScope(deadline=trio.current_time() + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, scope)
        await trio.testing.wait_all_tasks_blocked()
        await stage.turn.audio.write(bytes(320))
        stage.turn.resolve()
        assert stage.frames() == 0
        if deadline:
            mock_clock.jump(2)
        else:
            scope.cancel()
        assert stage.frames() == 0
    assert scope.cancelled_caught
    assert outcome is None
    assert stage.frames() == 0


async def test_without_a_cancellation_the_audio_passes_when_the_caller_knows():
    stage = Stage()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.turn.wait)
        await trio.testing.wait_all_tasks_blocked()
        await stage.turn.audio.write(bytes(640))
        stage.turn.resolve()
        assert stage.frames() == 0
    assert stage.frames() == 2


async def test_an_interruption_between_the_end_and_the_callers_next_step_makes_it_interrupted():
    stage = Stage()
    results = []

    async def call() -> None:
        results.append(await stage.turn.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        await stage.turn.audio.write(bytes(640))
        stage.turn.resolve()
        stage.turn.fence()
    assert [(r.outcome, r.samples) for r in results] == [("interrupted", 0)]


async def test_only_the_first_outcome_counts():
    stage = Stage()
    stage.turn.fail(LinkClosed("gone", provider="x", code=1006))
    stage.turn.fail(KeyError("later"))
    stage.turn.resolve()
    with pytest.raises(LinkClosed):
        await stage.turn.wait()


async def test_words_are_heard_when_they_ended_at_or_before_the_position():
    stage = Stage()
    stage.turn.words += [Word("one ", 0.0, 0.02), Word("two ", 0.02, 0.04), Word("three", 0.04, 0.09)]
    await stage.turn.audio.write(bytes(2 * 800))
    for _ in range(2):
        stage.source.receive_nowait()
    stage.turn.fence()
    cut = interruption([stage.turn])

    assert (cut.samples_heard, cut.samples_dropped, cut.seconds_heard, cut.text_heard) == (320, 480, 0.04, "one two")


def test_the_parts_of_a_timeline_add_up():
    timeline = Timeline(1.0, started=1.5, first_text=2.0, first_sample=2.25, fenced=3.0, ended=3.0)

    assert timeline.parts() == {"started": 0.5, "first_text": 0.5, "first_sample": 0.25, "fenced": 0.75, "ended": 0.0}
    assert sum(timeline.parts().values()) == timeline.total == 2.0
    assert timeline.time_to_first_audio == 1.25


async def test_of_an_attempts_end_and_its_failure_the_first_counts():
    for first, second in (("end", "fail"), ("fail", "end")):
        attempt = Attempt(Stage().turn, None, 1.0, 1.0)
        calls = {"end": lambda it=attempt: it.end(False), "fail": lambda it=attempt: it.fail(LinkClosed("gone"))}
        calls[first]()
        calls[second]()
        assert attempt.ended == (first == "end")
        assert (attempt.error is None) == (first == "end")


async def test_half_a_sample_at_the_end_of_what_was_reached_is_not_joined_to_what_follows():
    stage = Stage()
    await stage.turn.audio.write(b"\1\0\2\0\3")
    stage.turn.reach(5)
    await stage.turn.audio.write(b"\4\0")
    assert stage.turn.audio.received == 3
    stage.turn.audio.finish()
    assert b"".join(frame.pcm for frame in stage.all_frames()) == b"\1\0\2\0\4\0"


async def test_an_attempt_that_has_reached_something_got_somewhere():
    stage = Stage()
    attempt = Attempt(stage.turn, None, 1.0, 1.0)
    assert not attempt.got_somewhere
    stage.turn.reach(5)
    assert attempt.got_somewhere
    assert not Attempt(stage.turn, None, 1.0, 1.0).got_somewhere
