"""The asyncio plugins of videosdk-agents, driven as its pipeline drives them.

What ``SpeechGeneration.synthesize()`` and ``.interrupt()`` do around a turn is done here in the same order: anchor the
track, open its input, set the callback, speak a text with a marker at its end; on an interruption the plugin first and
then the track.  That it waits up to 10 s for audio, where a plugin returned without any, is left out.  The track is
the framework's own; a consumer takes every frame in the moment in which it is there.  The fade-out of 0.4 s that the
track plays after an interruption is switched off by its own option, so that it is not counted as stale audio.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import Contender, Flush, Heard, Speaker, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

_PLUGINS = {
    "deepgram": ("deepgram", "DeepgramTTS"),
    "lmnt": ("lmnt", "LMNTTTS"),
    "cartesia": ("cartesia", "CartesiaTTS"),
    "smallest": ("smallestai", "SmallestAITTS"),
}


class VideoSDK(Contender):
    """The originals."""

    name = "videosdk-agents"
    runtime = "asyncio"
    providers = tuple(_PLUGINS)
    packages = (
        "videosdk-agents",
        "videosdk-plugins-deepgram",
        "videosdk-plugins-lmnt",
        "videosdk-plugins-cartesia",
        "videosdk-plugins-smallestai",
        "aiohttp",
    )

    def load(self, provider: str) -> None:
        import importlib

        logging.disable(logging.ERROR)
        module, name = _PLUGINS[provider]
        self._make = getattr(importlib.import_module(f"videosdk.plugins.{module}"), name)
        from videosdk.agents import FlushMarker
        from videosdk.agents.room.output_stream import CustomAudioStreamTrack

        self._marker = FlushMarker

        class Track(CustomAudioStreamTrack):  # type: ignore[misc, valid-type]
            heard: Heard

            async def add_new_bytes(self, audio_data: bytes) -> None:
                await super().add_new_bytes(audio_data)
                frames, self.frame_buffer = self.frame_buffer, []
                if frames:
                    self.heard.put(frames, len(frames) * self.samples)

        self._track = Track

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Speaker, None]:
        import asyncio

        tts = self._make(api_key="benchmark", **_where(provider, url))
        tts.loop = asyncio.get_running_loop()
        tts.audio_track = track = self._track(tts.loop)
        track.heard = heard
        track.interrupt_fade_duration = 0
        try:
            await tts.prewarm()
            yield _Speaker(tts, track, self._marker)
        finally:
            await tts.aclose()

    def decode(self, data: Any) -> bytes:
        return b"".join(frame.to_ndarray().tobytes() for frame in data)


def _where(provider: str, url: str) -> dict[str, str]:
    origin = url.split("/", 3)[2]
    return {
        "deepgram": {"base_url": url},
        "lmnt": {"ws_url": url},
        "cartesia": {"base_url": f"http://{origin}"},
        "smallest": {"base_url": f"http://{origin}/waves/v1"},
    }[provider]


class _Speaker(Speaker):
    def __init__(self, tts: Any, track: Any, marker: Any) -> None:
        self._tts = tts
        self._track = track
        self._marker = marker

    async def speak(self, text: str) -> None:
        async def whole() -> AsyncGenerator[Any, None]:  # noqa: ASYNC124  # it is what the plugins iterate over
            yield text
            yield self._marker()

        await self._speak(whole())

    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        await self._speak(self._marked(pieces))

    async def _marked(self, pieces: AsyncIterable[str | type[Flush]]) -> AsyncGenerator[Any, None]:
        async for piece in pieces:
            yield self._marker() if piece is Flush else piece
        yield self._marker()

    async def _speak(self, text: AsyncIterable[Any]) -> None:
        import asyncio

        first = asyncio.Event()

        async def on_first() -> None:  # noqa: ASYNC124  # the plugins await it
            first.set()

        self._track.mark_synthesis_start()
        self._track.enable_audio_input(manual_control=True)
        self._tts.on_first_audio_byte(on_first)
        self._tts.reset_first_audio_tracking()
        await self._tts.synthesize(text)
        self._track.mark_synthesis_complete()

    async def interrupt(self) -> None:
        await self._tts.interrupt()
        self._track.interrupt()


if __name__ == "__main__":
    serve(VideoSDK)
