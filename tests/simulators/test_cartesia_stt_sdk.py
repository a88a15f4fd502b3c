"""Outside truth: Cartesia's own SDK against the simulated speech-to-text, over real sockets, both endpoints."""

import json

import pytest
import trio
from cartesia import Cartesia

from voicetrio.simulators import tagged_pcm
from voicetrio.simulators.cartesia_api import CartesiaAPIOptions, CartesiaAPISimulator
from voicetrio.simulators.cartesia_stt import CartesiaSTTOptions, CartesiaSTTSimulator

# The synchronous SDK opens websockets' connection in a way that websockets has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as a context manager:DeprecationWarning")

KEY = "the-sdks-own-key"
ASKED = {"encoding": "pcm_s16le", "model": "ink-2", "sample_rate": 16_000}


async def run(function):
    """Run blocking SDK code; it cannot outlive the test for long, because the simulator closes its sockets."""
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


def client_for(server):
    return Cartesia(api_key=KEY, websocket_base_url=f"ws://127.0.0.1:{server.port}", max_retries=0)


def talk_manually(server):
    events = []
    with client_for(server).stt.manual_finalize.websocket(**ASKED, keyterm=["trio", "New York"]) as connection:
        connection.send_raw(tagged_pcm(0, 0, 8000))
        connection.send_raw("finalize")
        connection.send_raw(tagged_pcm(0, 8000, 4000))
        connection.send_raw("done")
        for event in connection:
            events.append(event)
            if event.type == "done":
                break
    return events


def talk_in_turns(server):
    events = []
    with client_for(server).stt.auto_finalize.websocket(**ASKED, turn_end_threshold=0.1) as connection:
        connection.send_raw(tagged_pcm(0, 0, 24_000))
        connection.send({"type": "config", "turn": {"end_threshold": 0.2}})
        for event in connection:
            events.append(event)
            if event.type == "turn.end":
                break
        connection.send({"type": "close"})
    return events


async def test_manual_finalize():
    async with CartesiaSTTSimulator(CartesiaSTTOptions(api_key=KEY)).serve() as server:
        events = await run(lambda: talk_manually(server))
    finals = [event.text for event in events if event.type == "transcript" and event.is_final]
    assert finals == [" w0 w1", " w2"]
    assert [event.type for event in events if event.type != "transcript"] == ["flush_done", "flush_done", "done"]
    assert len({event.request_id for event in events}) == 1
    assert KEY not in json.dumps(server.log)


async def test_turns():
    async with CartesiaSTTSimulator(CartesiaSTTOptions(api_key=KEY)).serve() as server:
        events = await run(lambda: talk_in_turns(server))
    assert [event.type for event in events] == [
        "connected",
        "turn.start",
        *["turn.update"] * 4,
        "turn.eager_end",
        "turn.end",
    ]
    assert events[-1].transcript == " w0 w1 w2 w3"


async def test_both_and_the_voice_on_one_port():
    async with CartesiaAPISimulator(CartesiaAPIOptions(api_key=KEY, speed=1000.0)).serve() as server:
        assert (await run(lambda: talk_manually(server)))[-1].type == "done"
        assert (await run(lambda: talk_in_turns(server)))[-1].type == "turn.end"

        def speak():
            with client_for(server).tts.websocket_connect() as connection:
                context = connection.context(
                    model_id="sonic-3.5",
                    voice="6ccbfb76-1fc6-48f7-b71d-91ac6298247b",
                    output_format={"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000},
                    language="en",
                )
                context.push("Hello.")
                context.no_more_inputs()
                return [event.type for event in context.receive()]

        assert (await run(speak))[-1] == "done"
