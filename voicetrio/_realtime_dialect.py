"""What a realtime model's protocol must answer: its dialect, without I/O.

A new provider writes one class with the methods of :class:`RealtimeDialect`; the session calls them.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

from ._link.dialect import LinkDialect, Message
from .chat import ToolCall
from .errors import ProviderError


@attrs.frozen
class Began:
    """A reply begins: what follows is of it.  One that was under way is over."""


@attrs.frozen
class Audio:
    """PCM of the reply under way, or of a new one if there is none: s16le in the provider's format, cut anywhere."""

    pcm: bytes


@attrs.frozen
class Over:
    """All audio of the reply under way has come."""


@attrs.frozen
class BargedIn:
    """The provider broke the reply off, as it heard the user."""


@attrs.frozen
class Acknowledged:
    """So many cancellations are answered, or need no answer any more."""

    count: int = 1


@attrs.frozen
class UserSpeech:
    """The user began to speak, or stopped."""

    started: bool


@attrs.frozen
class Heard:
    """What the user said; it replaces what was told of the same utterance before."""

    text: str
    final: bool


@attrs.frozen
class Said:
    """What the model says: added to what it said before in this reply or, if `final`, all of it."""

    text: str
    final: bool


@attrs.frozen
class Asked:
    """The model wants a function to be called."""

    call: ToolCall


@attrs.frozen
class Consumed:
    """What the model used: tokens, as the provider names them."""

    data: Mapping[str, Any]


@attrs.frozen
class Reported:
    """The provider reports an error; the link goes on."""

    error: ProviderError


@attrs.frozen
class Broken:
    """The provider reports an error; the link is given up."""

    error: ProviderError


RealtimeDialectEvent = (
    Began | Audio | Over | BargedIn | Acknowledged | UserSpeech | Heard | Said | Asked | Consumed | Reported | Broken
)
Modality = Literal["TEXT", "AUDIO"]


class RealtimeDialect(LinkDialect, abc.ABC):
    """One provider's protocol on one connection: messages in, messages and events out, no I/O.

    Attributes:
        answered: whether anything came that shows that the provider has accepted us.
        late_bytes: of audio that was dropped, as it is of replies that were cancelled.
    """

    answered: bool = False
    late_bytes: int = 0

    @property
    def certain(self) -> bool:
        """Whether a reply that is asked for now can be told from those that were cancelled: else ask later."""
        return True

    # -- what is said to the model -------------------------------------------------------------------------------------

    @abc.abstractmethod
    def audio(self, pcm: bytes) -> Message:
        """The message that carries audio of the user's: whole samples in the provider's format."""

    @abc.abstractmethod
    def video(self, jpeg: bytes) -> Message:
        """The message that shows a picture."""

    @abc.abstractmethod
    def text(self, text: str, frames: Sequence[bytes] = ()) -> Message:
        """The message that says a text, and shows pictures with it."""

    @abc.abstractmethod
    def tool_output(self, call: ToolCall, output: str) -> Message:
        """The message that tells what came of a call."""

    @abc.abstractmethod
    def cancel(self, asked: int) -> Sequence[Message]:
        """Stop the reply under way, and `asked` ones that have not begun: what to send.

        From now on nothing of them is an event any more.  One :class:`Acknowledged` answers it.
        """

    @abc.abstractmethod
    def receive(self, message: Message) -> Iterable[RealtimeDialectEvent]:
        """Take a message; at most one event of audio comes of it.

        Raises:
            ProtocolError: if it cannot be understood; the link is given up.
        """
