"""Answers of a given form."""

import dataclasses

import attrs
import msgspec
import pytest
from llm_tools import deltas, stage

from voicetrio import errors
from voicetrio.simulators.chat import ChatReply, ScriptedCall


class Step(msgspec.Struct):
    """What to do next."""

    response: str
    state: str
    done: bool = False


@attrs.frozen
class Order:
    items: list[Step]
    response: str = ""


@dataclasses.dataclass
class Tree:
    response: str
    children: list["Tree"] = dataclasses.field(default_factory=list)


async def ask(text, form, *, spoken_field=None, **reply):
    async with (
        stage(ChatReply(text=text, **reply), tokens_per_second=None) as it,
        it.open() as session,
        session.chat("?", response_format=form, spoken_field=spoken_field) as answer,
    ):
        pieces = await deltas(answer)
    return it.simulator.requests[0]["response_format"], pieces, answer


@pytest.mark.parametrize(
    ("form", "text", "parsed"),
    [
        (Step, '{"response": "Hi", "state": "a"}', Step("Hi", "a")),
        (Order, '{"items": [{"response": "x", "state": "y"}], "response": "Hi"}', Order([Step("x", "y")], "Hi")),
        (Tree, '{"response": "Hi", "children": [{"response": "x", "children": []}]}', Tree("Hi", [Tree("x")])),
        ({"type": "object", "title": "My step!"}, '{"response": "Hi", "n": 1}', {"response": "Hi", "n": 1}),
        ({"type": "json_object"}, '{"response": "Hi"}', {"response": "Hi"}),
    ],
)
async def test_an_answer_is_parsed_as_what_was_asked_for(autojump_clock, form, text, parsed):
    _, pieces, answer = await ask(text, form, spoken_field="response")
    assert "".join(pieces) == "Hi"
    assert answer.parsed == parsed


async def test_without_a_spoken_field_the_json_is_the_text(autojump_clock):
    _, pieces, answer = await ask('```json\n{"response": "Hi", "state": "a"}\n```', Step)
    assert "".join(pieces) == answer.content
    assert answer.parsed == Step("Hi", "a")


async def test_the_schema_is_strict_where_it_can_be(autojump_clock):
    sent, _, _ = await ask('{"response": "", "state": ""}', Step)
    schema = sent["json_schema"].pop("schema")
    assert sent == {"type": "json_schema", "json_schema": {"name": "Step", "strict": True}}
    assert schema["required"] == ["response", "state", "done"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["done"] == {"type": "boolean"}
    assert schema["description"] == "What to do next."

    sent, _, _ = await ask("{}", {"type": "object", "title": "My step!"})
    assert sent["json_schema"] == {
        "name": "My_step_",
        "schema": {"type": "object", "title": "My step!"},
        "strict": False,
    }

    sent, _, _ = await ask('{"response": ""}', Tree)
    assert sent["json_schema"]["schema"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert sent["json_schema"]["schema"]["$defs"]["Tree"]["additionalProperties"] is False

    sent, _, _ = await ask("{}", {"type": "json_object", "schema": {}})
    assert sent == {"type": "json_object", "schema": {}}


@pytest.mark.parametrize(
    "text", ["", "Hello.", '{"response": "Hi"', '{"response": 3, "state": ""}', "[]", "[" * 99_999]
)
async def test_an_answer_of_another_form_is_a_typed_error_at_its_end(autojump_clock, text):
    with pytest.raises(errors.InvalidAnswer):
        await ask(text, Step, spoken_field="response")


async def test_what_was_spoken_comes_before_the_error(autojump_clock):
    scripted = ChatReply(text='{"response": "Hello', finish_reason="length")
    async with stage(scripted) as it, it.open() as session:
        async with session.chat("?", response_format=Step, spoken_field="response") as reply:
            with pytest.raises(errors.InvalidAnswer):
                await reply.read()
            assert (reply.text, reply.parsed, reply.finish_reason) == ("Hello", None, "length")
        assert not reply.complete


async def test_a_refusal_is_no_answer(autojump_clock):
    with pytest.raises(errors.InvalidAnswer, match="refused: I cannot"):
        await ask("", Step, refusal="I cannot.")


async def test_tools_may_be_called_instead(autojump_clock):
    _, _, answer = await ask("", Step, tool_calls=[ScriptedCall("f")])
    assert answer.parsed is None
    assert answer.complete


@pytest.mark.parametrize("form", [5, "x", int, str, list, [Step], object])
async def test_a_form_is_a_class_with_fields_or_a_schema(autojump_clock, form):
    async with stage() as it, it.open() as session:
        with pytest.raises(errors.ConfigurationError):
            session.chat("?", response_format=form)


@pytest.mark.parametrize(("form", "field"), [(None, "a"), (Step, "a"), (Step, 3), ({"type": "text"}, "a")])
async def test_a_spoken_field_is_one_of_the_answer(autojump_clock, form, field):
    async with stage() as it, it.open() as session:
        with pytest.raises(errors.ConfigurationError):
            session.chat("?", response_format=form, spoken_field=field)


def nested(depth):
    schema = {"type": "object", "properties": {}}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "form",
    [
        {"type": "object", "properties": ["a"]},
        {"type": "object", "properties": {}, "$defs": [1]},
        {"type": "object", "properties": {"a": {"type": "object", "properties": 5}}},
        nested(5_000),
        dataclasses.make_dataclass("Unfinished", [("a", "int or")]),
        dataclasses.make_dataclass("Missing", [("a", "dataclasses.no_such_thing")], namespace={"__module__": __name__}),
        dataclasses.make_dataclass("Divided", [("a", "1 / 0")]),
    ],
    ids=range(7),
)
async def test_what_has_no_schema_is_refused_by_the_call(autojump_clock, form):
    async with stage() as it, it.open() as session:
        with pytest.raises(errors.ConfigurationError):
            session.chat("?", response_format=form)
