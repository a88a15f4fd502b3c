"""The pytest plugin, in runs of pytest of its own, and the example of docs/testing.md."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "test_my_agent.py"


@pytest.fixture
def run(pytester):
    """Run pytest on a test file, by default in trio's mode, and with warnings as errors."""

    def run(source, *args, trio_mode="true"):
        pytester.makeini(f"[pytest]\ntrio_mode = {trio_mode}\nfilterwarnings = error")
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *args)

    return run


def test_the_example_passes(run):
    run(EXAMPLE.read_text()).assert_outcomes(passed=5)


def test_no_leaks_fails_a_test_that_leaks_and_no_other(run):
    result = run(
        """
        import socket

        kept = []

        async def test_leak(voicetrio_no_leaks):
            kept.append(socket.socket())

        async def test_clean(voicetrio_no_leaks, deepgram_simulator, deepgram_simulator_in_memory, nursery):
            async with await deepgram_simulator.dial("", 0):
                pass
            async with await deepgram_simulator_in_memory.dial("", 0):
                pass
            kept.pop().close()
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*LeakError: left behind:", "*fd *: socket *"])


def test_sweep_fails_on_a_problem_and_returns_the_report_otherwise(run):
    result = run(
        """
        import trio

        async def test_faulty(voicetrio_sweep, autojump_clock):
            async def scenario():
                try:
                    await trio.sleep(1)
                except trio.Cancelled:
                    pass

            await voicetrio_sweep(scenario)

        async def test_right(voicetrio_sweep, autojump_clock):
            report = await voicetrio_sweep(lambda: trio.sleep(1), deadline=2)
            assert report.steps == 3
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*SweepError: 2 problems in a sweep of 3 steps*", "*swallowed Cancelled*"])


def test_fixtures_work_for_marked_tests_too(run):
    source = """
        import pytest

        @pytest.mark.trio
        async def test_marked(deepgram_simulator, deepgram_simulator_in_memory, voicetrio_no_leaks):
            assert deepgram_simulator.url.startswith("ws://127.0.0.1:")
            assert deepgram_simulator_in_memory.connections == 0
        """
    run(source, trio_mode="false").assert_outcomes(passed=1)


def test_without_pytest_trio_the_fixtures_say_so_and_others_do_not_notice(pytester):
    pytester.makepyfile(
        """
        def test_other():
            pass

        def test_a(deepgram_simulator): pass
        def test_b(deepgram_simulator_in_memory): pass
        def test_c(voicetrio_no_leaks): pass
        def test_d(voicetrio_sweep): pass
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:trio")

    result.assert_outcomes(passed=1, errors=4)
    result.stdout.fnmatch_lines(["the fixture voicetrio_sweep of voicetrio needs pytest-trio*"])


def test_the_fixtures_are_listed(run):
    result = run("", "--fixtures")
    result.stdout.fnmatch_lines_random(
        ["deepgram_simulator *", "deepgram_simulator_in_memory *", "voicetrio_no_leaks *", "voicetrio_sweep *"]
    )


def test_loading_the_plugin_loads_none_of_the_tools():
    program = """if True:
        import sys, voicetrio
        before = set(sys.modules)
        import voicetrio.testing.plugin, voicetrio.testing._fixtures
        print(*sorted(name for name in set(sys.modules) - before if name.startswith(("voicetrio", "trio", "numpy"))))
        """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["voicetrio.testing", "voicetrio.testing._fixtures", "voicetrio.testing.plugin"]


def test_the_package_offers_what_it_lists():
    import voicetrio.testing as package

    namespace = {}
    exec("from voicetrio.testing import *", namespace)
    assert set(package.__all__) <= namespace.keys() & set(dir(package))
    assert all(callable(namespace[name]) for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'swoop'"):
        package.swoop  # noqa: B018
