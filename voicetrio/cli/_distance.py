"""A way to a server that is as long, as uneven and as unsafe as one is told: for trying what distance does."""

from __future__ import annotations

import math
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from .._link.nursery import open_plain_nursery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    Dial = Callable[[str, int], Awaitable[trio.abc.Stream]]

# Pieces under way in one direction; more are held up, as on a line that is full.
_UNDER_WAY = 256
_RECEIVE_SIZE = 65536


@attrs.frozen(kw_only=True)
class Distance:
    """What lies between a client and its server.  Times are in seconds.

    Attributes:
        latency: added to a round trip, half of it in each direction.
        jitter: up to this is added to each piece that is sent, at random; order is kept.
        lose_after: connections are lost after this time on average, at random; None: never.
        seed: of both.
    """

    latency: float = 0.0
    jitter: float = 0.0
    lose_after: float | None = None
    seed: int = 0


@asynccontextmanager
async def open_distance(distance: Distance) -> AsyncGenerator[Dial, None]:
    """Give a function for ``provider.open(dial=…)``, through which every connection goes this way.

    Leaving the block ends all of them.
    """
    chances = random.Random(distance.seed)  # noqa: S311
    async with open_plain_nursery("the way to the server ends") as nursery:

        async def dial(host: str, port: int) -> trio.abc.Stream:
            server = await trio.open_tcp_stream(host, port)
            ours, theirs = (trio.SocketStream(end) for end in trio.socket.socketpair())
            nursery.start_soon(_relay, distance, chances, theirs, server)
            return ours

        yield dial
        nursery.cancel_scope.cancel(reason="the way to the server ends")


async def _relay(distance: Distance, chances: random.Random, client: trio.abc.Stream, server: trio.abc.Stream) -> None:
    life = math.inf if distance.lose_after is None else chances.expovariate(1 / distance.lose_after)
    async with client, server:
        with trio.move_on_after(life):
            async with open_plain_nursery("one end has left") as nursery:
                for source, target in ((client, server), (server, client)):
                    nursery.start_soon(_carry, distance, chances, source, target, nursery.cancel_scope)
                await trio.sleep_forever()


async def _carry(
    distance: Distance,
    chances: random.Random,
    source: trio.abc.Stream,
    target: trio.abc.Stream,
    connection: trio.CancelScope,
) -> None:
    """Carry what comes from one end to the other; when either has gone the connection ends."""
    entry, exit_ = trio.open_memory_channel[tuple[float, bytes]](_UNDER_WAY)
    try:
        async with open_plain_nursery("carried") as nursery:
            nursery.start_soon(_take_in, distance, chances, source, entry)
            async with exit_:
                async for due, data in exit_:
                    await trio.sleep_until(due)
                    await target.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    connection.cancel(reason="one end has left")


async def _take_in(
    distance: Distance,
    chances: random.Random,
    source: trio.abc.Stream,
    entry: trio.MemorySendChannel[tuple[float, bytes]],
) -> None:
    last = -math.inf
    async with entry:
        while data := await source.receive_some(_RECEIVE_SIZE):
            delay = distance.latency / 2 + chances.uniform(0, distance.jitter)
            last = max(last, trio.current_time() + delay)
            await entry.send((last, bytes(data)))
