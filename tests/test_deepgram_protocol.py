"""Every row of Deepgram's protocol that a client meets, against the simulator with its switches."""

import json

import attrs
import pytest
import trio
from deepgram_talk import FLUSH, chunks, talk

from voicetrio import DeepgramTTS, open_audio_sink
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    ConnectError,
    InputError,
    LinkClosed,
    PaymentRequired,
    ProtocolError,
    ProviderError,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
    UpgradeRejected,
)
from voicetrio.g711 import decode_g711
from voicetrio.simulators import tagged_pcm
from voicetrio.simulators._g711 import encode

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."
AWKWARD = 'She said "hi"\\n\n\tthen\r\nleft … — 東京 😀👩‍👩‍👧 é \u2028 </speak> \\{"word":"x"\\}'


# Options


def test_every_option_has_its_documented_default(monkeypatch):
    monkeypatch.setenv("DEEPGRAM_API_KEY", "from-the-environment")
    assert attrs.asdict(DeepgramTTS()) == {
        "api_key": "from-the-environment",
        "access_token": None,
        "model": "aura-2-andromeda-en",
        "encoding": "linear16",
        "sample_rate": 24_000,
        "base_url": "wss://api.deepgram.com/v1/speak",
        "region": None,
        "max_connection_age_sec": 300.0,
        "speed": None,
        "mip_opt_out": False,
        "extra": (),
        "max_text": 2000,
        "flush_limit": 20,
        "flush_window": 60.0,
        "characters_per_minute": 2400,
        "connect_timeout": 10.0,
        "response_timeout": 5.0,
        "cancel_timeout": 2.0,
        "heartbeat": 30.0,
        "driver": "websockets",
        "prefetch": False,
    }


def test_options_are_keyword_only():
    with pytest.raises(TypeError):
        DeepgramTTS("key")
    with pytest.raises(TypeError):
        DeepgramTTS(api_key="key", no_such_option=1)


def test_a_key_of_the_call_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("DEEPGRAM_API_KEY", "from-the-environment")
    assert DeepgramTTS(api_key="from-the-call").api_key == "from-the-call"


def test_no_key_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.delenv("DEEPGRAM_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="DEEPGRAM_API_KEY"):
        DeepgramTTS()
    assert DeepgramTTS(access_token="token").api_key is None


def test_equal_options_are_equal_and_hash_alike():
    one = DeepgramTTS(api_key="key", extra={"b": "2", "a": "1"})
    other = DeepgramTTS(api_key="key", extra=[("a", "1"), ("b", "2")])
    assert one == other
    assert hash(one) == hash(other)
    assert one != attrs.evolve(one, api_key="another")
    assert len({one, other, attrs.evolve(one, model="aura-2-thalia-en")}) == 2


def test_what_is_printed_has_no_secret_in_it():
    provider = DeepgramTTS(api_key="sesame-key", access_token="sesame-token")
    shown = f"{provider!r} {provider} {provider._endpoint()!r}"
    assert "aura-2-andromeda-en" in shown
    assert "sesame" not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": ""},
        {"api_key": "key\n"},
        {"api_key": "kéy"},
        {"api_key": 5},
        {"access_token": ""},
        {"model": ""},
        {"model": "aura 2"},
        {"model": None},
        {"encoding": "mp3"},
        {"sample_rate": 44_100},
        {"sample_rate": "24000"},
        {"sample_rate": 24_000.0},
        {"encoding": "mulaw"},  # at 24 kHz
        {"encoding": "alaw", "sample_rate": 48_000},
        {"base_url": ""},
        {"base_url": "ftp://api.deepgram.com/v1/speak"},
        {"base_url": "ws:///v1/speak"},
        {"base_url": "ws://host:99999/v1/speak"},
        {"base_url": "ws://host/a b"},
        {"base_url": "ws://user:sesame@host/v1/speak"},
        {"base_url": 5},
        {"region": "us"},
        {"region": "eu", "base_url": "ws://host/v1/speak"},
        {"max_connection_age_sec": 0},
        {"speed": 0.69},
        {"speed": 1.51},
        {"speed": float("nan")},
        {"speed": "fast"},
        {"speed": 1.1, "model": "aura-asteria-en"},
        {"speed": 1.1, "model": "aura-2-julius-de"},
        {"max_text": 0},
        {"max_text": 2401},
        {"flush_limit": 2},  # one for the end of a turn, and two in reserve
        {"flush_window": 0},
        {"characters_per_minute": 1999},
        {"extra": 5},
    ],
    ids=repr,
)
def test_options_that_cannot_work_are_refused_at_construction(wrong):
    with pytest.raises(ConfigurationError) as caught:
        DeepgramTTS(**({"api_key": "key"} | wrong))
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"speed": 1.5, "model": "aura-2-celeste-es"},
        {"encoding": "alaw", "sample_rate": 16_000},
        {"model": "aura-9-of-tomorrow-xx"},  # the list is the provider's, and it grows
        {"base_url": "https://proxy.example"},
    ],
)
def test_options_that_work_are_taken(options):
    DeepgramTTS(api_key="key", **options)


