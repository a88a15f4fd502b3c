"""Smallest AI's Waves text-to-speech, simulated: the websocket ``/waves/v1/tts/live``, and HTTP.

Messages, fields and endpoints are those of Smallest's SDK (smallestai 5.14) and of its published specification; what a
context is, those of the clients that use continuations.  Where these disagree or are silent, :class:`SmallestOptions`
has a switch and its default is the stricter reading: a client that works with the default does not rely on what is not
promised.

Served are

- the websocket ``/waves/v1/tts/live``, classic requests and contexts;
- ``POST /waves/v1/tts``, the audio as the body, and ``POST /waves/v1/tts/live``, server-sent events;
- the same by model, as they were before: the websocket ``/waves/v1/{model}/get_speech/stream`` and
  ``POST /waves/v1/{model}/get_speech`` and ``…/stream``, for lightning-v3.1; the older models are gone with 410.

The audio is tagged (see :mod:`voicetrio.simulators.tagged`).  A segment is what is spoken in one go: a classic request,
a sentence of one whose text came in fragments, a release of a context, an HTTP request.  Audio in mu-law and A-law is
that PCM encoded, of which only the length and the upper bits survive; mp3 is refused.

Over HTTP, a chunk of audio counts as a message for the faults (see :mod:`voicetrio.simulators._http_body`).
"""

from __future__ import annotations

import json
import re
import weakref
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from ._checks import at_least, positive
from ._smallest_account import Account
from ._smallest_http import HttpSpeech
from ._smallest_request import RequestError, decode, parse
from ._smallest_session import SmallestSession, error_message, redacted
from ._speaker import SpeechOptions, SpeechSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._server import Connection, Server
    from ._speech import Voice

__all__ = ["SmallestOptions", "SmallestSimulator"]

_PATH = re.compile(r"/waves/v1/(?:(?P<model>lightning[\w.-]*)/)?(?P<end>[a-z_/]+?)/?$")

LIVING_MODEL = "lightning-v3.1"
"""The model that can still be had by its own path."""

ENDPOINTS: dict[tuple[bool, str], tuple[bool, Literal["audio", "events"] | None]] = {
    (False, "tts"): (False, "audio"),
    (False, "tts/live"): (True, "events"),
    (True, "get_speech"): (False, "audio"),
    (True, "get_speech/stream"): (True, None),
    (True, "stream"): (False, "events"),
}
"""By whether the path names a model, and by its end: whether it is a websocket, and what a POST is answered with."""


