"""The drawing, from its own elements."""

from xml.etree import ElementTree

import pytest

from voicetrio.cli.timeline_svg import Chart, Fence, Utterance, Word, draw

SVG = "{http://www.w3.org/2000/svg}"
SECOND = bytes(range(256)) * 125  # of 16 kHz


@pytest.fixture
def drawing():
    """A user from 1 to 2 s, an agent from 3 to 4 s who would have gone on for another second."""
    agent = Utterance(
        start=3.0,
        pcm=SECOND,
        words=[Word("<b>&", 3.0, 3.5), Word("cut", 3.5, 4.5)],
        title="turn 1",
        requested=2.5,
        latency=0.5,
        lost_pcm=SECOND,
        lost_words=[Word("lost", 4.5, 5.0)],
    )
    user = Utterance(1.0, SECOND, [Word("hello", 1.0, 2.0)])
    return ElementTree.fromstring(draw(Chart("A & B", "sub", 16_000, 8.0, [user], [agent], [Fence(4.0, "here")])))


def x_of(drawing, tag, kind, attribute="x"):
    return [float(each.get(attribute)) for each in drawing.iter(SVG + tag) if each.get("class") == kind]


def test_text_is_escaped_and_complete(drawing):
    texts = [element.text for element in drawing.iter(SVG + "text")]

    assert drawing.find(f"{SVG}title").text == "A & B"
    assert {"<b>&", "cut", "lost", "hello", "turn 1", "500 ms to first audio", "here", "0 s", "8 s"} <= set(texts)


def test_everything_stands_at_its_time(drawing):
    ticks = [(e.text, float(e.get("x"))) for e in drawing.iter(SVG + "text") if e.text and e.text.endswith(" s")]
    second = {int(text.split()[0]): x for text, x in ticks}

    assert x_of(drawing, "rect", "user-back") == pytest.approx([second[1]], abs=0.2)
    assert x_of(drawing, "rect", "agent-back") == pytest.approx([second[3]], abs=0.2)
    assert x_of(drawing, "rect", "lost-back") == pytest.approx([second[4]], abs=0.2)
    assert second[4] in x_of(drawing, "line", "fence", "x1")
    waits = x_of(drawing, "line", "wait", "x1"), x_of(drawing, "line", "wait", "x2")
    assert [waits[0][-1], waits[1][-1]] == pytest.approx([(second[2] + second[3]) / 2, second[3]], abs=0.2)


def test_it_has_colours_for_light_and_dark(drawing):
    assert "@media (prefers-color-scheme: dark)" in drawing.find(f"{SVG}style").text
