"""Deepgram's dialect with a clock of its own: no I/O, and no time but what it waits for."""

import json

from voicetrio import DeepgramTTS
from voicetrio._dialect import Pause

WARNING = json.dumps({"type": "Warning", "warn_code": "EXCESSIVE_FLUSH", "warn_msg": "too many flushes"})


class Dialect:
    """A dialect with a clock of its own, whose steps are taken at once."""

    def __init__(self, **options):
        self.now = 0.0
        self.options = DeepgramTTS(**({"api_key": "key"} | options))
        self.it = self.options._new_dialect(lambda: self.now)

    def begin(self, turn):
        self.it.begin(turn, self.options)

    def take(self, steps):
        """What the steps say; a pause passes as it is waited for."""
        taken = []
        for step in steps:
            if isinstance(step, Pause):
                self.now += step.seconds
            taken.append(json.loads(step) if isinstance(step, str) else step)
        return taken

    def say(self, text):
        return self.take(self.it.say(text))

    def flush(self):
        return self.take(self.it.flush())

    def end(self):
        return self.take(self.it.end())

    def resume(self):
        return self.take(self.it.resume())

    def cancel(self, turn):
        return self.take(self.it.cancel(turn))

    def receive(self, message):
        return list(self.it.receive(message))
