"""From so many channels to so many."""

from __future__ import annotations

import numpy as np


def with_channels(pcm: bytes, channels: int, wanted: int) -> bytes:
    """Interleaved s16le with another number of channels: mono copied to all, or all mixed down to mono."""
    if channels == wanted:
        return pcm
    samples = np.frombuffer(pcm, "<i2")
    if channels == 1:
        return np.repeat(samples, wanted).tobytes()
    assert wanted == 1, "only mono can be copied, and only to mono can be mixed"
    # Halves alternately up and down: a mean in floating point, rounded to even.
    mean = np.rint(samples.reshape(-1, channels).mean(axis=1)).astype("<i2")
    return bytes(mean.data)
