"""Requests over HTTP against a hand-written server: it answers with bytes of its own choosing."""

import gzip
import json
from contextlib import asynccontextmanager

import h11
import pytest
import trio
import trio.testing

from voicetrio import errors
from voicetrio._link.http import connect

URL = "http://api.test:8080/v1/speak?voice=a"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Request-Id: r-1\r\n\r\nfour"


class Peer:
    """The server's end of one connection."""

    def __init__(self, stream):
        self.stream = stream
        self.left = trio.Event()
        self._http = h11.Connection(h11.SERVER)

    async def request(self):
        """The next request's head and its body; None when the client has left."""
        head, body = None, b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                try:
                    data = await self.stream.receive_some(65536)
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    self.left.set()
                    return None
                self._http.receive_data(bytes(data))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._http = h11.Connection(h11.SERVER)  # what is answered is not its business
                return head, body

    async def say(self, data):
        await self.stream.send_all(data)


@asynccontextmanager
async def talk(play, *, url=URL, headers=(), wrap=lambda stream: stream):
    """A connection to a peer that plays a part."""
    ours, theirs = trio.testing.memory_stream_pair()
    peer = Peer(theirs)

    async def dial(host, port):
        await trio.lowlevel.checkpoint()
        assert (host, port) == ("api.test", 8080)
        return wrap(ours)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, peer)
        async with connect(url, headers=headers, dial=dial, provider="acme") as connection:
            yield connection, peer
        nursery.cancel_scope.cancel()


async def response(connection):
    """The headers and the body of the next response."""
    headers, body = json.loads(await connection.receive()), b""
    while piece := await connection.receive():
        body += piece
    return headers, body


async def answer(peer, *replies):
    """Answer as many requests, then wait until the client leaves."""
    for reply in replies:
        assert await peer.request()
        await peer.say(reply)
    await peer.request()


def answering(*replies):
    async def play(peer):
        await answer(peer, *replies)

    return play


async def test_an_error_is_not_told_with_the_request_before(autojump_clock):
    async def play(peer):
        await answer(peer, WHOLE)
        await peer.stream.aclose()

    async with talk(play) as (connection, _):
        await connection.send(b"1")
        await response(connection)
        await connection.send(b"2")
        with pytest.raises(errors.LinkClosed) as caught:
            await connection.receive()
    assert caught.value.request_id is None


async def test_two_requests_on_one_connection(autojump_clock):
    requests = []

    async def play(peer):
        for number in b"1", b"2":
            requests.append(await peer.request())
            await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Number: %b\r\n\r\nn%b" % (number, number))
        await peer.request()

    async with talk(play, headers=[("Authorization", "Bearer k")]) as (connection, _):
        for number, message in enumerate(["één", b"\x00\xff"], 1):
            await connection.send(message)
            headers, body = await response(connection)
            assert (headers["x-number"], body) == (str(number), b"n%d" % number)
    assert [body for _, body in requests] == ["één".encode(), b"\x00\xff"]
    for head, body in requests:
        headers = dict(head.headers)
        assert (head.method, head.target) == (b"POST", b"/v1/speak?voice=a")
        assert headers[b"host"] == b"api.test:8080"
        assert headers[b"authorization"] == b"Bearer k"
        assert headers[b"content-type"] == b"application/json"
        assert int(headers[b"content-length"]) == len(body)


async def test_what_a_server_sets_is_not_sent_back(autojump_clock):
    heads = []

    async def play(peer):
        for _ in range(2):
            heads.append((await peer.request())[0])
            await peer.say(WHOLE.replace(b"X-Request-Id: r-1", b"Set-Cookie: session=somebody; Path=/"))
        await peer.request()

    async with talk(play) as (connection, _):
        for _ in range(2):
            await connection.send("{}")
            await response(connection)
    assert all(b"cookie" not in dict(head.headers) for head in heads)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, errors.ProtocolError), (401, errors.AuthenticationError), (503, errors.ServiceUnavailable)],
)
async def test_what_is_compressed_unasked_is_not_unpacked(autojump_clock, status, kind):
    body = gzip.compress(b"four")
    head = b"HTTP/1.1 %d X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    async with talk(answering(head + body)) as (connection, _):
        await connection.send("{}")
        with pytest.raises(kind):
            await response(connection)


@pytest.mark.parametrize("location", [b"mailto:x", b"http://1.2.3.999/", b"/elsewhere"])
async def test_a_redirect_is_not_followed(autojump_clock, location):
    reply = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location
    async with talk(answering(reply)) as (connection, _):
        await connection.send("{}")
        with pytest.raises(errors.ProviderError) as raised:
            await response(connection)
    assert raised.value.status == 302


