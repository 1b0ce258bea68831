"""The lanes of the tests: their budgets, and running them one after the other: lanes.py LANE... [-- PYTEST ARGUMENT...]

A lane fails when one of its tests does, and also when it takes longer than its budget, collects nothing, skips anything
or leaves a process running. To add a lane: a line in LANES, tests/<lane>/, and what it needs in tools/test.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence, Tuple

CHECKOUT = Path(__file__).resolve().parent.parent
MARGIN = 30.0  # s over its budget before a lane is ended
PATIENCE = 5.0  # s for processes that are ending anyway after a lane
LICENSE = {"SWAGENT_CHEF_LICENSE": "accept-no-persist", "CHEF_LICENSE": "accept-no-persist"}


@dataclass(frozen=True)
class Lane:
    """budget in seconds; workers: processes that share its tests (0: none, they run one by one)."""

    name: str
    budget: float
    workers: int = 0
    chef: bool = False
    by_file: bool = False  # tests of a file share what is costly to make (an installation of Chef): one worker for them
    commands: Tuple[Tuple[str, ...], ...] = ()  # in place of tests/<name>/: programs that each count as one test


LANES = (
    Lane(
        "lint",
        60,
        commands=(
            ("black", "--check", "--quiet", "--diff", "."),
            ("flake8", "."),
            ("mypy", "--strict", "swagent"),
        ),
    ),
    Lane("unit", 30, workers=2),
    Lane("cookbooks", 300, workers=2, chef=True, by_file=True),
    Lane("chef", 600, workers=2, chef=True, by_file=True),
    Lane("heat", 600, chef=True),
    Lane("stack", 900, workers=2, chef=True),
)


@dataclass(frozen=True)
class Count:
    """What a lane's tests came to; an error outside of a test counts as failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def tests(self) -> int:
        return self.passed + self.failed + self.skipped


@dataclass(frozen=True)
class Outcome:
    lane: Lane
    count: Count
    seconds: float
    faults: Tuple[str, ...] = ()  # of the lane as a whole, beside its failed tests


def parse_junit(text: str) -> Count:
    """The sums of a JUnit report (pytest --junitxml); expected failures are skips there, and count as such."""
    suites = list(xml.etree.ElementTree.fromstring(text).iter("testsuite"))

    def total(name: str) -> int:
        return sum(int(suite.get(name, "0")) for suite in suites)

    failed, skipped = total("failures") + total("errors"), total("skipped")
    return Count(passed=max(0, total("tests") - failed - skipped), failed=failed, skipped=skipped)


def judge(lane: Lane, count: Count, status: int, seconds: float, ended: bool, left: Sequence[str]) -> Tuple[str, ...]:
    """What is wrong with the lane as a whole: sentences. status: of pytest, 0 and 1 are told by the count."""
    faults = []
    if ended:
        faults.append(f"ended {MARGIN:g} s after its budget of {lane.budget:g} s, its count is incomplete")
    elif seconds > lane.budget:
        faults.append(f"took {seconds:.1f} s, which is over its budget of {lane.budget:g} s")
    if not ended and not count.tests:
        faults.append("collected no test")
    if not ended and status and not count.failed:
        faults.append(f"pytest ended with {status}")
    if count.skipped:
        faults.append(f"skipped {count.skipped} tests: what a test needs is installed, or the test fails")
    if left:
        faults.append(f"left running: {'; '.join(left)}")
    return tuple(faults)


def render_table(outcomes: Sequence[Outcome]) -> str:
    rows = [("lane", "tests", "time", "budget", "")]
    for each in outcomes:
        verdict = "failed" if each.faults or each.count.failed else "ok"
        rows.append(
            (each.lane.name, str(each.count.tests), f"{each.seconds:.1f} s", f"{each.lane.budget:g} s", verdict)
        )
    return "".join(f"{row[0]:<10} {row[1]:>6} {row[2]:>9} {row[3]:>8}  {row[4]}".rstrip() + "\n" for row in rows)


