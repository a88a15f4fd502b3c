"""An OpenAI-compatible language model, simulated: ``POST …/chat/completions``, streamed or not.

The shapes are those of OpenAI's published API specification; where the servers that follow it are known to differ,
:class:`ChatOptions` has a switch.  Any path that ends in ``/chat/completions`` is served, with any query, so that
VideoSDK's inference gateway is simulated as well; ``GET …/models`` names the models.

For the faults an event of the stream is a message, and one with a token is an audio frame: ``stall_after=3`` sends
nothing more after three tokens, ``drop_after_bytes`` cuts an event in the middle.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

from ._chat_reply import ChatReply, ReplyRule, ScriptedCall, echo
from ._chat_stream import Answer
from ._checks import at_least, positive
from ._options import SimulatorOptions
from ._server import Simulator
from ._wire import Disconnected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._server import Connection

__all__ = ["ChatOptions", "ChatReply", "ChatSimulator", "ReplyRule", "ScriptedCall"]

SHOWN = 2000
"""Characters of a request's body in the log."""


@attrs.frozen(kw_only=True, slots=False)  # so that the options of all endpoints of the gateway can be one class
class ChatOptions(SimulatorOptions):
    """How the simulated model behaves.  Times are in seconds.

    Attributes:
        models: the models that there are, separated by spaces; None for any.
        needs_key: whether a request without a bearer token is refused.
        first_token: seconds until the first token.
        tokens_per_second: after that; None for at once.
        role_chunk: whether the first chunk only tells the role.
        fragments: into how many pieces at most the arguments of a tool call are cut, at random.
        interleave: whether the pieces of several calls come in turn.
        whole_calls: send each tool call in one piece.
        repeat_names: whether each piece of a tool call repeats its name and id.
        call_ids: whether tool calls have ids.
        call_index: tool calls tell their index, tell 0 for each, or tell none.
        usage: when a chunk tells the usage: if it is asked for, always, or never.
        finish: whether a chunk tells why the answer ended.
        done: whether ``[DONE]`` ends the stream.
        null_delta: whether there are chunks whose ``delta`` is null, the last among them.
        comments: whether a comment goes before each event.
        sse_crlf: whether lines of the stream end in CR LF.
        ascii: whether JSON is sent with escapes for all that is not ASCII.
        content_type: of the stream.
        streams: whether ``stream: true`` is heeded.
        end_delay: seconds from the last event to the end of the body.
        refuse_first: so many requests are refused with `refusal_status` before one is answered.
        refusal_status: see `refuse_first`.
    """

    models: str | None = None
    needs_key: bool = True
    first_token: float = attrs.field(default=0.05, validator=at_least(0))
    tokens_per_second: float | None = attrs.field(default=50.0, validator=positive)
    role_chunk: bool = True
    fragments: int = attrs.field(default=8, validator=at_least(1))
    interleave: bool = False
    whole_calls: bool = False
    repeat_names: bool = False
    call_ids: bool = True
    call_index: Literal["given", "zero", "missing"] = "given"
    usage: Literal["asked", "always", "never"] = "asked"
    finish: bool = True
    done: bool = True
    null_delta: bool = False
    comments: bool = False
    sse_crlf: bool = False
    ascii: bool = False
    content_type: str = "text/event-stream; charset=utf-8"
    streams: bool = True
    end_delay: float = attrs.field(default=0.0, validator=at_least(0))
    refuse_first: int = attrs.field(default=0, validator=at_least(0))
    refusal_status: int = attrs.field(default=429, validator=at_least(400))


