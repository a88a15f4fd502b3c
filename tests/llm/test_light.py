"""What importing the language models brings along."""

import subprocess
import sys


def test_neither_http_nor_audio_is_imported_before_it_is_used():
    program = "import sys; from voicetrio import chat_completions, tools, chat; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not {"httpx", "httpcore", "numpy", "samplerate", "trio_websocket"} & set(done.stdout.split())
