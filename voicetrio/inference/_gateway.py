"""What the gateway's endpoints have in common: the address, the token, the config message, and errors.

The gateway has no public documentation: what is known of it are the messages of its own client, videosdk-agents 1.0.30.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from .._json import decode_audio, encode_json
from .._link.endpoint import Endpoint
from .._options import endpoint_url, required_key
from ..errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    PaymentRequired,
    ProtocolError,
    ProviderError,
    RateLimited,
    ServiceUnavailable,
    error_class,
)

NAME = "videosdk"
"""The name that errors carry, whoever is behind the gateway."""

DEFAULT_URL = "wss://inference-gateway.videosdk.live"

_ALIASES = {"sarvam": "sarvamai"}

# Errors have words and no codes: what the words are about.
_BLAME: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"rate.?limit|too many|concurren|quota", re.IGNORECASE), RateLimited),
    (re.compile(r"credit|balance|payment|billing", re.IGNORECASE), PaymentRequired),
    (re.compile(r"unauthori|forbidden|token|secret|api.?key|permission", re.IGNORECASE), AuthenticationError),
    (re.compile(r"invalid|not found|unsupported|not supported|missing|too (long|short)", re.IGNORECASE), BadRequest),
    (
        re.compile(r"unavailable|overload|internal|time(d |-)?out|try again|upstream|bad gateway", re.IGNORECASE),
        ServiceUnavailable,
    ),
)
# A status, and not a number of something: "400: Bad request", "status code 503", but not "at most 500 characters".
_STATUS = re.compile(
    r"(?:^\W*|\b(?:status|code|http(?:/[\d.]+)?|error|returned|received|got|with)\W+(?:code\W+)?)([45]\d\d)\b"
    r"(?!\s*(?:char|letter|word|token|byte|sec|ms\b|hz\b|%))",
    re.IGNORECASE,
)
_COMPLAINT = re.compile(r"error|fail|invalid|denied|unauthori|forbidden|refused", re.IGNORECASE)


def token_or_environment(token: str | None) -> str:
    """A token, or if it is not given that of the environment.

    Raises:
        ConfigurationError: if there is neither.
    """
    return required_key(token, "VIDEOSDK_AUTH_TOKEN")


def url_or_default(url: str | None) -> str:
    """Where the gateway is: its own address, if no other is given."""
    return DEFAULT_URL if url is None else url


def provider_name(name: Any) -> Any:
    """The gateway's name of a vendor, whose older name is taken as well."""
    return _ALIASES.get(name, name) if isinstance(name, str) else name


def json_object(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of a vendor's configuration, as it will be sent.

    Raises:
        ConfigurationError: if it is no object of JSON.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode({} if config is None else config), type=dict[str, Any])
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"config must be a mapping that JSON can carry: {error}") from None


def vendor_config(kind: Any, own: Mapping[str, Any], config: Mapping[str, Any] | None) -> dict[str, Any]:
    """A vendor's configuration: what its arguments say, which must have the types of a `TypedDict`, and what is added.

    Raises:
        ConfigurationError: if it does not, or JSON could not carry it.
    """
    checked = json_object(own)
    try:
        msgspec.convert(checked, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"an argument of the vendor's cannot be: {error}") from None
    return checked | json_object(config)


def canonical(config: Mapping[str, Any]) -> bytes:
    """A configuration in a form that can be compared and hashed."""
    return msgspec.json.encode(config, order="sorted")


def gateway_endpoint(
    base_url: str, path: str, *, provider: str, token: str, model_id: str, greeting: str, more: Mapping[str, str]
) -> Endpoint:
    """The address of one of the gateway's sockets; `greeting` is its config message, `more` further parameters.

    Raises:
        ConfigurationError: if nothing could ever lead there.
    """
    query = {"provider": provider, "secret": token, "modelId": model_id, **more}
    url = endpoint_url(base_url, query, schemes=("ws", "wss"), path=path)
    return Endpoint(url, greeting=(greeting,), secrets=(token,))


def message(kind: str, data: Any = None) -> str:
    """A message of the client's."""
    return encode_json({"type": kind} if data is None else {"type": kind, "data": data})


def audio_message(pcm: bytes, **more: Any) -> str:
    """The message that carries audio of the client's."""
    return encode_json({"type": "audio", "data": pcm, **more})  # which puts bytes in base64


class Notice(msgspec.Struct):
    """A message of the gateway's, of any shape that its client is known to read."""

    type: str = ""
    data: Any = None
    message: Any = None
    error: Any = None
    seq: Any = None

    @property
    def event(self) -> str:
        """What has happened, if it is an event."""
        name = self.field("eventType") if self.type == "event" else None
        return name if isinstance(name, str) else ""

    @property
    def fields(self) -> dict[str, Any]:
        """Its data, if that has fields."""
        return self.data if isinstance(self.data, dict) else {}

    def field(self, name: str) -> Any:
        """A field of its data; None if it has none."""
        return self.fields.get(name)

    def audio(self) -> bytes:
        """Its audio, decoded; empty if it has none.

        Raises:
            ProtocolError: if it is no base64.
        """
        data = self.data if isinstance(self.data, str) else self.field("audio")
        return decode_audio(data, NAME) if isinstance(data, str) else b""

    def failure(self) -> ProviderError | None:
        """The error that it tells, if it does."""
        if self.type != "error" and not self.error and not (self.type == "event" and self.field("error")):
            return None
        for candidate in (self.field("error"), self.field("message"), self.data, self.message, self.error):
            if words := _words(candidate):
                return failure(words)
        return failure("an error without a word")


def decode(text: str) -> Notice | None:
    """Read a text message; None for plain words, with which the gateway acknowledges.

    Raises:
        ProtocolError: if it is JSON of another shape.
        ProviderError: if plain words complain.
    """
    if not text.lstrip().startswith(("{", "[")):
        if _COMPLAINT.search(text):
            raise failure(text)
        return None
    try:
        return msgspec.json.decode(text, type=Notice)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProtocolError(f"a message that is not understood: {error}", provider=NAME) from None


def failure(words: str) -> ProviderError:
    """An error, by what its words are about."""
    found = _STATUS.search(words)
    status = int(found[1]) if found else None
    kind = next((kind for pattern, kind in _BLAME if pattern.search(words)), ProviderError)
    return (error_class(status) if status else kind)(words, provider=NAME, status=status, reason=words)


def _words(candidate: Any) -> str:
    if isinstance(candidate, str):
        return candidate
    if isinstance(candidate, dict):
        return next((value for key in ("error", "message") if isinstance(value := candidate.get(key), str)), "")
    return ""
