"""The protocol of the gateway's simulated speech and each of its switches, on the wire."""

import json
from urllib.parse import urlencode

import attrs
import pytest
import trio
from gateway_tts_client import GOOGLE, TARGET, TEXT, GatewayTTSClient, connect, serving, shown
from raw_client import EOF, Closed, Refused, audio, runs

from voicetrio.simulators import GatewayOptions, GatewaySimulator, Speech, tagged_pcm

CONFIGS = {
    "google": GOOGLE,
    "sarvamai": {"model": "bulbul:v2", "language": "en-IN", "speaker": "anushka", "sample_rate": 16000},
    "cartesia": {"model": "sonic-2", "language": "en", "voice": "an-id", "sample_rate": 48000},
    "deepgram": {
        "model": "aura-2",
        "encoding": "linear16",
        "sample_rate": 8000,
        "container": "none",
        "voice_id": "amalthea",
        "language": "en",
    },
}


def target(path="/v1/tts", **fields):
    query = {"provider": "google", "secret": "key", "modelId": "m"} | fields
    return f"{path}?{urlencode({name: value for name, value in query.items() if value is not None})}"


async def silence(client, seconds=1000):
    with trio.move_on_after(seconds) as scope:
        assert await client.receive() is None
    assert scope.cancelled_caught


# The handshake.


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (target(secret=None), 401),
        (target(secret=""), 401),
        (target(secret="wrong"), 401),
        (target(provider=None), 400),
        (target(modelId=None), 400),
        (target("/v1/speak"), 404),
        (target("/v1/tts/"), 404),
    ],
)
async def test_what_is_refused_at_the_upgrade(asked, status):
    async with serving(api_key="key") as server:
        with pytest.raises(Refused) as caught:
            await connect(server, asked)
    assert caught.value.status == status
    assert json.loads(caught.value.body) == {"error": f"status {status}"}


async def test_a_token_must_be_percent_encoded():
    async with serving(api_key="a+b") as server:
        await connect(server, target(secret="a+b"))
        with pytest.raises(Refused, match="401"):
            await connect(server, target().replace("secret=key", "secret=a+b"))
    async with serving() as server:
        with pytest.raises(Refused, match="401"):  # no token has a space
            await connect(server, target().replace("secret=key", "secret=a+b"))


async def test_the_token_is_not_in_the_log():
    async with serving(api_key="a-secret-token") as server:
        await connect(server, target(secret="a-secret-token"))
        assert "a-secret-token" not in json.dumps(server.log)


async def test_more_connections_than_allowed_get_429():
    async with serving(concurrent_limit=1) as server:
        await connect(server)
        with pytest.raises(Refused, match="429"):
            await connect(server)


async def test_a_request_without_upgrade_is_refused():
    async with serving() as server:
        stream = await server.dial("simulator.test", 80)
        await stream.send_all(f"GET {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 426 ")


# The configuration.


@pytest.mark.parametrize("vendor", CONFIGS)
async def test_a_vendors_configuration_is_taken_and_its_rate_is_used(vendor):
    async with serving() as server:
        client = await connect(server, target(provider=vendor), CONFIGS[vendor])
        await client.say(TEXT)
        assert len(audio(await client.completed())) == 2 * round(16 * 0.06 * CONFIGS[vendor]["sample_rate"])


@pytest.mark.parametrize("vendor", CONFIGS)
async def test_each_field_of_a_vendors_configuration_is_wanted(vendor):
    async with serving() as server:
        for name in CONFIGS[vendor]:
            for config in (CONFIGS[vendor] | {name: None}, {k: v for k, v in CONFIGS[vendor].items() if k != name}):
                client = await connect(server, target(provider=vendor), config)
                (words,) = shown([await client.message()])
                assert words.startswith(f"Invalid config for {vendor}: {name} ")
    assert server.segments == []


async def test_a_configuration_may_have_more_or_be_of_a_vendor_that_is_not_known():
    async with serving() as server:
        for vendor, config in (("google", GOOGLE | {"more": [1]}), ("other", {}), ("other", {"sample_rate": 16000})):
            client = await connect(server, target(provider=vendor), config)
            await client.say(TEXT)
            assert audio(await client.completed())


async def test_fields_are_not_looked_at_if_the_options_say_so():
    async with serving(config_checked=False) as server:
        client = await connect(server, TARGET, {})
        await client.say(TEXT)
        assert len(audio(await client.completed())) == 2 * 23040


