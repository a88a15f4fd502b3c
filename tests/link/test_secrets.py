"""What a peer gives back of a secret is not shown, however it spells it."""

import base64
import html
import json
import random
from urllib.parse import quote, quote_plus

import pytest

from voicetrio._link.endpoint import Endpoint
from voicetrio.errors import LinkClosed

SECRETS = [
    "abc+def/ghi==SECRET",
    "a-b_c.d~e!f'g(h)i*j",
    'quo"ted\\and<tagged>&more',
    "with a space",
    "in gärten",
    "x:%2B&amp;",
]
STD, URL = base64.b64encode, base64.urlsafe_b64encode

SPELLINGS = {
    "as it is": str,
    "percent": lambda secret: quote(secret, safe=""),
    "percent, in a path": quote,
    "percent, in lower case": lambda secret: "".join(
        char if char.isascii() and char.isalnum() else "".join(f"%{byte:02x}" for byte in char.encode())
        for char in secret
    ),
    "a form": quote_plus,
    "encodeURIComponent": lambda secret: quote(secret, safe="!'()*"),
    "encodeURI": lambda secret: quote(secret, safe=";,/?:@&=+$!'()*#"),
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON, slashes": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON, careful": lambda secret: "".join(
        char if char.isascii() and char.isalnum() else f"\\u{ord(char):04X}" for char in secret
    ),
    "JSON, some": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/").replace("+", "\\u002b"),
    "JSON in JSON": lambda secret: json.dumps(json.dumps(secret)[1:-1])[1:-1],
    "repr": lambda secret: repr(secret)[1:-1],
    "HTML": html.escape,
    "HTML, decimal": lambda secret: "".join(f"&#{ord(char)};" if not char.isalnum() else char for char in secret),
    "HTML, hexadecimal": lambda secret: "".join(
        f"&#x{ord(char):X};" if not char.isalnum() else char for char in secret
    ),
    "base64": lambda secret: STD(secret.encode()).decode(),
    "base64, in URLs": lambda secret: URL(secret.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_hidden_in_every_spelling(secret, spelling):
    target = Endpoint("wss://gateway.test/", secrets=(secret,)).target("videosdk")
    spelled = SPELLINGS[spelling](secret)

    shown = target.printable(f"you said <<{spelled}>> to us")

    assert shown.replace("=", "") == "you said <<***>> to us"


def test_any_mixture_of_spellings_is_hidden(seed):
    chance = random.Random(seed)
    for _ in range(300):
        secret = "".join(chance.choice("aZ9+/=&'()*!%\\\"<>é~.-_") for _ in range(chance.randint(8, 40)))
        target = Endpoint("wss://gateway.test/", secrets=(secret,)).target("videosdk")
        ways = [way for name, way in SPELLINGS.items() if "base64" not in name]
        spelled = "".join(chance.choice(ways)(char) for char in secret)
        assert target.printable(f"<{spelled}>") == "<***>", (secret, spelled)


def test_the_longest_of_several_secrets_is_hidden_whole():
    target = Endpoint("wss://gateway.test/", secrets=("abc", "abc+defgh")).target("videosdk")
    assert target.printable("abc%2bdefgh and abc") == "*** and ***"


def test_what_only_looks_like_it_is_shown():
    target = Endpoint("wss://gateway.test/", secrets=("abc+def",)).target("videosdk")
    for text in ("abcdef", "abc%2Cdef", "abc&amp;def", "ABC+DEF", "abc def ghi"):
        assert target.printable(text) == text
    assert Endpoint("wss://gateway.test/").target("videosdk").printable("anything at all") == "anything at all"


def test_a_cause_that_shows_a_secret_is_cut_off():
    target = Endpoint("wss://gateway.test/", secrets=("abc+def",)).target("videosdk")
    error = LinkClosed("lost", provider="videosdk")
    error.__cause__ = ValueError(r'{"token":"abc\u002bdef"}')
    target.clean(error)
    assert error.__cause__ is None
