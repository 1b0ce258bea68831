"""The agent and Chef together: what makes a recipe run, and what does not."""

import json

import pytest

from swagent import files
from tests.member import Member, deployment
from tests.wait import until

RECIPE = """
file node['counted'] do
  content lazy { (File.exist?(node['counted']) ? File.read(node['counted']) : '') + "run\\n" }
end
file node['rendered'] do
  content node['swagent']['members'].map { |name, member| "#{name} #{member['ip']}\\n" }.join
end
"""


@pytest.fixture
def member(tmp_path):
    member = Member(tmp_path / "root", chef_license="accept-no-persist")
    recipes = tmp_path / "cookbooks" / "app" / "recipes"
    recipes.mkdir(parents=True)
    (recipes.parent / "metadata.json").write_text(json.dumps({"name": "app", "version": "1.0.0", "dependencies": {}}))
    (recipes / "default.rb").write_text(RECIPE)
    yield member
    member.close()


def circle(tmp_path, **more):
    inputs = {"counted": str(tmp_path / "ran"), "rendered": str(tmp_path / "rendered"), **more.pop("inputs", {})}
    cookbooks = [{"name": "app", "path": str(tmp_path / "cookbooks" / "app")}]
    return deployment(group="chef", config=["recipe[app]"], inputs=inputs, cookbooks=cookbooks, **more)


def count(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_resident_agent_reacts_to_a_peer_and_stops_in_order(member, tmp_path):
    bag = {"store": "directory", "path": str(tmp_path / "bag")}
    member.metadata(circle(tmp_path), member="w-0", roles=["worker"], expected={"head": 1}, data_bag=bag)
    member.start()
    until(lambda: member.status().get("state") == "waiting", 60, "the member to wait for the head")
    assert count(tmp_path / "ran") == 1 and member.status()["waiting_for"] == ["1 × head"]
    peer = {
        "format": 1, "member": "head-0", "instance": "i-head", "epoch": 1, "seq": 1, "roles": ["head"],
        "facts": {"ip": "10.0.0.1"}, "facts_digest": "d",
        "status": {"state": "converged", "applied": "", "result": "", "run": 0},
    }  # fmt: skip
    files.write_json(tmp_path / "bag/head-0.json", peer)
    until(lambda: count(tmp_path / "ran") == 2, 60, "the change to be acted on")
    until(lambda: member.status().get("state") == "converged", 60, "the member to be converged")
    record = member.runs()[-1]
    assert record["events"] == ["configure"] and record["cause"]["kind"] == "context"
    assert "members.head-0.ip" in {change["path"] for change in record["cause"]["changes"]}
    item = json.loads((tmp_path / "bag/w-0.json").read_text())
    assert item["status"]["state"] == "converged" and item["status"]["applied"]
    assert member.stop() == 0


def test_a_second_run_of_an_unchanged_deployment_does_not_happen_and_a_forced_one_changes_nothing(member, tmp_path):
    member.metadata(circle(tmp_path), member="head-0")
    assert member.once().returncode == 0
    assert member.once().returncode == 0 and len(member.runs()) == 1
    (tmp_path / "cookbooks/app/recipes/default.rb").write_text("file node['rendered'] do\n  content 'same'\nend\n")
    for _ in range(2):
        assert member.once("--force").returncode == 0
    updated = [record["result"]["resources"]["updated"] for record in member.runs()]
    assert updated[1:] == [1, 0]


def test_a_peers_fact_that_no_recipe_reads_runs_nothing(member, tmp_path):
    bag = tmp_path / "bag"
    member.metadata(circle(tmp_path), member="w-0", data_bag={"store": "directory", "path": str(bag)})
    (tmp_path / "cookbooks/app/recipes/default.rb").write_text(
        "file node['rendered'] do\n  content node['swagent']['members']['w-0']['ip'].to_s\nend\n"
    )
    assert member.once().returncode == 0
    ran = len(member.runs())
    item = json.loads((bag / "w-0.json").read_text())
    files.write_json(bag / "head-0.json", {**item, "member": "head-0", "instance": "i-head"})
    assert member.once().returncode == 0
    assert len(member.runs()) == ran, member.runs()[-1]["cause"]


def test_a_member_that_left_is_departed_in_one_run_and_gone_in_the_next(member, tmp_path):
    bag = tmp_path / "bag"
    member.metadata(circle(tmp_path), member="w-0", data_bag={"store": "directory", "path": str(bag)})
    (tmp_path / "cookbooks/app/recipes/default.rb").write_text(
        "stack = node['swagent']\n"
        "file(node['rendered']) { content \"#{stack['members'].keys.sort} #{stack['departed'].keys}\" }\n"
    )
    assert member.once().returncode == 0
    item = {**json.loads((bag / "w-0.json").read_text()), "member": "head-0", "instance": "i-head"}
    files.write_json(bag / "head-0.json", item)
    assert member.once().returncode == 0
    assert (tmp_path / "rendered").read_text() == '["head-0", "w-0"] []'
    files.write_json(bag / "head-0.json", {**item, "left": True, "seq": 99})
    assert member.once().returncode == 0
    assert (tmp_path / "rendered").read_text() == '["w-0"] ["head-0"]'
    assert member.once("--force").returncode == 0
    assert (tmp_path / "rendered").read_text() == '["w-0"] []'


def test_a_dry_run_changes_nothing_and_publishes_nothing(member, tmp_path):
    bag = tmp_path / "bag"
    member.metadata(circle(tmp_path), member="w-0", data_bag={"store": "directory", "path": str(bag)})
    ended = member.once("--why-run")
    assert ended.returncode == 0, ended.stderr
    assert not (tmp_path / "rendered").exists() and not bag.exists()
    (record,) = member.runs()
    assert record["why_run"] and record["result"]["resources"]["updated"] >= 1
    assert member.once().returncode == 0 and (tmp_path / "rendered").exists()


@pytest.mark.parametrize("code, status", [(35, 35), (37, 37), (41, 41), (43, 43), (99, 1)])
def test_chefs_own_exit_codes_come_through(member, tmp_path, code, status):
    (tmp_path / "cookbooks/app/recipes/default.rb").write_text(
        f"ruby_block 'ends' do\n  block {{ Chef::Application.exit!('asked for', {code}) }}\nend\n"
    )
    member.metadata(circle(tmp_path), member="w-0")
    assert member.once().returncode == status


def test_without_a_licence_the_error_says_which_setting_to_write(tmp_path):
    member = Member(tmp_path / "plain")
    member.metadata(deployment(group="chef", config=[]), member="w-0")
    environment = {key: value for key, value in member.environment.items() if "LICENSE" not in key}
    ended = member.call("run", "--once", env=environment)
    assert ended.returncode == 1 and "chef_license" in ended.stderr


def test_without_chef_the_error_says_what_to_type(tmp_path):
    member = Member(tmp_path / "plain", chef_home=str(tmp_path / "nowhere"), chef_license="accept-no-persist")
    member.metadata(deployment(group="chef", config=[]), member="w-0")
    ended = member.once()
    assert ended.returncode == 1 and "swagent bootstrap chef" in ended.stderr
