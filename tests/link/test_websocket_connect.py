"""How a websocket comes about, and every way in which it does not."""

import contextlib
import socket
import ssl

import pytest
import trio
import trustme
from websocket_peer import PROVIDER, connect, echo, lockstep, memory_connect, memory_dial, tcp_server

from voicetrio import errors
from voicetrio._link import _stream
from voicetrio._link._handshake import request_id
from voicetrio._link.connection import ConnectionOptions
from voicetrio._link.endpoint import Endpoint


async def fails(target, expected, **kwargs):
    """Connect to `target` and return the error, which must be exactly one, at once."""
    with trio.fail_after(5), pytest.raises(expected) as caught:
        async with connect(target, provider=PROVIDER, **kwargs):
            raise AssertionError("connected")
    assert caught.value.provider == PROVIDER
    return caught.value


def replying(data, *, then=None):
    """A server that reads the request, sends `data`, and closes, or does `then`."""

    async def play(peer):
        await peer.next_event()
        await peer.stream.send_all(data)
        if then is not None:
            await then()

    return play


async def test_an_accepted_connection_shows_the_response_headers_and_the_request_id():
    async def play(peer):
        request = await peer.accept([(b"DG-Request-Id", b"r-17"), (b"X-Two", b"a"), (b"x-two", b"b")])
        assert request.target == "/speak?model=nova"
        assert (b"x-key", b"secret") in list(request.extra_headers)
        await peer.until_closed()

    async with tcp_server(play) as address:
        url = f"ws://{address}/speak?model=nova"
        with trio.fail_after(5):
            async with connect(url, headers=[("X-Key", "secret")]) as connection:
                assert connection.headers["dg-request-id"] == "r-17"
                assert connection.headers["x-two"] == "a, b"
                assert connection.request_id == "r-17"


# --- no TCP ---------------------------------------------------------------------------------------------------------


async def test_refused_tcp_is_a_connect_error_with_its_cause():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, so that nobody else listens there; not listening itself
        error = await fails(f"ws://127.0.0.1:{unused.getsockname()[1]}/", errors.ConnectError)

    assert isinstance(error.__cause__, OSError)