def descendants() -> Mapping[int, str]:
    """Every process below this one that is not a zombie: {pid: command line}."""
    parents, names = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                head, _, tail = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(") ")
                words = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue  # ended meanwhile
            state, parent = tail.split()[:2]
            if state not in "ZX":
                parents[int(entry)] = int(parent)
                names[int(entry)] = words.strip() or head.partition("(")[2]
    found: dict[int, str] = {}
    wanted = {os.getpid()}
    while wanted:
        wanted = {pid for pid, parent in parents.items() if parent in wanted and pid not in found}
        found.update((pid, names[pid]) for pid in wanted)
    return found


def reap() -> None:
    """Take leave of orphans that ended: they are our children, as we are the subreaper."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def clear_away() -> Tuple[str, ...]:
    """Wait for what is ending anyway; what stays is killed, and named."""
    until = time.monotonic() + PATIENCE
    while True:
        reap()
        left = descendants()
        if not left or time.monotonic() > until:
            break
        time.sleep(0.1)
    killed = tuple(f"{pid} {name[:120]}" for pid, name in left.items())
    while left:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
        reap()
        left = descendants()
    return killed


def run_command(argv: Sequence[str], environment: Mapping[str, str], deadline: float) -> Tuple[int, bool]:
    """(exit status, whether it was ended at the deadline, in monotonic seconds)."""
    print(f"$ {' '.join(argv)}", flush=True)
    try:
        child = subprocess.Popen(argv, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", flush=True)
        return 127, False
    try:
        return child.wait(max(0.1, deadline - time.monotonic())), False
    except subprocess.TimeoutExpired:
        for number, patience in ((signal.SIGINT, 15), (signal.SIGKILL, 5)):
            os.killpg(child.pid, number)
            try:
                return child.wait(patience), True
            except subprocess.TimeoutExpired:
                continue
        return child.wait(), True


def run_lane(lane: Lane, arguments: Sequence[str], tests: Path) -> Outcome:
    print(f"\n== {lane.name} (budget {lane.budget:g} s)", flush=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SWAGENT_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', '/usr/bin:/bin')}"
    if lane.chef:
        environment.update(LICENSE)
    started = time.monotonic()
    deadline = started + lane.budget + MARGIN
    if lane.commands:
        results = [run_command(command, environment, deadline) for command in lane.commands]
        status, ended = max(abs(each[0]) for each in results), any(each[1] for each in results)
        failed = sum(each[0] != 0 for each in results)
        count = Count(passed=len(results) - failed, failed=failed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "junit.xml")
            # By file: what its tests share (an installation of Chef) is made once and not by each worker.
            way = "--dist=loadfile" if lane.by_file else "--dist=load"
            spread = ["-n", str(lane.workers), way] if lane.workers else []
            command = [sys.executable, "-m", "pytest", "-q", "-ra", "--durations=5", f"--junitxml={report}", *spread]
            status, ended = run_command([*command, str(tests / lane.name), *arguments], environment, deadline)
            count = parse_junit(report.read_text(encoding="utf-8")) if report.exists() else Count()
    seconds = time.monotonic() - started
    outcome = Outcome(lane, count, seconds, judge(lane, count, status, seconds, ended, clear_away()))
    verdict = "failed" if outcome.faults or count.failed else "ok"
    print(f"== {lane.name}: {verdict}, {count.tests} tests in {seconds:.1f} s (budget {lane.budget:g} s)", flush=True)
    for fault in outcome.faults:
        print(f"== {lane.name}: {fault}", flush=True)
    return outcome


def main(words: Sequence[str], tests: Path = CHECKOUT / "tests", lanes: Sequence[Lane] = LANES) -> int:
    split = words.index("--") if "--" in words else len(words)
    names, arguments = words[:split], words[split + 1 :]
    known = {lane.name: lane for lane in lanes}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no lane {', '.join(unknown)}; known are: {' '.join(known)}", file=sys.stderr)
        return 2
    # Whatever a test leaves behind, in whatever session, becomes our child when its own parent ends.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    chosen = [lane for lane in lanes if lane.name in names or not names]
    outcomes = [run_lane(lane, arguments, tests) for lane in chosen]
    passed = sum(each.count.passed for each in outcomes)
    failed = sum(each.count.failed + len(each.faults) for each in outcomes)
    print(f"\n{render_table(outcomes)}")
    for each in outcomes:
        for fault in each.faults:
            print(f"{each.lane.name}: {fault}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
