"""The bytes of a websocket: every split of them, the examples of RFC 6455, and what its sections forbid."""

import base64
import hashlib
import logging
import os
import struct

import hypothesis
import hypothesis.strategies as st
import pytest
import trio
import trio.testing
import websocket_peer
import wsproto
from websocket_peer import connect, ends
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from voicetrio._link.connection import ConnectionOptions
from voicetrio.errors import LinkClosed

TEXT, BINARY, CONTINUED, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def frame(opcode, payload=b"", *, fin=True, reserved=0, mask=None):
    """A frame as a server sends it: RFC 6455, 5.2."""
    head = bytes([fin << 7 | reserved << 4 | opcode])
    masked = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([masked | len(payload)])
    elif len(payload) < 2**16:
        head += bytes([masked | 126]) + struct.pack("!H", len(payload))
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", len(payload))
    return head + (mask or b"") + payload


def close(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Scripted(trio.abc.Stream):
    """A server that accepts the upgrade and then gives these pieces, whatever it is told; then it ends.

    `patient`, it waits with each piece until it has been told something; with none it says nothing, and does not end.
    """

    def __init__(self, pieces, *, with_the_reply=b"", patient=False):
        self.told = trio.Event()
        self.patient = patient
        self.silent = patient and not pieces
        self.pieces = [piece for piece in pieces if piece]
        self.first = with_the_reply
        self.received = bytearray()
        self.request = b""

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        if self.request:
            self.received += data
            self.told.set()
            return
        self.request = bytes(data)
        key = next(line[19:] for line in self.request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key: "))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        reply = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self.pieces.insert(0, reply + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + self.first)

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes=None):
        await trio.lowlevel.checkpoint()
        if self.patient and self.pieces and b"HTTP" not in self.pieces[0]:
            await self.told.wait()
            self.told = trio.Event()
        if not self.pieces:
            if self.silent:
                await trio.sleep_forever()
            return b""
        piece = self.pieces.pop(0)
        if max_bytes is not None and len(piece) > max_bytes:
            self.pieces.insert(0, piece[max_bytes:])
            piece = piece[:max_bytes]
        return piece

    async def aclose(self):
        await trio.lowlevel.checkpoint()

    def said(self):
        """What the client said after the upgrade, as wsproto's server reads it."""
        server = wsproto.connection.Connection(wsproto.ConnectionType.SERVER)
        server.receive_data(bytes(self.received))
        return [event for event in server.events() if not isinstance(event, TextMessage | BytesMessage)]


async def conversation(stream):
    """All that a client makes of what a server sends: messages, the error at the end, and what it answered."""

    async def dial(_host, _port):
        await trio.lowlevel.checkpoint()
        return stream

    options = ConnectionOptions(max_message=2**17, close_timeout=0.1)
    async with connect("ws://acme.test/", dial=dial, options=options) as connection:
        messages, error = await ends(connection)
    return messages, (error.code, error.reason), stream.said()


# --- splits ---------------------------------------------------------------------------------------------------------

EVERYTHING = b"".join(
    [
        frame(TEXT, "héllo 𝄞".encode()),
        frame(BINARY, bytes(range(40))),
        frame(TEXT, b"sp" + "é".encode()[:1], fin=False),
        frame(PING, b"in between"),
        frame(CONTINUED, b"", fin=False),
        frame(CONTINUED, "é".encode()[1:] + b"lit"),
        frame(PONG, b"nobody asked"),
        frame(BINARY),
        frame(TEXT),
        frame(BINARY, b"\xff" * 130),
        frame(PING),
        close(4001, b"why"),
        frame(TEXT, b"after the end"),
    ]
)
HEARD = ["héllo 𝄞", bytes(range(40)), "spélit", b"", "", b"\xff" * 130]


def check(outcome):
    messages, end, said = outcome
    assert messages == HEARD
    assert end == (4001, "why")
    assert said == [Pong(b"in between"), Pong(b""), CloseConnection(code=4001, reason="why")]


async def test_a_conversation_cut_in_two_at_any_byte_is_the_same(autojump_clock):
    for at in range(len(EVERYTHING) + 1):
        check(await conversation(Scripted([EVERYTHING[:at], EVERYTHING[at:]])))


async def test_what_comes_with_the_upgrade_is_the_same_wherever_it_is_cut(autojump_clock):
    for at in range(len(EVERYTHING) + 1):
        check(await conversation(Scripted([EVERYTHING[at:]], with_the_reply=EVERYTHING[:at])))


async def test_a_conversation_byte_by_byte_is_the_same(autojump_clock):
    check(await conversation(Scripted([bytes([value]) for value in EVERYTHING])))


# The fixture says which driver, and that is the same for all examples.
THOROUGH = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], database=None
)
MESSAGES = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        st.binary(max_size=200),
        st.sampled_from([125, 126, 127, 65535, 65536]).map(bytes),
    ),
    max_size=8,
)


