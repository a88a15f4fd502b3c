"""A hand-written server in memory: what it answers is bytes of the test's own choosing."""

import json
from contextlib import asynccontextmanager

import h11
import trio
import trio.testing

from voicetrio._link.nursery import plain_exceptions

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def token(text):
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


def finish(reason="stop"):
    return event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def calls(*names):
    fragments = [
        {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": "{}"}}
        for index, name in enumerate(names)
    ]
    return event({"choices": [{"delta": {"tool_calls": fragments}}]})


def whole(*events, head=HEAD):
    """A whole response."""
    return head + chunk(b"".join(events) + DONE) + END


async def next_request(stream):
    """The body of the next request, as an object; None when the client has left."""
    http, body = h11.Connection(h11.SERVER), b""
    while True:
        what = http.next_event()
        if what is h11.NEED_DATA:
            data = await stream.receive_some(65536)
            if not data:
                return None
            http.receive_data(bytes(data))
        elif isinstance(what, h11.Data):
            body += what.data
        elif isinstance(what, h11.EndOfMessage):
            return json.loads(body)


@asynccontextmanager
async def serving(serve, *, delay=0.0):
    """The dial that leads to `serve`, which is called with each connection's stream; dialling takes `delay` seconds."""

    async def run(stream):
        try:
            await serve(stream)
            await trio.sleep_forever()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    with plain_exceptions(), trio.fail_after(1000):  # nothing here may take long, by the clock that jumps
        async with trio.open_nursery() as nursery:

            async def dial(_host, _port):
                await trio.sleep(delay)
                ours, theirs = trio.testing.memory_stream_pair()
                nursery.start_soon(run, theirs)
                return ours

            yield dial
            nursery.cancel_scope.cancel()


def answering(*responses, requests=None):
    """Answer each request, on whichever connection, with the next response, the last one again and again."""
    left = list(responses)

    async def serve(stream):
        while (body := await next_request(stream)) is not None:
            if requests is not None:
                requests.append(body)
            await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    return serve
