"""How often a turn is tried, and on which links."""

from contextlib import asynccontextmanager

import pytest
import trio
from deepgram_talk import Talk

from voicetrio import LMNTTTS, open_audio_sink
from voicetrio._link.nursery import open_plain_nursery
from voicetrio.errors import BreakerOpen, ConnectTimeout, ProviderError
from voicetrio.simulators import Faults
from voicetrio.simulators.lmnt import LMNTOptions, LMNTSimulator

KEY = "a-key-of-thirty-characters-000"


@asynccontextmanager
async def talk(*, faults=None, api_key="key", **options):
    simulator = LMNTSimulator(LMNTOptions(faults=Faults(**(faults or {}))))
    async with simulator.serve_in_memory() as server, open_plain_nursery("the talk is over") as nursery:
        sink, source = open_audio_sink(24_000)
        it = Talk(server, sink)
        it.dials = []
        nursery.start_soon(it.play, source)

        async def dial(host, port):
            it.dials.append(port)
            return await server.dial(host, port)

        async with LMNTTTS(api_key=api_key, ws_url=server.url, **options).open(sink, dial=dial) as it.tts:
            yield it


@pytest.mark.parametrize(
    "faults",
    [{"drop_after_messages": 1}, {"handshake": "eof"}, {"refuse_status": 503}],
    ids=["dropped when ready", "no upgrade", "refused"],
)
async def test_a_turn_is_tried_three_times_whatever_fails(autojump_clock, faults):
    async with talk(faults=faults) as it:
        with pytest.raises(ProviderError) as raised:
            await it.tts.synthesize("Hello there.")
        assert not isinstance(raised.value, BreakerOpen)
        assert len(it.dials) == 3


async def test_a_provider_that_accepts_in_silence_gets_its_time_three_times(autojump_clock):
    async with talk(faults={"accept_silent": True}) as it:
        with pytest.raises(ConnectTimeout):
            await it.tts.synthesize("Hello there.")
        assert len(it.dials) == 3
        assert 30 <= trio.current_time() < 30 + 0.2 + 0.4


async def test_links_whose_turn_waits_for_its_text_are_not_forgotten(autojump_clock):
    """Five other voices are spoken meanwhile, each with links of its own."""
    go = trio.Event()

    async def slow():
        await go.wait()
        yield "Hello there."

    async with talk(prefetch=True) as it:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.tts.synthesize, slow())
            await trio.sleep(1)
            for voice in "abcde":
                await it.tts.synthesize("Hi.", voice_id=voice)
            go.set()
        assert it.tts.statistics().connections == it.server.connections == len(it.dials)
        await trio.sleep(700)
        closed = [record["connection"] for record in it.events("closed")]
        assert len(set(closed)) == len(it.dials)


async def test_a_key_at_the_edge_of_what_is_shown_is_not_shown(autojump_clock):
    body = "x" * 171 + KEY
    async with talk(faults={"refuse_status": 401, "refuse_body": body}, api_key=KEY) as it:
        with pytest.raises(ProviderError) as raised:
            await it.tts.synthesize("Hello there.")
    assert KEY[:8] not in str(raised.value)
    assert KEY[:8] not in repr(raised.value.reason)
