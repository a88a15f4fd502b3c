"""What Cartesia's simulated speech-to-text puts on the wire, and what it finds out about the audio that it is sent."""

import attrs
import msgspec
import pytest
from raw_client import EOF, FAULTS, Closed, RawClient, Refused

from voicetrio.simulators import Faults, tagged_pcm
from voicetrio.simulators._ear import Ear
from voicetrio.simulators.cartesia_api import CartesiaAPIOptions, CartesiaAPISimulator
from voicetrio.simulators.cartesia_stt import CartesiaSTTOptions, CartesiaSTTSimulator, Cue

HEADERS = {"X-API-Key": "key", "Cartesia-Version": "2026-03-01"}
QUERY = "?model=ink-2&encoding=pcm_s16le&sample_rate=16000"


def serve(script=None, **fields):
    faults = Faults(**{key: value for key, value in fields.items() if key in FAULTS})
    others = {key: value for key, value in fields.items() if key not in FAULTS}
    return CartesiaSTTSimulator(CartesiaSTTOptions(faults=faults, **others), script=script).serve_in_memory()


async def connect(server, target="/stt/websocket" + QUERY, headers=HEADERS):
    return await RawClient(await server.dial("simulator.test", 80)).handshake(target, headers=headers)


async def talk(client, begin, end, *then):
    await client.send(tagged_pcm(0, begin, end - begin))
    for message in then:
        await client.send(message)


def records(server, event):
    return [record["data"] for record in server.log if record["event"] == event]


async def test_a_transcript_a_flush_and_the_end(autojump_clock):
    async with serve(interims=False) as server:
        client = await connect(server)
        await talk(client, 0, 6000, "finalize", "done")
        seen = await client.until(Closed)
    request_id = client.headers["x-request-id"]
    words = [{"word": " w0", "start": 0.0, "end": 0.25}, {"word": " w1[0:2000]", "start": 0.25, "end": 0.375}]
    assert seen == [
        {
            "request_id": request_id,
            "type": "transcript",
            "is_final": True,
            "text": " w0 w1[0:2000]",
            "duration": 0.375,
            "language": "en",
            "words": words,
        },
        {"request_id": request_id, "type": "flush_done", "is_final": False},
        {"request_id": request_id, "type": "flush_done", "is_final": False},
        {"request_id": request_id, "type": "done", "is_final": False},
        Closed(1000, ""),
    ]


async def test_a_close_frame_instead_of_done_loses_the_text(autojump_clock):
    async with serve(interims=False) as server:
        client = await connect(server)
        await talk(client, 0, 6000)
        await client.stream.send_all(client.close_frame())
        assert await client.until(Closed) == [Closed(1000, "")]


@pytest.mark.parametrize("name", ["model", "encoding", "sample_rate"])
@pytest.mark.parametrize("version", ["2024-11-13", "2026-03-01"])
async def test_a_missing_parameter_is_refused_in_band(name, version, autojump_clock):
    query = "&".join(part for part in QUERY[1:].split("&") if not part.startswith(name))
    async with serve() as server:
        client = await connect(server, f"/stt/websocket?{query}", {**HEADERS, "Cartesia-Version": version})
        error, closed = await client.until(Closed)
    assert error["message"].startswith(f"Missing {name}: ")
    assert error["code" if version < "2026" else "status_code"] == 400
    assert closed == Closed(1008, f"Missing {name}")


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/stt/websocket" + QUERY, {"Cartesia-Version": "2026-03-01"}, 401),
        ("/stt/elsewhere" + QUERY, HEADERS, 404),
        ("/stt/websocket" + QUERY, {"X-API-Key": "key"}, 400),
    ],
)
async def test_refused_at_the_upgrade(target, headers, status, autojump_clock):
    async with serve() as server:
        with pytest.raises(Refused) as caught:
            await connect(server, target, headers)
    assert caught.value.status == status


async def test_unknown_commands_are_errors_that_name_the_known(autojump_clock):
    async with serve() as server:
        client = await connect(server)
        await client.send("stop")
        assert "finalize, done or close" in (await client.until("error"))[0]["message"]
        client = await connect(server, "/stt/turns/websocket" + QUERY)
        for message in ("done", '{"type":"stop"}', "[1]"):
            await client.send(message)
            assert (await client.until("error"))[-1]["status_code"] == 400


