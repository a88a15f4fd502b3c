"""The dialects that are there already, of a vendor whose messages are like no other's: lines of words."""

import base64

import pytest

from voicetrio._bodies import BodiesDialect
from voicetrio._dialect import Answered, Audio, Ended, Failed, Late, Reached, Reply, Spoken, TimesRestart
from voicetrio._inferred_contexts import InferredContextsDialect
from voicetrio._notice import Notice, NoticesDialect
from voicetrio._pipeline import PipelineDialect
from voicetrio._requests import RequestLine
from voicetrio.errors import BadRequest, LinkClosed, NoAudio, ProtocolError, RateLimited
from voicetrio.turn import Word

PCM, MORE = b"\1\0\2\0", b"\3\0"
SPEECH, SPEECH_MORE = (base64.b64encode(pcm).decode() for pcm in (PCM, MORE))


class Robin(NoticesDialect):
    """``OURS THEIRS`` (``-``: none), and any of ``audio=``, ``word=TEXT:START:END``, ``end=``, ``no=``, ``busy=``.

    Audio is in base64.
    """

    provider = "robin"

    def _read(self, message):
        try:
            ours, theirs, *rest = (None if word == "-" else word for word in message.split())
        except ValueError:
            raise ProtocolError("not a word of robin's", provider=self.provider) from None
        told = dict(each.split("=", 1) for each in rest)
        word, *times = told.get("word", "").split(":")
        return Notice(
            ours=ours,
            theirs=theirs,
            audio=told.get("audio", ""),
            words=(Word(word, *map(float, times)),) if word else (),
            done="end" in told,
            error=self._error(told, theirs),
        )

    def _error(self, told, theirs):
        if "busy" in told:
            return self.error(RateLimited, "busy", request_id=theirs)
        return self.error(BadRequest, told["no"], request_id=theirs) if "no" in told else None

    def _new_line(self, turn, options):
        return RequestLine(turn, self.provider, lambda each: f"{options} {each.id} {each.text}", 20, splitter=None)


class Pipeline(Robin, PipelineDialect):
    pass


class Bodies(Robin, BodiesDialect):
    def _refusal(self, body):
        return self.error(BadRequest, body)


class Contexts(Robin, InferredContextsDialect):
    def _part(self, context, text):
        return f"{context.options} {context.id} {'more' if text else 'last'} {text}"

    def _cancellation(self, context):
        return f"{context.options} {context.id} hush"


NAMES = ("pipeline", "contexts", "bodies")
EVERY = (
    lambda clock: Pipeline(clock, inferred_end=2.0),
    lambda clock: Contexts(clock, inferred_end=2.0, done_end=0.5),
    lambda clock: Bodies(clock, events=True),
)


class Hand:
    """A dialect, and what it has sent."""

    def __init__(self, dialect):
        self.it = dialect
        self.sent = []

    def speak(self, turn, *texts):
        self.it.begin(turn, "loud")
        for text in texts:
            self.sent += [*self.it.say(text), *self.it.flush()]
        self.sent += self.it.end()

    def id(self, number):
        return self.sent[number].split()[1]

    def receive(self, message):
        events = list(self.it.receive(message))
        self.sent += [event.message for event in events if isinstance(event, Reply)]
        return [event for event in events if not isinstance(event, Reply | TimesRestart)]


@pytest.fixture
def now():
    return [0.0]


def test_requests_over_a_websocket_are_heard_in_order(now):
    hand = Hand(Pipeline(lambda: now[0], inferred_end=2.0))
    hand.speak(1, "One.", "Two.")
    assert [message.split()[::2] for message in hand.sent] == [["loud", "One."]]
    assert hand.receive(f"{hand.id(0)} a audio={SPEECH}") == [Audio(1, PCM)]
    assert len(hand.sent) == 2  # our ids are told, so the next can be asked for
    assert hand.receive(f"{hand.id(1)} b audio={SPEECH_MORE}") == []
    assert hand.receive(f"{hand.id(1)} b word=two:0.5:0.75") == []
    word = Spoken(1, (Word("two", 0.5, 0.75),))
    assert hand.receive("- a end=") == [Reached(1, 4), Audio(1, MORE), word]
    assert hand.receive("- b end=") == [Reached(1, 8), Ended(1)]
    assert hand.receive(f"- b audio={SPEECH}") == [Late(4)]
    assert hand.it.request_id == "b"
    hand.speak(2, "Three.")
    assert hand.it.cancel(2) is None


