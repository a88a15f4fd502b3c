"""The names that commands know: one line for each provider and each simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..deepgram import DeepgramTTS
from ..simulators import DeepgramOptions, DeepgramSimulator, Options, Simulator
from ..tts import TTSProvider


@attrs.frozen
class SimulatorEntry:
    """A simulator and the options it takes; `make` is called with these and with ``voice=``."""

    options: type[Options]
    make: Callable[..., Simulator[Any]]


PROVIDERS: dict[str, type[TTSProvider]] = {
    "deepgram": DeepgramTTS,
}

SIMULATORS: dict[str, SimulatorEntry] = {
    "deepgram": SimulatorEntry(DeepgramOptions, DeepgramSimulator),
}
