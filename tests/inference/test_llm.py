"""The gateway's language models, on the simulated server."""

import inspect

import attrs
import msgspec
import pytest

from voicetrio import errors
from voicetrio.inference import LLM, Denoise
from voicetrio.simulators import Faults, GatewayOptions, GatewaySimulator
from voicetrio.simulators.chat import ChatOptions, ChatReply, ChatSimulator

TOKEN = "a-token-nobody-may-see-93b0"


class Step(msgspec.Struct):
    response: str


@pytest.fixture
async def simulator():
    return ChatSimulator(ChatOptions(tokens_per_second=None, api_key=TOKEN))


async def test_the_request_is_the_gateways(autojump_clock, simulator, monkeypatch):
    monkeypatch.setenv("VIDEOSDK_AUTH_TOKEN", TOKEN)
    async with simulator.serve_in_memory() as server:
        llm = LLM.google(base_url=f"http://{server.host}", top_k=5, max_output_tokens=9, config={"stop": ["!"]})
        async with llm.chat("Hello there.", dial=server.dial) as reply:
            assert await reply.read() == "Hello there."
        (request,) = [each["data"] for each in server.log if each["event"] == "request"]
    assert (request["method"], request["path"]) == ("POST", "/v1/chat/completions")
    assert request["query"] == {"provider": "google"}
    assert request["headers"]["authorization"] == "…"
    assert TOKEN not in str(server.log) + repr(llm)
    assert simulator.requests[0] == {
        "model": "gemini-2.0-flash",
        "messages": [{"role": "user", "content": "Hello there."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
        "max_tokens": 9,
        "top_k": 5,
        "stop": ["!"],
    }


async def test_a_structured_answer_is_asked_for_as_the_gateway_wants_it(autojump_clock, simulator):
    simulator.replies.append(ChatReply(text='{"response": "Hi."}'))
    async with simulator.serve_in_memory() as server:
        llm = LLM(provider="sarvam", model_id="m", base_url=f"http://{server.host}", token=TOKEN)
        asked = llm.chat("?", response_format=Step, spoken_field="response", dial=server.dial)
        async with asked as reply:
            assert await reply.read() == "Hi."
    assert llm.provider == "sarvamai"
    assert reply.parsed == Step("Hi.")
    sent = simulator.requests[0]["response_format"]
    assert (sent["type"], sent["schema"]["properties"]) == ("json_object", {"response": {"type": "string"}})


async def test_the_names_and_defaults_of_its_arguments():
    defaults = {name: each.default for name, each in inspect.signature(LLM).parameters.items()}
    names = ["provider", "model_id", "temperature", "tool_choice", "max_output_tokens", "top_p", "top_k"]
    assert set(names) | {"presence_penalty", "frequency_penalty", "base_url", "config"} <= set(defaults)
    assert (defaults["temperature"], defaults["tool_choice"], defaults["config"]) == (0.7, "auto", None)
    assert LLM.google(token=TOKEN).base_url.startswith("https://inference-gateway.")
    assert LLM.google(token=TOKEN, base_url=None, config=None).provider == "google"


async def test_errors_carry_the_name_of_the_gateway(autojump_clock, simulator):
    async with simulator.serve_in_memory() as server:
        llm = LLM.google(base_url=f"http://{server.host}", token="wrong")
        with pytest.raises(errors.AuthenticationError, match="videosdk"):
            async with llm.chat("Hello.", dial=server.dial):
                pass


async def test_the_gateway_has_it_beside_its_other_endpoints(autojump_clock):
    gateway = GatewaySimulator(GatewayOptions(api_key=TOKEN), replies=[ChatReply(text="A scripted answer.")])
    async with gateway.serve_in_memory() as server:
        llm = LLM.google(base_url=server.url, token=TOKEN)
        denoise = Denoise.aicoustics(base_url=server.url, token=TOKEN)
        async with llm.open(dial=server.dial) as session, denoise.open(dial=server.dial) as denoiser:
            await denoiser.prewarm()
            async with session.chat("Hello.") as reply:
                assert await reply.read() == "A scripted answer."
            assert reply.usage.completion_tokens == 3
            server.options = attrs.evolve(server.options, faults=Faults(error_frame=1))
            with pytest.raises(errors.ServiceUnavailable, match="The server had an error"):
                async with session.chat("Hello.") as reply:
                    await reply.read()
            server.options = attrs.evolve(server.options, faults=Faults(), refuse_first=1, refusal_status=400)
            with pytest.raises(errors.BadRequest, match="Your request is not valid"):
                async with session.chat("Hello."):
                    pass


def test_a_key_in_the_query_is_not_shown():
    shown = repr(LLM.google(token="t", base_url="http://x.test?key=nobody-may-see-this"))
    assert "http://x.test" in shown
    assert "nobody-may-see-this" not in shown
