"""Function tools: what the model is told of them, and how they are called."""

import dataclasses
import enum
import functools
from typing import Annotated, ClassVar, Literal, Optional

import attrs
import msgspec
import pytest
import trio
from llm_tools import stage

from voicetrio import errors
from voicetrio.chat import ChatContext, ChatMessage, ToolCall, ToolOutput
from voicetrio.simulators.chat import ChatReply, ScriptedCall
from voicetrio.tools import as_tools, function_tool


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


@attrs.frozen
class Place:
    """A place on a map."""

    city: str
    country: str = "FR"


class Span(msgspec.Struct):
    begin: int
    end: int | None = None


@dataclasses.dataclass
class Note:
    text: str


def forecast(
    place: Place,
    unit: Unit = Unit.C,
    kind: Literal["rain", "wind"] = "rain",
    days: list[int] = (1, 2),
    span: Optional[Span] = None,  # noqa: UP045 - both spellings are taken
    notes: dict[str, Note] | None = None,
    limit: Annotated[int, msgspec.Meta(ge=1, le=9), "how many at most"] = 3,
) -> object:
    """Forecast the weather.

    Of the next days.

    Args:
        place: where,
            on the map.
        unit (Unit): of temperatures: one of two.
        days: which.

    Returns:
        What it will be.
    """
    return [place.city, unit.name, kind, list(days), span, notes, limit]


def test_the_model_is_told_what_the_signature_and_the_docstring_say():
    wire = function_tool(forecast).wire()["function"]
    assert (wire["name"], wire["description"]) == ("forecast", "Forecast the weather.\n\nOf the next days.")
    schema = wire["parameters"]
    fields = schema["properties"]
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["place"], False)
    assert fields["place"] == {"description": "where, on the map.", "$ref": "#/$defs/Place"}
    assert fields["unit"]["description"] == "of temperatures: one of two."
    assert fields["kind"] == {"enum": ["rain", "wind"], "default": "rain"}
    assert fields["days"]["items"] == {"type": "integer"}
    assert {"type": "null"} in fields["span"]["anyOf"]
    limit = fields["limit"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 9, 3)
    assert limit["description"] == "how many at most"
    assert schema["$defs"]["Place"]["required"] == ["city"]
    assert schema["$defs"]["Unit"]["enum"] == ["celsius", "fahrenheit"]


async def test_arguments_are_converted_and_what_comes_of_them_is_json():
    tool = function_tool(forecast)
    assert await tool.call('{"place": {"city": "Paris"}}') == '["Paris","C","rain",[1,2],null,null,3]'
    found = await tool.call(
        '{"place": {"city": "Ö"}, "unit": "fahrenheit", "days": [], "span": {"begin": 1}, '
        '"notes": {"a": {"text": "b"}}}'
    )
    assert found == '["Ö","F","rain",[],{"begin":1,"end":null},{"a":{"text":"b"}},3]'


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "{}",
        "{",
        "[]",
        "null",
        '{"place": 3}',
        '{"place": {"city": "x"}, "more": 1}',
        "[" * 100000,
        '{"place": {"city": "x"}, "limit": 10}',
        '{"place": {"city": "x"}, "unit": "kelvin"}',
    ],
    ids=range(10),
)
async def test_arguments_that_do_not_fit_are_a_tool_error(arguments):
    with pytest.raises(errors.ToolError, match="arguments of forecast are not valid"):
        await function_tool(forecast).call(arguments)


async def test_async_functions_methods_and_partials_are_tools():
    class Bank:
        async def balance(self, account: int) -> str:
            """Tell the balance."""
            await trio.lowlevel.checkpoint()
            return f"{account}: 5"

    def nothing():
        """Do nothing."""

    assert await function_tool(Bank().balance).call('{"account": 1}') == "1: 5"
    assert await function_tool(nothing).call("") == "null"
    assert function_tool(nothing).wire()["function"]["parameters"]["properties"] == {}
    assert function_tool(nothing, name="other", description="").name == "other"
    partial = functools.partial(forecast, unit=Unit.F)
    assert "F" in await function_tool(partial, name="forecast").call('{"place": {"city": "x"}}')