@pytest.mark.parametrize(
    "config",
    [None, [], "x", {"encoding": "mp3"}, {"container": "wav"}, {"sample_rate": "24000"}, {"sample_rate": 1}],
)
async def test_a_configuration_that_cannot_be(config):
    async with serving(config_checked=False) as server:
        client = await connect(server, config=None)
        await client.configure(config)
        assert shown([await client.message()])[0].startswith("Invalid config")


@pytest.mark.parametrize("message", [{"type": "text", "data": "x"}, {"type": "flush"}])
async def test_the_configuration_comes_first(message):
    async with serving() as server:
        client = await connect(server, config=None)
        await client.send(message)
        assert shown([await client.message()]) == ["Invalid message: config expected first"]


@pytest.mark.parametrize(
    "message", [b"bytes", "no json", "[1]", "7", '{"data":1}', '{"type":3}', '{"type":"stop"}', '{"type":"text"}']
)
async def test_a_message_that_is_none(message):
    async with serving() as server:
        client = await connect(server)
        await client.send(message)
        assert shown([await client.message()])[0].startswith("Invalid message")
        await client.say(TEXT)
        assert shown(await client.completed()) == [24, "*"]


async def test_what_is_wrong_may_close_the_connection():
    async with serving(error_closes=True) as server:
        client = await connect(server, config=None)
        await client.send("nonsense")
        assert shown([await client.message(), await client.message()])[1] == Closed(1011, "")
        assert await client.receive() is EOF


# Speech.


async def test_a_flush_is_a_segment():
    async with serving() as server:
        client = await connect(server)
        await client.send({"type": "text", "data": "Hello "})
        await client.send({"type": "text", "data": "from trio."})
        await client.send({"type": "flush"})
        seen = await client.completed()
        await client.say("abc")
        seen += await client.completed()
    assert [segment.text for segment in server.segments] == [TEXT, "abc"]
    assert runs(audio(seen)) == [(0, 0, 23040), (1, 0, 4320)]
    assert shown(seen) == [24, "*", 5, "*"]


async def test_text_waits_for_its_flush_and_a_flush_of_nothing_is_nothing(autojump_clock):
    async with serving() as server:
        client = await connect(server)
        await client.send({"type": "flush"})
        await client.send({"type": "text", "data": "abc"})
        await silence(client)
    assert server.segments == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [5, "*", 5, "*", 5, "*"]),
        ({"completes": "turn"}, [15, "*"]),
        ({"end_marker": "double"}, [5, "*", "*", 5, "*", "*", 5, "*", "*"]),
        ({"end_marker": "none"}, [15]),
        ({"late_frames": 2}, [5, "*", 7, "*", 7, "*", 2]),
    ],
)
async def test_completions(autojump_clock, fields, expected):
    async with serving(first_audio=0.1, **fields) as server:
        client = await connect(server)
        await client.say("abc", "def", "ghi")
        seen = []
        with trio.move_on_after(60):
            while True:
                seen.append(await client.message())
    assert shown(seen) == expected


async def test_a_late_completion(autojump_clock):
    async with serving(end_marker="late", end_marker_delay=3.0) as server:
        client = await connect(server)
        await client.say("abc")
        assert shown(await client.completed()) == [5, "*"]
        assert trio.current_time() == pytest.approx(3.0)


async def test_the_first_audio_and_the_pace(autojump_clock):
    async with serving(first_audio=0.5, speed=2.0) as server:
        client = await connect(server)
        await client.say(TEXT)
        await client.message()
        assert trio.current_time() == pytest.approx(0.5)
        await client.completed()
        assert trio.current_time() == pytest.approx(0.5 + 0.92 / 2)


async def test_audio_before_it_was_asked_for():
    async with serving(audio_before_asked=3) as server:
        client = await connect(server)
        seen = [await client.message() for _ in range(3)]
        await client.say("abc")
        seen += await client.completed()
    assert runs(audio(seen)) == [(0, 0, 2880), (1, 0, 4320)]
    assert [segment.text for segment in server.segments] == ["", "abc"]


@pytest.mark.parametrize("how", ["json", "binary"])
async def test_audio_in_json_or_binary(how):
    async with serving(audio=how) as server:
        client = await connect(server)
        await client.say("abc")
        first = await client.receive()
        assert isinstance(first, bytes) == (how == "binary")
        if how == "json":
            assert json.loads(first).keys() == {"type", "data"}


