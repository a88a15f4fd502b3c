"""How an open websocket ends: by the peer, by us, by an exception, by a cancellation at every step."""

import contextlib
import functools
import gc
import pathlib

import pytest
import trio
import trio.testing
from websocket_peer import connect, echo, ends, lockstep, memory_connect, tcp_server
from wsproto.events import CloseConnection, Ping, TextMessage

from voicetrio import errors
from voicetrio._link.connection import ConnectionOptions

# --- how the peer ends it -------------------------------------------------------------------------------------------


async def test_the_peers_close_reaches_receive_send_and_ping():
    async def play(peer):
        await peer.accept([(b"request-id", b"r-9")])
        await peer.send(TextMessage(data="last"), CloseConnection(code=1008, reason="no\tcredit"))
        await peer.until_closed()

    async with tcp_server(play) as address:
        with trio.fail_after(5):
            async with connect(f"ws://{address}/", provider="acme") as connection:
                messages, error = await ends(connection)
                assert messages == ["last"]
                assert (error.code, error.reason, error.provider) == (1008, "no credit", "acme")
                assert error.request_id == "r-9"
                assert "1008: no credit" in str(error)
                for use in (functools.partial(connection.send, "a"), connection.ping, connection.receive):
                    with pytest.raises(errors.LinkClosed) as caught:
                        await use()
                    assert caught.value.code == 1008


async def test_a_close_frame_without_a_code_is_1005(nursery):
    async def play(peer):
        await peer.accept()
        await peer.stream.send_all(b"\x88\x00")
        await peer.until_closed()

    async with memory_connect(nursery, play) as connection:
        assert (await ends(connection))[1].code == 1005


@pytest.mark.parametrize("cut", ["between frames", "inside a frame"])
async def test_dropped_tcp_is_1006(cut):
    async def play(peer):
        await peer.accept()
        await peer.send(TextMessage(data="whole"))
        if cut == "inside a frame":
            await peer.stream.send_all(b"\x82\x7e\x10\x00half")

    async with tcp_server(play) as address:
        with trio.fail_after(5):
            async with connect(f"ws://{address}/") as connection:
                messages, error = await ends(connection)
                assert (messages, error.code) == (["whole"], 1006)
                with pytest.raises(errors.LinkClosed):
                    await connection.send("a")


async def test_messages_queued_before_a_reset_are_delivered_before_the_end():
    sent = trio.Event()

    async def play(peer):
        await peer.accept()
        await peer.send(*(TextMessage(data=str(number)) for number in range(20)))
        await sent.wait()
        peer.reset()

    async with tcp_server(play) as address:
        with trio.fail_after(5):
            async with connect(f"ws://{address}/", options=ConnectionOptions(queue=2)) as connection:
                assert await connection.receive() == "0"
                sent.set()
                await trio.testing.wait_all_tasks_blocked(0.01)
                messages, error = await ends(connection)

    assert messages == [str(number) for number in range(1, 20)]
    assert error.code == 1006


async def test_a_failing_send_does_not_hide_the_peers_last_words(nursery):
    async def play(peer):
        await peer.accept()
        await peer.send(*(TextMessage(data=letter) for letter in "abc"), CloseConnection(code=1011, reason="why"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        peer.reset()

    async def send():
        with pytest.raises(errors.LinkClosed) as caught:
            await connection.send("audio")
        ended.append(caught.value)

    ended = []
    options = ConnectionOptions(queue=1, close_timeout=5)
    async with tcp_server(play) as address:
        with trio.fail_after(5):
            async with connect(f"ws://{address}/", options=options) as connection, trio.open_nursery() as tasks:
                await trio.testing.wait_all_tasks_blocked(0.05)  # the peer is gone, our reader at a full queue
                tasks.start_soon(send)
                await trio.testing.wait_all_tasks_blocked()  # the write has failed
                messages, error = await ends(connection)

    assert messages == ["a", "b", "c"]
    for each in (error, *ended):
        assert (each.code, each.reason) == (1011, "why")
    assert len(ended) == 1


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x83\x00", 1002),
        (b"\xf1\x01a", 1002),
        (b"\x80\x01a", 1002),
        (b"\x81\x02\xff\xfe", 1007),
        (b"\x88\x01x", 1002),
    ],
    ids=["opcode", "reserved bits", "continuation of nothing", "utf-8", "close payload"],
)
async def test_a_frame_against_the_protocol_ends_the_link(frame, code, nursery):
    async def play(peer):
        await peer.accept()
        await peer.stream.send_all(frame)
        await peer.until_closed()

    async with memory_connect(nursery, play) as connection:
        assert (await ends(connection))[1].code == code
        with pytest.raises(errors.LinkClosed):
            await connection.send("a")


