"""What cannot work is refused before anything is sent, and never with a key in the message."""

import pytest
from llm_tools import KEY, stage

from voicetrio import errors
from voicetrio.chat import ToolCall
from voicetrio.chat_completions import ChatLLM
from voicetrio.inference.llm import LLM

LOCAL = {"model": "m", "base_url": "http://localhost:11434/v1"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("VIDEOSDK_AUTH_TOKEN", raising=False)


BAD = [
    {"model": ""},
    {"model": None},
    {"model": "a b"},
    {"base_url": ""},
    {"base_url": None},
    {"base_url": "localhost:1"},
    {"base_url": "ftp://a.test"},
    {"base_url": "http://user:pass@a.test"},
    {"base_url": "http://a.test/\n"},
    {"base_url": "http://a.test/#f"},
    {"api_key": ""},
    {"api_key": "with\nnewline"},
    {"api_key": 5},
    {"temperature": 3},
    {"temperature": "hot"},
    {"temperature": float("nan")},
    {"top_p": -1},
    {"presence_penalty": 9},
    {"frequency_penalty": -9},
    {"max_tokens": 0},
    {"max_tokens": 1.5},
    {"seed": "x"},
    {"tool_choice": ""},
    {"tool_choice": 5},
    {"include_usage": 1},
    {"extra": {"messages": []}},
    {"extra": {"x": object()}},
    {"extra": 5},
    {"headers": {"bad name": "x"}},
    {"headers": {"x": "a\nb"}},
    {"headers": 5},
    {"connect_timeout": 0},
    {"response_timeout": -1},
    {"response_timeout": float("inf")},
]


@pytest.mark.parametrize("options", BAD, ids=[f"{index}-{next(iter(each))}" for index, each in enumerate(BAD)])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(errors.ConfigurationError):
        ChatLLM(**{**LOCAL, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"provider": ""},
        {"model_id": 5},
        {"temperature": -1},
        {"temperature": None, "top_p": 2},
        {"max_output_tokens": 0},
        {"top_k": 0},
        {"base_url": "nowhere"},
        {"config": {"messages": []}},
        {"config": 5},
        {"token": "a b"},
        {"token": None},
    ],
    ids=str,
)
def test_options_of_the_gateway_that_cannot_be_are_refused(options):
    with pytest.raises(errors.ConfigurationError):
        LLM(**{"provider": "google", "model_id": "m", "token": "t", **options})


def test_openai_needs_a_key_and_no_other_server_gets_it(monkeypatch):
    with pytest.raises(errors.ConfigurationError, match="OPENAI_API_KEY"):
        ChatLLM(model="m")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert ("Authorization", f"Bearer {KEY}") in ChatLLM(model="m")._endpoint().headers
    assert KEY not in repr(ChatLLM(model="m")._endpoint())
    assert [name for name, _ in ChatLLM(**LOCAL)._endpoint().headers] == ["Accept"]


def test_options_are_equal_and_hashable():
    assert ChatLLM(**LOCAL, extra={"a": [1]}) == ChatLLM(**LOCAL, extra={"a": [1]})
    assert len({ChatLLM(**LOCAL), ChatLLM(**LOCAL, extra={"a": [1]}), ChatLLM(**LOCAL)}) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"messages": ""} | {"no_such_option": 1},
        {"messages": "x", "base_url": "http://b.test"},
        {"messages": "x", "connect_timeout": 1},
        {"messages": "x", "temperature": 9},
        {"messages": "x", "tools": "abc"},
        {"messages": "x", "tool_choice": "auto"},
        {"messages": "x", "tools": [print]},
        {"messages": "x", "tools": [{"function": {"name": "f"}}], "tool_choice": "g"},
    ],
    ids=range(8),
)
async def test_a_chat_that_cannot_be_is_refused_by_the_call(autojump_clock, arguments):
    async with stage() as it, it.open() as session:
        with pytest.raises(errors.ConfigurationError):
            session.chat(**arguments)
    with pytest.raises(errors.ConfigurationError):
        it.llm().chat(**arguments)
    assert it.server.connections == 0


@pytest.mark.parametrize(
    "messages", [[], None, "\ud800", [{"role": "user", "content": object()}], [ToolCall("a", "f")]]
)
async def test_messages_that_cannot_be_sent_are_refused_by_the_call(autojump_clock, messages):
    async with stage() as it, it.open() as session:
        with pytest.raises(errors.InputError):
            session.chat(messages)
    assert it.server.connections == 0


async def test_options_may_differ_from_chat_to_chat(autojump_clock):
    async with stage() as it, it.open(temperature=0.5, extra={"stop": ["."]}) as session:
        for overrides in ({}, {"temperature": 1, "model": "other", "max_tokens": 5, "seed": 1, "include_usage": False}):
            async with session.chat("Hello.", **overrides) as reply:
                await reply.read()
    first, second = it.simulator.requests
    assert {key: first[key] for key in first if key != "messages"} == {
        "model": "simulated",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "stop": ["."],
    }
    assert (second["temperature"], second["model"], second["max_tokens"], second["seed"]) == (1, "other", 5, 1)
    assert "stream_options" not in second


async def test_a_wrong_key_is_told_and_not_shown(autojump_clock):
    async with stage(api_key="another") as it, it.open() as session:
        with pytest.raises(errors.AuthenticationError) as caught:
            async with session.chat("Hello."):
                pass
    error = caught.value
    assert KEY not in f"{error!r} {error} {error.__cause__!r} {error.__context__!r} {it.server.log}"
