"""Speech providers simulated: their websocket protocols on loopback, with their quirks and faults as switches.

A simulator shares no code with voicetrio's clients, so that one mistake cannot hide in both, and any other client of
the same provider can be pointed at it::

    async with DeepgramSimulator().serve() as server:
        print(server.url)  # ws://127.0.0.1:41234/v1/speak
        await trio.sleep_forever()
"""

from typing import TYPE_CHECKING

from .._lazy import import_lazily

if TYPE_CHECKING:
    from ._certificate import Certificate, throw_away_certificate
    from ._faults import Faults
    from ._options import Options, SimulatorOptions, parse_pairs
    from ._server import Connection, Segment, Server, Simulator
    from ._speaker import SpeechOptions, SpeechSimulator
    from ._speech import Speech, SpokenWord, Voice, VoiceError
    from ._voice import EspeakVoice
    from ._websocket import Closing, WebSocketPeer, close_after
    from ._wire import Disconnected
    from .cartesia import CartesiaOptions, CartesiaSimulator
    from .cartesia_api import CartesiaAPIOptions, CartesiaAPISimulator
    from .cartesia_stt import CartesiaSTTOptions, CartesiaSTTSimulator, Cue
    from .chat import ChatOptions, ChatReply, ChatSimulator, ScriptedCall
    from .deepgram import DeepgramOptions, DeepgramSimulator
    from .gateway import GatewayOptions, GatewaySimulator
    from .lmnt import LMNTOptions, LMNTSimulator
    from .smallest import SmallestOptions, SmallestSimulator
    from .tagged import Run, read_tags, tagged_pcm

__all__ = [
    "CartesiaAPIOptions",
    "CartesiaAPISimulator",
    "CartesiaOptions",
    "CartesiaSTTOptions",
    "CartesiaSTTSimulator",
    "CartesiaSimulator",
    "Certificate",
    "ChatOptions",
    "ChatReply",
    "ChatSimulator",
    "Closing",
    "Connection",
    "Cue",
    "DeepgramOptions",
    "DeepgramSimulator",
    "Disconnected",
    "EspeakVoice",
    "Faults",
    "GatewayOptions",
    "GatewaySimulator",
    "LMNTOptions",
    "LMNTSimulator",
    "Options",
    "Run",
    "ScriptedCall",
    "Segment",
    "Server",
    "Simulator",
    "SimulatorOptions",
    "SmallestOptions",
    "SmallestSimulator",
    "Speech",
    "SpeechOptions",
    "SpeechSimulator",
    "SpokenWord",
    "Voice",
    "VoiceError",
    "WebSocketPeer",
    "close_after",
    "parse_pairs",
    "read_tags",
    "tagged_pcm",
    "throw_away_certificate",
]

# A program that plays one provider needs no other: each module is imported when a name of it is first asked for.
_HOMES = {
    "_certificate": ("Certificate", "throw_away_certificate"),
    "_faults": ("Faults",),
    "_options": ("Options", "SimulatorOptions", "parse_pairs"),
    "_server": ("Connection", "Segment", "Server", "Simulator"),
    "_speaker": ("SpeechOptions", "SpeechSimulator"),
    "_speech": ("Speech", "SpokenWord", "Voice", "VoiceError"),
    "_voice": ("EspeakVoice",),
    "_websocket": ("Closing", "WebSocketPeer", "close_after"),
    "_wire": ("Disconnected",),
    "cartesia": ("CartesiaOptions", "CartesiaSimulator"),
    "cartesia_api": ("CartesiaAPIOptions", "CartesiaAPISimulator"),
    "cartesia_stt": ("CartesiaSTTOptions", "CartesiaSTTSimulator", "Cue"),
    "chat": ("ChatOptions", "ChatReply", "ChatSimulator", "ScriptedCall"),
    "deepgram": ("DeepgramOptions", "DeepgramSimulator"),
    "gateway": ("GatewayOptions", "GatewaySimulator"),
    "lmnt": ("LMNTOptions", "LMNTSimulator"),
    "smallest": ("SmallestOptions", "SmallestSimulator"),
    "tagged": ("Run", "read_tags", "tagged_pcm"),
}

import_lazily(__name__, _HOMES)
