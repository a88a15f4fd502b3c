"""What a caller can get wrong, and what is merely unusual: the clear error, at once, or the documented behaviour."""

import math
from contextlib import nullcontext

import pytest
import trio
import trio.testing
from contract_cases import KEY, cases, only, where_ends_are_told
from contract_tools import chunks, stage, until

from voicetrio import CartesiaSTT, ChatLLM, DeepgramTTS, FlushMarker, open_audio_sink
from voicetrio.errors import BadRequest, ConfigurationError, InputError, SessionClosed, SinkClosed
from voicetrio.inference import Denoise, Realtime
from voicetrio.simulators import Faults

TEXT = "Hello."
NEXT = "And the next."
MARKER = FlushMarker()
AT_ONCE = {"first_audio": 0.0, "speed": math.inf}


class _AtOnce:
    """A block in which no time may pass."""

    def __enter__(self):
        self.began = trio.current_time()

    def __exit__(self, *_):
        assert trio.current_time() == self.began, "it took time"


# ---- what a session is opened with ---------------------------------------------------------------------------------


PROVIDERS = {
    "tts": DeepgramTTS(api_key="k"),
    "stt": CartesiaSTT(api_key="k"),
    "llm": ChatLLM(api_key="k", model="m"),
    "denoise": Denoise.sanas(token="t"),
    "realtime": Realtime.gemini(token="t"),
}
SPEAK = ("tts", "realtime")


@pytest.mark.parametrize("argument", ["dial", "ssl_context"])
@pytest.mark.parametrize("kind", PROVIDERS)
def test_what_cannot_be_used_is_refused_as_the_session_is_opened(kind, argument):
    sink = open_audio_sink()[:1] if kind in SPEAK else ()
    with pytest.raises(ConfigurationError, match=argument):
        PROVIDERS[kind].open(*sink, **{argument: 3})


def test_who_cannot_be_told_of_times_is_refused():
    with pytest.raises(ConfigurationError, match="on_timestamps"):
        PROVIDERS["tts"].open(open_audio_sink()[0], on_timestamps=3)


@pytest.mark.parametrize("kind", SPEAK)
def test_the_two_ends_may_not_be_mistaken_for_each_other(kind):
    ends = open_audio_sink()
    for wrong in (ends[1], ends, None):
        with pytest.raises(ConfigurationError, match="an AudioSink is needed"):
            PROVIDERS[kind].open(wrong)


@pytest.mark.parametrize("seconds", ["1", 0, -1, math.nan, 100, [1]])
async def test_a_frame_of_no_length_is_refused(seconds):
    _, source = open_audio_sink()
    for take in (source.frames, source.receive_nowait):
        with pytest.raises(ConfigurationError, match="a frame may last"):
            take(seconds)
    with pytest.raises(ConfigurationError, match="a frame may last"):
        await source.receive(seconds)


@only("deepgram")
@pytest.mark.parametrize("way", ["left", "raised"])
async def test_who_still_prewarms_when_the_block_is_left_is_told(case, way, autojump_clock):
    async def refuse(_host, _port):
        await trio.sleep(0.01)
        raise OSError("refused")

    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError) if way == "raised" else nullcontext():
            async with case.make_provider("ws://localhost").open(open_audio_sink()[0], dial=refuse) as session:
                nursery.start_soon(_prewarm_until_closed, session)
                await trio.sleep(0.02)
                if way == "raised":
                    raise KeyError


async def _prewarm_until_closed(session):
    with pytest.raises(SessionClosed):
        await session.prewarm()


# ---- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " ", "\n\t \u00a0\u2003", "\u3000" * 5000])
@pytest.mark.parametrize("streamed", [False, True])
async def test_blank_text_is_spoken_by_saying_nothing(case, text, streamed, autojump_clock):
    async with stage(case, faults=Faults(handshake="refuse")) as it:
        with _AtOnce():
            spoken = await it.session.synthesize(chunks(text, text) if streamed else text)
        assert (spoken.outcome, spoken.samples, spoken.seconds) == ("completed", 0, 0.0)
        assert not it.commands()


