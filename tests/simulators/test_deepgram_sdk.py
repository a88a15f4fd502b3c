"""Outside truth: Deepgram's own SDK against the simulator, over real sockets."""

import json
from functools import partial

import pytest
import trio
from deepgram import DeepgramClient, DeepgramClientEnvironment
from deepgram.core.events import EventType
from deepgram.speak.v1.types import SpeakV1Clear, SpeakV1Text
from raw_client import options_from
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from voicetrio.simulators import DeepgramSimulator, tagged_pcm

# The SDK imports names that websockets has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:websockets.*deprecated:DeprecationWarning")

FIRST, SECOND = "Hello from trio.", "A second turn."


def text(words):
    return SpeakV1Text(type="Speak", text=words)


class Conversation:
    """What one connection of the SDK received, in order: bytes and types of messages."""

    def __init__(self, server, api_key="key", **query):
        url = f"127.0.0.1:{server.port}"
        environment = DeepgramClientEnvironment(
            base=f"http://{url}", production=f"ws://{url}", agent=f"ws://{url}", agent_rest=f"http://{url}"
        )
        self.client = DeepgramClient(api_key=api_key, environment=environment)
        self.query = {"model": "aura-2-thalia-en", "encoding": "linear16", "sample_rate": 24000} | query
        self.received = []

    def connect(self):
        return self.client.speak.v1.connect(**self.query)

    def until(self, socket, kind):
        """Read up to a message of this type; the audio before it."""
        audio = b""
        while True:
            message = socket.recv()
            self.received.append(message)
            if isinstance(message, bytes):
                audio += message
            elif message.type == kind:
                return audio

    def turn(self, socket, *texts):
        for words in texts:
            socket.send_text(text(words))
        socket.send_flush()
        return self.until(socket, "Flushed")


async def run(function):
    """Run blocking SDK code; it cannot outlive the test for long, because the simulator closes its sockets."""
    with trio.fail_after(20):
        return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


@pytest.fixture
async def serve():
    """`async with serve(…) as server` on a real socket."""
    return lambda **fields: DeepgramSimulator(options_from(fields)).serve()


async def test_one_turn(serve):
    async with serve() as server:
        conversation = Conversation(server)

        def talk():
            with conversation.connect() as socket:
                return conversation.turn(socket, "Hello ", "from trio.")

        assert await run(talk) == tagged_pcm(0, 0, 23040)
    metadata, flushed = conversation.received[0], conversation.received[-1]
    assert metadata.type == "Metadata"
    assert metadata.model_name == "aura-2-thalia-en"
    assert metadata.additional_model_uuids == []
    assert flushed.sequence_id == 0


async def test_two_turns_on_one_socket(serve):
    async with serve() as server:
        conversation = Conversation(server, sample_rate=16000)

        def talk():
            with conversation.connect() as socket:
                return conversation.turn(socket, FIRST), conversation.turn(socket, SECOND)

        assert await run(talk) == (tagged_pcm(0, 0, 15360), tagged_pcm(1, 0, 13440))
    assert server.connections == 1


async def test_a_clear_and_then_a_turn(serve):
    # At its own pace the first turn would take 1.6 minutes, so it is certainly cut off.
    async with serve(speed=1.0, ms_per_char=6000, late_frames=2) as server:
        conversation = Conversation(server)

        def talk():
            with conversation.connect() as socket:
                conversation.until(socket, "Metadata")
                socket.send_text(text(FIRST))
                socket.send_flush()
                first = socket.recv()
                socket.send_clear(SpeakV1Clear(type="Clear"))
                first += conversation.until(socket, "Cleared")
                trio.from_thread.run_sync(be_quick)
                return first, conversation.turn(socket, SECOND)

        def be_quick():
            server.options = options_from({})

        first, second = await run(talk)
        cut = server.segments[0]
        assert cut.cleared
        assert cut.sent < cut.samples
        assert first == tagged_pcm(0, 0, cut.sent)
        assert len(first) >= 3 * 1920
        assert second == tagged_pcm(1, 0, 20160)


@pytest.mark.parametrize(("fields", "status"), [({"api_key": "right"}, 401), ({"refuse_status": 429}, 429)])
async def test_an_error_at_the_upgrade(serve, fields, status):
    async with serve(**fields) as server:
        conversation = Conversation(server, api_key="wrong")

        def talk():
            with conversation.connect():
                raise AssertionError("it must be refused")

        # The SDK means to raise its ApiError, but looks for an exception that websockets' new client does not raise.
        with pytest.raises(InvalidStatus) as caught:
            await run(talk)
    response = caught.value.response
    body = json.loads(response.body)
    assert response.status_code == status
    assert response.headers["dg-error"] == body["err_msg"]
    assert response.headers["dg-request-id"] == body["request_id"]


async def test_a_close_in_the_middle_of_a_turn(serve):
    async with serve(close_after=6, close_code=1011, close_reason="NET-0002") as server:
        conversation = Conversation(server)

        def talk():
            with conversation.connect() as socket:
                conversation.turn(socket, FIRST)

        with pytest.raises(ConnectionClosedError) as caught:
            await run(talk)
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "NET-0002")
    audio = b"".join(message for message in conversation.received if isinstance(message, bytes))
    assert audio == tagged_pcm(0, 0, 5 * 960)


async def test_close_ends_the_sdks_listening(serve):
    async with serve() as server:
        conversation = Conversation(server)
        events = []

        def talk():
            with conversation.connect() as socket:
                for kind in (EventType.OPEN, EventType.MESSAGE, EventType.ERROR, EventType.CLOSE):
                    socket.on(kind, partial(note, socket, kind))
                socket.send_text(text(FIRST))
                socket.send_flush()
                socket.start_listening()

        def note(socket, kind, message):
            events.append(kind if not isinstance(message, bytes) else "audio")
            if getattr(message, "type", None) == "Flushed":
                socket.send_close()

        await run(talk)
    assert events == [EventType.OPEN, EventType.MESSAGE, *["audio"] * 24, EventType.MESSAGE, EventType.CLOSE]
    assert [r["data"]["code"] for r in server.log if r["event"] == "close"] == [1000]
