"""The agent on a running Heat: stacks complete, fail, change and go because swagent polled, converged and signalled."""

from __future__ import annotations

import json
import re

import pytest

from swagent import files
from tests.wait import until

# The fixtures have deadlines of their own: the first test would pay for the start of the control plane.
pytestmark = pytest.mark.timeout(120, func_only=True)
TRANSPORTS = [("POLL_SERVER_HEAT", "HEAT_SIGNAL"), ("POLL_SERVER_CFN", "CFN_SIGNAL")]


def runs_of(scratch):
    """The port that each run of cookbooks/app saw, the oldest first."""
    path = scratch / "runs"
    return path.read_text().split() if path.exists() else []


def outbox(member):
    """The documents of the signals that wait."""
    found = []
    for path in member.settings.outbox.glob("*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except FileNotFoundError:
            continue  # delivered between the two looks
    return found


def wait_settled(member):
    """Until this very agent process has nothing more to do; the status of the one before it does not count."""
    pid = member.agent.pid
    until(lambda: member.status().get("pid") == pid, 30, "the agent tells its status")
    member.wait_for("converged", 30)


@pytest.mark.parametrize("metadata_transport, signal_transport", TRANSPORTS, ids=["heat", "cfn"])
def test_a_stack_completes_updates_and_goes_with_its_agent(
    heat, name, create, new_member, scratch, metadata_transport, signal_transport
):
    member = new_member(create(metadata_transport=metadata_transport, signal_transport=signal_transport))
    member.start()

    # create: setup and deploy are one run, its outputs are Heat's
    stack = heat.wait(name, "CREATE_COMPLETE", 60)
    assert stack.outputs["address"] == "web-0:80"
    deployment = heat.deployment(name, "app")
    assert (deployment["status"], deployment["output_values"]["deploy_status_code"]) == ("COMPLETE", 0)
    assert "failure" not in deployment["output_values"]
    assert runs_of(scratch) == ["80"]
    wait_settled(member)

    # the same agent started anew: nothing to do, although its memory is gone
    member.stop()
    member.start()
    wait_settled(member)
    member.stop()
    assert member.once().returncode == 0
    assert runs_of(scratch) == ["80"]
    assert len(member.runs()) == 1

    # one input changes: one run
    member.start()
    heat.update(name, parameters={"port": 8080})
    assert heat.wait(name, "UPDATE_COMPLETE", 60).outputs["address"] == "web-0:8080"
    assert (scratch / "app.conf").read_text() == "port 8080\n"
    wait_settled(member)
    member.stop()
    assert member.once().returncode == 0  # it waits for no timer: what would run later runs now
    assert runs_of(scratch) == ["80", "8080"]
    assert [record["status"] for record in member.runs()] == ["success", "success"]
    member.start()

    # delete: Heat waits for the undeploy
    path = heat.begin_delete(name)
    heat.wait_gone(name, path, 60)
    assert (scratch / "left").read_text() == "undeploy\n"
    assert not (scratch / "app.conf").exists()
    member.stop()


def test_a_recipe_that_fails_fails_the_stack_with_resource_cookbook_and_line(heat, name, create, new_member, scratch):
    # the transports of metadata and signal are independent of one another
    member = new_member(create(recipe="broken", signal_transport="CFN_SIGNAL"))
    assert member.once().returncode == 1
    with pytest.raises(AssertionError, match="CREATE_FAILED"):
        heat.wait(name, "CREATE_COMPLETE", 30)
    reason = heat.resource(name, "app")["resource_status_reason"]
    assert f"file[{scratch}/nowhere/app.conf]" in reason
    assert re.search(r"\bapp::broken\b", reason)
    assert re.search(r"broken\.rb:3\b|\bline 3\b", reason)
    assert heat.deployment(name, "app")["output_values"]["failure"] in reason
    assert [record["status"] for record in member.runs()] == ["failed"]

    # such a stack can be deleted: what was done before the failure is taken back by the undeploy
    path = heat.begin_delete(name)
    member.start()
    heat.wait_gone(name, path, 60)
    assert (scratch / "left").exists()


@pytest.mark.parametrize(
    "metadata_transport, signal_transport, api",
    [(*TRANSPORTS[0], "heat-api"), (*TRANSPORTS[1], "heat-api-cfn")],
    ids=["heat", "cfn"],
)
def test_a_signal_that_could_not_be_delivered_is_delivered_after_a_restart_and_runs_nothing_again(
    heat, testbed, name, create, new_member, scratch, metadata_transport, signal_transport, api
):
    member = new_member(create(recipe="held", metadata_transport=metadata_transport, signal_transport=signal_transport))
    member.start()
    until((scratch / "begun").exists, 60, "the recipe runs")
    testbed.stop(api)
    try:
        (scratch / "go-on").touch()
        tried = until(lambda: [each for each in outbox(member) if each["attempts"] > 0], 60, "the signal was tried")
        assert len(tried) == 1
        member.stop()
        # without Heat and without a signal delivered: a restart has nothing to run
        member.start()
        until(lambda: member.status().get("pid") == member.agent.pid, 30, "the agent tells its status")
        member.stop()
    finally:
        testbed.start_api(api)
    assert heat.show(name, outputs=False).status == "CREATE_IN_PROGRESS"
    member.start()
    assert heat.wait(name, "CREATE_COMPLETE", 60).outputs["address"] == "web-0:80"
    until(lambda: not outbox(member), 30, "the outbox is empty")
    wait_settled(member)
    assert runs_of(scratch) == ["80"]
    assert len(member.runs()) == 1


def test_the_first_contact_may_come_from_cfn_init_data(heat, name, create, new_member, scratch):
    credentials = create()
    member = new_member({"collectors": ["heat_local", "heat", "local"]})
    files.write_json(member.root / "var/lib/heat-cfntools/cfn-init-data", {"os-collect-config": credentials})
    ended = member.once()
    assert ended.returncode == 0, ended.stderr
    heat.wait(name, "CREATE_COMPLETE", 30)
    assert runs_of(scratch) == ["80"]
    # once more, now with Heat's own document beside it: nothing is due
    assert member.once().returncode == 0
    assert runs_of(scratch) == ["80"]


def test_heat_down_at_the_start_leaves_the_last_metadata_in_use(heat, testbed, name, create, new_member, scratch):
    member = new_member(create())
    assert member.once().returncode == 0
    heat.wait(name, "CREATE_COMPLETE", 30)
    testbed.stop("heat-api")
    try:
        member.start()
        until(lambda: member.status().get("pid") == member.agent.pid, 30, "the agent tells its status")
        problem = until(lambda: member.status()["problems"], 30, "the agent names what it cannot reach")
        assert testbed.places.url("heat_api") in problem[0]
        assert runs_of(scratch) == ["80"]
    finally:
        testbed.start_api("heat-api")
    member.wait_for("converged", 60)
    assert runs_of(scratch) == ["80"]
