"""The messages that wait for a link's send loop: in order, bounded, fair, and none of a cancelled sender's."""

from contextlib import asynccontextmanager

import trio
import trio.testing
from test_pool import TARGET, FakeDialect, World

from voicetrio._link.link import Link
from voicetrio._link.policy import LinkPolicy


class Batches(list):
    """What was sent together; calls `on_next` when there is more."""

    def on_next(self):
        pass


@asynccontextmanager
async def talking():
    """A link that is up; gives it, and the batches that its send loop has sent, a second each."""
    world, batches = World(), Batches()
    world.handshake_seconds = 0.0

    async def ignore(_link, _messages):
        await trio.lowlevel.checkpoint()

    async def send(*messages):
        batches.append(messages)
        batches.on_next()
        await trio.sleep(1)

    link = Link(FakeDialect(), TARGET, world.connect, LinkPolicy(heartbeat=None), ignore, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await link.settled.wait()
        world.connections[0].send = send
        await trio.sleep(5)
        batches.clear()  # the greeting
        yield link, batches
        link.close()


async def send_without_end(link, name):
    number = 0
    while True:
        await link.send(f"{name}{number}")
        number += 1


async def test_a_stalled_peer_costs_two_outboxes_at_most(autojump_clock):
    async with talking() as (link, batches), trio.open_nursery() as senders:
        for name in "abc":
            senders.start_soon(send_without_end, link, name)
        await trio.sleep(5.5)
        senders.cancel_scope.cancel()
    assert {len(batch) for batch in batches[1:]} == {32}


async def test_who_sends_without_end_lets_others_queue(autojump_clock):
    async with talking() as (link, batches), trio.open_nursery() as senders:
        begun = trio.current_time()
        senders.start_soon(send_without_end, link, "a")
        await trio.sleep(1.5)
        for number in range(10):
            await link.send(f"mine{number}")
        assert trio.current_time() - begun < 5
        senders.cancel_scope.cancel()
    sent = [message for batch in batches for message in batch]
    assert [each for each in sent if each[0] == "a"] == [
        f"a{number}" for number in range(sum(e[0] == "a" for e in sent))
    ]


async def test_a_sender_that_is_cancelled_as_it_is_woken_sends_nothing(autojump_clock):
    async with talking() as (link, batches):
        await link.send("first")
        await trio.sleep(0.5)  # it is being sent
        for number in range(32):
            link.send_nowait(str(number))
        with trio.CancelScope() as scope:
            batches.on_next = scope.cancel  # there is room, but the senders have not run yet
            async with trio.open_nursery() as senders:
                senders.start_soon(link.send, "in vain")
                senders.start_soon(link.send, "in vain, too")
        assert scope.cancelled_caught
        await trio.sleep(10)
    assert [len(batch) for batch in batches] == [1, 32]
    assert not any("in vain" in message for batch in batches for message in batch)
