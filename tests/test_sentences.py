import re
from contextlib import aclosing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voicetrio import _sentences
from voicetrio._sentences import SentenceSplitter, segment_text
from voicetrio.errors import ConfigurationError
from voicetrio.text import FlushMarker


def split(chunks, **limits):
    """The pieces that come while the text is fed, and the rest."""
    splitter = SentenceSplitter(**{"min_chars": 0} | limits)
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    return pieces, splitter.flush()


def pieces_of(text, **limits):
    pieces, rest = split([text], **limits)
    return [*pieces, rest] if rest else pieces


def check(cases):
    """Run a test once for each text, which is written with a | where it is to be cut."""
    return pytest.mark.parametrize("text", cases)


def assert_cut(text, **limits):
    assert pieces_of(text.replace("|", ""), **limits) == text.split("|")


# ---- languages -----------------------------------------------------------------------------------------------------


@check(
    [
        "Hello there. |How are you? |I am fine! |Really?! |Yes.",
        'He said "Stop!" and went. |"Go!" |Then silence.',
        "She asked (twice!) why. |(He knew.) |She did not.",
        "Dr. Jones met Mrs. Smith at St. Mary's, approx. 5 miles off. |They talked.",
        "I won't. |It isn't. |He's back.",
        "‘Mr. Jones’ came. |'Mrs. Jones' did not.",
    ]
)
def test_english(text):
    assert_cut(text)


@check(
    [
        "Guten Tag! |Wie geht es Ihnen? |Gut.",
        "Er sagte: „Hallo.“ |Dann ging er.",
        "»Komm!« |Sie kam.",
        "Das ist z.B. Herr Dr. Maier, d.h. Hr. Maier aus Nr. 5. |Ja.",
        "Das ist z. B. gut, d. h. sehr gut. |Ja.",
        "Äpfel, Birnen usw. sind da. |Ja.",
        "Wir kommen am 3. Mai. |Vom 1. Juni an nicht. |Gut.",
        "Das kostet 1.000,50 Euro. |Gut.",
        "Heute starb Ludwig XIV. in Paris, als Karl 12. wurde. |Gut.",
        "Er rief... |»Komm!« |Ja.",
    ]
)
def test_german(text):
    assert_cut(text)


@check(
    [
        "Bonjour ! |Ça va ? |Oui.",
        "« Bonjour ! » dit-il. |« Salut. » |Il part.",
        "«\u00a0Bonjour\u00a0!\u00a0» |Il part.",
        "«\u202fSalut\u202f!\u202f» dit-il.",
        "M. Dupont, Mme. Curie et Mlle. Brel, par ex. ici. |Oui.",
        "M.\u00a0Dupont vient. |Il est là.",
        "C'est l'U.R.S.S. qui gagne. |Oui.",
    ]
)
def test_french(text):
    assert_cut(text)


@check(
    [
        "¡Hola! |¿Qué tal? |Bien.",
        "El Sr. Pérez y la Sra. Ruiz, p. ej. hoy, viven en EE. UU. desde 1990. |Sí.",
        "Ud. sabe. |Gracias.",
        "«¡Hola!» |Y se fue.",
    ]
)
def test_spanish(text):
    assert_cut(text)


@check(["नमस्ते। |आप कैसे हैं? |ठीक है।|हाँ॥ |अंत", "डॉ. शर्मा आए। |प्रो. वर्मा नहीं।"])
def test_hindi(text):
    assert_cut(text)


@check(
    ["你好。|今天天气很好！|你呢？！|好", "他说：“你好。”|然后走了。", '他说："好！"|走了。|"来"', "你好!|今天好吗?|好"]
)
def test_chinese(text):
    assert_cut(text)


@check(
    [
        "こんにちは。|お元気ですか？|はい！",
        "「行くよ。」と言った。|「うん。」|彼は",
        "『もう！』って。|（笑。）|半角｡|終",
    ]
)
def test_japanese(text):
    assert_cut(text)


@check(["مرحبا. |كيف حالك؟ |بخير!", "آپ کیسے ہیں؟ |ٹھیک ہوں۔ |شکریہ۔", "د. أحمد هنا. |نعم."])
def test_arabic_and_urdu(text):
    assert_cut(text)


