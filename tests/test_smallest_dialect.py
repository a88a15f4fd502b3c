"""The dialects of Smallest AI by hand, message by message: what servers do that no simulator does."""

import json

import attrs
import pybase64
import pytest

from voicetrio._dialect import Audio, Ended, Failed, Late, Reached, Reply, Spoken, TimesRestart
from voicetrio.errors import LinkClosed, LinkStalled, NoAudio, ProtocolError, ProviderError, RateLimited
from voicetrio.smallest import SmallestAITTS

FIRST, SECOND, THIRD = "The first sentence is this. ", "The second sentence is another. ", "The third comes last."
PCM = b"\1\0\2\0"

SOCKET = {}
CONTEXTS = {"continuations": True}
HTTP = {"enable_streaming": False}
SSE = {"enable_streaming": False, "sse": True}


@attrs.define
class Hand:
    """A dialect, its time, and what it has sent, decoded."""

    it: object
    options: SmallestAITTS
    now: float = 0.0
    sent: list = attrs.Factory(list)

    def speak(self, turn, *texts, whole=True):
        self.it.begin(turn, self.options)
        for text in texts:
            self._send(self.it.say(text))
        return self._send(self.it.end()) if whole else []

    def _send(self, steps):
        steps = list(steps)
        self.sent += [json.loads(step) for step in steps if isinstance(step, str)]
        return [step for step in steps if not isinstance(step, str)]

    def receive(self, message):
        """What is handed on of a message, besides where times of words count from."""
        events = [event for event in self.it.receive(message) if not isinstance(event, TimesRestart)]
        self.sent += [json.loads(event.message) for event in events if isinstance(event, Reply)]
        return [event for event in events if not isinstance(event, Reply)]

    def lapse(self):
        self.now = self.it.expires
        return [event for event in self.it.lapse() if not isinstance(event, TimesRestart | Reply)]

    def id(self, number):
        return self.sent[number]["request_id"]


def by_hand(**options):
    options = SmallestAITTS(api_key="key", **options)
    hand = Hand(None, options)
    hand.it = options._new_dialect(lambda: hand.now)
    return hand


def notice(status, ours=None, theirs=None, audio=None, **more):
    message = {"status": status, "external_request_id": ours, "request_id": theirs, **more}
    if audio is not None:
        message["data"] = {"audio": pybase64.b64encode(audio).decode()}
    return json.dumps({name: value for name, value in message.items() if value is not None})


def event(**data):
    return f"data: {json.dumps(data)}\n\n".encode()


def audio_event(pcm=PCM):
    return event(audio=pybase64.b64encode(pcm).decode())


DONE = event(done=True)


def headers(kind=None):
    return json.dumps({"content-type": kind} if kind else {})


# Server-sent events


@pytest.mark.parametrize("rest", [b": bye", b"data: x\n", b"data:", b"event: x\n", b"\r", b"\xe2\x82"])
def test_what_a_response_leaves_unfinished_is_not_read_with_the_next(rest):
    hand = by_hand(**SSE)
    hand.speak(1, FIRST, SECOND)
    for end in (len(FIRST), len(FIRST + SECOND)):
        assert hand.receive(headers("text/event-stream")) == []
        assert hand.receive(audio_event() + audio_event() + DONE + rest) == [Audio(1, PCM), Audio(1, PCM)]
        assert hand.receive(b"")[0] == Reached(1, end)


def test_events_before_a_broken_one_are_heard():
    hand = by_hand(**SSE)
    hand.speak(1, FIRST)
    hand.receive(headers())
    events = iter(hand.it.receive(audio_event() + audio_event() + b"data: {broken\n\n"))
    assert [next(events), next(events)] == [Audio(1, PCM), Audio(1, PCM)]
    with pytest.raises(ProtocolError) as caught:
        next(events)
    assert caught.value.provider == "smallest"


def test_no_event_is_read_for_a_turn_that_was_cancelled_meanwhile():
    hand = by_hand(**SSE)
    hand.speak(1, FIRST)
    hand.receive(headers())
    events = iter(hand.it.receive(audio_event() + audio_event()))
    assert next(events) == Audio(1, PCM)
    assert hand.it.cancel(1) is None
    assert list(events) == []


def test_an_event_that_is_too_long_names_the_provider():
    hand = by_hand(**SSE)
    hand.speak(1, FIRST)
    hand.receive(headers())
    with pytest.raises(ProtocolError, match="8 MiB") as caught:
        hand.receive(b"data: " + b"x" * 2**23)
    assert caught.value.provider == "smallest"


