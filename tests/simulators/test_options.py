import attrs
import pytest

from voicetrio.simulators import DeepgramOptions, Faults


def test_no_pairs_give_the_defaults():
    assert DeepgramOptions.parse([]) == DeepgramOptions()


def test_every_kind_of_value_is_understood():
    options = DeepgramOptions.parse(
        [
            "flush_limit=0",
            "speed=inf",
            "first-audio = 0.25",
            "session_limit=none",
            "idle_timeout=9",
            "api_key=a=b",
            "warning=spec",
            "odd_frames=yes",
            "empty_flush_answered=False",
        ]
    )
    assert options == DeepgramOptions(
        flush_limit=0,
        speed=float("inf"),
        first_audio=0.25,
        session_limit=None,
        idle_timeout=9.0,
        api_key="a=b",
        warning="spec",
        odd_frames=True,
        empty_flush_answered=False,
    )


def test_faults_share_the_names():
    options = DeepgramOptions.parse(
        ["connections=1", "refuse_status=429", "retry_after=3", "refuse_headers=X-A: 1 | X-B: two:2", "frame_ms=20"]
    )
    assert options.faults == Faults(
        connections=1, refuse_status=429, retry_after=3.0, refuse_headers=(("X-A", "1"), ("X-B", "two:2"))
    )
    assert options.frame_ms == 20


def text_of(value):
    """The text that stands for a value."""
    if isinstance(value, tuple):
        return " | ".join(f"{name}: {content}" for name, content in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


@pytest.mark.parametrize("cls", [DeepgramOptions, Faults])
def test_every_default_can_be_written_as_text(cls):
    fields = [field.name for field in attrs.fields(cls) if field.name != "faults"]
    values = DeepgramOptions() if cls is DeepgramOptions else Faults()
    pairs = [f"{name}={text_of(getattr(values, name))}" for name in fields]
    assert DeepgramOptions.parse(pairs) == DeepgramOptions()


@pytest.mark.parametrize("cls", [DeepgramOptions, Faults])
def test_every_field_is_documented(cls):
    documented = "".join(base.__doc__.partition("Attributes:")[2] for base in cls.__mro__[:-1])
    for field in attrs.fields(cls):
        assert f"\n        {field.name}: " in documented


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["frame_ms"], r"'frame_ms' is not of the form key=value"),
        (["frame_mss=3"], r"unknown option frame_mss; the options are .*frame_ms, .*stall_after"),
        (["frame_ms=3", "frame_ms=4"], r"frame_ms is given twice"),
        (["frame_ms=long"], r"frame_ms=long: not a number"),
        (["flush_limit=2.5"], r"flush_limit=2.5: not a whole number"),
        (["warning=loud"], r"warning=loud: choose one of wire, spec"),
        (["end_marker="], r"end_marker=: choose one of normal, none, late, double"),
        (["handshake=firm"], r"handshake=firm: choose one of ok, refuse, eof, silent, garbage, slow"),
        (["odd_frames=maybe"], r"odd_frames=maybe: choose one of yes, no"),
        (["refuse_headers=nothing"], r"refuse_headers=nothing: write headers as"),
        (["frame_ms=none"], r"frame_ms=none: not a number"),
        (["frame_ms=0"], r"frame_ms=0.0: must be more than 0"),
        (["speed=nan"], r"speed=nan: must be more than 0"),
        (["late_frames=-1"], r"late_frames=-1: must be at least 0"),
        (["stall_after=-1"], r"stall_after=-1: must be at least 0"),
        (["fragment=0"], r"fragment=0: must be at least 1"),
        (["frame_ms_min=3"], r"frame_ms_min and frame_ms_max belong together"),
        (["frame_ms_min=3", "frame_ms_max=2"], r"frame_ms_min=3.0: more than frame_ms_max=2.0"),
    ],
)
def test_a_mistake_is_named(pairs, message):
    with pytest.raises(ValueError, match=message):
        DeepgramOptions.parse(pairs)


def test_the_key_is_not_shown():
    assert "secret" not in repr(DeepgramOptions(api_key="secret"))
