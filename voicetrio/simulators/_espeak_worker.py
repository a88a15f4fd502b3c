"""The program that speaks: espeak-ng by ctypes, requests on stdin, speech on stdout.

It runs as a process of its own, because espeak-ng keeps its state in globals, is not thread-safe, and is
licensed under the GPL.  It is started by path and imports the standard library alone, so that it is up in a
few milliseconds.

Arguments: the shared library, the directory ``espeak-ng-data``, the voice, the words a minute.

- A request is a length (``<I``) and that many bytes of UTF-8 text.
- An answer is two lengths (``<II``), that many bytes of JSON and that many bytes of PCM (s16le mono).
- The first answer comes unasked: ``{"sample_rate": 22050}``, or ``{"error": …}``, after which the worker
  ends.
- Every request gets one answer, in order: ``{"words": [[position, milliseconds], …]}`` and the speech.  A
  position counts characters of the text from 0.
- The worker ends at the end of its stdin.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from typing import BinaryIO

REQUEST = struct.Struct("<I")
ANSWER = struct.Struct("<II")

# From espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_PARAMETER_RATE = 1
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_EVENT_LIST_TERMINATED, _EVENT_WORD = 0, 1


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, the first is 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),  # a union: a number, a pointer or 8 characters
    )


class _VoiceSpec(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class EspeakError(Exception):
    """espeak-ng refused; the message goes to the other side of the pipe."""


class Espeak:
    """espeak-ng with one voice.  There can be one in a process."""

    def __init__(self, library: str, data: str, voice: str, rate: int) -> None:
        self._lib = ctypes.CDLL(library)
        self._lib.espeak_Synth.argtypes = (
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )
        self._lib.espeak_GetCurrentVoice.restype = ctypes.POINTER(_VoiceSpec)
        self.sample_rate: int = self._lib.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), _INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise EspeakError(f"espeak-ng cannot start with the data in {data}")
        self._pcm = bytearray()
        self._words: list[tuple[int, int]] = []
        self._callback = _Callback(self._collect)  # kept: the library holds a bare pointer to it
        self._lib.espeak_SetSynthCallback(self._callback)
        self._set_voice(voice)
        self._check(self._lib.espeak_SetParameter(_PARAMETER_RATE, rate, 0), f"takes no rate of {rate}")

    def speak(self, text: str) -> tuple[bytes, list[tuple[int, int]]]:
        """The speech and, for each word, the position of its first character and its milliseconds."""
        self._pcm.clear()
        self._words.clear()
        # A NUL would end the text early, and a character dropped would shift the positions.
        data = text.replace("\0", " ").encode("utf-8", "replace") + b"\0"
        code = self._lib.espeak_Synth(data, len(data), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
        self._check(code, "could not speak")
        return bytes(self._pcm), list(self._words)

    def _collect(self, wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count > 0:
            self._pcm += ctypes.string_at(wav, 2 * count)
        index = 0
        while (event := events[index]).type != _EVENT_LIST_TERMINATED:
            if event.type == _EVENT_WORD:
                self._words.append((event.text_position - 1, event.audio_position))
            index += 1
        return 0

    def _set_voice(self, voice: str) -> None:
        base, plus, variant = voice.partition("+")
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            # 1.52 knows en-gb and fr-fr as languages only, so find the voice and then take it by its file's
            # name.
            spec = _VoiceSpec(languages=base.encode())
            self._check(self._lib.espeak_SetVoiceByProperties(ctypes.byref(spec)), f"has no voice {voice!r}")
            if variant:
                self._lib.espeak_SetVoiceByName(self._voice_file() + b"+" + variant.encode())
        # A variant that it does not know is left out without a word.
        if plus and not self._voice_file().endswith(b"+" + variant.encode()):
            raise EspeakError(f"espeak-ng has no variant {variant!r} of the voice {base!r}")

    def _voice_file(self) -> bytes:
        return bytes(self._lib.espeak_GetCurrentVoice()[0].identifier)

    @staticmethod
    def _check(code: int, complaint: str) -> None:
        if code != 0:
            raise EspeakError(f"espeak-ng {complaint} (code {code})")


def _answer(stream: BinaryIO, body: dict[str, object], pcm: bytes = b"") -> None:
    head = json.dumps(body).encode()
    stream.write(ANSWER.pack(len(head), len(pcm)) + head + pcm)
    stream.flush()


def _serve(espeak: Espeak, requests: BinaryIO, answers: BinaryIO) -> None:
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        text = requests.read(REQUEST.unpack(head)[0]).decode("utf-8", "replace")
        try:
            pcm, words = espeak.speak(text)
        except EspeakError as exc:
            _answer(answers, {"error": str(exc)})
        else:
            _answer(answers, {"words": words}, pcm)


def main(library: str, data: str, voice: str, rate: str) -> None:
    """Speak what stdin asks until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that started us
    # Whatever the library prints must not get between the answers.
    answers_fd = os.dup(1)
    os.dup2(2, 1)
    with open(answers_fd, "wb") as answers, open(0, "rb", closefd=False) as requests:  # noqa: PTH123
        try:
            espeak = Espeak(library, data, voice, int(rate))
        except (EspeakError, OSError) as exc:
            _answer(answers, {"error": str(exc)})
            return
        _answer(answers, {"sample_rate": espeak.sample_rate})
        _serve(espeak, requests, answers)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BrokenPipeError:
        sys.exit(1)  # the other side is gone, and with it whoever would read a message
