"""What every option of a provider refuses."""

import inspect

import attrs
import pytest

import voicetrio
from voicetrio import LMNTTTS, CartesiaSTT, CartesiaTTS, ChatLLM, DeepgramTTS, SmallestAITTS, inference
from voicetrio._options import in_range, whole_or_none
from voicetrio.cartesia import GenerationConfig
from voicetrio.denoise import DenoiseProvider
from voicetrio.errors import ConfigurationError
from voicetrio.inference import LLM, STT, TTS, Denoise, Realtime, stt, tts
from voicetrio.inference.realtime import GeminiRealtimeConfig
from voicetrio.llm import LLMProvider
from voicetrio.realtime import RealtimeProvider
from voicetrio.stt import STTProvider
from voicetrio.tts import TTSProvider


@attrs.frozen(kw_only=True)
class Options:
    share: float = attrs.field(default=0.5, validator=in_range(0, 1))
    delay: int = attrs.field(default=0, validator=whole_or_none(0, 9))
    share_or_none: float | None = attrs.field(default=None, validator=in_range(0, 1))
    delay_or_none: int | None = attrs.field(default=None, validator=whole_or_none(0, 9))


@pytest.mark.parametrize("name", ["share", "delay"])
def test_none_is_no_value_of_an_option_that_has_another_default(name):
    with pytest.raises(ConfigurationError, match=name):
        Options(**{name: None})


def test_none_says_that_an_option_is_not_given():
    assert Options(share_or_none=None, delay_or_none=None) == Options()


@pytest.mark.parametrize("name", ["share", "delay", "share_or_none", "delay_or_none"])
@pytest.mark.parametrize("value", [-1, 10, "1", True, float("nan")])
def test_what_is_out_of_range_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=name):
        Options(**{name: value})


# ---- every option of every provider ----------------------------------------------------------------------------------

STRANGE = (object(), object, [], {}, [object()], {"a": object()}, (), b"", "", " ", "\ud800", "\x00", None, True, 0, -1)
STRANGE += (float("nan"), float("inf"), 10**400, 1e400, 0.5, {1}, 1j, range(3), lambda: None)


def makers():
    """Every provider and every factory, with what it needs at least."""
    key = {"api_key": "a-key"}
    yield from ((cls, key) for cls in (DeepgramTTS, LMNTTTS, CartesiaTTS, SmallestAITTS, CartesiaSTT))
    yield ChatLLM, {**key, "model": "a-model"}
    token = {"token": "a-token", "provider": "google"}
    yield from ((cls, {**token, "model_id": "a-model"}) for cls in (TTS, STT, LLM, Denoise))
    yield Realtime, {**token, "model": "a-model"}
    for cls in (TTS, STT, LLM, Denoise, Realtime):
        factories = [
            getattr(cls, name) for name, raw in vars(cls).items() if isinstance(raw, classmethod | staticmethod)
        ]
        yield from ((factory, {"token": "a-token"}) for factory in factories if not factory.__name__.startswith("_"))
    yield GenerationConfig, {}
    yield GeminiRealtimeConfig, {}


def options_of(maker):
    """What it can be told: by its signature, and what a factory hands on is the class's."""
    parameters = inspect.signature(maker).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]


EVERY_OPTION = [
    pytest.param(maker, needed, name, id=f"{maker.__qualname__}-{name}")
    for maker, needed in makers()
    for name in options_of(maker)
]


@pytest.mark.parametrize(("maker", "needed", "name"), EVERY_OPTION)
def test_an_option_that_cannot_be_is_a_configuration_error(maker, needed, name):
    """And nothing else; one that is accepted makes a provider that can be printed, compared and used as a key."""
    for value in STRANGE:
        try:
            made = maker(**{**needed, name: value})
        except ConfigurationError:
            continue
        assert isinstance(repr(made), str)
        assert made == made
        hash(made)


def test_every_provider_is_among_them():
    public = {getattr(voicetrio, name) for name in voicetrio.__all__} | {
        getattr(inference, name) for name in inference.__all__
    }
    kinds = (TTSProvider, STTProvider, LLMProvider, RealtimeProvider, DenoiseProvider)
    providers = {
        each for each in public if isinstance(each, type) and issubclass(each, kinds) and not inspect.isabstract(each)
    }
    assert providers <= {maker for maker, _ in makers()}


KEY, TOKEN = {"api_key": "a-key"}, {"token": "a-token"}
NO_DATES = ("banana", "2026-13-01", "2026-02-30", "20260301", "2026-3-1", "2026-03-01\n", "\u0662026-03-01", "")


@pytest.mark.parametrize(
    ("maker", "options"),
    [
        *((cls, {**KEY, "version": version}) for cls in (CartesiaTTS, CartesiaSTT) for version in NO_DATES),
        (CartesiaTTS, {**KEY, "sample_rate": 24_000.0}),
        (CartesiaTTS, {**KEY, "voice_id": [], "version": "2024-11-13"}),
        (CartesiaTTS, {**KEY, "generation_config": {"loudness": 1}}),
        (DeepgramTTS, {**KEY, "extra": {"tag": object()}}),
        (DeepgramTTS, {**KEY, "extra": "tag"}),
        (DeepgramTTS, {**KEY, "flush_limit": 10**400}),
        (SmallestAITTS, {**KEY, "idle_timeout": 2.5}),
        (TTS.cartesia, {**TOKEN, "voice_id": []}),
        (TTS.cartesia, {**TOKEN, "voice_id": [0.5, float("nan")]}),
        (TTS.google, {**TOKEN, "speed": "fast"}),
        (TTS.google, {**TOKEN, "pitch": float("nan")}),
        (TTS.google, {**TOKEN, "config": ""}),
        (TTS.deepgram, {**TOKEN, "bit_rate": float("inf")}),
        (STT.google, {**TOKEN, "languages": "en-US"}),
        (STT.google, {**TOKEN, "punctuate": 1}),
        (STT.sarvam, {**TOKEN, "output_sample_rate": None}),
        (STT.deepgram, {**TOKEN, "endpointing": "soon"}),
        (STT.deepgram, {**TOKEN, "keyterm": ["trio", 7]}),
    ],
    ids=lambda each: getattr(each, "__qualname__", None) or "-".join(each),
)
def test_what_cannot_be_sent_is_refused(maker, options):
    with pytest.raises(ConfigurationError):
        maker(**options)


@pytest.mark.parametrize("version", ["2024-11-13", "2031-02-28"])
def test_a_version_that_is_not_known_yet_is_taken(version):
    assert CartesiaTTS(api_key="a-key", version=version).version == version


def test_what_is_wrong_with_a_url_is_told_by_the_options_own_name():
    with pytest.raises(ConfigurationError, match="ws_url"):
        LMNTTTS(api_key="a-key", ws_url="ftp://lmnt.test")
    with pytest.raises(ConfigurationError, match="base_url"):
        CartesiaTTS(api_key="a-key", base_url="ftp://cartesia.test")


@pytest.mark.parametrize(("cls", "own"), [(TTS, tts._Options), (STT, stt._Options)])
def test_factories_take_all_options_that_are_no_vendors_own(cls, own):
    named = {"provider", "model_id", "voice_id", "language", "config", "sample_rate"}
    assert set(own.__annotations__) == {field.name for field in attrs.fields(cls)} - named
