"""The documents say what is so of realtime models: rows R1 to R7, and the tables of options."""

import ast
import re
from pathlib import Path

import attrs
import pytest

from voicetrio.inference.realtime import GeminiRealtimeConfig, Realtime

ROOT = Path(__file__).parents[2]
ORIGINALS = (ROOT / "docs" / "originals.md").read_text()
PROVIDERS = (ROOT / "docs" / "providers.md").read_text()
TESTS = set(re.findall(r"^async def (test_r\d+_\w+)", (Path(__file__).parent / "test_realtime.py").read_text(), re.M))


@pytest.mark.parametrize("number", range(1, 8))
def test_each_row_of_realtime_is_complete_and_names_its_tests(number):
    section = re.split(r"^### ", ORIGINALS.partition(f"### R{number} ")[2], maxsplit=1, flags=re.MULTILINE)[0]
    for part in ("**Original:**", "**Heard:**", "**Here:**", "**Tests:**"):
        assert part in section
    own = section.partition("**Run:**")[0]  # what is run of the original has tests of its own
    assert set(re.findall(r"`(test_\w+)`", own)) == {name for name in TESTS if name.startswith(f"test_r{number}_")}


def test_the_tables_of_realtimes_options_are_those_of_the_classes():
    section = PROVIDERS.partition("## Realtime\n")[2].partition("\n## ")[0]
    written = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section, flags=re.MULTILINE))
    fields = [*attrs.fields(Realtime), *attrs.fields(GeminiRealtimeConfig)]
    assert set(written) == {field.name for field in fields}
    for field in fields:
        shown = written[field.name]
        assert (shown == "required") if field.default is attrs.NOTHING else ast.literal_eval(shown) == field.default