def test_a_body_that_does_not_end_though_all_was_said_ends_the_turn_and_the_link():
    hand = by_hand(**SSE)
    hand.speak(1, FIRST)
    hand.receive(headers())
    assert hand.receive(audio_event() + DONE) == [Audio(1, PCM)]
    assert not hand.it.spent
    assert hand.it.expires == 0.5
    assert hand.lapse() == [Reached(1, len(FIRST)), Ended(1)]
    assert hand.it.spent
    assert hand.it.expires is None


def test_behind_a_body_that_does_not_end_a_turn_goes_on_elsewhere():
    hand = by_hand(**SSE)
    hand.speak(1, FIRST, SECOND)
    hand.receive(headers())
    hand.receive(audio_event() + DONE)
    reached, failed = hand.lapse()
    assert reached == Reached(1, len(FIRST))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, LinkClosed)  # which is tried again, from there
    assert len(hand.sent) == 1


def test_comments_are_no_sign_that_a_request_is_answered():
    hand = by_hand(**SSE)
    hand.speak(1, FIRST)
    hand.receive(headers())
    assert hand.receive(b": ping\n\n") == []
    assert hand.it.awaiting


# Bodies that are no audio


@pytest.mark.parametrize("mode", [HTTP, SSE], ids=["http", "sse"])
@pytest.mark.parametrize("kind", ["application/json", "application/problem+json; charset=utf-8"])
@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b'{"error":"insufficient credits"}', ProviderError, "insufficient credits"),
        (b'{"status":"error","message":"Too many requests"}', RateLimited, "Too many requests"),
        (b'{"message":"go away"}', ProviderError, "go away"),
        (b"{}", ProviderError, "an error without a word"),
    ],
)
def test_a_response_that_is_json_is_a_refusal(mode, kind, body, error, words):
    hand = by_hand(**mode)
    hand.speak(1, FIRST)
    assert hand.receive(headers(kind)) == []
    assert hand.receive(body[:1]) + hand.receive(body[1:]) == []
    [refused] = hand.receive(b"")
    assert (type(refused), type(refused.error), refused.error.message) == (Failed, error, words)


@pytest.mark.parametrize("body", [b"", b"[]", b"no", b"\xff"])
def test_a_refusal_that_is_not_understood_is_an_error(body):
    hand = by_hand(**HTTP)
    hand.speak(1, FIRST)
    hand.receive(headers("application/json"))
    hand.receive(body or b" ")
    with pytest.raises(ProtocolError):
        hand.receive(b"")


def test_a_refusal_without_an_end_is_an_error():
    hand = by_hand(**HTTP)
    hand.speak(1, FIRST)
    hand.receive(headers("application/json"))
    with pytest.raises(ProtocolError, match="long"):
        for _ in range(3):
            hand.receive(b" " * 2**15)


@pytest.mark.parametrize(
    ("mode", "kind"), [(HTTP, "text/html"), (HTTP, "audio/mpeg"), (HTTP, "text/event-stream"), (SSE, "text/html")]
)
def test_a_response_of_another_type_is_an_error(mode, kind):
    hand = by_hand(**mode)
    hand.speak(1, FIRST)
    with pytest.raises(ProtocolError, match=kind):
        hand.receive(headers(f"{kind}; charset=utf-8"))


@pytest.mark.parametrize(
    "kind", [None, "audio/pcm", "audio/wav", "Audio/X-WAV", "audio/l16;rate=24000", "application/octet-stream"]
)
def test_audio_is_heard_by_whatever_type(kind):
    hand = by_hand(**HTTP)
    hand.speak(1, FIRST)
    assert hand.receive(headers(kind)) == []
    assert hand.receive(PCM) == [Audio(1, PCM)]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_wav_file_is_no_bare_audio(cut):
    hand = by_hand(**HTTP)
    hand.speak(1, FIRST)
    hand.receive(headers("audio/wav"))
    with pytest.raises(ProtocolError, match="WAV"):
        for piece in (b"RIFF....WAVE"[:cut], b"RIFF....WAVE"[cut:]):
            assert hand.receive(piece) == []


