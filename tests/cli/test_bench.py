"""``voicetrio bench``: what it measures, what it asks before it spends, and what it compares."""

import json

import attrs
import pytest
import trio

from voicetrio import DeepgramTTS
from voicetrio.cli._application import run
from voicetrio.cli._distance import Distance, open_distance
from voicetrio.cli._measure import FIGURES, Measured, Workload, measure, ratio
from voicetrio.cli.bench import _show
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator

WORKLOAD = Workload(cold=2, warm=3, interruptions=2)


def simulator(**fields):
    return DeepgramSimulator(DeepgramOptions(first_audio=0.01, speed=20, flush_limit=0, **fields))


async def measured(workload=WORKLOAD, **fields):
    told = []
    async with simulator(**fields).serve_in_memory() as server:
        provider = DeepgramTTS(api_key="k", base_url=server.url)
        found = await measure(provider, workload, dial=server.dial, tell=lambda *each: told.append(each))
        return found, told, server


async def test_every_kind_of_turn_is_measured(autojump_clock):
    found, told, server = await measured()

    assert {key: len(values) for key, values in found.figures.items()} == {
        "cold_first_ms": 2,
        "warm_first_ms": 3,
        "interrupt_call_ms": 2,
        "interrupt_free_ms": 2,
        "interrupt_next_ms": 2,
    }
    assert (found.stale_samples, found.errors) == (0, [])
    assert found.connections == 1
    assert server.connections == 3  # two of them for the cold starts
    assert [what for what, _ in told] == ["cold start"] * 2 + ["warm turn"] * 3 + ["interruption"] * 2


async def test_no_more_characters_are_spoken_than_were_stated(autojump_clock):
    _found, told, server = await measured()

    spoken = sum(len(segment.text) for segment in server.segments)
    assert spoken == WORKLOAD.characters == sum(characters for _, characters in told)


async def test_turns_that_fail_are_told_and_have_no_figures(autojump_clock):
    found, _told, _server = await measured(api_key="another")

    assert not any(found.figures.values())
    assert len(found.errors) == 2 + 1 + 3 + 2  # cold starts, connecting beforehand, warm turns, interruptions
    assert found.errors[0].startswith("UpgradeRejected: ")


async def test_a_turn_too_short_to_be_interrupted_is_no_figure(autojump_clock):
    found, _told, _server = await measured(attrs.evolve(WORKLOAD, long="Hm."))

    assert found.figures["interrupt_next_ms"] == []
    assert found.errors == ["the turn was over before it could be interrupted"] * 2


async def test_turns_without_a_sound_are_no_figures_and_no_crash(autojump_clock):
    found, _told, _server = await measured(attrs.evolve(WORKLOAD, short=" "))

    assert not any(found.figures.values())
    assert found.errors == ["the turn had no sound"] * (2 + 3 + 2)


async def echo(stream):
    async with stream:
        async for data in stream:
            await stream.send_all(data)


@pytest.fixture
async def echo_port(nursery):
    listeners = await nursery.start(trio.serve_tcp, echo, 0)
    return listeners[0].socket.getsockname()[1]


async def test_what_goes_a_distance_arrives_whole_and_in_order(echo_port):
    with trio.fail_after(20):
        async with (
            open_distance(Distance(latency=0.002, jitter=0.002)) as dial,
            await dial("127.0.0.1", echo_port) as end,
        ):
            sent = bytes(range(256)) * 40
            for start in range(0, len(sent), 512):
                await end.send_all(sent[start : start + 512])
            received = b""
            while len(received) < len(sent):
                received += await end.receive_some()
            assert received == sent


async def test_a_distance_takes_its_time(echo_port):
    with trio.fail_after(20):
        async with open_distance(Distance(latency=0.05)) as dial, await dial("127.0.0.1", echo_port) as end:
            began = trio.current_time()
            await end.send_all(b"there and back")
            await end.receive_some()
            assert trio.current_time() - began >= 0.05


async def test_connections_are_lost_where_that_is_asked_for(echo_port):
    with trio.fail_after(20):
        async with open_distance(Distance(lose_after=0.01)) as dial, await dial("127.0.0.1", echo_port) as end:
            assert await end.receive_some() == b""


async def test_the_end_of_the_block_is_the_end_of_all_connections(echo_port):
    async with open_distance(Distance()) as dial:
        end = await dial("127.0.0.1", echo_port)
    with trio.fail_after(20):
        assert await end.receive_some() == b""
    await end.aclose()


