import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicetrio._link.window import Window


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 10)), max_size=40))
def test_waiting_as_told_never_passes_the_limit_and_never_longer_than_needed(uses):
    clock = Clock()
    window = Window(10, 10.0, clock)
    used: list[tuple[float, int]] = []
    for pause, amount in uses:
        clock.now += pause
        wait = window.wait(amount)
        assert 0 <= wait <= 10.0
        if wait:
            clock.now += wait / 2
            assert window.left < amount
            clock.now += wait / 2 + 1e-9
        window.use(amount)
        used.append((clock.now, amount))
        assert sum(n for time, n in used if time > clock.now - 10.0 + 1e-8) <= 10


def test_more_than_the_limit_can_never_be_had():
    with pytest.raises(ValueError, match="limit"):
        Window(10, 10.0, Clock()).wait(11)
