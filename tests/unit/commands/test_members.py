"""`swagent members`: one row per member as last read, and those that nobody has heard of."""

from swagent import files

KEYS = set("member roles state ip run result applied suspect left waiting_for seq epoch instance generation".split())


def test_each_member_is_a_row_and_missing_ones_are_rows_without_a_name(root, new_item, as_applied):
    root.items(*as_applied(new_item("head-0", ["head"], ip="10.0.0.1"), new_item("compute-0", ["compute"], run=4)))
    root.compiled(expected={"head": 1, "compute": 3})
    root.hold()
    rows = root.json("members")
    assert all(set(row) == KEYS for row in rows)
    assert [(row["member"], row["roles"], row["state"], row["run"]) for row in rows] == [
        ("compute-0", ["compute"], "converged", 4),
        ("head-0", ["head"], "converged", 1),
        (None, ["compute"], "missing", None),
        (None, ["compute"], "missing", None),
    ]
    assert [row["ip"] for row in rows] == [None, "10.0.0.1", None, None]
    assert [row["applied"] for row in rows] == [True, True, False, False]


def test_silent_and_left_members_are_told_apart(root, new_item):
    root.items(new_item("a"), new_item("b"), new_item("c", left=True))
    root.compiled(member="a")
    root.hold()
    root.status("converging", suspects=["b"])
    assert [(row["member"], row["state"]) for row in root.json("members")] == [
        ("a", "converged"),
        ("b", "silent"),
        ("c", "left"),
    ]


def test_a_member_that_has_not_applied_the_newest_facts_is_not_applied(root, new_item):
    root.items(new_item("a", applied="of-earlier-facts"))
    assert [row["applied"] for row in root.json("members")] == [False]


def test_a_table_fits_a_terminal_and_says_when_it_is_old(root, new_item):
    root.items(new_item("head-0", ["head", "db"], ip="10.0.0.1"))
    code, out, err = root.call("members")
    assert code == 0 and max(map(len, out.splitlines())) <= 80
    assert "| head-0 | db, head | converged | 10.0.0.1 |   1 | success | no      |" in out
    assert "the agent is not running: this is how it was" in err
    root.hold()
    assert root.call("members")[2] == ""


def test_nothing_read_yet_is_an_empty_list_and_the_next_step(root):
    code, out, err = root.call("members", "-f", "json")
    assert code == 0 and out.strip() == "[]"
    assert "swagent run --once" in err


def test_columns_can_be_chosen(root, new_item):
    root.items(new_item("a"), new_item("b"))
    assert root.call("members", "-f", "value", "-c", "member", "-c", "seq")[1] == "a 3\nb 3\n"


def test_a_damaged_file_is_named(root):
    files.write(root.settings.members_file, "{nonsense")
    code, _, err = root.call("members")
    assert code == 1 and "line 1 column 2" in err
