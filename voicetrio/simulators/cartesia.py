"""Cartesia's text-to-speech websocket, ``/tts/websocket``, simulated.

What is sent, and when, follows the vendor's documentation, its Python SDK 4.2, and what was measured on the live
endpoint.  Where those disagree, or are silent, :class:`CartesiaOptions` has a switch and its default is the stricter
reading: a client that works with the default does not rely on what is not promised.

The audio is tagged (see :mod:`voicetrio.simulators.tagged`).  Each release of text from a context's buffer is one
segment, whose text is exactly what was released: at the end of a sentence, when the text has waited for
``max_buffer_delay_ms``, at a flush, and at the end of the context.  Float samples are that PCM divided by 32768; of
mu-law and A-law only the length and the upper bits survive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import msgspec

from ._cartesia_events import error_event
from ._cartesia_live import LiveContexts
from ._cartesia_session import CartesiaSession
from ._cartesia_upgrade import (
    VERSIONS,
    Refusal,
    Upgrade,
    asked_version,
    check_upgrade,
    refusal_body,
)
from ._checks import at_least, positive
from ._speaker import SpeechOptions, SpeechSimulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._server import Connection
    from ._speech import Voice

__all__ = ["CartesiaOptions", "CartesiaSimulator"]


def _one_of(*choices: int) -> Any:
    """A validator for a few numbers."""
    return attrs.validators.in_(choices)


@attrs.frozen(kw_only=True)
class CartesiaOptions(SpeechOptions):
    """How the simulated Cartesia behaves, besides what all voices have.  Times are in seconds.

    Attributes:
        concurrent_limit: connections open at once before the next gets 429; None for no limit.  (Cartesia: ten times
            the plan's contexts.)
        context_limit: contexts live at once, over all connections, before a new one is answered with the error
            concurrency_limited; None for no limit.  (Cartesia: 2 to 15, by plan.)  A cancelled context counts until it
            has ended.

        buffer_delay: how long text may wait in a context if the client does not say; None for what the version of the
            API says: 3 s since 2026-03-01, not at all before.
        release: ``sentence``, whole sentences are spoken at once; ``delay``, only time, a flush or the end of the
            context releases text.
        initial_transcript: ``checked``, a context may not begin with a text of no letter and no digit; ``any``.
        empty_final_checked: whether the empty request that ends a context must repeat the context's fields as well.
        constant_fields: ``checked``, a request whose fields differ from its context's first is refused, as documented;
            ``any``, it is taken: a published client ends its contexts with fewer fields.
        context_expiry: seconds after its last audio at which a context with nothing to say expires.
        done_after_expiry: whether an expired context is reported by done.

        first_flush_id: `flush_id` of the first section, 0 or 1.
        done_status: `status_code` of done, 206 or 200.
        timestamps: whether the times of a word come ``before`` or ``after`` the chunk in which the word begins.
        timestamps_restart_on_flush: whether times count from the section's start instead of the context's.
        error_context: whether error events name the context.

        cancel: ``run_on``, what is being generated is sent to its end; ``immediate``, it is cut off after
            `late_frames`.  Text that is not begun is dropped either way.
        cancel_unknown: whether cancelling a context that is not there is ``ignored`` or an ``error``.
        done_after_cancel: whether a cancelled context is reported by done.
        late_frames: with ``cancel=immediate``, chunks that are sent after the cancel was received.

        end_marker: done is sent as it should, never, `end_marker_delay` late, or twice.
        end_marker_delay: seconds.
        audio_before_asked: send this many chunks of an unknown context right after the upgrade.
        wrong_context: send a chunk of an unknown context after every chunk.
        missing_context: leave out the context of chunks.

        idle_timeout: seconds without a message from the client after which the connection is closed; pings do not
            count.  None for no limit.
        idle_code: the close code then.
        session_limit: seconds after which the connection is closed with 1000; None for no limit.
    """

    context_limit: int | None = attrs.field(default=None, validator=at_least(0))

    buffer_delay: float | None = attrs.field(default=None, validator=at_least(0))
    release: Literal["sentence", "delay"] = "sentence"
    initial_transcript: Literal["checked", "any"] = "checked"
    empty_final_checked: bool = True
    constant_fields: Literal["checked", "any"] = "checked"
    context_expiry: float = attrs.field(default=1.0, validator=at_least(0))
    done_after_expiry: bool = False

    first_flush_id: int = attrs.field(default=1, validator=_one_of(0, 1))
    done_status: int = attrs.field(default=206, validator=_one_of(200, 206))
    timestamps: Literal["before", "after"] = "after"
    timestamps_restart_on_flush: bool = False
    error_context: bool = True

    cancel: Literal["run_on", "immediate"] = "run_on"
    cancel_unknown: Literal["ignored", "error"] = "ignored"
    done_after_cancel: bool = True
    late_frames: int = attrs.field(default=0, validator=at_least(0))

    end_marker: Literal["normal", "none", "late", "double"] = "normal"
    end_marker_delay: float = attrs.field(default=4.0, validator=at_least(0))
    audio_before_asked: int = attrs.field(default=0, validator=at_least(0))
    wrong_context: bool = False
    missing_context: bool = False

    idle_timeout: float | None = attrs.field(default=300.0, validator=positive)
    idle_code: int = attrs.field(default=1000, validator=at_least(1000))


class CartesiaSimulator(SpeechSimulator[CartesiaOptions]):
    """A server that speaks the protocol of Cartesia's text-to-speech.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    path: ClassVar[str] = "/tts/websocket"

    def __init__(self, options: CartesiaOptions | None = None, *, voice: Voice | None = None) -> None:
        super().__init__(CartesiaOptions() if options is None else options, voice)
        self._live = LiveContexts()

    async def handle(self, connection: Connection[CartesiaOptions]) -> None:
        """Check the request as Cartesia does, path, key, version, number of connections, then speak."""
        try:
            upgrade = self._check(connection)
        except Refusal as refusal:
            headers, body = _worded(connection, refusal)
            await connection.refuse(refusal.status, headers=headers, body=body)
            return
        peer = await connection.accept([("x-request-id", upgrade.request_id)])
        await CartesiaSession(connection, peer, upgrade, self._live, self.voice).run()

    def refusal(self, connection: Connection[CartesiaOptions], status: int) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal, as Cartesia words it."""
        return _worded(connection, Refusal.of(status))

    def inserts(self, connection: Connection[CartesiaOptions]) -> Mapping[str, str]:
        """The messages that faults insert; the error names no context, so it is about all of them."""
        version = asked_version(connection.request) or VERSIONS[-1]
        error = error_event(
            version, connection.request_id, 500, None, "Internal server error", "Something went wrong.", None
        )
        return {
            **super().inserts(connection),
            "unknown_message": '{"type":"from_the_future","done":false,"status_code":206,"since":2031}',
            "error_frame": msgspec.json.encode(error).decode(),
        }

    def _check(self, connection: Connection[CartesiaOptions]) -> Upgrade:
        """What was asked for.

        Raises:
            Refusal: it cannot be had.
        """
        if not connection.request.path.endswith(self.path):
            raise Refusal.of(404)
        upgrade = check_upgrade(connection.request, connection.options, connection.request_id)
        if connection.over_limit:
            raise Refusal.of(429)
        return upgrade


def _worded(connection: Connection[CartesiaOptions], refusal: Refusal) -> tuple[list[tuple[str, str]], bytes]:
    request_id = connection.request_id
    content_type, body = refusal_body(refusal, asked_version(connection.request), request_id)
    return [("Content-Type", content_type), ("x-request-id", request_id)], body
