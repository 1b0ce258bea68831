"""Parsing and merging of documents: captured ones, and broken ones that must be named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swagent.errors import DocumentError
from swagent.metadata import check_document, deep_merge, merge, parse_deployment, parse_section, parse_sources, rendered
from swagent.model import Document, Quiescence

SAMPLES = Path(__file__).parents[1] / "samples"
MINIMAL = {"id": "1", "name": "d", "group": "chef", "config": "[]"}


def sample(name: str):
    return json.loads((SAMPLES / name).read_text())


def test_a_captured_deployment_becomes_a_value():
    found = parse_deployment(sample("deployment_d_heat_heat_on_heat.json"), "heat", "deployments[0]")
    assert (found.id, found.name, found.group) == ("647948ce-b43e-4a31-82d4-bdf34e5ab7d6", "d_heat_heat", "chef")
    assert (found.action, found.transport, found.source) == ("CREATE", "HEAT_SIGNAL", "heat")
    assert found.identity == "tr2/4e970566-3c44-4c77-9149-2dca675d184c/d_heat_heat"
    assert found.parameters == {"port": 80, "peers": {"cfn": "cfn-srv"}, "who": "heat"}
    assert [(output.name, output.error_output) for output in found.outputs] == [("fact", False)]
    assert found.options["kitchen"] == "file:///cookbooks"


def test_a_captured_delete_says_so():
    assert parse_deployment(sample("deployment_DELETE_action.json"), "heat", "deployments[0]").action == "DELETE"


def test_null_options_inputs_and_outputs_are_empty():
    found = parse_deployment({**MINIMAL, "options": None, "inputs": None, "outputs": None}, "heat", "deployments[0]")
    assert (found.options, found.inputs, found.outputs) == ({}, (), ())


@pytest.mark.parametrize(
    "given, kind, value",
    [
        (5, "String", "5"),
        (True, "String", "True"),
        ("5", "String", "5"),
        (5, "Number", 5),
        ({"a": 1}, "Json", {"a": 1}),
        (None, "String", None),
    ],
)
def test_a_value_of_type_string_is_text(given, kind, value):
    entry = {**MINIMAL, "inputs": [{"name": "n", "type": kind, "value": given}]}
    found = parse_deployment(entry, "heat", "deployments[0]")
    assert found.input("n") == value
    assert found.document["inputs"][0]["value"] == value


@pytest.mark.parametrize(
    "change, place",
    [
        ({"id": None}, "deployments[2].id"),
        ({"name": 7}, "deployments[2].name"),
        ({"group": ""}, "deployments[2].group"),
        ({"inputs": {}}, "deployments[2].inputs"),
        ({"inputs": [{"value": 1}]}, "deployments[2].inputs[0].name"),
        ({"inputs": [{"name": "a", "value": 1}, 7]}, "deployments[2].inputs[1]"),
        ({"outputs": [{"type": "String"}]}, "deployments[2].outputs[0].name"),
        ({"options": []}, "deployments[2].options"),
        ({"group": "component", "config": "{"}, "deployments[2].config"),
        ({"group": "component", "config": {"configs": [{}]}}, "deployments[2].config.configs[0].actions"),
        (
            {"group": "component", "config": {"configs": [{"actions": ["CREATE"], "config": ""}]}},
            "deployments[2].config.configs[0].tool",
        ),
    ],
)
def test_a_bad_deployment_is_refused_with_its_place(change, place):
    with pytest.raises(DocumentError) as caught:
        parse_deployment({**MINIMAL, **change}, "heat", "deployments[2]")
    assert (caught.value.source, caught.value.place) == ("heat", place)
    assert caught.value.remedy


@pytest.mark.parametrize("key", ["id", "name", "group", "config"])
def test_a_deployment_without_one_of_its_keys_is_refused(key):
    entry = {name: value for name, value in MINIMAL.items() if name != key}
    with pytest.raises(DocumentError) as caught:
        parse_deployment(entry, "heat", "deployments[0]")
    assert caught.value.place == f"deployments[0].{key}"


def component(action: str):
    parts = [
        {"actions": ["CREATE"], "config": "create me", "tool": "script"},
        {"actions": ["UPDATE", "CREATE"], "config": ["recipe[x]"], "tool": "chef"},
    ]
    action_input = {"name": "deploy_action", "type": "String", "value": action}
    return {**MINIMAL, "group": "component", "config": {"configs": parts}, "inputs": [action_input]}


@pytest.mark.parametrize(
    "action, group, config",
    [("CREATE", "script", "create me"), ("UPDATE", "chef", ["recipe[x]"]), ("DELETE", "component", None)],
)
def test_a_component_is_the_first_part_for_the_action(action, group, config):
    found = parse_deployment(component(action), "heat", "deployments[0]")
    assert (found.group, found.config) == (group, config)
    assert (found.document["group"], found.document["config"]) == (group, config)


def test_a_section_has_all_its_keys():
    found = parse_section(
        {
            "member": "head-0",
            "roles": ["head"],
            "expected": {"head": 1, "compute": 2},
            "generation": 7,
            "address": {"interface": "eth0"},
            "facts": {"packages": ["slurm*"], "secret": ["munge_key"]},
            "data_bag": {"type": "heat"},
            "quiescence": {"min": 1, "max": 2.5},
        },
        "heat",
    )
    assert (found.member, found.roles, found.expected) == ("head-0", ("head",), {"head": 1, "compute": 2})
    assert (found.facts.packages, found.facts.secret, found.facts.files) == (("slurm*",), ("munge_key",), ())
    assert (found.quiescence, found.address) == (Quiescence(1.0, 2.5, 30.0), {"interface": "eth0"})
    assert (found.generation, found.data_bag) == (7, {"type": "heat"})


def test_nulls_in_a_section_are_absent():
    keys = ("member", "roles", "expected", "address", "facts", "data_bag", "quiescence")
    assert parse_section({key: None for key in keys}, "heat") == parse_section(None, "heat")


def test_a_data_bag_may_come_as_text_from_a_nested_stack():
    assert parse_section({"data_bag": '{"type": "heat"}'}, "heat").data_bag == {"type": "heat"}


@pytest.mark.parametrize(
    "section, place",
    [
        ("text", "swagent"),
        ({"member": "../x"}, "swagent.member"),
        ({"member": "a b"}, "swagent.member"),
        ({"member": "a\n"}, "swagent.member"),
        ({"member": 5}, "swagent.member"),
        ({"roles": "head"}, "swagent.roles"),
        ({"roles": ["a", 1]}, "swagent.roles[1]"),
        ({"expected": {"head": -1}}, "swagent.expected.head"),
        ({"expected": {"head": True}}, "swagent.expected.head"),
        ({"expected": {"head": 1.5}}, "swagent.expected.head"),
        ({"address": {"interface": "eth0", "cidr": "10.0.0.0/8"}}, "swagent.address"),
        ({"address": "10.0.0.0/99"}, "swagent.address.cidr"),
        ({"facts": ["munge"]}, "swagent.facts"),
        ({"facts": {"packages": "munge"}}, "swagent.facts.packages"),
        ({"data_bag": "heat"}, "swagent.data_bag"),
        ({"quiescence": {"min": "5"}}, "swagent.quiescence.min"),
        ({"quiescence": {"max": float("nan")}}, "swagent.quiescence.max"),
    ],
)
def test_a_bad_section_is_refused_with_its_place(section, place):
    with pytest.raises(DocumentError) as caught:
        parse_section(section, "heat")
    assert caught.value.place == place


@pytest.mark.parametrize(
    "section, place",
    [
        ([], "os-collect-config"),
        ({"heat": "x"}, "os-collect-config.heat"),
        ({"heat": {"password": {"get": 1}}}, "os-collect-config.heat.password"),
        ({"cfn": {"path": [1]}}, "os-collect-config.cfn.path[0]"),
    ],
)
def test_a_bad_os_collect_config_section_is_refused_with_its_place(section, place):
    with pytest.raises(DocumentError) as caught:
        parse_sources(section, "heat")
    assert caught.value.place == place


def test_what_configures_os_collect_config_itself_is_left_to_it():
    section = {"command": "x", "collectors": ["heat"], "heat": {"auth_url": "u", "password": None}, "cfn": None}
    assert parse_sources(section, "heat") == {"heat": {"auth_url": "u", "password": None}}


def test_maps_merge_deeply_and_all_else_is_replaced():
    below = {"a": {"x": 1, "y": [1, 2], "z": {"k": 1}}, "b": 1, "c": {"x": 1}}
    above = {"a": {"y": [3], "z": {"l": 2}}, "b": None, "c": 5}
    assert deep_merge(below, above) == {"a": {"x": 1, "y": [3], "z": {"k": 1, "l": 2}}, "b": None, "c": 5}
    assert below["a"]["z"] == {"k": 1}


def test_later_sources_win_and_origins_say_which():
    first = Document("heat", {"app": {"a": 1}, "only": 1})
    second = Document("site.json", {"app": {"a": 2, "b": 3}})
    found = merge([first, second])
    assert found.content == {"app": {"a": 2, "b": 3}, "only": 1}
    assert found.origins == {"app": "site.json", "only": "heat"}


def test_configs_that_only_carry_data_are_merged_as_documents_of_their_own():
    entry = {"id": "1", "name": "data", "group": "os-apply-config", "config": {"app": {"name": "x"}}}
    script = {"id": "2", "name": "script", "group": "Heat::Ungrouped", "config": "echo"}
    found = merge([Document("heat", {"deployments": [entry, script], "app": {"kept": 1}})])
    assert found.content["app"] == {"kept": 1, "name": "x"}
    assert found.origins["app"] == "heat deployment data"
    assert [deployment.name for deployment in found.deployments] == ["data", "script"]


def test_a_bad_deployment_leaves_the_others():
    found = merge([Document("heat", {"deployments": [{"name": "x"}, MINIMAL]})])
    assert [deployment.name for deployment in found.deployments] == ["d"]
    (problem,) = found.problems
    assert problem.startswith("heat: deployments[0].id: missing; ")


def test_a_bad_deployment_can_be_answered_when_its_signal_can_be_addressed():
    inputs = [{"name": "deploy_signal_transport", "value": "HEAT_SIGNAL"}, {"name": "x", "value": 1}, 7]
    outputs = [{"name": "problem", "error_output": True}, {}]
    entry = {"id": "1", "name": "d", "group": "chef", "inputs": inputs, "outputs": outputs}
    found = merge([Document("heat", {"deployments": [entry, {"id": "2"}, 7]})])
    ((failing, why),) = found.refused
    assert (failing.id, failing.transport, failing.parameters) == ("1", "HEAT_SIGNAL", {})
    assert [output.name for output in failing.outputs if output.error_output] == ["problem"]
    assert why == found.problems[0] and len(found.problems) == 3


HOSTILE = (None, True, -1, 1.5, float("nan"), "", "x", "{", [], [None], [7], {}, {"": None}, {"a": [{}]})


def damaged(value):
    """The value with each of its parts, at any depth, replaced in turn by each hostile value."""
    yield from HOSTILE
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        for each in damaged(part):
            copy = value.copy()
            copy[key] = each
            yield copy


def test_no_metadata_whatever_is_fatal():
    whole = {
        "deployments": [component("CREATE"), {**MINIMAL, "outputs": [{"name": "o"}], "options": {"a": 1}}],
        "swagent": {
            "member": "m",
            "roles": ["r"],
            "expected": {"r": 1},
            "address": {"cidr": "10.0.0.0/8"},
            "facts": {"packages": ["p"]},
            "data_bag": {"type": "heat"},
            "quiescence": {"min": 1},
        },
        "os-collect-config": {"heat": {"auth_url": "u"}, "cfn": {"path": ["p"]}},
    }
    seen = 0
    for content in damaged(whole):
        if isinstance(content, dict):
            found = merge([Document("heat", content), Document("site", {"app": 1})])
            listed = content.get("deployments")
            bad = sum("deployments[" in problem for problem in found.problems)
            assert len(found.deployments) + bad == (len(listed) if isinstance(listed, list) else 0)
            rendered(found.documents)
            seen += 1
    assert seen > 500


def test_a_bad_section_leaves_the_last_good_one():
    last = {"swagent": {"member": "head-0"}}
    found = merge([Document("heat", {"swagent": {"member": "no good"}})], last)
    assert found.section.member == "head-0" and found.content["swagent"] == {"member": "head-0"}
    (problem,) = found.problems
    assert "swagent.member" in problem and "the last good one stays in use" in problem


def test_a_bad_section_without_a_former_one_is_left_out():
    found = merge([Document("heat", {"swagent": 5, "os-collect-config": 6, "rest": 1})])
    assert found.content == {"rest": 1} and found.section.member == ""
    assert len(found.problems) == 2


def test_a_misspelt_key_of_the_section_is_named():
    found = merge([Document("heat", {"swagent": {"role": ["head"], "facts": {"package": []}}})])
    assert ["swagent.role:" in problem for problem in found.problems] == [True, False]
    assert "swagent.facts.package:" in found.problems[1]


@pytest.mark.parametrize("content, place", [([], ""), (None, ""), ({"deployments": {}}, "deployments")])
def test_a_document_of_another_shape_is_refused(content, place):
    with pytest.raises(DocumentError) as caught:
        check_document(content, "heat")
    assert caught.value.place == place


@pytest.mark.parametrize("name, expected", [("heat", "occ_heat_print.json"), ("request", "occ_temp_print.json")])
def test_the_rendering_equals_what_os_collect_config_printed(name, expected):
    printed = sample(expected)
    assert rendered([Document(name, printed[name])]) == printed


def test_the_rendering_equals_os_collect_configs_own_code():
    from os_collect_config.merger import merged_list_from_content

    content = sample("occ_cfn_print.json")["cfn"]
    content["deployments"].append({"name": "no group", "config": {"a": 1}})
    theirs = dict(merged_list_from_content(content, ["deployments"], "cfn"))
    assert "d_cfn_none" in theirs and "no group" in theirs
    assert rendered([Document("cfn", content)]) == theirs


def test_files_of_this_machine_are_rendered_as_they_are():
    entry = {"name": "data", "group": "os-apply-config", "config": {"a": 1}}
    documents = [Document("heat_local", {"deployments": [entry]}), Document("site.json", {"b": 1})]
    assert rendered(documents) == {"heat_local": {"deployments": [entry]}, "site.json": {"b": 1}}
