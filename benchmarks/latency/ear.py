"""The simulator of Cartesia's speech-to-text, as ``voicetrio simulate`` runs it, but that it keeps what it hears.

``python -m latency.ear FOLDER OPTIONS``: the options are JSON, and the audio of connection 7 goes to ``FOLDER/7.pcm``,
as it comes.  The first line of standard output is the URL.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from voicetrio.simulators import CartesiaSTTOptions, CartesiaSTTSimulator

if TYPE_CHECKING:
    from io import FileIO


async def main(folder: Path, options: CartesiaSTTOptions) -> None:
    """Serve until the process is ended."""
    with ExitStack() as stack:
        files: dict[int, FileIO] = {}

        def keep(connection: int, pcm: bytes) -> None:
            if connection not in files:
                files[connection] = stack.enter_context((folder / f"{connection}.pcm").open("wb", buffering=0))
            files[connection].write(pcm)

        async with CartesiaSTTSimulator(options, on_audio=keep).serve() as server:
            print(server.url, flush=True)
            await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), CartesiaSTTOptions(**json.loads(sys.argv[2])))