@check(["Привет. |А. С. Пушкин и др. поэты. |Да.", "Բարեւ։ |Ոնց ես։", "ជំរាប។|សួរ", "ሰላም። |ደህና።", "မင်္ဂလာပါ။|ဟုတ်"])
def test_other_scripts(text):
    assert_cut(text)


def test_thai_has_no_ends_and_is_cut_at_white_space():
    assert_cut("สวัสดีครับ วันนี้อากาศดี ไปเที่ยวกัน")
    assert_cut("สวัสดีครับ |วันนี้อากาศดี |ไปเที่ยวกัน", max_chars=16)


# ---- what is no end ------------------------------------------------------------------------------------------------


@check(["Pi is 3.14 and 1.000,50 is more. |Yes.", "Take v1.2.3. |Or 2.0.", "In 1999. |Then 250. |Then 3.5. |End."])
def test_numbers_and_versions_stay_whole(text):
    assert_cut(text)


@check(["J. R. R. Tolkien wrote it. |He did.", "By J.R.R. Tolkien. |He did.", "Franklin D. Roosevelt came. |He did."])
def test_initials_stay_whole(text):
    assert_cut(text)


@check(
    [
        "Mr. A and Mrs. B and Prof. C. and Mr. D.",
        "Cats, e.g. Tom, i.e. all, vs. Dogs. |Yes.",
        "In the U.S. Army, in the U.K. Then on.",
        "Plums, pears, etc. are fruit. |Plums, etc. |Then more.",
        "It is No. 5. |No. |I won't. |Say no. |Yes.",
        "On Jan. 5 or in Feb. |Then on Sat. |We sat. |Fine.",
    ]
)
def test_abbreviations_stay_whole(text):
    assert_cut(text)


@check(["At 10 p.m. tomorrow. |Yes.", "Come at 10 p.m. Then we go. |Yes."])
def test_a_time_is_not_cut_even_where_it_might_end_a_sentence(text):
    assert_cut(text)


@check(
    [
        "Well... maybe. |Yes.",
        "Well… maybe. |Yes.",
        "Really?.. maybe. |Yes.",
        "Well... |The end. |Well… |The end.",
        "हाँ... ठीक",
    ]
)
def test_an_ellipsis_ends_a_sentence_only_before_a_capital(text):
    assert_cut(text)


@check(
    [
        "See https://example.com/a.b?c=d.e!f for it. |Or www.example.com. |Yes.",
        "Write to jane.doe@example.co.uk. |Or not.",
        "Open README.md or setup.py now. |Or a.tar.gz. |Yes.",
        "It is written .NET, or Node.js.Then no space. |Yes.",
    ]
)
def test_addresses_and_file_names_stay_whole(text):
    assert_cut(text)


@check(
    [
        "1. First. |2. Second. |10. Tenth.",
        "Steps:\n|1. First\n|2. Second\n|**3.** Third\n|- 4. Fourth",
        "1.2. Scope. |1.\nFirst",
        "a. First. |b. Second.",
    ]
)
def test_an_enumeration_keeps_its_numbers(text):
    assert_cut(text)


@check(["... Hello. |Yes.", "--- \n***\nHello. |Yes. |!! Go.", "「」。はい。|え", "😀! 👍. Hello. |Yes."])
def test_what_has_nothing_to_say_is_no_sentence(text):
    assert_cut(text)


# ---- what is one ---------------------------------------------------------------------------------------------------


@check(["**Bold.** |Then *more.* |`Code.` |End", "(A.) |[B2.] |{C3.} |“D4.” |‘E5.’ |D5.\"' |F", "‼️ Go‼️ |Now"])
def test_what_closes_a_sentence_belongs_to_it(text):
    assert_cut(text.replace("(A.)", "(A2.)"))


@check(
    [
        "One\n|Two\n|Three",
        "One.\n|\nTwo",
        "Mr.\n|Smith",
        "e.g.\n|so",
        "One.\r\n|Two\r\n|\r\nThree",
        "A1\r|B\u2028|C",
        "\n\nA2\n|B",
    ]
)
def test_a_line_ends_a_piece(text):
    assert_cut(text)
    assert_cut(text, min_chars=50)