def pipeline(now, turn=1):
    """A turn of three sentences, of which two are asked for, on a link that tells our ids."""
    hand = Hand(Pipeline(lambda: now[0], inferred_end=4.0))
    hand.speak(turn, "One.", "Two.", "Three.")
    hand.receive(f"{hand.id(0)} a")
    assert len(hand.sent) == 2
    return hand


def test_what_comes_in_one_message_is_heard_before_the_end_that_comes_with_it(now):
    word = Spoken(1, (Word("w", 0.0, 1.0),))
    whole = f"audio={SPEECH} word=w:0:1 end="

    hand = pipeline(now)
    assert hand.receive(f"{hand.id(1)} b {whole}") == []
    assert hand.receive(f"{hand.id(0)} a {whole}") == [
        *(Audio(1, PCM), word, Reached(1, 4)),
        *(Audio(1, PCM), word, Reached(1, 8)),
    ]
    assert hand.receive(f"{hand.id(2)} c {whole}") == [Audio(1, PCM), word, Reached(1, 14), Ended(1)]

    hand = Hand(Bodies(lambda: now[0], events=True))
    hand.speak(1, "One.")
    hand.receive("{}")
    assert hand.receive(f"data: - - {whole}\n\n".encode()) == [Audio(1, PCM), word]
    assert hand.receive(b"") == [Reached(1, 4), Ended(1)]

    hand = Hand(Contexts(lambda: now[0], inferred_end=2.0, done_end=0.5))
    hand.speak(1, "One.")
    assert hand.receive(f"{hand.id(0)} a {whole}") == [Audio(1, PCM), word]
    assert hand.it.expires == 0.5


def test_nothing_is_heard_that_comes_with_an_error(now):
    hand = Hand(Bodies(lambda: now[0], events=True))
    hand.speak(1, "One.")
    hand.receive("{}")
    refusal, more = f"data: - - no=because audio={SPEECH}\n\n", f"data: - - audio={SPEECH}\n\n"
    [failed] = hand.receive((refusal + more).encode())
    assert (failed.turn, failed.error.message) == (1, "because")


def test_where_our_ids_are_told_a_later_turn_asks_ahead_at_once(now):
    hand = pipeline(now)
    for number, name in enumerate("abc"):
        hand.receive(f"{hand.id(number)} {name} audio={SPEECH} end=")
    hand.speak(2, "Four.", "Five.", "Six.")
    assert [message.split()[2] for message in hand.sent] == ["One.", "Two.", "Three.", "Four.", "Five."]


def test_words_behind_audio_that_is_too_much_to_hold_go_with_it(now):
    hand = pipeline(now)
    megabyte = base64.b64encode(bytes(2**20)).decode()
    for _ in range(6):
        assert hand.receive(f"{hand.id(1)} b audio={megabyte} word=two:0:1") == []
    assert [len(request.held) for request in hand.it._line.requests] == [0, 0, 0]
    assert hand.receive(f"{hand.id(1)} b audio={SPEECH} end=") == [Late(4)]
    assert hand.receive(f"{hand.id(1)} b no=because") == []
    assert [len(request.held) for request in hand.it._past] == [0]
    assert hand.it.expires is None  # nothing of the first has come


def test_too_much_of_the_next_request_is_no_end_of_it(now):
    hand = pipeline(now)
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    hand.receive(f"{hand.id(1)} b audio={SPEECH}")
    now[0] = 0.5
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    hand.receive(f"{hand.id(1)} b audio={base64.b64encode(bytes(7 * 2**20)).decode()}")
    assert hand.it.expires == 0.5 + 4.0


def test_the_end_of_the_next_request_puts_no_inferred_end_off(now):
    hand = pipeline(now)
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    now[0] = 2.5
    hand.receive(f"{hand.id(1)} b audio={SPEECH}")
    assert hand.it.expires == 3.5
    now[0] = 2.8
    assert hand.receive(f"{hand.id(1)} b end=") == []
    assert hand.it.expires == 3.5


