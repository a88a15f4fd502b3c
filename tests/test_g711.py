"""Decoding of mu-law and A-law, against the standard's rules and against CPython's audioop."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetrio.g711 import decode_g711
from voicetrio.simulators._g711 import encode

EVERY_CODE = bytes(range(256))


def decoded(data, law):
    pcm = decode_g711(data, law)
    return list(struct.unpack(f"<{len(data)}h", pcm))


def mulaw_by_the_standard(code):
    """ITU-T G.711, table 2a: 8 segments of 16 steps, each twice as wide as the last; 14 bits, here in 16."""
    bits = code ^ 0xFF
    segment, step = bits >> 4 & 7, bits & 15
    first = 33 * (2**segment - 1)  # the quantizing level of the segment's first step
    value = 4 * (first + step * 2 ** (segment + 1))
    return -value if bits & 0x80 else value


def alaw_by_the_standard(code):
    """ITU-T G.711, table 1a: segments 0 and 1 alike, the others each twice as wide as the last; 13 bits, here in 16."""
    bits = code ^ 0x55
    segment, step = bits >> 4 & 7, bits & 15
    width = 2 ** max(segment - 1, 0)  # in units of 13 bits, of which a step has two
    first = 16 * 2 * width if segment else 0
    value = 8 * (first + step * 2 * width + width)
    return value if bits & 0x80 else -value


@pytest.mark.parametrize(("law", "by_the_standard"), [("mulaw", mulaw_by_the_standard), ("alaw", alaw_by_the_standard)])
def test_every_code_means_what_the_standard_says(law, by_the_standard):
    assert decoded(EVERY_CODE, law) == [by_the_standard(code) for code in range(256)]


@pytest.mark.parametrize(
    ("law", "digest"),
    [
        # SHA-256 of audioop.ulaw2lin and alaw2lin (CPython 3.11) of every code; audioop is gone since 3.13.
        ("mulaw", "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827"),
        ("alaw", "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174"),
    ],
)
def test_every_code_is_decoded_as_cpython_did(law, digest):
    assert hashlib.sha256(decode_g711(EVERY_CODE, law)).hexdigest() == digest


@pytest.mark.parametrize(
    ("law", "code", "value"),
    [
        ("mulaw", 0xFF, 0),  # positive zero
        ("mulaw", 0x7F, 0),  # negative zero
        ("mulaw", 0x80, 32124),  # the largest
        ("mulaw", 0x00, -32124),
        ("mulaw", 0xFE, 8),  # the smallest step
        ("alaw", 0xD5, 8),  # A-law has no zero
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32256),  # the largest
        ("alaw", 0x2A, -32256),
    ],
)
def test_known_values(law, code, value):
    assert decoded(bytes([code]), law) == [value]


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_nothing_becomes_nothing(law):
    assert decode_g711(b"", law) == b""


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
@given(pcm=st.lists(st.integers(-32768, 32767), max_size=200))
def test_what_was_encoded_comes_back_within_half_a_step(law, pcm):
    samples = np.array(pcm, dtype="<i2")
    back = np.frombuffer(decode_g711(encode(samples.tobytes(), law), law), dtype="<i2").astype(int)
    # The widest step of either law is 1024; below, a step is at most a sixteenth of the value.
    clipped = np.clip(samples.astype(int), -32635, 32635)
    error = np.abs(back - clipped)
    assert (error <= np.maximum(np.abs(clipped) / 16, 8) / 2 + 8).all()
