"""VideoSDK's inference gateway: speech, denoising, language models and realtime models of several vendors, one token.

The token is the argument `token` or the environment variable ``VIDEOSDK_AUTH_TOKEN``.  The gateway takes it in the URL;
it is percent-encoded there and shown nowhere.
"""

from typing import TYPE_CHECKING

from .._lazy import import_lazily

if TYPE_CHECKING:
    from .denoise import Denoise
    from .llm import LLM
    from .realtime import Realtime
    from .stt import STT
    from .tts import TTS

__all__ = ["LLM", "STT", "TTS", "Denoise", "Realtime"]

_HOMES = {"denoise": ("Denoise",), "llm": ("LLM",), "realtime": ("Realtime",), "stt": ("STT",), "tts": ("TTS",)}

import_lazily(__name__, _HOMES)