@attrs.frozen(kw_only=True)
class SmallestOptions(SpeechOptions):
    """How the simulated Smallest behaves, besides what all voices have.  Times are in seconds unless named otherwise.

    Attributes:
        concurrent_limit: websockets open at once before the next gets 429; None for no limit.  (Smallest: five times
            the running requests.)
        running_limit: requests that are spoken at once, over all sockets and HTTP; None for no limit.  (Smallest: by
            plan, 1 to 10.)  A request runs until its last audio was sent, a context as long as it has something to say.
        excess: one request more gets an error (a frame, or 429), or waits in a queue.
        idle_timeout: seconds without a message from the client after which an error is sent and the websocket closed;
            None for no limit.  A client sets its own by ``?timeout=``.
        session_limit: seconds after which a websocket is closed; None for no limit.

        legacy: whether the paths that name a model work for lightning-v3.1, or are gone with 410 for all.
        voices: the voices that there are, separated by spaces; None for any that is well-formed.
        word_voices: the voices that tell the times of words, separated by spaces.
        text_limit: characters of one message's text; None for no limit.  (Smallest: 250, but not seen enforced.)
        flush_only_refused: whether a message that has no text is refused: ``flush`` alone always, an empty text when
            none came before that could be flushed.
        pings: whether ``{"type": "ping"}`` is answered by ``{"type": "pong"}``; otherwise it is refused.

        echo: whether the client's `session_id` and `request_id` come back, as ``external_…``.
        error_shape: an error frame's message is its ``message``, or lies in ``error`` with a code.
        error_ids: whether an error frame names the request.
        backoff_clamp: milliseconds that `complete` comes after the last audio at least, whatever is asked for; None for
            as asked for.
        close_after_complete: whether the websocket is closed after a `complete`, once nothing else is asked for.
        interleave: whether the requests of a websocket are spoken at the same time, a chunk of each in turn; otherwise
            one after the other.

        completes: the `complete` frames of a context: one for each release, one once it is closed, or none.
        cancel: what `cancel_request` does: cuts off what is said (``immediate``), lets it end but says nothing further
            (``run_on``), or nothing.
        cancel_ack: whether it is answered by a `complete`, once what it cut off is over.
        late_frames: chunks of what it cut off that are sent after it.

        end_marker: `complete`, or the event with ``done``, is sent as it should, never, `end_marker_delay` late, or
            twice.  For audio as a body, ``none`` closes TCP before the body's end, and ``late`` delays that end.
        end_marker_delay: seconds.
        audio_before_asked: send this many chunks of audio right after a websocket was accepted, as a segment of their
            own, at 44100 Hz.

        sse_crlf: whether lines of server-sent events end in CR LF.
        wav_length: whether a wav file's head tells its length, or 0xFFFFFFFF, as what is streamed has to.
    """

    running_limit: int | None = attrs.field(default=None, validator=at_least(1))
    excess: Literal["queue", "error"] = "error"
    idle_timeout: float | None = attrs.field(default=60.0, validator=positive)

    legacy: Literal["works", "gone"] = "works"
    voices: str | None = None
    word_voices: str = "meher devansh kartik maithili liam avery"
    text_limit: int | None = attrs.field(default=None, validator=at_least(0))
    flush_only_refused: bool = True
    pings: bool = False

    echo: bool = True
    error_shape: Literal["message", "error"] = "message"
    error_ids: bool = True
    backoff_clamp: int | None = attrs.field(default=None, validator=at_least(0))
    close_after_complete: bool = False
    interleave: bool = False

    completes: Literal["each", "once", "none"] = "each"
    cancel: Literal["immediate", "run_on", "ignored"] = "immediate"
    cancel_ack: Literal["none", "complete"] = "none"
    late_frames: int = attrs.field(default=0, validator=at_least(0))

    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    audio_before_asked: int = attrs.field(default=0, validator=at_least(0))

    sse_crlf: bool = False
    wav_length: Literal["exact", "unknown"] = "unknown"