async def test_a_second_response_does_not_answer_the_next_request(autojump_clock):
    async with talk(answering(WHOLE + WHOLE)) as (connection, _):
        await connection.send("{}")
        assert (await response(connection))[1] == b"four"
        with pytest.raises(errors.LinkClosed):
            await connection.receive()


async def test_a_request_may_be_made_before_the_one_ahead_is_answered(autojump_clock):
    play = answering(WHOLE, WHOLE.replace(b"four", b"more"))
    async with talk(play) as (connection, _), trio.open_nursery() as nursery:
        nursery.start_soon(connection.send, "a")
        nursery.start_soon(connection.send, "b")
        assert (await response(connection))[1] == b"four"
        assert (await response(connection))[1] == b"more"


async def test_a_body_comes_in_pieces_as_it_is_sent(autojump_clock):
    async def play(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in b"one", b"three", b"x":
            await trio.sleep(1)
            await peer.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        await trio.sleep(1)
        await peer.say(b"0\r\n\r\n")
        await peer.request()

    async with talk(play) as (connection, _):
        await connection.send("a")
        assert isinstance(await connection.receive(), str)
        came = []
        while not came or came[-1][1]:
            came.append((trio.current_time(), await connection.receive()))
            came[-1] = (trio.current_time(), came[-1][1])
    assert came == [(1, b"one"), (2, b"three"), (3, b"x"), (4, b"")]


async def test_what_one_read_brought_of_a_body_comes_as_one_piece(autojump_clock):
    async def play(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n")
        await trio.sleep(1)
        await peer.say(b"1\r\nd\r\n0\r\n\r\n")
        await peer.request()

    async with talk(play) as (connection, _):
        await connection.send("a")
        await connection.receive()
        assert [await connection.receive() for _ in range(3)] == [b"abc", b"d", b""]


class Counted(trio.abc.Stream):
    """It tells what was written, and how much was read."""

    def __init__(self, stream):
        self._stream = stream
        self.writes = []
        self.read = 0

    async def send_all(self, data):
        self.writes.append(bytes(data))
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes=None):
        data = await self._stream.receive_some(max_bytes)
        self.read += len(data)
        return data

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await self._stream.aclose()


@pytest.mark.parametrize("body", [b"{}", b""])
async def test_a_request_goes_out_in_one_write(autojump_clock, body):
    streams = []

    def wrap(stream):
        streams.append(Counted(stream))
        return streams[0]

    async with talk(answering(WHOLE, WHOLE), wrap=wrap) as (connection, _):
        for _ in range(2):
            await connection.send(body)
            await response(connection)
    assert [write.partition(b"\r\n\r\n")[2] for write in streams[0].writes] == [body, body]


async def test_nothing_more_is_read_until_what_was_read_is_taken(autojump_clock):
    streams = []

    def wrap(stream):
        streams.append(Counted(stream))
        return streams[0]

    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def play(peer):
        await peer.request()
        await peer.say(head)
        for _ in range(9):
            await trio.sleep(1)
            await peer.say(b"1\r\nx\r\n")
        await peer.request()

    async with talk(play, wrap=wrap) as (connection, _):
        await connection.send("a")
        await trio.sleep(5.5)
        assert streams[0].read == len(head)
        await connection.receive()
        await trio.testing.wait_all_tasks_blocked()
        assert streams[0].read == len(head) + 5 * 6
        await trio.sleep(3)
        assert streams[0].read == len(head) + 5 * 6
        assert await connection.receive() == b"xxxxx"
        assert await connection.receive() == b"xxx"


async def test_a_receive_that_is_cancelled_has_taken_nothing(autojump_clock):
    async def play(peer):
        await peer.request()
        await trio.sleep(1)
        await peer.say(WHOLE)
        await peer.request()

    async with talk(play) as (connection, _):
        await connection.send("a")
        for _ in range(3):
            with trio.move_on_after(0.1) as scope:
                await connection.receive()
            assert scope.cancelled_caught
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await connection.receive()
        assert scope.cancelled_caught
        assert (await response(connection))[1] == b"four"


async def test_a_request_that_is_cancelled_before_its_turn_is_not_sent(autojump_clock):
    async def play(peer):
        assert (await peer.request())[1] == b"a"
        await trio.sleep(1)
        await peer.say(WHOLE)
        assert (await peer.request())[1] == b"c"
        await peer.say(WHOLE)
        await peer.request()

    async with talk(play) as (connection, _):
        await connection.send("a")
        with trio.move_on_after(0.5):
            await connection.send("b")
        assert (await response(connection))[1] == b"four"
        await connection.send("c")
        assert (await response(connection))[1] == b"four"


async def test_every_byte_by_itself(autojump_clock):
    async def play(peer):
        await peer.request()
        for byte in WHOLE:
            await peer.say(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        await peer.request()

    async with talk(play) as (connection, _):
        await connection.send("a")
        headers, body = await response(connection)
        assert (headers["content-length"], body) == ("4", b"four")
        assert connection.request_id == "r-1"


async def test_an_empty_body_has_an_end(autojump_clock):
    async with talk(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", WHOLE)) as (connection, _):
        await connection.send("a")
        assert (await response(connection))[1] == b""
        await connection.send("b")
        assert (await response(connection))[1] == b"four"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, errors.ProviderError),
        (400, errors.BadRequest),
        (401, errors.AuthenticationError),
        (402, errors.PaymentRequired),
        (403, errors.AuthenticationError),
        (404, errors.BadRequest),
        (410, errors.BadRequest),
        (418, errors.ProviderError),
        (429, errors.RateLimited),
        (500, errors.ServiceUnavailable),
        (503, errors.ServiceUnavailable),
    ],
)
async def test_a_refusal_is_an_error_of_its_kind(autojump_clock, status, kind):
    reply = (
        b"HTTP/1.1 %d No\r\nContent-Length: 15\r\nX-Request-Id: r-2\r\nRetry-After: 7\r\n\r\nnot for\nsecret!" % status
    )
    async with talk(answering(reply), headers=[("Authorization", "Bearer secret")]) as (connection, _):
        await connection.send("a")
        with pytest.raises(errors.ProviderError) as caught:
            await connection.receive()
        error = caught.value
        assert type(error) is kind
        assert (error.status, error.retry_after, error.request_id) == (status, 7, "r-2")
        assert error.provider == "acme"
        assert error.reason == "not for ***!"
        assert "secret" not in str(error)
        assert "voice=a" not in str(error)
        with pytest.raises(kind):  # and it stays so
            await connection.send("b")