async def test_gaps_and_repetitions_are_found(autojump_clock):
    async with serve() as server:
        client = await connect(server)
        await talk(client, 0, 1000)
        await talk(client, 1000, 2000)
        await client.send(bytes(3200))
        await talk(client, 2000, 3000)
        await talk(client, 3500, 4000)
        await talk(client, 3900, 5000, "done")
        await client.until(Closed)
        while await client.receive() is not EOF:
            pass
    assert records(server, "gap") == [{"segment": 0, "position": 3000, "samples": 500}]
    assert records(server, "double") == [{"segment": 0, "position": 3900, "samples": 100}]
    assert records(server, "audio") == [{"samples": 6200, "runs": [[0, 0, 3000], [0, 3500, 500], [0, 3900, 1100]]}]


async def test_words_show_where_audio_was_torn(autojump_clock):
    async with serve(interims=False, auto_final=False) as server:
        client = await connect(server)
        await talk(client, 0, 5000)
        await talk(client, 6000, 8000, "finalize")
        final, _ = await client.until("flush_done")
    assert final["text"] == " w0 w1[0:1000] w1[2000:4000]"


async def test_audio_without_tags_makes_words_by_its_length_and_silence_none(autojump_clock):
    async with serve(interims=False, auto_final=False) as server:
        client = await connect(server)
        await client.send(bytes(16_000))
        await client.send(b"\x11\x22" * 4000)
        await client.send("finalize")
        final, _ = await client.until("flush_done")
    assert final["text"] == " w2"


async def test_a_script_is_said_at_its_positions(autojump_clock):
    script = [Cue(100, {"type": "transcript", "text": "a"}), Cue(300, {"type": "turn.end", "request_id": "mine"})]
    async with serve(script=script) as server:
        client = await connect(server)
        await talk(client, 0, 99)
        await talk(client, 99, 300)
        seen = await client.until("turn.end")
    assert [event["type"] for event in seen] == ["transcript", "turn.end"]
    assert seen[1]["request_id"] == "mine"


@pytest.mark.parametrize(
    ("encoding", "convert"),
    [
        ("pcm_s32le", lambda samples: (samples.astype("<i4") << 16).tobytes()),
        ("pcm_f32le", lambda samples: (samples / 32768).astype("<f4").tobytes()),
    ],
)
async def test_wider_samples_are_heard_as_well(encoding, convert, autojump_clock):
    import numpy as np

    data = convert(np.frombuffer(tagged_pcm(0, 0, 4000), "<i2"))
    async with serve(interims=False) as server:
        client = await connect(server, f"/stt/websocket?model=ink-2&encoding={encoding}&sample_rate=16000")
        await client.send(data[:1001])
        await client.send(data[1001:])
        await client.send("done")
        assert (await client.until("done"))[0]["text"] == " w0"


async def test_an_idle_connection_is_closed(autojump_clock):
    async with serve(idle_timeout=3.0) as server:
        client = await connect(server)
        assert await client.until(Closed) == [Closed(1000, "connection idle timeout")]


async def test_too_many_connections(autojump_clock):
    async with serve(concurrent_limit=1) as server:
        await connect(server)
        with pytest.raises(Refused) as caught:
            await connect(server)
    assert caught.value.status == 429


async def test_the_api_tells_its_sockets_apart_by_the_path(autojump_clock):
    async with CartesiaAPISimulator(CartesiaAPIOptions(word_ms=100.0)).serve_in_memory() as server:
        assert server.url == "ws://simulator.test"  # each client adds the path of its socket
        client = await connect(server)
        await talk(client, 0, 1600, "done")
        assert (await client.until("done"))[0]["text"] == " w0"
        voice = await connect(server, "/tts/websocket")
        await voice.send("nonsense")
        assert (await voice.until("error"))[0]["title"] == "Invalid request"
        server.options = attrs.evolve(server.options, faults=Faults(refuse_status=503))
        with pytest.raises(Refused) as caught:
            await connect(server)
        assert msgspec.json.decode(caught.value.body)["title"] == "Service unavailable"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_an_ear_hears_tagged_audio_however_it_is_cut(size):
    found = []
    ear = Ear(lambda event, **data: found.append(event))
    pcm = tagged_pcm(5, 100, 300)
    for start in range(0, len(pcm), size):
        ear.hear(pcm[start : start + size])
    ear.hear(b"", last=True)
    assert ear.runs == [[5, 100, 300]]
    assert found == ["segment"]
