"""`swagent why`: the sentence, the differences, and the chain as far as this member knows it."""

import pytest


def change(path, before, after, origin, kind="changed"):
    return {"path": path, "kind": kind, "before": before, "after": after, "origin": origin}


def cause(kind, summary, *changes, previous_run=0):
    return {"kind": kind, "summary": summary, "changes": list(changes), "previous_run": previous_run}


@pytest.fixture
def history(root, new_item):
    root.items(new_item("head-0", ["head"]))
    name = root.compiled()
    root.run(1, context=name)
    own = change("members.head-0.services.munge", None, "active", "member head-0 run 1 seq 4", "added")
    root.run(2, context=name, cause=cause("own-facts", "facts of this member changed since run 1", own))
    peers = [
        change("members.compute-0.ip", "10.0.0.2", "10.0.0.3", "member compute-0 run 8 seq 9"),
        change("members.head-0.packages.munge", "1", None, "member head-0 run 2 seq 6", "removed"),
        change("members.new.ip", None, "10.0.0.9", "member new seq 1", "added"),
        change("parameters.app.port", 80, 81, "collector heat"),
    ]
    root.run(
        3, context=name, cause=cause("context", "members.compute-0.ip changed and 3 more", *peers), status="failed"
    )
    root.run(4, context=name, cause=cause("retry", "run 3 failed: boom", previous_run=3))
    return root


def test_the_sentence_comes_first_then_each_difference(history):
    assert history.call("why", "3")[1].splitlines() == [
        "run 3 of app (configure): members.compute-0.ip changed and 3 more",
        "  members.compute-0.ip: 10.0.0.2 -> 10.0.0.3    [member compute-0 run 8 seq 9]",
        "  members.head-0.packages.munge: was 1, now absent    [member head-0 run 2 seq 6]",
        "  members.new.ip: now 10.0.0.9    [member new seq 1]",
        "  parameters.app.port: 80 -> 81    [collector heat]",
    ]


def test_the_default_is_the_last_run_and_the_json_is_documented(history):
    document = history.json("why")
    assert set(document) == {"run", "deployment", "events", "sentence", "cause", "chain"}
    assert document["run"] == 4 and document["sentence"] == "run 3 failed: boom" and document["chain"] is None
    assert document["cause"] == {"kind": "retry", "summary": "run 3 failed: boom", "changes": [], "previous_run": 3}


def test_the_chain_goes_back_through_own_runs_and_names_the_others(history):
    chain = history.json("why", "--chain")["chain"]
    assert [(link["member"], link["run"], link["here"]) for link in chain] == [
        ("head-0", 3, True),
        ("compute-0", 8, False),
        ("new", None, False),
        ("head-0", 2, True),
        ("head-0", 1, True),
    ]
    assert chain[0]["sentence"] == "members.compute-0.ip changed and 3 more"
    assert "swagent why 8 --chain" in chain[1]["sentence"]
    assert chain[2]["sentence"] == "new published it before its first run"


def test_the_first_run_has_a_chain_of_nothing(history):
    assert history.json("why", "1", "--chain")["chain"] == []
    assert "nothing led there that this member knows of" in history.call("why", "1", "--chain")[1]


def test_a_link_whose_record_is_gone_is_named(root, new_item):
    root.items(new_item("head-0"))
    root.compiled()
    root.run(9, cause=cause("retry", "run 8 failed: x", previous_run=8))
    assert root.json("why", "--chain")["chain"] == [
        {"member": "head-0", "run": 8, "sentence": "its record is not kept any more", "here": True}
    ]


def test_no_run_yet_and_an_unknown_run_name_the_next_step(root):
    code, _, err = root.call("why")
    assert code == 1 and "swagent run --once" in err
    root.run(1)
    code, _, err = root.call("why", "2")
    assert code == 1 and err == "swagent: no record of run 2; there are 1 to 1\n"


def test_a_run_number_that_is_no_number_is_a_usage_error(root):
    assert root.call("why", "last")[0] == 2