async def test_a_refusal_whose_body_does_not_come_is_told_all_the_same(autojump_clock):
    reply = b"HTTP/1.1 429 No\r\nContent-Length: 100\r\n\r\nonly this"
    async with talk(answering(reply)) as (connection, _):
        await connection.send("a")
        with pytest.raises(errors.RateLimited, match="only this") as caught:
            await connection.receive()
        assert trio.current_time() <= 2
        assert caught.value.retry_after is None


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nfour",
    ],
)
async def test_a_cut_response_is_a_closed_link(autojump_clock, reply):
    async def play(peer):
        await peer.request()
        if reply:
            await peer.say(reply)
        await peer.stream.aclose()

    async with talk(play) as (connection, _):
        await connection.send("a")
        body = b""
        with pytest.raises(errors.LinkClosed) as caught:
            while True:
                piece = await connection.receive()
                body += piece if isinstance(piece, bytes) else b""
        assert caught.value.code == 1006
        assert body == (b"four" if b"four" in reply else b"")  # what came is delivered first


@pytest.mark.parametrize("reply", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_what_is_not_http_ends_the_connection(autojump_clock, reply):
    async with talk(answering(reply)) as (connection, _):
        await connection.send("a")
        with pytest.raises(errors.LinkClosed):
            await response(connection)


@pytest.mark.parametrize("version", [b"1.1 200 OK\r\nConnection: close", b"1.0 200 OK"])
async def test_a_connection_for_one_response_ends_after_it(autojump_clock, version):
    reply = b"HTTP/%b\r\nContent-Length: 4\r\n\r\nfour" % version
    async with talk(answering(reply)) as (connection, _):
        await connection.send("a")
        assert (await response(connection))[1] == b"four"
        with pytest.raises(errors.LinkClosed):
            await connection.receive()
        with pytest.raises(errors.LinkClosed):
            await connection.send("b")


async def test_a_body_that_ends_with_the_connection_is_whole(autojump_clock):
    async def play(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfour")
        await peer.stream.aclose()

    async with talk(play) as (connection, _):
        await connection.send("a")
        assert (await response(connection))[1] == b"four"


@pytest.mark.parametrize("served", [0, 1])
async def test_a_server_that_leaves_while_idle_is_noticed(autojump_clock, served):
    async def play(peer):
        for _ in range(served):
            await peer.request()
            await peer.say(WHOLE)
        await trio.sleep(3)
        await peer.stream.aclose()

    async with talk(play) as (connection, _):
        if served:
            await connection.send("a")
            await response(connection)
        with pytest.raises(errors.LinkClosed) as caught:
            await connection.receive()
        assert trio.current_time() == 3
        assert caught.value.code == 1006
        with pytest.raises(errors.LinkClosed):
            await connection.send("b")


async def test_a_server_that_speaks_unasked_is_not_listened_to(autojump_clock):
    async def play(peer):
        await peer.say(WHOLE)
        await peer.request()

    async with talk(play) as (connection, _):
        with pytest.raises(errors.LinkClosed):
            await connection.receive()


async def test_cancelling_drops_the_stream_at_once(autojump_clock):
    left = []

    async def play(peer):
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour")
        await peer.request()
        left.append(trio.current_time())

    ours, theirs = trio.testing.memory_stream_pair()
    peer = Peer(theirs)

    async def dial(host, port):
        await trio.lowlevel.checkpoint()
        return ours

    left.clear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, peer)
        with trio.move_on_after(1.5):
            async with connect(URL, dial=dial) as connection:
                await connection.send("a")
                await response(connection)
        assert trio.current_time() == 1.5
        await peer.left.wait()
    assert left == [1.5]


async def test_closing_drops_the_stream_and_what_comes_after_is_refused(autojump_clock):
    async with talk(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour")) as (connection, peer):
        await connection.send("a")
        await connection.receive()
        await connection.receive()
        await connection.close()
        await connection.close()
        await peer.left.wait()
        assert trio.current_time() == 0
        for use in (connection.receive, lambda: connection.send("b")):
            with pytest.raises(errors.ClosedError):
                await use()


async def test_a_lone_surrogate_is_not_sent(autojump_clock):
    async with talk(answering(WHOLE)) as (connection, _):
        with pytest.raises(errors.InputError):
            await connection.send("\ud800")
        await connection.send("a")
        assert (await response(connection))[1] == b"four"


async def listening(peer):
    """Take whatever comes, and say nothing."""
    await peer.request()


class Trickle(trio.abc.Stream):
    """It carries a thousand bytes in a tenth of a second, and `most` in all."""

    def __init__(self, stream, most):
        self._stream = stream
        self._left = most

    async def send_all(self, data):
        for start in range(0, len(data), 1000):
            if self._left <= 0:
                await trio.sleep_forever()
            self._left -= 1000
            await trio.sleep(0.1)
            await self._stream.send_all(data[start : start + 1000])

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def aclose(self):
        await self._stream.aclose()


async def test_a_body_on_a_slow_line_is_sent_whole(autojump_clock):
    began = trio.current_time()
    async with talk(answering(WHOLE), wrap=lambda stream: Trickle(stream, 10**9)) as (connection, _):
        await connection.send(bytes(200_000))
        assert trio.current_time() - began > 20, "it is sent when the stream has taken it"
        _, body = await response(connection)
    assert body == b"four"


async def test_a_peer_that_accepts_no_more_of_a_body_is_stalled(autojump_clock):
    began = trio.current_time()
    async with talk(listening, wrap=lambda stream: Trickle(stream, 100_000)) as (connection, _):
        with pytest.raises(errors.LinkStalled, match="accepted no data for 5 s"):
            await connection.send(bytes(200_000))
        assert trio.current_time() - began == pytest.approx(15, abs=2)
        with pytest.raises(errors.LinkStalled):
            await connection.receive()
        with pytest.raises(errors.LinkStalled):
            await connection.send(b"")


async def test_what_a_server_says_before_it_has_all_of_a_body_is_heard(autojump_clock):
    async def play(peer):
        await peer.stream.receive_some(1000)
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo much")
        await peer.stream.aclose()

    async with talk(play, wrap=lambda stream: Trickle(stream, 10**9)) as (connection, _):
        with pytest.raises(errors.BadRequest, match="413: too much"):
            await connection.send(bytes(200_000))
            await connection.receive()


async def test_closing_ends_a_send(autojump_clock):
    async with talk(listening, wrap=lambda stream: Trickle(stream, 10**9)) as (connection, _):

        async def close():
            await trio.sleep(1)
            await connection.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            with pytest.raises(errors.ClosedError):
                await connection.send(bytes(200_000))
            assert trio.current_time() < 2


async def test_a_ping_is_nothing(autojump_clock):
    async with talk(answering()) as (connection, _):
        await connection.ping()
        assert connection.headers == {}


async def test_a_refused_dial_is_a_connect_error(autojump_clock):
    async def dial(host, port):
        await trio.lowlevel.checkpoint()
        raise OSError("no route")

    with pytest.raises(errors.ConnectError):
        async with connect(URL, dial=dial):
            pass


@pytest.mark.parametrize("url", ["ws://api.test/", "api.test", "http://", "http://a b/", "http://user:pass@api.test/"])
def test_a_url_that_cannot_be_used_is_refused_by_the_call(url):
    with pytest.raises(errors.ConfigurationError):
        connect(url)
