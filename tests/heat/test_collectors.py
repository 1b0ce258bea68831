"""What swagent collects and what the real os-collect-config collects from the same Heat, and swagent as its command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from swagent.collect import saved
from swagent.metadata import rendered
from tests.wait import until

# The fixtures have deadlines of their own: the first test would pay for the start of the control plane.
pytestmark = pytest.mark.timeout(120, func_only=True)
OS_COLLECT_CONFIG = "/usr/bin/os-collect-config"


def render_configuration(credentials, cache: Path, command: str = "") -> str:
    """os-collect-config's configuration file for a server; oslo.config substitutes $name, so that each $ is doubled."""
    (section,) = [name for name in credentials if name != "collectors"]
    lines = ["[DEFAULT]", f"collectors = {section}", f"cachedir = {cache}", f"backup_cachedir = {cache}.backup"]
    if command:
        lines.append("command = " + command.replace("$", "$$"))
    lines.append(f"[{section}]")
    lines += [f"{key} = {str(value).replace('$', '$$')}" for key, value in credentials[section].items()]
    return "\n".join(lines) + "\n"


def run_os_collect_config(folder: Path, credentials, *options: str, command: str = "", environment=None):
    configuration = folder / "os-collect-config.conf"
    configuration.write_text(render_configuration(credentials, folder / "cache", command))
    return subprocess.run(
        [OS_COLLECT_CONFIG, "--config-file", str(configuration), *options],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )


@pytest.mark.parametrize("source, transport", [("heat", "POLL_SERVER_HEAT"), ("cfn", "POLL_SERVER_CFN")])
def test_what_is_collected_equals_what_os_collect_config_prints(
    heat, name, create, new_member, tmp_path, source, transport
):
    credentials = create(metadata_transport=transport)
    member = new_member({"collectors": [source], source: credentials[source]})
    # the chef deployment is left alone: what is compared is what was collected
    assert member.once("--why-run").returncode == 0
    printed = run_os_collect_config(tmp_path, credentials, "--print")
    assert printed.returncode == 0, printed.stderr
    theirs = json.loads(printed.stdout)
    ours = rendered(saved(member.settings).documents)
    assert sorted(ours) == sorted(theirs) == sorted([source, "site"])
    for document in theirs:
        assert sorted(ours[document]) == sorted(theirs[document])
        for key in theirs[document]:
            assert ours[document][key] == theirs[document][key], f"{document}: {key}"
    assert theirs["site"] == {"site": {"port": 80, "aliases": ["web", "www"]}}
    shown = member.call("metadata", source, "--secrets", "-f", "json")
    assert json.loads(shown.stdout)["sources"] == {source: theirs[source]}


def updated(deployments):
    """How many of the deployments in a server's metadata belong to an update."""
    inputs = [{each["name"]: each["value"] for each in deployment["inputs"]} for deployment in deployments]
    return sum(each["deploy_action"] == "UPDATE" for each in inputs)


def test_os_collect_config_converges_one_cycle_with_swagent_as_its_command(
    heat, name, create, new_member, scratch, tmp_path
):
    credentials = create()
    # no settings of its own: all it knows is what os-collect-config hands over
    member = new_member({"collectors": []})
    command = shlex.join(member.command("run", "--once"))
    environment = {**os.environ, "PYTHONPATH": member.environment["PYTHONPATH"]}

    ended = run_os_collect_config(tmp_path, credentials, "--one-time", command=command, environment=environment)
    assert ended.returncode == 0, ended.stderr
    assert heat.wait(name, "CREATE_COMPLETE", 30).outputs["address"] == "web-0:80"
    (record,) = member.runs()
    assert record["status"] == "success"
    assert (tmp_path / "cache" / "heat.json.last").exists()  # committed: the command succeeded

    heat.update(name, parameters={"port": 81})
    server = heat.resource(name, "server")["physical_resource_id"]
    # Both deployments, and not only the one that Heat updates first: there is one cycle, which must find all of it.
    until(lambda: updated(heat.deployments_of(server)) == 2, 30, "the update is in the metadata")
    ended = run_os_collect_config(tmp_path, credentials, "--one-time", command=command, environment=environment)
    assert ended.returncode == 0, ended.stderr
    assert heat.wait(name, "UPDATE_COMPLETE", 30).outputs["address"] == "web-0:81"
    assert (scratch / "runs").read_text().split() == ["80", "81"]


def test_os_collect_config_learns_from_the_exit_code_that_a_recipe_failed(heat, name, create, new_member, tmp_path):
    credentials = create(recipe="broken")
    member = new_member({"collectors": []})
    command = shlex.join(member.command("run", "--once"))
    ended = run_os_collect_config(
        tmp_path, credentials, "--one-time", command=command, environment=dict(member.environment)
    )
    assert ended.returncode == 1
    assert not (tmp_path / "cache" / "heat.json.last").exists()  # not committed: it would call the command again
    with pytest.raises(AssertionError, match="CREATE_FAILED"):
        heat.wait(name, "CREATE_COMPLETE", 30)