async def test_a_callable_object_is_a_tool():
    class Add:
        def __call__(self, a: int, b: int) -> int:
            """Add."""
            return a + b

    assert await function_tool(Add(), name="add").call('{"a": 1, "b": 2}') == "3"


async def test_a_parameter_may_have_any_name():
    def tool(__count: int, __init__: str, argument_0: int = 3, self: int = 4) -> object:
        return [__count, __init__, argument_0, self]

    made = function_tool(tool)
    assert list(made.parameters["properties"]) == ["__count", "__init__", "argument_0", "self"]
    assert made.parameters["required"] == ["__count", "__init__"]
    assert await made.call('{"__count": 1, "__init__": "a"}') == '[1,"a",3,4]'
    with pytest.raises(errors.ToolError, match="__count"):
        await made.call("{}")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda *args: 0,
        print,
        5,
    ],
    ids=range(4),
)
def test_what_cannot_be_described_is_refused(function):
    with pytest.raises(errors.ConfigurationError):
        function_tool(function)


def untyped(x):
    pass


def starred(*numbers: int):
    pass


def keywords(**numbers: int):
    pass


def positional(number: int, /):
    pass


def unknown(thing: "NoSuchType"):  # noqa: F821
    pass


def undescribable(thing: trio.Event):
    pass


def unfinished(thing: "int or"):  # noqa: F722
    pass


def missing(thing: "enum.NoSuchThing"):
    pass


def divided(thing: "1 / 0"):
    pass


def indexed(thing: "[][0]"):
    pass


def of_the_class(thing: ClassVar[int]):
    pass


@pytest.mark.parametrize(
    "function",
    [
        untyped,
        starred,
        keywords,
        positional,
        unknown,
        undescribable,
        unfinished,
        missing,
        divided,
        indexed,
        of_the_class,
    ],
)
def test_parameters_that_cannot_be_described_are_refused(function):
    with pytest.raises(errors.ConfigurationError, match=function.__name__):
        function_tool(function)


@pytest.mark.parametrize(
    "tools",
    ["abc", {}, 5, [5], [{}], [{"function": {}}], [forecast, forecast], [forecast, {"function": {"name": "forecast"}}]],
)
def test_tools_must_be_tools_with_names_of_their_own(tools):
    with pytest.raises(errors.ConfigurationError):
        as_tools(tools)


# -- run_tools -------------------------------------------------------------------------------------------------------


def calls(*calls, text=""):
    return ChatReply(
        text=text, tool_calls=[ScriptedCall(name, args, f"call_{i}") for i, (name, args) in enumerate(calls)]
    )


async def test_the_calls_of_a_round_run_together_and_answer_in_order(autojump_clock):
    finished = []

    async def wait(seconds: float) -> str:
        await trio.sleep(seconds)
        finished.append(seconds)
        return f"waited {seconds:g}"

    replies = [calls(("wait", {"seconds": 3}), ("wait", {"seconds": 1}), text="A moment. "), ChatReply(text="Done.")]
    context = ChatContext().user("Wait.")
    async with stage(*replies, first_token=0, tokens_per_second=None) as it, it.open() as session:
        began = trio.current_time()
        async with session.run_tools(context, tools=[wait]) as run:
            heard = [delta async for delta in run]
        assert trio.current_time() - began == pytest.approx(3)

    assert finished == [1, 3]
    assert "".join(heard) == "A moment. Done."
    assert run.rounds == 2
    assert context.items == [
        ChatMessage("user", "Wait."),
        ChatMessage("assistant", "A moment. "),
        ToolCall("call_0", "wait", '{"seconds": 3}'),
        ToolCall("call_1", "wait", '{"seconds": 1}'),
        ToolOutput("call_0", "waited 3"),
        ToolOutput("call_1", "waited 1"),
        ChatMessage("assistant", "Done."),
    ]
    assert [each["content"] for each in it.simulator.requests[1]["messages"][2:]] == ["waited 3", "waited 1"]