@hypothesis.given(messages=MESSAGES, data=st.data())
@hypothesis.settings(THOROUGH, max_examples=60)
def test_any_messages_in_any_fragments_and_pieces_arrive(driver, messages, data):
    wire = bytearray()
    for message in messages:
        payload = message.encode() if isinstance(message, str) else message
        cuts = sorted(data.draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        parts = [payload[start:end] for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for number, part in enumerate(parts):
            opcode = CONTINUED if number else TEXT if isinstance(message, str) else BINARY
            wire += frame(opcode, part, fin=number == len(parts) - 1)
            if data.draw(st.booleans()):
                wire += frame(PING, b"%d" % number)
    wire += close(1000)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    pieces = [bytes(wire[start:end]) for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]

    async def main():
        messages_seen, end, _ = await conversation(Scripted(pieces))
        assert messages_seen == messages
        assert end == (1000, None)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@hypothesis.given(wire=st.binary(max_size=300))
@hypothesis.settings(THOROUGH, max_examples=300)
def test_garbage_ends_the_link_and_nothing_else(driver, wire):
    async def main():
        await conversation(Scripted([wire]))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# --- RFC 6455 -------------------------------------------------------------------------------------------------------


async def test_the_handshake_of_1_3(monkeypatch, autojump_clock):
    monkeypatch.setattr(os, "urandom", lambda size: b"the sample nonce"[:size])
    stream = Scripted([close(1000)])
    await conversation(stream)
    assert b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in stream.request
    assert b"Sec-WebSocket-Version: 13\r\n" in stream.request


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (bytes.fromhex("81 05 48 65 6c 6c 6f"), "Hello"),
        (bytes.fromhex("01 03 48 65 6c 80 02 6c 6f"), "Hello"),
        (b"\x82\x7e\x01\x00" + bytes(256), bytes(256)),
        (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + bytes(65536), bytes(65536)),
    ],
    ids=["text", "fragmented", "256 bytes", "64 KiB"],
)
async def test_the_examples_of_5_7(wire, message, autojump_clock):
    messages, _, _ = await conversation(Scripted([wire]))
    assert messages == [message]


async def test_the_ping_of_5_7_is_answered_with_its_body(autojump_clock):
    _, _, said = await conversation(Scripted([bytes.fromhex("89 05 48 65 6c 6c 6f"), close(1000)]))
    assert said[0] == Pong(b"Hello")


async def test_what_we_send_is_masked_with_ever_new_keys(autojump_clock):
    stream = Scripted([], patient=True)
    keys = set()

    async def dial(_host, _port):
        await trio.lowlevel.checkpoint()
        return stream

    async with connect("ws://acme.test/", dial=dial) as connection:
        for _ in range(50):
            start = len(stream.received)
            await connection.send(b"\x00\x00\x00\x00")
            sent = bytes(stream.received[start:])
            assert sent[:2] == b"\x82\x84"
            assert sent[2:6] == sent[6:]
            keys.add(sent[2:6])
    assert len(keys) == 50


async def test_messages_that_are_sent_at_once_arrive_in_order(autojump_clock):
    stream = Scripted([], patient=True)

    async def dial(_host, _port):
        await trio.lowlevel.checkpoint()
        return stream

    async with connect("ws://acme.test/", dial=dial) as connection:
        await connection.send("one", b"two", "three")
    server = wsproto.connection.Connection(wsproto.ConnectionType.SERVER)
    server.receive_data(bytes(stream.received))
    assert [event.data for event in server.events() if hasattr(event, "data")] == ["one", b"two", "three"]