# --- how we end it --------------------------------------------------------------------------------------------------


async def test_leaving_the_block_sends_a_close_frame_and_waits_for_the_answer():
    seen = []

    async def play(peer):
        await peer.accept()
        seen.append(await peer.until_closed())

    async with tcp_server(play) as address:
        with trio.fail_after(5):
            async with connect(f"ws://{address}/") as connection:
                pass
            assert seen[0].code == 1000
            for use in (functools.partial(connection.send, "a"), connection.receive, connection.ping):
                with pytest.raises(errors.ClosedError):
                    await use()
            await connection.close()


async def test_closing_sends_the_code_and_ends_what_other_tasks_wait_for(nursery):
    seen = []

    async def play(peer):
        await peer.accept()
        seen.append(await peer.until_closed())

    async def waits(use):
        with pytest.raises(errors.ClosedError):
            await use()

    async with memory_connect(nursery, play) as connection, trio.open_nursery() as tasks:
        tasks.start_soon(waits, connection.receive)
        await trio.testing.wait_all_tasks_blocked()
        await connection.close(4000, "enough")

    assert (seen[0].code, seen[0].reason) == (4000, "enough")


@pytest.mark.parametrize("pair", [trio.testing.memory_stream_pair, lockstep])
async def test_a_server_that_never_answers_close_costs_the_close_timeout(pair, nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        await trio.sleep_forever()

    async with memory_connect(nursery, play, pair=pair, close_timeout=0.5):
        begun = trio.current_time()
    assert trio.current_time() - begun == 0.5


async def test_leaving_by_exception_or_cancellation_does_not_wait_for_the_answer(nursery, autojump_clock):
    seen = []

    async def play(peer):
        await peer.accept()
        seen.append(await peer.next_event())
        await trio.sleep_forever()

    begun = trio.current_time()
    with pytest.raises(KeyError):
        async with memory_connect(nursery, play):
            raise KeyError
    assert trio.current_time() - begun < 0.05

    with trio.move_on_after(1):
        async with memory_connect(nursery, play):
            await trio.sleep_forever()
    assert trio.current_time() - begun < 1.1
    assert [event.code for event in seen] == [1000, 1000]


async def test_a_ping_that_crosses_our_close_lets_nothing_stray_out(nursery, autojump_clock):
    async def play(peer):
        await peer.accept()
        while not isinstance(await peer.next_event(), CloseConnection):
            pass
        await peer.stream.send_all(b"\x89\x01x")  # by hand: a server that knows of our close sends none
        await trio.sleep_forever()

    begun = trio.current_time()
    async with memory_connect(nursery, play, close_timeout=0.5):
        pass
    assert trio.current_time() - begun <= 0.5


# --- exceptions of the block ----------------------------------------------------------------------------------------


def leaves(group):
    for exc in group.exceptions:
        yield from leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]