def test_more_white_space_leads_the_next_piece():
    assert_cut("Hello. |  World. |\tYes")


def test_decimals_with_wide_points():
    assert_cut("円周率は３．１４です．|はい")


def test_a_full_stop_takes_along_what_combines_with_it():
    assert_cut("你好！\ufe00|好")
    assert_cut("你好。\u0301好")


def test_white_space_that_ties_is_no_gap():
    assert_cut("One.\u00a0Two. |Three.\u202fFour.")


def test_a_quotation_that_is_not_closed_ends_with_its_line():
    assert_cut('"好\n|好。|"好。"|好')


def test_a_quotation_mark_that_is_looked_at_twice_counts_once():
    assert_cut('aa bb, |"cccc。"|好', max_chars=10)


# ---- when ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Hello. ",
        "Hello! ",
        "Hello?! ",
        "Hello.\n",
        "Hello\n",
        "In 1999. ",
        "नमस्ते। ",
        "كيف؟ ",
        "你好。\n",
        "See a.py.\n",
    ],
)
def test_a_certain_end_is_given_at_once(text):
    assert split([text]) == ([text], "")


@pytest.mark.parametrize(
    ("text", "more", "pieces"),
    [
        ("Hello.", "txt", []),
        ("Hello.", " ", ["Hello. "]),
        ("Hello.", '"', []),
        ("Well... ", "a", []),
        ("Well... ", "A", ["Well... "]),
        ('"Go!" ', "h", []),
        ('"Go!" ', "H", ['"Go!" ']),
        ("Plums, etc. ", "The", ["Plums, etc. "]),
        ("你好。", "」", []),
        ("你好。", "今", ["你好。"]),
        ("Hello\r", "\n", ["Hello\r\n"]),
        ("Hello\r", "W", ["Hello\r"]),
        ("« Hé ! ", "» ", []),
    ],
)
def test_an_end_that_depends_on_the_next_character_waits_for_it(text, more, pieces):
    splitter = SentenceSplitter(min_chars=0)

    assert splitter.feed(text) == []
    assert splitter.buffered == text
    assert splitter.feed(more) == pieces
    assert splitter.buffered == (text + more)[len("".join(pieces)) :]


def test_flush_gives_the_rest_once_and_begins_a_sentence():
    splitter = SentenceSplitter(min_chars=0)

    assert splitter.feed('Hello. He said "yes. 5') == ["Hello. ", 'He said "yes. ']
    assert splitter.flush() == "5"
    assert splitter.flush() == splitter.buffered == ""
    assert splitter.feed('1. First. "好。"走') == [
        "1. First. ",
        '"好。"',
    ]  # a number at the start; a quotation that opens


# ---- sizes ---------------------------------------------------------------------------------------------------------


def test_short_sentences_are_joined_up_to_the_minimum():
    assert_cut("Yes. No. |Maybe. So. |Fine", min_chars=8)
    assert_cut("Yes. No. |Maybe. |So. Fine", min_chars=7)
    assert_cut("Yes. 1. First. |No", min_chars=14)  # the number begins a sentence, though not a piece


def test_the_defaults_are_those_of_the_original():
    splitter = SentenceSplitter()

    assert (splitter.min_chars, splitter.max_chars) == (50, 600)
    assert splitter.feed("Yes. " * 9) == []
    assert splitter.feed("Yes. " * 2) == ["Yes. " * 10]


@check(["Yes. No. |Maybe, so it is"])
def test_too_much_is_cut_behind_a_sentence(text):
    assert_cut(text, min_chars=18, max_chars=18)


@pytest.mark.parametrize("mark", [", ", "; ", ": ", "、", "，", "；", "، ", "—"])
def test_too_much_is_else_cut_behind_a_clause(mark):
    assert_cut(f"One two{mark}|three four", max_chars=15)


def test_a_comma_within_a_number_is_no_clause():
    assert_cut("It is |1,000,000", max_chars=12)


@check(["one two |three four |five", "oneoneo|neone", "one two three|\nfour"])
def test_too_much_is_else_cut_at_white_space_or_anywhere(text):
    longest = max(len(part) for part in text.split("|"))
    assert_cut(text, max_chars=longest)


