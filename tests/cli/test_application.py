"""What all commands share."""

import subprocess
import sys

import pytest

from voicetrio.cli import _registry


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_says_what_to_install(missing):
    program = f"import sys; sys.modules[{missing!r}] = None; from voicetrio.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "say", "--help"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"voicetrio: {missing} is missing: pip install 'voicetrio[cli]'\n"


def test_the_package_itself_needs_neither():
    program = "import sys, voicetrio, voicetrio.simulators; sys.exit('click' in sys.modules or 'rich' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("names", [_registry.PROVIDERS, _registry.MODELS, _registry.DENOISERS, _registry.RECOGNIZERS])
def test_every_name_of_the_registry_is_somebodys(names):
    assert all(callable(found) for found in names.values())
    with pytest.raises(KeyError):
        names["nobody"]


def test_every_simulator_of_the_registry_takes_its_options():
    for entry in _registry.SIMULATORS.values():
        assert isinstance(entry.make(entry.options()).options, entry.options)


def test_help_says_what_each_command_does_in_a_line(run):
    status, out, _ = run("--help")
    commands = out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert status == 0
    assert len(commands) == 7
    for line in commands:
        assert line.endswith(".")
        assert not line.endswith("...")


def test_help_tells_the_statuses(run):
    status, out, _ = run("say", "--help")

    assert status == 0
    assert "130 interrupted by Ctrl-C" in out


@pytest.mark.parametrize("arguments", [[], ["shout"]])
def test_a_command_is_needed(run, arguments):
    status, out, err = run(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith("voicetrio: ")
    assert err.count("\n") == 1