class ChatSimulator(Simulator[ChatOptions]):
    """A server that speaks OpenAI's chat completions.

    Args:
        options: how it behaves, to begin with.
        replies: what it answers, in order over all its servers; then, and if there are none, by `rule`.
        rule: gives the answer to a request's body; None to say again what the user said last.

    Attributes:
        requests: the bodies of all requests, in order.
        replies: those that are left; add to them at any time.
    """

    path: ClassVar[str] = "/v1"
    scheme: ClassVar[str] = "http"

    def __init__(
        self,
        options: ChatOptions | None = None,
        *,
        replies: Iterable[ChatReply] = (),
        rule: ReplyRule | None = None,
    ) -> None:
        super().__init__(ChatOptions() if options is None else options)
        self.requests: list[dict[str, Any]] = []
        self.replies: list[ChatReply] = list(replies)
        self._rule: ReplyRule = echo if rule is None else rule
        self._refused = 0

    async def handle(self, connection: Connection[ChatOptions]) -> None:
        """Check the request, then answer."""
        request, options = connection.request, connection.options
        listing = request.path.endswith("/models")
        if not listing and not request.path.endswith("/chat/completions"):
            await self._refuse(connection, 404)
        elif request.method != ("GET" if listing else "POST"):
            await self._refuse(connection, 405)
        elif options.needs_key and not options.accepts(_bearer(request.headers.get("authorization", ""))):
            await self._refuse(connection, 401)
        elif listing:
            await self._list_models(connection)
        elif connection.over_limit or self._refused < options.refuse_first:
            status = 429 if connection.over_limit else options.refusal_status
            self._refused += 1
            await self._refuse(connection, status)
        else:
            await self._complete(connection)

    def inserts(self, connection: Connection[ChatOptions]) -> Mapping[str, str]:
        """The messages that faults insert."""
        error = {"message": "The server had an error", "type": "server_error", "param": None, "code": None}
        return {**super().inserts(connection), "error_frame": json.dumps({"error": error})}

    def refusal(self, connection: Connection[ChatOptions], status: int) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body of a refusal, as OpenAI words it."""
        return self._refusal(connection, status)

    async def _complete(self, connection: Connection[ChatOptions]) -> None:
        body = _decoded(connection.request.body)
        if body is None:
            await self._refuse(connection, 400, {"message": "We could not parse the JSON body of your request."})
            return
        connection.log("received", message=_shown(body))
        if problem := _problem(body):
            await self._refuse(connection, 400, {"message": problem})
            return
        models = connection.options.models
        if models is not None and body["model"] not in models.split():
            await self._refuse(connection, 404, {"message": f"The model `{body['model']}` does not exist"})
            return
        self.requests.append(body)
        reply = self.replies.pop(0) if self.replies else self._rule(body)
        if reply.status is not None:
            await self._refuse(connection, reply.status, reply.error)
            return
        await self._answer(connection, Answer(connection, body, reply, len(self.requests) - 1))

    async def _answer(self, connection: Connection[ChatOptions], answer: Answer) -> None:
        options = connection.options
        headers = [("x-request-id", f"req_{answer.id[-32:]}")]
        if not (answer.body.get("stream") and options.streams):
            headers.append(("Content-Type", "application/json"))
            await connection.answer(200, headers=headers, body=answer.whole())
            return
        headers += [("Content-Type", options.content_type), ("Cache-Control", "no-cache")]
        inserts = {name: answer.event(text) for name, text in self.inserts(connection).items()}
        interrupted = True
        try:
            await connection.stream(answer.send, headers=headers, inserts=inserts)
            interrupted = False
        except Disconnected as ending:
            connection.log("cut", reason=str(ending))
            raise
        finally:
            connection.log("reply_ended", id=answer.id, tokens=answer.sent, interrupted=interrupted)

    async def _list_models(self, connection: Connection[ChatOptions]) -> None:
        names = (connection.options.models or "simulated").split()
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "voicetrio"} for name in names]
        body = json.dumps({"object": "list", "data": models}).encode()
        await connection.answer(200, headers=[("Content-Type", "application/json")], body=body)

    def _refusal(
        self, connection: Connection[ChatOptions], status: int, error: Mapping[str, Any] | None = None
    ) -> tuple[list[tuple[str, str]], bytes]:
        kind, code, usual = _REFUSALS.get(status, ("server_error", None, f"Status {status}."))
        usual_error = {"message": usual, "type": kind, "param": None, "code": code}
        headers = [("Content-Type", "application/json"), ("x-request-id", f"req_{connection.request_id}")]
        return headers, json.dumps({"error": {**usual_error, **(error or {})}}).encode()

    async def _refuse(
        self, connection: Connection[ChatOptions], status: int, error: Mapping[str, Any] | None = None
    ) -> None:
        headers, body = self._refusal(connection, status, error)
        retry_after = connection.faults.retry_after
        if retry_after is not None:
            headers.append(("Retry-After", f"{retry_after:.15g}"))
        await connection.answer(status, headers=headers, body=body)


_REFUSALS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Your request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Not allowed here."),
    404: ("invalid_request_error", "model_not_found", "Invalid URL, or no such model."),
    405: ("invalid_request_error", None, "Not allowed to use this method here."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _problem(body: Mapping[str, Any]) -> str | None:
    """What is wrong with a request, as far as OpenAI is known to mind."""
    if not isinstance(body.get("model"), str):
        return "you must provide a model parameter"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        return "Invalid type for 'messages': expected an array of objects."
    waiting: set[str] = set()
    for message in messages:
        if message.get("role") not in ("system", "developer", "user", "assistant", "tool"):
            return "Invalid value for 'role'."
        if message["role"] == "tool":
            if message.get("tool_call_id") not in waiting:
                return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
            waiting.discard(message["tool_call_id"])
        elif waiting:
            break
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(isinstance(call, dict) and call.get("id") for call in calls):
            return "Invalid value for 'tool_calls'."
        waiting |= {call["id"] for call in calls}
    if waiting:
        return "An assistant message with 'tool_calls' must be followed by tool messages responding to each of them."
    if "tool_choice" in body and not body.get("tools"):
        return "'tool_choice' is only allowed when 'tools' are specified."
    return None


def _shown(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
