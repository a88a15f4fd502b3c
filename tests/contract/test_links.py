"""How links are made, kept, replaced and given up."""

import math

import pytest
import trio
import trio.testing
from contract_cases import cases, cases_with, only
from contract_tools import stage, until

from voicetrio import FlushMarker
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    BreakerOpen,
    ConnectError,
    PaymentRequired,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
)
from voicetrio.simulators import Faults

TEXT = "Hello."
NEXT = "And the next."
LONG = "This is a long sentence, and nobody is going to interrupt it before it has come to its end. " * 3


def _requests(it):
    return [entry["time"] for entry in it.server.log if entry["event"] == "request"]


# ---- kept and replaced ---------------------------------------------------------------------------------------------


@cases(lambda case: case.cancels)
async def test_prewarm_connects_once(case, autojump_clock):
    async with stage(case) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(it.session.prewarm)
        await it.session.prewarm()
        spoken = await it.speak(TEXT)
        assert spoken.timeline.connected == spoken.timeline.requested
        assert it.server.connections == it.session.statistics().connections == 1


@cases(lambda case: case.websocket)
async def test_prewarm_tells_what_is_wrong_and_can_be_tried_again(case, autojump_clock):
    async with stage(case, faults=Faults(refuse_status=401)) as it:
        with pytest.raises(AuthenticationError):
            await it.session.prewarm()
        it.behave(faults=Faults())
        await it.session.prewarm()
        assert it.server.connections == 2


async def test_opening_a_session_connects_nothing(case, autojump_clock):
    async with stage(case) as it:
        await trio.sleep(1000)
        assert it.dialer.dialled == 0


@only("deepgram")
async def test_an_old_link_is_replaced_between_turns(case, autojump_clock):
    """Its successor is there before it goes, so no turn waits for a handshake; and it is told good-bye."""
    async with stage(case, provider={"max_connection_age_sec": 10.0}) as it:
        for number in range(1, 4):
            spoken = await it.speak(f"Number {number}.")
            assert spoken.timeline.connected == spoken.timeline.requested or number == 1
            assert it.segments(f"Number {number}.")[0].connection == number - 1
            await trio.sleep(10.5)
        assert it.server.open_connections == 1
        goodbyes = [entry for entry in it.server.log if entry["event"] == "closed"]
        assert [entry["connection"] for entry in goodbyes] == [0, 1, 2]
    assert len(it.commands("Close")) == it.server.connections


@only("deepgram", "lmnt-1.2", "cartesia")
async def test_an_old_link_is_not_replaced_in_a_turn(case, autojump_clock):
    async with stage(case, provider={"max_connection_age_sec": 5.0}) as it:
        spoken = await it.speak(LONG)
        assert spoken.seconds > 10
        assert [segment.connection for segment in it.server.segments] == [0]
        assert _requests(it)[1] == pytest.approx(spoken.timeline.ended)
        await it.speak(NEXT)
        assert it.segments(NEXT)[0].connection == 1


@only("deepgram", "lmnt-1.2", "cartesia", "smallest-classic", "smallest-continuations", "smallest-http", "smallest-sse")
async def test_a_replacement_that_fails_costs_nothing(case, autojump_clock):
    """The old link goes on as long as there is no other."""
    async with stage(case, provider={"max_connection_age_sec": 5.0}) as it:
        await it.speak(TEXT)
        it.behave(faults=Faults(handshake="refuse"))
        await trio.sleep(8)
        await it.speak(NEXT)
        assert it.segments(NEXT)[0].connection == 0


@only("deepgram", "cartesia")
async def test_a_link_lost_when_idle_is_replaced_when_it_is_needed(case, autojump_clock):
    """And not before: a server that ends idle connections is not kept busy."""
    async with stage(case) as it:
        await it.speak(TEXT)
        it.behave(faults=Faults(drop_after_messages=0))
        for _ in range(5):
            await trio.sleep(100)
        it.behave(faults=Faults())
        assert it.server.connections <= 2
        await it.speak(NEXT)


