"""The demo as a whole, faster than speech."""

import json
from xml.etree import ElementTree

import numpy as np
from processes import voicetrio

from voicetrio import read_wav

RATE = 24_000


def test_the_dialogue_is_held_recorded_and_drawn(tmp_path):
    with voicetrio("demo", "--out", tmp_path, "--json", "--speed", 6) as process:
        out, err = process.communicate(timeout=40)

    assert (process.returncode, err) == (0, b"")
    report = json.loads(out)
    assert report["stale_samples"] == 0
    assert report["connections"] == 1
    check_turns(report["turns"])
    check_wav(report)
    drawing = ElementTree.parse(report["timeline"]).getroot()
    words = {element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"user", "agent", "meteorologists", "expect", "21 s"} <= words


def check_turns(turns):
    assert [turn["outcome"] for turn in turns] == ["completed"] * 2 + ["interrupted"] + ["completed"] * 2
    for turn in turns:
        assert turn["samples_stale"] == 0
        if turn["interruption"] is None:
            assert turn["samples_heard"] == turn["samples_wanted"]
            assert turn["samples_dropped"] == 0
    cut = turns[2]
    assert cut["samples_heard"] + cut["samples_dropped"] <= cut["samples_wanted"]
    assert cut["interruption"]["word"] in cut["text"].split()  # which one depends on how busy the machine is
    assert 0 < cut["interruption"]["share_of_word"] < 1


def check_wav(report):
    """The left channel speaks in the agent's turns only, and falls silent at once where it was interrupted."""
    fmt, pcm = read_wav(report["wav"])
    agent, user = np.frombuffer(pcm, "<i2").reshape(-1, 2).T
    assert (fmt.sample_rate, fmt.channels, len(agent) / RATE) == (RATE, 2, report["seconds"])
    assert 15 < report["seconds"] < 40
    assert max(np.abs(agent.astype(int)).max(), np.abs(user.astype(int)).max()) < 32767
    outside = np.ones(len(agent), bool)
    for turn in report["turns"]:
        start, end = round(turn["start"] * RATE), round(turn["end"] * RATE)
        outside[start:end] = False
        assert np.sqrt(np.mean(agent[start:end].astype(float) ** 2)) > 500
    assert not agent[outside].any()
    fence = round(report["turns"][2]["end"] * RATE)
    assert user[fence - RATE // 4 : fence].any()  # the user is what interrupted
