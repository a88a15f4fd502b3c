"""Function tools: plain typed Python functions that a language model may call."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import attrs
import msgspec

from ._schema import UNDESCRIBABLE, schema_of
from .errors import ConfigurationError, ToolError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECTION = re.compile(r"(Args|Arguments|Returns|Raises|Yields|Examples?|Notes?|Attributes):\s*$")
_ARGUMENT = re.compile(r"\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


@attrs.frozen(eq=False)
class FunctionTool:
    """A function that a model may call; made by :func:`function_tool`.

    Attributes:
        name: by which the model calls it.
        description: for the model.
        parameters: the JSON schema of its arguments.
        function: what is called, with keyword arguments; a plain function or an async one.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] = attrs.field(repr=False)
    function: Callable[..., Any] = attrs.field(repr=False)
    _arguments: type[msgspec.Struct] = attrs.field(repr=False, alias="arguments")

    async def call(self, arguments: str) -> str:
        """Call the function and return what it gives, for the model: a string as it is, anything else as JSON.

        A plain function runs where it stands and must be quick; one that blocks should be async, and use
        :func:`trio.to_thread.run_sync`.  Cancelling the call cancels an async function.

        Args:
            arguments: JSON; checked against the function's types, and converted to them.

        Raises:
            ToolError: if the arguments do not fit, or the function says so.
            TypeError: if what it gives cannot be written as JSON.
            Exception: whatever else the function raises.
        """
        try:
            given = msgspec.json.decode(arguments or "{}", type=self._arguments)
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
            raise ToolError(f"the arguments of {self.name} are not valid: {error}") from None
        names = zip(given.__struct_encode_fields__, given.__struct_fields__, strict=True)
        result = self.function(**{name: getattr(given, field) for name, field in names})
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, str) else msgspec.json.encode(result).decode()

    def wire(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


Tool: TypeAlias = FunctionTool | Callable[..., Any] | Mapping[str, Any]
"""A tool: a function, one made by :func:`function_tool`, or a mapping in OpenAI's form, which is sent as it is."""


def function_tool(
    function: Callable[..., Any], *, name: str | None = None, description: str | None = None
) -> FunctionTool:
    """Make a tool of a function; its signature and its docstring tell the model how to call it.

    Every parameter has a type: of JSON's own, an enum, a Literal, a list or dict, an Optional, an attrs class, a
    dataclass or a msgspec Struct.  What a parameter means is said in the docstring's ``Args:``, Google style, or in
    ``Annotated[int, "what it means"]``; :class:`msgspec.Meta` there sets bounds as well.  Can be used as a decorator.

    Args:
        function: a plain function or an async one; a bound method.
        name: another name than the function's.
        description: another one than the beginning of its docstring.

    Raises:
        ConfigurationError: if the model could not be told how to call it.
    """
    called = str(name or getattr(function, "__name__", ""))
    if not _NAME.fullmatch(called):
        raise ConfigurationError(f"a tool's name has 1 to 64 letters, digits, _ and -, not {called!r}")
    summary, meanings = _documented(inspect.getdoc(_underlying(function)) or "")
    parameters = _parameters(function, called)
    # A parameter's name need not do for an attribute of a class: __x, __init__.
    names = {f"argument_{position}": parameter.name for position, parameter in enumerate(parameters)}
    fields = [(name, *_field(parameter, meanings)) for name, parameter in zip(names, parameters, strict=True)]
    try:
        arguments = msgspec.defstruct(called, fields, kw_only=True, forbid_unknown_fields=True, rename=names)
        schema = schema_of(arguments)
    except UNDESCRIBABLE as error:
        raise ConfigurationError(f"the parameters of {called} cannot be described: {error}") from None
    if len(arguments.__struct_fields__) != len(parameters):
        raise ConfigurationError(f"{called}: a parameter's type cannot be a ClassVar")
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return FunctionTool(called, summary if description is None else description, schema, function, arguments)


def as_tools(tools: Iterable[Tool]) -> dict[str, FunctionTool | Mapping[str, Any]]:
    """Tools by name.

    Raises:
        ConfigurationError: if one is no tool, or two have the same name.
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        raise ConfigurationError("tools must be a sequence of tools")
    named: dict[str, FunctionTool | Mapping[str, Any]] = {}
    for tool in tools:
        made = tool if isinstance(tool, FunctionTool | Mapping) or not callable(tool) else function_tool(tool)
        name = made.name if isinstance(made, FunctionTool) else _wire_name(made)
        if name in named:
            raise ConfigurationError(f"two tools are called {name}")
        named[name] = made
    return named


def wire_tools(tools: Iterable[FunctionTool | Mapping[str, Any]]) -> list[Any]:
    """The tools in OpenAI's form."""
    return [tool.wire() if isinstance(tool, FunctionTool) else tool for tool in tools]


async def output_of(tools: Mapping[str, Any], name: str, arguments: str) -> str:
    """What comes of a model's call, for the model to read: what the function gives, or what is wrong with the call.

    Args:
        tools: by name; those without a function cannot be called.
        name: as the model wrote it.
        arguments: JSON, as the model wrote it.

    Raises:
        Exception: what the function raises, other than ToolError: a bug.
    """
    tool = tools.get(name)
    if not isinstance(tool, FunctionTool):
        return f"error: there is no tool {name}; there are {', '.join(tools) or 'none'}"
    try:
        output = await tool.call(arguments)
    except ToolError as error:
        output = f"error: {error}"
    except ExceptionGroup as group:
        output = f"error: {_lone_tool_error(group)}"
    except StopAsyncIteration as error:
        # It would end the iteration of whoever calls, as if the model had answered (PEP 479).
        raise RuntimeError(f"the tool {name} raised StopAsyncIteration") from error
    # A lone surrogate can never be sent: the conversation could not go on.
    return output.encode("utf-8", "replace").decode()


def _lone_tool_error(group: ExceptionGroup) -> ToolError:
    """The ToolError that a tool's own nursery has wrapped; raises the group if that is not all there is in it."""
    error: Exception = group
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if not isinstance(error, ToolError):
        raise group
    return error


def _wire_name(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise ConfigurationError(f"not a tool: {tool!r}")
    return name


def _underlying(function: Callable[..., Any]) -> Any:
    """Where the types and the docstring of a callable are."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _parameters(function: Callable[..., Any], called: str) -> list[inspect.Parameter]:
    """The function's parameters, their types resolved."""
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(_underlying(function), include_extras=True)
    except UNDESCRIBABLE as error:
        raise ConfigurationError(f"the parameters of {called} cannot be told: {error}") from None
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ConfigurationError(f"{called}: a tool's parameter must have a name of its own, not {parameter}")
        if parameter.name not in hints:
            raise ConfigurationError(f"{called}: the parameter {parameter.name} has no type")
    return [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]


def _field(parameter: inspect.Parameter, meanings: Mapping[str, str]) -> tuple[Any, Any]:
    kind, meaning = _meaning(parameter.annotation)
    meaning = meaning or meanings.get(parameter.name)
    if meaning is not None:
        kind = Annotated[kind, msgspec.Meta(description=meaning)]
    default = parameter.default
    if default is parameter.empty:
        return kind, msgspec.NODEFAULT
    if default is None or isinstance(default, str | int | float):
        return kind, default
    return kind, msgspec.field(default_factory=lambda: default)


def _meaning(annotation: Any) -> tuple[Any, str | None]:
    """A type without the words that annotate it, and these words."""
    if get_origin(annotation) is not Annotated:
        return annotation, None
    kind, *notes = get_args(annotation)
    words = next((note for note in notes if isinstance(note, str)), None)
    for note in notes:
        if isinstance(note, msgspec.Meta):
            kind = Annotated[kind, note]
    return kind, words


def _documented(doc: str) -> tuple[str, dict[str, str]]:
    """What a docstring says before its sections, and about each argument."""
    summary: list[str] = []
    meanings: dict[str, str] = {}
    section, name = "", ""
    depth = 0
    for line in doc.splitlines():
        indent = len(line) - len(line.lstrip())
        if not indent and (heading := _SECTION.match(line)):
            section, name = heading[1], ""
        elif not section:
            summary.append(line)
        elif section in ("Args", "Arguments") and line.strip():
            found = _ARGUMENT.match(line.strip())
            if found and (not name or indent <= depth):
                name, depth = found[1], indent
                meanings[name] = found[2]
            elif name:
                meanings[name] = f"{meanings[name]} {line.strip()}".strip()
    return "\n".join(summary).strip(), meanings
