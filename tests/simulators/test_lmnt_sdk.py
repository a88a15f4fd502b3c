"""Outside truth: LMNT's own SDK against the simulator, over real sockets."""

import asyncio
import contextlib

import attrs
import pytest
import trio
from lmnt import AsyncLmnt
from lmnt_client import options_from
from websockets.exceptions import InvalidStatus

from voicetrio.simulators import tagged_pcm
from voicetrio.simulators.lmnt import LMNTSimulator

FIRST, SECOND = "Hello from trio.", "A second turn."


class Conversation:
    """One session of the SDK, and what it received, in order."""

    def __init__(self, port, **fields):
        self.client = AsyncLmnt(api_key="key", base_url=f"http://127.0.0.1:{port}")
        self.fields = {"voice": "leah", "format": "pcm_s16le"} | fields
        self.received = []

    @contextlib.asynccontextmanager
    async def session(self):
        async with self.client:
            session = await self.client.speech.sessions.create(**self.fields)
            try:
                yield session
            finally:
                await session.close()

    async def until(self, session, kind, nonce=None):
        """Read up to a message of this type, or up to the end; the audio before it."""
        audio = b""
        async for message in session:
            self.received.append(message)
            if message.type == "audio":
                audio += message.audio
            if message.type == kind and nonce in (None, getattr(message, "nonce", None)):
                break
        return audio

    async def turn(self, session, *texts):
        for words in texts:
            await session.send_text(words)
        return await self.until(session, "flush_complete", await session.send_flush())

    def kinds(self):
        return [message.type for message in self.received if message.type != "audio"]


async def run(talk):
    """Run asyncio code in a thread; it cannot outlive the test for long, because the simulator closes its sockets."""
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(asyncio.run, talk(), abandon_on_cancel=True)


@pytest.fixture
async def serve():
    """`async with serve(…) as server` on a real socket."""
    return lambda **fields: LMNTSimulator(options_from(fields)).serve()


async def test_one_turn(serve):
    async with serve() as server:
        conversation = Conversation(server.port)

        async def talk():
            async with conversation.session() as session:
                audio = await conversation.turn(session, "Hello ", "from trio.")
                return audio, session.request_id

        audio, request_id = await run(talk)
    assert audio == tagged_pcm(0, 0, 23040)
    assert conversation.kinds() == ["ready", "flush_complete"]
    assert conversation.received[-1].nonce == 1
    assert conversation.received[0].request_id == request_id


async def test_two_turns_on_one_socket(serve):
    async with serve() as server:
        conversation = Conversation(server.port, sample_rate=16000, language="en")

        async def talk():
            async with conversation.session() as session:
                return await conversation.turn(session, FIRST), await conversation.turn(session, SECOND)

        assert await run(talk) == (tagged_pcm(0, 0, 15360), tagged_pcm(1, 0, 13440))
    assert server.connections == 1


async def test_word_times(serve):
    async with serve() as server:
        conversation = Conversation(server.port, return_timestamps=True)

        async def talk():
            async with conversation.session() as session:
                await conversation.turn(session, FIRST)

        await run(talk)
    times = [each for message in conversation.received if message.type == "timestamps" for each in message.timestamps]
    assert [(each.text, each.start, each.duration) for each in times] == [
        ("Hello", 0.0, 0.3),
        ("from", 0.36, 0.24),
        ("trio.", 0.66, 0.3),
    ]


@pytest.mark.parametrize("fields", [{}, {"reset_runs_on": False, "late_frames": 2}, {"wrong_nonce": True}])
async def test_a_reset_and_then_a_turn(serve, fields):
    # At its own pace the first turn would take 1.6 minutes, so it is certainly not over when it is reset.
    async with serve(speed=1.0, ms_per_char=6000, **fields) as server:
        conversation = Conversation(server.port)

        async def be_quick():
            while not any("reset" in str(r["data"]) for r in server.log if r["event"] == "received"):
                await trio.lowlevel.checkpoint()
            server.options = attrs.evolve(server.options, speed=float("inf"), ms_per_char=60)

        async def talk():
            async with conversation.session() as session:
                await session.send_text(FIRST)
                await session.send_flush()
                first = await conversation.until(session, "audio")
                nonce = await session.send_reset()
                trio.from_thread.run(be_quick)
                first += await conversation.until(session, "reset_complete", nonce)
                return first, await conversation.turn(session, SECOND)

        first, second = await run(talk)
        cut = server.segments[0]
    assert cut.cleared
    assert (cut.sent < cut.samples) is ("late_frames" in fields)
    assert first == tagged_pcm(0, 0, cut.sent)
    assert len(first) >= 3 * 1920
    assert second == tagged_pcm(1, 0, 20160)


@pytest.mark.parametrize(
    ("options", "fields", "kind"),
    [
        ({"api_key": "right"}, {}, "authentication_error"),
        ({"known_voice": "leah"}, {"voice": "ava"}, "not_found_error"),
        ({}, {"format": None}, "invalid_request_error"),
        ({"error_frame": 3, "error_type": "rate_limit_error"}, {}, "rate_limit_error"),
    ],
)
async def test_an_error(serve, options, fields, kind):
    async with serve(**options) as server:
        conversation = Conversation(server.port, **fields)

        async def talk():
            async with conversation.session() as session:
                await conversation.turn(session, FIRST)
                return session.websocket.close_code

        assert await run(talk) == 1002
    # The SDK does not build its own ErrorBody.
    error = conversation.received[-1]
    assert error.type == "error"
    assert error.request_id
    assert dict(error.error)["type"] == kind


async def test_a_refusal_at_the_upgrade(serve):
    async with serve(refuse_status=429) as server:
        conversation = Conversation(server.port)

        async def talk():
            async with conversation.session():
                raise AssertionError("it must be refused")

        with pytest.raises(InvalidStatus) as caught:
            await run(talk)
    assert caught.value.response.status_code == 429


async def test_a_close_in_the_middle_of_a_turn(serve):
    async with serve(close_after=6, close_code=1011, close_reason="broken") as server:
        conversation = Conversation(server.port)

        async def talk():
            async with conversation.session() as session:
                audio = await conversation.turn(session, FIRST)
                return audio, session.websocket.close_code, session.websocket.close_reason

        assert await run(talk) == (tagged_pcm(0, 0, 5 * 960), 1011, "broken")


async def test_finish_ends_the_sdks_iteration_after_the_last_audio(serve):
    async with serve() as server:
        conversation = Conversation(server.port)

        async def talk():
            async with conversation.session() as session:
                await session.send_text(FIRST)
                await session.send_finish()
                return await conversation.until(session, "never"), session.websocket.close_code

        assert await run(talk) == (tagged_pcm(0, 0, 23040), 1000)
    assert [r["data"] for r in server.log if r["event"] == "close"] == [{"code": 1000, "reason": "", "by": "server"}]


async def test_audio_written_to_a_file(serve, tmp_path):
    async with serve() as server:
        conversation = Conversation(server.port)

        async def talk():
            async with conversation.session() as session:
                await session.send_text(FIRST)
                await session.send_finish()
                await session.stream_audio_to_file(tmp_path / "out.pcm")

        await run(talk)
    assert (tmp_path / "out.pcm").read_bytes() == tagged_pcm(0, 0, 23040)
