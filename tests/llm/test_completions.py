"""Chunks in, text and calls out: the same whatever the bytes were cut into."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetrio import errors
from voicetrio._completions import Completion
from voicetrio._sse import EventDecoder

STREAM = (
    b": a comment\r\n\r\n"
    b'data: {"id":"c-1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\r\n\r\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98\x80"}}]}\n\n'
    b'event: message\ndata: {"choices":[{"index":0,"delta":{"content":"\\ud83d\\ude00!"}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":null}]}\r\r'
    b'data:{"choices":[{"index":1,"delta":{"content":"another answer"}}]}\n\n'
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}}]}\n\n'
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"f","arguments":"{\\"x\\""}}'
    b',{"index":0,"function":{"arguments":"{}"}}]}}]}\n\n'
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":":1}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    b"data: [DONE]\n\n"
)


def complete(pieces):
    decoder, completion = EventDecoder(), Completion("test")
    text = "".join(completion.take(event) for piece in pieces for event in decoder.feed(piece))
    calls = [(call.id, call.name, call.arguments) for call in completion.tool_calls()]
    return text, calls, completion.finish_reason, completion.usage.total_tokens, completion.id, completion.done


EXPECTED = ("Grüße 😀😀!", [("a", "f", "{}"), ("b", "f", '{"x":1}')], "tool_calls", 7, "c-1", True)


def test_the_stream_may_be_cut_anywhere_once_and_into_single_bytes():
    for position in range(len(STREAM) + 1):
        assert complete([STREAM[:position], STREAM[position:]]) == EXPECTED
    assert complete([STREAM[i : i + 1] for i in range(len(STREAM))]) == EXPECTED


def cuts(data, positions):
    edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_the_stream_may_be_cut_anywhere_and_often(positions):
    assert complete(cuts(STREAM, positions)) == EXPECTED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)


@given(
    st.lists(st.tuples(json_values, st.lists(st.integers(0, 2**16), max_size=6)), min_size=1, max_size=4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_arguments_are_the_same_under_any_fragmentation(calls, ascii_only, chance):
    texts = [json.dumps({"value": value}, ensure_ascii=ascii_only) for value, _ in calls]
    left = [cuts(text, positions) for text, (_, positions) in zip(texts, calls, strict=True)]
    first = [True] * len(calls)
    completion = Completion("test")
    while any(left):
        index = chance.choice([index for index, pieces in enumerate(left) if pieces])
        fragment = {"index": index, "function": {"arguments": left[index].pop(0)}}
        if first[index]:
            first[index] = False
            fragment["id"] = f"id-{index}"
            fragment["function"]["name"] = f"tool_{index}"
        chunk = {"choices": [{"delta": {"tool_calls": [fragment]}}]}
        completion.take(json.dumps(chunk, ensure_ascii=ascii_only))

    found = {call.id: (call.name, call.arguments) for call in completion.tool_calls()}
    assert found == {f"id-{index}": (f"tool_{index}", text) for index, text in enumerate(texts)}


def fragments(*calls):
    completion = Completion("test")
    for call in calls:
        completion.take(json.dumps({"choices": [{"delta": {"tool_calls": call}}]}))
    return completion.tool_calls()


@pytest.mark.parametrize("index", [{"index": 0}, {}], ids=["index 0 for each", "no index"])
def test_whole_calls_are_told_apart_by_their_ids(index):
    calls = [{**index, "id": each, "function": {"name": "f", "arguments": f'"{each}"'}} for each in "ab"]
    for form in ([calls], [[call] for call in calls]):
        assert [(call.id, call.arguments) for call in fragments(*form)] == [("a", '"a"'), ("b", '"b"')]


def test_calls_without_ids_get_different_ones():
    found = fragments([{"index": i, "function": {"name": "f", "arguments": {"i": i}}} for i in range(2)])
    assert [call.arguments for call in found] == ['{"i":0}', '{"i":1}']
    assert len({call.id for call in found}) == 2


def test_calls_with_neither_index_nor_id_are_told_apart_by_their_names():
    found = fragments([{"function": {"name": "f", "arguments": "1"}}, {"function": {"name": "f", "arguments": "2"}}])
    assert [call.arguments for call in found] == ["1", "2"]


def test_a_repeated_name_and_id_are_the_same_call():
    piece = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}
    (call,) = fragments([piece], [piece], [{"index": 0, "id": "", "function": {"name": None, "arguments": "2"}}])
    assert (call.id, call.name, call.arguments) == ("a", "f", "112")


def test_a_call_without_a_name_is_a_protocol_error():
    with pytest.raises(errors.ProtocolError, match="without a name"):
        fragments([{"index": 0, "id": "a", "function": {"arguments": "{}"}}])


def test_content_may_come_in_parts():
    completion = Completion("test")
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}, 3]
    assert completion.take(json.dumps({"choices": [{"delta": {"content": parts}}]})) == "Hello"


@pytest.mark.parametrize("data", ["{", "[]", '"text"', '{"choices": 3}', '{"choices": [{"delta": 5}]}', "[" * 100_000])
def test_what_is_not_understood_is_a_protocol_error(data):
    with pytest.raises(errors.ProtocolError):
        Completion("test").take(data)


TOKEN = {"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}


@pytest.mark.parametrize("error", [None, False, "", 0])
def test_a_field_for_errors_that_is_empty_tells_none(error):
    assert Completion("test").take(json.dumps({"choices": [TOKEN], "error": error})) == "Hello"


@pytest.mark.parametrize("usage", [5, "free", [], {"prompt_tokens": "many"}, {"prompt_tokens": 1.5}, False])
@pytest.mark.parametrize("name", [17, None, {}, "c-1"])
def test_a_good_answer_is_taken_whatever_its_bookkeeping(usage, name):
    completion = Completion("test")
    assert completion.take(json.dumps({"id": name, "choices": [TOKEN], "usage": usage})) == "Hello"
    completion.take("[DONE]")
    assert (completion.usage, completion.id) == (None, "c-1" if name == "c-1" else None)


def test_usage_that_is_not_understood_does_not_replace_what_was():
    completion = Completion("test")
    completion.take(json.dumps({"choices": [TOKEN], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}))
    completion.take(json.dumps({"choices": [], "usage": "none"}))
    assert completion.usage.total_tokens == 3


@pytest.mark.parametrize(
    ("more", "kind"), [({"code": 429}, errors.RateLimited), ({"type": "invalid_request"}, errors.BadRequest)]
)
def test_an_object_that_is_an_error_is_one(more, kind):
    with pytest.raises(kind) as raised:
        Completion("test").take(json.dumps({"object": "error", "message": "no such model", "param": None, **more}))
    assert raised.value.reason == "no such model"


@pytest.mark.parametrize("before", [[], ['{"choices": []}'], ['{"id": "c-1", "usage": {"prompt_tokens": 1}}']])
def test_an_end_without_an_answer_is_a_protocol_error(before):
    completion = Completion("test")
    for data in before:
        completion.take(data)
    with pytest.raises(errors.ProtocolError, match="without choices"):
        completion.take("[DONE]")
    assert not completion.complete


@pytest.mark.parametrize("body", ["{}", '{"choices": []}', "<html>", ""])
def test_a_whole_answer_needs_choices(body):
    with pytest.raises(errors.ProtocolError):
        Completion("test").take_whole(body)
