"""What a denoiser's protocol must answer: its dialect, without I/O."""

from __future__ import annotations

import abc
from collections.abc import Iterable

import attrs

from ._link.dialect import LinkDialect, Message
from .errors import ProviderError


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


class DenoiseDialect(LinkDialect, abc.ABC):
    """One provider's protocol on one connection: messages in, messages and events out, no I/O."""

    @abc.abstractmethod
    def piece(self, sequence: int, pcm: bytes) -> Message:
        """The message that carries a piece of audio."""

    @abc.abstractmethod
    def receive(self, message: Message) -> Iterable[DenoiseEvent]:
        """Take a message.

        Raises:
            ProtocolError: if it cannot be understood; the link is given up.
        """
