"""The dialogue of ``voicetrio demo``: what is said, how it is held, and what can be proved about it afterwards."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import attrs
import numpy as np
import trio

from .._link.nursery import open_plain_nursery
from ..audio import open_audio_sink
from ..deepgram import DeepgramTTS
from ..simulators import DeepgramOptions, DeepgramSimulator, Server, Speech, SpokenWord, Voice
from ..simulators._voice import EspeakVoice
from ..text import Chunk, FlushMarker
from ..tts import TTSSession
from ..turn import Interruption, Synthesis
from ._recorder import Piece, Recorder

SAMPLE_RATE = 24_000

AGENT_VOICE = "en-us"
USER_VOICE = "en-gb+f2"

_PAUSE_SECONDS = 0.3
_TOKEN_SECONDS = 0.05


@attrs.frozen
class User:
    """The user says something, and is listened to."""

    text: str


@attrs.frozen
class Barge:
    """The user starts to speak this long before the middle of a word, in which the agent is interrupted."""

    text: str
    word: str
    lead_seconds: float


@attrs.frozen
class Agent:
    """A turn of the agent.

    Attributes:
        text: what it says.
        how: what is special about it, in a few words.
        tokens: whether the text comes token by token, as from a language model.
        barge: how it is interrupted, if it is.
    """

    text: str
    how: str
    tokens: bool = False
    barge: Barge | None = None


SCRIPT: tuple[User | Agent, ...] = (
    User("Hello! Can you hear me?"),
    Agent("Yes, loud and clear. How can I help you?", "one text"),
    User("How is the weather in Oslo?"),
    Agent(
        "Let me see. It is sunny in Oslo now, and eighteen degrees warm.",
        "token by token",
        tokens=True,
    ),
    User("And tomorrow?"),
    Agent(
        "Tomorrow begins with fog, and later in the day the meteorologists expect thunder, "
        "with rain in the evening, and storms along the coast all night.",
        "interrupted",
        barge=Barge("Stop, stop!", "meteorologists", lead_seconds=0.3),
    ),
    Agent("All right, I have stopped. Anything else?", "at once after it"),
    User("No. Thank you!"),
    Agent("Goodbye, and stay dry.", "one text"),
)


class Remembering:
    """A voice that keeps what it spoke: the only audio that the simulator can have sent."""

    def __init__(self, voice: Voice) -> None:
        self.speeches: list[tuple[str, Speech]] = []
        self._voice = voice

    async def speak(self, text: str, sample_rate: int) -> Speech:
        """Speak, and keep it."""
        speech = await self._voice.speak(text, sample_rate)
        self.speeches.append((text, speech))
        return speech


@attrs.frozen
class Cut:
    """An interruption, measured.

    Attributes:
        interruption: what the session says of it.
        call_microseconds: how long ``interrupt()`` took.
        samples_until_silence: of the turn that were played from the call on.
        at: when, on the recorder's clock, in samples.
    """

    interruption: Interruption
    call_microseconds: float
    samples_until_silence: int
    at: int


@attrs.frozen
class Turn:
    """A turn of the agent, as it was heard.

    Attributes:
        line: what it was to say.
        synthesis: what the session says of it.
        requested: when, on the recorder's clock, in samples.
        pieces: what was played of it.
        wanted: its audio as the simulator's voice spoke it.
        words: of `wanted`, with times in seconds from its start.
        cut: its interruption, if it was interrupted.
    """

    line: Agent
    synthesis: Synthesis
    requested: int
    pieces: list[Piece]
    wanted: bytes
    words: list[SpokenWord]
    cut: Cut | None

    @property
    def heard(self) -> bytes:
        """Its audio as it was played."""
        return b"".join(piece.pcm for piece in self.pieces)

    @property
    def stale(self) -> int:
        """Samples played as this turn's that are not, one by one, the beginning of what the voice spoke for it."""
        heard, wanted = np.frombuffer(self.heard, "<i2"), np.frombuffer(self.wanted, "<i2")
        shared = min(len(heard), len(wanted))
        return int(np.count_nonzero(heard[:shared] != wanted[:shared])) + len(heard) - shared

    @property
    def gaps(self) -> int:
        """How often the audio was not there in time: a machine too busy for the pace of speech."""
        return sum(before.end != after.start for before, after in itertools.pairwise(self.pieces))

    @property
    def start(self) -> int:
        """When its first sample was played, on the recorder's clock."""
        return self.pieces[0].start

    @property
    def end(self) -> int:
        """When it fell silent, on the recorder's clock."""
        return self.pieces[-1].end


@attrs.frozen
class Recording:
    """The dialogue as it was held.

    Attributes:
        recorder: what was played.
        user: what the user said, with the words.
        turns: the agent's.
        connections: how many the simulator saw.
        late_bytes: audio that came for the interrupted turn after its end, and was dropped.
    """

    recorder: Recorder
    user: list[tuple[Piece, Speech]]
    turns: list[Turn]
    connections: int
    late_bytes: int

    @property
    def stale(self) -> int:
        """Samples that should not have been played: foreign ones, and those of a turn after its interruption."""
        return sum(turn.stale for turn in self.turns) + sum(
            max(0, piece.end - max(piece.start, turn.cut.at))
            for turn in self.turns
            if turn.cut is not None
            for piece in turn.pieces
        )


