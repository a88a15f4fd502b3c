"""The agent of the examples, in a conversation with simulators on loopback sockets."""

import ast
import importlib.util
import os
import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import trio
import trio.testing

from voicetrio import AudioFormat, SpeechStarted, TurnEnded, WavWriter, read_wav
from voicetrio.simulators import (
    CartesiaOptions,
    CartesiaSimulator,
    CartesiaSTTOptions,
    CartesiaSTTSimulator,
    ChatOptions,
    ChatReply,
    ChatSimulator,
    Cue,
    Faults,
    GatewayOptions,
    GatewaySimulator,
    tagged_pcm,
)
from voicetrio.testing import check_tagged

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "examples" / "agent.py"
RATE = 16_000
PIECE = RATE // 50
MARKED = 33  # what the denoiser makes of segment 0
QUIET = RATE * 7 // 10  # samples after which the first question has come through the denoiser, and the second has not

QUESTIONS = ("Tell me a story.", "Shorter, please.")
STORY = "Once upon a time there was a lighthouse. It stood on a rock. Nobody came there, and "
REST = "the keeper had nobody to talk to but the gulls."
SHORT = "A lighthouse. The end."
HEARD = "Once upon a time there was a"
CUT = 1440 * 32  # samples: 60 ms for each character, up to the middle of "lighthouse"

