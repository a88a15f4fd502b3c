"""Audio of which every sample tells where it belongs, and the original's own track, which keeps what it was given."""

import asyncio
import importlib.util
from pathlib import Path

from videosdk.agents import CustomAudioStreamTrack

# By its path, for the package around it needs what is not installed here.
_SPEC = importlib.util.spec_from_file_location(
    "tagged", Path(__file__).parent.parent.parent / "voicetrio" / "simulators" / "tagged.py"
)
_TAGGED = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_TAGGED)

tagged_pcm = _TAGGED.tagged_pcm


def runs(pcm):
    """What audio is: ``(segment, start, samples)`` for each stretch without a seam."""
    return [tuple(run) for run in _TAGGED.read_tags(pcm)]


class Track(CustomAudioStreamTrack):
    """The original's track, which nobody plays; without the fade that it makes of what an interruption leaves."""

    def __init__(self):
        super().__init__(asyncio.get_running_loop())
        self.interrupt_fade_duration = 0

    @property
    def size(self):
        """Bytes of what will be heard."""
        return len(self.frame_buffer) * self.chunk_size + len(self.audio_data_buffer)

    @property
    def pcm(self):
        """What will be heard."""
        return b"".join(frame.to_ndarray().tobytes() for frame in self.frame_buffer) + bytes(self.audio_data_buffer)
