"""What the faults do to messages, whatever carries them: the frames of a websocket, or the pieces of an HTTP body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar

import trio

from ._wire import Disconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from ._faults import Faults, FaultState
    from ._wire import Wire

__all__ = ["Log", "MessageFaults", "hold"]

MessageT = TypeVar("MessageT")


class Log(Protocol):
    """Takes what happened and what belongs to it, as JSON-able values."""

    def __call__(self, event: str, /, **data: object) -> None:
        """Note `event`."""
        ...


class MessageFaults(Generic[MessageT]):
    """Sends messages, and commits the faults that befall them.

    Args:
        wire: what the messages go out on.
        state: the faults and their counts.
        log: where faults are noted.
        write: writes a message, split into parts of so many bytes if a number is given; calls what is given as the
            third argument once that is done.
        inserts: names of the faults that can insert a message here; the others are passed over.
        insert: gives the message that such a fault inserts.
        close: gives what ``close_after`` raises.
    """

    def __init__(
        self,
        wire: Wire,
        state: FaultState,
        log: Log,
        *,
        write: Callable[[MessageT, int | None, Callable[[], None] | None], Awaitable[None]],
        inserts: Container[str],
        insert: Callable[[str], MessageT],
        close: Callable[[Faults], Exception],
    ) -> None:
        self._wire = wire
        self._state = state
        self._log = log
        self._write = write
        self._inserts = inserts
        self._insert = insert
        self._close = close

    async def send(self, message: MessageT, *, audio: bool, written: Callable[[], None] | None) -> None:
        """Send a message.

        Args:
            message: the message.
            audio: whether it carries audio.
            written: called once all of it was handed to the transport, before any fault that follows.

        Raises:
            Disconnected: the connection is gone, or the faults end it here.
        """
        faults, state = self._state.look(), self._state
        if audio and faults.stall_after is not None and state.audio >= faults.stall_after:
            await hold(self._log, "stall_after")
        await self.commit()
        await self._write(message, self._state.look().fragment, written)
        if not state.quiet:
            state.messages += 1
            state.audio += audio
            await self.commit()

    async def commit(self) -> None:
        """Do what the faults ask for after the messages sent so far.

        Raises:
            Disconnected: the connection is gone, or the faults end it here.
        """
        faults, state = self._state.look(), self._state
        if state.quiet:
            return
        if faults.accept_silent:
            await hold(self._log, "accept_silent")
        while (name := self._due()) is not None:
            state.pending.remove(name)
            if name in self._inserts:
                self._log("fault", name=name)
                await self._write(self._insert(name), faults.fragment, None)
        faults = self._state.look()  # which may have been replaced meanwhile
        if _reached(faults.half_open_after, state):
            self._wire.half_open = True
            await hold(self._log, "half_open_after")
        if _reached(faults.drop_after_messages, state):
            self._log("fault", name="drop_after_messages")
            raise Disconnected("drop_after_messages")
        if _reached(faults.close_after, state):
            self._log("fault", name="close_after")
            raise self._close(faults)

    def _due(self) -> str | None:
        """The insert whose time has come."""
        faults, state = self._state.look(), self._state
        return next((name for name in state.pending if state.messages >= getattr(faults, name)), None)


async def hold(log: Log, fault: str) -> NoReturn:
    """Note a fault and do nothing more, for ever."""
    log("fault", name=fault)
    await trio.sleep_forever()


def _reached(count: int | None, state: FaultState) -> bool:
    return count is not None and state.messages >= count
