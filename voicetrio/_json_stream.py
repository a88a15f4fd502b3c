"""One string out of a JSON object, decoded while the object is still arriving."""

from __future__ import annotations

import re
from typing import Literal

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_REPLACEMENT = "\ufffd"
_PLAIN = re.compile(r'[^"\\]+')


class StringDecoder:
    """Decodes the inside of a JSON string, cut anywhere.

    Attributes:
        over: whether its closing quotation mark has come.
    """

    def __init__(self) -> None:
        self.over = False
        self._escape = ""  # begun and not complete
        self._high = ""  # the first half of a surrogate pair

    def feed(self, text: str, start: int) -> tuple[str, int]:
        """What it says from `start` on, as far as it is certain, and where reading has ended."""
        said: list[str] = []
        at = start
        while at < len(text) and not self.over:
            if self._escape:
                said.append(self._take_escape(text[at]))
                at += 1
            elif plain := _PLAIN.match(text, at):
                said += [self._lone(), plain[0]]
                at = plain.end()
            else:
                if text[at] == "\\":
                    self._escape = "\\"
                else:
                    said.append(self._lone())
                    self.over = True
                at += 1
        return "".join(said), at

    def _take_escape(self, char: str) -> str:
        self._escape += char
        if len(self._escape) == 2 and char == "u":
            return ""
        if len(self._escape) == 2:
            self._escape = ""
            return self._lone() + _ESCAPES.get(char, _REPLACEMENT)
        if len(self._escape) < 6:
            return ""
        digits, self._escape = self._escape[2:], ""
        try:
            return self._take_unit(int(digits, 16))
        except ValueError:
            return self._lone() + _REPLACEMENT

    def _take_unit(self, unit: int) -> str:
        """A unit of UTF-16: a character, or half of one."""
        if 0xD800 <= unit < 0xDC00:
            lone, self._high = self._lone(), chr(unit)
            return lone
        if 0xDC00 <= unit < 0xE000:
            high, self._high = self._high, ""
            return chr(0x10000 + ((ord(high) - 0xD800) << 10) + (unit - 0xDC00)) if high else _REPLACEMENT
        return self._lone() + chr(unit)

    def _lone(self) -> str:
        """What stands for a first half whose second has not come."""
        high, self._high = self._high, ""
        return _REPLACEMENT if high else ""


class FieldStream:
    """Gives the string value of one field of a JSON object as text, while the object is arriving in pieces.

    Of an object with several such fields, the first counts; fields of objects inside of it do not.  A value that is no
    string gives nothing.  What comes before the object, such as the fence of a code block, is passed over.

    Args:
        field: the field's name.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        self._depth = 0
        self._string: StringDecoder | None = None
        self._means: Literal["key", "value", "other"] = "other"  # the string that is being read
        self._key = ""
        self._expects_key = False
        self._found = False  # the next value is the field's
        self._over = False
        self._said: list[str] = []

    def feed(self, text: str) -> str:
        """What these characters add to the field's text."""
        self._said = []
        at = 0
        while at < len(text) and not self._over:
            if self._string is not None:
                at = self._in_string(self._string, text, at)
            else:
                self._between(text[at])
                at += 1
        return "".join(self._said)

    def _in_string(self, string: StringDecoder, text: str, at: int) -> int:
        said, at = string.feed(text, at)
        if self._means == "value":
            self._said.append(said)
        elif self._means == "key":
            self._key += said
        if string.over:
            self._string = None
            self._over = self._means == "value"
            self._found = self._means == "key" and self._key == self._field
        return at

    def _between(self, char: str) -> None:
        """A character outside of strings."""
        if char == '"' and self._depth:
            self._begin_string()
        elif char in "{[":
            self._depth += 1
            self._expects_key = self._depth == 1 and char == "{"
            self._found = False
        elif char in "}]" and self._depth:
            self._depth -= 1
            self._over = not self._depth
        elif char == "," and self._depth == 1:
            self._expects_key, self._found = True, False

    def _begin_string(self) -> None:
        self._string = StringDecoder()
        self._means = "other"
        if self._depth == 1 and self._expects_key:
            self._means, self._key = "key", ""
        elif self._depth == 1 and self._found:
            self._means = "value"
        self._expects_key = False
