"""Simulated gateways, one for each line of standard input, until it ends.  Runs in the project's own environment.

A line is JSON: ``{"log": PATH, "options": ["KEY=VALUE", …], "replies": [{…}, …]}`` serves a gateway, with what its
language model answers as arguments of ``ChatReply``, and is answered by its URL; ``{"stop": URL}`` ends one, and is
answered by that URL once it has ended.
"""

import json
import sys
from pathlib import Path

import trio

from voicetrio.simulators import ChatReply, GatewayOptions, GatewaySimulator, ScriptedCall


class Gateways:
    """Those that run, by URL."""

    def __init__(self):
        self._running = {}

    async def serve(self, command, task_status):
        options = GatewayOptions.parse(command["options"])
        simulator = GatewaySimulator(options, replies=map(_reply, command["replies"]))
        ended = trio.Event()
        with Path(command["log"]).open("w") as log, trio.CancelScope() as scope:  # noqa: ASYNC230  # a local file
            async with simulator.serve(log_file=log) as server:
                self._running[server.url] = scope, ended
                task_status.started(server.url)
                await trio.sleep_forever()
        ended.set()

    async def stop(self, url):
        scope, ended = self._running.pop(url)
        scope.cancel()
        await ended.wait()


def _reply(fields):
    calls = [ScriptedCall(*call) for call in fields.pop("tool_calls", ())]
    return ChatReply(tool_calls=calls, **fields)


async def main():
    gateways = Gateways()
    async with trio.open_nursery() as nursery:
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            command = json.loads(line)
            if "stop" in command:
                url = command["stop"]
                await gateways.stop(url)
            else:
                url = await nursery.start(gateways.serve, command)
            print(url, flush=True)  # noqa: T201 - it is what the other side reads
        nursery.cancel_scope.cancel()


trio.run(main)
