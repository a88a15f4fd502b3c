"""Outside truth: our client against llmock, a server that others wrote, which also judges how a client behaves."""

import re
import subprocess
import sys

import httpx
import msgspec
import pytest
import trio

from voicetrio import errors
from voicetrio.chat_completions import ChatLLM
from voicetrio.testing.leaks import no_leaks


@pytest.fixture(scope="module")
def url():
    """The address of llmock, in a process of its own."""
    command = [sys.executable, "-m", "llmock.cli", "serve", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            found = next(filter(None, (re.search(r"running on (http://\S+)", line) for line in process.stdout)))
            yield found[1]
        finally:
            process.terminate()
            process.communicate()


class Server:
    def __init__(self, url, client):
        self.url = url
        self._client = client

    async def behave(self, *behaviors):
        answer = await self._client.post("/_llmock/scenario", json={"behaviors": behaviors})
        answer.raise_for_status()

    async def findings(self):
        """What it holds against the client."""
        verdict = (await self._client.get("/_llmock/verdict")).raise_for_status().json()
        return [(each["severity"], each["code"]) for each in verdict["findings"]]

    async def requests(self):
        return (await self._client.get("/_llmock/requests")).json()["requests"]


@pytest.fixture
async def server(url):
    async with httpx.AsyncClient(base_url=url) as client:
        (await client.post("/_llmock/reset")).raise_for_status()
        yield Server(url, client)


@pytest.fixture
async def session(server):
    with trio.fail_after(15):
        async with (
            no_leaks(),
            ChatLLM(model="gpt-4o", base_url=f"{server.url}/v1", api_key="k").open() as session,
        ):
            yield session


async def test_a_chat(server, session):
    await server.behave({"type": "reply", "text": "Grüße aus Köln, and so on."})
    async with session.chat("Hello?") as reply:
        pieces = [delta async for delta in reply]
    assert "".join(pieces) == "Grüße aus Köln, and so on."
    assert len(pieces) > 3
    assert reply.finish_reason == "stop"
    assert reply.usage.completion_tokens > 0
    assert await server.findings() == []


async def test_a_tool_is_called_and_its_output_is_taken(server, session):
    called = []

    def get_weather(city: str, days: int = 1) -> str:
        """Get the weather."""
        called.append((city, days))
        return f"sunny in {city}"

    await server.behave(
        {
            "type": "reply",
            "tool_calls": [{"name": "get_weather", "arguments": {"city": city}} for city in ("Köln", "Rome")],
        }
    )
    async with session.run_tools("Weather?", tools=[get_weather]) as run:
        assert await run.read()
    assert sorted(called) == [("Köln", 1), ("Rome", 1)]
    assert run.rounds == 2
    assert await server.findings() == []


@pytest.mark.parametrize("kind", ["malformed_arguments", "unknown_tool"])
async def test_a_tool_call_that_is_wrong_goes_back_to_the_model(server, session, kind):
    def get_weather(city: str) -> str:
        """Get the weather."""
        raise AssertionError("must not be called")

    await server.behave({"type": "tool_fault", "kind": kind})
    async with session.run_tools("Weather?", tools=[get_weather]) as run:
        await run.read()
    assert run.rounds == 2
    assert run.context.items[2].output.startswith("error:")


class Invoice(msgspec.Struct):
    number: int
    customer: str


async def test_a_structured_answer_fits_its_schema(server, session):
    async with session.chat("An invoice, please.", response_format=Invoice) as reply:
        await reply.read()
    assert isinstance(reply.parsed, Invoice)


async def test_a_refusal_is_tried_again_when_the_server_says(server, session):
    await server.behave({"type": "fail", "status": 429, "retry_after": 1, "times": 1}, {"type": "fail", "status": 503})
    async with session.chat("Hello.") as reply:
        assert await reply.read()
    assert len(await server.requests()) == 3
    assert await server.findings() == []


@pytest.mark.parametrize(("status", "kind"), [(400, errors.BadRequest), (401, errors.AuthenticationError)])
async def test_what_is_no_use_is_not_tried_again(server, session, status, kind):
    await server.behave({"type": "fail", "status": status, "times": None})
    with pytest.raises(kind):
        async with session.chat("Hello."):
            pass
    assert len(await server.requests()) == 1
    assert await server.findings() == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("disconnect", errors.LinkClosed), ("truncate", errors.LinkClosed), ("malformed", errors.ProtocolError)],
)
async def test_a_stream_that_breaks_is_an_error(server, session, fault, kind):
    text = "one two three four five six seven"
    await server.behave({"type": "reply", "text": text}, {"type": "stream_fault", "kind": fault, "after_chunks": 4})
    async with session.chat("Count.") as reply:
        with pytest.raises(kind):
            await reply.read()
    assert reply.text == "one two three "
    async with session.chat("And now?") as reply:
        assert await reply.read()


async def test_a_stall_is_an_error(server, session):
    await server.behave({"type": "stream_fault", "kind": "stall", "after_chunks": 2, "stall_seconds": 20})
    async with session.chat("Hello?", response_timeout=0.2) as reply:
        with pytest.raises(errors.ProviderStalled):
            await reply.read()


async def test_an_interruption_and_the_next_chat(server, session):
    stall = {"type": "stream_fault", "kind": "stall", "after_chunks": 5, "stall_seconds": 20}
    await server.behave({"type": "reply", "text": "word " * 50}, stall)
    async with session.chat("Talk.") as reply:
        await anext(reply)
    async with session.chat("And now?") as reply:
        assert await reply.read()
