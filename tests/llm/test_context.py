"""What is said to a model, in OpenAI's form."""

import pytest

from voicetrio.chat import (
    ChatContext,
    ChatImage,
    ChatMessage,
    ToolCall,
    ToolOutput,
    context_of,
    encode_body,
    wire_messages,
)
from voicetrio.errors import ConfigurationError, InputError

PNG = b"\x89PNG\r\n\x1a\n...."


def wire(*items):
    return wire_messages(ChatContext(list(items)))


def test_messages_in_the_form_of_openai():
    context = ChatContext().system("Be brief.").user("Hello.").assistant("Hi.").user(["What is", "that?"])
    assert wire_messages(context) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "text", "text": "What is"}, {"type": "text", "text": "that?"}]},
    ]


def test_images_are_urls_or_bytes_with_a_detail():
    images = [ChatImage("https://a.test/b.png"), ChatImage(PNG, detail="low"), ChatImage(b"raw", "image/tiff")]
    (message,) = wire(ChatMessage("user", ["Look:", *images]))
    assert message["content"][1:] == [
        {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgouLi4u", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,cmF3"}},
    ]


@pytest.mark.parametrize(
    ("head", "media_type"),
    [(b"\xff\xd8\xff", "jpeg"), (b"GIF89a", "gif"), (b"GIF87a", "gif"), (b"RIFF1234WEBP", "webp"), (PNG, "png")],
)
def test_the_kind_of_an_image_is_told_from_its_bytes(head, media_type):
    assert ChatImage(head).url().startswith(f"data:image/{media_type};base64,")


def test_calls_that_follow_one_another_are_one_message_with_the_text_before_them():
    found = wire(
        ChatMessage("user", "Weather?"),
        ChatMessage("assistant", "Let me see."),
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "f", ""),
        ToolOutput("b", "two"),
        ToolOutput("a", "one"),
        ToolCall("c", "g"),
        ToolOutput("c", "three"),
    )
    function = {"name": "f", "arguments": '{"x":1}'}
    assert found[1] == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {"id": "a", "type": "function", "function": function},
            {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ],
    }
    assert found[2:4] == [
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
    ]
    assert (found[4]["content"], found[4]["tool_calls"][0]["id"], len(found)) == (None, "c", 6)


def test_mappings_are_sent_as_they_are():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "?", "name": "Ann"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]
    assert wire(*messages) == messages
    mixed = wire(ToolCall("a", "f"), messages[2])
    assert mixed[1] == messages[2]


@pytest.mark.parametrize(
    "items",
    [
        [ToolCall("a", "f")],
        [ToolOutput("a", "1")],
        [ToolCall("a", "f"), ChatMessage("user", "?"), ToolOutput("a", "1")],
        [ToolCall("a", "f"), ToolOutput("b", "1")],
        [ToolCall("a", "f"), ToolCall("b", "f"), ToolOutput("a", "1")],
        [ToolCall("a", "f"), ToolOutput("a", "1"), ToolOutput("a", "1")],
    ],
    ids=range(6),
)
def test_a_call_without_its_output_cannot_be_sent(items):
    with pytest.raises(InputError, match="must be followed by its output"):
        wire(*items)


def test_strings_and_sequences_are_conversations():
    assert context_of("Hello.").items == [ChatMessage("user", "Hello.")]
    assert context_of(["Hello.", ChatMessage("assistant", "Hi.")]).items[1].role == "assistant"
    context = ChatContext().user("Hello.")
    assert context_of(context) is context


@pytest.mark.parametrize(
    "messages", [[], ChatContext(), ChatContext(None), 5, None, {"role": "user"}, [5], [{}], [{"role": 5}], [None]]
)
def test_what_is_no_conversation_is_refused(messages):
    with pytest.raises(InputError):
        context_of(messages)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChatMessage("tool", "x"),
        lambda: ChatMessage("user", None),
        lambda: ChatMessage("user", [1]),
        lambda: ChatImage(""),
        lambda: ChatImage("file:///etc/passwd"),
        lambda: ChatImage(b""),
        lambda: ChatImage(b"no image"),
        lambda: ChatImage(PNG, 5),
        lambda: ChatImage(PNG, ""),
        lambda: ChatImage(PNG, "text/html"),
        lambda: ChatImage(PNG, "image/png;base64,PGI+"),
        lambda: ChatImage(PNG, "image/png\n"),
        lambda: ChatImage(None),
        lambda: ChatImage(PNG, detail="huge"),
        lambda: ToolCall("", "f"),
        lambda: ToolCall("a", ""),
        lambda: ToolCall("a", "f", {}),
        lambda: ToolOutput("a", None),
        lambda: encode_body({"x": "\ud800"}),
        lambda: encode_body({"x": object()}),
    ],
)
def test_what_cannot_be_said_is_refused(make):
    with pytest.raises(InputError):
        make()


CONVERSATION = [
    ChatMessage("system", "s"),
    ChatMessage("user", "1"),
    ChatMessage("assistant", "2"),
    ToolCall("a", "f"),
    ToolCall("b", "f"),
    ToolOutput("a", "3"),
    ToolOutput("b", "4"),
    ChatMessage("assistant", "5"),
    ChatMessage("user", "6"),
    ChatMessage("assistant", "7"),
]


@pytest.mark.parametrize("max_items", range(1, 12))
def test_truncation_keeps_the_instructions_and_never_separates_a_call_from_its_output(max_items):
    context = ChatContext(list(CONVERSATION))
    kept = context.truncated(max_items)

    wire_messages(kept)  # raises if there is a call without an output
    assert len(kept.items) <= max(max_items, 2)
    assert kept.items[0] == CONVERSATION[0]
    assert kept.items[1:] == CONVERSATION[len(CONVERSATION) - len(kept.items) + 1 :]
    assert context.items == CONVERSATION
    expected = {1: 2, 2: 2, 3: 3, 4: 4, 5: 4, 6: 4, 7: 4, 8: 4, 9: 9, 10: 10, 11: 10}
    assert len(kept.items) == expected[max_items]


def test_the_latest_item_is_kept_with_the_calls_it_belongs_to():
    context = ChatContext([ChatMessage("user", "1"), ToolCall("a", "f"), ToolOutput("a", "2")])
    assert context.truncated(1).items == context.items[1:]


@pytest.mark.parametrize("max_items", [0, -1, 1.5, True, None])
def test_a_number_of_items_is_a_whole_number_over_0(max_items):
    with pytest.raises(ConfigurationError):
        ChatContext().user("x").truncated(max_items)


def test_a_copy_is_another_context():
    context = ChatContext().user("x")
    context.copy().user("y")
    assert len(context.items) == 1