async def test_unknown_name_is_a_connect_error():
    async def dial(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    error = await fails("ws://nowhere.test/", errors.ConnectError, dial=dial)

    assert "Name or service not known" in str(error)


async def test_a_bug_in_dial_stays_that_bug():
    async def dial(host, port):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        async with connect("ws://acme.test/", dial=dial):
            pass


@pytest.mark.parametrize("url", ["ws://acme.test/", "wss://acme.test/"])
async def test_each_silent_stage_of_connecting_ends_at_the_connect_timeout(url, autojump_clock, nursery):
    async def silent(peer):
        await trio.sleep_forever()

    async def slow_dial(host, port):
        await trio.sleep_forever()

    for dial in (slow_dial, memory_dial(nursery, silent)):
        begun = trio.current_time()
        with pytest.raises(errors.ConnectTimeout):
            async with connect(url, dial=dial, options=ConnectionOptions(connect_timeout=3)):
                pass
        assert trio.current_time() - begun == pytest.approx(3)


async def test_a_peer_that_takes_not_even_the_request_delays_neither_timeout_nor_cancellation(autojump_clock, nursery):
    async def play(peer):
        await trio.sleep_forever()

    async def connect_to_it():
        options = {"connect_timeout": 1, "send_timeout": 60}
        async with memory_connect(nursery, play, pair=lockstep, **options):
            raise AssertionError("connected")

    begun = trio.current_time()
    with pytest.raises(errors.ConnectTimeout):
        await connect_to_it()
    assert trio.current_time() - begun == pytest.approx(1)

    begun = trio.current_time()
    with trio.move_on_after(0.1):
        await connect_to_it()
    assert trio.current_time() - begun == pytest.approx(0.1)


# --- no websocket ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"HT", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs"])
async def test_handshake_eof_does_not_cost_the_connect_timeout(begun):
    async with tcp_server(replying(begun)) as address:
        error = await fails(f"ws://{address}/", errors.ConnectError)

    assert not isinstance(error, (errors.ConnectTimeout, errors.UpgradeRejected))
    assert "closed" in str(error)


async def test_a_reset_during_the_handshake_is_a_connect_error():
    async def play(peer):
        await peer.next_event()
        peer.reset()

    async with tcp_server(play) as address:
        error = await fails(f"ws://{address}/", errors.ConnectError)

    assert "reset" in str(error)


ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nx: " + b"y" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ACCEPT + b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
        ACCEPT + b"Sec-WebSocket-Protocol: \xe9\r\n\r\n",
        ACCEPT + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        ACCEPT + b"Connection: \xe9\r\n\r\n",
    ],
    ids=["ssh", "tls", "status", "endless", "no-upgrade", "accept", "protocol", "extension", "connection"],
)
async def test_a_garbage_reply_is_a_connect_error_at_once(garbage):
    # The server keeps the connection open, so that only the reply itself can end the wait.
    async with tcp_server(replying(garbage, then=trio.sleep_forever)) as address:
        error = await fails(f"ws://{address}/", errors.ConnectError)

    assert not isinstance(error, (errors.ConnectTimeout, errors.UpgradeRejected))
    assert error.__cause__ is not None
    assert len(str(error)) < 400


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, errors.UpgradeRejected),
        (302, errors.UpgradeRejected),
        (400, errors.BadRequest),
        (401, errors.AuthenticationError),
        (402, errors.PaymentRequired),
        (403, errors.AuthenticationError),
        (404, errors.BadRequest),
        (418, errors.UpgradeRejected),
        (422, errors.BadRequest),
        (429, errors.RateLimited),
        (503, errors.ServiceUnavailable),
    ],
)
async def test_a_refusal_is_one_plain_error_that_says_what_it_means(status, meaning):
    reply = b"HTTP/1.1 %d Hm\r\nContent-Length: 8\r\nx-request-id: r-1\r\nLocation: /other\r\n\r\nno\r\nmore" % status
    async with tcp_server(replying(reply, then=trio.sleep_forever)) as address:
        error = await fails(f"ws://{address}/", meaning)

    assert isinstance(error, errors.UpgradeRejected)
    assert (error.status, error.body, error.reason, error.request_id) == (status, b"no\r\nmore", "no more", "r-1")


async def test_401_without_content_length_then_close_shows_status_and_body():
    reply = b'HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\n\r\n{"err": "INVALID_AUTH"}'
    async with tcp_server(replying(reply)) as address:
        error = await fails(f"ws://{address}/", errors.AuthenticationError)

    assert (error.status, error.body) == (401, b'{"err": "INVALID_AUTH"}')


@pytest.mark.parametrize("patience", [0.5, 10.0])
async def test_a_refusal_whose_body_stalls_is_reported_with_what_came(patience, autojump_clock, nursery):
    play = replying(b"HTTP/1.1 429 No\r\nContent-Length: 99\r\n\r\nslow do", then=trio.sleep_forever)

    begun = trio.current_time()
    with pytest.raises(errors.RateLimited) as caught:
        async with memory_connect(nursery, play, connect_timeout=patience):
            pass

    assert caught.value.body == b"slow do"
    assert trio.current_time() - begun <= min(patience, 1.0) + 0.1


async def test_a_refusal_whose_body_is_cut_or_malformed_is_still_that_refusal():
    for body in (b"Content-Length: 99\r\n\r\nfull up", b"Transfer-Encoding: chunked\r\n\r\nfull up\r\n"):
        async with tcp_server(replying(b"HTTP/1.1 503 No\r\n" + body)) as address:
            await fails(f"ws://{address}/", errors.ServiceUnavailable)


