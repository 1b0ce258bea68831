"""`swagent status`: one word and the reason, from files that the agent wrote."""

import subprocess
import sys
import time

from swagent import files
from swagent.state import DeploymentState, Running


def test_nothing_there_is_not_running_and_no_error(root):
    code, out, err = root.call("status")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["not-running: no agent holds the lock", "no run yet"]


def test_the_word_of_an_agent_that_is_gone_is_told_as_its_last_one(root):
    root.status("converged", "")
    document = root.json("status")
    assert document["state"] == "not-running" and document["last"] == "converged"
    assert document["reason"] == "no agent holds the lock; it was last converged"
    assert document["pid"] is None and document["next_poll"] is None


def test_the_json_has_every_key_whatever_is_there(root, new_item):
    keys = set(
        "state reason since last pid member roles run running next_poll next_retry waiting_for problems signals "
        "refused stack deployments".split()
    )
    assert set(root.json("status")) == keys
    root.items(new_item("head-0", ["head"]))
    root.compiled(roles=["head"])
    root.run(1)
    root.hold()
    root.status("degraded", "heat: connection refused", problems=["heat: connection refused"])
    document = root.json("status", "--stack")
    assert set(document) == keys
    assert document["state"] == "degraded" and document["member"] == "head-0" and document["roles"] == ["head"]
    assert document["run"]["number"] == 1 and document["run"]["status"] == "success"
    assert document["problems"] == ["heat: connection refused"]


def test_a_person_reads_reason_member_last_run_and_what_is_undelivered(root, new_item):
    root.items(new_item("head-0", ["head"]))
    root.compiled(roles=["head"])
    error = {"message": "package[nope] failed", "line": "app/recipes/default.rb:4", "resource": "package[nope]"}
    root.run(7, status="failed", error=error, ended=time.time() - 200)
    files.write_json(root.settings.outbox / "d-1.json", {})
    files.write_json(root.settings.outbox / "refused" / "d-0.json", {})
    root.hold()
    root.status(
        "failed", "app: run 7: package[nope] failed", next_retry=time.time() + 40.4, waiting_for=["1 × compute"]
    )
    code, out, _ = root.call("status")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "failed: app: run 7: package[nope] failed (for 5 min)"
    assert lines[1] == "member head-0, roles: head"
    assert lines[2].startswith("last run 7 of app (configure): failed, 3 min ago, at 20")
    assert lines[3] == "  package[nope] failed (app/recipes/default.rb:4)"
    assert lines[4] == "next retry in 40 s"
    assert lines[5] == "waiting for: 1 × compute"
    assert lines[6] == "1 result(s) not yet delivered to Heat"
    assert lines[7] == "1 result(s) that Heat refused for good, in outbox/refused"


def test_a_run_in_progress_is_told_as_running(root):
    root.run(2, status="running", ended=None, started=time.time() - 12)
    running = Running(
        number=2,
        identity="stack/app",
        id="d-1",
        name="app",
        group="chef",
        action="CREATE",
        events=("configure",),
        later=(),
        mark="m",
        started=0.0,
        config_digest="c",
        context_digest="d",
        saved_context="s",
    )
    root.change(running=running)
    root.hold()
    root.status("converging", "run 2 of app")
    assert "run 2 of app (configure): running for 12 s" in root.call("status")[1]
    assert root.json("status")["running"] == 2


def test_an_agent_that_has_not_spoken_yet_does_not_inherit_the_word_of_the_one_before(root):
    root.hold()
    assert root.json("status")["reason"] == "the agent starts"
    root.status("converged", pid=1)
    document = root.json("status")
    assert (document["state"], document["reason"], document["last"]) == ("converging", "the agent starts", "converged")