@pytest.mark.parametrize("script", [[], [MARKER], [MARKER, MARKER, " ", MARKER], ["", "", MARKER, "\n"]])
async def test_a_stream_without_words_is_spoken_by_saying_nothing(case, script, autojump_clock):
    async with stage(case) as it:
        with _AtOnce():
            spoken = await it.session.synthesize(chunks(*script))
        assert (spoken.outcome, spoken.samples) == ("completed", 0)
        assert not it.commands()
        await it.speak(NEXT)


async def test_a_blank_turn_does_not_keep_the_next_waiting(case, autojump_clock):
    """Not even one whose blank text comes slowly: it is in line, so it is waited for, but needs no link."""
    async with stage(case) as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.session.synthesize, chunks(" ", 1.0, MARKER, 1.0, " "))
        await trio.testing.wait_all_tasks_blocked()
        await it.speak(TEXT)
        assert 2.0 < trio.current_time() < 4.0


@only("deepgram")
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_megabyte_of_text(case, streamed, autojump_clock):
    """Too much for one turn as a whole; as a stream it is read no faster than it is spoken, and can be interrupted."""
    text = "word " * 200_000
    limits = {"characters_per_minute": 2400}
    async with stage(case, provider=limits, options={"ms_per_char": 10}) as it:
        if not streamed:
            with _AtOnce(), pytest.raises(InputError, match="1000000 characters"):
                await it.session.synthesize(text)
            assert not it.commands()
        else:
            read = 0

            async def words():
                nonlocal read
                for at in range(0, len(text), 100):
                    read += 100
                    yield text[at : at + 100]

            with trio.move_on_after(90) as scope:
                await it.session.synthesize(words())
            assert scope.cancelled_caught
            assert 2000 < read < 20_000
        await trio.sleep(60)
        await it.speak(NEXT)


@cases(lambda case: case.cancels)
@pytest.mark.parametrize("text", ["\ud800", "half a pair: \udc3d", "a" * 5000 + "\udfff"])
async def test_a_lone_surrogate(case, text, autojump_clock):
    async with stage(case) as it:
        with _AtOnce(), pytest.raises(InputError, match="surrogate"):
            await it.session.synthesize(text)
        with _AtOnce(), pytest.raises(InputError, match="surrogate"):
            await it.session.synthesize(chunks(text))
        assert not it.commands()
        await it.session.prewarm()
        with pytest.raises(InputError, match="surrogate"):
            await it.session.synthesize(chunks("Fine, so far. ", MARKER, 0.5, text))
        await it.speak(NEXT)
        assert it.session.statistics().connections == 1


@pytest.mark.parametrize("thing", [None, 7, b"bytes", ["a", "list"], object(), (part for part in "ab")])
async def test_what_is_no_text(case, thing, autojump_clock):
    async with stage(case) as it:
        with _AtOnce(), pytest.raises(InputError, match="text must be"):
            await it.session.synthesize(thing)
        with _AtOnce(), pytest.raises(InputError, match="text must be"):
            await it.session.synthesize(_just(thing))
        await it.speak(NEXT)


async def _just(thing):
    yield thing


async def test_text_of_every_kind_arrives_as_it_is(case, autojump_clock):
    text = 'Quotes " and \\ and \u2028, \x00\x1b, Ünï \U0001f600 \ufeff, </speak>{"type":"Close"}'
    async with stage(case) as it:
        await it.speak(text)


# ---- iterators -----------------------------------------------------------------------------------------------------


@only("deepgram", "lmnt-1.2", "cartesia")
@pytest.mark.parametrize("before", [(), ("Some text. ",), ("Some text. ", MARKER, 1.0), (2.0,)])
async def test_an_iterator_that_raises(case, before, autojump_clock):
    """Its own exception comes out of the call, as it is, and the link is kept."""
    mine = LookupError("mine")
    async with stage(case) as it:
        await it.session.prewarm()
        with pytest.raises(LookupError) as caught:
            await it.session.synthesize(chunks(*before, mine))
        assert caught.value is mine
        assert not isinstance(caught.value.__context__, BaseExceptionGroup)
        await it.speak(NEXT)
        assert it.session.statistics().connections == 1


async def test_an_iterator_that_raises_in_its_cleanup(case, autojump_clock, caplog):
    """Its turn is over by then; it is logged, and disturbs nobody."""

    async def text():
        try:
            yield "Some text, "
            yield MARKER
            await trio.sleep_forever()
        finally:
            raise LookupError("in the cleanup")

    async with stage(case) as it:
        with trio.move_on_after(0.5) as scope:
            await it.session.synthesize(text())
        assert scope.cancelled_caught
        await it.speak(NEXT)