class SmallestSimulator(SpeechSimulator[SmallestOptions]):
    """A server that speaks Smallest's protocol.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    path: ClassVar[str] = "/waves/v1/tts/live"

    def __init__(self, options: SmallestOptions | None = None, *, voice: Voice | None = None) -> None:
        super().__init__(SmallestOptions() if options is None else options, voice)
        self._accounts: weakref.WeakKeyDictionary[Server[SmallestOptions], Account] = weakref.WeakKeyDictionary()

    async def handle(self, connection: Connection[SmallestOptions]) -> None:
        """Check the request, path, key, limits, then speak."""
        request, options = connection.request, connection.options
        path = _PATH.search(request.path)
        endpoint = None if path is None else ENDPOINTS.get((path["model"] is not None, path["end"]))
        if path is None or endpoint is None:
            await self._refuse(connection, 404)
            return
        model: str | None = path["model"]
        socket, post = endpoint
        if model is not None and (options.legacy == "gone" or model != LIVING_MODEL):
            await self._refuse(connection, 410, f"The model {model} is deprecated. Use lightning_v3.1.")
        elif not _authorized(request.headers.get("authorization", ""), options):
            await self._refuse(connection, 401)
        elif request.upgrade and socket:
            await self._serve_socket(connection)
        elif request.method == "POST" and post is not None:
            await self._serve_post(connection, events=post == "events")
        else:
            await self._refuse(connection, 405)

    def refusal(self, connection: Connection[SmallestOptions], status: int) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal, as Smallest words it."""
        return self._refusal(connection, status, None)

    def inserts(self, connection: Connection[SmallestOptions]) -> Mapping[str, str]:
        """The messages that faults insert."""
        error = error_message(connection.options, RequestError("Internal server error", "INTERNAL_ERROR"))
        return {
            **super().inserts(connection),
            "unknown_message": json.dumps({"status": "from_the_future", "data": {"since": 2031}}),
            "wrong_shape": json.dumps([{"status": None}]),
            "error_frame": json.dumps(error),
        }

    async def _serve_socket(self, connection: Connection[SmallestOptions]) -> None:
        account, options = self._account(connection.server), connection.options
        if options.concurrent_limit is not None and account.sockets >= options.concurrent_limit:
            await self._refuse(connection, 429)
            return
        account.sockets += 1
        try:
            peer = await connection.accept()
            await SmallestSession(connection, peer, account, _timeout(connection), self.voice).run()
        finally:
            account.sockets -= 1

    async def _serve_post(self, connection: Connection[SmallestOptions], *, events: bool) -> None:
        account, body = self._account(connection.server), connection.request.body
        connection.log("received", message=redacted(body.decode("utf-8", "replace")))
        try:
            message = decode(body)
            request = parse(message, connection.options)
            if not (message.text or "").strip():
                raise RequestError("Invalid input data: text is required")
        except RequestError as error:
            await self._refuse(connection, 400, error.message)
            return
        if account.full and not account.queues:
            await self._refuse(connection, 429)
            return
        inserts = self.inserts(connection)
        speech = HttpSpeech(connection, message.text or "", request, account, self.voice, inserts)
        await (speech.answer_events() if events else speech.answer_audio())

    def _account(self, server: Server[SmallestOptions]) -> Account:
        if server not in self._accounts:
            reference = weakref.ref(server)

            def options() -> SmallestOptions:
                served = reference()
                return self.options if served is None else served.options

            self._accounts[server] = Account(options)
        return self._accounts[server]

    def _refusal(
        self, connection: Connection[SmallestOptions], status: int, message: str | None
    ) -> tuple[list[tuple[str, str]], bytes]:
        error, usual = _REFUSALS.get(status, ("Internal Server Error", f"Status {status}."))
        body: dict[str, str] = {"error": error, "message": message or usual}
        if status == 410:
            body = {"status": "error", "error_code": "MODEL_DEPRECATED", "message": message or usual}
        headers = [("Content-Type", "application/json"), ("x-request-id", connection.request_id)]
        return headers, json.dumps(body).encode()

    async def _refuse(self, connection: Connection[SmallestOptions], status: int, message: str | None = None) -> None:
        headers, body = self._refusal(connection, status, message)
        retry_after = connection.faults.retry_after
        if status == 429 and retry_after is not None:
            headers.append(("Retry-After", f"{retry_after:.15g}"))
        if connection.request.upgrade:
            await connection.refuse(status, headers=headers, body=body)
        else:
            await connection.answer(status, headers=headers, body=body)


_REFUSALS = {
    400: ("Bad Request", "Invalid input data"),
    401: ("Unauthorized", "Invalid or missing API key."),
    403: ("Forbidden", "This account has no access to the requested model."),
    404: ("Not Found", "Cannot find this path."),
    405: ("Method Not Allowed", "Only POST and websockets are served here."),
    410: ("Gone", "This model is deprecated."),
    429: ("Too Many Requests", "Concurrency limit exceeded."),
    500: ("Internal Server Error", "Something went wrong."),
    503: ("Service Unavailable", "The service is temporarily unavailable."),
}


def _authorized(authorization: str, options: SmallestOptions) -> bool:
    """Whether the Authorization header holds a good key: ``Bearer`` and the key."""
    scheme, _, key = authorization.strip().partition(" ")
    return scheme.lower() == "bearer" and options.accepts(key.strip())


def _timeout(connection: Connection[SmallestOptions]) -> float | None:
    """Seconds that a websocket may be idle: what the query asks for, if that is a whole number over 0."""
    wanted = dict(connection.request.query).get("timeout", "")
    if wanted.isascii() and wanted.isdigit() and 0 < len(wanted.lstrip("0")) < 10:
        return int(wanted)
    return connection.options.idle_timeout
