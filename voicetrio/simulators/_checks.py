"""Validators of options; None, where a field allows it, always passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import attrs

__all__ = ["at_least", "positive"]


def at_least(minimum: float) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator for numbers from `minimum` on."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and not value >= minimum:  # so that NaN fails
            raise ValueError(f"{attribute.name}={value}: must be at least {minimum:g}")

    return check


def positive(_instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    """A validator for numbers over 0."""
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name}={value}: must be more than 0")
