import os
import signal
import subprocess
import time

import pytest

from swagent import process
from swagent.errors import CommandFailed, CommandTimeout
from tests.wait import until


def test_output_and_status_come_back():
    ended = process.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10)
    assert (ended.status, ended.stdout, ended.stderr, ended.timed_out) == (3, "out\n", "err\n", False)


def test_the_callers_environment_does_not_leak(tmp_path):
    os.environ["SWAGENT_TEST_LEAK"] = "leaked"
    try:
        assert "leaked" not in process.run(["/usr/bin/env"], timeout=10).stdout
    finally:
        del os.environ["SWAGENT_TEST_LEAK"]


def test_stdin_is_given_and_a_program_that_ignores_it_does_no_harm():
    assert process.run(["/bin/cat"], timeout=10, stdin=b"x" * 300000).stdout == "x" * 300000
    assert process.run(["/bin/true"], timeout=10, stdin=b"x" * 300000).status == 0


def test_the_deadline_ends_commands_in_sessions_of_their_own(tmp_path):
    mark = f"test.{os.getpid()}"
    started = time.monotonic()
    ended = process.run(["/bin/sh", "-c", "setsid sleep 300 & sleep 300"], timeout=0.5, mark=mark, grace=0.5)
    assert ended.timed_out and time.monotonic() - started < 10
    until(lambda: not process.marked(mark), 5, "everything that the program had started to be ended")


def test_a_program_gets_sigint_before_sigkill():
    # python turns SIGINT into an orderly end; SIGKILL would leave no word
    ended = process.run(
        ["/usr/bin/python3", "-c", "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('in order')"],
        timeout=1,
        grace=5,
    )
    assert ended.timed_out and ended.stdout == "in order\n"


def test_a_program_that_ignores_sigint_is_killed():
    ended = process.run(["/bin/sh", "-c", "trap '' INT; while :; do sleep 0.1; done"], timeout=0.3, grace=0.3)
    assert ended.timed_out and ended.status == -signal.SIGKILL


def test_a_daemon_that_holds_the_pipes_does_not_hold_us():
    mark = f"daemon.{os.getpid()}"
    started = time.monotonic()
    ended = process.run(["/bin/sh", "-c", "echo done; setsid sleep 60 &"], timeout=30, mark=mark)
    try:
        assert ended.status == 0 and not ended.timed_out and time.monotonic() - started < 10
        assert process.marked(mark), "a daemon that a recipe starts lives on after a good run"
    finally:
        process.sweep(mark)


def test_more_output_than_a_pipe_holds_is_read_and_capped():
    seen = []
    ended = process.run(
        ["/bin/sh", "-c", "head -c 6000000 /dev/zero | tr '\\0' x"],
        timeout=30,
        sink=lambda data: seen.append(len(data)),
    )
    assert sum(seen) == 6000000 and len(ended.stdout) == process.KEEP_BYTES


def test_check_names_the_command_and_its_last_words():
    with pytest.raises(CommandFailed) as caught:
        process.check(["/bin/sh", "-c", "echo no such thing >&2; exit 4"], timeout=5)
    assert caught.value.status == 4 and "no such thing" in str(caught.value)
    with pytest.raises(CommandFailed):
        process.check(["/no/such/program"], timeout=5)
    with pytest.raises(CommandTimeout):
        process.check(["/bin/sleep", "60"], timeout=0.2)


def test_a_program_dies_with_the_process_that_ran_it():
    parent = subprocess.Popen(
        [
            "/usr/bin/python3",
            "-c",
            "from swagent import process\nprocess.run(['/bin/sleep', '300'], timeout=300, mark='orphan.%d')"
            % os.getpid(),
        ]
    )
    mark = f"orphan.{os.getpid()}"
    try:
        until(lambda: process.marked(mark), 10, "the program to start")
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not process.marked(mark), 5, "the program to die with its parent")


def test_find_takes_the_first_that_is_there(tmp_path):
    assert process.find(["no-such-program", "sh"]) in ("/bin/sh", "/usr/bin/sh")
    assert process.find([str(tmp_path)]) == ""