def test_the_id_that_is_told_is_of_what_is_heard(now):
    hand = pipeline(now)
    hand.receive(f"{hand.id(1)} b audio={SPEECH}")
    assert hand.it.request_id == "a"
    [failed] = hand.receive(f"{hand.id(1)} b no=because")
    assert failed.error.request_id == "b"

    hand = pipeline(now)
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    [failed] = hand.receive("- - no=because")  # so it is about what was asked for last
    assert (failed.error.request_id, hand.it.request_id) == (None, None)

    hand = pipeline(now)
    hand.receive(f"{hand.id(0)} a audio={SPEECH} end=")
    assert hand.it.request_id is None  # the next one's is not known
    *_, failed = hand.receive(f"{hand.id(1)} b end=")
    assert failed.error.request_id == "b"

    hand = pipeline(now)
    hand.receive(f"{hand.id(1)} b audio={SPEECH}")
    hand.receive(f"{hand.id(0)} a audio={SPEECH} end=")
    assert hand.it.request_id == "b"

    hand = Hand(Contexts(lambda: now[0], inferred_end=2.0, done_end=0.5))
    hand.speak(1, "One.")
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    hand.it.cancel(1)
    hand.speak(2, "Two.")
    hand.receive(f"{hand.id(2)} b audio={SPEECH}")
    assert hand.receive(f"{hand.id(0)} a audio={SPEECH}") == [Late(4)]
    assert hand.it.request_id == "b"


@pytest.mark.parametrize("whole", [True, False])
def test_where_audio_comes_behind_the_end_of_what_has_no_id_the_link_carries_no_more(whole, now):
    hand = Hand(Pipeline(lambda: now[0], inferred_end=4.0))
    hand.it.begin(1, "loud")
    hand.sent += [*hand.it.say("One."), *hand.it.flush()]
    if whole:
        assert list(hand.it.end()) == []
    hand.receive(f"- - audio={SPEECH} end=")
    assert not hand.it.spent
    late, *failed = hand.receive(f"- - audio={SPEECH}")
    assert late == Late(4)
    assert [type(event.error) for event in failed] == ([] if whole else [LinkClosed])
    assert hand.it.spent


def test_audio_that_is_known_to_be_no_ones_is_dropped(now):
    hand = Hand(Pipeline(lambda: now[0], inferred_end=4.0))
    hand.speak(1, "One.", "Two.")
    hand.receive(f"- a audio={SPEECH}")
    assert hand.receive(f"- z audio={SPEECH}") == [Late(4)]  # what is asked for has another id
    hand.receive("- a end=")
    hand.receive(f"{hand.id(1)} b audio={SPEECH} end=")
    assert hand.receive(f"- - audio={SPEECH}") == [Late(4)]  # what will be asked for has ours
    assert not hand.it.spent


def test_a_message_that_tells_nothing_may_be_of_two_requests(now):
    hand = pipeline(now)
    assert hand.receive("- -") == [Late(0)]
    for told in (f"audio={SPEECH}", "word=w:0:1", "end="):
        with pytest.raises(ProtocolError):
            hand.receive(f"- - {told}")


def test_nothing_is_asked_for_behind_a_request_without_audio(now):
    hand = pipeline(now)
    [failed] = hand.receive(f"{hand.id(0)} a end=")
    assert isinstance(failed.error, NoAudio)
    assert len(hand.sent) == 2


def test_an_error_of_a_context_of_the_past_fails_nothing(now):
    hand = Hand(Contexts(lambda: now[0], inferred_end=2.0, done_end=0.5))
    hand.speak(1, "One.")
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    hand.it.cancel(1)
    hand.speak(2, "Two.")
    assert hand.receive(f"{hand.id(0)} - no=because") == []
    assert hand.receive("- a no=because") == []
    for ids in ("- -", "- b", f"{hand.id(2)} a"):
        [failed] = hand.receive(f"{ids} no=because")
        assert failed.turn == 2
    hand.receive(f"{hand.id(2)} b audio={SPEECH}")
    assert len(hand.receive("- b no=because")) == 1
    hand.receive(f"{hand.id(2)} a audio={SPEECH}")
    assert len(hand.receive("- a no=because")) == 1
    hand.receive(f"{hand.id(2)} - audio={SPEECH}")
    list(hand.it.lapse())
    hand.speak(3, "Three.")
    assert hand.receive("- b no=because") == []
    assert len(hand.receive("- - no=because")) == 1


