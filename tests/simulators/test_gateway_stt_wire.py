"""The protocol of the gateway's simulated speech-to-text and each of its switches, on the wire."""

import base64
import json
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import numpy as np
import pytest
import trio
from raw_client import EOF, FAULTS, Closed, RawClient, Refused

from voicetrio.simulators import Faults, GatewayOptions, GatewaySimulator, tagged_pcm
from voicetrio.simulators.cartesia_stt import Cue
from voicetrio.simulators.gateway_stt import GatewaySTTOptions, GatewaySTTSimulator

RATE = 16_000
CONFIGS = {
    "google": {
        "model": "chirp_3",
        "language": "en-US",
        "languages": ["en-US"],
        "input_sample_rate": RATE,
        "output_sample_rate": 16_000,
        "interim_results": True,
        "punctuate": True,
        "location": "asia-south1",
    },
    "sarvamai": {"model": "s", "language": "en-IN", "input_sample_rate": RATE, "output_sample_rate": 16_000},
    "deepgram": {
        "model": "nova-2",
        "language": "en-US",
        "input_sample_rate": RATE,
        "interim_results": True,
        "punctuate": True,
        "smart_format": True,
        "endpointing": 50,
        "eager_eot_threshold": 0.6,
        "eot_threshold": 0.8,
        "eot_timeout_ms": 7000,
        "keyterm": None,
    },
}
SHORT = {"word_ms": 100.0, "phrase_words": 2, "pause_words": 1}


def target(path="/v1/stt", **fields):
    query = {"provider": "google", "secret": "key", "modelId": "m"} | fields
    return f"{path}?{urlencode({name: value for name, value in query.items() if value is not None})}"


@asynccontextmanager
async def serving(script=None, **fields):
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    options = GatewaySTTOptions(faults=faults, **{key: value for key, value in fields.items() if key not in FAULTS})
    async with GatewaySTTSimulator(options, script=script).serve_in_memory() as server:
        yield server


async def connect(server, asked=None, config=CONFIGS["google"]):
    """A client after the handshake, and after its configuration if there is one."""
    client = await Client(await server.dial("simulator.test", 80)).handshake(asked or target(), headers={})
    if config is not None:
        await client.send({"type": "config", "data": config})
    return client


class Client(RawClient):
    """One connection."""

    async def give(self, start, count, channels=2):
        """Tagged audio, the same on each channel."""
        pcm = np.repeat(np.frombuffer(tagged_pcm(0, start, count), "<i2"), channels).tobytes()
        await self.send({"type": "audio", "data": base64.b64encode(pcm).decode()})

    async def shown(self, count):
        """So many messages in short."""
        return [short(await self.receive()) for _ in range(count)]

    async def rest(self, seconds=100):
        """All that comes until it is silent for so long."""
        found = []
        while not found or found[-1] is not None:
            found.append(None)
            with trio.move_on_after(seconds):
                found[-1] = short(await self.receive())
            if found[-1] in (EOF, None) or isinstance(found[-1], Closed):
                break
        return [each for each in found if each is not None]


def short(message):
    if not isinstance(message, str) or message is EOF:
        return message
    try:
        message = json.loads(message)
    except ValueError:
        return message
    if message["type"] == "error":
        return message["data"]["error"]
    data = message["data"]
    if data["eventType"] != "TRANSCRIPT":
        return data["eventType"]
    return data["text"], data.get("is_final")


PHRASE = ["START_SPEECH", (" w0", False), (" w0 w1", False), (" w0 w1", True), "END_SPEECH"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (target(secret=None), 401),
        (target(secret="wrong"), 401),
        (target(provider=None), 400),
        (target(modelId=None), 400),
        (target("/v1/stt/"), 404),
    ],
)
async def test_what_is_refused_at_the_upgrade(asked, status):
    async with serving(api_key="key") as server:
        with pytest.raises(Refused) as caught:
            await connect(server, asked)
    assert caught.value.status == status


@pytest.mark.parametrize("vendor", CONFIGS)
async def test_each_field_of_a_vendors_configuration_is_wanted(vendor, autojump_clock):
    wanted = {name: value for name, value in CONFIGS[vendor].items() if value is not None}
    async with serving() as server:
        for name in wanted:
            client = await connect(server, target(provider=vendor), {k: v for k, v in wanted.items() if k != name})
            (words,) = await client.shown(1)
            assert words == f"Invalid config for {vendor}: {name} is missing or of another type"
        client = await connect(server, target(provider=vendor), CONFIGS[vendor])
        assert await client.rest() == []


@pytest.mark.parametrize("vendor", ["sarvam", "nobody"])
async def test_a_vendor_that_it_does_not_know_is_refused(vendor):
    async with serving() as server:
        client = await connect(server, target(provider=vendor))
        assert await client.shown(1) == [f"Unsupported provider: {vendor}"]