@pytest.mark.parametrize("size", [2, 3, 4, 5, 9])
def test_a_short_body_in_single_bytes_is_heard_whole(size):
    hand = by_hand(**HTTP)
    hand.speak(1, FIRST)
    hand.receive(headers())
    events = [each for byte in range(1, size + 1) for each in hand.receive(bytes([byte]))] + hand.receive(b"")
    assert b"".join(each.pcm for each in events if isinstance(each, Audio)) == bytes(range(1, size + 1))
    assert events[-2:] == [Reached(1, len(FIRST)), Ended(1)]


# Requests over a websocket


def asked(*texts, **options):
    """A turn, asked of a server that tells our ids: at most two of its sentences are asked for at a time."""
    hand = by_hand(**options)
    hand.speak(1, *(texts or (FIRST, SECOND)))
    hand.receive(notice("started", ours=hand.id(0), theirs="s1"))
    assert len(hand.sent) == min(2, len(texts or (FIRST, SECOND)))
    return hand


def test_a_sentence_is_over_a_second_after_the_next_has_begun_whatever_comes_of_that():
    hand = asked()
    assert hand.receive(notice("chunk", hand.id(0), "s1", PCM)) == [Audio(1, PCM)]
    assert hand.it.expires == 4.5
    for hand.now in (0.5, 0.9, 1.3):
        hand.receive(notice("chunk", hand.id(1), "s2", PCM))
        assert hand.it.expires == 1.5
    assert hand.lapse() == [Reached(1, len(FIRST)), Audio(1, PCM), Audio(1, PCM), Audio(1, PCM)]
    assert hand.it.expires == 1.5 + 4.5  # of the second now, which may end without a word, too
    assert hand.it.spent


def test_a_sentence_that_speaks_again_beside_the_next_is_not_over():
    hand = asked()
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    hand.receive(notice("chunk", hand.id(1), "s2", PCM))
    hand.now = 0.8
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    hand.receive(notice("chunk", hand.id(1), "s2", PCM))
    assert hand.it.expires == 0.8 + 4.5


def test_what_nobody_listened_for_is_no_silence():
    hand = asked()
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    hand.it.missed(3.0)
    assert hand.it.expires == 4.5 + 3.0


@pytest.mark.parametrize("status", ["alive", "", "chunk"])
def test_a_message_that_tells_nothing_restarts_no_wait(status):
    hand = asked()
    for hand.now in (1.0, 2.0):
        assert hand.receive(notice(status, hand.id(0), "s1")) == []  # no event: the watchdog goes on
    assert hand.it.awaiting
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    hand.now = 3.0
    assert hand.receive(notice(status, hand.id(0), "s1")) == []
    assert hand.it.expires == 2.0 + 4.5


@pytest.mark.parametrize(
    ("status", "data"),
    [
        ("preview", {"audio": pybase64.b64encode(PCM).decode()}),
        ("preview", {"word": "The", "start": 0.0, "end": 0.2}),
        ("word_timestamp", {"word": "", "start": 0.0, "end": 0.2}),
        ("word_timestamp", None),
    ],
)
def test_what_is_neither_audio_nor_a_word_is_passed_over(status, data):
    hand = asked()
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    hand.now = 1.0
    assert list(hand.it.receive(notice(status, hand.id(0), "s1", data=data))) == []
    assert hand.it.expires == 4.5


@pytest.mark.parametrize("ids", [{"ours": ""}, {"theirs": ""}])
def test_an_empty_id_is_none(ids):
    hand = by_hand()
    hand.speak(1, FIRST, SECOND)
    assert hand.receive(notice("chunk", audio=PCM, **ids)) == [Audio(1, PCM)]
    _, failed = hand.lapse()
    assert isinstance(failed.error, LinkClosed)  # as where nothing has an id


@pytest.mark.parametrize("mode", [SOCKET, CONTEXTS], ids=["socket", "continuations"])
def test_an_error_tells_its_own_request(mode):
    hand = by_hand(**mode)
    hand.speak(1, FIRST)
    [failed] = hand.receive(notice("error", theirs="s1", message="It broke."))
    assert (failed.turn, failed.error.request_id) == (1, "s1")


def test_what_comes_of_the_next_sentence_is_no_answer_for_the_first():
    hand = asked()
    assert hand.receive(notice("chunk", hand.id(1), "s2", PCM)) == []
    assert hand.it.awaiting