def test_what_was_over_before_the_text_was_complete_may_not_be_all_of_it(now):
    hand = Hand(Contexts(lambda: now[0], inferred_end=2.0, done_end=0.5))
    hand.it.begin(1, "loud")
    hand.sent += hand.it.say("One. Two")
    hand.receive(f"{hand.id(0)} a audio={SPEECH} end=")
    now[0] = 1.0
    hand.sent += hand.it.end()
    assert hand.it.expires == 3.0


def test_words_of_a_context_without_an_id_count_from_their_request(now):
    hand = Hand(Contexts(lambda: now[0], inferred_end=2.0, done_end=0.5))
    hand.speak(1, "One. Two.")
    for _ in range(2):
        events = list(hand.it.receive(f"{hand.id(0)} - audio={SPEECH}"))
        assert events == [TimesRestart(1), Audio(1, PCM)]
        assert list(hand.it.receive(f"{hand.id(0)} - audio={SPEECH}")) == [Audio(1, PCM)]
        hand.receive(f"{hand.id(0)} - end=")


@pytest.mark.parametrize("dialect", EVERY, ids=NAMES)
def test_a_turn_of_which_nothing_was_told_has_no_id(dialect, now):
    hand = Hand(dialect(lambda: now[0]))
    for turn in (1, 2):
        hand.speak(turn, "One.")
        assert hand.it.request_id is None
        hand.it.request_id = "of the first"
        hand.it.cancel(turn)


def test_a_request_that_comes_in_one_message_without_ids_is_heard(now):
    hand = Hand(Pipeline(lambda: now[0], inferred_end=4.0))
    hand.speak(1, "One.", "Two.")
    assert hand.receive(f"- - audio={SPEECH} end=") == [Audio(1, PCM), Reached(1, 4)]
    assert hand.receive(f"- - audio={SPEECH} end=") == [Audio(1, PCM), Reached(1, 8), Ended(1)]


def test_requests_of_a_context_that_come_in_one_message_each_have_an_end(now):
    hand = Hand(Contexts(lambda: now[0], inferred_end=2.0, done_end=0.5))
    hand.speak(1, "One.", "Two.")
    for now[0] in (1.0, 2.0, 3.0):
        assert hand.receive(f"{hand.id(0)} a audio={SPEECH} end=") == [Audio(1, PCM)]
        assert hand.it.expires == now[0] + 0.5


def test_an_error_of_what_is_past_fails_nothing(now):
    hand = pipeline(now)
    hand.receive(f"{hand.id(0)} a audio={SPEECH} end=")
    assert hand.receive(f"{hand.id(0)} a no=because") == []
    assert hand.receive("- a no=because") == []
    assert hand.it.awaiting


@pytest.mark.parametrize("ids", ["another -", "- another", "- -"])
def test_an_error_that_may_be_of_what_is_asked_for_fails_the_turn(ids, now):
    hand = pipeline(now)
    hand.receive(f"{hand.id(0)} a audio={SPEECH} end=")
    [failed] = hand.receive(f"{ids} no=because")
    assert failed.turn == 1


def test_a_refusal_that_is_told_twice_puts_a_request_off_once(now):
    hand = pipeline(now)
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    refused = f"{hand.id(1)} b busy="
    assert [type(event) for event in hand.receive(refused)] == [Answered]
    assert hand.receive(refused) == []
    assert hand.receive(f"{hand.id(1)} b audio={SPEECH}") == [Late(4)]
    hand.receive(f"{hand.id(0)} a end=")
    assert hand.receive(f"{hand.id(2)} b audio={SPEECH} end=") == [Audio(1, PCM), Reached(1, 8)]


