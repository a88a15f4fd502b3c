"""The providers that the contract holds for.  A new one is a new line in CASES."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from voicetrio import LMNTTTS, CartesiaTTS, DeepgramTTS, SmallestAITTS
from voicetrio.inference import TTS
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator, Faults, tagged_pcm
from voicetrio.simulators.cartesia import CartesiaOptions, CartesiaSimulator
from voicetrio.simulators.gateway import GatewayOptions, GatewaySimulator
from voicetrio.simulators.lmnt import LMNTOptions, LMNTSimulator
from voicetrio.simulators.smallest import SmallestOptions, SmallestSimulator

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
        url_option: the provider's name for its URL.
        outcome: of a turn that was spoken to its end.
        cancels: whether an interruption keeps the connection.
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
    url_option: str = "base_url"
    outcome: str = "completed"
    cancels: bool = True

    def make_simulator(self, faults: Faults | None = None, **options: Any) -> Any:
        return self.simulator(self.options(faults=faults or Faults(), **{**self.no_limits[0], **options}))

    def make_provider(self, url: str, **options: Any) -> Any:
        return self.provider(**{"api_key": KEY, self.url_option: url, **self.no_limits[1], **options})

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

UNEVEN = {"uneven audio": {"frame_ms_min": 1, "frame_ms_max": 90, "odd_frames": True}}


def _lmnt(protocol: str, **how: Any) -> Case:
    return Case(
        name="lmnt",
        simulator=LMNTSimulator,
        options=LMNTOptions,
        provider=LMNTTTS,
        rate=24_000,
        rates=(8000, 16_000, 24_000),
        voices=("leah", "morgan"),
        no_limits=({"api_key": KEY}, {"protocol": protocol}),
        quirks=UNEVEN,
        error_frame=lambda words: f'{{"error":"{words}"}}',
        url_option="ws_url",
        **how,
    )


def _smallest(**how: Any) -> Case:
    options = how.pop("provider_options", {})
    return Case(
        name="smallest",
        simulator=SmallestSimulator,
        options=SmallestOptions,
        provider=SmallestAITTS,
        rate=24_000,
        rates=(8000, 16_000, 24_000, 44_100),
        voices=("magnus", "meher"),
        no_limits=({"api_key": KEY}, options),
        quirks=UNEVEN,
        error_frame=lambda words: f'{{"status":"error","message":"{words}"}}',
        **how,
    )


def _inference(quirks: Mapping[str, Any], *, vendor: Callable[..., TTS] = TTS.google, **how: Any) -> Case:
    return Case(
        name="videosdk",
        simulator=GatewaySimulator,
        options=GatewayOptions,
        provider=lambda api_key, **options: vendor(token=api_key, **options),
        rate=24_000,
        rates=(8000, 16_000, 24_000, 44_100, 48_000),
        voices=("Achernar", "Zephyr"),
        no_limits=({"api_key": KEY, **quirks}, {"inferred_end": 1.0}),
        quirks=UNEVEN,
        error_frame=lambda words: f'{{"type":"error","data":{{"error":"{words}"}}}}',
        cancels=False,
        **how,
    )


VOICES = {
    "deepgram": DEEPGRAM,
    "lmnt-1.2": _lmnt("1.2"),
    "lmnt-1.0": _lmnt("1.0", cancels=False),
    "cartesia": Case(
        name="cartesia",
        simulator=CartesiaSimulator,
        options=CartesiaOptions,
        provider=CartesiaTTS,
        rate=24_000,
        rates=(8000, 16_000, 22_050, 24_000, 44_100, 48_000),
        voices=("f786b574-daa5-4673-aa0c-cbe3e8534c02", "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"),
        no_limits=({"api_key": KEY}, {}),
        quirks=UNEVEN,
        error_frame=lambda words: f'{{"type":"error","done":true,"status_code":500,"error":"{words}"}}',
    ),
    "smallest-classic": _smallest(cancels=False),
    "smallest-continuations": _smallest(provider_options={"continuations": True}, outcome="completed_inferred"),
    "smallest-http": _smallest(provider_options={"enable_streaming": False}, cancels=False),
    "smallest-sse": _smallest(provider_options={"enable_streaming": False, "sse": True}, cancels=False),
    "inference": _inference({}),
    "inference-binary": _inference({"audio": "binary", "riff": "each", "end_marker": "double", "acknowledges": True}),
    "inference-unmarked": _inference({"end_marker": "none", "riff": "split"}, outcome="completed_inferred"),
}
"""Every dialect; the tests of `test_every_voice.py` run for all of them."""

CASES = (DEEPGRAM,)


def cases_with(*quirks: str) -> pytest.MarkDecorator:
    """Run a test for each provider that has all of these quirks."""
    cases = [case for case in CASES if all(quirk in case.quirks for quirk in quirks)]
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def each_quirk_of(*quirks: str) -> pytest.MarkDecorator:
    """Run a test for each provider and each of these quirks that it has."""
    pairs = [(case, quirk) for case in CASES for quirk in quirks if quirk in case.quirks]
    return pytest.mark.parametrize(("case", "quirk"), pairs, ids=[f"{case.name}-{quirk}" for case, quirk in pairs])
