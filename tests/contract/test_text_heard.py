"""The text heard of an interrupted turn: exactly the words whose end lies at or before the position heard.

The truth does not come from the wire: the simulators speak each character for as long as the next, so that the place
of a word in the text tells its time.
"""

import math
import random
import re

import trio
from contract_cases import cases
from contract_tools import chunks
from slices import THOROUGH

from voicetrio import FlushMarker, open_audio_sink

MARKER = FlushMarker()
MS_PER_CHAR = 10
SAMPLES_PER_CHAR = 240
AT_ONCE = {"ms_per_char": MS_PER_CHAR, "frame_ms": 1000, "first_audio": 0.01, "speed": math.inf}
WORDS = ("the", "a", "is", "It's", "twenty-one,", "“quoted”", "(so", "said)", "naïve", "東京", "Dr.", "42", "the")
ENDS = (". ", "! ", "?  ", ".\n", ", ", "; ")


def _text(chance):
    """Some words, of which several come again or are parts of others."""
    words = [word + chance.choice(("", "", "", *ENDS)) for word in chance.choices(WORDS, k=chance.randint(1, 5))]
    return " ".join(words) + " end."


def _pieces(text, chance):
    """The same as a stream, flushed here and there between two words."""
    for piece in re.findall(r"\s*\S+", text):
        yield piece
        if chance.random() < 0.2:
            yield MARKER


def _up_to(text, samples):
    """The beginning of a text, verbatim, up to the last word that has ended after so many samples."""
    ends = [word.end() for word in re.finditer(r"\S+", text) if word.end() * SAMPLES_PER_CHAR <= samples]
    return text[: ends[-1]] if ends else ""


async def _interrupt(session, source, text, chance):
    """A turn that is cut off at a random position, all of its audio or some of it there."""
    streamed = chance.random() < 0.05
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.synthesize, chunks(*_pieces(text, chance)) if streamed else text)
        await trio.sleep(chance.choice((0.005, 0.02, 0.05)))
        # Half of the positions are the very end of a word, or the sample before it.
        position = chance.randint(0, len(text) * SAMPLES_PER_CHAR)
        if chance.random() < 0.5:
            position = chance.choice([word.end() for word in re.finditer(r"\S+", text)]) * SAMPLES_PER_CHAR
            position -= chance.randint(0, 1)
        there = round(session.sink.queued_seconds * source.format.sample_rate)
        if wanted := min(position, there):
            source.receive_nowait(wanted / source.format.sample_rate)
        if chance.random() < 0.5:
            nursery.cancel_scope.cancel()
        session.interrupt()  # also of what is still queued of a turn that is over


@cases(lambda case: case.words is not None)
async def test_the_text_heard_is_the_words_that_have_ended(case, seed, autojump_clock):
    """At positions that differ in each run; of 10,000 in a thorough one, fewer where each costs a connection."""
    chance = random.Random(seed)
    told, cuts, heard = set(), 0, 0
    turns = (3200 if case.cancels else 400) // (1 if THOROUGH else 8)
    async with case.make_simulator(**AT_ONCE).serve_in_memory() as server:
        sink, source = open_audio_sink(case.rate, max_seconds=60)
        client = case.make_provider(server.url, **case.words)
        async with client.open(sink, dial=server.dial, on_timestamps=lambda times: told.add(times.turn)) as session:
            await session.prewarm()
            for turn in range(1, turns + 1):
                text = _text(chance)
                await _interrupt(session, source, text, chance)
                cut = session.last_interruption
                if cut is None or cut.turn != turn:
                    continue  # all of it was heard
                cuts += 1
                expected = _up_to(text, cut.samples_heard)
                if turn not in told:
                    assert (cut.text_heard, expected) == (None, "")
                else:
                    assert cut.text_heard == expected, f"turn {turn}: {text!r}, {cut.samples_heard}"
                heard += bool(expected)
    assert cuts > 0.8 * turn
    assert heard > cuts / 3
