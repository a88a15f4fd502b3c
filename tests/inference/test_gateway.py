import struct

import pytest

from voicetrio.errors import AuthenticationError, BadRequest, ConfigurationError, ProtocolError, RateLimited
from voicetrio.inference._gateway import decode, gateway_endpoint, json_object, message, provider_name
from voicetrio.inference._wav_header import WavHeaders


def wav(pcm: bytes, *, rate: int = 24_000, channels: int = 1, more: bytes = b"") -> bytes:
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + fmt + more + b"data" + struct.pack("<I", len(pcm)) + pcm
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_the_token_is_percent_encoded_and_not_shown() -> None:
    endpoint = gateway_endpoint(
        "https://gateway.test", "/v1/tts", provider="google", token="a+b/c=d", model_id="x y", greeting="{}", more={}
    )
    assert endpoint.url == "wss://gateway.test/v1/tts?provider=google&secret=a%2Bb%2Fc%3Dd&modelId=x+y"
    target = endpoint.target("videosdk")
    assert "a+b" not in target.printable("the token a+b/c=d is wrong")
    assert "secret" not in target.shown


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"type":"error","data":{"error":"rate limit reached"}}', RateLimited),
        ('{"type":"error","data":"Invalid voice"}', BadRequest),
        ('{"type":"error","message":"Unauthorized"}', AuthenticationError),
        ('{"type":"error","error":{"message":"status 429"}}', RateLimited),
        ('{"type":"error","data":null}', Exception),
        ('{"error":"Invalid voice"}', BadRequest),
        ('{"type":"error","data":{"message":"token expired"}}', AuthenticationError),
    ],
)
def test_errors_of_every_shape_are_errors(text: str, kind: type[Exception]) -> None:
    notice = decode(text)
    assert notice is not None
    assert isinstance(notice.failure(), kind)


def test_plain_words_are_an_acknowledgement_unless_they_complain() -> None:
    assert decode("success") is None
    assert decode("OK, flushed") is None
    assert decode("") is None
    with pytest.raises(BadRequest):
        decode("error: invalid config")


@pytest.mark.parametrize("text", ["[1,2]", "{not json", '{"type":3}'])
def test_json_of_another_shape_is_not_understood(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode(text)


def test_messages_and_names() -> None:
    assert message("flush") == '{"type":"flush"}'
    assert message("text", "né") == '{"type":"text","data":"né"}'
    assert provider_name("sarvam") == "sarvamai"
    assert provider_name("google") == "google"
    assert json_object({"a": [1, None]}) == {"a": [1, None]}
    with pytest.raises(ConfigurationError):
        json_object({"a": object()})


def test_a_header_is_stripped_wherever_a_message_begins_with_one() -> None:
    headers = WavHeaders(24_000, 1, "videosdk")
    assert headers.strip(wav(b"abcd")) == b"abcd"
    assert headers.strip(b"efgh") == b"efgh"
    assert headers.strip(wav(b"ijkl", more=b"LIST" + struct.pack("<I", 3) + b"abc\0")) == b"ijkl"
    assert headers.strip(b"") == b""
    assert headers.strip(b"RIFFraffWAFF") == b"RIFFraffWAFF"
    assert headers.strip(b"RIFFraff") + headers.rest() == b"RIFFraff"
    assert headers.strip(wav(b"mnop")) + headers.rest() == b"mnop"


def test_a_header_may_be_split_anywhere() -> None:
    whole = wav(b"abcd")
    for cut in range(len(whole) + 1):
        headers = WavHeaders(24_000, 1, "videosdk")
        assert headers.strip(whole[:cut]) + headers.strip(whole[cut:]) == b"abcd", cut


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (24_000, 2)])
def test_a_header_of_other_audio_is_an_error(rate: int, channels: int) -> None:
    with pytest.raises(ProtocolError, match=str(rate)):
        WavHeaders(24_000, 1, "videosdk").strip(wav(b"abcd", rate=rate, channels=channels))


def test_a_header_without_an_end_is_an_error() -> None:
    headers = WavHeaders(24_000, 1, "videosdk")
    with pytest.raises(ProtocolError):
        for _ in range(10):
            headers.strip(wav(b"")[:36] + b"LIST" + struct.pack("<I", 10**6) + bytes(5000))


def test_a_config_that_is_nested_too_deeply_is_refused() -> None:
    config: dict[str, object] = {}
    for _ in range(5_000):
        config = {"a": config}
    with pytest.raises(ConfigurationError, match="JSON can carry"):
        json_object(config)