@cases(lambda case: case.cancels)
async def test_a_turn_interrupted_while_connecting_leaves_a_warm_link(case, autojump_clock):
    async with stage(case, faults=Faults(handshake="slow", handshake_delay=2.0)) as it:
        with trio.move_on_after(0.5):
            await it.session.synthesize(TEXT)
        await trio.sleep(2)
        spoken = await it.speak(NEXT)
        assert spoken.timeline.connected == spoken.timeline.requested
        assert it.server.connections == 1


@cases(lambda case: case.cancels)
async def test_the_turn_after_one_interrupted_while_connecting_waits_for_the_same_handshake(case, autojump_clock):
    async with stage(case, faults=Faults(handshake="slow", handshake_delay=2.0)) as it:
        for _ in range(3):
            with trio.move_on_after(0.5):
                await it.session.synthesize(TEXT)
        spoken = await it.speak(NEXT)
        assert spoken.timeline.connected == 2.0
        assert it.server.connections == 1
        assert not it.segments(TEXT)


@only("deepgram", "lmnt-1.2")
async def test_a_streamed_text_is_said_from_its_beginning_on_a_second_link(case, autojump_clock):
    marker = FlushMarker()
    async with stage(case, faults=Faults(drop_after_messages=1, connections=1)) as it:
        await it.speak_streamed("One, ", "two, ", marker, 0.5, "three, ", marker, "four.")
        assert it.server.connections == 2


@only("deepgram", "lmnt-1.2", "smallest-classic", "smallest-http", "smallest-sse")
async def test_links_of_voices_not_heard_for_long_are_closed(case, autojump_clock):
    names = ("andromeda", "thalia", "zeus", "vesta", "pluto", "mars", "luna")
    if case.name != "deepgram":
        names = case.voices
    async with stage(case, provider={"max_connection_age_sec": 50.0}) as it:
        for name in names:
            await it.speak(TEXT, voice_id=f"aura-2-{name}-en" if case.name == "deepgram" else name)
        await trio.sleep(1)
        assert it.server.open_connections <= 4
        assert it.session.statistics().connections == len(names)
        await trio.sleep(1000)
        assert it.server.open_connections <= 4


@cases_with("use limited")
async def test_a_voice_whose_link_came_too_late_is_not_kept_for_ever(case, autojump_clock):
    """Interrupted while it connected, and then five others: its link is closed as those of other voices are."""
    slow = Faults(connections=1, handshake="slow", handshake_delay=8.0)
    async with stage(case, faults=slow, provider={"max_connection_age_sec": 50.0}) as it:
        with trio.move_on_after(0.5):
            await it.session.synthesize(TEXT)
        for name in ("thalia", "zeus", "vesta", "pluto", "mars"):
            await it.speak(TEXT, voice_id=f"aura-2-{name}-en")
        await trio.sleep(20)
        assert it.session.statistics().connections == it.server.connections == 6
        await trio.sleep(2000)
        assert it.server.open_connections <= 5
        for name in ("thalia", "zeus", "vesta", "pluto", "mars"):
            await it.speak(TEXT, voice_id=f"aura-2-{name}-en")
        await trio.sleep(1)
        assert it.server.open_connections <= 4


# ---- heartbeat -----------------------------------------------------------------------------------------------------


class Mortal(trio.abc.Stream):
    """A stream whose peer can die without a word."""

    def __init__(self, stream):
        self.dead = False
        self._stream = stream

    async def send_all(self, data):
        if not self.dead:
            await self._stream.send_all(data)

    async def receive_some(self, max_bytes=None):
        data = await self._stream.receive_some(max_bytes)
        if self.dead:
            await trio.sleep_forever()
        return data

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self):
        await self._stream.aclose()


def _mortals():
    streams = []

    def wrap(stream):
        streams.append(Mortal(stream))
        return streams[-1]

    return streams, wrap


