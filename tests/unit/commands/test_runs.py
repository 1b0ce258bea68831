"""`swagent runs`, `runs show`, `runs log`: records and logs as the agent keeps them."""

import os
import subprocess
import sys
import time

from swagent import files, runs
from swagent.commands.runs import half_character
from swagent.model import HookResult, RunError
from tests.wait import until

RESULT = HookResult(
    status="failed",
    exit_code=1,
    error=RunError(
        "package[nope] failed: no such package", "package[nope]", "app", "default", "app/recipes/default.rb:4"
    ),
    resources={"total": 9, "updated": 2, "failed": 1, "skipped": 1, "up_to_date": 5},
    details=({"resource": "template[/etc/app]", "action": "create", "seconds": 0.2},),
    seconds=2.5,
    cookbooks={"app": {"source": "git https://git.example/app.git", "revision": "3f2a9", "version": "1.2.0"}},
    recipes=("app::default",),
).to_document()


def failed(root, number):
    return root.run(number, status="failed", error=RESULT["error"], result=RESULT, context="c2", previous_context="c1")


def test_every_run_is_a_row_oldest_first(root):
    root.run(1)
    failed(root, 2)
    root.run(3, status="running", ended=None, started=time.time() - 4)
    rows = root.json("runs")
    assert [(row["number"], row["status"], row["updated"]) for row in rows] == [
        (1, "success", None),
        (2, "failed", "2/9"),
        (3, "running", None),
    ]
    assert rows[1]["error"] == "package[nope] failed: no such package (app/recipes/default.rb:4)"
    assert rows[1]["resources"] == RESULT["resources"]
    assert rows[0]["seconds"] == 2.5 and 4 <= rows[2]["seconds"] < 60
    assert set(rows[0]) == set(
        "number started seconds deployment events status updated cause group action identity deployment_id ended "
        "resources context why_run error".split()
    )
    assert [row["number"] for row in root.json("runs", "--last", "2")] == [2, 3]


def test_the_table_shows_local_time_and_the_cause(root):
    record = root.run(1)
    out = root.call("runs")[1]
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["started"])) in out
    assert "deployment app is new (CREATE)" in out and " 2.5 " in out


def test_no_runs_is_an_empty_list(root):
    assert root.json("runs") == []


def test_a_damaged_record_is_named_and_hides_no_other(root):
    root.run(1)
    files.write(runs.folder(root.settings, 2) / "run.json", "{half")
    code, out, err = root.call("runs", "-f", "value", "-c", "number")
    assert (code, out) == (0, "1\n") and "run 2 has no readable record" in err


def test_show_tells_the_error_with_its_place_and_the_cookbooks(root):
    failed(root, 2)
    document = root.json("runs", "show", "2")
    assert document["error"] == {
        "message": "package[nope] failed: no such package",
        "resource": "package[nope]",
        "cookbook": "app",
        "recipe": "default",
        "line": "app/recipes/default.rb:4",
    }
    assert document["cookbooks"]["app"]["revision"] == "3f2a9" and document["context"] == "c2"
    out = root.call("runs", "show")[1]
    assert "run 2 of app (chef, CREATE; configure): failed\n" in out
    assert "cookbook app: 1.2.0, revision 3f2a9 of git https://git.example/app.git\n" in out
    assert "  line: app/recipes/default.rb:4\n" in out
    assert "  template[/etc/app]  action: create, seconds: 0.2\n" in out


def test_an_error_without_a_recipe_is_a_sentence_in_the_same_shape(root):
    root.run(1, status="failed", error="no hook for group 'salt'")
    assert root.json("runs", "show", "1")["error"] == {
        "message": "no hook for group 'salt'",
        "resource": "",
        "cookbook": "",
        "recipe": "",
        "line": "",
    }
    assert root.json("status")["run"]["error"] == "no hook for group 'salt'"


def test_show_of_a_run_in_progress(root):
    root.run(3, status="running", ended=None)
    assert "still running" in root.call("runs", "show", "3")[1]


def test_log_prints_the_log_of_a_run_and_of_the_last_by_default(root):
    root.run(1)
    root.run(2)
    files.write(runs.folder(root.settings, 1) / "log", "first ✓\n")
    files.write(runs.folder(root.settings, 2) / "log", "second\n")
    assert root.call("runs", "log", "1") == (0, "first ✓\n", "")
    assert root.call("runs", "log") == (0, "second\n", "")


def test_a_run_without_a_log_says_so(root):
    root.run(1, status="failed", error="no hook")
    code, out, err = root.call("runs", "log", "1")
    assert (code, out) == (1, "") and "run 1 has no log" in err


def test_following_prints_what_comes_until_the_run_ends(root):
    record = root.run(1, status="running", ended=None)
    path = runs.folder(root.settings, 1) / "log"
    root.hold()
    words = [sys.executable, "-m", "swagent", "--root", str(root.settings.root), "runs", "log", "1", "-f"]
    following = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        path.write_text("one\n")
        assert following.stdout.readline() == "one\n"
        with path.open("ab") as log:
            log.write("two ✓\n".encode()[:6])
            log.flush()
            assert following.poll() is None
            log.write("two ✓\n".encode()[6:])
        runs.save(root.settings, {**record, "status": "success", "ended": time.time()})
        assert following.stdout.read() == "two ✓\n"
        until(lambda: following.poll() is not None, 10, "the end of runs log -f")
    finally:
        following.kill()
        following.wait()
        following.stdout.close()
    assert following.returncode == 0


def test_following_a_run_whose_agent_is_gone_ends(root):
    root.run(1, status="running", ended=None)
    files.write(runs.folder(root.settings, 1) / "log", "half\n")
    assert root.call("runs", "log", "1", "-f") == (0, "half\n", "")


def test_a_character_is_never_cut_in_two():
    for text in ("abc", "abé", "ab✓", "ab😀"):
        data = text.encode()
        for length in range(4, len(data) + 1):
            whole = data[: length - half_character(data[:length])]
            assert whole.decode() == text[: len(whole.decode())]
            assert length < len(data) or whole == data


def test_a_reader_that_leaves_is_no_error(root):
    root.run(1)
    files.write(runs.folder(root.settings, 1) / "log", "line\n" * 200_000)
    words = [sys.executable, "-m", "swagent", "--root", str(root.settings.root), "runs", "log", "1"]
    # Unbuffered, Python drops the rest of a write that was cut short, and nothing is left to fail.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert reading.stdout.readline() == "line\n"
        reading.stdout.close()
        assert reading.stderr.read() == ""
        assert reading.wait(20) == 141
    finally:
        reading.kill()
        reading.wait()
        reading.stderr.close()
