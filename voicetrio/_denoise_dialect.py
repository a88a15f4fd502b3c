"""What a denoiser's protocol must answer: its dialect, without I/O."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping

import attrs

from ._link.link import Message
from .errors import LinkClosed, ProviderError


@attrs.frozen
class Processed:
    """Audio that came back.

    Attributes:
        sequence: the number of the piece that it is of; None if the provider does not say.
        pcm: s16le in the provider's format.
    """

    sequence: int | None
    pcm: bytes


@attrs.frozen
class Broken:
    """The provider reports an error; the link is given up."""

    error: ProviderError


DenoiseEvent = Processed | Broken


class DenoiseDialect(abc.ABC):
    """One provider's protocol on one connection: messages in, messages and events out, no I/O.

    Attributes:
        provider: the name that errors carry.
        request_id: the provider's id of the connection, if it gave one.
    """

    provider: str
    request_id: str | None = None
    ready: bool = True
    worn: bool = False
    spent: bool = False
    patience: float | None = None

    def greet(self, headers: Mapping[str, str]) -> Iterable[Message]:  # noqa: ARG002 - for those that override it
        """The first messages, given the headers of the upgrade's response."""
        return ()

    def farewell(self) -> Iterable[Message]:
        """The last messages of a link."""
        return ()

    @abc.abstractmethod
    def piece(self, sequence: int, pcm: bytes) -> Message:
        """The message that carries a piece of audio."""

    @abc.abstractmethod
    def receive(self, message: Message) -> Iterable[DenoiseEvent]:
        """Take a message.

        Raises:
            ProtocolError: if it cannot be understood; the link is given up.
        """

    def lapse(self) -> Iterable[DenoiseEvent]:
        """Nothing came for `patience` seconds: it never means anything here."""
        return ()

    def lost(self, error: LinkClosed) -> Iterable[DenoiseEvent]:  # noqa: ARG002 - as above
        """The connection has ended, before that is reported."""
        return ()

    def explain(self, error: LinkClosed) -> ProviderError:
        """Say what a close frame means in this protocol."""
        return error