# In samples of the audio that the recognizer gets: a question in the first half second, one in the second.
CUES = [
    Cue(RATE // 8, {"type": "turn.start"}),
    Cue(RATE // 2, {"type": "turn.end", "transcript": QUESTIONS[0]}),
    Cue(RATE * 5 // 8, {"type": "turn.start"}),
    Cue(RATE, {"type": "turn.end", "transcript": QUESTIONS[1]}),
]


@pytest.fixture
def agent():
    """The example as a module of its own."""
    spec = importlib.util.spec_from_file_location("agent", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@attrs.define
class Stage:
    """The servers, and the files."""

    clean: object
    ears: object
    mind: object
    voice: object
    model: ChatSimulator
    question: Path
    answer: Path
    scope_alone: bool = False

    @property
    def environment(self):
        urls = {"STT_URL": self.ears.url, "LLM_URL": self.mind.url, "TTS_URL": self.voice.url}
        return {**urls, "DENOISE_URL": self.clean.url, "CARTESIA_API_KEY": "any", "VIDEOSDK_AUTH_TOKEN": "any"}


@pytest.fixture
async def stage(tmp_path):
    """Simulators that do all they can at once; the model falls silent in the middle of the story."""
    tokens = len(re.findall(r"\S+", STORY))
    clean = GatewaySimulator(GatewayOptions(latency=0))
    ears = CartesiaSTTSimulator(CartesiaSTTOptions(close_delay=0), script=CUES)
    options = ChatOptions(needs_key=False, first_token=0, tokens_per_second=None, faults=Faults(stall_after=tokens))
    model = ChatSimulator(options, replies=[ChatReply(text=STORY + REST), ChatReply(text=SHORT)])
    voice = CartesiaSimulator(CartesiaOptions(first_audio=0, speed=float("inf")))
    question = tmp_path / "question.wav"
    with WavWriter(question, AudioFormat(RATE, 1)) as wav:
        wav.write(tagged_pcm(0, 0, RATE))
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(each.serve()) for each in (clean, ears, model, voice)]
        yield Stage(*servers, model, question, tmp_path / "answer.wav")


@pytest.fixture
def eventful(agent, stage, monkeypatch):
    """Let events set the pace: who listens and who speaks wait for each other, and not for time."""
    reached, silenced, frames = trio.Event(), trio.Event(), []

    pieces = iter(range(1, RATE // PIECE + 1))

    async def sleep(_seconds):
        """Between two pieces of the question."""
        if next(pieces) == QUIET // PIECE:
            await reached.wait()
        await trio.lowlevel.checkpoint()

    async def play(source, path):
        with WavWriter(path, source.format) as wav:
            async for frame in source:
                wav.write(frame)
                frames.append(frame)
                if frame.turn == 1 and frame.position + frame.samples == CUT:
                    while source._sink.queued_seconds < 0.5:  # there must be something that could be stale
                        await trio.lowlevel.checkpoint()
                    reached.set()
                    await silenced.wait()

    cuts = []

    class Watched(agent.Agent):
        def interrupt(self):
            if stage.scope_alone:
                self.turn.cancel()
            else:
                super().interrupt()
            if reached.is_set() and not silenced.is_set():
                cuts.append(self.voice.last_interruption)
                stage.mind.options = attrs.evolve(stage.mind.options, faults=Faults())
                silenced.set()

    for name, value in stage.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(agent, "trio", SimpleNamespace(**{**vars(trio), "sleep": sleep}))
    monkeypatch.setattr(agent, "play", play)
    monkeypatch.setattr(agent, "Agent", Watched)
    return agent, frames, cuts


@pytest.mark.parametrize("scope_alone", [False, True])
async def test_an_interruption_cuts_the_answer_to_the_sample_and_the_next_one_is_whole(eventful, stage, scope_alone):
    """The cancel scope around model and voice would do while the answer is being spoken."""
    agent, frames, cuts = eventful
    stage.scope_alone = scope_alone

    with trio.fail_after(20):
        await agent.main(str(stage.question), str(stage.answer))

    first = [frame for frame in frames if frame.turn == 1]
    assert sum(frame.samples for frame in first) == CUT
    assert [frame.turn for frame in frames] == sorted(frame.turn for frame in frames)
    story = [segment for segment in stage.voice.segments if segment.text in STORY]
    answer = [segment for segment in stage.voice.segments if segment.text in SHORT]
    assert len(story) + len(answer) == len(stage.voice.segments)
    check_tagged(frames, {1: story, 2: answer}, interrupted=[1]).raise_if_problems()
    (cut,) = cuts
    assert (cut.samples_heard, cut.text_heard) == (CUT, HEARD)
    assert cut.samples_dropped > 0
    assert read_wav(stage.answer)[1] == b"".join(frame.pcm for frame in frames)


@pytest.mark.parametrize("stalled", [True, False])
async def test_the_model_is_stopped_and_told_what_was_heard(eventful, stage, stalled):
    """Even if it had said all of it, and only the voice was behind."""
    agent, _, _ = eventful
    if not stalled:
        stage.mind.options = attrs.evolve(stage.mind.options, faults=Faults())

    with trio.fail_after(20):
        await agent.main(str(stage.question), str(stage.answer))

    ended = [record["data"] for record in stage.mind.log if record["event"] == "reply_ended"]
    assert [each["interrupted"] for each in ended] == [stalled, False]
    first, second = (request["messages"] for request in stage.model.requests)
    assert first == [{"role": "user", "content": QUESTIONS[0]}]
    assert second == [
        {"role": "user", "content": QUESTIONS[0]},
        {"role": "assistant", "content": HEARD},
        {"role": "user", "content": QUESTIONS[1]},
    ]


async def test_the_recognizer_hears_all_of_it_without_the_noise(eventful, stage):
    agent, _, _ = eventful

    with trio.fail_after(20):
        await agent.main(str(stage.question), str(stage.answer))

    (heard,) = [record["data"] for record in stage.ears.log if record["event"] == "audio"]
    assert heard["samples"] == RATE
    segment, start, count = heard["runs"][-1]
    assert (segment, start + count) == (MARKED, RATE)
    assert start < QUIET, "it was cleaned as soon as there was a connection"


@attrs.define
class Heard:
    """A session that tells events when it is asked to."""

    events: trio.MemoryReceiveChannel

    def __aiter__(self):
        return self.events.__aiter__()


class Model:
    """A session whose answers never end, and take a while to clean up; it knows which were begun."""

    def __init__(self):
        self.asked, self.cleaning, self.cleaned = [], trio.Event(), trio.Event()

    @asynccontextmanager
    async def chat(self, context):
        self.asked.append(context.items[-1].content)
        try:
            yield "an answer"
        finally:
            self.cleaning.set()
            with trio.CancelScope(shield=True):
                await self.cleaned.wait()


class Voice:
    """A session that speaks without an end."""

    def interrupt(self):
        return None

    async def synthesize(self, reply):
        await trio.sleep_forever()


async def test_a_question_that_waits_for_its_turn_can_be_interrupted(agent, autojump_clock):
    """The second comes while the first one's turn cleans up; somebody speaks before it is answered."""
    tell, events = trio.open_memory_channel(0)
    send, receive = trio.open_memory_channel(1)
    mind = Model()
    it = agent.Agent(mind, Voice())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.hear, Heard(events), send)
        nursery.start_soon(it.answer, receive)
        await tell.send(TurnEnded(text=QUESTIONS[0]))
        await trio.testing.wait_all_tasks_blocked()
        await tell.send(SpeechStarted())
        await mind.cleaning.wait()
        await tell.send(TurnEnded(text=QUESTIONS[1]))
        await tell.send(SpeechStarted())
        await trio.testing.wait_all_tasks_blocked()
        mind.cleaned.set()
        with trio.move_on_after(1) as late:
            await tell.aclose()
            while nursery.child_tasks:  # noqa: ASYNC110 - the clock jumps
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert not late.cancelled_caught, "an answer goes on that was interrupted"
    assert [each.content for each in it.said.items] == list(QUESTIONS)


async def test_a_question_takes_the_place_of_the_answer_before_it(agent, autojump_clock):
    """Though nobody told that somebody had begun to speak."""
    tell, events = trio.open_memory_channel(0)
    send, receive = trio.open_memory_channel(1)
    mind = Model()
    mind.cleaned.set()
    it = agent.Agent(mind, Voice())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.hear, Heard(events), send)
        nursery.start_soon(it.answer, receive)
        for question in QUESTIONS:
            await tell.send(TurnEnded(text=question))
            await trio.testing.wait_all_tasks_blocked()
            assert mind.asked[-1] == question
        nursery.cancel_scope.cancel()


async def test_the_program_itself(stage):
    """In a process of its own, at the pace of a microphone and a loudspeaker."""
    stage.mind.options = attrs.evolve(stage.mind.options, faults=Faults())
    stage.voice.options = attrs.evolve(stage.voice.options, ms_per_char=5)
    command = [sys.executable, "-W", "error", str(PROGRAM), str(stage.question), str(stage.answer)]

    with trio.fail_after(20):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, env={**os.environ, **stage.environment}
        )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    fmt, pcm = read_wav(stage.answer)
    assert fmt == AudioFormat(24_000, 1)
    assert len(pcm) // 2 >= len(SHORT) * 120
    assert len(stage.model.requests) == 2
    assert stage.clean.connections == 1


def test_it_has_sixty_lines_of_code():
    tree = ast.parse(PROGRAM.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    words = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented)]
    prose = {line for word in words if isinstance(word, ast.Expr) for line in range(word.lineno, word.end_lineno + 1)}
    lines = enumerate(PROGRAM.read_text().splitlines(), 1)
    assert len([line for number, line in lines if line.strip() and number not in prose]) <= 60


def test_the_readme_shows_what_runs():
    shown = (ROOT / "README.md").read_text().partition("## An agent in 60 lines")[2]
    agent = re.search(r"^```python\n(.*?)^```$", shown, re.MULTILINE | re.DOTALL)[1]
    assert agent in PROGRAM.read_text()
