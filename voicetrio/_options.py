"""What the options of providers have in common: validators, keys and URLs."""

from __future__ import annotations

import datetime
import math
import os
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from .errors import ConfigurationError

# Seconds, of any option: a year, to keep times in what floats and clocks can tell apart.
_MOST = 366 * 86_400
# Of anything that is counted.
_MOST_WHOLE = 10**12
# Schemes of URLs, and whether they mean TLS.
_TLS = {"ws": False, "http": False, "wss": True, "https": True}


def check_io(dial: Any, ssl_context: Any) -> None:
    """Check what ``open()`` is given to connect with.

    Raises:
        ConfigurationError: if it is not what it must be.
    """
    if dial is not None and not callable(dial):
        raise ConfigurationError(f"dial must be an async function of host and port, not {dial!r}")
    if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
        raise ConfigurationError(f"ssl_context must be an ssl.SSLContext, not {ssl_context!r}")


def _is_left_out(attribute: attrs.Attribute[Any], value: Any) -> bool:
    """Whether an option is not given: None says so only where it is the default."""
    return value is None and attribute.default is None


def positive(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check an option that must be a number, and more than nothing."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= _MOST:
        raise ConfigurationError(f"{attribute.name} must be a number greater than 0 and at most {_MOST:g}")


def age(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check the seconds after which something is replaced: so many that it is not done all the time."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise ConfigurationError(f"{attribute.name} must be a number from 1 to {_MOST:g}, not {value!r}")


def positive_or_none(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check an option that may be switched off."""
    if value is not None:
        positive(instance, attribute, value)


def whole(minimum: int) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Check an option that must be a whole number."""

    def check(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= _MOST_WHOLE:
            raise ConfigurationError(f"{attribute.name} must be a whole number of at least {minimum}, not {value!r}")

    return check


def truth(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check an option that is on or off."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{attribute.name} must be True or False, not {value!r}")


def whole_or_none(least: int, most: int) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Check an option that must be a whole number, or if that is its default None."""

    def check(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        whole_number = isinstance(value, int) and not isinstance(value, bool)
        if not _is_left_out(attribute, value) and not (whole_number and least <= value <= most):
            raise ConfigurationError(f"{attribute.name} must be a whole number from {least} to {most}, not {value!r}")

    return check


def web_address(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check an option that is the URL of a websocket or of HTTP; what is wrong with it is told, and not the URL."""
    if not isinstance(value, str):
        raise ConfigurationError(f"{attribute.name} must be a string, not {value!r}")
    try:
        parts = urlsplit(value)
        port = parts.port  # is only looked at now
    except ValueError as error:
        raise ConfigurationError(f"{attribute.name} is not a URL: {error}") from None
    if parts.scheme not in _TLS or not parts.hostname or port == 0:
        raise ConfigurationError(f"{attribute.name} must be a ws, wss, http or https URL with a host")
    if parts.fragment or not value.isprintable() or " " in value:  # urlsplit drops line breaks without a word
        raise ConfigurationError(f"{attribute.name} must have neither a fragment, nor spaces or line breaks")


def secret(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check a key that will be sent in a header; it is never shown."""
    if value is None:
        return
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{attribute.name} must be a string that is not empty")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(f"{attribute.name} has a character that no key has: a newline or space, perhaps")


def key_or_environment(key: str | None, name: str) -> str | None:
    """A key, or if it is not given the value of an environment variable."""
    return os.environ.get(name) if key is None else key


def required_key(key: str | None, name: str) -> str:
    """A key, or if it is not given the value of an environment variable.

    Raises:
        ConfigurationError: if there is neither.
    """
    found = key_or_environment(key, name)
    if found is None:
        raise ConfigurationError(f"no key: give one, or set {name}")
    return found


def in_range(least: float, most: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Check an option that must be a number, or if that is its default None."""

    def check(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not _is_left_out(attribute, value) and not (number and least <= value <= most):
            raise ConfigurationError(f"{attribute.name} must be from {least:g} to {most:g}, not {value!r}")

    return check


def one_of(choices: Iterable[Any]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Check an option that has a few values."""
    known = tuple(choices)

    def check(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not any(isinstance(value, type(choice)) and value == choice for choice in known):
            raise ConfigurationError(f"{attribute.name} must be one of {', '.join(map(str, known))}, not {value!r}")

    return check


def voice_name(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check the name of a model or voice: any that could be one, as providers add new ones all the time."""
    if not _is_name(value):
        raise ConfigurationError(f"{attribute.name} must be a name, not {value!r}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable() and " " not in value


def voice_or_embedding(voice: Any) -> str | tuple[float, ...]:
    """A voice's id, or its embedding in a form that can be hashed.

    Raises:
        ConfigurationError: if it is neither.
    """
    if isinstance(voice, list | tuple) and voice and all(map(_is_finite, voice)):
        return tuple(voice)
    if isinstance(voice, str) and _is_name(voice):
        return voice
    raise ConfigurationError(f"voice_id must be an id, or an embedding: a list of numbers; not {voice!r}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def calendar_date(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Check a version that is a date: any, as providers add new ones."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            datetime.date.fromisoformat(value)
            return
    except (TypeError, ValueError):
        pass
    raise ConfigurationError(f"{attribute.name} must be a date, such as 2026-03-01, not {value!r}")


def pairs(value: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """A mapping of strings, or of numbers, in a form that can be hashed."""
    try:
        mapping = None if isinstance(value, str | bytes) else dict(value)
    except (TypeError, ValueError):
        mapping = None
    if mapping is None or not all(isinstance(k, str) and isinstance(v, str | int | float) for k, v in mapping.items()):
        raise ConfigurationError(f"extra parameters must be a mapping of strings, not {value!r}")
    return tuple(sorted((name, str(item)) for name, item in mapping.items()))


def websocket_url(base: str, default_path: str, parameters: Mapping[str, str]) -> str:
    """Put query parameters on a base URL, as :func:`endpoint_url`; one without a path gets the default one."""
    bare = not urlsplit(base).path.strip("/")
    return endpoint_url(base, parameters, schemes=("ws", "wss"), path=default_path if bare else "")


def endpoint_url(base: str, parameters: Mapping[str, str], *, schemes: tuple[str, str], path: str = "") -> str:
    """Add a path and query parameters, percent-encoded, to a base URL that is a :func:`web_address`.

    ``http`` and ``https`` are taken for ``ws`` and ``wss``, and the other way round: it becomes one of `schemes`, of
    which the second is for TLS.

    Raises:
        ConfigurationError: if no URL could carry the parameters.
    """
    parts = urlsplit(base)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *parameters.items()]
    try:
        encoded = urlencode(query)
    except UnicodeEncodeError:
        raise ConfigurationError("a query parameter has a lone surrogate, which no encoding can carry") from None
    whole_path = parts.path.rstrip("/") + path if path else parts.path
    return urlunsplit((schemes[_TLS[parts.scheme]], parts.netloc, whole_path, encoded, ""))


def shown_url(url: str) -> str:
    """A URL as it is printed: without its query, where some servers want their key."""
    return repr(url.partition("?")[0])
