"""The pytest plugin of voicetrio (see docs/testing.md).

It is loaded into every pytest run of whoever has voicetrio installed, so it imports nothing itself; the fixtures are in
a module that is imported where pytest-trio is there to run them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Offer the fixtures, or ones that say what is missing."""
    if config.pluginmanager.hasplugin("trio"):
        from . import _fixtures as fixtures
    else:
        from . import _no_fixtures as fixtures  # type: ignore[no-redef]
    config.pluginmanager.register(fixtures, "voicetrio_fixtures")
