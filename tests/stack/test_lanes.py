"""The runner of the lanes, on small lanes of its own: what fails a lane although no test of it failed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SPECIFICATION = importlib.util.spec_from_file_location("lanes", CHECKOUT / "tools" / "lanes.py")
lanes = importlib.util.module_from_spec(SPECIFICATION)
sys.modules["lanes"] = lanes  # dataclasses look their module up
SPECIFICATION.loader.exec_module(lanes)

SHORT = lanes.Lane("short", 20)


@pytest.fixture
def run(tmp_path):
    """Run one lane that holds the given test file, in a process of its own; gives (exit status, lines of stdout)."""

    def run(test, budget=20.0, margin=30.0):
        (tmp_path / "short").mkdir(exist_ok=True)
        (tmp_path / "short" / "test_it.py").write_text(textwrap.dedent(test))
        program = (
            f"import sys; sys.path.insert(0, {str(CHECKOUT / 'tools')!r}); import lanes; from pathlib import Path; "
            f"lanes.MARGIN, lanes.PATIENCE = {margin}, 1.0; "
            f"sys.exit(lanes.main(['short'], Path({str(tmp_path)!r}), [lanes.Lane('short', {budget})]))"
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SWAGENT_"))}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the small lanes use none, and start three times as fast
        ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        return ended.returncode, ended.stdout.splitlines()

    return run


def test_the_lanes_fit_into_an_hour():
    assert sum(lane.budget + lanes.MARGIN for lane in lanes.LANES) < 3600
    assert [lane.name for lane in lanes.LANES] == ["lint", "unit", "cookbooks", "chef", "heat", "stack"]


def test_a_report_gives_its_sums():
    text = '<testsuites><testsuite tests="9" failures="2" errors="1" skipped="3"/></testsuites>'
    assert lanes.parse_junit(text) == lanes.Count(passed=3, failed=3, skipped=3)


@pytest.mark.parametrize(
    "count, status, seconds, ended, left, fault",
    [
        (lanes.Count(passed=1), 0, 19.9, False, (), None),
        (lanes.Count(passed=1, failed=1), 1, 19.9, False, (), None),
        (lanes.Count(passed=1), 0, 20.1, False, (), "took 20.1 s, which is over its budget of 20 s"),
        (lanes.Count(), 5, 1.0, False, (), "collected no test"),
        (lanes.Count(passed=4, skipped=2), 0, 1.0, False, (), "skipped 2 tests"),
        (lanes.Count(passed=4), 3, 1.0, False, (), "pytest ended with 3"),
        (lanes.Count(passed=4), 0, 1.0, False, ("12 sleep 9",), "left running: 12 sleep 9"),
        (lanes.Count(), 2, 51.0, True, (), "ended 30 s after its budget of 20 s"),
    ],
)
def test_a_lane_is_judged_as_a_whole(count, status, seconds, ended, left, fault):
    faults = lanes.judge(SHORT, count, status, seconds, ended, left)
    assert (fault in faults[0]) if fault else (faults == ())


def test_a_good_lane_says_so_in_a_table_and_a_last_line(run):
    status, lines = run("def test_it(): pass\n")
    assert (status, lines[-1]) == (0, "1 passed, 0 failed")
    assert any(line.startswith("short           1 ") and line.endswith("20 s  ok") for line in lines)


def test_a_skipped_test_fails_the_lane(run):
    skipping = "import pytest\n@pytest.mark." + "skip\ndef test_it(): pass\n"
    status, lines = run(skipping + "def test_other(): pass\n")
    assert (status, lines[-1]) == (1, "1 passed, 1 failed")
    assert "short: skipped 1 tests: what a test needs is installed, or the test fails" in lines


def test_a_lane_without_tests_fails(run):
    status, lines = run("")
    assert status == 1 and "short: collected no test" in lines


def test_a_process_in_a_session_of_its_own_is_found_named_and_ended(run, tmp_path):
    status, lines = run(
        f"""
        import subprocess
        def test_it():
            inner = "setsid env -i sleep 987 </dev/null >/dev/null 2>&1 & echo $! > {tmp_path}/pid"
            subprocess.run(["sh", "-c", inner], check=True)
        """
    )
    assert (status, lines[-1]) == (1, "1 passed, 1 failed")
    assert [line for line in lines if line.startswith("short: left running: ") and line.endswith(" sleep 987")]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_lane_that_hangs_is_ended_after_its_margin(run):
    status, lines = run("import time\ndef test_it(): time.sleep(600)\n", budget=1.0, margin=0.5)
    assert status == 1 and any("after its budget of 1 s" in line for line in lines)


def test_an_unknown_lane_is_named():
    ended = subprocess.run([sys.executable, CHECKOUT / "tools/lanes.py", "nosuch"], capture_output=True, text=True)
    assert ended.returncode == 2 and "no lane nosuch; known are: lint unit" in ended.stderr
