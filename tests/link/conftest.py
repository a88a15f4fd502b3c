"""Whatever is stated of a websocket is true of every driver."""

import pytest
import websocket_peer


def pytest_generate_tests(metafunc):
    if metafunc.module.__name__.startswith("test_websocket"):
        metafunc.parametrize("driver", websocket_peer.DRIVERS, indirect=True)


@pytest.fixture(autouse=True)
def driver(request, monkeypatch):
    """The driver whose turn it is, for those that connect."""
    if hasattr(request, "param"):
        monkeypatch.setattr(websocket_peer, "driver", request.param)
