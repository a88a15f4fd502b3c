"""The names that commands know: one line for each provider and simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..cartesia import CartesiaTTS
from ..cartesia_stt import CartesiaSTT
from ..chat_completions import ChatLLM
from ..deepgram import DeepgramTTS
from ..denoise import DenoiseProvider
from ..inference import LLM, STT, TTS, Denoise
from ..llm import LLMProvider
from ..lmnt import LMNTTTS
from ..simulators import (
    CartesiaAPIOptions,
    CartesiaAPISimulator,
    ChatOptions,
    ChatSimulator,
    DeepgramOptions,
    DeepgramSimulator,
    GatewayOptions,
    GatewaySimulator,
    LMNTOptions,
    LMNTSimulator,
    Options,
    Simulator,
    SmallestOptions,
    SmallestSimulator,
    Voice,
)
from ..smallest import SmallestAITTS
from ..stt import STTProvider
from ..tts import TTSProvider


@attrs.frozen
class SimulatorEntry:
    """A simulator and the options it takes; `make` is called with these and with ``voice=``."""

    options: type[Options]
    make: Callable[..., Simulator[Any]]


def _make_chat(options: ChatOptions, *, voice: Voice | None) -> ChatSimulator:  # noqa: ARG001 - it says nothing aloud
    return ChatSimulator(options)


PROVIDERS: dict[str, Callable[..., TTSProvider]] = {
    "cartesia": CartesiaTTS,
    "deepgram": DeepgramTTS,
    "inference": TTS,
    "inference-cartesia": TTS.cartesia,
    "inference-deepgram": TTS.deepgram,
    "inference-google": TTS.google,
    "inference-sarvam": TTS.sarvam,
    "lmnt": LMNTTTS,
    "smallest": SmallestAITTS,
}

MODELS: dict[str, Callable[..., LLMProvider]] = {
    "inference": LLM,
    "inference-google": LLM.google,
    "openai": ChatLLM,
}

DENOISERS: dict[str, Callable[..., DenoiseProvider]] = {
    "inference": Denoise,
    "inference-aicoustics": Denoise.aicoustics,
    "inference-sanas": Denoise.sanas,
}

RECOGNIZERS: dict[str, Callable[..., STTProvider]] = {
    "cartesia": CartesiaSTT,
    "inference": STT,
    "inference-deepgram": STT.deepgram,
    "inference-google": STT.google,
    "inference-sarvam": STT.sarvam,
}

SIMULATORS: dict[str, SimulatorEntry] = {
    "cartesia": SimulatorEntry(CartesiaAPIOptions, CartesiaAPISimulator),
    "chat": SimulatorEntry(ChatOptions, _make_chat),
    "deepgram": SimulatorEntry(DeepgramOptions, DeepgramSimulator),
    "gateway": SimulatorEntry(GatewayOptions, GatewaySimulator),
    "lmnt": SimulatorEntry(LMNTOptions, LMNTSimulator),
    "smallest": SimulatorEntry(SmallestOptions, SmallestSimulator),
}
