from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from swagent import files
from swagent.hooks.chef_config import ChefConfig
from swagent.hooks.chef_root import (
    LARGEST_NODE,
    Paths,
    Sources,
    expand,
    lay_out,
    nested,
    render_item,
    render_node,
    render_solo_rb,
    ruby,
    tidy,
)
from swagent.settings import Settings

ENTRY = {
    "roles": ["web"],
    "state": "converged",
    "suspect": False,
    "fqdn": "web-0.example",
    "hostname": "web-0",
    "ip": "10.0.0.3",
    "addresses": {"eth0": ["10.0.0.3", "fd00::3"]},
    "cpus": 2,
    "memory_mb": 1024,
    "recipes": ["app", "app::default", "app::extra"],
    "attributes": {"app.port": 80, "app.tls": True},
}
TEXTS = [
    "plain",
    "it's",
    "back\\slash",
    "\\'; system('touch /tmp/x'); '",
    "#{1 + 1}",
    "line\nbreak",
    "é",
    "",
    "\\",
    "'",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_ruby_literal_of_a_text_is_that_text_for_ruby(text):
    code = f"# encoding: utf-8\n$stdout.write({ruby(text)})"
    assert subprocess.run(["ruby", "-"], input=code.encode(), capture_output=True, check=True).stdout.decode() == text


def test_a_ruby_literal_of_a_structure_is_that_structure_for_ruby():
    value = {"a'b": [1, 2.5, True, False, None, {"c": "d"}], "e": []}
    code = f"require 'json'; print JSON.generate({ruby(value)})"
    assert json.loads(subprocess.check_output(["ruby", "-e", code])) == value


def test_a_peer_is_a_small_node_object_with_what_searches_ask_for():
    node = render_node("web-0", ENTRY)
    assert node["automatic"] == {
        "name": "web-0",
        "hostname": "web-0",
        "fqdn": "web-0.example",
        "ipaddress": "10.0.0.3",
        "roles": ["web"],
        "recipes": ["app", "app::default", "app::extra"],
        "cpu": {"total": 2},
        "memory": {"total": "1048576kB"},
        "network": {
            "interfaces": {"eth0": {"addresses": {"10.0.0.3": {"family": "inet"}, "fd00::3": {"family": "inet6"}}}}
        },
    }
    assert node["run_list"] == ["role[web]", "recipe[app]", "recipe[app::extra]"]
    assert node["normal"]["app"] == {"port": 80, "tls": True}
    assert node["normal"]["swagent"] == {"member": "web-0", "roles": ["web"]}
    assert len(json.dumps(node)) < LARGEST_NODE


def test_a_state_is_not_in_a_node_object_because_it_would_be_written_again_with_every_run():
    assert render_node("web-0", ENTRY) == render_node("web-0", {**ENTRY, "state": "failed", "suspect": True})


def test_a_peer_with_many_addresses_stays_small_without_its_network():
    entry = {**ENTRY, "addresses": {f"eth{n}": [f"10.0.{n}.1"] for n in range(40)}}
    node = render_node("web-0", entry)
    assert "network" not in node["automatic"] and len(json.dumps(node)) < LARGEST_NODE


def test_facts_of_the_wrong_shape_make_no_trouble():
    node = render_node("x", {"roles": ["a"], "addresses": ["x"], "attributes": "y", "memory_mb": "many", "cpus": 0})
    assert node["automatic"] == {"name": "x", "hostname": "x", "fqdn": "x", "roles": ["a"], "recipes": []}


def test_the_own_node_starts_without_attributes_and_with_the_run_list_it_is_about_to_run():
    node = render_node("web-0", ENTRY, ["role[db]"], ["pg", "pg::default"], ["db"], "staging")
    assert (node["run_list"], node["chef_environment"]) == (["role[db]"], "staging")
    assert node["automatic"]["roles"] == ["db", "web"] and "pg" in node["automatic"]["recipes"]
    assert node["normal"] == {"swagent": {"member": "web-0"}, "tags": []}


def test_an_item_of_the_bag_is_the_members_entry_under_its_name():
    item = render_item("web-0", {**ENTRY, "id": "other", "member": "forged"})
    assert (item["id"], item["member"], item["ip"]) == ("web-0", "web-0", "10.0.0.3")


def test_dotted_attributes_become_a_tree():
    assert nested({"a.b": 1, "a.c": {"d": 2}, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


def test_a_run_list_is_expanded_through_roles_and_their_environments(tmp_path):
    files.write_json(tmp_path / "web.json", {"run_list": ["app", "role[base]"], "env_run_lists": {"x": ["other"]}})
    files.write_json(tmp_path / "base.json", {"run_list": ["recipe[ntp::client@1.0.0]", "role[web]"]})
    run_list = ["role[web]", "last", "role[in_ruby]"]
    assert expand(run_list, [tmp_path], "_default") == (
        ("app", "app::default", "ntp::client", "last", "last::default"),
        ("web", "base", "in_ruby"),
    )
    assert expand(run_list, [tmp_path], "x")[0] == ("other", "other::default", "last", "last::default")


def context(**members):
    document = {"member": "web-0", "my_roles": ["web"], "members": {"web-0": ENTRY, **members}, "event": "deploy"}
    return document


def test_what_is_laid_out_follows_the_members_and_unchanged_files_are_left_alone(tmp_path):
    settings = Settings(root=tmp_path)
    peer = {**ENTRY, "roles": ["db"], "ip": "10.0.0.9"}

    def lay(document):
        return lay_out(settings, ChefConfig(), ["app"], Sources(), document, (), "")

    paths = lay(context(**{"db-0": peer}))
    names = ["db-0.json", "web-0.json"]
    assert sorted(path.name for path in paths.nodes.iterdir()) == names
    assert sorted(path.name for path in paths.stack_bag.iterdir()) == names
    before = (paths.nodes / "db-0.json").stat()
    lay(context(**{"db-0": peer}))
    assert (paths.nodes / "db-0.json").stat().st_ino == before.st_ino
    lay(context(**{"db-0": {**peer, "ip": "10.0.0.10"}}))
    assert (paths.nodes / "db-0.json").stat().st_ino != before.st_ino
    lay(context())
    assert [path.name for path in paths.nodes.iterdir()] == ["web-0.json"]
    assert [path.name for path in paths.stack_bag.iterdir()] == ["web-0.json"]


def test_a_peers_name_cannot_leave_the_folder(tmp_path):
    hostile = {name: ENTRY for name in ("../../evil", "a/b", ".hidden", "", "x" * 300, "nul\0", "-rf", "web.1")}
    paths = lay_out(Settings(root=tmp_path), ChefConfig(), [], Sources(), context(**hostile), (), "")
    assert sorted(path.name for path in paths.nodes.iterdir()) == ["-rf.json", "web-0.json", "web.1.json"]
    assert not list(tmp_path.rglob("evil*"))


def test_what_may_hold_secrets_is_on_the_volatile_side_and_gone_after_tidy(tmp_path):
    settings = Settings(root=tmp_path)
    config = ChefConfig(
        attributes={"k": "top-secret"}, data_bags={"b": {"i": {"k": "top-secret"}}}, data_bag_secret="top-secret"
    )
    paths = lay_out(settings, config, ["app"], Sources(), context(), (), "")
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and b"top-secret" in path.read_bytes()]
    assert holders and all(paths.volatile in path.parents for path in holders)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))
    tidy(settings, "web-0")
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"top-secret" in path.read_bytes()] == []
    assert files.read_json(paths.nodes / "web-0.json") == {"name": "web-0"}


