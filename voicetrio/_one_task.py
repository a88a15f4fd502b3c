"""One task at a time."""

from __future__ import annotations

from types import TracebackType

import trio


class OneTask:
    """Around what only one task may be in: ``with self._one_task: …``.

    Args:
        doing: what the other one does, for the message.

    Raises:
        trio.BusyResourceError: on entering, if another task is in it.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._entered = False

    def __enter__(self) -> None:
        if self._entered:
            raise trio.BusyResourceError(f"another task is {self._doing}")
        self._entered = True

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._entered = False
