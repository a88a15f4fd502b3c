"""Every program in the README and the guides runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ELSEWHERE = {"agent"}  # needs providers: it runs in test_examples.py
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, match in enumerate(FENCE.finditer(path.read_text()), 1):
            if "trio.run(" in match[1]:
                yield pytest.param(match[1], id=f"{path.stem}-{number}")
    for path in sorted((ROOT / "examples").glob("*.py")):
        if not path.stem.startswith("test_") and path.stem not in ELSEWHERE:
            yield pytest.param(path.read_text(), id=path.stem)


@pytest.mark.parametrize("program", list(programs()))
def test_it_runs(program, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