def test_tidy_of_a_root_that_was_never_used_does_nothing(tmp_path):
    tidy(Settings(root=tmp_path), "web-0")
    assert list(tmp_path.iterdir()) == []


def test_bags_of_the_deployment_and_of_the_repository_with_one_name_are_one_bag(tmp_path):
    repository = tmp_path / "repository"
    files.write_json(repository / "data_bags/users/bob.json", {"id": "bob"})
    config = ChefConfig(data_bags={"users": {"alice": {"x": 1}}})
    paths = lay_out(Settings(root=tmp_path / "r"), config, [], Sources(repository=repository), context(), (), "")
    assert sorted(path.name for path in (paths.own_bags / "users").iterdir()) == ["alice.json", "bob.json"]
    assert files.read_json(paths.own_bags / "users/alice.json") == {"id": "alice", "x": 1}


def test_solo_rb_is_ruby_and_says_what_it_must(tmp_path):
    paths = Paths.of(Settings(root=Path("/r'oot")))
    text = render_solo_rb(paths, member="web-0", config=ChefConfig(), sources=Sources(), chef_license="accept")
    subprocess.run(["ruby", "-c", "-"], input=text.encode(), check=True, capture_output=True)
    for line in ("solo false", "client_fork false", "chef_license 'accept'", "allowed_normal_attributes []"):
        assert line in text.splitlines()
    assert "event_handlers [" in text and "<<" not in text and "EC2" in text
    full = render_solo_rb(paths, member="web-0", config=ChefConfig(lean_ohai=False), sources=Sources())
    assert "disabled_plugins" not in full and "chef_license" not in full