@pytest.mark.parametrize("cluster", ["e\u0301", "👨\u200d👩\u200d👧", "❤\ufe0f", "👍🏽", "कि"])
def test_what_combines_is_not_cut(cluster):
    for size in range(1, len(cluster)):
        assert pieces_of("abcd" + cluster, max_chars=4 + size)[0] == "abcd"


def test_what_combines_is_cut_if_it_is_too_long():
    assert [len(piece) for piece in pieces_of("e" + "\u0301" * 11, max_chars=5)] == [5, 5, 2]


def test_an_ellipsis_at_the_limit_is_an_end():
    assert_cut("One. Well...  |  maybe", max_chars=14, min_chars=14)


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (6, 5), (0, 0)])
def test_limits_that_contradict_each_other_are_refused(low, high):
    with pytest.raises(ConfigurationError, match=f"{low} and {high}"):
        SentenceSplitter(min_chars=low, max_chars=high)


# ---- properties ----------------------------------------------------------------------------------------------------

_characters = "aB5.!?…,;: \n\r\t\"'”“«»()*-。！」と、।؟好e\u0301\u200d\ufe0f😀\u00a0．"
_words = [
    "Hello",
    "Mr.",
    "etc.",
    "p.m.",
    "1.",
    "3.14",
    "Well...",
    " am 3. Mai",
    ". ",
    "? ",
    ".\n",
    "\r\n",
    "...",
    "  ",
    " » ",
]
_parts = st.sampled_from([*_characters, *_words])
_chunks = st.lists(st.lists(_parts, max_size=9).map("".join), max_size=9)
_texts = st.lists(_parts, max_size=60).map("".join)
_limits = st.tuples(st.integers(0, 60), st.integers(1, 60)).map(
    lambda pair: {"min_chars": min(pair), "max_chars": max(max(pair), 1)}
)


@given(_texts, _limits)
def test_pieces_join_to_the_text_and_none_is_too_long(text, limits):
    pieces, rest = split([text], **limits)

    assert "".join(pieces) + rest == text
    assert all(0 < len(piece) <= limits["max_chars"] for piece in pieces)
    assert len(rest) <= limits["max_chars"]


@given(_chunks, _limits)
@example(["Hello.\r\n"], {"min_chars": 0, "max_chars": 60})
@example(["« Hé !  » Il. a...   B"], {"min_chars": 0, "max_chars": 9})
@example(["«\u00a0Hé\u00a0!\u00a0» Il"], {"min_chars": 0, "max_chars": 60})
@example(["Hello. Well..", ".", " ", " A"], {"min_chars": 0, "max_chars": 60})
@example(["Hello. Well... ", " ", "A"], {"min_chars": 0, "max_chars": 60})
@example(["Hello. Well... ", "Ah, good grief"], {"min_chars": 0, "max_chars": 60})
def test_it_does_not_matter_how_the_text_is_fed(chunks, limits):
    text = "".join(chunks)
    at_once = split([text], **limits)

    assert split(text, **limits) == at_once  # character by character
    assert split(chunks, **limits) == at_once


@given(_texts, st.integers(0, 20))
def test_each_piece_that_is_not_the_last_has_something_to_say(text, min_chars):
    pieces, _ = split([text], min_chars=min_chars, max_chars=10_000)

    assert all(re.search(r"[^\W_]", piece) for piece in pieces)


@given(_texts, st.integers(1, 20))
def test_each_piece_that_is_too_short_ends_its_line(text, min_chars):
    pieces, _ = split([text], min_chars=min_chars, max_chars=10_000)

    assert all(len(piece) >= min_chars or piece[-1] in "\n\r" for piece in pieces)


class Counting:
    """A pattern that counts the characters that it looks at."""

    def __init__(self, pattern, seen):
        self.pattern = pattern
        self.seen = seen

    def _look(self, method, text, begin=0, end=2**62):
        found = getattr(self.pattern, method)(text, begin, end)
        whole = found is None or method == "fullmatch" or ".*" in self.pattern.pattern  # .* goes to the end and back
        self.seen.append((min(end, len(text)) if whole else found.end()) - begin + 1)
        return found

    def match(self, *args):
        return self._look("match", *args)

    def search(self, *args):
        return self._look("search", *args)

    def fullmatch(self, *args):
        return self._look("fullmatch", *args)