@only("deepgram", "lmnt-1.2", "cartesia")
async def test_a_dead_peer_is_found_when_idle(case, autojump_clock):
    streams, wrap = _mortals()
    async with stage(case, wrap=wrap, provider={"heartbeat": 5.0}) as it:
        await it.speak(TEXT)
        await trio.sleep(100)
        assert it.dialer.open, "a peer that lives was taken for dead"
        streams[0].dead = True
        died = trio.current_time()
        await until(lambda: not it.dialer.open)
        assert trio.current_time() - died <= 5 + 10 + 1
        began = trio.current_time()
        spoken = await it.session.synthesize(NEXT)
        assert spoken.timeline.connected == began
        await it.check_whole(spoken, NEXT)


@only("deepgram", "lmnt-1.2", "cartesia")
async def test_without_a_heartbeat_a_dead_peer_is_found_by_the_next_turn(case, autojump_clock):
    streams, wrap = _mortals()
    async with stage(case, wrap=wrap, provider={"heartbeat": None}) as it:
        await it.speak(TEXT)
        streams[0].dead = True
        await trio.sleep(500)
        assert it.dialer.open
        await it.speak(NEXT)
        assert it.server.connections == 2


@only("deepgram", "lmnt-1.2", "lmnt-1.0", "cartesia")
async def test_a_peer_that_dies_in_a_turn_is_a_stall(case, autojump_clock):
    streams, wrap = _mortals()
    async with stage(case, wrap=wrap, provider={"heartbeat": 5.0}) as it, trio.open_nursery() as nursery:

        async def kill():
            await trio.sleep(1)
            streams[0].dead = True

        nursery.start_soon(kill)
        with pytest.raises(ProviderStalled):
            await it.session.synthesize(LONG)
        assert trio.current_time() <= 1 + 2 + 5  # what had come by then is still spoken
        await trio.sleep(1)
        assert it.check_cut(1, LONG) > 0
        await it.speak(NEXT)


@only("deepgram", "lmnt-1.2", "cartesia")
@pytest.mark.parametrize("seconds", [14.9, 15.0, 15.1, 100.0, 250.0])
async def test_a_full_sink_is_not_taken_for_a_dead_peer(case, seconds, autojump_clock):
    """While nobody plays we do not read, so no answer to a ping comes through."""
    async with (
        stage(case, pace=None, provider={"heartbeat": 5.0}, options={"speed": math.inf}) as it,
        trio.open_nursery() as nursery,
    ):

        async def play_later():
            await trio.sleep(seconds)
            await it.player.play()

        nursery.start_soon(play_later)
        await it.speak(LONG)
        await it.speak(NEXT)
        assert it.server.connections == 1
        it.sink.close()


# ---- given up ------------------------------------------------------------------------------------------------------

PERMANENT = {
    400: BadRequest,
    401: AuthenticationError,
    402: PaymentRequired,
    403: AuthenticationError,
    404: BadRequest,
    422: BadRequest,
}


@cases(lambda case: case.websocket)
@pytest.mark.parametrize("status", PERMANENT)
async def test_what_would_fail_again_is_not_tried_again(case, status, autojump_clock):
    """And it opens no breaker: the next turn hears the same, not that it must wait."""
    async with stage(case, faults=Faults(refuse_status=status)) as it:
        for number in range(1, 9):
            with pytest.raises(PERMANENT[status]):
                await it.session.synthesize(TEXT)
            assert it.server.connections == number
        assert trio.current_time() == 0


@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (503, ServiceUnavailable)])
async def test_retry_after_is_respected(case, status, error, autojump_clock):
    async with stage(case, faults=Faults(refuse_status=status, retry_after=3)) as it:
        with pytest.raises(error) as caught:
            await it.session.synthesize(TEXT)
        assert caught.value.retry_after == 3.0
        times = _requests(it)
        assert len(times) == 3
        assert times[1] - times[0] >= 3.0
        assert times[2] - times[1] >= 3.0
        it.behave(faults=Faults(refuse_status=status, retry_after=3600))
        with pytest.raises(error) as caught:
            await it.session.synthesize(TEXT)
        assert caught.value.retry_after == 3600.0
        assert len(_requests(it)) == 4


