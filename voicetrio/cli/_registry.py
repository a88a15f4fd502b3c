"""The names that commands know: one line for each provider and simulator, which is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from ..denoise import DenoiseProvider
    from ..llm import LLMProvider
    from ..simulators import Options, Simulator, Voice
    from ..stt import STTProvider
    from ..tts import TTSProvider

_T = TypeVar("_T")


def _find(home: str) -> Any:
    module, _, path = home.partition(":")
    return attrgetter(path)(import_module(f"..{module}", __package__))


class _Lazy(Mapping[str, _T]):
    """What is found in the package under ``module:attribute``."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self._homes = homes

    def __getitem__(self, name: str) -> _T:
        found: _T = _find(self._homes[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._homes

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


PROVIDERS: Mapping[str, Callable[..., TTSProvider]] = _Lazy(
    {
        "cartesia": "cartesia:CartesiaTTS",
        "deepgram": "deepgram:DeepgramTTS",
        "inference": "inference:TTS",
        "inference-cartesia": "inference:TTS.cartesia",
        "inference-deepgram": "inference:TTS.deepgram",
        "inference-google": "inference:TTS.google",
        "inference-sarvam": "inference:TTS.sarvam",
        "lmnt": "lmnt:LMNTTTS",
        "smallest": "smallest:SmallestAITTS",
    }
)

MODELS: Mapping[str, Callable[..., LLMProvider]] = _Lazy(
    {
        "inference": "inference:LLM",
        "inference-google": "inference:LLM.google",
        "openai": "chat_completions:ChatLLM",
    }
)

DENOISERS: Mapping[str, Callable[..., DenoiseProvider]] = _Lazy(
    {
        "inference": "inference:Denoise",
        "inference-aicoustics": "inference:Denoise.aicoustics",
        "inference-sanas": "inference:Denoise.sanas",
    }
)

RECOGNIZERS: Mapping[str, Callable[..., STTProvider]] = _Lazy(
    {
        "cartesia": "cartesia_stt:CartesiaSTT",
        "inference": "inference:STT",
        "inference-deepgram": "inference:STT.deepgram",
        "inference-google": "inference:STT.google",
        "inference-sarvam": "inference:STT.sarvam",
    }
)


@attrs.frozen
class SimulatorEntry:
    """A simulator and the options it takes."""

    options: type[Options]
    simulator: Callable[..., Simulator[Any]]

    def make(self, options: Options, *, voice: Voice | None = None) -> Simulator[Any]:
        """The simulator; not all take a voice."""
        return self.simulator(options) if voice is None else self.simulator(options, voice=voice)


class _LazySimulators(_Lazy[SimulatorEntry]):
    """Of each simulator what its classes' names begin with."""

    def __getitem__(self, name: str) -> SimulatorEntry:
        home = self._homes[name]
        return SimulatorEntry(_find(f"simulators:{home}Options"), _find(f"simulators:{home}Simulator"))


SIMULATORS: Mapping[str, SimulatorEntry] = _LazySimulators(
    {
        "cartesia": "CartesiaAPI",
        "chat": "Chat",
        "deepgram": "Deepgram",
        "gateway": "Gateway",
        "lmnt": "LMNT",
        "smallest": "Smallest",
    }
)
