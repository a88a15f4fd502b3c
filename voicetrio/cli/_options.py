"""Options of attrs classes on the command line: made from ``key=value``, and listed with their documentation."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import attrs
import click

from ..errors import ConfigurationError
from ..simulators._options import parse_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")

# A line of a Google style "Attributes:" section: `name: what it is`, with continuations that are indented further.
_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)

# What providers call the same thing.
MODEL = ("model", "model_id")
URL = ("base_url", "ws_url")
KEY = ("api_key", "token")

_ROLE = re.compile(r":\w+:`[~.]?([^`]*)`")


def make(cls: Callable[..., _T], pairs: Iterable[str]) -> _T:
    """An instance of an attrs class from ``key=value`` strings, typed by its fields or a function's arguments.

    Raises:
        click.UsageError: a key is unknown or given twice, or a value is not one of its key's.
    """
    pairs = list(pairs)
    if missing := sorted(required_options(cls) - {pair.partition("=")[0].strip().replace("-", "_") for pair in pairs}):
        raise click.UsageError(f"say what {' and '.join(missing)} is: -O {missing[0]}=…")
    try:
        return parse_pairs(cls, pairs)
    except ConfigurationError:
        raise  # the class's own words
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def option_names(cls: Callable[..., Any]) -> frozenset[str]:
    """The names of what an attrs class, or a function that makes one, can be told."""
    return frozenset(name for name, *_ in _rows(cls))


def required_options(cls: Callable[..., Any]) -> frozenset[str]:
    """Those of these names that have no default."""
    return frozenset(name for name, _, default, _ in _rows(cls) if default is None)


def given_options(
    cls: Callable[..., Any], model: str | None, base_url: str | None, api_key_file: str | None
) -> list[str]:
    """What was said by options of the command line that all providers have, as ``key=value`` in the names of one."""
    named = {MODEL: model, URL: base_url, KEY: read_key(api_key_file)}
    return [f"{find_option(cls, names)}={value}" for names, value in named.items() if value is not None]


def find_option(cls: Callable[..., Any], names: tuple[str, ...]) -> str:
    """Which of these names it has."""
    known = option_names(cls)
    return next((name for name in names if name in known), names[0])


def read_key(path: str | None) -> str | None:
    """The key in a file, None if there is no file."""
    return None if path is None else Path(path).read_text(encoding="utf-8", errors="replace").strip()


def print_options(cls: Callable[..., Any]) -> None:
    """Print the fields of an attrs class with their defaults, types and documentation; or a function's arguments."""
    width = min(shutil.get_terminal_size().columns, 100)
    for name, type_name, default, meaning in _rows(cls):
        click.echo(f"{name}={default or ''}  ({type_name})")
        click.echo(textwrap.fill(meaning, width, initial_indent="    ", subsequent_indent="    "))


def _rows(cls: Callable[..., Any]) -> Iterator[tuple[str, str, str | None, str]]:
    """Name, type, default and meaning of each; the default is None if it must be given."""
    hints, meanings, fields = get_type_hints(cls), _meanings(cls), _fields(cls)
    for field in fields:
        hint = hints[field.name]
        if attrs.has(hint):
            yield from _rows(hint)
        else:
            yield field.name, _type_name(hint), _default(field), meanings.get(field.name, "")
    if not isinstance(cls, type) and any(each.kind is each.VAR_KEYWORD for each in _parameters(cls)):
        # What it passes on to the class that it returns.
        own = {field.name for field in fields}
        yield from (row for row in _rows(hints["return"]) if row[0] not in own and row[2] is not None)


def _fields(cls: Callable[..., Any]) -> list[attrs.Attribute[Any] | inspect.Parameter]:
    if isinstance(cls, type):
        return list(attrs.fields(cls))
    return [each for each in _parameters(cls) if each.kind is each.KEYWORD_ONLY]


def _parameters(cls: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(cls).parameters.values())


def _type_name(hint: Any) -> str:
    name = hint.__name__ if isinstance(hint, type) and not hasattr(hint, "__origin__") else str(hint)
    return re.sub(r"\btyping\.Literal\[(.*?)\]", lambda match: match[1].replace("'", "").replace(", ", "|"), name)


def _default(field: attrs.Attribute[Any] | inspect.Parameter) -> str | None:
    if field.default in (attrs.NOTHING, inspect.Parameter.empty):
        return None
    factory = getattr(field.default, "factory", None)
    default = field.default if factory is None else factory()
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "none" if default is None else str(default)


def _meanings(cls: Callable[..., Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    bases, title = (cls.__mro__, "Attributes:") if isinstance(cls, type) else ((cls,), "Args:")
    for base in reversed(bases):
        _, _, attributes = inspect.cleandoc(base.__doc__ or "").partition(title)
        for name, text in _ENTRY.findall(attributes.partition("\nRaises:")[0]):
            found[name] = _ROLE.sub(r"\1", " ".join(text.split())).replace("``", "").replace("`", "")
    return found
