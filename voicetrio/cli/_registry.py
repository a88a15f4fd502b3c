"""The names that commands know: one line for each provider and each simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..cartesia import CartesiaTTS
from ..deepgram import DeepgramTTS
from ..lmnt import LMNTTTS
from ..simulators import (
    CartesiaOptions,
    CartesiaSimulator,
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
)
from ..smallest import SmallestAITTS
from ..tts import TTSProvider


@attrs.frozen
class SimulatorEntry:
    """A simulator and the options it takes; `make` is called with these and with ``voice=``."""

    options: type[Options]
    make: Callable[..., Simulator[Any]]


PROVIDERS: dict[str, type[TTSProvider]] = {
    "cartesia": CartesiaTTS,
    "deepgram": DeepgramTTS,
    "lmnt": LMNTTTS,
    "smallest": SmallestAITTS,
}

SIMULATORS: dict[str, SimulatorEntry] = {
    "cartesia": SimulatorEntry(CartesiaOptions, CartesiaSimulator),
    "deepgram": SimulatorEntry(DeepgramOptions, DeepgramSimulator),
    "gateway": SimulatorEntry(GatewayOptions, GatewaySimulator),
    "lmnt": SimulatorEntry(LMNTOptions, LMNTSimulator),
    "smallest": SimulatorEntry(SmallestOptions, SmallestSimulator),
}
