"""What a run reads of the context: enough to run again when it must, and no more where that can be told."""

from __future__ import annotations

import pytest

IP = "node['swagent']['members']['head-0']['ip']"
EXACT = {
    IP: [["members", "head-0", "ip"]],
    "node['swagent'][:members]['head-0'][:ip]": [["members", "head-0", "ip"]],
    "node.read('swagent', 'members', 'head-0', 'ip')": [["members", "head-0", "ip"]],
    "node['swagent'].dig('members', 'head-0', 'ip')": [["members", "head-0", "ip"]],
    "node['swagent'].read('members', 'head-0', 'ip')": [["members", "head-0", "ip"]],
    "node['swagent']['members'].fetch('head-0').fetch('ip')": [["members", "head-0", "ip"]],
    f"if node['swagent']['members']['head-0']; {IP}; end": [["members", "head-0", "ip"]],
    f"{IP} if node['swagent']['members'].key?('head-0')": [["members", "head-0", "ip"]],
    f"{IP} if node['swagent']": [["members", "head-0", "ip"]],
    "head = node['swagent']['members']['head-0']; [head['ip'], head['cpus']]": [
        ["members", "head-0", "cpus"],
        ["members", "head-0", "ip"],
    ],
    "node['swagent']['members']['nobody']": [["members", "nobody"]],
    "node.read('swagent', 'members', 'nobody', 'ip')": [["members", "nobody"]],
    "node['swagent'].dig('members', 'head-0', 'facts', 'x')": [["members", "head-0", "facts"]],
    "node['swagent']['members'].key?('nobody')": [["members", "nobody"]],
    "node['swagent']['members'].fetch('nobody', nil)": [["members", "nobody"]],
    "node.exist?('swagent', 'members', 'nobody')": [["members", "nobody"]],
    "node['swagent']['members']['head-0']['packages']['slurm']": [["members", "head-0", "packages", "slurm"]],
    "node['swagent']['roles']['head']": [["roles", "head"]],
    "[*node['swagent']['roles']['head']]": [["roles", "head"]],
    "node['swagent']['roles']['head'].first": [["roles", "head"]],
    "node['swagent']['complete']": [["complete"]],
    "node['swagent']['recipes']['head-0']": [["recipes", "head-0"]],
    "node['swagent']['event'] + node['swagent']['digest']": [],
    "node['swagent']['members']['head-0'] ? 1 : 2": [["members", "head-0"]],
    "data_bag_item('stack', 'head-0')['ip']": [["members", "head-0"]],
    "Chef::Node.load('head-0')['ip']": [["members", "head-0"], ["recipes", "head-0"]],
    "node['platform'] + node['fqdn'].to_s": [],
}
WHOLE = {
    "search(:node, 'roles:head')": [["members"], ["roles"]],
    "search(:stack, '*:*')": [["members"], ["recipes"], ["roles"]],
    "search(:node, 'recipes:slurm')": [["members"], ["recipes"], ["roles"]],
    "Chef::Search::Query.new.search('node')": [["members"], ["recipes"], ["roles"]],
    "data_bag('stack')": [["members"], ["roles"]],
    "node['swagent']['members'].map { |name, member| member['ip'] }": [["members"]],
    "node['swagent']['members'].each { |name, member| name }": [["members"]],
    "node['swagent']['members'].values.map { |member| member['ip'] }": [["members"]],
    "node['swagent']['members'].keys": [["members"]],
    "node['swagent']['members'].size": [["members"]],
    "node['swagent']['members'].to_h": [["members"]],
    "node['swagent']['members'].to_hash": [["members"]],
    "node['swagent']['members'].to_json": [["members"]],
    "node['swagent']['members'].to_s": [["members"]],
    "require 'yaml'; YAML.dump(node['swagent']['members'])": [[]],  # YAML follows Chef's own links up to the root
    "JSON.pretty_generate(node['swagent']['members'])": [["members"]],
    "Chef::JSONCompat.to_json_pretty(node['swagent']['members'])": [["members"]],
    "node['swagent']['members'].select { |name, member| member['cpus'] > 1 }": [["members"]],
    "node['swagent']['members'].sort.first": [["members"]],
    "node['swagent']['members'] == {}": [["members"]],
    "{}.merge(node['swagent']['members'])": [["members"]],
    f"{{}}.merge(node['swagent']['members']); {IP}": [["members"]],
    "Hash[node['swagent']['members']]": [["members"]],
    "node['swagent']['members'].dup": [["members"]],
    "node['swagent']['members']['head-0'].to_h['ip']": [["members", "head-0"]],
    "node['swagent'].to_h": [[]],
    "node['swagent'].each { |key, value| key }": [[]],
    "node.to_hash": [[]],
    "node.normal['swagent']['members']": [[]],
    "node.attributes.merged_attributes": [[]],
}


@pytest.mark.parametrize("kind", ["exact", "whole"])
def test_what_a_recipe_reads_is_recorded_as_paths_of_the_context(chef_member, kind):
    """All forms in one recipe, with a fresh recorder for each: a Chef run per form would take minutes."""
    expected = EXACT if kind == "exact" else WHOLE
    lines = ["said = []"]
    for code in expected:
        lines += [
            "Swagent::Reads.now = Swagent::Reads.new",
            f"begin; {code}; rescue Net::HTTPServerException; nil; end",
            "said << Swagent::Reads.now.paths",
        ]
    lines += ["File.write(ENV['heat_outputs_path'] + '.said', said.to_json)"]
    chef_member.recipe("\n".join(lines))
    import json

    result = chef_member.run(outputs=["said"])
    assert result.status == "success", result.error
    said = dict(zip(expected, json.loads(result.outputs["said"])))
    assert said == expected


def test_reads_of_the_whole_run_are_its_result_in_every_phase(chef_member):
    chef_member.recipe(
        "file '/tmp/never' do\n"
        "  only_if { node['swagent']['members']['head-0']['cpus'] > 100 }\n"
        "end\n"
        'template "#{Chef::Config[:file_cache_path]}/x" do\n'
        "  source 'x.erb'\n"
        "  variables ip: node['swagent']['members']['me']['ip'], all: node['swagent']['roles']\n"
        "end\n"
    )
    book = chef_member.repository / "cookbooks/app"
    (book / "templates").mkdir()
    (book / "templates/x.erb").write_text("<%= @ip %> <%= @all['head'].join %> <%= node['swagent']['complete'] %>")
    (book / "attributes").mkdir()
    (book / "attributes/default.rb").write_text("default['size'] = node['swagent']['missing'].size\n")
    result = chef_member.run()
    assert result.status == "success", result.error
    assert set(result.reads) == {
        ("complete",),
        ("members", "head-0", "cpus"),
        ("members", "me", "ip"),
        ("missing",),
        ("roles",),  # Chef copies what a template is given
    }


def test_a_recipe_that_reads_nothing_of_the_context_has_read_nothing(chef_member):
    chef_member.recipe("log 'x'")
    assert chef_member.run().reads == ()


def test_what_a_failed_run_read_is_not_known(chef_member):
    chef_member.recipe(f"log {IP}\nexecute 'false'")
    result = chef_member.run()
    assert (result.status, result.reads) == ("failed", None)


def test_setting_an_attribute_below_swagent_reads_nothing_else(chef_member):
    chef_member.recipe(f"node.default['swagent']['mine'] = 1\nlog {IP}")
    assert chef_member.run().reads == (("members", "head-0", "ip"),)
