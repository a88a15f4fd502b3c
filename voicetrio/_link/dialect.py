"""What every protocol tells the link that speaks it, whatever it is for."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from typing import Any

import trio

from ..errors import LinkClosed, ProviderError

Message = str | bytes


class LinkDialect(abc.ABC):
    """A protocol's state on one connection: messages in, messages and events out, no I/O.

    What it makes of messages, of silence and of the end are its events; the link hands them on in order.  What stands
    here is what most protocols need.

    Attributes:
        provider: the name that errors carry.
        request_id: the provider's id of the connection, which the link takes from the upgrade's response, or of what
            is under way; while it is None the link tells that of the connection.
    """

    provider: str
    request_id: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the provider has accepted us: an upgrade alone does not prove the key everywhere."""
        return True

    @property
    def worn(self) -> bool:
        """Whether the link had better be replaced before the next turn."""
        return False

    @property
    def spent(self) -> bool:
        """Whether no further turn can be put on the link."""
        return False

    def greet(self, headers: Mapping[str, str]) -> Iterable[Message]:  # noqa: ARG002 - for those that override it
        """What is said right after the endpoint's greeting, given the headers of the upgrade's response."""
        return ()

    def farewell(self) -> Iterable[Message]:
        """The last messages of a link on which nothing is under way."""
        return ()

    @abc.abstractmethod
    def receive(self, message: Message) -> Iterable[Any]:
        """Take a message.

        Raises:
            ProviderError: if it cannot be understood; the link is given up.
        """

    @property
    def expires(self) -> float | None:
        """When silence will mean something, see :meth:`lapse`, by trio's clock; None if it means nothing.

        It is looked at when something has been sent and when a message has been handled.
        """
        return None

    def missed(self, seconds: float) -> None:  # noqa: B027 - for those that override it
        """Nobody listened for so long, as a message was still being handled: that was no silence."""

    def lapse(self) -> Iterable[Any]:
        """The time is up that :attr:`expires` told; it must tell another now, or None."""
        return ()

    def lost(self, error: LinkClosed) -> Iterable[Any]:  # noqa: ARG002 - as above
        """The connection has ended, before that is reported: some protocols end something by it."""
        return ()

    def explain(self, error: LinkClosed) -> ProviderError:
        """Say what a close frame means in this protocol."""
        return error


class Silence:
    """How long nothing has happened, for protocols in which that means something.

    By trio's clock; time in which nobody listened does not count.
    """

    def __init__(self) -> None:
        self._since = trio.current_time()

    def broken(self) -> None:
        """Something was said, by either side."""
        self._since = trio.current_time()

    def missed(self, seconds: float) -> None:
        """Nobody listened for so long."""
        self._since += seconds

    def lasting(self, seconds: float | None) -> float | None:
        """When it will have lasted so long; None for never."""
        return None if seconds is None else self._since + seconds