@pytest.mark.parametrize("named", [True, False])
def test_late_audio_of_a_sentence_whose_end_was_inferred_is_an_error(named):
    hand = by_hand()
    hand.speak(1, FIRST, SECOND)
    ours = hand.id(0) if named else None
    hand.receive(notice("chunk", ours, "s1", PCM))
    assert hand.lapse() == [Reached(1, len(FIRST))]
    with pytest.raises(ProtocolError, match="inferred"):
        hand.receive(notice("chunk", ours, "s1", PCM))


def test_where_nothing_has_an_id_a_turn_goes_on_elsewhere_behind_an_inferred_end():
    hand = by_hand()
    hand.speak(1, FIRST, SECOND)
    hand.receive(notice("chunk", audio=PCM))
    reached, failed = hand.lapse()
    assert reached == Reached(1, len(FIRST))
    assert isinstance(failed.error, LinkClosed)
    assert hand.it.spent


def test_an_end_that_is_told_twice_without_an_id_is_not_that_of_the_next_sentence():
    hand = by_hand()
    hand.speak(1, FIRST, SECOND)
    hand.receive(notice("chunk", audio=PCM))
    assert hand.receive(notice("complete")) == [Reached(1, len(FIRST))]
    assert hand.receive(notice("complete")) == [Late(0)]
    assert hand.receive(notice("chunk", audio=PCM)) == [Audio(1, PCM)]
    assert hand.receive(notice("complete")) == [Reached(1, len(FIRST + SECOND)), Ended(1)]


def test_audio_without_our_id_is_of_the_sentence_that_it_can_be_of():
    hand = asked()
    assert hand.receive(notice("chunk", theirs="s2", audio=b"\3\0")) == []  # held: the first has another id
    assert hand.receive(notice("chunk", hand.id(0), "s1", PCM)) == [Audio(1, PCM)]
    assert hand.receive(notice("complete", theirs="s1")) == [Reached(1, len(FIRST)), Audio(1, b"\3\0")]


def test_audio_that_may_be_of_two_sentences_is_an_error():
    hand = asked()
    with pytest.raises(ProtocolError, match="two"):
        hand.receive(notice("chunk", audio=PCM))


def test_audio_that_is_held_is_bounded_and_asked_for_again():
    hand = asked(FIRST, SECOND, THIRD)
    megabyte = bytes(2**20)
    for _ in range(5):
        assert hand.receive(notice("chunk", hand.id(1), "s2", megabyte)) == []
    held = [len(request.held) for request in hand.it._line.requests]
    assert held == [0, 5, 0]
    assert hand.receive(notice("chunk", hand.id(1), "s2", megabyte)) == []
    assert [len(request.held) for request in hand.it._line.requests] == [0, 0, 0]
    assert hand.receive(notice("chunk", hand.id(1), "s2", megabyte)) == [Late(2**20)]
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    assert hand.receive(notice("complete", hand.id(0), "s1")) == [Reached(1, len(FIRST))]
    assert [message["text"] for message in hand.sent] == [FIRST, SECOND, SECOND]
    assert hand.receive(notice("chunk", hand.id(2), "s3", PCM)) == [Audio(1, PCM)]


def test_late_audio_is_counted_and_not_decoded():
    hand = asked(FIRST)
    for status in ("chunk", "complete"):
        hand.receive(notice(status, hand.id(0), "s1", PCM))
    broken = notice("chunk", "another", "s0")[:-1] + ',"data":{"audio":"!!!!"}}'
    assert hand.receive(broken) == [Late(3)]


def test_data_may_be_null():
    hand = asked()
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    assert hand.receive(notice("complete", hand.id(0), "s1")[:-1] + ',"data":null}') == [Reached(1, len(FIRST))]


def test_words_count_from_their_own_sentence():
    hand = asked(word_timestamps=True)
    word = notice("word_timestamp", hand.id(1), "s2")[:-1] + ',"data":{"word":"The","start":0.5,"end":0.75}}'
    assert list(hand.it.receive(word)) == []
    hand.receive(notice("chunk", hand.id(0), "s1", PCM))
    events = list(hand.it.receive(notice("complete", hand.id(0), "s1")))
    assert events[:2] == [Reached(1, len(FIRST)), TimesRestart(1)]
    assert isinstance(events[2], Spoken)
    assert events[2].words[0].start == 0.5


