"""The walk as a whole: the real agent process, the `script` hook, the directory data bag; Chef has its own lane."""

import json
import os
import signal

import pytest

from swagent import files, process, runs
from tests.member import Member, deployment
from tests.wait import until


@pytest.fixture
def member(tmp_path):
    member = Member(tmp_path)
    yield member
    member.close()


def counter(path, then="true"):
    return f"#!/bin/sh\necho run >> {path}\n{then}\n"


def count(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_deployment_is_run_once_and_a_second_call_runs_nothing(member, tmp_path):
    member.metadata(deployment(config=counter(tmp_path / "ran")), roles=["head"], member="head-0")
    first = member.once()
    assert first.returncode == 0, first.stderr
    assert count(tmp_path / "ran") == 1
    assert [record["status"] for record in member.runs()] == ["success"]
    assert member.once().returncode == 0 and count(tmp_path / "ran") == 1
    assert member.status()["state"] == "converged"


def test_outputs_reach_the_record_and_a_failure_is_exit_1_and_tried_once_per_call(member, tmp_path):
    script = counter(tmp_path / "ran", 'printf 42 > "$heat_outputs_path.answer"; echo gone wrong >&2; exit 7')
    member.metadata(deployment(config=script, outputs=["answer"]))
    failed = member.once()
    assert failed.returncode == 1
    (record,) = member.runs()
    assert record["status"] == "failed" and record["result"]["exit_code"] == 7
    assert member.status()["state"] == "failed" and "app" in member.status()["reason"]
    member.metadata(deployment(config=counter(tmp_path / "ran"), id="d-2", action="UPDATE"))
    assert member.once().returncode == 0 and member.runs()[-1]["status"] == "success"
    assert count(tmp_path / "ran") == 2


def test_no_metadata_is_said_with_the_next_step(member):
    ended = member.once()
    assert ended.returncode == 1 and "swagent metadata" in ended.stderr


def test_a_document_that_does_not_parse_is_named_and_the_last_good_one_stays(member, tmp_path):
    member.metadata(deployment(config=counter(tmp_path / "ran")))
    member.start()
    until(lambda: member.status().get("state") == "converged", 20, "the first run")
    (member.data / "test.json").write_text('{"deployments": [}')
    until(lambda: member.status().get("state") == "degraded", 20, "the damage to be noticed")
    said = " ".join(member.status()["problems"])
    assert "test.json" in said and "line 1" in said
    assert member.status()["pid"] == member.agent.pid and count(tmp_path / "ran") == 1
    member.metadata(deployment(config=counter(tmp_path / "ran"), id="d-2", action="UPDATE", inputs={"port": 81}))
    until(lambda: count(tmp_path / "ran") == 2, 20, "the corrected document to be used")


def test_a_second_agent_says_who_holds_the_lock_and_exits_75(member):
    member.metadata(deployment())
    member.start()
    until(lambda: member.status().get("state") == "converged", 20, "the first agent")
    second = member.once()
    assert second.returncode == 75 and f"pid {member.agent.pid}" in second.stderr


def test_cycles_go_on_while_a_run_is_in_progress(member, tmp_path):
    bag = tmp_path / "bag"
    member.metadata(
        deployment(config=f"#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n"),
        member="w-0",
        data_bag={"store": "directory", "path": str(bag)},
    )
    member.start()
    until(lambda: member.status().get("state") == "converging", 20, "the run to start")
    until(lambda: json.loads((bag / "w-0.json").read_text())["status"]["state"] == "converging", 20, "to be published")
    (member.data / "broken.json").write_text("[")
    until(lambda: member.status().get("problems"), 20, "a poll during the run")
    (tmp_path / "go").touch()
    os.unlink(member.data / "broken.json")
    until(lambda: member.status().get("state") == "converged", 20, "the run to end")


def test_a_stopped_agent_ends_its_run_records_it_as_interrupted_and_runs_it_again(member, tmp_path):
    member.metadata(deployment(config=counter(tmp_path / "ran", f"[ -e {tmp_path}/go ] || exec sleep 300")))
    member.start()
    until(lambda: count(tmp_path / "ran") == 1, 20, "the script to run")
    mark = files.read_json(member.settings.state_file)["running"]["mark"]
    assert member.stop() == 0
    until(lambda: not process.marked(mark), 5, "nothing of the run to be left")
    assert member.runs()[0]["status"] == "interrupted"
    (tmp_path / "go").touch()
    assert member.once().returncode == 0
    last = member.runs()[-1]
    assert last["status"] == "success" and last["cause"]["kind"] == "interrupted" and count(tmp_path / "ran") == 2


def test_a_killed_agent_takes_its_run_with_it_and_carries_on_after_a_start(member, tmp_path):
    member.metadata(deployment(config=counter(tmp_path / "ran", f"[ -e {tmp_path}/go ] || exec sleep 300")))
    member.start()
    until(lambda: count(tmp_path / "ran") == 1, 20, "the script to run")
    assert member.stop(signal.SIGKILL) == -signal.SIGKILL
    (tmp_path / "go").touch()
    assert member.once().returncode == 0
    assert [record["status"] for record in member.runs()] == ["interrupted", "success"]
    assert count(tmp_path / "ran") == 2
    assert not process.marked(
        json.loads((runs.folder(member.settings, 1) / "run.json").read_text()).get("mark", "none")
    )


def test_a_shutdown_event_publishes_that_the_member_leaves(member, tmp_path):
    bag = {"store": "directory", "path": str(tmp_path / "bag")}
    member.metadata(deployment(config=counter(tmp_path / "ran")), member="w-0", data_bag=bag)
    assert member.once().returncode == 0
    assert member.call("run", "--once", "--event", "shutdown").returncode == 0
    item = json.loads((tmp_path / "bag/w-0.json").read_text())
    assert item["left"] is True
    assert member.once().returncode == 0, "it boots again: a member again"
    assert json.loads((tmp_path / "bag/w-0.json").read_text())["left"] is False


def test_os_collect_config_can_run_it_as_its_command(member, tmp_path):
    document = tmp_path / "heat.json"
    files.write_json(document, {"deployments": [deployment(config=counter(tmp_path / "ran"))]})
    environment = {**member.environment, "OS_CONFIG_FILES": str(document)}
    assert member.call("run", "--once", env=environment).returncode == 0
    assert count(tmp_path / "ran") == 1
    assert member.call("run", "--once", env=environment).returncode == 0
    assert count(tmp_path / "ran") == 1


def test_a_disabled_machine_does_nothing(member, tmp_path):
    member.metadata(deployment(config=counter(tmp_path / "ran")))
    files.write(member.settings.etc / "disabled", "")
    assert member.once().returncode == 0 and count(tmp_path / "ran") == 0


def test_force_runs_again_and_says_that_it_was_asked(member, tmp_path):
    member.metadata(deployment(config=counter(tmp_path / "ran")))
    member.once()
    assert member.once("--force").returncode == 0
    assert count(tmp_path / "ran") == 2 and member.runs()[-1]["cause"]["kind"] == "manual"


def test_files_of_a_member_are_private(member, tmp_path):
    member.metadata(deployment(config="echo hello"))
    member.once()
    for folder in (member.settings.lib, member.settings.run):
        for path in [folder, *folder.rglob("*")]:
            if not path.is_symlink():
                assert path.stat().st_mode & 0o077 == 0, path


def test_a_cycle_that_cannot_save_is_said_and_made_up_for_later(tmp_path):
    member = Member(tmp_path, retry_min=0.2)
    try:
        member.metadata(deployment(config=counter(tmp_path / "ran")))
        files.write(member.settings.runs, "a file in the way")
        member.start()
        until(lambda: b"the cycle could not end" in (tmp_path / "agent.log").read_bytes(), 20, "the fault to be said")
        assert member.agent.poll() is None and count(tmp_path / "ran") == 0
        member.settings.runs.unlink()
        member.wait_for("converged", 20)
        assert count(tmp_path / "ran") == 1
    finally:
        member.close()
    ended = Member(tmp_path / "once")
    ended.metadata(deployment())
    files.write(ended.settings.runs, "a file in the way")
    called = ended.once()
    assert called.returncode == 1 and "run it again" in called.stderr and "Traceback" not in called.stderr
