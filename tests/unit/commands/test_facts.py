"""`swagent facts`: this machine's own facts, and which of them are published."""

import os

from swagent import files
from swagent.commands.facts import selected


def test_facts_are_gathered_now_and_say_which_are_published(root):
    content = {"swagent": {"member": "head-0", "facts": {"packages": ["bash"]}}}
    files.write_json(root.settings.collected / "heat.json", content)
    rows = {row["path"]: row for row in root.json("facts")}
    assert all(set(row) == {"path", "value", "published"} for row in rows.values())
    assert rows["hostname"]["value"] == os.uname().nodename.split(".")[0]
    assert rows["packages.bash"]["published"] is True
    assert rows["packages.coreutils"]["published"] is False
    assert not any(path.startswith("timing") for path in rows)


def test_a_key_a_part_of_one_or_a_glob_selects():
    assert selected("packages.bash", "packages") and selected("packages.bash", "packages.b*")
    assert selected("packages.bash", "packages.bash") and selected("anything", "")
    assert not selected("packages.bash", "pack") and not selected("packages.bash", "services")


def test_one_fact_can_be_had_for_a_script(root):
    assert root.call("facts", "hostname", "-f", "value", "-c", "value")[1] == os.uname().nodename.split(".")[0] + "\n"


def test_an_unknown_fact_is_an_error_that_names_the_next_step(root):
    code, out, err = root.call("facts", "nonsense")
    assert (code, out) == (1, "") and err == "swagent: no fact is called 'nonsense'; `swagent facts` lists them\n"


def test_timing_goes_to_stderr(root):
    code, out, err = root.call("facts", "hostname", "--timing")
    assert code == 0 and "gathered in " in err and "packages " in err and "gathered" not in out