def test_a_live_run_states_what_it_would_cost_and_wants_a_yes(capsys):
    assert run(["bench", "--live", "deepgram", "-n", "4"]) == 2

    told = capsys.readouterr().err
    assert f"up to {Workload(cold=3, warm=4, interruptions=4).characters:,} characters" in told
    assert "--yes" in told


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--live", "lmnt", "--simulator", "lmnt"],
        ["--provider", "lmnt"],
        ["--base-url", "ws://127.0.0.1:1"],
        ["--live", "lmnt", "-S", "speed=4"],
        ["--simulator", "lmnt", "-S", "sped=4"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_told(capsys, arguments):
    assert run(["bench", *arguments]) == 2
    assert capsys.readouterr().err.startswith(("voicetrio: ", "lmnt: up to"))


def test_a_run_is_written_and_two_are_compared(capsys, tmp_path):
    file = tmp_path / "a.json"
    options = ["-S", "first_audio=0", "-S", "speed=inf", "-S", "flush_limit=0", "-O", "flush_limit=1000"]

    assert run(["bench", "--simulator", "deepgram", "-n", "2", "-o", str(file), *options]) in (0, 1)

    record = json.loads(file.read_text())
    assert record["provider"] == "deepgram"
    assert len(record["figures"]["warm_first_ms"]) == 2
    assert "simulated" not in json.dumps(record["workload"])
    capsys.readouterr()
    assert run(["bench", "--compare", str(file), str(file)]) == 0
    assert "1.00" in capsys.readouterr().out


def record(**fields):
    """What a run writes, made up."""
    whole = {
        "kind": "voicetrio bench", "version": "1", "python": "3", "system": "Linux", "provider": "lmnt",
        "simulated": None, "distance": {}, "workload": {"warm": 3}, "figures": {"warm_first_ms": [1.0]},
        "stale_samples": 0, "errors": [],
    }  # fmt: skip
    return json.dumps({**whole, **fields})


def test_what_two_runs_do_not_have_in_common_is_told(capsys, tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(record())
    b.write_text(record(workload={"warm": 4}, errors=["lost"]))

    assert run(["bench", "--compare", str(a), str(b)]) == 0
    told = capsys.readouterr().out
    assert "the two runs differ in: workload\n" in told
    assert "failed turns: A 0, B 1" in told
    assert run(["bench", "--compare", str(a), str(a)]) == 0
    assert "differ" not in capsys.readouterr().out


def test_what_cannot_be_written_is_told_before_anything_is_measured(capsys, tmp_path):
    file = str(tmp_path / "missing" / "a.json")

    assert run(["bench", "--live", "deepgram", "--yes", "-O", "base_url=ws://127.0.0.1:9", "-o", file]) == 2
    told = capsys.readouterr()
    assert "cannot be written" in told.err
    assert told.out == ""


def test_no_quantile_is_told_of_too_few_turns(capsys):
    found = Measured()
    found.figures["cold_first_ms"] = [1.0] * 3
    found.figures["warm_first_ms"] = [1.0] * 20
    found.figures["interrupt_call_ms"] = [1.0] * 100

    _show(found)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = [line[-4:] for line in lines if line[-4:-3] and line[-4].isdigit()]
    assert told[:3] == [["3", "1.0", "-", "-"], ["20", "1.0", "1.0", "-"], ["100", "1.0", "1.0", "1.0"]]


@pytest.mark.parametrize(
    "text",
    ['{"kind": "other"}', '{"kind": "voicetrio bench"}', record(figures=[]), record(kind="other"), "{", "\xff"],
    ids=["other", "only its kind", "no figures", "another kind", "cut off", "no JSON"],
)
def test_another_file_is_not_compared(capsys, tmp_path, text):
    (tmp_path / "other.json").write_text(text, encoding="latin-1")

    assert run(["bench", "--compare", *[str(tmp_path / "other.json")] * 2]) == 2
    assert "is not a file that" in capsys.readouterr().err


def test_the_ratio_of_two_runs_has_an_interval_around_it():
    found, low, high = ratio([2.0, 2.2, 1.8], [1.0, 1.1, 0.9])

    assert found == pytest.approx(2.0)
    assert low <= found <= high
    assert set(FIGURES) == {
        "cold_first_ms", "warm_first_ms", "interrupt_call_ms", "interrupt_free_ms", "interrupt_next_ms"
    }  # fmt: skip