async def test_an_endless_body_is_bounded():
    async def play(peer):
        await peer.next_event()
        await peer.stream.send_all(b"HTTP/1.1 400 No\r\n\r\n")
        while True:
            await peer.stream.send_all(b"\x1b[31m no " * 1000)

    async with tcp_server(play) as address:
        error = await fails(f"ws://{address}/", errors.BadRequest)

    assert len(error.body) == 16 * 2**10
    assert len(str(error)) < 400
    assert "\x1b" not in str(error)


async def test_an_informational_reply_is_passed_over():
    reply = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 402 Pay\r\nContent-Length: 0\r\n\r\n"
    async with tcp_server(replying(reply)) as address:
        error = await fails(f"ws://{address}/", errors.PaymentRequired)

    assert error.status == 402


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (b"Retry-After: 7", 7.0),
        (b"Retry-After: Wed, 21 Oct 2026 07:28:30 GMT\r\nDate: Wed, 21 Oct 2026 07:28:00 GMT", 30.0),
        (b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (b"Retry-After: soon", None),
        (b"X: y", None),
    ],
)
async def test_retry_after_is_read_in_both_its_forms(headers, seconds):
    reply = b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n%s\r\n\r\n" % headers
    async with tcp_server(replying(reply)) as address:
        error = await fails(f"ws://{address}/", errors.RateLimited)

    assert error.retry_after == seconds


@pytest.mark.parametrize("name", ["dg-request-id", "x-cartesia-request-id", "x-request-id", "request-id"])
def test_the_headers_of_all_vendors_tell_the_request(name):
    assert request_id({"server": "s", name: "r-3"}) == "r-3"


def test_the_vendors_own_id_says_more_than_a_proxys():
    headers = {"request-id": "1", "x-request-id": "2", "x-cartesia-request-id": "3"}
    assert request_id(headers) == "3"


