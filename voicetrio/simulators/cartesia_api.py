"""Cartesia's text-to-speech and speech-to-text on one port, told apart by the path."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

import attrs

from ._server import Simulator
from .cartesia import CartesiaOptions, CartesiaSimulator
from .cartesia_stt import CartesiaSTTSimulator, ListeningOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._connection import Connection
    from ._speech import Voice

__all__ = ["CartesiaAPIOptions", "CartesiaAPISimulator"]


@attrs.frozen(kw_only=True)
class CartesiaAPIOptions(CartesiaOptions, ListeningOptions):
    """The options of both, by the same names; what both have, such as `idle_timeout`, is that of the voice."""


class CartesiaAPISimulator(Simulator[CartesiaAPIOptions]):
    """A server that speaks, and listens where the path begins with ``/stt/``.

    Args:
        options: how it behaves, to begin with.
        voice: what speaks if the options say ``voice``.

    Raises:
        ValueError: the options say ``voice`` and there is none.
    """

    path: ClassVar[str] = ""  # each client adds its own

    def __init__(self, options: CartesiaAPIOptions | None = None, *, voice: Voice | None = None) -> None:
        super().__init__(CartesiaAPIOptions() if options is None else options)
        # Each reads no more of the options than what is its own.
        self._voice = cast("Simulator[CartesiaAPIOptions]", CartesiaSimulator(self.options, voice=voice))
        self._ear = cast("Simulator[CartesiaAPIOptions]", CartesiaSTTSimulator())

    async def handle(self, connection: Connection[CartesiaAPIOptions]) -> None:
        """Speak or listen."""
        await self._one_for(connection).handle(connection)

    def refusal(self, connection: Connection[CartesiaAPIOptions], status: int) -> tuple[list[tuple[str, str]], bytes]:
        """As the one whose path it is."""
        return self._one_for(connection).refusal(connection, status)

    def inserts(self, connection: Connection[CartesiaAPIOptions]) -> Mapping[str, str]:
        """As the one whose path it is."""
        return self._one_for(connection).inserts(connection)

    def _one_for(self, connection: Connection[CartesiaAPIOptions]) -> Simulator[CartesiaAPIOptions]:
        return self._ear if "/stt/" in connection.request.path else self._voice
