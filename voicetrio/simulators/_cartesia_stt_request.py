"""What Cartesia's speech-to-text is asked for, and how it says that it cannot be had.

The names of parameters and encodings are those of Cartesia's Python SDK 4.2 (``types/stt``); the two shapes of errors
are the one measured on the live endpoint and that of the SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._http import Request

__all__ = ["Asked", "BadParameter", "check_parameters", "error_message"]


def _from(kind: str, scale: float) -> Callable[[bytes], bytes]:
    def convert(data: bytes) -> bytes:
        samples = np.frombuffer(data, kind).astype(np.float64) * scale
        return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()

    return convert


def _noise(data: bytes) -> bytes:
    """As many samples, which are neither silence nor tagged: of the laws only the length is looked at."""
    return b"\x01\x00" * len(data)


_ENCODINGS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "pcm_s16le": (2, bytes),
    "pcm_s32le": (4, _from("<i4", 1 / 65536)),
    "pcm_f16le": (2, _from("<f2", 32768)),
    "pcm_f32le": (4, _from("<f4", 32768)),
    "pcm_mulaw": (1, _noise),
    "pcm_alaw": (1, _noise),
}
"""Bytes of a sample, and what makes it one of s16le."""

_MODELS = {False: ("ink-2", "ink-whisper", "ink-whisper-2025-06-04"), True: ("ink-2",)}

_RANGES = {
    "turn_start_threshold": (0.5, 0.9),
    "turn_eager_end_threshold": (0.3, 0.6),
    "turn_end_threshold": (0.05, 0.5),
    "turn_end_timeout_ms": (640, 11200),
}

MAX_KEYTERMS, MAX_KEYTERM_CHARACTERS = 100, 1200


class BadParameter(Exception):
    """The parameters do not do; says why."""


@attrs.frozen
class Asked:
    """What a connection is for.

    Attributes:
        sample_rate: in Hz.
        language: of the audio.
        width: bytes of a sample.
        decode: makes s16le of whole samples.
    """

    sample_rate: int
    language: str
    width: int
    decode: Callable[[bytes], bytes]


def check_parameters(request: Request, *, turns: bool) -> Asked:
    """What was asked for.

    Raises:
        BadParameter: it cannot be had.
    """
    query = dict(request.query)
    for name in ("model", "encoding", "sample_rate"):
        if not query.get(name):
            raise BadParameter(f"Missing {name}: the query parameter {name} is required")
    if query["model"] not in _MODELS[turns]:
        raise BadParameter(f"Invalid model: {query['model'][:40]!r} is not one of {', '.join(_MODELS[turns])}")
    if query["encoding"] not in _ENCODINGS:
        raise BadParameter(f"Invalid encoding: {query['encoding'][:40]!r}")
    if not query["sample_rate"].isdecimal() or not 4000 <= int(query["sample_rate"][:9]) <= 384_000:
        raise BadParameter(f"Invalid sample_rate: {query['sample_rate'][:40]!r}")
    terms = [value for name, value in request.query if name == "keyterm"]
    if len(terms) > MAX_KEYTERMS or sum(map(len, terms)) > MAX_KEYTERM_CHARACTERS:
        raise BadParameter("Invalid keyterm: there are too many")
    for name, (least, most) in _RANGES.items():
        if name in query and not (turns and _is_within(query[name], least, most)):
            raise BadParameter(f"Invalid {name}: {query[name][:40]!r}")
    return Asked(int(query["sample_rate"]), query.get("language", "en"), *_ENCODINGS[query["encoding"]])


def _is_within(text: str, least: float, most: float) -> bool:
    try:
        return least <= float(text) <= most
    except ValueError:
        return False


def error_message(
    status: int, title: str, message: str, request_id: str, *, structured: bool, code: str | None = None
) -> dict[str, Any]:
    """An error event, in the newer shape if `structured`."""
    if not structured:
        return {"type": "error", "request_id": request_id, "message": message, "code": status}
    return {
        "type": "error",
        "title": title,
        "message": message,
        "status_code": status,
        "error_code": code,
        "request_id": request_id,
    }
