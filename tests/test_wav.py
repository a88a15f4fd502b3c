import io
import subprocess
import sys

import pytest

from voicetrio import AudioFormat, AudioFrame, WavWriter, read_wav
from voicetrio.errors import InputError


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.wav"
    with WavWriter(path, AudioFormat(16_000, 2)) as wav:
        wav.write(b"\x01\x02\x03\x04" * 100)
        wav.write(AudioFrame(b"\x05\x06\x07\x08", 16_000, 2, 1, 0))
        assert wav.samples == 101

    assert read_wav(path) == (AudioFormat(16_000, 2), b"\x01\x02\x03\x04" * 100 + b"\x05\x06\x07\x08")


def test_files_may_be_objects():
    file = io.BytesIO()
    with WavWriter(file, AudioFormat(8000)) as wav:
        wav.write(b"ab")
    file.seek(0)

    assert read_wav(file) == (AudioFormat(8000), b"ab")


def test_what_does_not_fit_is_refused(tmp_path):
    with WavWriter(tmp_path / "a.wav", AudioFormat(16_000)) as wav:
        with pytest.raises(InputError, match="fit"):
            wav.write(AudioFrame(b"ab", 8000))
        with pytest.raises(InputError, match="whole"):
            wav.write(b"abc")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a wav file at all, but long enough to look at"])
def test_what_is_not_a_wav_file_is_refused(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_wav(path)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "none.wav")


def test_a_path_that_cannot_be_written_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        WavWriter(tmp_path / "no" / "a.wav", AudioFormat(8000))


def test_of_a_file_that_was_cut_short_the_whole_samples_are_read(tmp_path):
    path = tmp_path / "a.wav"
    with WavWriter(path, AudioFormat(16_000, 2)) as wav:
        wav.write(bytes(range(40)))
    path.write_bytes(path.read_bytes()[:-3])

    assert read_wav(path) == (AudioFormat(16_000, 2), bytes(range(36)))


FULL = """
import resource, sys
from voicetrio import AudioFormat, WavWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    with WavWriter(sys.argv[1], AudioFormat(8000)) as wav:
        for _ in range(1000):
            wav.write(bytes(320))
except OSError as error:
    print(error.filename)
"""


def test_what_is_on_a_full_disk_can_be_read(tmp_path):
    path = tmp_path / "a.wav"
    done = subprocess.run([sys.executable, "-X", "dev", "-c", FULL, path], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == (f"{path}\n", "")
    assert len(read_wav(path)[1]) == 65536 - 44


@pytest.mark.parametrize(("offset", "patch"), [(22, b"\x09\x00"), (24, b"\x00\x00\x00\x00"), (34, b"\x08\x00")])
def test_headers_that_cannot_be_are_refused(tmp_path, offset, patch):
    path = tmp_path / "a.wav"
    with WavWriter(path, AudioFormat(16_000)) as wav:
        wav.write(bytes(40))
    data = bytearray(path.read_bytes())
    data[offset : offset + len(patch)] = patch
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_wav(path)