def test_long_tells_each_deployment(root):
    known = DeploymentState(
        "stack/app", "d-1", name="app", group="chef", status="failed", run=4, failures=2, error="boom"
    )
    root.change(deployments={known.identity: known})
    root.hold()
    root.status("failed", "app: boom")
    out = root.call("status", "--long")[1]
    assert "deployment app (chef, CREATE): failed, run 4, 2 failure(s) in a row\n  boom\n" in out
    assert "next poll in" in out
    assert "deployment app" not in root.call("status")[1]


def test_the_stack_is_judged_over_everybody(root, new_item, as_applied):
    items = as_applied(new_item("head-0", ["head"]), new_item("compute-0", ["compute"]))
    root.items(*items)
    root.compiled(expected={"compute": 1, "head": 1})
    root.hold()
    root.status("converged")
    assert root.json("status", "--stack")["stack"] == {"converged": True, "reasons": []}
    assert root.call("status", "--stack")[1].startswith("stack converged\nconverged (for 5 min)\n")
    root.compiled(expected={"compute": 2})
    assert root.json("status", "--stack")["stack"] == {"converged": False, "reasons": ["missing: 1 × compute"]}
    root.items(items[0], new_item("compute-0", ["compute"], state="failed", result="failed", run=3))
    root.compiled(expected={})
    code, out, _ = root.call("status", "--stack", "--exit-status")
    assert code == 1
    assert out.splitlines()[:2] == ["stack not converged", "  compute-0 failed in run 3"]


def test_a_silent_member_keeps_the_stack_from_being_converged(root, new_item, as_applied):
    root.items(*as_applied(new_item("head-0"), new_item("compute-0")))
    root.compiled()
    root.hold()
    root.status("converged", suspects=["compute-0"])
    assert root.json("status", "--stack")["stack"]["reasons"] == ["compute-0 is silent"]


def test_exit_status_is_zero_unless_asked(root):
    assert root.call("status")[0] == 0
    assert root.call("status", "--exit-status")[0] == 1
    root.hold()
    root.status("converged")
    assert root.call("status", "--exit-status")[0] == 0
    root.status("degraded", "x")
    assert root.call("status")[0] == 0
    assert root.call("status", "--exit-status")[0] == 1


def test_wait_gives_up_at_its_timeout_with_124_and_says_why(root):
    root.hold()
    root.status("converging", "run 2 of app")
    started = time.monotonic()
    code, out, err = root.call("status", "--wait", "--timeout", "0.5")
    assert code == 124 and 0.5 <= time.monotonic() - started < 5
    assert out.startswith("converging: run 2 of app")
    assert err.splitlines() == [
        "swagent: waiting: converging: run 2 of app",
        "swagent: not converged after 0.5 s",
    ]


def test_wait_does_not_take_a_dead_agents_last_word(root):
    root.status("converged")
    assert root.call("status", "--wait", "--timeout", "0")[0] == 124


def test_wait_ends_when_the_state_becomes_converged(root):
    root.hold()
    root.status("converging", "run 2 of app")
    words = [sys.executable, "-m", "swagent", "--root", str(root.settings.root), "status", "--wait", "--timeout", "30"]
    waiting = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert waiting.stderr.readline() == "swagent: waiting: converging: run 2 of app\n"
        root.status("converged")
        out, _ = waiting.communicate(timeout=30)
    finally:
        waiting.kill()
        waiting.wait()
    assert waiting.returncode == 0 and out.startswith("converged")


def test_wait_holds_for_as_long_as_asked(root):
    root.hold()
    root.status("converged")
    started = time.monotonic()
    assert root.call("status", "--wait", "--hold", "0.5")[0] == 0
    assert time.monotonic() - started >= 0.5


def test_a_negative_timeout_is_a_usage_error(root):
    code, _, err = root.call("status", "--wait", "--timeout", "-1")
    assert code == 2 and "--timeout" in err


def test_damaged_members_are_named_with_the_remedy(root):
    files.write(root.settings.members_file, '{"head-0": {"member": 1}}')
    code, out, err = root.call("status", "--stack")
    assert (code, out) == (1, "")
    assert str(root.settings.members_file) in err and "remove it" in err and "Traceback" not in err
