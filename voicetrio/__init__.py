"""Realtime speech providers on trio.

Options in, sessions out: a provider such as :class:`DeepgramTTS` holds options and does no I/O; ``async with
provider.open(sink) as session`` owns a nursery, its connections and all tasks; cancelling any scope around
``session.synthesize()`` silences the turn, exactly, and the next one starts on a warm connection.
"""

from .audio import AudioFormat as AudioFormat
from .audio import AudioFrame as AudioFrame
from .audio import AudioSink as AudioSink
from .audio import AudioSource as AudioSource
from .audio import Playout as Playout
from .audio import open_audio_sink as open_audio_sink
from .deepgram import DeepgramTTS as DeepgramTTS
from .errors import VoiceTrioError as VoiceTrioError
from .text import FlushMarker as FlushMarker
from .tts import TTSSession as TTSSession
from .tts import TTSStatistics as TTSStatistics
from .turn import Interruption as Interruption
from .turn import Synthesis as Synthesis
from .turn import Timeline as Timeline
from .turn import Word as Word
from .wav import WavWriter as WavWriter
from .wav import read_wav as read_wav

__version__ = "0.1.0"
