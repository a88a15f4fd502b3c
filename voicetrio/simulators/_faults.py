"""What can go wrong on a connection, whoever the provider is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from ._checks import at_least

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FaultState", "Faults"]


def _count(default: int | None = None) -> Any:
    return attrs.field(default=default, validator=at_least(0))


@attrs.frozen(kw_only=True)
class Faults:
    """Faults that a simulator commits; the default commits none.

    Counts run per connection, from its first message or, if later, from the moment at which these faults were set.
    A count of messages takes text and binary ones together; 0 means before the first.

    Attributes:
        connections: only connections numbered below this, from 0, suffer the faults; None for all.

        handshake: what happens to the request for an upgrade. ``ok``: it is answered. ``refuse``: the connection is
            refused (in memory) or reset as soon as it stands (on a socket). ``eof``: TCP is closed after the request
            came. ``silent``: no answer comes. ``garbage``: the answer is not HTTP. ``slow``: the answer comes
            `handshake_delay` seconds late.
        handshake_delay: seconds, for ``handshake=slow``.
        refuse_status: answer the upgrade with this HTTP status, None to accept.
        refuse_headers: headers of that answer (in text: ``Name: value | Other: value``).
        refuse_body: its body; None for the provider's own.
        refuse_without_length: leave out Content-Length and end the body by closing TCP.
        retry_after: seconds for a Retry-After header of that answer.

        accept_silent: accept the upgrade and never send a message.
        stall_after: send nothing more from the audio frame on that would follow this many.
        close_after: send a Close frame once this many messages went out.
        close_code: its code.
        close_reason: its reason.
        drop_after_messages: close TCP without a Close frame once this many messages went out.
        drop_after_bytes: close TCP once this many bytes went out, HTTP and frame headers counted.
        half_open_after: neither read nor write any more once this many messages went out, but keep the socket.
        never_close: neither answer a Close frame nor close when asked to by a message, and keep the socket.

        one_byte_writes: hand the socket one byte at a time.
        fragment: split messages into frames of this many bytes (characters of text), with a Ping after each.
        big_message: send 1 MiB of audio for every utterance, in one message.
        unknown_message: insert a message of an unknown type after this many messages.
        non_json: insert a text message that is not JSON after this many messages.
        wrong_shape: insert JSON of a wrong shape after this many messages.
        error_frame: insert the provider's error message after this many messages.
    """

    connections: int | None = _count()

    handshake: Literal["ok", "refuse", "eof", "silent", "garbage", "slow"] = "ok"
    handshake_delay: float = attrs.field(default=5.0, validator=at_least(0))
    refuse_status: int | None = attrs.field(default=None, validator=at_least(200))
    refuse_headers: tuple[tuple[str, str], ...] = ()
    refuse_body: str | None = None
    refuse_without_length: bool = False
    retry_after: float | None = attrs.field(default=None, validator=at_least(0))

    accept_silent: bool = False
    stall_after: int | None = _count()
    close_after: int | None = _count()
    close_code: int = attrs.field(default=1011, validator=at_least(1000))
    close_reason: str = ""
    drop_after_messages: int | None = _count()
    drop_after_bytes: int | None = _count()
    half_open_after: int | None = _count()
    never_close: bool = False

    one_byte_writes: bool = False
    fragment: int | None = attrs.field(default=None, validator=at_least(1))
    big_message: bool = False
    unknown_message: int | None = _count()
    non_json: int | None = _count()
    wrong_shape: int | None = _count()
    error_frame: int | None = _count()


NO_FAULTS = Faults()

INSERTS = ("unknown_message", "non_json", "wrong_shape", "error_frame")
"""The faults that add a message."""


class FaultState:
    """The faults of one connection and what has been counted towards them.

    Args:
        current: gives the faults that hold now; called before each use, so that they can be replaced at any time.

    Attributes:
        messages: messages sent under the current faults.
        audio: how many of them were audio.
        written: bytes written under the current faults.
        pending: names of the inserts that are still to be made.
        quiet: whether no fault touches single messages, so that nothing needs to be looked at for each.
    """

    def __init__(self, current: Callable[[], Faults]) -> None:
        self._current = current
        self._adopt(current())

    def look(self) -> Faults:
        """The faults that hold now.  The counts begin anew when they were replaced."""
        faults = self._current()
        if faults is not self._faults:
            self._adopt(faults)
        return faults

    def _adopt(self, faults: Faults) -> None:
        self._faults = faults
        self.messages: int = 0
        self.audio: int = 0
        self.written: int = 0
        self.pending: list[str] = [name for name in INSERTS if getattr(faults, name) is not None]
        counts = (
            faults.stall_after,
            faults.close_after,
            faults.drop_after_messages,
            faults.half_open_after,
        )
        self.quiet: bool = (
            counts == (None,) * len(counts)
            and not self.pending
            and not faults.accept_silent
            and faults.fragment is None
        )
