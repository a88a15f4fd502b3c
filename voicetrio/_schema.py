"""JSON schemas of Python types, in the form in which language models are given them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import ConfigurationError

# What reading annotations raises, which may be any expression in a string, and describing the types they name.
UNDESCRIBABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NameError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a type, an object's at its top.

    Raises:
        TypeError: or another of `UNDESCRIBABLE`, if the type has none.
    """
    schema = msgspec.json.schema(kind)
    definitions: dict[str, Any] = schema.get("$defs", {})
    reference = schema.get("$ref")
    if reference is None:
        return schema
    # Servers want an object at the top, not a reference to one; it stays among the definitions if it refers to itself.
    name = reference.removeprefix("#/$defs/")
    top = dict(definitions[name])
    if not _mentions(definitions, reference):
        definitions = {key: value for key, value in definitions.items() if key != name}
    return {**top, "$defs": definitions} if definitions else top


def strict(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema as strict structured output wants it: all fields required, and no others.

    None if it cannot be said so: an object may have any field.

    Raises:
        ConfigurationError: if it is no JSON schema.
    """
    try:
        closed: dict[str, Any] = _closed(schema)
    except _Open:
        return None
    except RecursionError:
        raise ConfigurationError("the JSON schema is nested too deeply") from None
    return closed


class _Open(Exception):
    pass


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "object" and ("properties" not in node or node.get("additionalProperties")):
        raise _Open
    closed: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):  # whose keys are names, not keywords
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"in a JSON schema {key} must be a mapping, not {type(value).__name__}")
            closed[key] = {name: _closed(each) for name, each in value.items()}
        elif key in ("enum", "const"):
            closed[key] = value
        elif key != "default":  # with all fields required it says nothing, and some servers refuse it
            closed[key] = _closed(value)
    if "properties" in node:
        closed |= {"required": list(node["properties"]), "additionalProperties": False}
    return closed


def _mentions(node: Any, reference: str) -> bool:
    if isinstance(node, dict):
        return node.get("$ref") == reference or any(_mentions(each, reference) for each in node.values())
    return isinstance(node, list) and any(_mentions(each, reference) for each in node)
