"""An agent that can be interrupted: it listens to a WAV file, asks a language model, and speaks into another WAV file.

    python examples/agent.py question.wav answer.wav

It needs CARTESIA_API_KEY and OPENAI_API_KEY; or other servers, such as simulators, which take any key:

    voicetrio simulate cartesia --port 8001 --voice &
    voicetrio simulate chat --port 8002 -O needs_key=no &
    export STT_URL=ws://127.0.0.1:8001 TTS_URL=ws://127.0.0.1:8001 LLM_URL=http://127.0.0.1:8002/v1 CARTESIA_API_KEY=any
"""

import os
import sys

import attrs
import trio

import voicetrio


@attrs.define
class Agent:
    """Hears, thinks and speaks.  `said` is the conversation as far as it was heard; `turn`, the last answer's scope."""

    ears: voicetrio.STTSession
    mind: voicetrio.LLMSession
    voice: voicetrio.TTSSession
    said: voicetrio.ChatContext = attrs.Factory(voicetrio.ChatContext)
    turn: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def hear(self, questions: trio.MemorySendChannel[tuple[str, trio.CancelScope]]) -> None:
        """Be silent when somebody speaks, and pass on what was asked, with a scope to cancel its answer by."""
        async with questions:
            async for event in self.ears:
                if isinstance(event, voicetrio.SpeechStarted | voicetrio.TurnEnded):
                    self.interrupt()
                if isinstance(event, voicetrio.TurnEnded) and event.text:
                    self.turn = trio.CancelScope()
                    await questions.send((event.text, self.turn))

    async def answer(self, questions: trio.MemoryReceiveChannel[tuple[str, trio.CancelScope]]) -> None:
        """Speak what the model answers while it arrives, and wait until it has been heard."""
        async for question, turn in questions:
            self.said.user(question)
            with turn:  # which may have been cancelled since
                async with self.mind.chat(self.said) as reply:
                    await self.voice.synthesize(reply)
                await self.voice.sink.drained()
                self.said.assistant(reply.text)

    def interrupt(self) -> None:
        """Cancel model and voice: from this line on, silence.  The model is to know what of it was heard."""
        cut = self.voice.interrupt()  # also what has been spoken and still waits to be heard
        self.turn.cancel()
        if cut is not None and cut.text_heard:
            self.said.assistant(cut.text_heard)


async def listen(ears: voicetrio.STTSession, pcm: bytes) -> None:
    """Stand in for a microphone."""
    for begin in range(0, len(pcm), step := ears.audio_format.samples(0.02) * ears.audio_format.sample_width):
        await ears.send_audio(pcm[begin : begin + step])
        await trio.sleep(0.02)
    await ears.finish()


async def play(source: voicetrio.AudioSource, path: str) -> None:
    """Stand in for a loudspeaker: take each frame, and be busy for as long as it lasts."""
    with voicetrio.WavWriter(path, source.format) as wav:
        async for frame in source:
            wav.write(frame)
            await trio.sleep(frame.seconds)


async def main(heard: str, spoken: str) -> None:
    """Talk to whom is heard in one WAV file, into another."""
    env, (fmt, pcm) = os.environ.get, voicetrio.read_wav(heard)
    stt = voicetrio.CartesiaSTT(turns=True, base_url=env("STT_URL", "wss://api.cartesia.ai"))
    llm = voicetrio.ChatLLM(model="gpt-4o-mini", base_url=env("LLM_URL", "https://api.openai.com/v1"))
    tts = voicetrio.CartesiaTTS(base_url=env("TTS_URL", "https://api.cartesia.ai"))
    sink, source = voicetrio.open_audio_sink(tts.sample_rate)
    send, receive = trio.open_memory_channel[tuple[str, trio.CancelScope]](1)
    async with stt.open(**attrs.asdict(fmt)) as ears, llm.open() as mind, tts.open(sink) as voice:
        agent = Agent(ears, mind, voice)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(play, source, spoken)
            nursery.start_soon(listen, ears, pcm)
            nursery.start_soon(agent.hear, send)
            with sink:  # leaving it ends the recording once everything was heard
                await agent.answer(receive)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
