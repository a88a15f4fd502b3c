"""The first message of a session with LMNT, which says everything: who speaks, in which dialect, format and rate.

The fields and their values are those of LMNT's SDKs for Python and of its documentation.  That a bad key and a
``"model": null`` are answered by an error message and close code 1002 was measured on the live endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from ._lmnt_audio import FORMATS, AudioFormat
from ._lmnt_dialect import DIALECTS, Dialect, Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings", "find_dialect", "parse_init"]

MODELS = frozenset({"aurora", "blizzard", "blizzard-2.0", "blizzard-2.1", "blizzard-dialogue"})

_LANGUAGES = "auto ar as bn cs da de en es fi fr hi id it ja ko ml mr nl pl pt ru sk sv ta te th tr uk ur vi zh"
LANGUAGES = frozenset(_LANGUAGES.split())

SAMPLE_RATES = (24000, 16000, 8000)

TYPED_FORMATS = frozenset({"mp3", "pcm_s16le", "pcm_f32le", "ulaw", "webm"})
UNTYPED_FORMATS = TYPED_FORMATS | {"aac", "raw", "wav"}

SPEEDS = (0.25, 2.0)


@attrs.frozen
class Settings:
    """What a session was asked for.

    Attributes:
        audio: how it is encoded.
        sample_rate: in Hz.
        word_times: whether the words' times are wanted.
    """

    audio: AudioFormat
    sample_rate: int
    word_times: bool


class _Init(msgspec.Struct):
    key: str = msgspec.field(name="X-API-Key", default="")
    voice: str = ""
    model: str | UnsetType = UNSET
    format: str = "mp3"
    language: str = "auto"
    sample_rate: int = 24000
    speed: float = 1.0
    conversational: bool = False
    return_timestamps: bool = False
    return_extras: bool = False
    send_extras: bool = False  # what the SDK 1.x calls return_extras


def find_dialect(message: Mapping[str, Any], *, unknown: Literal["refuse", "1.2"]) -> Dialect:
    """The dialect that an init message chooses.

    Args:
        message: the init.
        unknown: what a version is that nobody knows.

    Raises:
        Failure: it chooses none that there is; what answers it should be typed if the message has a version.
    """
    version = message.get("lmnt-version", "1.0")
    if version != "1.0":
        if isinstance(version, str) and version in ("1.1", "1.2"):
            return DIALECTS[version]
        if unknown == "1.2":
            return DIALECTS["1.2"]
        raise Failure("invalid_request_error", "Unknown lmnt-version.")
    protocol = message.get("protocol_version", 1)
    if protocol not in (1, 2) or isinstance(protocol, bool):
        raise Failure("invalid_request_error", "Unknown protocol_version.")
    return DIALECTS["2" if protocol == 2 else "1.0"]


def parse_init(
    message: Mapping[str, Any],
    dialect: Dialect,
    *,
    api_key: str | None,
    known_voice: str | None,
    check_model: bool,
    assume_pcm: bool,
) -> Settings:
    """Check an init message as LMNT does: key, voice, then the rest.

    Args:
        message: the init.
        dialect: what it chose.
        api_key: the only key that is good; None for any that is not empty.
        known_voice: the only voice there is; None for any.
        check_model: whether a model that typed dialects do not have in their schema must be one that there is.
        assume_pcm: whether a format that cannot be made becomes 16-bit PCM.

    Raises:
        Failure: LMNT would not take it.
    """
    if message.get("type", "init") != "init":
        raise Failure("invalid_request_error", "The first message must be the init.")
    init = _convert(message, dialect, check_model=check_model)
    if not init.key or api_key not in (None, init.key):
        raise Failure("authentication_error", "Invalid API key")
    if not init.voice:
        raise Failure("invalid_request_error", "The voice is missing.")
    if known_voice not in (None, init.voice):
        raise Failure("not_found_error", f"There is no voice {init.voice[:100]!r}.")
    if isinstance(init.model, str):
        _demand(init.model in MODELS, "model")
    _demand(init.sample_rate in SAMPLE_RATES, "sample_rate")
    _demand(init.language in LANGUAGES, "language")
    _demand(SPEEDS[0] <= init.speed <= SPEEDS[1], "speed")
    audio = _find_format(init.format, TYPED_FORMATS if dialect.typed else UNTYPED_FORMATS, assume_pcm=assume_pcm)
    wanted = init.return_timestamps if dialect.typed else init.return_extras or init.send_extras
    return Settings(audio, init.sample_rate, wanted)


def _convert(message: Mapping[str, Any], dialect: Dialect, *, check_model: bool) -> _Init:
    absent = {"speed", "conversational"} if dialect.typed else set()
    if dialect.typed and not check_model:
        absent.add("model")
    fields = {name: value for name, value in message.items() if name not in absent}
    try:
        # The SDKs 2.0 to 2.5, untyped, send numbers and truths as text.
        return msgspec.convert(fields, _Init, strict=dialect.typed)
    except msgspec.ValidationError as error:
        raise Failure("invalid_request_error", str(error)) from None


def _find_format(name: str, names: frozenset[str], *, assume_pcm: bool) -> AudioFormat:
    _demand(name in names, "format")
    if name in FORMATS:
        return FORMATS[name]
    if assume_pcm:
        return FORMATS["pcm_s16le"]
    possible = ", ".join(sorted(names & set(FORMATS)))
    raise Failure("invalid_request_error", f"This simulator cannot make {name}; it can make {possible}.")


def _demand(good: bool, name: str) -> None:
    if not good:
        raise Failure("invalid_request_error", f"Invalid value for {name}.")
