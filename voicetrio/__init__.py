"""Realtime speech providers on trio.

Options in, sessions out: a provider such as :class:`DeepgramTTS` holds options and does no I/O; ``async with
provider.open(sink) as session`` owns a nursery, its connections and all tasks; cancelling any scope around
``session.synthesize()`` silences the turn, exactly, and the next one starts on a warm connection.
"""

from typing import TYPE_CHECKING

from ._lazy import import_lazily

if TYPE_CHECKING:
    from ._completions import Usage
    from .audio import AudioFormat, AudioFrame, AudioSink, AudioSource, Playout, open_audio_sink
    from .cartesia import CartesiaTTS
    from .cartesia_stt import CartesiaSTT
    from .chat import ChatContext, ChatImage, ChatMessage, ToolCall, ToolOutput
    from .chat_completions import ChatLLM
    from .deepgram import DeepgramTTS
    from .denoise import DenoiseSession, DenoiseStatistics
    from .errors import ToolError, VoiceTrioError
    from .llm import LLMSession
    from .lmnt import LMNTTTS
    from .realtime import RealtimeReply, RealtimeSession, RealtimeStatistics
    from .reply import Reply
    from .smallest import SmallestAITTS
    from .stt import STTSession, STTStatistics
    from .text import FlushMarker, SentenceSplitter, segment_text
    from .tool_run import ToolRun
    from .tools import FunctionTool, function_tool
    from .transcript import SpeechEnded, SpeechStarted, STTEvent, Transcript, TurnEnded, TurnResumed
    from .tts import TTSSession, TTSStatistics
    from .turn import Interruption, Synthesis, Timeline, Timestamps, Word
    from .wav import WavWriter, read_wav

__version__ = "0.1.0"

__all__ = [
    "LMNTTTS",
    "AudioFormat",
    "AudioFrame",
    "AudioSink",
    "AudioSource",
    "CartesiaSTT",
    "CartesiaTTS",
    "ChatContext",
    "ChatImage",
    "ChatLLM",
    "ChatMessage",
    "DeepgramTTS",
    "DenoiseSession",
    "DenoiseStatistics",
    "FlushMarker",
    "FunctionTool",
    "Interruption",
    "LLMSession",
    "Playout",
    "RealtimeReply",
    "RealtimeSession",
    "RealtimeStatistics",
    "Reply",
    "STTEvent",
    "STTSession",
    "STTStatistics",
    "SentenceSplitter",
    "SmallestAITTS",
    "SpeechEnded",
    "SpeechStarted",
    "Synthesis",
    "TTSSession",
    "TTSStatistics",
    "Timeline",
    "Timestamps",
    "ToolCall",
    "ToolError",
    "ToolOutput",
    "ToolRun",
    "Transcript",
    "TurnEnded",
    "TurnResumed",
    "Usage",
    "VoiceTrioError",
    "WavWriter",
    "Word",
    "function_tool",
    "open_audio_sink",
    "read_wav",
    "segment_text",
]

# Each module is imported when a name of it is first asked for.  The pytest plugin lies in this package: it is loaded
# into every run of whoever has voicetrio installed, and must not bring trio and numpy along.
_HOMES = {
    "_completions": ("Usage",),
    "audio": ("AudioFormat", "AudioFrame", "AudioSink", "AudioSource", "Playout", "open_audio_sink"),
    "cartesia": ("CartesiaTTS",),
    "cartesia_stt": ("CartesiaSTT",),
    "chat": ("ChatContext", "ChatImage", "ChatMessage", "ToolCall", "ToolOutput"),
    "chat_completions": ("ChatLLM",),
    "deepgram": ("DeepgramTTS",),
    "denoise": ("DenoiseSession", "DenoiseStatistics"),
    "errors": ("ToolError", "VoiceTrioError"),
    "llm": ("LLMSession",),
    "lmnt": ("LMNTTTS",),
    "realtime": ("RealtimeReply", "RealtimeSession", "RealtimeStatistics"),
    "reply": ("Reply",),
    "smallest": ("SmallestAITTS",),
    "stt": ("STTSession", "STTStatistics"),
    "text": ("FlushMarker", "SentenceSplitter", "segment_text"),
    "tool_run": ("ToolRun",),
    "tools": ("FunctionTool", "function_tool"),
    "transcript": ("SpeechEnded", "SpeechStarted", "STTEvent", "Transcript", "TurnEnded", "TurnResumed"),
    "tts": ("TTSSession", "TTSStatistics"),
    "turn": ("Interruption", "Synthesis", "Timeline", "Timestamps", "Word"),
    "wav": ("WavWriter", "read_wav"),
}

import_lazily(__name__, _HOMES)