# Connecting


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "wss://api.deepgram.com/v1/speak?"),
        ({"region": "eu"}, "wss://api.eu.deepgram.com/v1/speak?"),
        ({"region": "au"}, "wss://api.au.deepgram.com/v1/speak?"),
        ({"region": "in"}, "wss://api.in.deepgram.com/v1/speak?"),
        ({"base_url": "https://proxy.example"}, "wss://proxy.example/v1/speak?"),
        ({"base_url": "http://[::1]:8080/deepgram/v1/speak"}, "ws://[::1]:8080/deepgram/v1/speak?"),
        ({"base_url": "ws://host/v1/speak?project=a%20b"}, "ws://host/v1/speak?project=a+b&"),
    ],
)
def test_where_it_connects_to(options, url):
    assert DeepgramTTS(api_key="key", **options)._endpoint().url.startswith(url)


@pytest.mark.parametrize("region", ["eu", "au", "in"])
async def test_a_region_is_dialled(autojump_clock, region):
    dialled = []

    async def dial(host, port):
        dialled.append((host, port))
        raise OSError("not from here")

    sink, _source = open_audio_sink()
    async with DeepgramTTS(api_key="key", region=region).open(sink, dial=dial) as tts:
        with pytest.raises(ConnectError):
            await tts.prewarm()
    assert set(dialled) == {(f"api.{region}.deepgram.com", 443)}


async def test_the_query_of_the_defaults_is_what_the_original_sent(autojump_clock):
    async with talk() as it:
        await it.tts.prewarm()
    assert it.queries() == [{"model": "aura-2-andromeda-en", "encoding": "linear16", "sample_rate": "24000"}]


async def test_the_query_has_every_option_that_is_set(autojump_clock):
    extra = {"tag": "é & ü", "bit_rate": "0"}
    options = {"speed": 0.7, "mip_opt_out": True, "sample_rate": 48_000, "extra": extra, "model": "aura-2-luna-en"}
    async with talk(provider=options) as it:
        await it.tts.prewarm()
    sent = {"model": "aura-2-luna-en", "encoding": "linear16", "sample_rate": "48000"}
    assert it.queries() == [sent | {"speed": "0.7", "mip_opt_out": "true"} | extra]


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        ({"api_key": "a-key"}, "Token a-key"),
        ({"access_token": "a-token"}, "Bearer a-token"),
        ({"api_key": "a-key", "access_token": "a-token"}, "Bearer a-token"),
    ],
)
async def test_a_key_goes_as_token_and_a_token_as_bearer(autojump_clock, monkeypatch, credentials, header):
    monkeypatch.delenv("DEEPGRAM_API_KEY", raising=False)
    assert DeepgramTTS(**credentials)._endpoint().headers == (("Authorization", header),)
    async with talk(provider=credentials, api_key=header.split()[1]) as it:
        await it.tts.prewarm()
    assert "a-key" not in str(it.queries())


REFUSALS = [
    (400, BadRequest, 1),
    (401, AuthenticationError, 1),
    (402, PaymentRequired, 1),
    (403, AuthenticationError, 1),
    (404, BadRequest, 1),
    (413, BadRequest, 1),
    (422, BadRequest, 1),
    (429, RateLimited, 3),
    (503, ServiceUnavailable, 3),
]


