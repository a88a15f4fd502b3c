"""What Deepgram's ``/v1/speak`` accepts in a query string.

Voices are those of deepgram-sdk 7.16 (``speak/v1/types``); encodings and rates those of Deepgram's published API
specification; the rule for `speed` is that of its documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MODELS", "QueryError", "SpeechSettings", "parse_query"]

Encoding: TypeAlias = Literal["linear16", "mulaw", "alaw"]

_AURA_1 = "angus arcas asteria athena helios hera luna orion orpheus perseus stella zeus"
_AURA_2 = {
    "en": (
        "amalthea andromeda apollo arcas aries asteria athena atlas aurora callista cora cordelia delia draco "
        "electra harmonia helena hera hermes hyperion iris janus juno jupiter luna mars minerva neptune odysseus "
        "ophelia orion orpheus pandora phoebe pluto saturn selene thalia theia vesta zeus"
    ),
    "es": (
        "agustina alvaro antonia aquila carina celeste diana estrella gloria javier luciano nestor olivia selena "
        "silvia sirio valerio"
    ),
    "de": "aurelia elara fabian julius kara lara viktoria",
    "nl": "beatrix cornelia daphne hestia lars leda rhea roman sander",
    "fr": "agathe hector",
    "it": "cesare cinzia demetra dionisio elio flavio livia maia melia",
    "ja": "ama ebisu fujin izanami uzume",
}

MODELS = frozenset(
    [f"aura-{voice}-en" for voice in _AURA_1.split()]
    + [f"aura-2-{voice}-{language}" for language, voices in _AURA_2.items() for voice in voices.split()]
)
"""The voices that exist."""

_RATES: dict[Encoding, tuple[int, ...]] = {
    "linear16": (24000, 8000, 16000, 32000, 48000),
    "mulaw": (8000, 16000),
    "alaw": (8000, 16000),
}
"""For each encoding that the socket offers the sample rates, the default first."""


@attrs.frozen
class SpeechSettings:
    """What one connection asked for.

    Attributes:
        model: the voice.
        encoding: how audio is sent.
        sample_rate: Hz.
        speed: rate of speech; validated, but not applied to tagged audio, whose length is a matter of the text.
    """

    model: str = "aura-asteria-en"
    encoding: Encoding = "linear16"
    sample_rate: int = 24000
    speed: float = 1.0

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return 2 if self.encoding == "linear16" else 1


class QueryError(Exception):
    """The query is refused with HTTP 400.

    Attributes:
        code: `err_code` of the answer.
        message: `err_msg` of the answer.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def parse_query(query: Iterable[tuple[str, str]]) -> SpeechSettings:
    """The settings that a query asks for; parameters that are unknown or for REST only are ignored.

    Raises:
        QueryError: a value is not accepted.
    """
    values = dict(query)
    encoding_text = values.get("encoding", "linear16")
    encodings: dict[str, Encoding] = {each: each for each in _RATES}
    encoding = encodings.get(encoding_text)
    if encoding is None:
        raise _invalid("encoding", encoding_text, tuple(_RATES))
    rates = _RATES[encoding]
    rate_text = values.get("sample_rate", str(rates[0]))
    if rate_text not in map(str, rates):
        raise _invalid("sample_rate", rate_text, rates)
    if values.get("mip_opt_out", "false").lower() not in ("true", "false"):
        raise _invalid("mip_opt_out", values["mip_opt_out"], ("true", "false"))
    model = values.get("model", "aura-asteria-en")
    if model not in MODELS:
        raise QueryError("Bad Request", f"No such model/version combination found: {model}")
    return SpeechSettings(model, encoding, int(rate_text), _speed(values.get("speed", "1"), model))


def _speed(text: str, model: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        raise _invalid("speed", text, ("0.7 to 1.5",)) from None
    if not 0.7 <= speed <= 1.5:
        raise _invalid("speed", text, ("0.7 to 1.5",))
    if speed != 1 and not (model.startswith("aura-2-") and model.endswith(("-en", "-es"))):
        raise QueryError("INVALID_QUERY_PARAMETER", f"speed is not supported by {model}")
    return speed


def _invalid(name: str, value: str, choices: tuple[object, ...]) -> QueryError:
    wanted = ", ".join(map(str, choices))
    return QueryError("INVALID_QUERY_PARAMETER", f"{name}={value} is not supported; choose from {wanted}")