@pytest.mark.parametrize(("text", "silent"), [("...", True), ("A.", False)])
def test_only_punctuation_may_be_silent(text, silent):
    hand = by_hand()
    hand.speak(1, text)
    [*_, last] = hand.receive(notice("complete", hand.id(0), "s1"))
    assert last == Ended(1) if silent else isinstance(last.error, NoAudio)


# Contexts


def context(hand, turn):
    """A turn of which something is heard; its id."""
    hand.speak(turn, FIRST)
    name = hand.sent[-1]["context_id"]
    assert hand.receive(notice("chunk", name, f"r{turn}", PCM)) == [Audio(turn, PCM)]
    return name


def test_in_a_later_turn_what_names_nothing_is_not_its_own():
    hand = by_hand(**CONTEXTS)
    context(hand, 1)
    hand.it.cancel(1)
    context(hand, 2)
    assert hand.receive(notice("chunk", theirs="r1", audio=PCM)) == [Late(4)]
    assert hand.receive(notice("chunk", audio=PCM)) == [Late(4)]
    assert hand.receive(notice("chunk", theirs="r2", audio=PCM)) == [Audio(2, PCM)]  # is known to be of this turn


def test_audio_of_another_context_puts_no_end_off():
    hand = by_hand(**CONTEXTS)
    old = context(hand, 1)
    hand.it.cancel(1)
    name = context(hand, 2)
    hand.receive(notice("complete", name, "r2"))
    assert hand.it.expires == 0.6
    hand.now = 0.5
    assert hand.receive(notice("chunk", old, "r1", PCM)) == [Late(4)]
    assert hand.it.expires == 0.6


@pytest.mark.parametrize("status", ["alive", "complete", "chunk"])
def test_what_tells_nothing_of_a_context_puts_no_end_off(status):
    hand = by_hand(**CONTEXTS)
    name = context(hand, 1)
    hand.receive(notice("complete", name, "r1"))
    hand.now = 0.4
    assert hand.receive(notice(status, name, "r1")) == []
    assert hand.it.expires == 0.6
    assert hand.lapse() == [Ended(1, inferred=True)]
    assert hand.it.expires is None


def test_a_complete_from_before_the_last_text_does_not_end_a_context_early():
    hand = by_hand(**CONTEXTS)
    hand.speak(1, FIRST, whole=False)
    name = hand.sent[-1]["context_id"]
    hand.receive(notice("chunk", name, "r1", PCM))
    hand.receive(notice("complete", name, "r1"))
    hand._send(hand.it.say(SECOND))
    hand._send(hand.it.end())
    assert hand.it.expires == 4.5


def test_a_cancelled_context_that_speaks_on_costs_the_link():
    hand = by_hand(**CONTEXTS)
    name = context(hand, 1)
    [_] = hand.it.cancel(1)
    hand.speak(2, SECOND)
    hand.now = 1.0
    assert hand.receive(notice("chunk", name, "r1", PCM)) == [Late(4)]
    hand.now = 1.1
    late, failed = hand.receive(notice("chunk", name, "r1", PCM))
    assert late == Late(4)
    assert (failed.turn, type(failed.error)) == (None, LinkStalled)


def test_a_cancelled_context_that_speaks_on_leaves_a_turn_that_is_heard_alone():
    hand = by_hand(**CONTEXTS)
    name = context(hand, 1)
    hand.it.cancel(1)
    context(hand, 2)
    hand.now = 1.1
    assert not hand.it.spent
    assert hand.receive(notice("chunk", name, "r1", PCM)) == [Late(4)]
    assert hand.it.spent


def test_a_cancelled_context_that_is_not_listened_to_is_not_held_to_speak_on():
    hand = by_hand(**CONTEXTS)
    name = context(hand, 1)
    hand.it.cancel(1)
    hand.it.missed(5.0)
    hand.now = 5.5
    assert hand.receive(notice("chunk", name, "r1", PCM)) == [Late(4)]


@pytest.mark.parametrize("mode", [SOCKET, HTTP, SSE, CONTEXTS], ids=["socket", "http", "sse", "continuations"])
@pytest.mark.parametrize("step", ["say", "flush", "end"])
def test_steps_are_worked_out_when_they_are_asked_for(mode, step):
    """Until then the turn may be cancelled, and its session looks whether it is."""
    hand = by_hand(**mode)
    hand.speak(1, whole=False)
    getattr(hand.it, step)(*["Hello."] * (step == "say"))
    hand.it.cancel(1)
    getattr(hand.it, step)(*["Hello."] * (step == "say"))