@pytest.mark.parametrize(("status", "kind", "attempts"), REFUSALS)
async def test_a_refused_upgrade_says_why(autojump_clock, status, kind, attempts):
    async with talk(faults={"refuse_status": status}) as it:
        with pytest.raises(UpgradeRejected) as caught:
            await it.tts.synthesize("Hello.")
    error = caught.value
    assert isinstance(error, kind)
    assert (error.provider, error.status) == ("deepgram", status)
    assert it.server.connections == attempts
    body = json.loads(error.body)
    assert error.request_id == body["request_id"]
    assert body["err_msg"] in error.reason
    assert body["err_msg"] in str(error)


async def test_a_refusal_by_the_query_is_not_tried_again(autojump_clock):
    async with talk(provider={"model": "aura-2-helios-en"}) as it:
        with pytest.raises(BadRequest, match="No such model/version"):
            await it.tts.synthesize("Hello.")
    assert it.server.connections == 1


async def test_too_many_connections_are_waited_for_as_long_as_the_server_says(autojump_clock):
    faults = {"refuse_status": 429, "retry_after": 3, "connections": 1}
    async with talk(faults=faults) as it:
        spoken = await it.tts.synthesize("Hello.")
        assert trio.current_time() >= 3
    assert it.runs(spoken.turn) == it.asked()


# Audio


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
@pytest.mark.parametrize("rate", [8000, 16_000])
async def test_companded_audio_is_decoded(autojump_clock, law, rate):
    async with talk(provider={"encoding": law, "sample_rate": rate}) as it:
        spoken = await it.tts.synthesize("Hello.")
    samples = rate * 6 * 60 // 1000
    assert it.queries() == [{"model": "aura-2-andromeda-en", "encoding": law, "sample_rate": str(rate)}]
    assert spoken.samples == samples
    assert it.pcm(spoken.turn) == decode_g711(encode(tagged_pcm(0, 0, samples), law), law)


@pytest.mark.parametrize(
    "how",
    [
        {"frame_ms_min": 0.1, "frame_ms_max": 90},
        {"odd_frames": True, "frame_ms": 1},
        {"empty_frames": True},
        {"speed": float("inf"), "first_audio": 0},
        {"faults": {"one_byte_writes": True}, "ms_per_char": 5},
        {"faults": {"fragment": 700}},
        {"faults": {"unknown_message": 3}},
        {"early_audio": 10},
        {"end_marker": "double"},
        {"end_marker": "late"},
    ],
    ids=repr,
)
async def test_audio_is_whole_however_it_is_sent(autojump_clock, how):
    async with talk(**how) as it:
        first = await it.tts.synthesize(chunks("One, ", FLUSH, "two, ", "and three. ", FLUSH, "That was all."))
        second = await it.tts.synthesize("Is that so?")
    assert (first.outcome, second.outcome) == ("completed", "completed")
    assert it.runs(first.turn) + it.runs(second.turn) == it.asked()
    assert it.runs(second.turn) == it.asked("Is that so?")
    assert it.server.connections == 1


async def test_a_message_of_a_mebibyte_is_taken(autojump_clock):
    async with talk(faults={"big_message": True}) as it:
        spoken = await it.tts.synthesize("Hello.")
    assert it.runs(spoken.turn) == [(0, 0, 1 << 19)]


async def test_audio_that_nobody_asked_for_is_dropped(autojump_clock):
    async with talk(audio_before_asked=5) as it:
        await it.tts.prewarm()
        await trio.sleep(1)
        assert it.heard == []
        spoken = await it.tts.synthesize("Hello.")
    assert it.runs(spoken.turn) == it.asked("Hello.")
    assert it.tts.statistics().late_bytes == 5 * 1920


# Text


async def test_text_arrives_verbatim(autojump_clock):
    async with talk(ms_per_char=1) as it:
        await it.tts.synthesize(AWKWARD)
        await it.tts.synthesize(chunks(*AWKWARD))
        await it.tts.synthesize(chunks("un", "believ", "able", " — ", "\n", FLUSH, " ", "really", "  "))
    assert [segment.text for segment in it.server.segments] == [
        AWKWARD,
        AWKWARD,
        "unbelievable — ",
        "\n really",  # blanks are said with what follows them, and not at all where nothing does
    ]


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", 5, None, b"bytes"])
async def test_what_cannot_be_spoken_is_refused_before_anything_is_sent(autojump_clock, text):
    async with talk() as it:
        with pytest.raises(InputError):
            await it.tts.synthesize(text)
        with pytest.raises(InputError):
            await it.tts.synthesize("x" * (2400 * 60 + 1))
        spoken = await it.tts.synthesize("Two.")
    assert it.runs(spoken.turn) == it.asked("Two.")


