from __future__ import annotations

import json

import pytest

from swagent.errors import DocumentError
from swagent.hooks.chef_config import merge, parse_config, run_list_of
from swagent.model import Deployment, Input


def deployment(config=None, inputs=None, **options):
    values = {"deploy_action": "CREATE", "deploy_password": "x", **(inputs or {})}
    return Deployment(
        id="1",
        name="app",
        group="chef",
        config=config,
        inputs=tuple(Input(name, "Json", value) for name, value in values.items()),
        options=options,
    )


WAYS = [
    ["recipe[app]", "role[web]"],
    '["recipe[app]", "role[web]"]',
    "- recipe[app]\n- role[web]\n",
    {"run_list": ["recipe[app]", "role[web]"]},
    '{"run_list": ["recipe[app]", "role[web]"]}',
    "run_list:\n  - recipe[app]\n  - role[web]\n",
]


@pytest.mark.parametrize("config", WAYS)
def test_a_run_list_is_understood_however_it_is_written(config):
    assert run_list_of(deployment(config), "deploy") == ("recipe[app]", "role[web]")


def test_setup_deploy_and_configure_share_the_run_list_and_other_events_need_their_own():
    config = {"run_list": ["app"], "events": {"undeploy": ["app::leave"], "setup": ["app::first"]}}
    lists = {event: run_list_of(deployment(config), event) for event in ("setup", "deploy", "configure", "undeploy")}
    assert lists == {"setup": ("app::first",), "deploy": ("app",), "configure": ("app",), "undeploy": ("app::leave",)}
    assert run_list_of(deployment(config), "shutdown") is None
    assert run_list_of(deployment(["app"]), "undeploy") is None
    assert run_list_of(deployment(""), "deploy") == ()


def test_inputs_are_attributes_over_those_of_the_config_without_heats_own():
    config = {"attributes": {"app": {"port": 1, "name": "x"}, "list": [1, 2]}}
    parsed = parse_config(deployment(config, {"app": {"port": 2}, "list": [3], "environment": "staging", "size": 3}))
    assert parsed.attributes == {"app": {"port": 2, "name": "x"}, "list": [3], "size": 3}
    assert parsed.environment == "staging"
    assert parse_config(deployment([], {"environment": ""})).environment == "_default"


def test_options_have_defaults_and_are_read():
    plain = parse_config(deployment([]))
    assert (plain.lean_ohai, plain.timeout, plain.data_bags, plain.data_bag_secret) == (True, 3600.0, {}, "")
    bags = {"users": {"alice": {"mail": "x"}}}
    full = parse_config(
        deployment([], {"k": "v"}, ohai="full", timeout="60", data_bags=bags, data_bag_secret={"input": "k"})
    )
    assert (full.lean_ohai, full.timeout, full.data_bags, full.data_bag_secret) == (False, 60.0, bags, "v")


WRONG = [
    ("x: [", {}, {}, "config line"),
    ("just words", {}, {}, "config: is a text"),
    (7, {}, {}, "config: is a number"),
    ({"runlist": []}, {}, {}, "config.runlist: is not known"),
    ({"run_list": "app"}, {}, {}, "config.run_list: is a text"),
    ([1], {}, {}, r"config.run_list\[0\]: 1 is no run list entry"),
    (["recipe[app"], {}, {}, "no run list entry"),
    (["recipe[../../x]"], {}, {}, "no run list entry"),
    (["app'; system 'x"], {}, {}, "no run list entry"),
    (["recipe[app]\n"], {}, {}, "no run list entry"),
    ({"attributes": []}, {}, {}, "config.attributes: is a list"),
    ({"attributes": {"run_list": []}}, {}, {}, "config.attributes.run_list: is not an attribute"),
    ([], {"swagent": 1}, {}, "inputs.swagent"),
    ([], {"recipes": 1}, {}, "inputs.recipes"),
    ([], {"environment": "../x"}, {}, "inputs.environment"),
    ([], {"environment": ["x"]}, {}, "inputs.environment"),
    ({"events": {"boot": []}}, {}, {}, "config.events.boot: is no event"),
    ({"events": {"setup": "x"}}, {}, {}, "config.events.setup: is a text"),
    ({"needs": [{"service": "x"}]}, {}, {}, r"config.needs\[0\]: names no role"),
    ([], {}, {"timeout": 0}, "options.timeout"),
    ([], {}, {"timeout": "soon"}, "options.timeout"),
    ([], {}, {"timeout": True}, "options.timeout"),
    ([], {}, {"ohai": "some"}, "options.ohai"),
    ([], {}, {"data_bags": {"stack": {}}}, "options.data_bags.stack"),
    ([], {}, {"data_bags": {"../x": {}}}, "no name of a data bag"),
    ([], {}, {"data_bags": {"x": {"a/b": {}}}}, "no name of a data bag"),
    ([], {}, {"data_bags": {"x": {"a": "b"}}}, "options.data_bags.x.a: is a text"),
    ([], {}, {"data_bag_secret": "plain"}, "options.data_bag_secret"),
    ([], {}, {"data_bag_secret": {"input": "none"}}, "has no text"),
]


@pytest.mark.parametrize("config, inputs, options, words", WRONG)
def test_a_config_that_cannot_be_used_names_deployment_place_and_remedy(config, inputs, options, words):
    with pytest.raises(DocumentError, match=words) as caught:
        parse_config(deployment(config, inputs, **options))
    assert str(caught.value).startswith("deployment app: ") and caught.value.remedy


def test_maps_merge_deeply_and_all_else_is_replaced():
    assert merge({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "e": 2}) == {
        "a": {"b": 1, "c": [2]},
        "d": 1,
        "e": 2,
    }


def test_what_heat_sends_as_a_chef_config_is_understood():
    config = json.dumps({"run_list": ["recipe[a::b@1.2.3]"]}) + "\n"
    assert run_list_of(deployment(config), "setup") == ("recipe[a::b@1.2.3]",)
