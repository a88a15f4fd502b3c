"""What the tests of language models stand on: a simulated server, and a provider that leads to it."""

from contextlib import asynccontextmanager

import attrs

from voicetrio.chat_completions import ChatLLM
from voicetrio.simulators import Faults
from voicetrio.simulators.chat import ChatOptions, ChatSimulator

KEY = "sk-nobody-may-see-this-41c7"
FAULTS = {field.name for field in attrs.fields(Faults)}


class Stage:
    """A server in memory, or on a socket, and providers for it."""

    def __init__(self, simulator, server):
        self.simulator = simulator
        self.server = server

    def llm(self, **options):
        url = f"http://{self.server.host}:{self.server.port}/v1"
        return ChatLLM(**{"model": "simulated", "base_url": url, "api_key": KEY, **options})

    def open(self, **options):
        return self.llm(**options).open(dial=self.server.dial)

    def behave(self, **options):
        """Change the simulator."""
        self.server.options = attrs.evolve(self.server.options, **_split(options))

    def events(self, name):
        return [record for record in self.server.log if record["event"] == name]

    def ended(self):
        """For each answer that was begun: how many tokens went out, and whether it was interrupted."""
        return [(each["data"]["tokens"], each["data"]["interrupted"]) for each in self.events("reply_ended")]


def _split(options):
    faults = {name: options.pop(name) for name in list(options) if name in FAULTS}
    return {**options, **({"faults": Faults(**faults)} if faults else {})}


@asynccontextmanager
async def stage(*replies, rule=None, socket=False, **options):
    """`async with stage(ChatReply(text="Hello."), stall_after=3) as it`."""
    simulator = ChatSimulator(ChatOptions(**_split(options)), replies=replies, rule=rule)
    async with simulator.serve() if socket else simulator.serve_in_memory() as server:
        yield Stage(simulator, server)


async def deltas(reply):
    """All deltas of a reply."""
    return [delta async for delta in reply]
