"""The testbed itself: a Heat that behaves as Heat does, and that leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.daemons import Daemons, TestbedError, free_ports, marked
from tests.testbed.heat import Testbed
from tests.testbed.stacks import Stacks
from tests.wait import until

# The fixtures have deadlines of their own: the first test would pay for the start of the control plane.
pytestmark = pytest.mark.timeout(120, func_only=True)
TEMPLATE = """
heat_template_version: 2018-08-31
resources:
  server:
    type: OS::Heat::DeployedServer
    properties: {name: server-0, software_config_transport: POLL_SERVER_HEAT}
  config:
    type: OS::Heat::SoftwareConfig
    properties: {group: script, config: "true", outputs: [{name: answer}]}
  deployment:
    type: OS::Heat::SoftwareDeployment
    properties:
      config: {get_resource: config}
      server: {get_resource: server}
      signal_transport: HEAT_SIGNAL
outputs:
  credentials: {value: {get_attr: [server, os_collect_config]}}
  answer: {value: {get_attr: [deployment, answer]}}
"""
# A test process as pytest is: it holds a testbed while its own standard input is open.
HOLDER = """
import sys
from pathlib import Path
from tests.testbed.heat import held
with held(Path(sys.argv[1])):
    sys.stdin.read()
"""


def test_a_deployment_is_in_progress_until_it_is_signalled(heat: Stacks) -> None:
    heat.create("by-hand", TEMPLATE)
    credentials = heat.credentials("by-hand", "credentials")
    assert credentials["collectors"] == ["heat", "local"]
    until(lambda: heat.resource("by-hand", "deployment")["physical_resource_id"], 30, "the deployment exists")
    assert heat.show("by-hand", outputs=False).status == "CREATE_IN_PROGRESS"
    heat.signal("by-hand", "deployment", {"deploy_status_code": 0, "answer": "42"})
    assert heat.wait("by-hand", "CREATE_COMPLETE", 30).outputs["answer"] == "42"
    heat.delete("by-hand")


def test_a_failed_deployment_fails_the_stack_and_gives_its_reason(heat: Stacks) -> None:
    heat.create("fails", TEMPLATE)
    until(lambda: heat.resource("fails", "deployment")["physical_resource_id"], 30, "the deployment exists")
    heat.signal("fails", "deployment", {"deploy_status_code": 3})
    with pytest.raises(AssertionError, match="CREATE_FAILED instead of CREATE_COMPLETE") as failure:
        heat.wait("fails", "CREATE_COMPLETE", 30)
    assert "non-zero status code: 3" in str(failure.value)
    heat.delete("fails")


def test_an_api_can_be_stopped_and_started_again(heat: Stacks, testbed: Testbed) -> None:
    testbed.stop("heat-api")
    with pytest.raises(OSError):  # requests' own ConnectionError is one
        heat.call("GET", "/stacks")
    testbed.start_api("heat-api")
    assert heat.call("GET", "/stacks") is not None


def test_daemons_end_with_all_they_started(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    daemons.start("sleeper", ["sh", "-c", "setsid sleep 600 & sleep 600 & exec sleep 600"])
    until(lambda: len(marked(tmp_path)) == 3, 5, "three sleepers")
    daemons.stop_all()
    assert marked(tmp_path) == {}
    assert daemons.pid("sleeper") is None


def test_a_daemon_that_ignores_term_is_killed(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    daemons.start("deaf", ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"])
    until(lambda: "ready" in daemons.tail("deaf"), 5, "the daemon ignores TERM")
    daemons.stop("deaf", seconds=0.3)
    assert marked(tmp_path) == {}


def test_a_daemon_that_does_not_come_up_shows_the_end_of_its_log(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    port = free_ports(["nobody"])["nobody"]
    daemons.start("broken", ["sh", "-c", "echo cannot read its settings >&2; exit 1"])
    with pytest.raises(TestbedError, match="broken ended before it listened.*\n.*cannot read its settings"):
        daemons.wait_port("broken", port, 10)


def test_a_stranger_with_a_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        daemons = Daemons(tmp_path)
        (tmp_path / "pid" / "old").write_text(json.dumps([stranger.pid, 1]))
        daemons.stop("old")
        daemons.stop_all()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_the_tests_are_ended(tmp_path: Path, number: signal.Signals) -> None:
    root = Path(__file__).resolve().parents[2]
    tests = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, cwd=root, stderr=subprocess.DEVNULL
    )
    assert tests.stdin
    with tests.stdin:
        until(lambda: marked(tmp_path), 20, "the first daemons run")
        tests.send_signal(number)
        tests.wait(60)
    until(lambda: not marked(tmp_path), 60, "all daemons are gone")
    assert not (tmp_path / "prepared").exists()  # the signal came while everything was still starting
