"""Speech providers simulated: their websocket protocols on loopback, with their quirks and faults as switches.

A simulator shares no code with voicetrio's clients, so that one mistake cannot hide in both, and any other client of
the same provider can be pointed at it::

    async with DeepgramSimulator().serve() as server:
        print(server.url)  # ws://127.0.0.1:41234/v1/speak
        await trio.sleep_forever()
"""

from ._certificate import Certificate as Certificate
from ._certificate import throw_away_certificate as throw_away_certificate
from ._faults import Faults as Faults
from ._options import Options as Options
from ._options import SimulatorOptions as SimulatorOptions
from ._options import parse_pairs as parse_pairs
from ._server import Connection as Connection
from ._server import Segment as Segment
from ._server import Server as Server
from ._server import Simulator as Simulator
from ._speaker import SpeechOptions as SpeechOptions
from ._speaker import SpeechSimulator as SpeechSimulator
from ._speech import Speech as Speech
from ._speech import SpokenWord as SpokenWord
from ._speech import Voice as Voice
from ._voice import EspeakVoice as EspeakVoice
from ._voice import VoiceError as VoiceError
from ._websocket import Closing as Closing
from ._websocket import WebSocketPeer as WebSocketPeer
from ._websocket import close_after as close_after
from ._wire import Disconnected as Disconnected
from .cartesia import CartesiaOptions as CartesiaOptions
from .cartesia import CartesiaSimulator as CartesiaSimulator
from .chat import ChatOptions as ChatOptions
from .chat import ChatReply as ChatReply
from .chat import ChatSimulator as ChatSimulator
from .chat import ScriptedCall as ScriptedCall
from .deepgram import DeepgramOptions as DeepgramOptions
from .deepgram import DeepgramSimulator as DeepgramSimulator
from .gateway import GatewayOptions as GatewayOptions
from .gateway import GatewaySimulator as GatewaySimulator
from .lmnt import LMNTOptions as LMNTOptions
from .lmnt import LMNTSimulator as LMNTSimulator
from .smallest import SmallestOptions as SmallestOptions
from .smallest import SmallestSimulator as SmallestSimulator
from .tagged import Run as Run
from .tagged import read_tags as read_tags
from .tagged import tagged_pcm as tagged_pcm
