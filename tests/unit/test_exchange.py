import json
from dataclasses import replace

import pytest

from swagent.exchange import Exchange, stamped, yields
from swagent.model import Item, Status
from swagent.settings import Settings


def item(member="head-0", **more) -> Item:
    return Item(
        **{
            "member": member,
            "instance": f"i-{member}",
            "roles": ("head",),
            "facts": {"ip": "10.0.0.1"},
            "facts_digest": "d",
            "epoch": 0,
            **more,
        }
    )


@pytest.fixture
def bag(tmp_path):
    return {"store": "directory", "path": str(tmp_path / "bag")}


def exchange(tmp_path, name) -> Exchange:
    return Exchange(Settings(root=tmp_path / name, keep_alive=100))


def test_two_members_read_each_other(tmp_path, bag):
    one, two = exchange(tmp_path, "one"), exchange(tmp_path, "two")
    assert set(one.exchange(bag, item(), 0).items) == {"head-0"}
    assert set(two.exchange(bag, item("w-0"), 0).items) == {"head-0", "w-0"}
    assert set(one.exchange(bag, item(epoch=1, seq=1), 1).items) == {"head-0", "w-0"}


def test_an_unchanged_item_is_not_written_again_until_it_must_say_that_it_lives(tmp_path, bag):
    one = exchange(tmp_path, "one")
    first = one.exchange(bag, item(), 0)
    assert first.published and first.own.seq == 1 and first.own.epoch == 1
    again = one.exchange(bag, first.own, 50)
    assert not again.published and again.own.seq == 1
    changed = one.exchange(bag, replace(first.own, status=Status(state="converged")), 60)
    assert changed.published and changed.own.seq == 2
    assert one.exchange(bag, changed.own, 161).published


def test_a_dry_run_publishes_nothing(tmp_path, bag):
    exchanged = exchange(tmp_path, "one").exchange(bag, item(), 0, observe=True)
    assert not exchanged.published and not (tmp_path / "bag").exists()
    assert set(exchanged.items) == {"head-0"}


def test_without_a_data_bag_it_is_a_stack_of_one(tmp_path):
    exchanged = exchange(tmp_path, "one").exchange({}, item(), 0)
    assert set(exchanged.items) == {"head-0"} and not exchanged.problems


def test_the_write_number_goes_on_from_the_stored_one(tmp_path, bag):
    one = exchange(tmp_path, "one")
    one.exchange(bag, item(epoch=1, seq=41), 0)
    lost = exchange(tmp_path, "reinstalled").exchange(bag, item(facts={"ip": "new"}), 0)
    assert lost.own.seq == 43 and lost.own.epoch == 1


def test_a_new_machine_of_the_same_name_takes_over_and_the_old_one_yields(tmp_path, bag):
    old, new = exchange(tmp_path, "old"), exchange(tmp_path, "new")
    first = old.exchange(bag, item(), 0).own
    came = new.exchange(bag, item(instance="i-later"), 1)
    assert came.own.epoch == 2 and came.published and not came.replaced
    gone = old.exchange(bag, first, 2)
    assert "i-later" in gone.replaced and not gone.published
    assert json.loads((tmp_path / "bag/head-0.json").read_text())["instance"] == "i-later"


def test_on_equal_epochs_the_greater_instance_yields():
    assert yields(item(instance="b", epoch=1), item(instance="a", epoch=1))
    assert not yields(item(instance="a", epoch=1), item(instance="b", epoch=1))
    assert not yields(item(instance="a", epoch=1), item(instance="a", epoch=9))
    assert stamped(item(instance="b", epoch=0), item(instance="a", epoch=4)).epoch == 5


def test_a_silent_member_is_suspect_by_the_readers_own_clock(tmp_path, bag):
    one, two = exchange(tmp_path, "one"), exchange(tmp_path, "two")
    two.exchange(bag, item("w-0"), 0)
    own = one.exchange(bag, item(), 1000).own
    assert one.exchange(bag, own, 1299).suspects == ()
    assert one.exchange(bag, own, 1302).suspects == ("w-0",)
    two.exchange(bag, item("w-0", facts={"ip": "2"}, epoch=1, seq=1), 0)
    assert one.exchange(bag, own, 1303).suspects == ()


def test_a_damaged_item_is_named_and_its_last_one_stays(tmp_path, bag):
    one, two = exchange(tmp_path, "one"), exchange(tmp_path, "two")
    two.exchange(bag, item("w-0"), 0)
    own = one.exchange(bag, item(), 0).own
    (tmp_path / "bag/w-0.json").write_text("{")
    exchanged = one.exchange(bag, own, 1)
    assert set(exchanged.items) == {"head-0", "w-0"} and "w-0.json" in exchanged.problems[0]


def test_a_bag_that_cannot_be_used_keeps_the_last_items_and_is_named(tmp_path, bag):
    one, two = exchange(tmp_path, "one"), exchange(tmp_path, "two")
    two.exchange(bag, item("w-0"), 0)
    own = one.exchange(bag, item(), 0).own
    (tmp_path / "bag").rename(tmp_path / "away")
    (tmp_path / "bag").write_text("a file in the way")
    exchanged = one.exchange(bag, own, 1)
    assert set(exchanged.items) == {"head-0", "w-0"} and "the last items stay in use" in exchanged.problems[0]


def test_the_last_items_survive_a_restart_and_a_damaged_file_is_set_aside(tmp_path, bag):
    one, two = exchange(tmp_path, "one"), exchange(tmp_path, "two")
    two.exchange(bag, item("w-0"), 0)
    one.exchange(bag, item(), 0)
    assert set(exchange(tmp_path, "one").items) == {"head-0", "w-0"}
    one.settings.members_file.write_text("[]")
    assert exchange(tmp_path, "one").items == {}
    assert list(one.settings.lib.glob("members.json.damaged-*"))


@pytest.mark.parametrize("options", [{"store": "nowhere"}, {"store": "directory"}, {"store": "directory", "path": "x"}])
def test_a_wrong_data_bag_section_is_named(tmp_path, options):
    exchanged = exchange(tmp_path, "one").exchange(options, item(), 0)
    assert exchanged.problems[0].startswith("swagent.data_bag")
