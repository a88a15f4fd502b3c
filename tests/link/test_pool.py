"""The policy of links, with connections that are made of nothing."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.lowlevel

from voicetrio._link.connection import ConnectionOptions
from voicetrio._link.link import Link
from voicetrio._link.policy import Breaker, LinkPolicy, Retries, is_transient
from voicetrio._link.pool import Endpoint, LinkPool, LinkPools
from voicetrio.errors import (
    AuthenticationError,
    BreakerOpen,
    ConfigurationError,
    ConnectError,
    ConnectTimeout,
    LinkClosed,
    LinkStalled,
    ProviderError,
    RateLimited,
    ServiceUnavailable,
    SessionClosed,
    rejection_class,
)

TARGET = Endpoint("ws://host/", ()).target("fake")


class FakeDialect:
    provider = "fake"
    request_id = "r1"
    ready = True
    worn = False
    spent = False
    expires = None

    def missed(self, seconds):
        pass

    def receive(self, message):
        return (message,)

    def lost(self, error):
        return ()

    def greet(self, headers):
        return ("hello",)

    def farewell(self):
        return ("goodbye",)

    def explain(self, error):
        return error


class FakeConnection:
    headers: dict[str, str] = {}  # noqa: RUF012
    request_id = "of the connection"

    def __init__(self, world) -> None:
        self.world = world
        self.sent: list[str] = []
        self.incoming, self.messages = trio.open_memory_channel(10)
        self.answers_pings = True
        self.ended = False
        if world.dropping:
            self.incoming.close()

    async def send(self, *messages):
        self.sent += messages
        await trio.lowlevel.checkpoint()
        if messages[-1] == "goodbye" and self.world.polite:
            self.incoming.close()

    async def receive(self):
        try:
            return await self.messages.receive()
        except trio.EndOfChannel:
            raise LinkClosed("closed", provider="fake", code=1000) from None

    async def ping(self):
        if self.ended:
            raise LinkClosed("closed", provider="fake", code=1000)
        if self.answers_pings:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep_forever()


class World:
    """What the pool under test sees of the world."""

    def __init__(self) -> None:
        self.errors: list[ProviderError] = []  # of the next handshakes
        self.handshake_seconds = 1.0
        self.handshakes = 0
        self.polite = True
        self.dropping = False
        self.connections: list[FakeConnection] = []
        self.open = 0

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[FakeConnection, None]:
        self.handshakes += 1
        await trio.sleep(self.handshake_seconds)
        if self.errors:
            raise self.errors.pop(0)
        connection = FakeConnection(self)
        self.connections.append(connection)
        self.open += 1
        try:
            yield connection
        finally:
            self.open -= 1


@asynccontextmanager
async def pool_in(world: World, dialect=FakeDialect, on_message=None, **policy) -> AsyncGenerator[LinkPool, None]:
    chosen = LinkPolicy(**policy)

    async def ignore(_link, _message):
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:

        async def hand_over(link, messages):
            for message in messages:
                await (on_message or ignore)(link, message)

        def make_link():
            return Link(dialect(), TARGET, world.connect, chosen, hand_over, lambda _link: None)

        yield LinkPool(nursery, make_link, chosen, Breaker("fake", chosen))
        nursery.cancel_scope.cancel()


def refused(status: int, **more) -> ProviderError:
    return rejection_class(status)("refused", provider="fake", status=status, **more)


async def test_two_that_wait_share_one_handshake(autojump_clock):
    world = World()
    async with pool_in(world) as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.ready)
            nursery.start_soon(pool.ready)
        assert world.handshakes == pool.connections == 1
        assert world.connections[0].sent == ["hello"]


async def test_a_dialect_is_told_the_id_of_its_connection_before_it_greets(autojump_clock):
    class Polite(FakeDialect):
        request_id = None

        def greet(self, headers):
            return (f"hello from {self.request_id}",)

    world = World()
    async with pool_in(world, Polite) as pool:
        link = await pool.acquire()
        assert link.request_id == "of the connection"
        await trio.testing.wait_all_tasks_blocked()
        assert world.connections[0].sent == ["hello from of the connection"]


async def test_an_id_that_a_dialect_has_already_stays(autojump_clock):
    async with pool_in(World()) as pool:
        assert (await pool.acquire()).request_id == "r1"


async def test_where_a_dialect_knows_no_id_that_of_the_connection_is_told(autojump_clock):
    async with pool_in(World()) as pool:
        link = await pool.acquire()
        link.dialect.request_id = None
        error = LinkClosed("it has ended", provider="fake", code=1000)
        link.clean(error)
        assert link.request_id == error.request_id == "of the connection"


async def test_a_cancelled_wait_leaves_the_handshake_under_way(autojump_clock):
    world = World()
    async with pool_in(world) as pool:
        with trio.move_on_after(0.5):
            await pool.acquire()
        start = trio.current_time()
        await pool.acquire()
        assert trio.current_time() - start == 0.5
        assert world.handshakes == 1


async def test_a_transient_failure_is_tried_again_and_then_reported(autojump_clock):
    world = World()
    async with pool_in(world, attempts=3, backoff=0.2) as pool:
        world.errors = [refused(503), ConnectTimeout("late", provider="fake")]
        start = trio.current_time()
        await pool.ready()
        assert world.handshakes == 3
        assert 3 <= trio.current_time() - start <= 3 + 0.2 + 0.4
        world.connections[0].incoming.close()
        await trio.testing.wait_all_tasks_blocked()
        world.errors = [ConnectError(str(n), provider="fake") for n in range(3)]
        with pytest.raises(ConnectError, match="2"):
            await pool.ready()


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
async def test_what_cannot_work_is_not_tried_again(status, autojump_clock):
    world = World()
    async with pool_in(world) as pool:
        world.errors = [refused(status)] * 5
        with pytest.raises(ProviderError):
            await pool.ready()
        assert world.handshakes == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_waited_for_if_it_is_short_and_reported_if_it_is_long(status, autojump_clock):
    world = World()
    async with pool_in(world, backoff_max=4.0) as pool:
        world.errors = [refused(status, retry_after=3.0)]
        start = trio.current_time()
        await pool.ready()
        assert trio.current_time() - start == 1 + 3 + 1
    async with pool_in(world) as pool:
        world.errors = [refused(status, retry_after=60.0)]
        with pytest.raises((RateLimited, ServiceUnavailable)) as caught:
            await pool.ready()
        assert caught.value.retry_after == 60.0


async def test_the_breaker_opens_says_until_when_and_tries_once_when_that_has_passed(autojump_clock):
    world = World()
    async with pool_in(world, attempts=3, breaker_failures=6, breaker_cooldown=30.0) as pool:
        world.errors = [ConnectError("down", provider="fake") for _ in range(7)]
        for _ in range(2):
            with pytest.raises(ConnectError, match="down"):
                await pool.ready()
        assert world.handshakes == 6
        with pytest.raises(BreakerOpen) as caught:
            await pool.ready()
        assert world.handshakes == 6
        assert caught.value.retry_after == pytest.approx(30)
        assert "fake: down" in str(caught.value.__cause__)
        await trio.sleep(30)
        with pytest.raises(BreakerOpen) as caught:
            await pool.ready()
        assert world.handshakes == 7
        assert 59 < caught.value.retry_after < 60.1
        await trio.sleep(60)
        await pool.ready()


async def test_a_server_that_accepts_and_drops_everybody_is_not_stormed(autojump_clock):
    world = World()
    world.dropping = True
    async with pool_in(world, attempts=3, breaker_failures=6) as pool:
        with pytest.raises(BreakerOpen):
            while True:
                try:
                    link = await pool.acquire()
                    await trio.lowlevel.checkpoint()
                    await trio.testing.wait_all_tasks_blocked()
                    pool.release(link)
                except LinkClosed:
                    continue
        assert world.handshakes == 6


async def test_a_link_in_use_is_replaced_only_between_turns(autojump_clock):
    world = World()
    async with pool_in(world, max_age=10.0) as pool:
        link = await pool.acquire()
        await trio.sleep(15)
        assert world.handshakes == 1
        assert await pool.ready() is link
        pool.release(link)
        await trio.sleep(0.5)
        assert link.usable  # until its successor is there
        await trio.sleep(1)
        assert not link.usable
        assert world.connections[0].sent == ["hello", "goodbye"]
        assert (await pool.ready()).usable
        assert world.open == 1


async def test_an_idle_link_is_replaced_when_it_is_old(autojump_clock):
    world = World()
    async with pool_in(world, max_age=10.0) as pool:
        first = await pool.ready()
        await trio.sleep(5)
        assert await pool.ready() is first
        await trio.sleep(7.5)
        assert world.handshakes == 2
        assert await pool.ready() is not first


async def test_a_link_that_nobody_wants_any_more_is_let_go(autojump_clock):
    world = World()
    async with pool_in(world, max_age=300.0, max_idle=48.0) as pool:
        await pool.ready()
        await trio.sleep(3600)
        assert world.handshakes <= 1 + 300 / 48
        assert world.open == 0
        await pool.ready()
        assert world.open == 1


async def test_what_fails_in_connecting_counts_with_what_failed_before(autojump_clock):
    world = World()
    async with pool_in(world, attempts=3) as pool:
        retries = Retries(LinkPolicy(attempts=3))
        with pytest.raises(LinkClosed):
            await Retries(LinkPolicy(attempts=1)).pause_or_raise(LinkClosed("dropped"))
        await retries.pause_or_raise(LinkClosed("dropped"))
        world.errors = [refused(503) for _ in range(9)]
        with pytest.raises(ServiceUnavailable):
            await pool.acquire(retries)
        assert world.handshakes == 2


async def test_one_timeout_is_for_connecting_and_being_accepted(autojump_clock):
    class Slow(FakeDialect):
        ready = False

    world = World()
    world.handshake_seconds = 6.0
    async with pool_in(world, dialect=Slow, attempts=1, connection=ConnectionOptions(connect_timeout=10.0)) as pool:
        with pytest.raises(ConnectTimeout):
            await pool.ready()
        assert trio.current_time() == 10


async def test_a_pool_that_somebody_waits_for_is_not_idle(autojump_clock):
    world = World()
    async with pool_in(world) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(pool.acquire)
        await trio.sleep(0.5)
        assert not pool.idle()
        await trio.sleep(1)
        assert not pool.idle()


async def test_a_link_that_its_dialect_calls_worn_is_replaced(autojump_clock):
    class Worn(FakeDialect):
        pass

    world = World()
    async with pool_in(world, dialect=Worn) as pool:
        link = await pool.acquire()
        link.dialect.worn = True
        pool.release(link)
        await trio.sleep(2)
        assert await pool.ready() is not link


async def test_a_failed_replacement_leaves_the_old_link_in_use(autojump_clock):
    world = World()
    async with pool_in(world, max_age=10.0) as pool:
        first = await pool.ready()
        await trio.sleep(5)
        await pool.ready()
        world.errors = [refused(401)]
        await trio.sleep(8)
        assert await pool.ready() is first
        assert world.handshakes == 2


async def test_with_a_spare_a_link_that_was_given_up_costs_no_handshake(autojump_clock):
    world = World()
    async with pool_in(world, spare=True) as pool:
        for turn in range(5):
            start = trio.current_time()
            link = await pool.acquire()
            assert trio.current_time() - start == (0 if turn else 1)
            await trio.sleep(2)
            assert world.open == 2
            link.close()
            assert not link.usable
            pool.release(link)


async def test_what_is_not_acknowledged_in_time_ends_the_link(autojump_clock):
    world = World()
    async with pool_in(world) as pool:
        link = await pool.ready()
        for _ in range(3):
            link.expect_acknowledgement(2.0)
            await trio.sleep(1.5)
            link.expect_acknowledgement(2.0)
            link.acknowledged()
            await trio.sleep(1)
            link.acknowledged()
        link.acknowledged()  # nobody asked
        await trio.sleep(10)
        assert link.usable
        link.expect_acknowledgement(2.0)
        await trio.sleep(1.9)
        assert link.usable
        await trio.sleep(0.2)
        assert isinstance(link.failure, LinkStalled)


async def test_what_came_before_the_end_is_handed_over_though_a_ping_met_the_end_first(autojump_clock):
    handed = []

    async def slow(_link, message):
        await trio.sleep(60)
        handed.append(message)

    world = World()
    async with pool_in(world, on_message=slow, heartbeat=30.0) as pool:
        link = await pool.ready()
        connection = world.connections[0]
        for number in range(3):
            await connection.incoming.send(str(number))
        connection.incoming.close()
        connection.ended = True
        await link.ended.wait()
        assert handed == ["0", "1", "2"]
        assert link.failure.code == 1000


async def test_a_sender_that_is_cancelled_while_it_is_woken_sends_nothing(autojump_clock):
    world = World()
    async with pool_in(world) as pool:
        link = await pool.ready()
        for _ in range(200):
            world.connections[0].sent.clear()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    for number in range(60):
                        nursery.start_soon(link.send, f"stale {number}")
                    for _ in range(random.randrange(6)):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
                    link.send_nowait("clear")
            await trio.testing.wait_all_tasks_blocked()
            assert world.connections[0].sent[-1] == "clear"


async def test_an_impolite_peer_gets_its_time_and_no_more(autojump_clock):
    world = World()
    world.polite = False
    async with pool_in(world, farewell_timeout=0.3) as pool:
        await pool.ready()
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            pool.farewell(nursery)
        assert trio.current_time() - start == pytest.approx(0.3)


async def test_a_ping_without_an_answer_ends_the_link(autojump_clock):
    world = World()
    async with pool_in(world, heartbeat=30.0, heartbeat_timeout=10.0) as pool:
        link = await pool.ready()
        await trio.sleep(100)
        assert link.usable
        world.connections[0].answers_pings = False
        await trio.sleep(50)
        assert isinstance(link.failure, LinkStalled)


async def test_a_receiver_that_is_held_up_is_not_taken_for_a_dead_peer(autojump_clock):
    async def hold_up(_link, _message):
        await trio.sleep_forever()

    world = World()
    async with pool_in(world, on_message=hold_up, heartbeat=30.0) as pool:
        link = await pool.ready()
        world.connections[0].answers_pings = False
        await world.connections[0].incoming.send("audio")
        await trio.sleep(200)
        assert link.usable


async def test_without_a_heartbeat_nothing_is_asked(autojump_clock):
    world = World()
    async with pool_in(world, heartbeat=None, max_age=10_000) as pool:
        link = await pool.ready()
        world.connections[0].answers_pings = False
        await trio.sleep(1000)
        assert link.usable


async def test_a_provider_that_accepts_and_then_is_silent_is_a_timeout(autojump_clock):
    class Slow(FakeDialect):
        ready = False

    world = World()
    async with pool_in(world, dialect=Slow, attempts=1) as pool:
        with pytest.raises(ConnectTimeout):
            await pool.ready()


async def test_the_session_going_away_ends_the_wait_of_another_task(autojump_clock):
    world = World()
    world.handshake_seconds = 100
    async with trio.open_nursery() as other, pool_in(world) as pool:

        async def wait() -> None:
            with pytest.raises(SessionClosed):
                await pool.ready()

        other.start_soon(wait)
        await trio.sleep(1)


async def test_only_the_endpoints_used_last_are_kept(autojump_clock):
    world = World()
    policy = LinkPolicy()

    async def ignore(_link, _message):
        await trio.lowlevel.checkpoint()

    def make_link():
        return Link(FakeDialect(), TARGET, world.connect, policy, ignore, lambda _link: None)

    async with trio.open_nursery() as nursery:
        pools = LinkPools(nursery, "fake", policy)
        for number in range(10):
            await pools.get(Endpoint(f"ws://host/{number}", ()), policy, make_link).ready()
            await pools.get(Endpoint("ws://host/0", ()), policy, make_link).ready()
        await trio.sleep(1)
        assert world.open == 4
        assert pools.connections == world.handshakes == 10
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("field", ["max_age", "attempts", "backoff_max", "breaker_failures", "farewell_timeout"])
def test_a_policy_that_cannot_be_is_refused(field):
    with pytest.raises(ConfigurationError, match=field):
        LinkPolicy(**{field: 0})


def test_the_pause_has_full_jitter_and_a_ceiling():
    policy = attrs.evolve(LinkPolicy(), backoff=0.2, backoff_max=1.0)
    for failures, ceiling in ((1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (20, 1.0)):
        pauses = [policy.pause(failures) for _ in range(300)]
        assert 0 <= min(pauses) < ceiling / 4
        assert ceiling * 3 / 4 < max(pauses) <= ceiling


def test_what_blames_us_is_not_transient():
    assert is_transient(LinkClosed("x", code=1006))
    assert is_transient(LinkClosed("x", code=1011))
    assert not is_transient(LinkClosed("x", code=1008))
    assert not is_transient(AuthenticationError("x"))
    assert not is_transient(refused(302))
