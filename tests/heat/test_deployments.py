"""Every kind of deployment that Heat makes is answered: one that nobody answers would hang its stack."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The fixtures have deadlines of their own: the first test would pay for the start of the control plane.
pytestmark = pytest.mark.timeout(120, func_only=True)


def test_scripts_data_and_components_are_all_answered_through_the_life_of_a_stack(
    heat, name, create, new_member, scratch
):
    member = new_member(create("groups.yaml", deployments=4))
    member.start()
    assert heat.wait(name, "CREATE_COMPLETE", 40).outputs["said"] == "script says one"
    assert (scratch / "component").read_text() == "component CREATE\n"

    heat.update(name, parameters={"word": "two"})
    assert heat.wait(name, "UPDATE_COMPLETE", 40).outputs["said"] == "script says two"
    assert len(member.runs()) == 3  # the script twice, the component once

    for action, status in (("suspend", "SUSPEND_COMPLETE"), ("resume", "RESUME_COMPLETE")):
        heat.act(name, action)
        heat.wait(name, status, 40)
    path = heat.begin_delete(name)
    heat.wait_gone(name, path, 40)
    assert (scratch / "component").read_text() == "component CREATE\n"
    assert {record["status"] for record in member.runs()} == {"success"}


def test_a_group_without_a_hook_fails_at_once_and_says_where_hooks_were_looked_for(heat, name, create, new_member):
    member = new_member(create("unknown_group.yaml", deployments=1))
    assert member.once().returncode == 1
    with pytest.raises(AssertionError, match="CREATE_FAILED"):
        heat.wait(name, "CREATE_COMPLETE", 30)
    reason = heat.resource(name, "deployment")["resource_status_reason"]
    assert "no hook for group 'cobol'" in reason
    assert member.settings.hooks[0] in reason
    assert member.runs() == []
    heat.delete(name)


def test_a_deployment_group_completes_when_each_of_its_members_did(heat, name, new_member, scratch):
    heat.create(name, HERE / "templates/pair.yaml", {"cookbooks": f"{HERE}/cookbooks", "scratch": str(scratch)})
    members = [new_member(heat.credentials(name, output), root=output) for output in ("first", "second")]
    for member in members:
        member.start()
    stack = heat.wait(name, "CREATE_COMPLETE", 90)
    assert stack.outputs["addresses"] == {"first": "web-0:443", "second": "web-1:443"}
    assert [len(member.runs()) for member in members] == [1, 1]
