"""Sentences out of a text that is still being written.

A language model gives tokens; a voice wants sentences, as soon as they are there.  What decides:

- An end is announced when it is certain, and not before: behind ``Hello.`` there may come ``txt``, behind ``Hello. ``
  nothing can come that changes it.  Where the next word decides (``etc. Then``, ``etc. and``), its first letter is
  waited for.
- In doubt there is no end.  A longer piece costs a little time; a pause in the wrong place is heard.
- Each decision reads the text from left to right, and waits if it runs out of it.  So it cannot depend on how the text
  was cut when it came.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from .text import Chunk

# ---- characters ----------------------------------------------------------------------------------------------------

# Of Unicode's Sentence_Terminal (PropList.txt; 16.0 has Khmer's, too), those of scripts in everyday use.  Latin ones
# stand within words and numbers as well, so they end a sentence only before white space.
_DOTS = ".…"
_SHOUTS = "!?‼‽⁇⁈⁉⸮"
_WIDE_DOTS = "．﹒"  # a decimal point behind a digit, otherwise like 。
_FULL_STOPS = (
    "。｡！？﹖﹗"  # Chinese, Japanese
    "\u0589"  # Armenian
    "\u061d\u061e\u061f\u06d4"  # Arabic, Urdu
    "\u0700\u0701\u0702"  # Syriac
    "\u07f9"  # N'Ko
    "\u0964\u0965"  # Devanagari and its relatives
    "\u104b"  # Burmese
    "\u1362\u1367\u1368"  # Ethiopic
    "\u17d4\u17d5"  # Khmer
    "\u1803\u1809"  # Mongolian
    "\u1c7e\u1c7f"  # Santali
    "\ua9c8\ua9c9"  # Javanese
    "\uabeb"  # Meitei
)
_STANDING = _FULL_STOPS + _WIDE_DOTS  # need nothing behind them
_ENDS = _DOTS + _SHOUTS + _STANDING

# What closes a quotation in one language opens it in another: “ and « close only right behind a Latin end.
_CLOSERS = "”’»›)]}）］｝」』】〉》〕｣〟"
_QUOTED_CLOSERS = _CLOSERS + '"'
_LATIN_CLOSERS = _CLOSERS + "\"'“‘«‹*_`"  # the last three are Markdown's
_OPENERS = frozenset("\"'“‘„‚«»‹›([{¿¡*_`#")

_TIES = "\u00a0\u2007\u202f"  # white space that says: do not part
_NEWLINES = "\n\r\v\f\x85\u2028\u2029"
_JOINER = "\u200d"
_JAPANESE_SAID = "とっ"  # 「…。」と言った, …って: the sentence goes on behind the quotation

# ---- abbreviations -------------------------------------------------------------------------------------------------

# Not here: a single letter (J. R. R. Tolkien, z. B., p. ej.), and letters with dots between them (U.S., a.m., z.B.,
# d.h.), which are known by their form.  A word that begins small may begin with a capital, too.


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


# They stand before what they belong to: never the last word of a sentence, or so seldom that it does no harm.
_BEFORE_A_NAME = _words(
    "Mr Mrs Ms Mx Messrs Dr Drs Prof St Rev Hon Gov Sen Rep Gen Col Lt Capt Cmdr Sgt Maj Adm Mt Ft",  # English
    "vs approx cf viz al Fig Figs Eq Sec Ch Vol pp Nos eg ie",
    "Hr Hrn Fr Frl Dipl Ing Nr Nrn Tel Abs Abb Kap Bd bzw ca evtl ggf inkl exkl vgl sog zzgl allg bes ugs",  # German
    "MM Mme Mmes Mlle Mlles Mgr Pr Ste env apr chap éd",  # French
    "Sr Sra Srs Sras Srta Srtas Sres Dra Dres Dña Ud Uds Vd Vds Gral Lic Avda aprox pág págs núm EE",  # Spanish
    "Sig Sigg Dott Avv pag",  # Italian
    "Exmo Exma Eng",  # Portuguese
    "dhr mevr mw bijv blz",  # Dutch
    "ул стр см",  # Russian
    "डॉ प्रो श्री",  # Hindi
)
# They may also end a sentence: so they do if it goes on with a capital, and not before a number or a small letter.
_ANYWHERE = _words(
    "etc no Inc Ltd Corp Co Jr Esq Bros Ave Blvd Rd Dept Est ext max min art ed op",  # English
    "Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun",
    "usw usf Str Mio Mrd Jh geb gest Okt Dez",  # German
    "ex av bd janv févr avr juil déc",  # French
    "ej Av UU Cía Ltda ene dic",  # Spanish
    "ecc es",  # Italian
    "enz",  # Dutch
    "др пр гг тыс млн млрд руб",  # Russian
)
_LONGEST_WORD = 24

# ---- patterns ------------------------------------------------------------------------------------------------------


def _one_of(*characters: str) -> str:
    return f"[{re.escape(''.join(characters))}]"


_STOP = re.compile(_one_of(_ENDS, _NEWLINES, '"«»'))
_LATIN_TAIL = re.compile(f"(?:{_one_of(_ENDS, _LATIN_CLOSERS)}|[\ufe00-\ufe0f]|{_one_of(_TIES)}»)*")
_STANDING_TAIL = re.compile(f"(?:{_one_of(_ENDS, _CLOSERS)}|[\ufe00-\ufe0f])*")
_QUOTED_TAIL = re.compile(f"(?:{_one_of(_ENDS, _QUOTED_CLOSERS)}|[\ufe00-\ufe0f])*")
_GAP = re.compile(f"[^\\S{re.escape(_TIES + _NEWLINES)}]*")
_SPOKEN = re.compile(r"[^\W_]")
_WORD = re.compile(r"""[^\s"“”„«»()\[\]{}<>*_/—–-]*\Z""")
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}['’])?(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
_NUMBER = re.compile(r"\d{1,2}|[IVXLC]+")
_ORDINAL = re.compile(  # German: am 3. Mai, Ludwig der XIV. und
    r"\b(?:am|ab|an|bis|de[rmns]|die|das|im|jede[rmns]?|seit|und|vo[mn]|zum|zur)\s+(?:\d{1,2}|[IVXLC]+)\Z",
    re.IGNORECASE,
)
_ENUMERATOR = re.compile(r"[\W_]*\d{1,3}(?:\.\d{1,3})*\.[\s*_)\]]*")
# The last place in a window to cut behind; the greedy part goes to its end first.
_LAST_CLAUSE = re.compile(f"(?s:.*)(?:[,;:][^\\S{_TIES}]|[、，；：､،؛—፣፤၊][^\\S{_TIES}]?)")
_LAST_SPACE = re.compile(f"\\s*\\S(?s:.*)[^\\S{_TIES}]")

_NONE = -1


def _end_of(pattern: re.Pattern[str], text: str, begin: int, stop: int) -> int:
    found = pattern.match(text, begin, stop)
    return found.end() if found else begin


class SentenceSplitter:
    """Takes text as it comes, gives it back in sentences.  It does no I/O.

    The pieces join to the text verbatim.  Where they end depends on the text alone, not on how it was fed.

    A sentence keeps what closes it (quotes, brackets) and the first white space behind it.  It does not wait for more:
    what comes then leads the next piece.  A piece has something to say, a letter or a digit; but for the last, which
    may be nothing but white space that came when its sentence had been given away, and for what `max_chars` cuts.

    Args:
        min_chars: a shorter sentence is joined with the next, unless its line ends; 0 for each by itself.
        max_chars: no piece is longer.  It is cut behind the last sentence that fits, else behind a comma or the like,
            else behind white space, else between any two characters that do not combine.

    Raises:
        ConfigurationError: if the limits contradict each other.
    """

    def __init__(self, *, min_chars: int = 50, max_chars: int = 600) -> None:
        if not 0 <= min_chars <= max_chars or max_chars < 1:
            raise ConfigurationError(f"0 <= min_chars <= max_chars must hold, not {min_chars} and {max_chars}")
        self.min_chars = min_chars
        self.max_chars = max_chars
        self._text = ""
        self._closing = ""  # what will close the quotation that the text is in: '"', "»", or nothing we care about
        self._begin(0)

    def _begin(self, start: int) -> None:
        """A piece begins here."""
        self._start = start
        self._sentence = start  # where the current sentence begins: not the piece's first, if that was short
        self._at = start  # what is before has been looked at
        self._spoken = start  # no letter or digit between the start and here
        self._mark = _NONE  # an end that is not decided yet; behind it, how much has been seen
        self._tail = self._gap = start  # of what closes it, and of the white space behind that

    @property
    def buffered(self) -> str:
        """What has come and has not been given back yet; at most `max_chars`."""
        return self._text

    def feed(self, text: str) -> list[str]:
        """Take more text.

        Returns:
            the pieces that are complete now; what is left waits.
        """
        if not text:
            return []
        # With one reference only CPython appends in place: tokens do not copy what has been waiting.
        whole, self._text = self._text, ""
        whole += text
        self._text = whole
        pieces = []
        while (end := self._find_end()) != _NONE:
            pieces.append(whole[self._start : end])
            self._begin(end)
        if pieces:
            self._text = whole[self._start :]
            self._shift(-self._start)
        return pieces

    def flush(self) -> str:
        """Give back what is left, maybe nothing, and begin anew: what comes next is another sentence."""
        rest, self._text, self._closing = self._text, "", ""
        self._begin(0)
        return rest

    def _shift(self, by: int) -> None:
        self._start += by
        self._sentence += by
        self._at += by
        self._spoken += by
        self._tail += by
        self._gap += by
        if self._mark != _NONE:
            self._mark += by

    # -- where a piece ends --

    def _find_end(self) -> int:
        """Where the piece ends, or _NONE if that is still to be seen."""
        limit = self._start + self.max_chars
        stop = min(len(self._text), limit)
        while self._next_mark(stop):
            newline = self._text[self._mark] in _NEWLINES
            end = self._judge_newline(limit) if newline else self._judge_end(limit)
            if end is None:
                return _NONE  # a decision that needs more text
            self._mark = _NONE
            if end == _NONE or not self._is_spoken(end):
                continue
            self._at = self._sentence = end
            if newline or end - self._start >= self.min_chars:
                return end
        return self._cut(limit) if len(self._text) > limit else _NONE

    def _next_mark(self, stop: int) -> bool:
        """Look for the next character that may end a sentence; True if there is one, new or undecided."""
        while self._mark == _NONE:
            found = _STOP.search(self._text, self._at, stop)
            if found is None:
                self._at = max(self._at, stop)
                return False
            self._at = found.end()
            if (char := found[0]) in '"«»':
                self._quote(char)
            else:
                self._mark = found.start()
                self._tail = self._gap = found.end()
        return True

    def _quote(self, char: str) -> None:
        if char == '"':
            self._closing = "" if self._closing == '"' else '"'
        else:
            self._closing = "»" if char == "«" else ""

    def _is_spoken(self, end: int) -> bool:
        """Whether the piece would have something to say."""
        if self._spoken < end:
            found = _SPOKEN.search(self._text, self._spoken, end)
            self._spoken = found.start() if found else end
        return self._spoken < end

    def _cut(self, limit: int) -> int:
        """Where to end a piece that is too long: what follows `limit` is known, by a character at least."""
        text = self._text
        self._closing = ""  # a part is looked at again, and quotes must not count twice
        if self._sentence > self._start:
            return self._sentence
        if found := _LAST_CLAUSE.match(text, self._start, limit):
            return found.end()
        if text[limit].isspace() and text[limit] not in _TIES:
            return limit
        if found := _LAST_SPACE.match(text, self._start, limit):
            return found.end()
        end = limit
        while end > self._start and _combines(text[end - 1], text[end]):
            end -= 1
        return end if end > self._start else limit

    # -- judging --
    # Each gives the end of the sentence, _NONE if it is none, or None if more text is needed.

    def _judge_newline(self, limit: int) -> int | None:
        mark, text = self._mark, self._text
        end = mark + 1
        self._closing = ""  # a quotation that was not closed, or an inch sign: not beyond the line
        if text[mark] == "\r" and end < limit:
            if end == len(text):
                return None
            if text[end] == "\n":
                end += 1
        self._at = end
        return _NONE if self._is_enumerator(end) else end

    def _judge_end(self, limit: int) -> int | None:
        text = self._text
        stop = min(len(text), limit)
        while True:
            tail = self._tail = _end_of(self._tail_pattern(), text, self._tail, stop)
            if tail == len(text):
                return None
            if text[tail] in _TIES and tail < limit and tail + 1 == len(text):
                return None  # a » may follow: « Bonjour ! »
            verdict = self._judge_standing(limit) if text[self._mark] in _STANDING else self._judge_latin(limit)
            if self._tail == tail:  # not longer now, by a » behind a space
                break
        if verdict is not None and self._closing and text.find(self._closing, self._mark, tail) != _NONE:
            self._closing = ""
        return verdict

    def _tail_pattern(self) -> re.Pattern[str]:
        if self._text[self._mark] not in _STANDING:
            return _LATIN_TAIL
        return _QUOTED_TAIL if self._closing == '"' else _STANDING_TAIL  # a " opens as often as it closes

    def _judge_standing(self, limit: int) -> int:
        """An end that needs nothing behind it, though what closes it belongs to it."""
        text, mark, tail = self._text, self._mark, self._tail
        self._at = tail
        next_char = text[tail]
        if text[mark] in _WIDE_DOTS and mark > self._start and text[mark - 1].isdigit():
            return _NONE
        if _combines(text[tail - 1], next_char) or (next_char in _JAPANESE_SAID and text[tail - 1] in _CLOSERS):
            return _NONE
        if not next_char.isspace() or tail == limit:
            return tail
        if next_char in _NEWLINES:
            return _NONE  # it ends the line and with it the sentence
        return tail + 1

    def _judge_latin(self, limit: int) -> int | None:
        """An end that needs white space behind it, or maybe the first letter of the next word."""
        text, tail = self._text, self._tail
        self._at = tail
        next_char = text[tail]
        if not next_char.isspace() or next_char in _TIES:
            # Chinese with Latin marks: 你好!今天
            return tail if text[tail - 1] in _SHOUTS and unicodedata.category(next_char) == "Lo" else _NONE
        if next_char in _NEWLINES and tail < limit:
            return _NONE  # it ends the line and with it the sentence
        if self._is_abbreviation():
            return _NONE
        if not self._is_doubtful():
            return min(tail + 1, limit)
        return self._judge_by_next_word(limit)

    def _judge_by_next_word(self, limit: int) -> int | None:
        text = self._text
        stop = min(len(text), limit)
        gap = self._gap = _end_of(_GAP, text, max(self._gap, self._tail), stop)
        if gap == len(text):
            return None
        self._at = gap
        next_char = text[gap]
        if next_char == self._closing == "»" and gap < limit:
            self._tail = gap + 1
            return None
        if next_char.isupper() or next_char in _OPENERS:
            return gap
        return gap if gap == limit and next_char.isspace() else _NONE  # it must be cut anyway

    def _is_doubtful(self) -> bool:
        """Whether the next word tells if this is an end."""
        text, mark, tail = self._text, self._mark, self._tail
        if text[mark] == "…" or ".." in text[mark : mark + 3]:
            return True  # Well... maybe
        if text[tail - 1] not in _ENDS or self._closing == "»":
            return True  # "Stop!" he said
        word = self._word()
        return _NUMBER.fullmatch(word) is not None or _is_in(word, _ANYWHERE)

    def _is_abbreviation(self) -> bool:
        """Whether this is a full stop that does not end a sentence, whatever follows."""
        if self._is_enumerator(self._tail):
            return True
        if self._text[self._mark] != "." or self._tail - self._mark > 1:
            return False
        word = self._word()
        return (
            (len(word) == 1 and word.isalpha())
            or _is_in(word, _BEFORE_A_NAME)
            or _DOTTED.fullmatch(word) is not None
            or _ORDINAL.search(self._before()) is not None
        )

    def _is_enumerator(self, end: int) -> bool:
        """Whether the sentence is a number and a full stop: the number of what follows."""
        begin = self._sentence
        return end - begin <= _LONGEST_WORD and _ENUMERATOR.fullmatch(self._text, begin, end) is not None

    def _before(self) -> str:
        return self._text[max(self._start, self._mark - _LONGEST_WORD) : self._mark]

    def _word(self) -> str:
        """The word before the end, as much of it as could be an abbreviation."""
        found = _WORD.search(self._before())
        return found[0].lstrip("'‘’") if found else ""


def _is_in(word: str, words: frozenset[str]) -> bool:
    return word in words or word[:1].lower() + word[1:] in words


def _combines(left: str, right: str) -> bool:
    """Whether two characters are part of one: a letter and its accent, an emoji and what changes it."""
    return (
        right == _JOINER
        or left == _JOINER
        or unicodedata.category(right)[0] == "M"  # with the variation selectors
        or "\U0001f3fb" <= right <= "\U0001f3ff"  # the colours of a skin
        or "\U000e0020" <= right <= "\U000e007f"  # the letters of a flag
    )


async def segment_text(
    chunks: AsyncIterable[Chunk], *, min_chars: int = 50, max_chars: int = 600
) -> AsyncGenerator[Chunk, None]:
    """Cut a text that comes in chunks into sentences, each given as soon as it is complete.

    The pieces join to the text verbatim; see :class:`SentenceSplitter`.  A marker pushes out what came before it, and
    is passed on; white space alone is not pushed out but leads what follows.

    It does not checkpoint by itself.

    Args:
        chunks: the text.  If it is a generator, it is closed with this one: who leaves the sentences, leaves it too.
        min_chars: a shorter sentence is joined with the next, unless its line ends.
        max_chars: no piece is longer.
    """
    splitter = SentenceSplitter(min_chars=min_chars, max_chars=max_chars)
    try:
        async for chunk in chunks:
            if isinstance(chunk, str):
                for piece in splitter.feed(chunk):
                    yield piece
            else:
                if splitter.buffered.strip():
                    yield splitter.flush()
                yield chunk
        if splitter.buffered:
            yield splitter.flush()
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()  # noqa: ASYNC102  # whoever closes us decides for how long
