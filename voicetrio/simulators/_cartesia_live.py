"""The contexts that count towards an account's limit: those of all connections of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from ._server import Server
    from .cartesia import CartesiaOptions

__all__ = ["LiveContexts"]


class LiveContexts:
    """How many contexts are live, for each server."""

    def __init__(self) -> None:
        self._counts: WeakKeyDictionary[Server[CartesiaOptions], int] = WeakKeyDictionary()

    def count(self, server: Server[CartesiaOptions]) -> int:
        """The contexts of one server."""
        return self._counts.get(server, 0)

    def add(self, server: Server[CartesiaOptions]) -> None:
        """Count one more."""
        self._counts[server] = self.count(server) + 1

    def remove(self, server: Server[CartesiaOptions]) -> None:
        """Count one less."""
        self._counts[server] = self.count(server) - 1
