"""The form that an answer must have, and its reading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs
import msgspec

from ._schema import UNDESCRIBABLE, schema_of
from .errors import ConfigurationError, InvalidAnswer

Form: TypeAlias = type | Mapping[str, Any] | None
"""What `response_format` takes: a class, a JSON schema, or OpenAI's object."""

_WIRE_TYPES = ("json_object", "json_schema", "text")
_FENCE = re.compile(r"\A\s*```\w*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


@attrs.frozen
class AnswerFormat:
    """The form of an answer.

    Attributes:
        kind: what it is converted to; None if it is no JSON.
        name: of the schema.
        schema: JSON schema; None if there is none.
        wire: OpenAI's object, if that was given.
    """

    kind: Any = None
    name: str = "answer"
    schema: dict[str, Any] | None = attrs.field(default=None, repr=False)
    wire: dict[str, Any] | None = attrs.field(default=None, repr=False)

    @classmethod
    def of(cls, form: Form) -> AnswerFormat:
        """The form that was asked for.

        Raises:
            ConfigurationError: if it is none.
        """
        if form is None:
            return cls()
        if isinstance(form, Mapping):
            if form.get("type") in _WIRE_TYPES:
                return cls(None if form["type"] == "text" else Any, wire=dict(form))
            title = form.get("title")
            return cls(Any, _name(title if isinstance(title, str) else "answer"), schema=dict(form))
        if not isinstance(form, type):
            raise ConfigurationError(f"response_format must be a class or a JSON schema, not {form!r}")
        try:
            schema = schema_of(form)
        except UNDESCRIBABLE as error:
            raise ConfigurationError(f"{form.__name__} cannot be described as a JSON schema: {error}") from None
        if schema.get("type") != "object":
            raise ConfigurationError(f"response_format must be a class with fields, not {form.__name__}")
        return cls(form, _name(form.__name__), schema=schema)

    def check_field(self, field: str) -> None:
        """Raise ConfigurationError if an answer of this form cannot have such a field."""
        if self.kind is None:
            raise ConfigurationError("spoken_field needs a response_format that is JSON")
        properties = (self.schema or {}).get("properties")
        if not isinstance(field, str) or (isinstance(properties, Mapping) and field not in properties):
            raise ConfigurationError(f"spoken_field must be a field of the answer, not {field!r}")

    def parse(self, content: str, provider: str) -> Any:
        """The answer as what it should be; None if it should be text.

        Raises:
            InvalidAnswer: if it is not.
        """
        if self.kind is None:
            return None
        fenced = _FENCE.match(content)
        try:
            return msgspec.json.decode(fenced[1] if fenced else content, type=self.kind)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
            raise InvalidAnswer(f"the answer is not what was asked for: {error}", provider=provider) from None


def _name(words: str) -> str:
    return _NOT_IN_NAMES.sub("_", words)[:64] or "answer"
