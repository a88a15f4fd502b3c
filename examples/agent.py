"""An agent that can be interrupted: it listens to a WAV file, asks a language model, and speaks into another WAV file.

What it hears goes through a denoiser first.

    python examples/agent.py question.wav answer.wav

It needs VIDEOSDK_AUTH_TOKEN, CARTESIA_API_KEY and OPENAI_API_KEY; or other servers, such as simulators, which take any
key:

    voicetrio simulate cartesia --port 8001 --voice &
    voicetrio simulate chat --port 8002 -O needs_key=no &
    voicetrio simulate gateway --port 8003 &
    export STT_URL=ws://127.0.0.1:8001 TTS_URL=ws://127.0.0.1:8001 LLM_URL=http://127.0.0.1:8002/v1
    export DENOISE_URL=ws://127.0.0.1:8003 CARTESIA_API_KEY=any VIDEOSDK_AUTH_TOKEN=any
"""

import os
import sys

import attrs
import trio

import voicetrio.inference


@attrs.define
class Agent:
    """Hears, thinks and speaks.  `said` is the conversation as far as it was heard; `turn`, the last answer's scope."""

    mind: voicetrio.LLMSession
    voice: voicetrio.TTSSession
    said: voicetrio.ChatContext = attrs.Factory(voicetrio.ChatContext)
    turn: trio.CancelScope = attrs.Factory(trio.CancelScope)

    async def hear(self, ears: voicetrio.STTSession, turns: trio.MemorySendChannel[trio.CancelScope]) -> None:
        """Be silent when somebody speaks; when something was asked, pass on a scope to cancel the answer by."""
        async with turns:
            async for event in ears:
                if isinstance(event, voicetrio.SpeechStarted | voicetrio.TurnEnded):
                    self.interrupt()
                if isinstance(event, voicetrio.TurnEnded) and (event.text or "").strip():
                    self.said.user(event.text)
                    self.turn = trio.CancelScope()
                    await turns.send(self.turn)

    async def answer(self, turns: trio.MemoryReceiveChannel[trio.CancelScope]) -> None:
        """Speak what the model answers while it arrives, and wait until it has been heard."""
        async for turn in turns:
            with turn:  # which may have been cancelled since
                async with self.mind.chat(self.said) as reply:
                    await self.voice.synthesize(reply)
                await self.voice.sink.drained()
                self.said.assistant(reply.text)

    def interrupt(self) -> None:
        """Cancel model and voice: from this line on, silence.  The model is to know what of it was heard."""
        if (cut := self.voice.interrupt()) and cut.text_heard:  # also what was spoken and still waits to be heard
            self.said.assistant(cut.text_heard)
        self.turn.cancel()


async def listen(clean: voicetrio.DenoiseSession, ears: voicetrio.STTSession, pcm: bytes) -> None:
    """Stand in for a microphone, in a place that is not quiet."""
    for begin in range(0, len(pcm), step := ears.audio_format.samples(0.02) * ears.audio_format.sample_width):
        await ears.send_audio(await clean.denoise(pcm[begin : begin + step]))
        await trio.sleep(0.02)
    await ears.send_audio(await clean.finish())
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
    noise = voicetrio.inference.Denoise.aicoustics(model_id="quail-vf-l-16khz", base_url=env("DENOISE_URL"))
    stt = voicetrio.CartesiaSTT(turns=True, base_url=env("STT_URL", "wss://api.cartesia.ai"))
    llm = voicetrio.ChatLLM(model="gpt-4o-mini", base_url=env("LLM_URL", "https://api.openai.com/v1"))
    tts = voicetrio.CartesiaTTS(base_url=env("TTS_URL", "https://api.cartesia.ai"))
    send, receive = trio.open_memory_channel[trio.CancelScope](1)
    async with noise.open(**attrs.asdict(fmt)) as clean, stt.open(**attrs.asdict(fmt)) as ears, llm.open() as mind:
        sink, source = voicetrio.open_audio_sink(tts.sample_rate)
        async with tts.open(sink) as voice, trio.open_nursery() as nursery:
            agent = Agent(mind, voice)
            nursery.start_soon(play, source, spoken)
            nursery.start_soon(listen, clean, ears, pcm)
            nursery.start_soon(agent.hear, ears, send)
            with sink:  # leaving it ends the recording once everything was heard
                await agent.answer(receive)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
