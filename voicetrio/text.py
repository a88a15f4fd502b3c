"""What a turn has to say: text, and the markers between its parts."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator

import attrs

from ._sentences import SentenceSplitter as SentenceSplitter
from ._sentences import segment_text as segment_text
from .errors import InputError


@attrs.frozen
class FlushMarker:
    """Among the chunks of a streamed text: speak what came so far, without waiting for more."""


Chunk = str | FlushMarker
Text = str | AsyncIterable[Chunk]
"""What ``synthesize()`` speaks: a string, or chunks as they come, joined verbatim."""


def check_chunk(chunk: object) -> Chunk:
    """Give the chunk back if it can be spoken.

    Raises:
        InputError: if it is neither text nor a marker, or has a lone surrogate, which no encoding can carry.
    """
    if isinstance(chunk, FlushMarker):
        return chunk
    if not isinstance(chunk, str):
        raise InputError(f"text must be str, or an async iterable of str and FlushMarker, not {type(chunk).__name__}")
    try:
        chunk.encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"text has a lone surrogate at index {exc.start}") from None
    return chunk if type(chunk) is str else str.__str__(chunk)  # a subclass may do as it likes


def says_something(text: str, *, words: bool = False) -> bool:
    """Whether there is something to speak: more than white space, and if `words` matter a letter or a digit."""
    return any(map(str.isalnum, text)) if words else bool(text) and not text.isspace()


def split_text(text: str, limit: int) -> Iterator[str]:
    """Cut a text into pieces of at most `limit` characters that join to it verbatim.

    A piece ends behind white space where there is some; a single word longer than `limit` is cut hard.
    """
    start = 0
    while len(text) - start > limit:
        end = start + limit
        while end > start and not text[end - 1].isspace():
            end -= 1
        if end == start:
            end = start + limit
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]
