"""Where a connection goes: the URL and the request headers, checked before any I/O, and shown without secrets."""

from __future__ import annotations

import base64
import re
from functools import cached_property
from html.entities import codepoint2name
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import attrs

from ..errors import ConfigurationError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WEBSOCKET = ("ws", "wss")
HTTP = ("http", "https")
_NUMERIC = re.compile(r"[0-9.]+")
_DEFAULT_PORTS = {"ws": 80, "wss": 443, "http": 80, "https": 443}

# RFC 3986: what may stand in a URL unencoded.  Anything else, a space or a line break above all, would end up in the
# request line.
_URL = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

# RFC 9110, 5.1 and 5.5: a token; and visible characters with single spaces or tabs inside.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")

_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
_SHOWN_LIMIT = 200
_MESSAGE_LIMIT = 600  # of ours around it
_LONGEST_SPELLING = 12  # of a character: a pair of surrogates in JSON
_SHORTEST_ENCODED = 8  # what is shorter is too like other words in base64


@attrs.frozen
class Target:
    """A checked URL with the request headers.

    Attributes:
        provider: The name that errors carry.
        scheme: In lower case.
        tls: Whether the scheme is ``wss`` or ``https``.
        host: The host's name or address, an IPv6 address without brackets.
        authority: Host and, unless it is the scheme's own, port: the ``Host`` header.
        resource: Path and query: the request target.
        headers: The request headers, encoded.
        shown: The URL without its query, for messages.
    """

    provider: str
    scheme: str
    tls: bool
    host: str
    port: int
    authority: str
    resource: str = attrs.field(repr=False)
    headers: list[tuple[bytes, bytes]] = attrs.field(repr=False)
    shown: str
    _secrets: tuple[str, ...] = attrs.field(repr=False, alias="secrets")

    @cached_property
    def _spelled(self) -> re.Pattern[str]:
        """What matches a secret, put together when something has to be shown: most connections never have to."""
        return re.compile("|".join(map(_spellings, self._secrets)) or _NEVER)

    @classmethod
    def parse(
        cls,
        url: str,
        headers: Sequence[tuple[str, str]],
        provider: str,
        *,
        secrets: Sequence[str] = (),
        schemes: Sequence[str] = WEBSOCKET,
    ) -> Target:
        """Check `url`, whose scheme must be one of `schemes`, and `headers`; keep `secrets` besides those in them.

        Raises:
            ConfigurationError: Either cannot be used as it is.  The message shows neither query nor header value.
        """
        if not _URL.fullmatch(url):
            raise ConfigurationError("the URL is empty or has characters that must be percent-encoded")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:  # brackets that do not match, a port that is no number or above 65535
            raise ConfigurationError(f"not a URL: {exc}") from None
        scheme = parts.scheme.lower()
        if scheme not in schemes:
            wanted = " or ".join(f"{each}://" for each in schemes)
            raise ConfigurationError(f"the URL must begin with {wanted}, not {scheme or 'no scheme'}")
        if not host:
            raise ConfigurationError("the URL has no host")
        _check_host(host)
        if "@" in parts.netloc:
            raise ConfigurationError("a URL with user name or password is refused: put credentials in a header")
        if parts.fragment:
            raise ConfigurationError("the URL must have no fragment")
        if port == 0:
            raise ConfigurationError("port 0 cannot be connected to")
        port = port or _DEFAULT_PORTS[scheme]
        authority = f"[{host}]" if ":" in host else host
        if port != _DEFAULT_PORTS[scheme]:
            authority = f"{authority}:{port}"
        path = parts.path or "/"
        return cls(
            provider=provider,
            scheme=scheme,
            tls=scheme in ("wss", "https"),
            host=host,
            port=port,
            authority=authority,
            resource=f"{path}?{parts.query}" if parts.query else path,
            headers=[_encoded_header(name, value) for name, value in headers],
            shown=f"{scheme}://{authority}{path}",
            secrets=_secrets_in([*headers, *parse_qsl(parts.query)], secrets),
        )

    def printable(self, text: str, limit: int = _SHOWN_LIMIT) -> str:
        """`text` of the peer's, fit for a message: one line, not long, without the secrets that were sent."""
        # A peer may send megabytes, of which nothing is shown far beyond the limit; what is cut there may be half a
        # secret.
        longest = _LONGEST_SPELLING * max(map(len, self._secrets), default=0)
        shown = self._spelled.sub("***", text[: 64 * limit + longest])
        if len(text) > 64 * limit + longest:
            shown = shown[: max(0, len(shown) - longest)]
        return _one_line(shown, limit)

    def clean(self, error: ProviderError) -> None:
        """Make all words in an error fit to be shown, and cut off causes that show a secret."""
        error.rewrite(lambda text: self.printable(text, _MESSAGE_LIMIT))
        shown: BaseException = error
        while (cause := shown.__cause__ or shown.__context__) is not None:
            if self._spelled.search(repr(cause)):
                shown.__cause__ = shown.__context__ = None
                return
            shown = cause