@pytest.mark.parametrize("told", [True, False])
def test_behind_a_request_without_audio_comes_no_other_where_our_ids_are_not_told(told, now):
    hand = Hand(Pipeline(lambda: now[0], inferred_end=4.0))
    hand.speak(1, "One.")
    [*_, failed] = hand.receive(f"{hand.id(0) if told else '-'} a end=")
    assert isinstance(failed.error, NoAudio)
    assert hand.it.spent is not told


def test_a_request_without_an_end_is_over_after_silence(now):
    hand = Hand(Pipeline(lambda: now[0], inferred_end=2.0))
    hand.speak(1, "One.")
    hand.receive(f"{hand.id(0)} a audio={SPEECH}")
    assert hand.it.expires == now[0] + 2.0
    assert list(hand.it.lapse()) == [Reached(1, 4), TimesRestart(1), Ended(1, inferred=True)]


def test_bodies_of_events_are_heard(now):
    hand = Hand(Bodies(lambda: now[0], events=True))
    hand.speak(1, "One.")
    assert hand.receive('{"content-type":"text/event-stream"}') == []
    assert hand.receive(f"data: - a audio={SPEECH}\n\ndata: - a word=one:0:1\n\n".encode()) == [
        Audio(1, PCM),
        Spoken(1, (Word("one", 0.0, 1.0),)),
    ]
    assert hand.receive(b"data: - a end=\n\n") == []
    assert hand.receive(b"") == [Reached(1, 4), Ended(1)]


def test_a_response_without_an_id_has_not_that_of_the_one_before(now):
    hand = Hand(Bodies(lambda: now[0], events=False))
    hand.speak(1, "One.", "Two.")
    for headers, told in (('{"request-id":"a"}', "a"), ("{}", None)):
        assert hand.it.request_id is None
        hand.receive(headers)
        assert hand.it.request_id == told
        hand.receive(PCM)
        hand.receive(b"")


def test_an_event_may_tell_the_id(now):
    for headers, told in (('{"request-id":"a"}', "a"), ("{}", "b")):
        hand = Hand(Bodies(lambda: now[0], events=True))
        hand.speak(1, "One.")
        hand.receive(headers)
        hand.receive(f"data: - b audio={SPEECH}\n\n".encode())
        assert hand.it.request_id == told


def test_a_body_of_json_is_a_refusal(now):
    hand = Hand(Bodies(lambda: now[0], events=False))
    hand.speak(1, "One.")
    hand.receive('{"content-type":"application/json"}')
    hand.receive(b'"no"')
    [failed] = hand.receive(b"")
    assert (failed.turn, type(failed.error), failed.error.message) == (1, BadRequest, '"no"')


def test_a_context_is_over_after_silence_and_can_be_cancelled(now):
    hand = Hand(Contexts(lambda: now[0], inferred_end=2.0, done_end=0.5))
    hand.speak(1, "One. ", "Two.")
    name = hand.id(0)
    assert hand.sent == [f"loud {name} more One. ", f"loud {name} more Two.", f"loud {name} last "]
    assert hand.receive(f"{name} a audio={SPEECH}") == [Audio(1, PCM)]
    assert hand.it.expires == 2.0
    hand.receive(f"{name} a end=")
    assert hand.it.expires == 0.5
    assert list(hand.it.lapse()) == [Ended(1, inferred=True)]
    hand.speak(2, "Three.")
    assert hand.it.cancel(2) == (f"loud {hand.id(3)} hush",)
    assert hand.receive(f"{hand.id(3)} b audio={SPEECH}") == [Late(4)]


@pytest.mark.parametrize("dialect", EVERY[:2], ids=NAMES[:2])
def test_errors_and_what_is_not_understood(dialect, now):
    hand = Hand(dialect(lambda: now[0]))
    hand.speak(1, "One.")
    [failed] = hand.receive("- a no=because")
    assert isinstance(failed, Failed)
    assert (failed.turn, failed.error.message, failed.error.request_id) == (1, "because", "a")
    with pytest.raises(ProtocolError):
        hand.receive("gibberish")
    assert hand.receive(b"binary") == []