@only("deepgram")
async def test_an_iterator_that_raises_where_it_is_closed(case, autojump_clock, caplog):
    async def text():
        try:
            while True:
                yield "Some text, "
        finally:
            raise LookupError("in the cleanup")

    async with stage(case, provider={"characters_per_minute": 2400}) as it:
        with trio.move_on_after(0.5) as scope:
            await it.session.synthesize(text())
        assert scope.cancelled_caught
        await trio.sleep(60)
        await it.speak(NEXT)
    assert any("closed" in record.getMessage() for record in caplog.records)
    assert any("in the cleanup" in str(record.exc_info) for record in caplog.records)


async def test_an_iterator_that_sleeps_in_its_cleanup_delays_nobody(case, autojump_clock):
    async def text():
        try:
            yield "Some text, "
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.7)

    async with stage(case) as it:
        with trio.move_on_after(0.5):
            await it.session.synthesize(text())
        assert trio.current_time() == 0.5
        spoken = await it.session.synthesize(NEXT)
        assert spoken.timeline.first_text == 0.5
        await it.check_whole(spoken, NEXT)


@pytest.mark.parametrize("chunk", ["blah ", " ", MARKER])
async def test_an_iterator_that_never_ends(case, chunk, autojump_clock):
    async def text():
        while True:
            await trio.sleep(0.2)
            yield chunk

    async with stage(case) as it:
        with trio.move_on_after(20) as scope:
            await it.session.synthesize(text())
        assert scope.cancelled_caught
        await it.speak(NEXT)


async def test_an_iterator_that_is_slow_is_no_stall(case, autojump_clock):
    """However long the pauses: the provider owes nothing in them."""
    async with stage(case) as it:
        await it.speak_streamed(15.0, "One. ", MARKER, 15.0, "Two. ", 15.0, "Three.", 15.0)


@only("deepgram")
async def test_an_iterator_that_is_left_alone_is_closed(case, autojump_clock):
    closed = []

    async def text():
        try:
            for _ in range(1000):
                yield "Some text, "
        finally:
            closed.append(trio.current_time())

    async with stage(case, provider={"characters_per_minute": 2400}) as it:
        with trio.move_on_after(0.5):
            await it.session.synthesize(text())
        await trio.testing.wait_all_tasks_blocked()
        assert closed == [0.5]


# ---- options -------------------------------------------------------------------------------------------------------


def test_no_key(case, monkeypatch):
    for name in ("DEEPGRAM_API_KEY", "LMNT_API_KEY", "CARTESIA_API_KEY", "SMALLEST_API_KEY", "VIDEOSDK_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=r"(?i)key|token"):
        case.provider()


@pytest.mark.parametrize("key", ["", f"{KEY}\n", f" {KEY}", "k\u00e9y", "k\x00y", 7])
def test_a_key_that_cannot_be(case, key):
    with pytest.raises(ConfigurationError, match=case.key_option):
        case.provider(**{case.key_option: key})


@pytest.mark.parametrize("rate", [0, -1, 12_345, 24_000.5, "24000", None, True])
async def test_a_wrong_rate(case, rate, autojump_clock):
    with pytest.raises(ConfigurationError, match="sample_rate"):
        case.make_provider("ws://h/", sample_rate=rate)
    async with stage(case) as it:
        with _AtOnce(), pytest.raises(ConfigurationError, match="sample_rate"):
            await it.session.synthesize(TEXT, sample_rate=rate)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "http:///",
        "ftp://h/",
        "ws://h:port/",
        "ws://h:99999/",
        "ws://h:0/",
        "ws://[::1/",
        "ws://h/a b",
        "ws://u:secret@h/",
        "ws://h/#f",
        "ws://h/\n",
        "ws://h\u00fc/",
        "ws://h/\u00fc",
        7,
    ],
)
def test_a_wrong_url(case, url):
    with pytest.raises(ConfigurationError) as caught:
        case.make_provider(url)
    assert "secret" not in str(caught.value)


