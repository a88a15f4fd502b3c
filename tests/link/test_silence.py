"""When silence means something: at a time that the dialect tells, and not while nobody listened."""

from contextlib import asynccontextmanager

import trio
from test_pool import TARGET, FakeConnection, FakeDialect, World

from voicetrio._link.link import Link
from voicetrio._link.policy import LinkPolicy


class Patient(FakeDialect):
    """Waits five seconds for the next "a"; whatever else comes tells it nothing."""

    def __init__(self):
        self.expires = None
        self.lapses = []

    def receive(self, message):
        if message == "a":
            self.expires = trio.current_time() + 5
        return (message,)

    def missed(self, seconds):
        if self.expires is not None:
            self.expires += seconds

    def lapse(self):
        self.lapses.append(trio.current_time())
        self.expires = None
        return ("lapse",)


@asynccontextmanager
async def listening(on_message=None):
    """A link that is up, at the time 0 of the test; gives its dialect, what it handed on and a way to say something."""
    world, dialect, handed_on = World(), Patient(), []
    world.handshake_seconds = 0.0

    async def hand_over(_link, messages):
        for message in messages:
            handed_on.append((message, trio.current_time()))
            if on_message is not None:
                await on_message(message)

    link = Link(dialect, TARGET, world.connect, LinkPolicy(heartbeat=None), hand_over, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        await link.settled.wait()
        connection: FakeConnection = world.connections[0]
        yield link, handed_on, connection.incoming.send
        link.close()


async def test_other_messages_do_not_put_it_off(autojump_clock):
    async with listening() as (link, _, say):
        await say("a")
        for _ in range(20):
            await trio.sleep(0.5)
            await say("b")
        assert link.dialect.lapses == [5]


async def test_it_goes_on_listening_after_a_lapse(autojump_clock):
    async with listening() as (link, handed_on, say):
        for _ in range(3):
            await say("a")
            await trio.sleep(10)
        assert link.dialect.lapses == [5, 15, 25]
        assert handed_on == [(each, time + at) for time in (0, 10, 20) for each, at in (("a", 0), ("lapse", 5))]


async def test_time_in_which_nobody_listens_is_no_silence(autojump_clock):
    async def slowly(message):
        if message == "slow":
            await trio.sleep(60)

    async with listening(slowly) as (link, _, say):
        await say("a")
        await trio.sleep(1)
        await say("slow")
        await trio.sleep(61)
        assert link.dialect.lapses == []
        await trio.sleep(10)
        assert link.dialect.lapses == [65]


async def test_what_is_being_handled_is_not_cut_off(autojump_clock):
    """A task that sends measures the silence anew, while the receive loop waits for the sink."""

    async def slowly(message):
        await trio.sleep(60)
        done.append(message)

    done = []
    async with listening(slowly) as (link, _, say):
        await say("a")
        await trio.sleep(1)
        link.listen_on()
        await trio.sleep(60)
        assert done == ["a"]
        assert link.failure is None


async def test_a_message_that_comes_in_that_very_moment_is_no_silence(autojump_clock):
    async with listening() as (link, handed_on, say):
        await say("a")
        await trio.sleep(1)
        # The loop has been woken by the message, and before it runs the time is up.
        say.__self__.send_nowait("a")
        link._listening.cancel()
        await trio.sleep(1)
        assert [message for message, _ in handed_on] == ["a", "a"]
        assert link.dialect.lapses == []
