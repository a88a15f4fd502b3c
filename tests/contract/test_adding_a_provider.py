"""docs/adding-a-provider.md is a provider: its Python blocks run here, against a simulator and as a case of the suite.

The tests of `test_every_voice.py` are imported, and so run here for Parrot as they do for the others.
"""

import ast
import io
import re
import sys
import tokenize
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import contract_cases
import pytest
import trio
from contract_tools import chunks, stage
from parrot_simulator import ParrotOptions, ParrotSimulator
from test_every_voice import *  # noqa: F403 - all of it

import voicetrio
from voicetrio import FlushMarker, Word, open_audio_sink
from voicetrio.errors import (
    AuthenticationError,
    BadRequest,
    ConfigurationError,
    LinkClosed,
    ProviderStalled,
    RateLimited,
    ServiceUnavailable,
    SessionClosed,
)
from voicetrio.simulators import Faults

DOCUMENT = (Path(__file__).parents[2] / "docs" / "adding-a-provider.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
*PROVIDER, CASE = BLOCKS

LONG = "This is a long sentence, and somebody is going to interrupt it before it has come to its end."


def _module(source):
    """The blocks of the document as the module of the package that they would be."""
    module = module_from_spec(ModuleSpec("voicetrio.parrot", None))
    sys.modules[module.__name__] = module
    exec(compile(source, "docs/adding-a-provider.md", "exec", dont_inherit=True), module.__dict__)
    return module


ParrotTTS = _module("\n".join(PROVIDER)).ParrotTTS


def _case():
    names = {"ParrotTTS": ParrotTTS, "ParrotSimulator": ParrotSimulator, "ParrotOptions": ParrotOptions}
    namespace = vars(contract_cases) | names
    exec(CASE, namespace)
    return namespace["PARROT"]


pytestmark = pytest.mark.parametrize("case", [pytest.param(_case(), id="parrot")])


# ---- what the document says of Parrot --------------------------------------------------------------------------------


async def test_two_turns_are_exact_and_share_a_connection(case, autojump_clock):
    async with stage(case) as it:
        await it.speak("Hello there.")
        await it.speak("And hello again.")
    assert it.commands() == [
        '{"type":"text","text":"Hello there."}',
        '{"type":"flush"}',
        '{"type":"text","text":"And hello again."}',
        '{"type":"flush"}',
        '{"type":"bye"}',
    ]
    assert it.server.connections == 1


@pytest.mark.parametrize("late_frames", [0, 3])
async def test_an_interruption_is_exact_and_keeps_the_connection(case, late_frames, autojump_clock):
    async with stage(case, options={"late_frames": late_frames}) as it:
        with trio.move_on_after(0.5) as scope:
            await it.session.synthesize(LONG)
        cut = it.session.last_interruption
        assert scope.cancelled_caught
        assert it.check_cut(1, LONG) == cut.samples_heard > 0
        await it.speak("The next one.")
        assert it.check_cut(1, LONG) == cut.samples_heard
        late = 960 * 2 * late_frames
        assert it.session.statistics().late_bytes >= late
    assert (it.server.connections, len(it.commands("stop"))) == (1, 1)


async def test_an_unanswered_stop_costs_the_connection_and_no_turn(case, autojump_clock):
    async with stage(case, options={"stop_never": True}) as it:
        with trio.move_on_after(0.5):
            await it.session.synthesize(LONG)
        spoken = await it.speak("The next one.")
        assert spoken.timeline.ended - spoken.timeline.started >= 2.0  # cancel_timeout
    assert it.server.connections == 2


async def test_long_and_streamed_texts_are_spoken_verbatim(case, autojump_clock):
    text = "All of this is said, word for word. " * 40
    async with stage(case, options={"ms_per_char": 2}) as it:
        await it.speak(text)
        assert "".join(ast.literal_eval(command)["text"] for command in it.commands("text")) == text
        await it.speak_streamed("One, ", FlushMarker(), 7.0, "two ", " ", "three. ", FlushMarker(), FlushMarker())


async def test_words_are_timed_from_the_first_sample_of_the_turn(case, autojump_clock):
    script = chunks("One two. ", FlushMarker(), "Three.")
    async with stage(case, options={"ms_per_char": 100}) as it:
        spoken = await it.session.synthesize(script)
    words = [(word.text, round(word.start, 3), round(word.end, 3)) for word in spoken.words]
    assert words == [("One", 0.0, 0.3), ("two.", 0.4, 0.8), ("Three.", 0.9, 1.5)]
    assert isinstance(spoken.words[0], Word)


async def test_a_refused_turn_leaves_the_connection(case, autojump_clock):
    async with stage(case) as it:
        with pytest.raises(BadRequest, match="not in front of the parrot") as caught:
            await it.session.synthesize("Boo \N{SKULL}")
        await it.speak("Sorry.")
    assert (caught.value.provider, caught.value.request_id, caught.value.code) == ("parrot", "parrot-0", "bad_request")
    assert it.server.connections == 1


async def test_a_fatal_error_in_a_turn_costs_the_connection(case, autojump_clock):
    async with stage(case, faults=Faults(connections=1, error_frame=5)) as it:
        with pytest.raises(ServiceUnavailable, match="the parrot sleeps"):
            await it.session.synthesize(LONG)
        assert it.check_cut(1, LONG) > 0  # what had come is heard
        await it.speak("The next one.")
    assert it.server.connections == 2


async def test_a_refused_key_is_an_error_that_does_not_show_it(case, autojump_clock):
    async with stage(case, provider={"api_key": "another-secret"}) as it:
        with pytest.raises(AuthenticationError) as caught:
            await it.session.synthesize("Hello.")
        assert it.server.connections == 1  # it is not tried again
    assert caught.value.status == 401
    assert "another-secret" not in f"{caught.value} {caught.value!r} {it.session.provider!r}"


@pytest.mark.parametrize(("code", "kind"), [(1011, LinkClosed), (4029, RateLimited)])
async def test_a_close_in_mid_turn_is_an_error(case, code, kind, autojump_clock):
    faults = Faults(connections=1, close_after=6, close_code=code, close_reason="enough")
    async with stage(case, faults=faults) as it:
        with pytest.raises(kind) as caught:
            await it.session.synthesize(LONG)
        assert (caught.value.code, caught.value.reason) == (code, "enough")
        assert it.check_cut(1, LONG) > 0
        await it.speak("The next one.")


async def test_a_silent_provider_is_an_error(case, autojump_clock):
    async with stage(case, faults=Faults(stall_after=3)) as it:
        with pytest.raises(ProviderStalled):
            await it.session.synthesize(LONG)


async def test_leaving_the_block_ends_a_turn(case, autojump_clock):
    errors = []

    async def speak(session):
        with pytest.raises(SessionClosed) as caught:
            await session.synthesize(LONG)
        errors.append(caught.value)

    async with trio.open_nursery() as nursery, stage(case) as it:
        nursery.start_soon(speak, it.session)
        await trio.sleep(0.5)
    assert len(errors) == 1


@pytest.mark.parametrize(
    "options",
    [{"api_key": ""}, {"voice": ""}, {"sample_rate": 44_100}, {"base_url": "ftp://x"}, {"max_connection_age_sec": 0}],
    ids=str,
)
def test_options_that_cannot_be_are_refused_at_construction(case, options):
    with pytest.raises(ConfigurationError):
        case.provider(**{"api_key": "key", **options})


def test_a_key_is_needed_and_may_be_in_the_environment(case, monkeypatch):
    monkeypatch.delenv("PARROT_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="PARROT_API_KEY"):
        case.provider()
    monkeypatch.setenv("PARROT_API_KEY", "from-the-environment")
    assert case.provider() == case.provider(api_key="from-the-environment")


async def test_an_option_of_the_connection_cannot_differ_in_a_turn(case, autojump_clock):
    sink, _ = open_audio_sink()
    async with case.make_provider("ws://parrot.test").open(sink) as session:
        with pytest.raises(ConfigurationError, match="max_connection_age_sec"):
            await session.synthesize("Hello.", max_connection_age_sec=1.0)


# ---- what the document says of all providers -------------------------------------------------------------------------


def _imported(source):
    """The modules of voicetrio that a module imports."""
    return {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) and node.level}


def _source(name):
    return "\n".join(PROVIDER) if name == "parrot" else (Path(voicetrio.__file__).parent / f"{name}.py").read_text()


def _lines_of_code(source):
    """How many lines are neither blank nor nothing but comments and docstrings."""
    texts = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for each in tokens if each.type not in NO_CODE for line in range(each.start[0], each.end[0] + 1)}
    return len(lines - texts)


NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

each_provider = pytest.mark.parametrize("name", ["parrot", "deepgram", "lmnt", "cartesia", "smallest"])


@each_provider
def test_a_provider_is_one_file_of_no_more_than_250_lines_of_code(case, name):
    assert 0 < _lines_of_code(_source(name)) <= 250


@each_provider
def test_a_provider_imports_what_the_document_lists(case, name):
    section = DOCUMENT.partition("## 2.")[2].partition("```")[0]
    listed = {module for row in re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE) for module in row.split("`")}
    assert _imported(_source(name)) <= listed
    assert not re.search(r"^\s*(import|from) (trio|httpx|asyncio|logging|time)\b", _source(name), flags=re.MULTILINE)


def test_the_document_names_each_event_and_each_method(case):
    from voicetrio import _dialect

    events = {kind.__name__ for kind in _dialect.Event.__args__}
    methods = {name for name in vars(_dialect.TTSDialect) if not name.startswith("_")} - {"provider"}
    words = set(re.findall(r"\w+", DOCUMENT))
    assert (events | methods) - words == set()
