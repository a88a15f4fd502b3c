"""Packages whose names are imported when they are first asked for, see PEP 562."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def import_lazily(package: str, homes: Mapping[str, tuple[str, ...]]) -> None:
    """Give a package its ``__getattr__`` and ``__dir__``.

    Args:
        package: its name.
        homes: the names that it shows, by the module of it in which they are.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    own = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name in homes:
            return import_module(f"{package}.{name}")
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = own[name] = getattr(import_module(f"{package}.{home_of[name]}"), name)
        return value

    own.update(__getattr__=find, __dir__=lambda: sorted({*own, *home_of}))
