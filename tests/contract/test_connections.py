"""What an interruption sends, how many connections it costs, and that the turn after it waits for none of them."""

import re
from pathlib import Path

import trio
import trio.testing
from contract_cases import VOICES
from contract_tools import stage

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
NEXT = "And the next one, please."
PROVIDERS = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
DROPPED = "nothing: the connection is dropped"
HANDSHAKE = 0.5
"""Seconds; shorter than any turn here, since where a protocol cannot cancel the spare is made while a turn speaks."""


def _written():
    """The document's table: what is sent, and how many connections, by dialect."""
    section = PROVIDERS.partition("## Interruption on the wire\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.-]+)` \| (.+?) \| (\d+) \|$", section, flags=re.MULTILINE)
    return {name: (sent, int(connections)) for name, sent, connections in rows}


async def _ten_turns(case, handshake, results):
    """Five interrupted and five spoken: the stations of the spoken ones, the connections and the messages."""
    async with stage(case, options={"ms_per_char": 20}) as it:
        it.dialer.delay = handshake
        await it.session.prewarm()
        await trio.sleep_until(5)
        stations = []
        for number in range(5):
            with trio.move_on_after(0.6 + number / 10) as scope:
                await it.session.synthesize(LONG)
            assert scope.cancelled_caught
            assert it.session.last_interruption.samples_heard
            spoken = await it.speak(NEXT)
            stations.append(spoken.timeline.marks())
        await trio.sleep(2)
        results.append((stations, it.server.connections, it.commands(case.command) if case.command else []))


def _run(case, handshake):
    results = []
    trio.run(_ten_turns, case, handshake, results, clock=trio.testing.MockClock(autojump_threshold=0))
    return results[0]


def test_no_turn_after_an_interruption_waits_for_a_handshake(case):
    """However long one takes, each turn reaches each station at the very same time."""
    at_once, _, _ = _run(case, 0.0)
    slow, _, _ = _run(case, HANDSHAKE)
    assert slow == at_once


def test_ten_turns_with_five_interruptions(case):
    """So many connections, and as many messages as interruptions where the protocol has one."""
    _, connections, sent = _run(case, 0.0)
    assert connections == case.connections
    assert len(sent) == (5 if case.command else 0)
    assert case.cancels == (connections == 1) == (case.command is not None)


def test_the_document_says_so():
    sent = {name: f"`{case.command}`" if case.command else DROPPED for name, case in VOICES.items()}
    assert _written() == {name: (sent[name], case.connections) for name, case in VOICES.items()}