FORBIDDEN = {
    **{f"5.2 opcode {opcode}": (frame(opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    **{f"5.2 reserved bits {bits}": (frame(TEXT, b"x", reserved=bits), 1002) for bits in range(1, 8)},
    "5.1 masked": (frame(TEXT, b"x", mask=b"\0\0\0\0"), 1002),
    "5.4 continuation of nothing": (frame(CONTINUED, b"x"), 1002),
    "5.4 a message within a message": (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), 1002),
    "5.5 fragmented ping": (frame(PING, fin=False), 1002),
    "5.5 fragmented close": (frame(CLOSE, fin=False), 1002),
    "5.5 long ping": (frame(PING, bytes(126)), 1002),
    "5.5 long pong": (frame(PONG, bytes(126)), 1002),
    "5.5.1 close of one byte": (frame(CLOSE, b"x"), 1002),
    **{f"7.4 close code {code}": (close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999)},
    "8.1 close reason": (close(1000, b"\xff"), 1007),
    **{
        f"8.1 {bad.hex()}": (frame(TEXT, bad), 1007)
        for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"ok \xe2\x82")
    },
    "8.1 in fragments": (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUED, b"x"), 1007),
    "10.4 too long": (frame(BINARY, bytes(2**17 + 1)), 1009),
    "10.4 too long in fragments": (frame(BINARY, bytes(2**17), fin=False) + frame(CONTINUED, b"x"), 1009),
    "10.4 a length that nobody has": (b"\x82\x7f\x7f" + b"\xff" * 7, 1009),
}


@pytest.mark.parametrize(("wire", "code"), FORBIDDEN.values(), ids=FORBIDDEN)
async def test_what_the_protocol_forbids_ends_the_link(wire, code, autojump_clock):
    messages, (told, _), said = await conversation(Scripted([frame(TEXT, b"before"), wire, frame(TEXT, b"after")]))
    assert messages == ["before"]
    # trio-websocket leaves without a word where the peer has, too, and does not mind a length before it has come.
    trio_websocket = websocket_peer.driver == "trio-websocket"
    assert told == code or (trio_websocket and told == 1006)
    told_the_peer = [event.code for event in said if isinstance(event, CloseConnection)]
    assert told_the_peer == [code] or (trio_websocket and not told_the_peer)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1011, 1012, 1013, 3000, 3999, 4000, 4999])
async def test_close_codes_that_7_4_allows_are_told(code, autojump_clock):
    _, (told, reason), said = await conversation(Scripted([close(code, b"because")]))
    assert (told, reason) == (code, "because")
    assert [event.code for event in said] == [code]


@pytest.mark.parametrize("empty", [1, 5000])
async def test_empty_fragments_are_nothing_however_many(empty, autojump_clock):
    wire = frame(BINARY, b"a", fin=False) + frame(CONTINUED, fin=False) * empty + frame(CONTINUED, b"b")
    messages, _, _ = await conversation(Scripted([wire]))
    assert messages == [b"ab"]


async def test_a_ping_of_ours_is_answered_by_its_own_pong_only(nursery, autojump_clock):
    stream = Scripted([frame(PONG, b"another's") + close(1001)], patient=True)

    async def dial(_host, _port):
        await trio.lowlevel.checkpoint()
        return stream

    async with connect("ws://acme.test/", dial=dial) as connection:
        with pytest.raises(Exception, match="1001"):
            await connection.ping()
    assert any(isinstance(event, Ping) for event in stream.said())


async def test_nothing_that_is_said_is_logged(caplog, autojump_clock):
    caplog.set_level(logging.DEBUG)
    stream = Scripted([frame(TEXT, b"no such key: s3cr3t"), close(1008, b"bad key s3cr3t")], patient=True)

    async def dial(_host, _port):
        await trio.lowlevel.checkpoint()
        return stream

    headers = [("Authorization", "Token s3cr3t")]
    async with connect("ws://acme.test/?key=s3cr3t", dial=dial, headers=headers) as connection:
        await connection.send('{"key": "s3cr3t"}')
        await connection.receive()
        with pytest.raises(LinkClosed):
            await connection.send("s3cr3t")
            await connection.receive()
    for record in caplog.records:
        if not record.name.startswith("trio-websocket"):  # it shows what the server has said
            assert "s3cr3t" not in f"{record.getMessage()} {record.args!r}"
