"""The providers that the contract holds for.  A new one is a new line in CASES."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from voicetrio import DeepgramTTS
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator, Faults, tagged_pcm

KEY = "a-key-nobody-may-see-7f3a"


@attrs.frozen(kw_only=True)
class Case:
    """A provider with its simulator.

    Attributes:
        name: the provider's, as its errors give it.
        simulator: makes a simulator of options.
        options: makes options of keyword arguments.
        provider: makes the provider of keyword arguments.
        rate: of its audio by default.
        rates: that it can be asked for.
        voices: two voices; the first is the default.
        no_limits: options of the simulator and of the provider that lift the limits of use.
        quirks: what this provider's simulator can be made to do, by the suite's names for it; a quirk is a dict of
            options.  Tests of a quirk run for the providers that have it.
        error_frame: the provider's message for an error, with these words.
    """

    name: str
    simulator: Callable[..., Any]
    options: Callable[..., Any]
    provider: Callable[..., Any]
    rate: int
    rates: tuple[int, ...]
    voices: tuple[str, str]
    no_limits: tuple[Mapping[str, Any], Mapping[str, Any]]
    quirks: Mapping[str, Mapping[str, Any]]
    error_frame: Callable[[str], str]

    def make_simulator(self, faults: Faults | None = None, **options: Any) -> Any:
        return self.simulator(self.options(faults=faults or Faults(), **{**self.no_limits[0], **options}))

    def make_provider(self, url: str, **options: Any) -> Any:
        return self.provider(api_key=KEY, base_url=url, **{**self.no_limits[1], **options})

    def audio(self, segment: Any) -> bytes:
        """What a segment of the simulator sounds like."""
        return tagged_pcm(segment.number, 0, segment.samples)


DEEPGRAM = Case(
    name="deepgram",
    simulator=DeepgramSimulator,
    options=DeepgramOptions,
    provider=DeepgramTTS,
    rate=24_000,
    rates=(8000, 16_000, 24_000, 32_000, 48_000),
    voices=("aura-2-andromeda-en", "aura-2-thalia-en"),
    no_limits=(
        {"flush_limit": 0, "characters_limit": 0, "api_key": KEY},
        {"flush_limit": 10**6, "characters_per_minute": 10**6},
    ),
    quirks={
        "no end marker": {"end_marker": "none"},
        "late end marker": {"end_marker": "late", "end_marker_delay": 4.0},
        "double end marker": {"end_marker": "double"},
        "no audio": {"ms_per_char": 1e-6},
        "late audio": {"late_frames": 5},
        "late audio and end marker": {"late_frames": 3, "flushed_for_cleared": True, "clear_delay": 0.1},
        "acknowledgement late": {"clear_delay": 1.0},
        "acknowledgement never": {"clear_never": True},
        "odd audio": {"odd_frames": True},
        "empty audio": {"empty_frames": True},
        "uneven audio": {"frame_ms_min": 1, "frame_ms_max": 90, "odd_frames": True},
        "audio before it was asked for": {"audio_before_asked": 3},
        "audio early": {"early_audio": 1},
        "use limited": {"flush_limit": 2, "flush_window": 6.0},
        "use limited, as specified": {"flush_limit": 2, "flush_window": 6.0, "warning": "spec"},
        "text limited": {"characters_limit": 40},
        "session limited": {"session_limit": 20.0},
        "idling limited": {"idle_timeout": 20.0},
        "fields err_code": {"error_shape": "err_code"},
        "one counter": {"shared_sequence": True},
        "close drains": {"close_drains": True},
    },
    error_frame=lambda words: f'{{"type":"Error","description":"{words}","code":"INTERNAL"}}',
)

CASES = (DEEPGRAM,)


def cases_with(*quirks: str) -> pytest.MarkDecorator:
    """Run a test for each provider that has all of these quirks."""
    cases = [case for case in CASES if all(quirk in case.quirks for quirk in quirks)]
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def each_quirk_of(*quirks: str) -> pytest.MarkDecorator:
    """Run a test for each provider and each of these quirks that it has."""
    pairs = [(case, quirk) for case in CASES for quirk in quirks if quirk in case.quirks]
    return pytest.mark.parametrize(("case", "quirk"), pairs, ids=[f"{case.name}-{quirk}" for case, quirk in pairs])
