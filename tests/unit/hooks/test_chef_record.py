from __future__ import annotations

import json

from swagent.hooks.chef_record import error_of, last_fatal, parse_line, read_record, sentence_of

SHELL = (
    "Expected process to exit with [0], but received '7'\n---- Begin output of x ----\n"
    "STDOUT: out\nSTDERR: first\nand last\n---- End output of x ----\nRan x returned 7"
)
PLACE = {"cookbook": "app", "recipe": "default", "line": "app/recipes/default.rb:4"}


def resource(name, status, **more):
    return {"event": "resource", "resource": name, "action": "run", "status": status, "seconds": 0.1, **PLACE, **more}


def test_half_a_line_is_what_a_kill_leaves_and_no_event():
    assert parse_line(b'{"event": "start"') is None
    assert parse_line(b"[]") is None and parse_line(b'{"a": 1}') is None
    assert parse_line(b'{"event": "start"}') == {"event": "start"}


def test_a_record_without_an_end_says_what_was_running():
    begin = {"event": "begin", "resource": "execute[outer]", **PLACE}
    inner = {**begin, "resource": "execute[inner]"}
    record = read_record([{"event": "start"}, begin, inner])
    assert record.running["resource"] == "execute[inner]" and record.result == ""
    record = read_record([begin, inner, resource("execute[inner]", "updated")])
    assert record.running["resource"] == "execute[outer]"
    record = read_record([begin, inner, resource("execute[outer]", "failed")])
    assert record.running is None


def test_reads_count_only_when_the_run_got_to_its_end():
    reads = {"event": "reads", "paths": [["members", "a"], []]}
    assert read_record([reads]).reads is None
    assert read_record([reads, {"event": "end", "result": "failure"}]).reads is None
    assert read_record([reads, {"event": "end", "result": "success"}]).reads == (("members", "a"), ())
    assert read_record([{"event": "end", "result": "success"}]).reads is None


def test_resources_are_counted_and_those_that_only_wait_are_not():
    events = [
        {"event": "converge"},
        resource("a[1]", "updated"),
        resource("a[2]", "up-to-date"),
        resource("a[3]", "skipped"),
    ]
    events += [{**resource("a[4]", "skipped"), "action": "nothing"}, resource("a[5]", "failed", ignored=True)]
    assert read_record(events).resources == {"total": 4, "updated": 1, "up_to_date": 1, "skipped": 1, "failed": 1}
    assert read_record([]).resources == {}


def test_the_resource_that_ended_the_run_is_named_and_an_ignored_failure_is_not():
    error = {"class": "X", "message": SHELL}
    ignored = resource("execute[ignored]", "failed", ignored=True, error={"message": "no matter"})
    events = [ignored, resource("execute[breaks]", "failed", error=error), {"event": "end", "result": "failure"}]
    found = error_of(read_record(events), 1, "")
    assert found.message == (
        "execute[breaks] (app::default line 4): Expected process to exit with [0], but received '7': and last"
    )
    assert (found.resource, found.cookbook, found.recipe, found.line) == ("execute[breaks]", *PLACE.values())


def test_of_a_command_that_failed_silently_stdout_is_told():
    message = SHELL.replace("STDERR: first\nand last\n", "STDERR: \n")
    assert sentence_of({"message": message}).endswith("received '7': out")


def test_what_the_local_server_refuses_is_told_in_its_words():
    body = json.dumps({"error": ["No such cookbook: nowhere"]})
    assert sentence_of({"message": '412 "Precondition Failed"', "body": body}) == "No such cookbook: nowhere"
    assert sentence_of({"message": "500", "body": "not json"}) == "500: not json"


def test_failures_before_the_client_exists_come_from_the_last_fatal_line():
    stdout = "[2026] FATAL: Cannot load configuration from /x\n[2026] FATAL: Stacktrace dumped to /y\nmore\n"
    assert last_fatal(stdout) == "Cannot load configuration from /x"
    assert (
        error_of(read_record([]), 43, stdout).message
        == "Chef refuses its configuration: Cannot load configuration from /x"
    )
    assert error_of(read_record([]), 1, "", "ruby: not found\n").message == "ruby: not found"
    assert error_of(read_record([]), 99, "").message == "Chef ended with exit code 99"
    assert "chef_license" in error_of(read_record([]), 172, "Chef cannot execute").message


def test_a_first_run_with_thousands_of_updates_keeps_its_details_small():
    events = [resource(f"file[{number}]", "updated", changes=["x" * 10_000] * 50) for number in range(3000)]
    events += [resource("file[last]", "failed", error={"message": "broken"}), {"event": "end", "result": "failure"}]
    details = read_record(events).details
    assert len(details) <= 206 and details[-1]["resource"] == "file[last]"
    assert len(json.dumps(details)) < 2_000_000


def test_a_reboot_that_was_asked_for_is_told_with_its_delay():
    end = {"event": "end", "result": "success", "reboot": {"delay_mins": "5", "reason": "kernel", "requested_by": "r"}}
    assert read_record([end]).reboot == {"delay_mins": 5, "reason": "kernel", "requested_by": "r"}
    assert read_record([{**end, "reboot": None}]).reboot is None