@cases(lambda case: case.websocket)
async def test_attempts_are_spread_by_full_jitter(case, autojump_clock):
    first, second = [], []
    for _ in range(40):
        async with stage(case, faults=Faults(handshake="eof")) as it:
            with pytest.raises(ConnectError):
                await it.session.synthesize(TEXT)
            one, two, three = _requests(it)
            first.append(two - one)
            second.append(three - two)
    for pauses, most in ((first, 0.2), (second, 0.4)):
        assert 0 <= min(pauses) < most / 2 < max(pauses) <= most
    assert len(set(first)) > 35


@cases(lambda case: case.cancels)
async def test_the_breaker_opens_and_closes(case, autojump_clock):
    async with stage(case, faults=Faults(handshake="eof")) as it:
        for _ in range(2):
            with pytest.raises(ConnectError) as failed:
                await it.session.synthesize(TEXT)
            assert not isinstance(failed.value, BreakerOpen)
        assert it.dialer.dialled == 6

        # Open: it says so at once, with the reason, and when to come again.
        began = trio.current_time()
        for _ in range(10):
            with pytest.raises(BreakerOpen) as caught:
                await it.session.synthesize(TEXT)
        with pytest.raises(BreakerOpen):
            await it.session.prewarm()
        assert trio.current_time() == began
        assert it.dialer.dialled == 6
        assert 0 < caught.value.retry_after <= 5.0
        assert caught.value.provider == case.name
        assert isinstance(caught.value.__cause__, ConnectError)
        assert str(caught.value.__cause__) in str(caught.value)

        # Half open: one attempt. It fails, so it stays open, twice as long.
        await trio.sleep(caught.value.retry_after)
        with pytest.raises(ConnectError):
            await it.session.synthesize(TEXT)
        assert it.dialer.dialled == 7
        with pytest.raises(BreakerOpen) as caught:
            await it.session.synthesize(TEXT)
        assert 5.0 < caught.value.retry_after <= 10.0

        # Half open again: it works, so all is forgotten.
        it.behave(faults=Faults())
        await trio.sleep(caught.value.retry_after)
        await it.speak(NEXT)
        assert it.dialer.dialled == 8
        it.behave(faults=Faults(drop_after_messages=0, handshake="eof"))
        await trio.sleep(1)
        with pytest.raises(ConnectError) as failed:
            await it.session.synthesize(TEXT)
        assert not isinstance(failed.value, BreakerOpen)


async def test_a_server_that_accepts_and_hangs_up_is_not_hammered(case, autojump_clock):
    """A connection that comes about is no success yet."""
    async with stage(case, faults=Faults(drop_after_messages=0)) as it:
        began = trio.current_time()
        for _ in range(200):
            with pytest.raises(Exception, match=r"dropped|not tried"):
                await it.session.synthesize(TEXT)
            await trio.sleep(0.1)
        assert it.dialer.dialled <= 6 + (trio.current_time() - began) / 5 + 1


# ---- limits --------------------------------------------------------------------------------------------------------


@cases_with("use limited")
async def test_twenty_five_turns_in_a_row_keep_the_providers_limits(case, autojump_clock):
    """As the simulator counts them: none fails, none hangs, none is refused a flush."""
    limits = {"flush_limit": 20, "flush_window": 60.0}
    async with stage(case, options=limits | {"ms_per_char": 5}, provider=limits, pace=0) as it:
        slowest = 0.0
        for number in range(25):
            began = trio.current_time()
            await it.speak(f"Turn {number}.")
            slowest = max(slowest, trio.current_time() - began)
        assert slowest < 2
        assert it.server.connections == 2
        assert not [entry for entry in it.server.log if "Warning" in str(entry["data"])]


@cases_with("use limited")
async def test_markers_do_not_use_up_what_the_ends_of_turns_need(case, autojump_clock):
    limits = {"flush_limit": 20, "flush_window": 60.0}
    marker = FlushMarker()
    async with stage(case, options=limits | {"ms_per_char": 5}, provider=limits, pace=0) as it:
        script = [part for number in range(40) for part in (f"Part {number}. ", marker)]
        began = trio.current_time()
        await it.speak_streamed(*script)
        await it.speak(NEXT)
        assert trio.current_time() - began < 10
        assert not [entry for entry in it.server.log if "Warning" in str(entry["data"])]
