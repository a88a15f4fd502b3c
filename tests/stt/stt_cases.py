"""The recognizers that the contract holds for.  A new one is a new line in CASES."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import pytest

from voicetrio.cartesia_stt import CartesiaSTT
from voicetrio.inference import STT
from voicetrio.simulators import Faults
from voicetrio.simulators.cartesia_stt import CartesiaSTTOptions, CartesiaSTTSimulator
from voicetrio.simulators.gateway_stt import GatewaySTTOptions, GatewaySTTSimulator

KEY = "a-key-nobody-may-see-7f3a"


@attrs.frozen(kw_only=True)
class Case:
    """A recognizer with its simulator, whose words must tell their samples (`voicetrio.simulators._dictation`).

    Attributes:
        name: of the case.
        provider: its name, as errors give it.
        simulator: makes a simulator of options.
        options: makes options of keyword arguments.
        make: makes the provider of keyword arguments.
        rate: of the audio on the wire, mono.
        flushes: whether `flush()` makes what was said final.
        times: whether final transcripts tell their end, so that audio is repeated from there on exactly.
        ends_by_closing: whether the end of the connection is the only answer to the end of the audio.
        never_ends: options of the simulator with which the end of the audio is never answered.
        tells_end: whether it says that all is final, so that it need not be inferred.
        ids: whether it tells an id of each connection.
        weight: of audio on the wire: bytes for each byte of a channel.
        stands: names of faults that others fail by.
        key: the provider's argument for its key.
        how: further options of the provider.
    """

    name: str
    provider: str
    simulator: Callable[..., Any]
    options: Callable[..., Any]
    make: Callable[..., Any]
    rate: int = 16_000
    flushes: bool = True
    times: bool = True
    ends_by_closing: bool = False
    never_ends: Mapping[str, Any] = attrs.Factory(lambda: {"end_marker": "none"})
    tells_end: bool = True
    ids: bool = True
    weight: float = 1.0
    stands: frozenset[str] = frozenset()
    key: str = "api_key"
    how: Mapping[str, Any] = attrs.Factory(dict)

    def make_simulator(self, faults: Faults | None = None, **options: Any) -> Any:
        return self.simulator(self.options(faults=faults or Faults(), api_key=KEY, **options))

    def make_provider(self, url: str, **options: Any) -> Any:
        return self.make(**{self.key: KEY, "base_url": url, **self.how, **options})


CASES = (
    Case(
        name="cartesia",
        provider="cartesia",
        simulator=CartesiaSTTSimulator,
        options=CartesiaSTTOptions,
        make=CartesiaSTT,
    ),
    Case(
        name="cartesia-turns",
        provider="cartesia",
        simulator=CartesiaSTTSimulator,
        options=CartesiaSTTOptions,
        make=CartesiaSTT,
        flushes=False,
        times=False,
        ends_by_closing=True,
        how={"turns": True},
    ),
    Case(
        name="gateway",
        provider="videosdk",
        simulator=GatewaySTTSimulator,
        options=partial(GatewaySTTOptions, idle_timeout=20.0),
        make=STT.google,
        times=False,
        tells_end=False,
        ids=False,
        weight=8 / 3,  # two channels, in base64
        stands=frozenset({"non-JSON"}),  # plain words are an acknowledgement
        key="token",
        how={"input_sample_rate": 16_000},
    ),
)


def cases(condition: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """Run a test for each case of which this is so."""
    chosen = [case for case in CASES if condition(case)]
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])