async def test_words_become_interim_and_with_the_silence_final(autojump_clock):
    async with serving(**SHORT) as server:
        client = await connect(server)
        await client.give(0, 3200)
        assert await client.rest() == PHRASE[:3]
        await client.give(3200, 1600)
        assert await client.rest() == PHRASE[3:]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interims": False}, [PHRASE[0], *PHRASE[3:]]),
        ({"auto_final": False}, PHRASE[:3]),
        ({"is_final": "interims"}, [*PHRASE[:3], (" w0 w1", None), "END_SPEECH"]),
        ({"is_final": "none"}, ["START_SPEECH", (" w0", None), (" w0 w1", None), (" w0 w1", None), "END_SPEECH"]),
        ({"speech_events": "before"}, [*PHRASE[:3], "END_SPEECH", (" w0 w1", True)]),
        ({"speech_events": "none"}, PHRASE[1:4]),
    ],
)
async def test_what_is_said_of_a_phrase(options, said, autojump_clock):
    async with serving(**SHORT, **options) as server:
        client = await connect(server)
        await client.give(0, 4800)
        assert await client.rest() == said


@pytest.mark.parametrize(
    ("options", "said", "after"),
    [
        ({}, [(" w0[0:800]", True), "END_SPEECH"], 0),
        ({"final_delay": 1.0}, [(" w0[0:800]", True), "END_SPEECH"], 1),
        ({"end_marker": "late"}, [(" w0[0:800]", True), "END_SPEECH"], 4),
        ({"end_marker": "double"}, [(" w0[0:800]", True), "END_SPEECH", "END_SPEECH"], 0),
        ({"end_marker": "none"}, [], 0),
    ],
)
async def test_how_a_flush_is_answered(options, said, after, autojump_clock):
    async with serving(**SHORT, **options) as server:
        client = await connect(server)
        await client.give(0, 800)
        await client.send({"type": "flush"})
        assert await client.shown(2) == ["START_SPEECH", (" w0[0:800]", False)]
        assert await client.shown(len(said)) == said
        assert trio.current_time() == pytest.approx(after)
        assert await client.rest() == []


@pytest.mark.parametrize(("empty_final", "said"), [(False, []), (True, [("", True)])])
async def test_a_flush_of_nothing(empty_final, said, autojump_clock):
    async with serving(empty_final=empty_final) as server:
        client = await connect(server)
        await client.send({"type": "flush"})
        assert await client.rest() == said


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\0\0", "Invalid message: text expected"),
        ("{", "Invalid message: no JSON"),
        ({"data": 1}, "Invalid message: no type"),
        ({"type": "text", "data": "x"}, "Invalid message: unknown type text"),
        ({"type": "audio", "data": "?"}, "Invalid audio: no base64"),
        ({"type": "audio", "data": "é"}, "Invalid audio: no base64"),
        ({"type": "audio"}, "Invalid audio: not whole samples of all channels"),
        ({"type": "audio", "data": "AAA="}, "Invalid audio: not whole samples of all channels"),
    ],
)
async def test_messages_that_cannot_be(message, words):
    async with serving() as server:
        client = await connect(server)
        await client.send(message)
        assert await client.shown(1) == [words]


async def test_the_configuration_comes_first():
    async with serving(error_closes=True) as server:
        client = await connect(server, config=None)
        await client.send({"type": "flush"})
        assert await client.shown(1) == ["Invalid message: config expected first"]
        assert (await client.receive()).code == 1011


async def test_the_log_tells_what_was_missing_and_what_came_twice(autojump_clock):
    async with serving() as server:
        client = await connect(server)
        for start, count in ((0, 800), (1600, 800), (2000, 800)):
            await client.give(start, count)
        await client.rest()
        found = [(r["event"], r["data"]["samples"]) for r in server.log if r["event"] in ("gap", "double")]
        assert found == [("gap", 800), ("double", 400)]


async def test_it_hears_the_first_channel(autojump_clock):
    async with serving(**SHORT, channels=1) as server:
        client = await connect(server)
        await client.give(0, 4800, channels=1)
        assert await client.rest() == PHRASE


async def test_a_script_is_recited_at_its_positions(autojump_clock):
    script = [Cue(100, {"eventType": "START_SPEECH"}), Cue(300, {"type": "error", "data": {"error": "oh"}})]
    async with serving(script=script) as server:
        client = await connect(server)
        await client.give(0, 200)
        assert await client.rest() == ["START_SPEECH"]
        await client.give(200, 200)
        await client.send({"type": "flush"})
        assert await client.rest() == ["oh"]


async def test_an_idle_connection_is_closed_if_it_is_told_to(autojump_clock):
    async with serving(idle_timeout=20.0) as server:
        client = await connect(server)
        assert (await client.receive()).code == 1001
        assert trio.current_time() == pytest.approx(20)


async def test_the_gateway_has_it_beside_its_other_endpoints(autojump_clock):
    async with GatewaySimulator(GatewayOptions(latency=0.0, **SHORT)).serve_in_memory() as server:
        client = await connect(server)
        await client.give(0, 4800)
        assert await client.rest() == PHRASE