async def test_errors_that_the_model_can_mend_go_to_the_model(autojump_clock):
    def divide(a: int, b: int) -> float:
        if not b:
            raise errors.ToolError("cannot divide by 0")
        return a / b

    wrong = calls(("divide", {"a": 1, "b": 0}), ("divide", {"a": "x"}), ("multiply", {}), ("divide", '{"a": 1'))
    async with (
        stage(wrong, ChatReply(text="Sorry.")) as it,
        it.open() as session,
        session.run_tools("Divide.", tools=[divide]) as run,
    ):
        assert await run.read() == "Sorry."
    outputs = [item.output for item in run.context.items if isinstance(item, ToolOutput)]
    assert outputs[0] == "error: cannot divide by 0"
    assert "arguments of divide are not valid" in outputs[1]
    assert outputs[2] == "error: there is no tool multiply; there are divide"
    assert outputs[3].startswith("error:")


async def test_a_bug_in_a_tool_ends_the_run_and_its_other_calls(autojump_clock):
    cancelled = []

    async def work(fail: bool) -> str:
        if fail:
            await trio.sleep(1)
            raise ZeroDivisionError
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    context = ChatContext().user("Work.")
    async with stage(calls(("work", {"fail": False}), ("work", {"fail": True}))) as it, it.open() as session:
        with pytest.raises(ZeroDivisionError):
            async with session.run_tools(context, tools=[work]) as run:
                await run.read()
    assert cancelled
    assert context.items == [ChatMessage("user", "Work.")], "an incomplete round is not part of the conversation"


async def test_cancelling_the_run_cancels_its_calls(autojump_clock):
    cancelled = []

    async def work() -> str:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    async with stage(calls(("work", {}))) as it, it.open() as session:
        with trio.move_on_after(5) as scope:
            async with session.run_tools("Work.", tools=[work]) as run:
                await run.read()
        assert scope.cancelled_caught
        assert cancelled == [trio.current_time()]
        async with session.chat("The next.") as reply:
            assert await reply.read() == "The next."


async def test_a_model_that_does_not_stop_calling_is_stopped(autojump_clock):
    called = []

    def again() -> int:
        called.append(1)
        return len(called)

    async with stage(rule=lambda _body: calls(("again", {}))) as it, it.open() as session:
        with pytest.raises(errors.TooManyRounds, match="after 3 rounds the model still calls again"):
            async with session.run_tools("Again.", tools=[again], max_rounds=3) as run:
                await run.read()
    assert len(called) == 2
    assert len(it.simulator.requests) == 3
    assert sum(isinstance(item, ToolCall) for item in run.context.items) == 2


async def test_a_choice_of_tool_is_for_the_first_round(autojump_clock):
    def look() -> str:
        return "seen"

    async with (
        stage(calls(("look", {})), ChatReply(text="Seen.")) as it,
        it.open() as session,
        session.run_tools("Look.", tools=[look], tool_choice="look") as run,
    ):
        await run.read()
    choices = [request["tool_choice"] for request in it.simulator.requests]
    assert choices == [{"type": "function", "function": {"name": "look"}}, "auto"]


async def test_only_functions_can_be_run(autojump_clock):
    async with stage() as it, it.open() as session:
        with pytest.raises(errors.ConfigurationError, match="no function to call"):
            session.run_tools("?", tools=[{"type": "function", "function": {"name": "f"}}])
        for rounds in (0, True, 1.5):
            with pytest.raises(errors.ConfigurationError, match="max_rounds"):
                session.run_tools("?", tools=[forecast], max_rounds=rounds)