def _one_line(text: str, limit: int) -> str:
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else f"{text[:limit]}…"


def _check_host(host: str) -> None:
    """Refuse what is neither an address nor a name of hosts, in whichever of the libraries below it would come up."""
    try:
        if ":" in host:
            IPv6Address(host)
        elif _NUMERIC.fullmatch(host):
            IPv4Address(host)
        else:
            host.encode("idna")
    except ValueError as error:  # so is UnicodeError
        raise ConfigurationError(f"{host} is not a host: {error}") from None


def _encoded_header(name: str, value: str) -> tuple[bytes, bytes]:
    if not _HEADER_NAME.fullmatch(name):
        raise ConfigurationError(f"not a header name: {name!r}")
    lower = name.lower()
    if lower in {"host", "connection", "upgrade"} or lower.startswith("sec-websocket-"):
        raise ConfigurationError(f"the header {name!r} belongs to the websocket handshake")
    if not _HEADER_VALUE.fullmatch(value):
        # A key read from a file often ends in a line break.
        raise ConfigurationError(
            f"the value of header {name!r} has a control or non-Latin-1 character, or outer spaces"
        )
    return name.encode("ascii"), value.encode("latin-1")


def _secrets_in(pairs: Sequence[tuple[str, str]], more: Sequence[str]) -> tuple[str, ...]:
    values = {value for name, value in pairs if value and _SECRET_NAME.search(name)} | set(more)
    values |= {value.rpartition(" ")[2] for value in values}  # without "Bearer " or "Token "
    values |= set(_in_base64(values))
    return tuple(sorted(values, key=len, reverse=True))


def _in_base64(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        if len(value) >= _SHORTEST_ENCODED:
            data = value.encode(errors="surrogatepass")
            yield base64.b64encode(data).decode().rstrip("=")
            yield base64.urlsafe_b64encode(data).decode().rstrip("=")


_NEVER = "(?!)"
_BACKSLASHES = r"\\{0,4}"  # JSON in JSON doubles them, and so does repr(); without a bound a row of them takes for ever


def _spellings(secret: str) -> str:
    """The pattern of a secret as a peer may give it back: each character in a way of its own."""
    return "".join(re.escape(char) if char.isascii() and char.isalnum() else _spellings_of(char) for char in secret)


def _spellings_of(char: str) -> str:
    """The pattern of a character as it is, percent-encoded, or escaped as in JSON, in HTML or by a backslash."""
    code, units = ord(char), char.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    ways = [
        "".join(f"%{byte:02x}" for byte in char.encode(errors="surrogatepass")),
        "".join(rf"{_BACKSLASHES}\\u{unit}" for unit in units),
        f"&#0{{0,4}}{code};",
        f"&#x0{{0,4}}{code:x};",
    ]
    if code in codepoint2name:
        ways.append(f"&{codepoint2name[code]};")
    if char == " ":
        ways.append(r"\+")
    ways.append(_BACKSLASHES + re.escape(char))  # the last, as the others may begin with it
    return f"(?i:{'|'.join(ways)})"