@pytest.mark.parametrize("end", ["polite", "dropped"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: KeyError("mine"),
        lambda: ExceptionGroup("mine", [ValueError(1), ExceptionGroup("inner", [TypeError(2)])]),
        lambda: KeyboardInterrupt(),
        lambda: errors.LinkClosed("another link's", code=1000),
    ],
    ids=["exception", "group", "interrupt", "link error"],
)
async def test_the_blocks_exception_passes_unchanged(make, end, nursery):
    async def play(peer):
        await peer.accept()
        if end == "polite":
            await peer.until_closed()

    mine, context, cause = make(), RuntimeError("context"), RuntimeError("cause")
    mine.__context__, mine.__cause__ = context, cause
    mine.add_note("a note")

    async def body():
        async with memory_connect(nursery, play):
            await trio.testing.wait_all_tasks_blocked()
            raise mine

    with pytest.raises(type(mine)) as caught:
        await body()

    # trio's cancel scopes rebuild every group that passes them, so a group is the same in its parts only.
    if isinstance(mine, ExceptionGroup):
        assert repr(caught.value) == repr(mine)
        assert list(leaves(caught.value)) == list(leaves(mine))
    else:
        assert caught.value is mine
    passed = caught.value
    assert (passed.__context__, passed.__cause__, passed.__notes__) == (context, cause, ["a note"])


async def test_an_exception_raised_while_cancelled_passes_plain(nursery, autojump_clock):
    async def body():
        async with memory_connect(nursery, echo):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("in cleanup")

    with trio.move_on_after(1):
        with pytest.raises(KeyError, match="in cleanup"):
            await body()


# --- every cancellation point ---------------------------------------------------------------------------------------


class CancelAtStep(trio.abc.Instrument):
    """Cancel `scope` at the k-th step of the tasks below `root`."""

    def __init__(self, root, scope, k):
        self.root, self.scope, self.k, self.steps = root, scope, k, 0

    def before_task_step(self, task):
        while task is not None and task is not self.root:
            task = task.parent_nursery and task.parent_nursery.parent_task
        if task is self.root:
            self.steps += 1
            if self.steps == self.k:
                self.scope.cancel(reason=f"step {self.k}")


def open_files():
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


async def sweep(play, scenario):
    """Run `scenario(address)` cancelled at step 1, 2, … until a run has fewer steps; return how many there are."""

    async def cancelled_at(k, address):
        with trio.CancelScope() as scope:
            instruments.append(CancelAtStep(trio.lowlevel.current_task(), scope, k))
            trio.lowlevel.add_instrument(instruments[-1])
            try:
                await scenario(address)
            finally:
                trio.lowlevel.remove_instrument(instruments[-1])

    instruments = []
    tasks, files = trio.lowlevel.current_statistics().tasks_living, open_files()
    while not instruments or instruments[-1].steps >= len(instruments):
        with trio.fail_after(5):
            async with tcp_server(play) as address, trio.open_nursery() as nursery:
                nursery.start_soon(cancelled_at, len(instruments) + 1, address)
        assert trio.lowlevel.current_statistics().tasks_living == tasks, f"step {len(instruments)}"
        assert open_files() == files, f"step {len(instruments)}"
    gc.collect()  # a stream that nobody closed warns now, and a warning is an error
    return len(instruments) - 1


async def test_a_conversation_can_be_cancelled_at_every_step():
    async def scenario(address):
        async with connect(f"ws://{address}/") as connection:
            await connection.send("one")
            assert await connection.receive() == "one"
            await connection.ping()
            await connection.close()

    assert await sweep(echo, scenario) > 20


async def test_a_refused_connect_can_be_cancelled_at_every_step():
    async def play(peer):
        await peer.next_event()
        await peer.stream.send_all(b"HTTP/1.1 401 No\r\n\r\nbad key")

    async def scenario(address):
        with contextlib.suppress(errors.AuthenticationError):
            async with connect(f"ws://{address}/"):
                raise AssertionError("connected")

    assert await sweep(play, scenario) >= 10


async def test_a_link_that_the_peer_ends_can_be_cancelled_at_every_step():
    async def play(peer):
        await peer.accept()
        await peer.send(Ping(), TextMessage(data="last"), CloseConnection(code=1011))

    async def scenario(address):
        async with connect(f"ws://{address}/") as connection, trio.open_nursery() as tasks:
            tasks.start_soon(ends, connection)
            with contextlib.suppress(errors.LinkClosed):
                while True:
                    await connection.send(bytes(5000))

    assert await sweep(play, scenario) > 15
