"""How much of all that could be tried one run tries: a slice, another one each time, or everything."""

import os

THOROUGH = bool(os.environ.get("VOICETRIO_THOROUGH"))


def every(number: int, seed: int, *, thorough: int = 1) -> range:
    """Every so-many-th step, from another one on in each run of the tests; in thorough ones every `thorough`-th."""
    number = thorough if THOROUGH else number
    return range(1 + seed % number, 10_000, number)
