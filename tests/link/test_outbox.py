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


async def test_who_sends_without_end_shares_the_outbox_with_others(autojump_clock):
    async with talking() as (link, batches), trio.open_nursery() as senders:
        for name in "ab":
            senders.start_soon(send_without_end, link, name)
        await trio.sleep(9.5)
        senders.cancel_scope.cancel()
    for batch in batches[3:]:
        assert sum(message.startswith("a") for message in batch) == 16
    sent = [message for batch in batches for message in batch]
    for name in "ab":
        own = [message for message in sent if message.startswith(name)]
        assert own == [f"{name}{number}" for number in range(len(own))]


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