@pytest.mark.parametrize(("riff", "headers"), [("none", []), ("each", [0, 1, 2, 3, 4]), ("first", [0])])
async def test_riff_headers(riff, headers):
    async with serving(riff=riff) as server:
        client = await connect(server)
        await client.say("abc")
        frames = (await client.completed())[:-1]
    assert [number for number, frame in enumerate(frames) if frame.startswith(b"RIFF")] == headers
    bare = [frame[44:] if frame.startswith(b"RIFF") else frame for frame in frames]
    assert b"".join(bare) == tagged_pcm(0, 0, 4320)


async def test_a_riff_header_in_two_parts():
    async with serving(riff="split", riff_split=7) as server:
        client = await connect(server)
        await client.say("abc")
        frames = (await client.completed())[:-1]
    assert (len(frames), frames[0]) == (6, b"RIFF\xff\xff\xff")
    assert b"".join(frames)[44:] == tagged_pcm(0, 0, 4320)


async def test_acknowledgements_in_plain_words():
    async with serving(acknowledges=True) as server:
        client = await connect(server)
        await client.say("abc")
        assert shown(await client.completed())[:3] == ["success", "ok", "ok"]


@pytest.mark.parametrize(
    ("vendor", "fields", "text", "spoken"),
    [
        ("sarvamai", {}, "Yes.", False),
        ("sarvamai", {}, " Yes. ", False),
        ("sarvamai", {}, "Yes..", True),
        ("sarvamai", {"short_counts": "letters"}, "Yes......", False),
        ("sarvamai", {"short_counts": "letters"}, "नमस्ते", True),
        ("sarvamai", {"shortest": 3}, "Yes", True),
        ("cartesia", {}, "A", True),
        ("cartesia", {"short_refused": "sarvamai,cartesia"}, "A", False),
    ],
)
async def test_short_text(vendor, fields, text, spoken):
    async with serving(**fields) as server:
        client = await connect(server, target(provider=vendor), CONFIGS[vendor])
        await client.say(text)
        first = await client.message()
    assert isinstance(first, bytes) == spoken
    assert spoken or shown([first]) == ["400: text is too short"]


async def test_odd_and_empty_frames():
    async with serving(odd_frames=True, empty_frames=True) as server:
        client = await connect(server)
        await client.say("abc")
        frames = (await client.completed())[:-1]
    assert [len(frame) for frame in frames] == [0, 1921] * 4 + [0, 956]
    assert b"".join(frames) == tagged_pcm(0, 0, 4320)


async def test_a_voice_speaks():
    class Voice:
        async def speak(self, text, rate):
            return Speech(pcm=bytes(len(text) * 20))

    options = GatewayOptions(voice=True, first_audio=0, speed=float("inf"))
    async with GatewaySimulator(options, voice=Voice()).serve_in_memory() as server:
        client = await connect(server)
        await client.say(TEXT)
        assert audio(await client.completed()) == bytes(320)
    assert server.segments[0].samples == 160
    with pytest.raises(ValueError, match="no voice"):
        GatewaySimulator(GatewayOptions(voice=True))


# Limits, and the other endpoints.


async def test_idle_and_session_limits(autojump_clock):
    async with serving(idle_timeout=5.0) as server:
        client = await connect(server)
        assert await client.receive() == Closed(1001, "idle timeout")
        server.options = attrs.evolve(server.options, idle_timeout=None, session_limit=7.0)
        client = await connect(server)
        began = trio.current_time()
        assert await client.receive() == Closed(1001, "session limit")
        assert trio.current_time() - began == pytest.approx(7.0)


async def test_the_path_tells_the_endpoint():
    async with serving() as server:
        client = GatewayTTSClient(await server.dial("simulator.test", 80))
        await client.handshake(target("/v1/denoise"))
        await client.send({"type": "config", "data": {"model": "m", "sample_rate": 16000, "channels": 1}})
        await client.send({"type": "audio", "data": "AAAA", "seq": 0})
        assert (await client.message())["data"]["eventType"] == "DENOISE_AUDIO"
        with pytest.raises(Refused, match="404"):
            await connect(server, target("/v1/nothing"))
    assert not server.url.endswith("/")