@pytest.mark.parametrize("chunk", ["lone \ud800 surrogate", None, b"bytes"])
async def test_a_chunk_that_cannot_be_spoken_fails_its_turn_only(autojump_clock, chunk):
    async with talk() as it:
        with pytest.raises(InputError):
            await it.tts.synthesize(chunks("One. ", chunk))
        spoken = await it.tts.synthesize("Two.")
    assert [segment.text for segment in it.server.segments] == ["Two."]
    assert it.runs(spoken.turn) == it.asked("Two.")


async def test_a_word_longer_than_a_message_is_cut(autojump_clock):
    async with talk(provider={"max_text": 10}, ms_per_char=10) as it:
        await it.tts.synthesize("a " + "b" * 25 + " c")
    texts = [message["text"] for message in it.sent() if message["type"] == "Speak"]
    assert texts == ["a ", "b" * 10, "b" * 10, "b" * 5 + " c"]


async def test_markers_leave_two_flushes_of_the_window_for_the_ends_of_turns(autojump_clock):
    script = [chunk for number in range(8) for chunk in (f"{number}. ", FLUSH)]
    async with talk(provider={"flush_limit": 6}, flush_limit=6, ms_per_char=10) as it:
        spoken = await it.tts.synthesize(chunks(*script))
    assert it.times("Flush") == [0] * 5
    assert [segment.text for segment in it.server.segments] == ["0. ", "1. ", "2. ", "3. ", "4. 5. 6. 7. "]
    assert it.runs(spoken.turn) == it.asked()


async def test_a_connection_with_few_flushes_left_is_replaced_between_turns(autojump_clock):
    async with talk(provider={"flush_limit": 4}, flush_limit=4, ms_per_char=10) as it:
        for number in range(9):
            spoken = await it.tts.synthesize(f"Turn {number}.")
            await trio.sleep(1)
            assert it.runs(spoken.turn) == it.asked(f"Turn {number}.")
        assert trio.current_time() < 15  # none has waited for the window
        assert it.server.open_connections == 1
    assert not any("Warning" in record["data"]["message"] for record in it.events("sent"))


@pytest.mark.parametrize("limit", [3, 4])
async def test_a_small_flush_limit_does_not_connect_for_ever(autojump_clock, limit):
    async with talk(provider={"flush_limit": limit, "flush_window": 5}, flush_limit=limit, flush_window=5) as it:
        for text in ("One.", "Two.", "Three."):
            await it.tts.synthesize(text)
        await it.drained()
        await trio.sleep(1)
        assert it.server.connections <= 6
        assert it.runs(1) + it.runs(2) + it.runs(3) == it.asked()


# Interruptions


@pytest.mark.parametrize("shared_sequence", [False, True])
@pytest.mark.parametrize("flushed_for_cleared", [False, True])
@pytest.mark.parametrize("end_marker", ["normal", "double"])
async def test_acknowledgements_of_the_past_end_no_turn(
    autojump_clock, shared_sequence, flushed_for_cleared, end_marker
):
    quirks = {"shared_sequence": shared_sequence, "flushed_for_cleared": flushed_for_cleared, "end_marker": end_marker}
    async with talk(late_frames=2, clear_delay=0.05, **quirks) as it:
        for number in range(4):
            with trio.move_on_after(0.2 + 0.1 * number):
                await it.tts.synthesize(chunks(LONG, FLUSH, LONG, FLUSH, "not flushed", 5))
            reply = await it.tts.synthesize(chunks(f"Reply {number}, ", FLUSH, "and more."))
            await it.drained()
            own = it.asked()[-2:]
            assert it.runs(reply.turn) == own
            assert [segment.text for segment in it.server.segments][-2:] == [f"Reply {number}, ", "and more."]
    assert it.server.connections == 1


async def test_an_interruption_before_any_text_sends_nothing(autojump_clock):
    async with talk() as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(chunks(10, "Too late."))
        await it.tts.synthesize("Hello.")
    assert it.kinds() == ["Speak", "Flush", "Close"]