async def hold_dialogue(speed: float, tell: Callable[[float, str, str], None]) -> Recording:
    """Hold the dialogue over a real socket and record it.

    Args:
        speed: how many times faster than speech.
        tell: called with the time in seconds, the speaker and the text of each line when it begins.

    Raises:
        VoiceError: espeak-ng is not there.
        VoiceTrioError: the session failed.
    """
    options = DeepgramOptions(voice=True, speed=4.0 * speed, first_audio=0.137 / speed)
    async with EspeakVoice(AGENT_VOICE) as voice, EspeakVoice(USER_VOICE) as user_voice:
        user = {text: await user_voice.speak(text, SAMPLE_RATE) for text in _user_texts()}
        remembering = Remembering(voice)
        async with DeepgramSimulator(options, voice=remembering).serve() as server:
            return await _Dialogue(remembering, user, speed, tell).hold(server)


def _user_texts() -> list[str]:
    barges = [line.barge.text for line in SCRIPT if isinstance(line, Agent) and line.barge is not None]
    return [line.text for line in SCRIPT if isinstance(line, User)] + barges


class _Dialogue:
    def __init__(
        self, voice: Remembering, user: dict[str, Speech], speed: float, tell: Callable[[float, str, str], None]
    ) -> None:
        self._voice = voice
        self._user = user
        self._speed = speed
        self._tell = tell
        self._user_said: list[tuple[Piece, Speech]] = []
        self._recorder = Recorder(SAMPLE_RATE, speed)
        self._cut: Cut | None = None
        self._barged_in = trio.Event()

    async def hold(self, server: Server[DeepgramOptions]) -> Recording:
        sink, source = open_audio_sink(SAMPLE_RATE)
        turns: list[Turn] = []
        provider = DeepgramTTS(api_key="any", base_url=server.url)
        async with provider.open(sink) as session, open_plain_nursery("the dialogue is over") as nursery:
            await session.prewarm()
            self._recorder = Recorder(SAMPLE_RATE, self._speed)
            nursery.start_soon(self._recorder.play, source)
            for line in SCRIPT:
                if isinstance(line, User):
                    await self._recorder.pause(_PAUSE_SECONDS)
                    await self._say_as_user(line.text)
                    await self._recorder.pause(_PAUSE_SECONDS)
                else:
                    turns.append(await self._say_as_agent(session, nursery, line))
            late_bytes = session.statistics().late_bytes
        return Recording(self._recorder, self._user_said, turns, server.connections, late_bytes)

    async def _say_as_user(self, text: str) -> None:
        self._report("user", text)
        speech = self._user[text]
        await self._recorder.hear_user(speech.pcm)
        self._user_said.append((self._recorder.user[-1], speech))

    async def _say_as_agent(self, session: TTSSession, nursery: trio.Nursery, line: Agent) -> Turn:
        number = session.statistics().turns + 1
        self._report("agent", line.text)
        spoken_before = len(self._voice.speeches)
        if line.barge is not None:
            nursery.start_soon(self._barge_in, session, nursery, number, spoken_before, line.barge)
        synthesis = await session.synthesize(self._tokens(line.text) if line.tokens else line.text)
        if line.barge is None:
            await self._recorder.played(number, synthesis.samples)
        else:
            await self._barged_in.wait()
        pieces = [piece for piece in self._recorder.agent if piece.turn == number]
        speeches = self._voice.speeches[spoken_before:]
        assert "".join(text for text, _ in speeches) == line.text
        return Turn(
            line=line,
            synthesis=synthesis,
            requested=self._recorder.at(synthesis.timeline.requested),
            pieces=pieces,
            wanted=b"".join(speech.pcm for _, speech in speeches),
            words=_joined_words([speech for _, speech in speeches]),
            cut=None if line.barge is None else self._cut,
        )

    async def _barge_in(
        self, session: TTSSession, nursery: trio.Nursery, number: int, speech: int, barge: Barge
    ) -> None:
        """Speak as the user into the agent's turn, and interrupt it in the middle of a word."""
        played = partial(self._recorder.played, number)
        await played(0)
        word = next(word for word in self._voice.speeches[speech][1].words if word.text == barge.word)
        middle = (word.start + word.end) / 2
        await played(round((middle - barge.lead_seconds) * SAMPLE_RATE))
        nursery.start_soon(self._say_as_user, barge.text)
        await played(round(middle * SAMPLE_RATE))
        called_at, began = self._recorder.now(), time.perf_counter()
        interruption = session.interrupt()
        seconds = time.perf_counter() - began
        assert interruption is not None
        end = self._recorder.agent[-1].end
        self._cut = Cut(interruption, 1e6 * seconds, max(0, end - called_at), self._recorder.now())
        self._barged_in.set()

    async def _tokens(self, text: str) -> AsyncIterator[Chunk]:
        """The text as a language model would give it, with a marker where a clause ends."""
        for token in re.findall(r"\s*\S+", text):
            await trio.sleep(_TOKEN_SECONDS / self._speed)
            yield token
            if token.endswith((".", ",")):
                yield FlushMarker()

    def _report(self, who: str, text: str) -> None:
        self._tell(self._recorder.now() / SAMPLE_RATE, who, text)


def _joined_words(speeches: list[Speech]) -> list[SpokenWord]:
    words: list[SpokenWord] = []
    offset = 0.0
    for speech in speeches:
        words += (SpokenWord(word.text, word.start + offset, word.end + offset) for word in speech.words)
        offset += len(speech.pcm) / 2 / SAMPLE_RATE
    return words
