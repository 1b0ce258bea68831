"""Searches and data bags as cookbooks write them, with no Chef server: one recipe asks in every form."""

from __future__ import annotations

import importlib.util
import json
import uuid
from pathlib import Path

import pytest

from swagent import process
from swagent.hooks import chef

_spec = importlib.util.spec_from_file_location("chef_conftest", Path(__file__).parent.parent / "conftest.py")
conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(conftest)

NODES = {
    "roles:head": ["head-0"],
    "role:head": ["head-0"],
    "role:head AND chef_environment:_default": ["head-0"],
    "roles:compute": ["me"],
    "roles:compute NOT name:me": [],
    "roles:head NOT name:me": ["head-0"],
    "roles:head OR roles:compute": ["head-0", "me"],
    "NOT name:me": ["head-0"],
    "*:* -name:me": ["head-0"],
    "platform:debian AND NOT name:me": ["head-0"],
    "recipes:slurm": ["head-0"],
    "recipe:slurm": ["head-0"],
    r"recipes:slurm\:\:head": ["head-0"],
    r"run_list:recipe\[slurm\]": ["head-0"],
    r"run_list:role\[head\]": ["head-0"],
    "recipes:asking": ["me"],
    "hostname:head*": ["head-0"],
    "fqdn:head-0.stack.local": ["head-0"],
    "ipaddress:10.0.0.1": ["head-0"],
    "platform:debian": ["head-0", "me"],
    "name:head-0": ["head-0"],
    "swagent_member:head-0": ["head-0"],
    "swagent_member:me": ["me"],
    "app_port:8080": ["head-0"],
    "*:*": ["head-0", "me"],
}
ITEMS = {"id:head-0": ["head-0"], "roles:head": ["head-0"], "roles:compute": ["me"], "*:*": ["head-0", "me"]}
VALUES = {
    "data_bag('stack').sort": ["head-0", "me"],
    "data_bag_item('stack', 'head-0')['ip']": "10.0.0.1",
    "data_bag_item('stack', 'head-0')['roles']": ["head"],
    "data_bag_item('stack', 'me')['member']": "me",
    "search(:stack, 'id:head-0').first.class.name": "Chef::DataBagItem",
    "search(:stack, 'id:head-0').first['packages']['slurm']": "22.05",
    "search(:node, 'roles:head').first['ipaddress']": "10.0.0.1",
    "search(:node, 'roles:head').first['fqdn']": "head-0.stack.local",
    "search(:node, 'roles:head').first['domain']": "stack.local",
    "search(:node, 'roles:head').first['cpu']['total']": 4,
    "search(:node, 'roles:head').first['memory']['total']": "8192000kB",
    "search(:node, 'roles:head').first['app']['port']": 8080,
    "search(:node, 'roles:head').first['network']['interfaces']['eth0']['addresses'].keys": ["10.0.0.1"],
    "search(:node, 'roles:head').first.chef_environment": "_default",
    "search(:node, 'roles:head').first.run_list.map(&:to_s).sort": [
        "recipe[slurm::head]",
        "recipe[slurm]",
        "role[head]",
    ],
    "search(:node, 'roles:head', filter_result: {'ip' => ['ipaddress']}).first['ip']": "10.0.0.1",
    "search('node', 'roles:head')[0].name": "head-0",
    "Chef::Node.load('head-0')['ipaddress']": "10.0.0.1",
    "Chef::Node.list.keys.sort": ["head-0", "me"],
    "Chef::Search::Query.new.search(:node, 'roles:head').first.first.name": "head-0",
    "node['roles']": ["compute"],
    "Chef::Config[:solo]": False,
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one run answers to all of it."""
    member = conftest.ChefMember(tmp_path_factory.mktemp(uuid.uuid4().hex))
    member.members["head-0"] = {**conftest.HEAD, "attributes": {"app.port": 8080}}
    lines = [f"said['node {query}'] = search(:node, {json.dumps(query)}).map(&:name).sort" for query in NODES]
    lines += [
        f"said['stack {query}'] = search(:stack, {json.dumps(query)}).map {{ |i| i['id'] }}.sort" for query in ITEMS
    ]
    lines += [f"said[{json.dumps(code)}] = {code}" for code in VALUES]
    text = "\n".join(["said = {}", *lines, "File.write(ENV['heat_outputs_path'] + '.said', said.to_json)"])
    member.recipe(text, "asking")
    result = chef.run(member.request(["recipe[asking]"], outputs=["said"]))
    assert result.status == "success", result.error or result.stdout
    for mark in member.marks:
        process.sweep(mark)
    return json.loads(result.outputs["said"])


@pytest.mark.parametrize("query", NODES)
def test_a_search_for_nodes_finds_the_members(answers, query):
    assert answers[f"node {query}"] == NODES[query]


@pytest.mark.parametrize("query", ITEMS)
def test_a_search_in_the_bag_finds_the_members_items(answers, query):
    assert answers[f"stack {query}"] == ITEMS[query]


@pytest.mark.parametrize("code", VALUES)
def test_what_is_found_carries_the_members_facts(answers, code):
    assert answers[code] == VALUES[code]


def test_a_community_cookbook_that_searches_works_unmodified_and_a_second_run_changes_nothing(chef_member):
    config = chef_member.folder / "balancer.cfg"
    chef_member.cookbook("balancer")
    chef_member.members["me"] = {**conftest.COMPUTE, "roles": ["web"]}
    chef_member.members["head-0"] = {**conftest.HEAD, "roles": ["web"]}
    bags = {"admins": {"alice": {"mail": "alice@example.org"}}}
    ask = {"run_list": ["balancer"], "inputs": {"balancer": {"config": str(config)}}, "options": {"data_bags": bags}}
    first = chef_member.run(**ask)
    assert (first.status, first.resources["updated"]) == ("success", 2)
    assert config.read_text() == ("server head-0 10.0.0.1:80\nserver me 10.0.0.2:80\nadmin alice alice@example.org\n")
    second = chef_member.run(**ask)
    assert (second.status, second.resources["updated"]) == ("success", 0)
    assert second.cookbooks["balancer"]["version"] == "2.3.1"


def test_a_member_that_left_is_found_no_more(chef_member):
    chef_member.recipe(
        "ruby_block('x') { block { node.run_state['x'] = search(:node, '*:*').map(&:name).sort } }\n"
        "file(ENV['heat_outputs_path'] + '.found') { content lazy { node.run_state['x'].join(',') } }"
    )
    assert chef_member.run(outputs=["found"]).outputs["found"] == "head-0,me"
    del chef_member.members["head-0"]
    assert chef_member.run(outputs=["found"]).outputs["found"] == "me"
    assert sorted(path.name for path in (chef_member.settings.chef_root / "nodes").iterdir()) == ["me.json"]
    bag = chef_member.settings.chef_root / "data_bags/stack"
    assert sorted(path.name for path in bag.iterdir()) == ["me.json"]


def test_a_damaged_node_object_is_healed_by_the_next_run(chef_member):
    chef_member.recipe("search(:node, 'roles:head').first['ipaddress'] == '10.0.0.1' or raise 'not found'")
    assert chef_member.run().status == "success"
    for path in (chef_member.settings.chef_root / "nodes").iterdir():
        path.write_text("{ half")
    assert chef_member.run().status == "success"


def test_lists_shrink_with_the_context_because_every_run_starts_from_a_clean_node(chef_member):
    chef_member.recipe("file(ENV['heat_outputs_path'] + '.list') { content node['list'].join(',') }")
    assert chef_member.run(inputs={"list": [1, 2, 3]}, outputs=["list"]).outputs["list"] == "1,2,3"
    assert chef_member.run(inputs={"list": [3]}, outputs=["list"]).outputs["list"] == "3"


def test_roles_environments_and_data_bags_of_the_repository_work(chef_member):
    def write(path, **document):
        (chef_member.repository / path).write_text(json.dumps(document))

    write("roles/database.json", name="database", run_list=["recipe[app]"], default_attributes={"a": "role"})
    write("environments/staging.json", name="staging", default_attributes={"b": "environment"})
    (chef_member.repository / "data_bags/users").mkdir()
    write("data_bags/users/bob.json", id="bob", mail="bob@example.org")
    chef_member.recipe(
        "bag = data_bag('users').sort.map { |id| data_bag_item('users', id)['mail'] }\n"
        "mine = search(:node, 'roles:database AND chef_environment:staging').map(&:name)\n"
        "said = [node['a'], node['b'], node.chef_environment, bag, mine, node['roles'].sort]\n"
        "File.write(ENV['heat_outputs_path'] + '.said', said.to_json)"
    )
    result = chef_member.run(
        ["role[database]"],
        inputs={"environment": "staging"},
        options={"data_bags": {"users": {"alice": {"mail": "alice@example.org"}}}},
        outputs=["said"],
    )
    assert result.status == "success", result.error
    said = json.loads(result.outputs["said"])
    assert said[:3] == ["role", "environment", "staging"]
    assert said[3] == ["alice@example.org", "bob@example.org"]
    assert said[4:] == [["me"], ["compute", "database"]]
    assert result.recipes == ("app", "app::default")


def test_an_encrypted_data_bag_opens_with_the_secret_of_an_input(chef_member):
    make = (
        "require 'chef/encrypted_data_bag_item'\n"
        "plain = {'id' => 'db', 'pass' => 'open sesame'}\n"
        "item = Chef::EncryptedDataBagItem.encrypt_data_bag_item(plain, 'the bag key')\n"
        "File.write(ENV['heat_outputs_path'] + '.item', item.to_json)"
    )
    chef_member.recipe(make, "maker")
    item = json.loads(chef_member.run(["maker"], outputs=["item"]).outputs["item"])
    assert "open sesame" not in json.dumps(item)
    chef_member.recipe("File.write(ENV['heat_outputs_path'] + '.pass', data_bag_item('vault', 'db')['pass'])")
    options = {"data_bags": {"vault": {"db": item}}, "data_bag_secret": {"input": "bag_key"}}
    result = chef_member.run(inputs={"bag_key": "the bag key"}, options=options, outputs=["pass"])
    assert result.outputs["pass"] == "open sesame"
    assert list(chef_member.settings.run.rglob("*")) == [chef_member.settings.run / "chef"]
