"""A reply that is spoken while it arrives: the text of one provider goes straight into the turn of another."""

import trio
from llm_tools import stage

from voicetrio import DeepgramTTS, open_audio_sink
from voicetrio.simulators import DeepgramOptions, DeepgramSimulator

TEXT = "This is a rather long answer, and it goes on for some time. " * 4


async def test_an_interruption_stops_the_voice_and_the_model_in_the_same_moment(autojump_clock):
    sink, source = open_audio_sink(24_000, max_seconds=60.0)
    voice = DeepgramSimulator(DeepgramOptions(api_key=None))
    async with stage(first_token=0.1, tokens_per_second=8) as it, voice.serve_in_memory() as speaker:
        tts = DeepgramTTS(api_key="k", base_url=speaker.url)
        async with it.open() as llm, tts.open(sink, dial=speaker.dial) as speech:
            with trio.move_on_after(3.0) as scope:
                async with llm.chat(TEXT) as reply:
                    await speech.synthesize(reply)
            assert scope.cancelled_caught
            cut = trio.current_time()
            await trio.testing.wait_all_tasks_blocked()
            assert trio.current_time() == cut
            assert it.ended()[0][1], "the model is stopped"
            assert speech.last_interruption is not None, "the voice is silent"
            assert 0 < len(reply.text) < len(TEXT)

            async with llm.chat("The next answer.") as reply:
                spoken = await speech.synthesize(reply)
            assert spoken.outcome == "completed"
            assert reply.text == "The next answer."
    assert "The next answer." in "".join(segment.text for segment in speaker.segments)
    source.close()