async def test_no_error_shows_a_secret():
    body = b"bad key s3cr3t-key in ?api_key=qu3ry%2Bkey qu3ry+key"
    async with tcp_server(replying(b"HTTP/1.1 401 No\r\n\r\n" + body)) as address:
        url = f"ws://{address}/speak?api_key=qu3ry%2Bkey&model=nova"
        error = await fails(url, errors.AuthenticationError, headers=[("Authorization", "Token s3cr3t-key")])

    for shown in (str(error), repr(error), error.reason):
        assert "s3cr3t" not in shown
        assert "qu3ry+" not in shown
        assert "nova" not in shown
    assert f"ws://{address}/speak " in str(error)


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(authority, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_context(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls_works_with_the_given_context(authority):
    async with tcp_server(echo, server_context(authority, "127.0.0.1")) as address:
        with trio.fail_after(5):
            async with connect(f"wss://{address}/", ssl_context=client_context(authority)) as connection:
                await connection.send(b"\x00" * 2**20)
                assert await connection.receive() == b"\x00" * 2**20
                await connection.ping()


async def test_an_untrusted_certificate_is_a_connect_error_with_the_reason(authority):
    async with tcp_server(echo, server_context(authority, "127.0.0.1")) as address:
        error = await fails(f"wss://{address}/", errors.ConnectError)

    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    assert "certificate verify failed" in str(error)


async def test_a_certificate_for_another_name_is_a_connect_error_with_the_reason(authority):
    async with tcp_server(echo, server_context(authority, "other.test")) as address:
        error = await fails(f"wss://{address}/", errors.ConnectError, ssl_context=client_context(authority))

    assert "IP address mismatch" in str(error)


async def test_a_server_without_tls_is_a_connect_error():
    async def play(peer):
        await peer.stream.receive_some()
        await peer.stream.send_all(b"HTTP/1.1 400 No\r\n\r\n")

    async with tcp_server(play) as address:
        error = await fails(f"wss://{address}/", errors.ConnectError)

    assert isinstance(error.__cause__, ssl.SSLError)


def test_the_default_context_is_made_once():
    assert _stream._default_ssl_context() is _stream._default_ssl_context()


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "acme.test",
        "http://acme.test/",
        "ws:///path",
        "ws://user:pw-s3cr3t@acme.test/",
        "ws://acme.test:0/",
        "ws://acme.test:65536/",
        "ws://acme.test:port/",
        "ws://[::1/",
        "ws://acme.test/a b",
        "ws://acme.test/\r\nX: y",
        "ws://acme.test/?token=s3cr3t\n",
        "ws://acmé.test/",
        "ws://acme.test/#part",
    ],
)
def test_a_url_that_cannot_work_is_refused_before_any_io(url):
    with pytest.raises(errors.ConfigurationError) as caught:
        connect(url)

    assert "s3cr3t" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "header",
    [
        ("X-Key", "s3cr3t\r\nX: y"),
        ("X-Key", "s3cr3t\n"),
        ("X-Key", " s3cr3t"),
        ("X-Key", "s3cr3t\N{SNOWMAN}"),
        ("X Key", "value"),
        ("", "value"),
        ("Host", "acme.test"),
        ("Sec-WebSocket-Protocol", "token"),
    ],
)
def test_a_header_that_cannot_work_is_refused_before_any_io(header):
    with pytest.raises(errors.ConfigurationError) as caught:
        connect("ws://acme.test/", headers=[header])

    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("name", ["connect_timeout", "send_timeout", "close_timeout", "max_message", "queue"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_bound_that_is_none_is_refused(name, value):
    with pytest.raises(errors.ConfigurationError, match=name):
        ConnectionOptions(**{name: value})


@pytest.mark.parametrize(
    ("url", "dialled", "authority"),
    [
        ("ws://[::1]:8080/", ("::1", 8080), "[::1]:8080"),
        ("ws://[::1]/", ("::1", 80), "[::1]"),
        ("ws://acme.test:443/", ("acme.test", 443), "acme.test:443"),
        ("ws://acme.test:80", ("acme.test", 80), "acme.test"),
        ("WS://Acme.test:81/", ("acme.test", 81), "acme.test:81"),
    ],
)
async def test_host_and_port_are_dialled_and_named(url, dialled, authority, nursery):
    seen = []

    async def play(peer):
        request = await peer.accept()
        seen.append(request.host)
        await peer.until_closed()

    in_memory = memory_dial(nursery, play)

    async def dial(host, port):
        seen.append((host, port))
        return await in_memory(host, port)

    async with connect(url, dial=dial):
        pass

    assert seen == [dialled, authority]


# --- cancelled ------------------------------------------------------------------------------------------------------


async def test_cancelling_a_connect_closes_the_socket():
    closed = trio.Event()

    async def play(peer):
        await peer.next_event()
        scope.cancel()
        with contextlib.suppress(trio.BrokenResourceError):
            assert await peer.stream.receive_some() == b""
        closed.set()

    async with tcp_server(play) as address:
        with trio.fail_after(5):
            with trio.CancelScope() as scope:
                async with connect(f"ws://{address}/"):
                    raise AssertionError("connected")
            assert scope.cancelled_caught
            await closed.wait()


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "1.2.3.999", "127.0.0.01", "[::1", "[1:2]"])
@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_host_that_can_be_none_is_refused_before_anything_is_sent(scheme, host):
    with pytest.raises(errors.ConfigurationError):
        Endpoint(f"{scheme}://{host}/path")


@pytest.mark.parametrize(
    "shown",
    [
        "https://gateway/?secret=abc%2Bdef%2Fghi%3D%3DSECRET",
        '{"token":"abc+def\\/ghi==SECRET"}',
        " " * 12_790 + "abc+def/ghi==SECRET",
        "x" * 190 + "abc+def/ghi==SECRET",
    ],
)
def test_a_secret_is_hidden_however_it_comes_back(shown):
    target = Endpoint("wss://gateway.test/", secrets=("abc+def/ghi==SECRET",)).target("videosdk")
    for limit in (200, 600):
        assert "SECRET" not in target.printable(shown, limit)
        assert "def" not in target.printable(shown, limit)
