"""A floor: a TCP stream of trio that reads the same bytes, and looks at no more of them than it must.

No control frames, no fragments, no errors, no timeouts: what nobody could use, and so
nobody on trio can be much faster.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..contract import SAMPLE_RATE, Contender, Flush, Heard, Speaker, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable

_BINARY, _TEXT = 0x82, 0x81


class RawTrio(Contender):
    """``trio.open_tcp_stream()``."""

    name = "raw trio stream"
    runtime = "trio"
    providers = ("deepgram",)
    packages = ("trio",)

    def load(self, provider: str) -> None:  # noqa: ARG002
        import trio  # noqa: F401

    @asynccontextmanager
    async def session(self, provider: str, url: str, heard: Heard) -> AsyncGenerator[Speaker, None]:  # noqa: ARG002
        import trio

        _scheme, _, authority, path = url.split("/", 3)
        host, _, port = authority.partition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        query = f"model=aura-2-andromeda-en&encoding=linear16&sample_rate={SAMPLE_RATE}"
        head = (
            f"GET /{path}?{query} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Authorization: Token benchmark\r\n\r\n"
        )
        await stream.send_all(head.encode())
        received = bytearray()
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some()
        del received[: received.index(b"\r\n\r\n") + 4]
        speaker = _Speaker(stream, received, heard)
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(speaker.read)
            yield speaker
            nursery.cancel_scope.cancel()


class _Speaker(Speaker):
    def __init__(self, stream: Any, received: bytearray, heard: Heard) -> None:
        self._stream = stream
        self._received = received
        self._heard = heard
        self._clearing = 0
        self._flushes = 0
        self._over: Any = None

    async def read(self) -> None:
        """Take what comes, for as long as the session lasts."""
        while True:
            while (end := self._message_end()) is not None:
                start, stop = end
                payload = bytes(memoryview(self._received)[start:stop])
                opcode = self._received[0]
                del self._received[:stop]
                self._take(opcode, payload)
            data = await self._stream.receive_some()
            if not data:
                return
            self._received += data

    def _message_end(self) -> tuple[int, int] | None:
        received = self._received
        if len(received) < 2:
            return None
        start, size = 2, received[1]
        if size == 126:
            start, size = 4, int.from_bytes(received[2:4], "big")
        elif size == 127:
            start, size = 10, int.from_bytes(received[2:10], "big")
        return (start, start + size) if len(received) >= start + size else None

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == _BINARY:
            if not self._clearing:
                self._heard.put(payload, len(payload) // 2)
        elif b'"Cleared"' in payload:
            self._clearing -= 1
        elif b'"Flushed"' in payload and not self._clearing:
            self._flushes -= 1
            if not self._flushes:
                self._over.set()

    async def _send(self, *messages: str) -> None:
        frames = bytearray()
        for message in messages:
            data = message.encode()
            size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
            frames += bytes([_TEXT]) + size + bytes(4) + data  # a mask of zeros masks nothing
        await self._stream.send_all(frames)

    async def speak(self, text: str) -> None:
        import trio

        over = self._over = trio.Event()
        self._flushes = 1
        await self._send(f'{{"type":"Speak","text":"{text}"}}', '{"type":"Flush"}')
        await over.wait()

    async def stream(self, pieces: AsyncIterable[str | type[Flush]]) -> None:
        import trio

        self._flushes, over = 1, trio.Event()
        self._over = over
        async for piece in pieces:
            if isinstance(piece, str):
                await self._send(f'{{"type":"Speak","text":"{piece}"}}')
            else:
                self._flushes += 1
                await self._send('{"type":"Flush"}')
        self._flushes -= 1
        if self._flushes:
            await over.wait()

    async def interrupt(self) -> None:
        self._clearing += 1
        self._flushes = 0
        if self._over is not None:
            self._over.set()
        await self._send('{"type":"Clear"}')


if __name__ == "__main__":
    serve(RawTrio)
