"""Options of simulators, and how text such as ``frame_ms=20`` becomes one."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from ._checks import at_least, positive
from ._faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

__all__ = ["Options", "SimulatorOptions", "parse_pairs"]

_T = TypeVar("_T")

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


@attrs.frozen(kw_only=True)
class SimulatorOptions:
    """What every simulator can be told; each provider's options extend it.  Times are in seconds.

    Where a provider is known to have limits, its options give these fields other defaults.

    Attributes:
        faults: what goes wrong, none by default; see :class:`~voicetrio.simulators.Faults`.

        api_key: the only key or token that is accepted; None accepts any that is not empty.
        seed: of whatever is random, such as request ids.
        concurrent_limit: connections open at once before the next gets 429; None for no limit.
        session_limit: seconds after which the connection is closed; None for no limit.
        idle_timeout: seconds without a message of the client after which it is closed; None for no limit.
    """

    faults: Faults = attrs.Factory(Faults)

    api_key: str | None = attrs.field(default=None, repr=False)
    seed: int = 0
    concurrent_limit: int | None = attrs.field(default=None, validator=at_least(0))
    session_limit: float | None = attrs.field(default=None, validator=positive)
    idle_timeout: float | None = attrs.field(default=None, validator=positive)

    def accepts(self, key: str) -> bool:
        """Whether `key` is good."""
        return bool(key) and self.api_key in (None, key)

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> Self:
        """Options from ``key=value`` strings.

        The keys are the names of the fields of this class and of :class:`Faults`.  Numbers and choices are written
        as in Python, truths as ``yes`` and ``no``, lists of words with commas, the absence of an optional value as
        ``none``.

        Raises:
            ValueError: a key is unknown or given twice, or a value is not one of its key's; the message names both.
        """
        return parse_pairs(cls, pairs)


Options = SimulatorOptions
"""The name by which the command line knows them."""


def parse_pairs(cls: Callable[..., _T], pairs: Iterable[str]) -> _T:
    """An instance of an attrs class from ``key=value`` strings; fields that are attrs classes share the namespace.

    `cls` may also be a function, of whose keyword arguments it is then made.  One that takes any others passes them on
    to the class that it returns.

    Raises:
        ValueError: a key is unknown or given twice, or a value does not fit its key.
    """
    texts: dict[str, str] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise ValueError(f"{pair!r} is not of the form key=value")
        if key in texts:
            raise ValueError(f"{key} is given twice")
        texts[key] = text.strip()
    options = _take(cls, texts)
    if texts:
        unknown, known = ", ".join(sorted(texts)), ", ".join(sorted(_keys(cls)))
        raise ValueError(f"unknown option {unknown}; the options are {known}")
    return options


def _take(cls: Callable[..., _T], texts: dict[str, str]) -> _T:
    values: dict[str, Any] = {}
    for name, hint in _fields(cls).items():
        if attrs.has(hint):
            values[name] = _take(hint, texts)
        elif name in texts:
            values[name] = _value(name, hint, texts.pop(name))
    return cls(**values)


def _fields(cls: Callable[..., Any]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    if isinstance(cls, type):
        return {field.name: hints[field.name] for field in attrs.fields(cls)}
    parameters = inspect.signature(cls).parameters.values()
    own = {each.name: hints[each.name] for each in parameters if each.kind is each.KEYWORD_ONLY}
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        return own
    made = hints["return"]
    optional = {each.name for each in attrs.fields(made) if each.default is not attrs.NOTHING}
    return {name: hint for name, hint in _fields(made).items() if name in optional} | own


def _keys(cls: Callable[..., Any]) -> list[str]:
    return [
        key
        for name, hint in _fields(cls).items()
        for key in (_keys(hint) if attrs.has(hint) else [name])
    ]  # fmt: skip


def _value(key: str, hint: Any, text: str) -> Any:
    """The value of type `hint` that `text` means."""
    if get_origin(hint) in (types.UnionType, Union):
        if text.lower() == "none":
            return None
        hint = next(arm for arm in get_args(hint) if arm is not type(None))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if text not in choices:
            raise ValueError(f"{key}={text}: choose one of {', '.join(choices)}")
        return text
    if hint is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{key}={text}: choose one of yes, no")
        return _BOOLEANS[text.lower()]
    if hint is int or hint is float:
        return _number(key, hint, text)
    if hint is str:
        return text
    if get_origin(hint) in (Mapping, dict):
        return _object(key, text)
    if get_args(hint)[:1] == (str,):
        return tuple(filter(None, (part.strip() for part in text.split(","))))
    return _headers(key, text)


def _number(key: str, kind: type[int] | type[float], text: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"{key}={text}: not {wanted}") from None


def _object(key: str, text: str) -> dict[str, Any]:
    """An object of JSON."""
    with suppress(ValueError):
        if isinstance(value := json.loads(text), dict):
            return value
    raise ValueError(f"{key}={text}: not an object of JSON")


def _headers(key: str, text: str) -> tuple[tuple[str, str], ...]:
    """Headers written as ``Name: value | Other: value``."""
    headers: list[tuple[str, str]] = []
    for part in filter(None, (part.strip() for part in text.split("|"))):
        name, colon, value = part.partition(":")
        if not colon:
            raise ValueError(f"{key}={text}: write headers as 'Name: value | Other: value'")
        headers.append((name.strip(), value.strip()))
    return tuple(headers)