@cases(lambda case: not case.url_is_optional)
def test_no_url(case):
    with pytest.raises(ConfigurationError):
        case.make_provider(None)


def test_an_unknown_option(case):
    with pytest.raises(TypeError, match="no_such_option"):
        case.make_provider("ws://h/", no_such_option=1)


async def test_an_unknown_option_of_a_turn(case, autojump_clock):
    async with stage(case) as it:
        with _AtOnce(), pytest.raises(ConfigurationError, match="no_such_option"):
            await it.session.synthesize(TEXT, no_such_option=1)
        assert it.session.statistics().turns == 0
        await it.speak(NEXT)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "1"])
def test_a_timeout_that_cannot_be(case, timeout):
    for name in ("connect_timeout", "response_timeout", "cancel_timeout", "heartbeat"):
        with pytest.raises(ConfigurationError, match=name):
            case.make_provider("ws://h/", **{name: timeout})


@only("deepgram")
async def test_a_voice_that_does_not_exist(case, autojump_clock):
    async with stage(case) as it:
        with _AtOnce(), pytest.raises(BadRequest) as caught:
            await it.session.synthesize(TEXT, voice_id="no-such-voice")
        assert caught.value.status == 400
        assert "no-such-voice" in caught.value.reason
        assert it.server.connections == 1
        await it.speak(NEXT)


@pytest.mark.parametrize("voice", ["", "two words", "new\nline", 7])
async def test_a_voice_that_cannot_be(case, voice, autojump_clock):
    async with stage(case) as it:
        with _AtOnce(), pytest.raises(ConfigurationError):
            await it.session.synthesize(TEXT, voice_id=voice)


@only("deepgram", "lmnt-1.2")
async def test_another_voice_has_a_link_of_its_own_and_both_are_kept(case, autojump_clock):
    async with stage(case) as it:
        for _ in range(3):
            for voice in case.voices:
                await it.speak(TEXT, voice_id=voice)
        assert it.server.connections == it.session.statistics().connections == 2
        voices = [segment.connection for segment in it.server.segments]
        assert voices == [0, 1] * 3


async def test_an_option_of_one_turn_is_forgotten_by_the_next(case, autojump_clock):
    async with stage(case) as it:
        spoken = await it.session.synthesize(TEXT, sample_rate=case.rates[1])
        await it.check_whole(spoken, TEXT, case.rates[1])
        await it.speak(NEXT)


@only("deepgram", "lmnt-1.0", "cartesia", "smallest-classic", "smallest-continuations")
async def test_a_timeout_of_one_turn_holds_for_it(case, autojump_clock):
    async with stage(case, faults=Faults(accept_silent=True)) as it:
        began = trio.current_time()
        with pytest.raises(Exception, match=r"nothing came for 0\.5 s"):
            await it.session.synthesize(TEXT, response_timeout=0.5)
        assert trio.current_time() - began < 3


# ---- the sink ------------------------------------------------------------------------------------------------------


def test_channels_that_cannot_be():
    for channels in (0, -1, 9, 1.5, "2"):
        with pytest.raises(ConfigurationError):
            open_audio_sink(channels=channels)


async def test_a_sink_that_was_closed(case, autojump_clock):
    async with stage(case) as it:
        it.sink.close()
        with _AtOnce(), pytest.raises(SinkClosed):
            await it.session.synthesize(TEXT)
        assert not it.commands()


async def test_a_sink_whose_reader_went_before(case, autojump_clock):
    async with stage(case, pace=None) as it:
        await it.player.source.aclose()
        with _AtOnce(), pytest.raises(SinkClosed):
            await it.session.synthesize(TEXT)
        assert not it.commands()


@pytest.mark.parametrize("seconds", [0.05, 0.3, 5.0])
async def test_a_sink_whose_reader_goes_during_a_turn(case, seconds, autojump_clock):
    """Before the first audio, in the middle, and while the sink is full."""
    async with stage(case, pace=None) as it, trio.open_nursery() as nursery:

        async def go():
            await trio.sleep(seconds)
            it.player.source.close()

        nursery.start_soon(go)
        with pytest.raises(SinkClosed):
            await it.session.synthesize(TEXT * 10)
        assert trio.current_time() <= max(seconds, 0.2)


