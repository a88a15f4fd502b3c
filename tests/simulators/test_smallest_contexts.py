"""Smallest's continuations on the wire: contexts, their releases, and what a cancel does."""

import pytest
import trio
from raw_client import EOF, Closed, runs
from smallest_client import (
    SAMPLES,
    TEXT,
    audio,
    connect,
    fragment,
    noted,
    reconfigure,
    request,
    simulated,
    status_of,
    statuses,
)

from voicetrio.simulators import tagged_pcm

CLOSE = {"text": "", "context_id": "c", "continue": False}
CANCEL = {"context_id": "c", "cancel_request": True}
PACED = {"speed": 1.0, "first_audio": 0.1}


def texts(server):
    return [segment.text for segment in server.segments]


async def say(client, *fragments, context="c", **fields):
    """A context of fragments, which is closed."""
    for each in fragments:
        await client.send(fragment(each, context, **fields))
    await client.send(CLOSE | {"context_id": context})


async def test_sentences_are_released_verbatim_and_each_is_completed(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await say(client, "Hel", "lo there", '! "Is it', ' you?" she', " asked.  I", " do", " not know", request_id="r")
        seen = await client.hear(10)
    assert texts(server) == ["Hello there!", ' "Is it you?"', " she asked.", "  I do not know"]
    assert runs(audio(seen)) == [(number, 0, 1440 * len(text)) for number, text in enumerate(texts(server))]
    assert statuses(seen).count("complete") == 4
    ids = [message["request_id"] for message in seen if status_of(message) == "complete"]
    assert len(set(ids)) == 4
    for message in seen:
        assert message["external_request_id"] == "r"
        assert "context_id" not in message


@pytest.mark.parametrize(
    ("fragments", "released"),
    [
        (["Pi is 3.14, they say."], ["Pi is 3.14, they say."]),
        (["Pi is 3.", "14."], ["Pi is 3.", "14."]),
        (["Really?! ", "Yes… (so it is.) ", "No"], ["Really?!", " Yes… (so it is.)"]),
        (["नमस्ते। 你好。 "], ["नमस्ते। 你好。"]),
        (["One. Two. Thr"], ["One. Two."]),
        (["no end", ", yet"], []),
    ],
)
async def test_where_a_sentence_ends(autojump_clock, fragments, released):
    async with simulated() as server:
        client = await connect(server)
        for each in fragments:
            await client.send(fragment(each))
        await trio.sleep(1)
        assert texts(server) == released


async def test_a_fragment_that_does_not_go_on_closes_the_context(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.send(fragment("Hello "))
        await client.send(fragment("there", **{"continue": False}))
        assert statuses(await client.until("complete")) == [17, "complete"]
        assert texts(server) == ["Hello there"]


@pytest.mark.parametrize(
    "close",
    [CLOSE, {"context_id": "c", "continue": False}, {"context_id": "c"}, {"context_id": "c", "context_close": True}],
)
async def test_a_context_can_be_closed_without_its_settings(autojump_clock, close):
    async with simulated() as server:
        client = await connect(server)
        await client.send(fragment("Hello there", sample_rate=8000))
        assert await client.hear(1) == []
        await client.send(close)
        assert audio(await client.until("complete")) == tagged_pcm(0, 0, 5280)


@pytest.mark.parametrize(("delay", "after"), [(None, 3.0), (500, 0.5), (5000, 5.0), (0, 0.0)])
async def test_text_that_waits_is_released_after_the_delay(autojump_clock, delay, after):
    async with simulated() as server:
        client = await connect(server)
        began = trio.current_time()
        await client.send(fragment("Hello", max_buffer_delay_ms=delay))
        await client.next()
        assert trio.current_time() - began == after
        assert texts(server) == ["Hello"]


async def test_two_contexts_do_not_mix(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.send(fragment("One ", "a", request_id="a"))
        await client.send(fragment("Two ", "b", request_id="b", sample_rate=8000))
        await client.send(fragment("three", "a", request_id="a", **{"continue": False}))
        await client.send(fragment("four", "b", request_id="b", sample_rate=8000, **{"continue": False}))
        seen = await client.until("complete") + await client.until("complete")
    assert texts(server) == ["One three", "Two four"]
    assert (audio(seen, "a"), audio(seen, "b")) == (tagged_pcm(0, 0, 12960), tagged_pcm(1, 0, 3840))


async def test_a_closed_context_can_be_opened_anew(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await say(client, "Hello")
        await client.until("complete")
        await client.send(CLOSE)
        assert await client.hear(10) == []
        await say(client, "again")
        assert audio(await client.until("complete")) == tagged_pcm(1, 0, 7200)


async def test_blank_text_is_not_spoken_but_kept_for_the_next(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await client.send(fragment("Hello. "))
        await client.until("complete")
        assert await client.hear(20) == []
        await client.send(fragment("You."))
        await client.until("complete")
        await client.send(fragment("  "))
        await client.send(CLOSE)
        assert await client.hear(20) == []
        assert texts(server) == ["Hello.", " You."]


@pytest.mark.parametrize(("completes", "number"), [("each", 3), ("once", 1), ("none", 0)])
async def test_how_many_completes_there_are(autojump_clock, completes, number):
    async with simulated(completes=completes) as server:
        client = await connect(server)
        await client.send(fragment("One. "))
        await client.send(fragment("Two. "))
        early = await client.hear(5)
        await client.send(fragment("Three", **{"continue": False}))
        late = await client.hear(5)
        assert statuses(early + late).count("complete") == number
        assert statuses(early).count("complete") == (2 if completes == "each" else 0)
        assert len(audio(early + late)) == 2 * 1440 * len("One. Two. Three")


async def test_one_complete_for_a_context_comes_after_all_its_audio(autojump_clock):
    async with simulated(completes="once", first_audio=2.0) as server:
        client = await connect(server)
        await say(client, "One. ", "Two. ", "Three.")
        assert statuses(await client.until("complete")) == [6 + 8 + 11, "complete"]


async def test_the_delay_of_complete_holds_for_contexts(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        began = trio.current_time()
        await say(client, "One.", complete_backoff_ms=None)
        await client.until("complete")
        assert trio.current_time() - began == 4.0


async def test_words_restart_with_every_release(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await say(client, "One. ", "Two.", voice_id="meher", word_timestamps=True)
        seen = await client.hear(5)
        words = [message["data"] for message in seen if status_of(message) == "word_timestamp"]
        assert [(word["id"], word["word"]) for word in words] == [(0, "One."), (0, "Two.")]
        assert words[1]["start"] == 0.06


@pytest.mark.parametrize(
    "message",
    [
        fragment("x", flush=True),
        fragment(None),
        fragment("x", "no spaces"),
        fragment("x", "y" * 129),
        fragment("x", voice_id=None),
        fragment("x", max_buffer_delay_ms=5001),
        fragment("x", output_format="wav"),
    ],
)
async def test_a_bad_fragment_is_answered_by_an_error(autojump_clock, message):
    async with simulated() as server:
        client = await connect(server)
        await client.send(message)
        assert (await client.next())["status"] == "error"
        await say(client, "Hello")
        assert audio(await client.until("complete")) == tagged_pcm(0, 0, 7200)


async def test_too_many_contexts(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        for number in range(1001):
            await client.send(fragment("x", f"c{number}", max_buffer_delay_ms=5000))
        assert statuses(await client.hear(1)) == ["error"]


async def test_a_context_counts_as_one_running_request(autojump_clock):
    async with simulated(running_limit=1, **PACED) as server:
        client, other = await connect(server), await connect(server)
        await say(client, "One. ", "Two. ")
        await say(other, "Three. ", request_id="r")
        error = await other.next()
        assert (error["status"], error["external_request_id"]) == ("error", "r")
        assert await other.hear(0.1) == []
        await client.until("complete")
        await client.until("complete")
        await say(other, "Four.")
        await other.until("complete")
        assert texts(server) == ["One.", " Two.", "Four."]


async def test_interleaved_contexts_keep_their_own_order(autojump_clock):
    async with simulated(interleave=True) as server:
        client = await connect(server)
        for context in "ab":
            await say(client, "One. ", "Two. ", "Three.", context=context, request_id=context)
        seen = await client.hear(5)
        assert runs(audio(seen, "a")) == [(0, 0, 5760), (1, 0, 7200), (2, 0, 10080)]
        assert runs(audio(seen, "b")) == [(3, 0, 5760), (4, 0, 7200), (5, 0, 10080)]
        order = [message["external_request_id"] for message in seen if status_of(message) == "chunk"]
        assert "abababab" in "".join(order)


async def test_the_socket_is_not_closed_while_a_context_is_open(autojump_clock):
    async with simulated(close_after_complete=True) as server:
        client = await connect(server)
        await client.send(fragment("One. "))
        assert statuses(await client.hear(5)) == [6, "complete"]
        await client.send(fragment("Two.", **{"continue": False}))
        assert statuses(await client.until(None)) == [8, "complete", Closed(1000, "")]
        assert await client.next() is EOF


# Cancel.


async def interrupt(client, after=3, **fields):
    """Cut a context of two sentences off in the middle of the first; what came by then."""
    await client.send(fragment(TEXT + " ", request_id="old"))
    await client.send(fragment("Another one. ", request_id="old"))
    await client.send(fragment("And more", request_id="old"))
    heard = [await client.next() for _ in range(after)]
    await client.send(CANCEL | fields)
    await trio.testing.wait_all_tasks_blocked()
    return heard


@pytest.mark.parametrize("late", [0, 2])
async def test_a_cancel_cuts_off_what_is_said_and_all_that_waits(autojump_clock, late):
    async with simulated(late_frames=late, **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        heard += await client.hear(20)
        assert statuses(heard) == [3 + late]
        assert audio(heard) == tagged_pcm(0, 0, 960 * (3 + late))
        assert [(s.text, s.sent, s.cleared) for s in server.segments] == [
            (TEXT, 960 * (3 + late), True),
            (" Another one.", 0, True),
        ]
        ended = [(data["number"], data["sent"], data["cleared"]) for data in noted(server, "segment_ended")]
        assert sorted(ended) == [(0, 960 * (3 + late), True), (1, 0, True)]


async def test_late_frames_come_before_the_audio_of_the_next_turn(autojump_clock):
    async with simulated(late_frames=3, **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        await say(client, "New.", request_id="new")
        heard += await client.until("complete")
        assert runs(audio(heard)) == [(0, 0, 6 * 960), (2, 0, 5760)]
        assert (heard[5]["external_request_id"], heard[6]["external_request_id"]) == ("old", "new")


async def test_a_cancel_before_the_first_audio(autojump_clock):
    async with simulated(first_audio=1.0) as server:
        client = await connect(server)
        await interrupt(client, after=0)
        assert await client.hear(20) == []
        assert [segment.cleared for segment in server.segments] == [True, True]


async def test_a_cancel_can_let_the_sentence_end(autojump_clock):
    async with simulated(cancel="run_on", **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        heard += await client.hear(20)
        assert statuses(heard) == [24, "complete"]
        assert [(s.sent, s.cleared) for s in server.segments] == [(SAMPLES, False), (0, True)]


async def test_a_sentence_that_may_end_is_completed_for_its_context_too(autojump_clock):
    async with simulated(cancel="run_on", completes="once", **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        heard += await client.hear(20)
        assert statuses(heard) == [24, "complete"]


async def test_a_context_that_is_opened_anew_waits_for_its_late_frames(autojump_clock):
    async with simulated(late_frames=3, interleave=True, **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        reconfigure(server, interleave=True)
        await say(client, "New.", request_id="new")
        heard += await client.until("complete")
        assert runs(audio(heard)) == [(0, 0, 6 * 960), (2, 0, 5760)]


async def test_a_cancel_can_be_ignored(autojump_clock):
    async with simulated(cancel="ignored", **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        heard += await client.hear(20)
        assert texts(server) == [TEXT, " Another one.", " And more"]
        assert len(audio(heard)) == 2 * 1440 * len(TEXT + " Another one. And more")
        assert not any(segment.cleared for segment in server.segments)


@pytest.mark.parametrize(("cancel", "late", "chunks"), [("immediate", 0, 3), ("immediate", 2, 5), ("run_on", 0, 24)])
async def test_a_cancel_can_be_acknowledged(autojump_clock, cancel, late, chunks):
    async with simulated(cancel=cancel, cancel_ack="complete", late_frames=late, **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        heard += await client.hear(20)
        if cancel == "immediate":
            assert statuses(heard) == [chunks, "complete"]
            assert heard[-1]["request_id"] == heard[0]["request_id"]
        else:
            assert statuses(heard) == [3, "complete", chunks - 3, "complete"]
            assert heard[3]["request_id"] != heard[0]["request_id"]


async def test_completes_that_are_due_are_taken_back_too(autojump_clock):
    async with simulated() as server:
        client = await connect(server)
        await say(client, "One.", complete_backoff_ms=4000)
        assert statuses(await client.hear(1)) == [6]
        await client.send(CANCEL)
        assert await client.hear(20) == []
        assert not server.segments[0].cleared


@pytest.mark.parametrize("completes", ["each", "once", "none"])
async def test_a_cancelled_context_is_not_completed(autojump_clock, completes):
    async with simulated(completes=completes, **PACED) as server:
        client = await connect(server)
        heard = await interrupt(client)
        heard += await client.hear(20)
        assert "complete" not in statuses(heard)


async def test_a_closed_context_can_be_cancelled_while_it_is_spoken(autojump_clock):
    async with simulated(**PACED) as server:
        client = await connect(server)
        await say(client, TEXT)
        await client.next()
        await client.send(CANCEL)
        assert await client.hear(20) == []
        assert server.segments[0].cleared


async def test_a_cancel_with_all_settings_and_one_of_nothing(autojump_clock):
    async with simulated(**PACED) as server:
        client = await connect(server)
        heard = await interrupt(client, **request(None, max_buffer_delay_ms=3000) | {"text": None})
        await client.send({"context_id": "unknown", "cancel_request": True})
        assert statuses(heard + await client.hear(20)) == [3]


async def test_a_cancel_leaves_other_contexts_and_classic_requests_alone(autojump_clock):
    async with simulated(interleave=True, **PACED) as server:
        client = await connect(server)
        await client.ask(request_id="classic")
        await say(client, TEXT, context="other", request_id="other")
        await client.send(fragment(TEXT, request_id="old"))
        await trio.sleep(0.5)
        await client.send(CANCEL)
        seen = await client.hear(20)
        assert len(audio(seen, "classic")) == len(audio(seen, "other")) == 2 * SAMPLES
        assert 0 < len(audio(seen, "old")) < 2 * SAMPLES


async def test_a_cancel_gives_the_running_request_back_at_once(autojump_clock):
    async with simulated(running_limit=2, **PACED) as server:
        client, other = await connect(server), await connect(server)
        await client.ask()
        await client.send(fragment("Waits. ", request_id="old"))
        await trio.testing.wait_all_tasks_blocked()
        await other.ask()
        assert (await other.next())["status"] == "error"
        await client.send(CANCEL)
        await trio.testing.wait_all_tasks_blocked()
        assert len(await other.turn()) == 2 * SAMPLES


async def test_a_cancel_while_waiting_for_the_limit(autojump_clock):
    async with simulated(running_limit=1, excess="queue", **PACED) as server:
        client, other = await connect(server), await connect(server)
        await other.ask()
        await other.next()
        await client.send(fragment("Waits. "))
        await trio.testing.wait_all_tasks_blocked()
        await client.send(CANCEL)
        assert await client.hear(20) == []
        assert len(await client.turn()) == 2 * SAMPLES
        assert [segment.cleared for segment in server.segments] == [False, True, False]


@pytest.mark.parametrize("completes", ["each", "once"])
async def test_the_next_turn_on_the_same_context_after_a_cancel(autojump_clock, completes):
    async with simulated(completes=completes, **PACED) as server:
        client = await connect(server)
        await interrupt(client)
        reconfigure(server, completes=completes)
        await say(client, "New.", request_id="new")
        seen = await client.until("complete")
        assert audio(seen) == tagged_pcm(2, 0, 5760)
        assert {message["external_request_id"] for message in seen} == {"new"}


async def test_what_is_cancelled_behind_another_context_does_not_count_as_running(autojump_clock):
    async with simulated(running_limit=1, excess="queue", **PACED) as server:
        client = await connect(server)
        await say(client, TEXT, context="spoken")
        await client.next()
        await say(client, TEXT)
        await client.send(CANCEL)
        await client.hear(5)
        with trio.fail_after(30):
            assert len(await client.turn()) == 2 * SAMPLES
        assert [segment.cleared for segment in server.segments] == [False, True, False]
