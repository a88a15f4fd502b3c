"""Whom the soak can soak: each provider's protocols with their simulators, and what is drawn for them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from voicetrio import DeepgramTTS
from voicetrio.cartesia import CartesiaTTS
from voicetrio.inference import TTS
from voicetrio.lmnt import LMNTTTS
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator
from voicetrio.simulators.cartesia import CartesiaOptions, CartesiaSimulator
from voicetrio.simulators.gateway import GatewayOptions, GatewaySimulator
from voicetrio.simulators.lmnt import LMNTOptions, LMNTSimulator
from voicetrio.simulators.smallest import SmallestOptions, SmallestSimulator
from voicetrio.smallest import SmallestAITTS

if TYPE_CHECKING:
    import random

    from voicetrio.simulators._speaker import SpeechOptions
    from voicetrio.tts import TTSProvider

_AFTER_COMPLETE = 0.6
"""Seconds of silence after a `complete` from which the client of continuations infers the end."""


@attrs.frozen
class Drawn:
    """What a session of one dialect has besides what all have.

    Attributes:
        options: of the simulator.
        provider: keyword arguments of the provider.
        tail: seconds from the last audio to the end of a turn, besides those by which its mark is late.
    """

    options: dict[str, Any]
    provider: dict[str, Any] = attrs.Factory(dict)
    tail: float = 0.0


@attrs.frozen
class SoakDialect:
    """A provider's protocol and the simulator that speaks it.

    Attributes:
        simulator: its class.
        options: the class of the simulator's options.
        provider: makes the provider of keyword arguments; its class, mostly.
        rates: of the audio on the wire, in Hz.
        draw_session: draws what stays the same in a session, given whether the server shall have limits.
        draw_run: draws options of the simulator for a run.
        url: the provider's keyword for where the simulator is.
        fixed: keyword arguments of the provider.
        cancels: whether a cancelled turn leaves its connection usable, each time.
        outcome: that of a turn that was spoken to its end.
        flushes: whether a text can be flushed before its end.
    """

    simulator: type[Any]
    options: type[SpeechOptions]
    provider: Callable[..., TTSProvider]
    rates: tuple[int, ...]
    draw_session: Callable[[random.Random, bool], Drawn]
    draw_run: Callable[[random.Random], dict[str, Any]]
    url: str = "base_url"
    fixed: dict[str, Any] = attrs.Factory(dict)
    cancels: bool = True
    outcome: str = "completed"
    flushes: bool = True


def _delay(rng: random.Random) -> float:
    """Seconds by which a cancellation is acknowledged."""
    return rng.choice((0.0, 0.0, 0.0, rng.uniform(0, 0.2), rng.uniform(0, 0.6)))


def _late_frames(rng: random.Random) -> dict[str, Any]:
    return {"late_frames": rng.choice((0, 0, 0, 1, 3))}


def _nothing(_rng: random.Random) -> dict[str, Any]:
    return {}


# ---- Deepgram


def _deepgram_session(rng: random.Random, limited: bool) -> Drawn:
    options = {
        "flush_limit": 20 if limited else 0,
        "characters_limit": 2400 if limited else 0,
        "shared_sequence": rng.random() < 0.5,
        "flushed_for_cleared": rng.random() < 0.3,
        "warning": rng.choice(("wire", "spec")),
        "clear_never": rng.random() < 0.01,
        "close_drains": rng.random() < 0.5,
    }
    return Drawn(options, {} if limited else {"flush_limit": 10**6, "characters_per_minute": 10**6})


def _deepgram_run(rng: random.Random) -> dict[str, Any]:
    return _late_frames(rng) | {"clear_delay": _delay(rng)}


# ---- LMNT


def _lmnt_session(rng: random.Random, _limited: bool) -> Drawn:
    options = {
        "ready_delay": rng.choice((0.0, 0.0, 0.05)),
        "chunk_chars": rng.choice((0, 0, 60, 10)),
        "timestamps": rng.choice(("after", "before")),
        "reset_runs_on": rng.random() < 0.5,
        "flush_complete_for_reset": rng.random() < 0.3,
        "reset_never": rng.random() < 0.01,
        "wrong_nonce": rng.random() < 0.1,
    }
    return Drawn(options)


def _lmnt_run(rng: random.Random) -> dict[str, Any]:
    return _late_frames(rng) | {"reset_delay": _delay(rng)}


# ---- Cartesia


def _cartesia_session(rng: random.Random, limited: bool) -> Drawn:
    options = {
        "release": rng.choice(("delay", "sentence")),
        "empty_final_checked": rng.random() < 0.8,
        "first_flush_id": rng.choice((0, 1)),
        "done_status": rng.choice((200, 206)),
        "timestamps": rng.choice(("before", "after")),
        "timestamps_restart_on_flush": rng.random() < 0.3,
        "cancel": rng.choice(("run_on", "immediate")),
        "cancel_unknown": rng.choice(("ignored", "error")),
        "done_after_cancel": rng.random() < 0.7,
        "wrong_context": rng.random() < 0.1,
    }
    return Drawn(options, {"max_buffer_delay_ms": 0 if limited else rng.choice((None, None, 50))})


# ---- Smallest AI


def _smallest_session(rng: random.Random, limited: bool) -> Drawn:
    backoff = rng.choice((0, 0, 50))
    echo = rng.random() < 0.8
    # Without the echo of our ids nothing tells interleaved requests apart.
    options: dict[str, Any] = {"echo": echo, "interleave": rng.random() < 0.4 and echo}
    if limited:
        options |= {"running_limit": 2, "excess": "queue"}
    provider = {"complete_backoff_ms": backoff, "sentence_streaming": rng.random() < 0.7}
    return Drawn(options, provider, backoff / 1000)


def _smallest_contexts_session(rng: random.Random, limited: bool) -> Drawn:
    drawn = _smallest_session(rng, limited)
    completes = rng.choice(("each", "each", "once", "none"))
    options = {
        "completes": completes,
        "cancel": rng.choice(("immediate", "immediate", "run_on", "ignored")),
        "cancel_ack": rng.choice(("none", "complete")),
    }
    inferred_end = rng.choice((1.0, 1.5))  # short enough for the last companions of a session
    tail = inferred_end if completes == "none" else drawn.tail + _AFTER_COMPLETE
    return Drawn(drawn.options | options, drawn.provider | {"inferred_end": inferred_end}, tail)


def _smallest_http_session(rng: random.Random, limited: bool) -> Drawn:
    options: dict[str, Any] = {"echo": rng.random() < 0.8, "sse_crlf": rng.random() < 0.5}
    if limited:
        options |= {"running_limit": 2, "excess": "queue"}
    return Drawn(options, {"sse": rng.random() < 0.5, "sentence_streaming": rng.random() < 0.7})


# ---- VideoSDK's gateway


def _gateway(*, api_key: str, **options: Any) -> TTS:
    return TTS.google(token=api_key, **options)


def _gateway_session(rng: random.Random, _limited: bool) -> Drawn:
    options = {
        "audio": rng.choice(("json", "json", "binary")),
        "riff": rng.choice(("none", "none", "each", "first", "split")),
        "riff_split": rng.randint(1, 44),
        "acknowledges": rng.random() < 0.3,
    }
    return Drawn(options, {"enable_streaming": rng.random() < 0.8, "inferred_end": rng.choice((1.5, 4.5))})


def _gateway_turns_session(rng: random.Random, limited: bool) -> Drawn:
    drawn = _gateway_session(rng, limited)
    return Drawn(drawn.options | {"completes": "turn"}, drawn.provider)


def _gateway_unmarked_session(rng: random.Random, limited: bool) -> Drawn:
    drawn = _gateway_session(rng, limited)
    inferred_end = rng.choice((0.6, 1.0))  # short enough for the last companions of a session
    return Drawn(drawn.options, drawn.provider | {"inferred_end": inferred_end}, inferred_end)


def _gateway_unmarked_run(_rng: random.Random) -> dict[str, Any]:
    return {"end_marker": "none"}


_GATEWAY_RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
_LMNT_RATES = (8_000, 16_000, 24_000)
_SMALLEST_RATES = (8_000, 16_000, 24_000, 44_100)

DIALECTS: dict[str, SoakDialect] = {
    "deepgram": SoakDialect(
        DeepgramSimulator,
        DeepgramOptions,
        DeepgramTTS,
        (8_000, 16_000, 24_000, 32_000, 48_000),
        _deepgram_session,
        _deepgram_run,
    ),
    "lmnt-1.2": SoakDialect(
        LMNTSimulator, LMNTOptions, LMNTTTS, _LMNT_RATES, _lmnt_session, _lmnt_run, "ws_url", {"protocol": "1.2"}
    ),
    "lmnt-1.0": SoakDialect(
        LMNTSimulator,
        LMNTOptions,
        LMNTTTS,
        _LMNT_RATES,
        _lmnt_session,
        _lmnt_run,
        "ws_url",
        {"protocol": "1.0"},
        cancels=False,
    ),
    "cartesia": SoakDialect(
        CartesiaSimulator,
        CartesiaOptions,
        CartesiaTTS,
        (8_000, 16_000, 22_050, 24_000, 44_100, 48_000),
        _cartesia_session,
        _late_frames,
    ),
    "smallest-continuations": SoakDialect(
        SmallestSimulator,
        SmallestOptions,
        SmallestAITTS,
        _SMALLEST_RATES,
        _smallest_contexts_session,
        _late_frames,
        fixed={"continuations": True},
        cancels=False,  # before the server has named a request of ours, it does not
        outcome="completed_inferred",
        flushes=False,  # the server refuses `flush` in a context
    ),
    "smallest-classic": SoakDialect(
        SmallestSimulator,
        SmallestOptions,
        SmallestAITTS,
        _SMALLEST_RATES,
        _smallest_session,
        _nothing,
        cancels=False,
    ),
    "smallest-http": SoakDialect(
        SmallestSimulator,
        SmallestOptions,
        SmallestAITTS,
        _SMALLEST_RATES,
        _smallest_http_session,
        _nothing,
        fixed={"enable_streaming": False},
        cancels=False,
    ),
    "inference-tts": SoakDialect(
        GatewaySimulator,
        GatewayOptions,
        _gateway,
        _GATEWAY_RATES,
        _gateway_session,
        _nothing,
        cancels=False,
    ),
    "inference-tts-turns": SoakDialect(
        GatewaySimulator,
        GatewayOptions,
        _gateway,
        _GATEWAY_RATES,
        _gateway_turns_session,
        _nothing,
        cancels=False,
        flushes=False,  # with one completion for several, the end would be inferred
    ),
    "inference-tts-unmarked": SoakDialect(
        GatewaySimulator,
        GatewayOptions,
        _gateway,
        _GATEWAY_RATES,
        _gateway_unmarked_session,
        _gateway_unmarked_run,
        cancels=False,
        outcome="completed_inferred",
    ),
}