async def test_a_sink_closed_during_a_turn_lets_it_end(case, autojump_clock):
    async with stage(case) as it, trio.open_nursery() as nursery:

        async def close():
            await trio.sleep(0.3)
            it.sink.close()

        nursery.start_soon(close)
        await it.speak(TEXT * 3)


@only("deepgram", "lmnt-1.2", "cartesia")
async def test_a_sink_that_nobody_reads_makes_the_turn_wait(case, autojump_clock):
    """For as long as it takes; an interruption wakes it, and the next turn is not disturbed."""
    async with stage(case, pace=None, sink={"max_seconds": 0.2}) as it:
        with trio.move_on_after(500) as scope:
            await it.session.synthesize(TEXT)
        assert scope.cancelled_caught
        assert it.sink.queued_seconds == 0
        spoken = await it.session.synthesize("Hm")
        it.player.take_all()
        await it.check_whole(spoken, "Hm")
        assert it.session.statistics().connections <= 2


@where_ends_are_told
async def test_a_sink_that_is_read_late_gets_everything(case, autojump_clock):
    async with stage(case, pace=None, sink={"max_seconds": 0.2}) as it, trio.open_nursery() as nursery:

        async def play_later():
            await trio.sleep(200)
            await it.player.play()

        nursery.start_soon(play_later)
        await it.speak(TEXT * 3)
        it.sink.close()


# ---- sessions ------------------------------------------------------------------------------------------------------


async def test_a_session_after_its_block(case, autojump_clock):
    async with stage(case) as it:
        await it.speak(TEXT)
    with _AtOnce(), pytest.raises(SessionClosed):
        await it.session.synthesize(TEXT)
    with _AtOnce(), pytest.raises(SessionClosed):
        await it.session.synthesize(chunks(TEXT))


async def test_two_calls_at_once_are_spoken_in_the_order_of_the_calls(case, autojump_clock):
    async with stage(case) as it, trio.open_nursery() as nursery:
        texts = [f"Number {number}, please. " for number in range(5)]
        spoken = {}

        async def speak(text):
            spoken[text] = await it.session.synthesize(text)

        for text in texts:
            nursery.start_soon(speak, text)
            await trio.testing.wait_all_tasks_blocked()
        await until(lambda: len(spoken) == len(texts))
        assert list(spoken) == texts
        assert [each.turn for each in spoken.values()] == [1, 2, 3, 4, 5]
        for text in texts:
            await it.check_whole(spoken[text], text)


async def test_two_sessions_on_one_sink_are_heard_in_the_order_of_the_calls(case, autojump_clock):
    """Though the second has its audio long before the first."""
    async with stage(case) as it, trio.open_nursery() as nursery:
        other = case.make_provider(it.server.url).open(it.sink, dial=it.server.dial)
        async with other as second:
            spoken = {}

            async def speak(session, text, seconds):
                await trio.sleep(seconds)
                spoken[text] = await session.synthesize(chunks(text, 1.0) if session is it.session else text)

            for number in range(3):
                nursery.start_soon(speak, it.session, f"First {number}. ", number * 0.01)
                nursery.start_soon(speak, second, f"Second {number}. ", number * 0.01 + 0.005)
            await until(lambda: len(spoken) == 6)
            order = sorted(spoken, key=lambda text: spoken[text].turn)
            assert order == [f"{which} {number}. " for number in range(3) for which in ("First", "Second")]
            for text in order:
                await it.check_whole(spoken[text], text)
            second.interrupt()
            assert it.session.interrupt() is None or it.session.last_interruption.samples_dropped >= 0


async def test_one_of_two_sessions_is_interrupted_and_the_other_goes_on(case, autojump_clock):
    async with stage(case) as it, case.make_provider(it.server.url).open(it.sink, dial=it.server.dial) as second:
        async with trio.open_nursery() as nursery:
            results = {}

            async def speak(session, text):
                results[text] = await session.synthesize(text)

            nursery.start_soon(speak, it.session, TEXT * 9)
            await trio.sleep(0.4)
            nursery.start_soon(speak, second, NEXT)
            await trio.sleep(0.4)
            it.session.interrupt()
        assert results[TEXT * 9].outcome == "interrupted"
        await it.check_whole(results[NEXT], NEXT)
        it.check_cut(1, TEXT * 9)