_tedious = ["Hello there. ", "word ", "a", " ", ".", "。", ",", "\r", "\n", "\u00a0", '"', "a. ", "!  ", "«  "]
_tedious += ["Well..." + " " * 9000, "Go!" + ")" * 9000, "Go!)" + " " * 9000, "« a !" + " »" * 5000]
_tedious += ["a, " + "b" * 600, "e" + "\u0301" * 700]


@pytest.mark.parametrize("limits", [{}, {"min_chars": 10**6, "max_chars": 10**6}, {"min_chars": 50, "max_chars": 50}])
@pytest.mark.parametrize("size", [1, 4, 10**6])
@pytest.mark.parametrize("text", _tedious)
def test_the_work_grows_with_the_text_and_not_faster(monkeypatch, text, size, limits):
    seen = []
    for name, value in list(vars(_sentences).items()):
        if isinstance(value, re.Pattern):
            monkeypatch.setattr(_sentences, name, Counting(value, seen))
    text = (text * 4500)[:4500]

    pieces, rest = split([text[i : i + size] for i in range(0, len(text), size)], **limits)

    assert "".join(pieces) + rest == text
    assert sum(seen) <= 20 * len(text)  # 15 at worst; anything looked at again for each token is hundreds


# ---- streams -------------------------------------------------------------------------------------------------------


async def stream(chunks, log=None):
    for chunk in chunks:
        if log is not None:
            log.append(chunk)
        yield chunk


async def segments(chunks, **limits):
    return [piece async for piece in segment_text(stream(chunks), **limits)]


async def test_a_stream_gives_its_sentences_and_then_the_rest():
    assert await segments(["Hel", "lo. Wo", "rld. ", "The", " end"], min_chars=0) == ["Hello. ", "World. ", "The end"]
    assert await segments(["Hel", "lo. Wo", "rld. "]) == ["Hello. World. "]
    assert await segments(["one two three"], min_chars=0, max_chars=8) == ["one two ", "three"]
    assert await segments([]) == await segments(["", ""]) == []
    assert await segments([" \n"]) == [" \n"]


async def test_a_sentence_is_given_before_more_is_read():
    read = []

    async with aclosing(segment_text(stream(["Hello. ", "World."], read), min_chars=0)) as pieces:
        assert await anext(pieces) == "Hello. "
        assert read == ["Hello. "]


async def test_a_generator_is_closed_with_its_sentences():
    chunks = stream(["Hello. ", "World."])

    async with aclosing(segment_text(chunks, min_chars=0)) as pieces:
        await anext(pieces)

    assert [chunk async for chunk in chunks] == []  # there was one left


async def test_chunks_need_not_be_a_generator():
    class Chunks:
        def __aiter__(self):
            return stream(["One. ", "Two"])

    assert [piece async for piece in segment_text(Chunks(), min_chars=0)] == ["One. ", "Two"]


async def test_what_goes_wrong_with_the_chunks_is_raised():
    async def broken():
        yield "Hello. Wor"
        raise OSError("gone")

    pieces = segment_text(broken(), min_chars=0)

    assert await anext(pieces) == "Hello. "
    with pytest.raises(OSError, match="gone"):
        await anext(pieces)


async def test_a_marker_pushes_out_what_came_before_it():
    flush = FlushMarker()

    assert await segments(["Hello", flush, ". Wo", flush, flush, "rld"]) == [
        "Hello",
        flush,
        ". Wo",
        flush,
        flush,
        "rld",
    ]
    assert await segments([flush, "1. A", flush]) == [flush, "1. A", flush]


async def test_a_marker_does_not_push_out_white_space_alone():
    flush = FlushMarker()

    assert await segments(["Hello.\n", "\n", flush, "World"]) == ["Hello.\n", flush, "\nWorld"]


async def test_white_space_behind_the_last_sentence_is_not_lost():
    assert await segments(["Hello.\n", "\n"]) == ["Hello.\n", "\n"]


async def test_limits_are_checked_in_a_stream_too():
    with pytest.raises(ConfigurationError):
        await segments(["Hello"], max_chars=0)
