"""The verbs on what a real agent wrote: the shapes that they read are those that it writes."""

import json

import pytest

from swagent.__main__ import main
from tests.member import Member, deployment
from tests.wait import until

SCRIPT = "#!/bin/sh\necho said $word; exit $code\n"


@pytest.fixture
def member(tmp_path):
    member = Member(tmp_path)
    yield member
    member.close()


@pytest.fixture
def verb(member, capsys):
    """The JSON of a verb of that member, which must succeed."""

    def verb(*words):
        capsys.readouterr()
        code = main(["--root", str(member.root), *words, "-f", "json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)

    return verb


def test_every_reading_verb_tells_of_a_resident_agent_and_its_runs(member, verb, capsys):
    inputs = {"code": "0", "word": "hello", "db_password": "hunter22"}
    bag = {"store": "directory", "path": str(member.root / "bag")}
    section = {"member": "head-0", "roles": ["head"], "expected": {"head": 1}, "data_bag": bag}
    member.metadata(deployment(config=SCRIPT, inputs=inputs), **section)
    member.start()
    status = verb("status", "--stack", "--wait", "--timeout", "60")
    assert status["state"] == "converged" and status["member"] == "head-0" and status["pid"] == member.agent.pid
    assert status["stack"] == {"converged": True, "reasons": []} and status["run"]["status"] == "success"
    assert status["next_poll"] and status["since"] and not status["problems"]
    assert [(each["name"], each["status"]) for each in status["deployments"]] == [("app", "applied")]
    (row,) = verb("members")
    assert row["member"] == "head-0" and row["applied"] and row["result"] == "success" and not row["suspect"]
    assert verb("context", "parameters.app.word") == "hello"

    member.metadata(deployment(config=SCRIPT, id="d-2", action="UPDATE", inputs={**inputs, "code": "3"}), **section)
    until(lambda: verb("status")["state"] == "failed", 60, "the failure of the second run")
    assert verb("status")["next_retry"] and "app: run 2" in verb("status")["reason"]
    assert [(run["number"], run["status"]) for run in verb("runs")][:2] == [(1, "success"), (2, "failed")]
    assert "ended with 3" in verb("runs", "show", "2")["error"]["message"]
    assert verb("runs", "show", "2")["exit_code"] == 3
    changes = {change["path"]: change for change in verb("why", "2")["cause"]["changes"]}
    assert changes["parameters.app.code"]["before"] == "0" and changes["parameters.app.code"]["after"] == "3"
    assert [row["path"] for row in verb("context", "diff", "1", "2")] == ["parameters.app.code"]
    assert verb("metadata")["sources"]["test.json"]["swagent"] == section
    assert main(["--root", str(member.root), "runs", "log", "1"]) == 0
    assert capsys.readouterr().out == "said hello\n"
    assert "hunter22" not in json.dumps([verb("metadata"), verb("context"), verb("runs", "show", "2")])

    member.stop()
    status = verb("status")
    assert status["state"] == "not-running" and status["last"] == "failed"
