"""The dialects that the contract holds for.  A new one is a new line in VOICES."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import attrs
import pytest

from voicetrio import LMNTTTS, CartesiaTTS, DeepgramTTS, SmallestAITTS
from voicetrio.errors import ConnectTimeout, LinkClosed, NoAudio, ProviderError, ProviderStalled, ServiceUnavailable
from voicetrio.inference import TTS
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator, Faults, tagged_pcm
from voicetrio.simulators.cartesia import CartesiaOptions, CartesiaSimulator
from voicetrio.simulators.gateway import GatewayOptions, GatewaySimulator
from voicetrio.simulators.lmnt import LMNTOptions, LMNTSimulator
from voicetrio.simulators.smallest import SmallestOptions, SmallestSimulator

KEY = "a-key-nobody-may-see-7f3a"

WORKS = "works"
CUT = "cut"
"""Outcomes of a fault: the turn is exact all the same; or what was heard is a beginning, and no error tells so."""


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
        url_is_optional: whether it may be None, for the provider's own.
        key_option: the provider's name for its key.
        outcome: of a turn that was spoken to its end.
        cancels: whether an interruption keeps the connection; where it does not, a spare one is kept ready.
        command: what an interruption sends, by its name on the wire; None where the connection is dropped.
        connections: how many ten turns with five interruptions take, the spare one included.
        greeting: messages of the server before a turn's first.
        identified: from when on errors tell the provider's id of the request: from the "upgrade", from the first
            "message" of a turn, or "never".
        websocket: whether it is one; over HTTP there are neither close frames nor pings, and a turn is a request.
        messages: whether what the server sends is made of messages, so that a strange one can be among them.
        error_code: of the error that the simulator inserts.
        rows: lines of the fault matrix, by name, in which this dialect differs: the fields that differ.
        words: options of the provider with which it tells the times of words; None where it never does.
        variant: whether it is another dialect's protocol in another dress.  Of the tests that it has in common with
            that one every fifth is run, and all of them if the environment has ``VOICETRIO_THOROUGH``.
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
    url_is_optional: bool = False
    key_option: str = "api_key"
    outcome: str = "completed"
    cancels: bool = True
    command: str | None = None
    connections: int = 1
    greeting: int = 0
    identified: Literal["upgrade", "message", "never"] = "message"
    websocket: bool = True
    messages: bool = True
    error_code: str | None = None
    rows: Mapping[str, Mapping[str, Any]] = attrs.Factory(dict)
    words: Mapping[str, Any] | None = None
    variant: bool = False

    def make_simulator(self, faults: Faults | None = None, **options: Any) -> Any:
        return self.simulator(self.options(faults=faults or Faults(), **{**self.no_limits[0], **options}))

    def make_provider(self, url: str, **options: Any) -> Any:
        return self.provider(**{self.key_option: KEY, self.url_option: url, **self.no_limits[1], **options})

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
    command="Clear",
    greeting=1,
    identified="upgrade",
    error_code="INTERNAL",
)

# What all simulators can be made to do.
FRAMES = {
    "odd audio": {"odd_frames": True},
    "empty audio": {"empty_frames": True},
    "uneven audio": {"frame_ms_min": 1, "frame_ms_max": 90, "odd_frames": True},
}
COMMON = FRAMES | {
    "late end marker": {"end_marker": "late", "end_marker_delay": 4.0},
    "double end marker": {"end_marker": "double"},
}
# Later than this, the end is inferred.
SOONER = COMMON | {"late end marker": {"end_marker": "late", "end_marker_delay": 0.5}}

# Where silence may be the end of a turn, it cannot be told from a stall.
INFERRED = {"once": CUT, "always": CUT, "within": 8, "after": 0.5}
# An error of the provider's that may pass is one to try again after, before the first audio.
PASSING = {"once": WORKS, "always": ServiceUnavailable}
HARMLESS = {"once": WORKS, "always": WORKS}
IN_A_TURN = {"once": ServiceUnavailable, "always": ServiceUnavailable}


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
        quirks=COMMON,
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
        quirks=SOONER,
        error_frame=lambda words: f'{{"status":"error","message":"{words}"}}',
        **how,
    )


def _inference(options: Mapping[str, Any], **how: Any) -> Case:
    return Case(
        name="videosdk",
        simulator=GatewaySimulator,
        options=GatewayOptions,
        provider=TTS.google,
        rate=24_000,
        rates=(8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        voices=("Achernar", "Zephyr"),
        no_limits=({"api_key": KEY, **options}, {"inferred_end": 1.0}),
        error_frame=lambda words: f'{{"type":"error","data":{{"error":"{words}"}}}}',
        key_option="token",
        url_is_optional=True,
        cancels=False,
        identified="never",
        rows={
            **dict.fromkeys(("half open in a turn", "stalls in a turn"), INFERRED),
            # Plain words are how it acknowledges.
            "non-JSON": HARMLESS,
            "non-JSON in a turn": HARMLESS,
            "error frame": PASSING,
            "error frame in a turn": IN_A_TURN,
        },
        **{"connections": 7, **how},
    )


OVER_HTTP = {
    "cancels": False,
    "connections": 7,
    "websocket": False,
    "rows": {
        # What befalls the upgrade elsewhere befalls the request, when the connection stands.
        "302": {"once": ProviderError, "always": ProviderError},
        "closed without a reply": {"always": LinkClosed},
        "no websocket at all": {"always": LinkClosed},
        "silent handshake": {"always": ProviderStalled, "after": 5},
        "handshake too slow": {"always": ProviderStalled},
    },
}

VOICES = {
    "deepgram": DEEPGRAM,
    "lmnt-1.2": _lmnt(
        "1.2",
        command="reset",
        greeting=1,
        error_code="internal_server_error",
        rows={
            # It has not said that it is ready, so the connection has not come about.
            "accepts and is silent": {"always": ConnectTimeout, "within": 35},
            "half open at once": {"always": ConnectTimeout, "within": 35},
            "error frame": PASSING,
            "error frame in a turn": IN_A_TURN,
        },
        words={},
    ),
    "lmnt-1.0": _lmnt(
        "1.0",
        cancels=False,
        connections=11,
        identified="never",
        rows={
            # The close is what ends a turn.
            "closed with 1000": {"once": NoAudio, "always": NoAudio, "has": {}},
            "closed in a turn with 1000": {"once": CUT, "always": CUT},
            "never answers Close": {"once": ProviderStalled, "always": ProviderStalled, "within": 7, "after": 5},
        },
    ),
    "cartesia": Case(
        name="cartesia",
        simulator=CartesiaSimulator,
        options=CartesiaOptions,
        provider=CartesiaTTS,
        rate=24_000,
        rates=(8000, 16_000, 22_050, 24_000, 44_100, 48_000),
        voices=("f786b574-daa5-4673-aa0c-cbe3e8534c02", "6ccbfb76-1fc6-48f7-b71d-91ac6298247b"),
        no_limits=({"api_key": KEY}, {}),
        quirks=COMMON,
        error_frame=lambda words: f'{{"type":"error","done":true,"status_code":500,"error":"{words}"}}',
        command="cancel",
        identified="upgrade",
        rows={
            "error frame": {"once": WORKS, "always": WORKS},  # the connection is kept, and has it once
            "error frame in a turn": IN_A_TURN,
        },
        words={},
    ),
    "smallest-classic": _smallest(
        cancels=False,
        connections=7,
        rows=dict.fromkeys(("half open in a turn", "stalls in a turn"), INFERRED),
        words={"word_timestamps": True, "voice_id": "meher"},
    ),
    "smallest-continuations": _smallest(
        provider_options={"continuations": True},
        outcome="completed_inferred",
        command="cancel_request",
        rows=dict.fromkeys(("half open in a turn", "stalls in a turn"), INFERRED),
        words={"word_timestamps": True, "voice_id": "meher"},
    ),
    "smallest-http": _smallest(
        provider_options={"enable_streaming": False, "timeout": 5.5}, messages=False, **OVER_HTTP
    ),
    "smallest-sse": _smallest(
        provider_options={"enable_streaming": False, "timeout": 5.5, "sse": True}, variant=True, **OVER_HTTP
    ),
    "inference": _inference({}, quirks=SOONER),
    "inference-binary": _inference(
        {"audio": "binary", "riff": "each", "end_marker": "double"}, quirks=SOONER, variant=True
    ),
    "deepgram-trio-websocket": attrs.evolve(
        DEEPGRAM, provider=partial(DeepgramTTS, driver="trio-websocket"), variant=True
    ),
    "inference-unmarked": _inference(
        {"end_marker": "none", "riff": "split"},
        outcome="completed_inferred",
        quirks=FRAMES,
        connections=11,  # of one on which an end was inferred more may come
        variant=True,
    ),
}
"""Every dialect, by name."""


def cases(having: Callable[[Case], object]) -> pytest.MarkDecorator:
    """Run a test for each dialect of which this holds."""
    chosen = {name: case for name, case in VOICES.items() if having(case)}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen)


where_ends_are_told = cases(lambda case: case.outcome == "completed")
"""Run a test for each dialect in which a turn does not end by a silence."""


def only(*names: str) -> pytest.MarkDecorator:
    """Run a test for these dialects, where what it asserts is a matter of theirs."""
    chosen = [VOICES[name] for name in names]
    return pytest.mark.parametrize("case", chosen, ids=names)


def cases_with(*quirks: str) -> pytest.MarkDecorator:
    """Run a test for each dialect that has all of these quirks."""
    return cases(lambda case: all(quirk in case.quirks for quirk in quirks))


def each_quirk_of(*quirks: str) -> pytest.MarkDecorator:
    """Run a test for each dialect and each of these quirks that it has."""
    pairs = {
        f"{name}-{quirk}": (case, quirk) for name, case in VOICES.items() for quirk in quirks if quirk in case.quirks
    }
    return pytest.mark.parametrize(("case", "quirk"), pairs.values(), ids=pairs)
