"""Several simulators behind one address, told apart by the path of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ._options import SimulatorOptions
from ._server import Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._server import Connection

__all__ = ["Router"]

OptionsT = TypeVar("OptionsT", bound=SimulatorOptions)


class Router(Simulator[OptionsT], Generic[OptionsT]):
    """A provider with several endpoints.

    Its options are those of all endpoints in one: a class that extends each of theirs.  What they have in common, such
    as faults and the key, holds for all of them.

    Args:
        options: how it behaves, to begin with.
        endpoints: what answers, by what the path of a request ends with.
    """

    def __init__(self, options: OptionsT, endpoints: Mapping[str, Simulator[Any]]) -> None:
        super().__init__(options)
        self.endpoints = endpoints

    async def handle(self, connection: Connection[OptionsT]) -> None:
        """Let the endpoint answer; 404 where there is none."""
        endpoint = self._find(connection)
        if endpoint is None:
            await self.refuse(connection, 404)
        else:
            await endpoint.handle(connection)

    def inserts(self, connection: Connection[OptionsT]) -> Mapping[str, str]:
        """The endpoint's."""
        endpoint = self._find(connection)
        return super().inserts(connection) if endpoint is None else endpoint.inserts(connection)

    def refusal(self, connection: Connection[OptionsT], status: int) -> tuple[list[tuple[str, str]], bytes]:
        """In the endpoint's words."""
        endpoint = self._find(connection)
        return super().refusal(connection, status) if endpoint is None else endpoint.refusal(connection, status)

    def _find(self, connection: Connection[OptionsT]) -> Simulator[Any] | None:
        path = connection.request.path
        return next((each for end, each in self.endpoints.items() if path.endswith(end)), None)
