"""The errors of voicetrio, split by whose move comes next.

::

    VoiceTrioError
    ├── ConfigurationError (ValueError)   your options cannot work: raised at construction, before any I/O
    ├── InputError (ValueError)           this text or audio cannot be spoken or sent; nothing was sent
    ├── ClosedError                       you used, or closed under it, something that is closed
    │   ├── SessionClosed                 the session's block was left
    │   └── SinkClosed                    the reader of the audio sink went away
    ├── ToolError                         a function tool cannot do what was asked: the model is told
    ├── TooManyRounds                     the model went on calling tools
    └── ProviderError                     the provider or the way to it failed
        ├── ConnectError                  no connection came about
        │   ├── ConnectTimeout            … in time
        │   ├── BreakerOpen               … lately, too often: not tried again before `retry_after`
        │   └── UpgradeRejected           … because the server refused, with an HTTP status
        ├── BadRequest                    400, 404, 410, 413, 422: the provider does not accept what was asked
        ├── AuthenticationError           401, 403, or the protocol's own words for a bad key
        ├── PaymentRequired               402
        ├── RateLimited                   429; `retry_after` says when, if the server did
        ├── ServiceUnavailable            503 and other 5xx
        ├── LinkClosed                    the connection ended; `code` and `reason` are the close frame's
        │   └── LinkStalled               … because the peer took no data, or answered no ping
        ├── ProviderStalled               connected, but nothing came for too long
        ├── ProtocolError                 the provider said what its protocol does not know
        │   └── InvalidAnswer             … the model's answer is not of the form that was asked for
        └── NoAudio                       a clean end without one sample for text that was not blank

A refusal at the upgrade is an :class:`UpgradeRejected` *and* the class that says what it means: a 401 is caught both
by ``except AuthenticationError`` and by ``except ConnectError``.  No error carries a key, a token, a request header
or a query string.
"""

from __future__ import annotations

from collections.abc import Callable


class VoiceTrioError(Exception):
    """The root of all errors that voicetrio raises on purpose."""


class ConfigurationError(VoiceTrioError, ValueError):
    """Options that cannot work: a wrong model or rate, no key.  Raised at construction, before any I/O."""


class InputError(VoiceTrioError, ValueError):
    """Text or audio that cannot be spoken or sent.  Nothing of it was sent."""


class ClosedError(VoiceTrioError):
    """What was used is closed, or was closed by another task during the call."""


class SessionClosed(ClosedError):
    """The session's ``async with`` block was left."""


class SinkClosed(ClosedError):
    """The audio sink is closed, or nobody will read it any more."""


class ToolError(VoiceTrioError):
    """A function tool cannot do what it was asked for.

    For tools to raise: the message becomes the call's output, for the model to read.
    """


class TooManyRounds(VoiceTrioError):
    """The model called tools in more rounds than it was given."""


class ProviderError(VoiceTrioError):
    """The provider, or the way to it, failed.

    Attributes:
        provider: the provider's name, such as ``"deepgram"``.
        request_id: the provider's id of the connection or request, if it gave one: its support asks for it.
        status: the HTTP status, where there was one.
        code: the websocket close code or the protocol's own error code, where there was one.
        reason: the provider's own words, where there were any.
        retry_after: seconds after which the provider, or our own breaker, will answer again, if known.
        body: the head of what came with the HTTP status.
    """

    body: bytes = b""

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        request_id: str | None = None,
        status: int | None = None,
        code: int | str | None = None,
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message: str = message
        self.provider: str = provider
        self.request_id: str | None = request_id
        self.status: int | None = status
        self.code: int | str | None = code
        self.reason: str | None = reason
        self.retry_after: float | None = retry_after

    def rewrite(self, clean: Callable[[str], str]) -> None:
        """Pass all words in it that are the provider's through a function."""
        self.message = clean(self.message)
        super().__init__(self.message)  # so that repr() shows the new words, too
        self.request_id = clean(self.request_id) if self.request_id is not None else None
        self.reason = clean(self.reason) if self.reason is not None else None
        self.code = clean(self.code) if isinstance(self.code, str) else self.code
        self.body = clean(self.body.decode("utf-8", "replace")).encode()

    def __str__(self) -> str:
        head = f"{self.provider}: {self.message}" if self.provider else self.message
        return f"{head} (request {self.request_id})" if self.request_id else head


class ConnectError(ProviderError):
    """No connection came about: name resolution, TCP, TLS, or no websocket at the other end."""


class ConnectTimeout(ConnectError):
    """No connection came about in time."""


class BreakerOpen(ConnectError):
    """Connecting failed too often lately; it is not tried again before `retry_after` seconds have passed."""


class BadRequest(ProviderError):
    """The provider does not accept what was asked: an unknown model, a wrong path, a text too long."""


class AuthenticationError(ProviderError):
    """The key is wrong, or may not do this."""


class PaymentRequired(ProviderError):
    """The account has no credit for this."""


class RateLimited(ProviderError):
    """Too many requests, connections or characters; see `retry_after`."""


class ServiceUnavailable(ProviderError):
    """The provider cannot serve at the moment."""


class LinkClosed(ProviderError):
    """The connection ended; `code` is the websocket close code, 1006 where there was no close frame."""


class LinkStalled(LinkClosed):
    """The peer took no data, or answered no ping, for too long; the connection was given up."""


class ProviderStalled(ProviderError):
    """The connection lives, but what must come did not, for too long."""


class ProtocolError(ProviderError):
    """The provider said something that its protocol does not know."""


class InvalidAnswer(ProtocolError):
    """The model's answer is not of the form that `response_format` asked for."""


class NoAudio(ProviderError):
    """The provider reported a clean end without one sample, though the text was not blank."""


class UpgradeRejected(ConnectError):
    """The server refused the websocket upgrade; `status` is its HTTP status and `body` the head of its answer."""


class _RejectedBadRequest(UpgradeRejected, BadRequest):
    pass


class _RejectedAuthentication(UpgradeRejected, AuthenticationError):
    pass


class _RejectedPayment(UpgradeRejected, PaymentRequired):
    pass


class _RejectedRate(UpgradeRejected, RateLimited):
    pass


class _RejectedUnavailable(UpgradeRejected, ServiceUnavailable):
    pass


_BY_STATUS: dict[int, type[ProviderError]] = {
    400: BadRequest,
    401: AuthenticationError,
    402: PaymentRequired,
    403: AuthenticationError,
    404: BadRequest,
    410: BadRequest,
    413: BadRequest,
    422: BadRequest,
    429: RateLimited,
}
_REJECTIONS: dict[type[ProviderError], type[UpgradeRejected]] = {
    BadRequest: _RejectedBadRequest,
    AuthenticationError: _RejectedAuthentication,
    PaymentRequired: _RejectedPayment,
    RateLimited: _RejectedRate,
    ServiceUnavailable: _RejectedUnavailable,
}
for _cls in _REJECTIONS.values():
    _cls.__name__ = _cls.__qualname__ = "UpgradeRejected"


def error_class(status: int) -> type[ProviderError]:
    """The class of error that a request refused with this HTTP status raises; for errors in band as well."""
    if status >= 500:
        return ServiceUnavailable
    return _BY_STATUS.get(status, ProviderError)


def rejection_class(status: int) -> type[UpgradeRejected]:
    """The class of error that an upgrade refused with this HTTP status raises."""
    return _REJECTIONS.get(error_class(status), UpgradeRejected)
