"""`swagent context` and `context diff`: paths, origins, history, and what changed."""

import json

import pytest

from swagent import files
from swagent.commands.context import lookup
from swagent.errors import SwagentError


@pytest.fixture
def compiled(root, new_item):
    """Two runs under contexts that differ in compute-0's address and in a parameter; a third one with nothing new."""
    root.items(new_item("head-0", ["head"], ip="10.0.0.1"), new_item("compute-0", ["compute"], ip="10.0.0.2", seq=5))
    first = root.compiled(inputs={"port": "80", "db_password": "hunter22"})
    root.items(
        new_item("head-0", ["head"], ip="10.0.0.1"), new_item("compute-0", ["compute"], ip="10.0.0.3", seq=9, run=2)
    )
    second = root.compiled(inputs={"port": "81", "db_password": "hunter22"})
    root.run(1, context=first)
    root.run(2, context=second, previous_context=first)
    root.run(3, context=second, previous_context=second)
    return root


def test_a_path_gives_the_value_alone(compiled):
    assert compiled.call("context", "members.compute-0.ip") == (0, "10.0.0.3\n", "")
    assert compiled.json("context", "members.compute-0.roles") == ["compute"]
    assert compiled.json("context")["member"] == "head-0"
    assert compiled.call("context", "members.compute-0.roles.0")[1] == "compute\n"


def test_at_a_run_it_is_what_that_run_was_given(compiled):
    assert compiled.call("context", "members.compute-0.ip", "--at", "1")[1] == "10.0.0.2\n"
    assert compiled.call("context", "parameters.app.port", "--at", "1")[1] == "80\n"


def test_a_map_is_one_line_per_key_and_secrets_are_marks(compiled):
    lines = compiled.call("context", "parameters")[1].splitlines()
    assert lines[0].startswith("parameters.app.db_password = <secret:db_password#")
    assert lines[1] == "parameters.app.port = 81"
    assert "hunter22" not in compiled.call("context")[1] + json.dumps(compiled.json("context"))


def test_origin_names_where_each_key_came_from(compiled):
    rows = compiled.json("context", "members.compute-0", "--origin")
    assert {"path": "members.compute-0.ip", "value": "10.0.0.3", "origin": "member compute-0 run 2 seq 9"} in rows
    assert all(set(row) == {"path", "value", "origin"} for row in rows)
    assert "parameters.app.port = 81    [collector heat]" in compiled.call("context", "parameters", "--origin")[1]


def test_yaml_is_the_value_too(compiled):
    assert compiled.call("context", "members.compute-0.roles", "-f", "yaml")[1] == "- compute\n"


def test_a_wrong_path_names_what_is_there(compiled):
    code, out, err = compiled.call("context", "members.compute-7.ip")
    assert (code, out) == (1, "")
    assert err == "swagent: no 'members.compute-7.ip' in the context; members has: compute-0, head-0\n"


def test_names_with_dots_are_found_before_shorter_ones():
    document = {"members": {"a": {"b": 1}, "a.example": {"ip": 2}}, "list": [{"x": 3}]}
    assert lookup(document, "members.a.example.ip") == 2
    assert lookup(document, "members.a.b") == 1
    assert lookup(document, "list.0.x") == 3
    assert lookup(document, "") is document
    for wrong in ("list.1", "list.x", "members.a.b.c", "members..a", "nothing"):
        with pytest.raises(SwagentError):
            lookup(document, wrong)


def test_no_context_yet_names_the_next_step(root):
    code, _, err = root.call("context")
    assert code == 1 and "swagent run --once" in err


def test_a_damaged_state_is_said_to_be_damaged(root):
    files.write(root.settings.state_file, "{half")
    code, out, err = root.call("context")
    assert (code, out) == (1, "") and "damaged" in err
    assert root.call("status")[0] == 0


def test_a_run_that_is_not_there_names_those_that_are(compiled):
    code, _, err = compiled.call("context", "--at", "9")
    assert code == 1 and err == "swagent: no record of run 9; there are 1 to 3\n"


def test_a_context_that_was_pruned_is_said_to_be(compiled):
    compiled.run(4, context="gone")
    code, _, err = compiled.call("context", "--at", "4")
    assert code == 1 and "the context of run 4 is not kept any more" in err


def test_diff_takes_the_last_two_runs_whose_contexts_differ(compiled):
    code, out, err = compiled.call("context", "diff", "-f", "json")
    assert code == 0 and err == "swagent: run 1 against run 3\n"
    assert json.loads(out) == [
        {
            "path": "members.compute-0.ip",
            "kind": "changed",
            "before": "10.0.0.2",
            "after": "10.0.0.3",
            "origin": "member compute-0 run 2 seq 9",
        },
        {
            "path": "parameters.app.port",
            "kind": "changed",
            "before": "80",
            "after": "81",
            "origin": "collector heat",
        },
    ]


def test_diff_of_one_run_is_against_the_newest_context(compiled, new_item):
    compiled.items(new_item("head-0", ["head"], ip="10.0.0.1"))
    compiled.compiled(inputs={"port": "81", "db_password": "hunter22"})
    rows = compiled.json("context", "diff", "2")
    assert {row["kind"] for row in rows if row["path"].startswith("members.compute-0")} == {"removed"}
    assert {"path": "roles.compute", "kind": "removed"}.items() <= next(
        row for row in rows if row["path"] == "roles.compute"
    ).items()


def test_diff_of_two_runs_with_one_context_is_empty(compiled):
    assert compiled.json("context", "diff", "2", "3") == []


def test_diff_leaves_states_out_unless_all_is_asked_for(compiled, new_item):
    compiled.items(new_item("head-0", ip="10.0.0.1", state="failed"))
    first = compiled.compiled(inputs={"port": "1"})
    compiled.items(new_item("head-0", ip="10.0.0.1"))
    second = compiled.compiled(inputs={"port": "2"})
    compiled.run(5, context=first)
    compiled.run(6, context=second)
    assert [row["path"] for row in compiled.json("context", "diff", "5", "6")] == ["parameters.app.port"]
    assert "members.head-0.state" in [row["path"] for row in compiled.json("context", "diff", "5", "6", "--all")]


def test_diff_says_when_there_is_nothing_to_compare(root):
    code, _, err = root.call("context", "diff")
    assert code == 1 and "no run is recorded" in err
    root.run(1, context="a")
    root.run(2, context="a")
    code, _, err = root.call("context", "diff")
    assert code == 1 and "the same context" in err
