"""VideoSDK's inference gateway: speech, denoising, language models and realtime models of several vendors, one token.

The token is the argument `token` or the environment variable ``VIDEOSDK_AUTH_TOKEN``.  The gateway takes it in the URL;
it is percent-encoded there and shown nowhere.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .denoise import Denoise
    from .llm import LLM
    from .realtime import Realtime
    from .stt import STT
    from .tts import TTS

__all__ = ["LLM", "STT", "TTS", "Denoise", "Realtime"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{name.lower()}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