async def test_a_clear_that_is_not_answered_costs_the_connection_not_the_turn(autojump_clock):
    async with talk(clear_never=True) as it:
        with trio.move_on_after(0.5):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Yes.")
        assert trio.current_time() < 0.5 + 2 + 1
    assert spoken.outcome == "completed"
    assert it.runs(spoken.turn) == it.asked("Yes.")[-1:]
    assert it.server.connections == 2


# Errors on the open connection


CLOSES = [
    (1003, "MESSAGE-0000", BadRequest),
    (1008, "DATA-0000", BadRequest),
    (1008, "DATA-0001", RateLimited),
    (1009, "BIG-0000", BadRequest),
    (1009, "BIG-0001", BadRequest),
    (1011, "NET-0000", LinkClosed),
    (1011, "NET-0001", LinkClosed),
    (1011, "NET-0002", LinkClosed),
    (1011, "NET-0003", LinkClosed),
    (1008, "", LinkClosed),
    (1000, "", LinkClosed),
]


@pytest.mark.parametrize(("code", "reason", "kind"), CLOSES)
async def test_a_close_code_becomes_the_error_that_it_means(autojump_clock, code, reason, kind):
    async with talk(faults={"close_after": 8, "close_code": code, "close_reason": reason, "connections": 1}) as it:
        with pytest.raises(ProviderError) as caught:
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Again.")
    error = caught.value
    assert type(error) is kind
    assert (error.provider, error.code, error.reason) == ("deepgram", code, reason or None)
    assert error.request_id is not None
    assert it.runs(spoken.turn) == it.asked("Again.")


@pytest.mark.parametrize(
    ("limits", "kind", "code", "reason"),
    [
        ({"speak_limit": 50}, BadRequest, 1009, "BIG-0001"),
        ({"characters_limit": 50}, RateLimited, 1008, "DATA-0001"),
    ],
)
async def test_limits_lower_than_ours_are_reported_and_not_tried_again(autojump_clock, limits, kind, code, reason):
    async with talk(**limits) as it:
        with pytest.raises(kind) as caught:
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Short.")
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert it.runs(spoken.turn) == it.asked("Short.")
    assert it.server.connections == 2


@pytest.mark.parametrize("error_shape", ["description", "err_code"])
@pytest.mark.parametrize("after", [1, 8])
async def test_an_error_message_is_the_turns_error_in_either_shape(autojump_clock, error_shape, after):
    async with talk(error_shape=error_shape, faults={"error_frame": after, "connections": 1}) as it:
        with pytest.raises(ProviderError) as caught:
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Again.")
    error = caught.value
    assert (error.code, error.reason) == ("INTERNAL", "An internal error occurred.")
    assert "An internal error occurred." in str(error)
    assert it.runs(spoken.turn) == it.asked("Again.")


@pytest.mark.parametrize("insert", ["non_json", "wrong_shape"])
async def test_what_is_no_message_of_the_protocol_ends_the_turn(autojump_clock, insert):
    async with talk(faults={insert: 8, "connections": 1}) as it:
        with pytest.raises(ProtocolError):
            await it.tts.synthesize(LONG)
        spoken = await it.tts.synthesize("Again.")
    assert it.runs(spoken.turn) == it.asked("Again.")


async def test_a_provider_that_says_nothing_is_given_up_after_three_attempts(autojump_clock):
    async with talk(faults={"accept_silent": True}) as it:
        with pytest.raises(ProviderStalled):
            await it.tts.synthesize("Hello.")
        assert 15 <= trio.current_time() < 17


@pytest.mark.parametrize("limit", ["session_limit", "idle_timeout"])
async def test_a_connection_that_ends_between_turns_is_replaced(autojump_clock, limit):
    async with talk(**{limit: 10}) as it:
        for text in ("One.", "Two."):
            spoken = await it.tts.synthesize(text)
            await trio.sleep(20)
            assert it.runs(spoken.turn) == it.asked(text)
    assert it.server.connections == 2


async def test_timeouts_of_one_call_hold_for_that_call(autojump_clock):
    async with talk(faults={"stall_after": 4}) as it:
        with pytest.raises(ProviderStalled, match="for 1 s"):
            await it.tts.synthesize(LONG, response_timeout=1)
        assert trio.current_time() < 2
