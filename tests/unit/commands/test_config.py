"""`swagent config check`: settings, metadata documents and Heat templates, each problem with place, line and remedy."""

import json
from textwrap import dedent

import pytest

from swagent import files

TEMPLATE = """\
heat_template_version: 2018-08-31
parameters: {n: {type: number, default: 2}}
resources:
  bag: {type: nested_bag.yaml}
  head:
    type: OS::Nova::Server
    properties: {user_data_format: SOFTWARE_CONFIG, image: {get_param: image}}
    metadata:
      swagent:
        member: head-0
        roles: [head]
        expected: {head: 1, compute: {get_param: n}}
        data_bag: {get_attr: [bag, data_bag]}
  group:
    type: OS::Heat::ResourceGroup
    properties:
      count: {get_param: n}
      resource_def:
        type: OS::Nova::Server
        metadata: {swagent: {roles: [compute], data_bag: {get_attr: [bag, data_bag]}}}
  config:
    type: OS::Heat::SoftwareConfig
    properties:
      group: chef
      inputs: [{name: db_password, type: String}, {name: workers, type: Number, default: 2}]
      config: {run_list: ["recipe[app]"], events: {undeploy: ["recipe[app::gone]"]}}
      options:
        cookbooks: [{name: app, git: "https://git.example/app.git", ref: main}]
        data_bag_secret: {input: db_password}
  deployment:
    type: OS::Heat::SoftwareDeployment
    properties:
      config: {get_resource: config}
      server: {get_resource: head}
      actions: [CREATE, UPDATE, DELETE]
"""


@pytest.fixture
def check(root, tmp_path):
    """Checks a text: (exit code, {place: problem document})."""

    def check(text):
        path = tmp_path / "document.yaml"
        path.write_text(dedent(text))
        code, out, err = root.call("config", "check", str(path), "-f", "json")
        assert err == ""
        document = json.loads(out)
        assert set(document) == {"file", "kind", "ok", "problems"} and document["ok"] == (code == 0)
        assert all(set(each) == {"place", "problem", "remedy", "line", "severity"} for each in document["problems"])
        return code, {each["place"]: each for each in document["problems"]}

    return check


def test_a_good_template_has_nothing_wrong(check):
    assert check(TEMPLATE) == (0, {})


@pytest.mark.parametrize(
    "good, bad, place, line, words",
    [
        ("roles: [head]", "roles: head", "resources.head.metadata.swagent.roles", 11, "must be a list"),
        ("roles: [head]", "rolls: [head]", "resources.head.metadata.swagent.rolls", 11, "means nothing here"),
        ("head: 1,", "head: one,", "resources.head.metadata.swagent.expected.head", 12, "whole number"),
        (
            "metadata: {swagent: {roles: [compute]",
            "metadata: {swagent: {roles: [7]",
            "resources.group.properties.resource_def.metadata.swagent.roles[0]",
            20,
            "must be text",
        ),
        ('["recipe[app]"]', '["receipt[app]"]', "resources.config.properties.config.run_list[0]", 26, "receipt"),
        ("undeploy:", "undeply:", "resources.config.properties.config.events.undeply", 26, "no event"),
        ("name: app, git", "nome: app, git", "resources.config.properties.options.cookbooks[0]", 28, ""),
        (
            "get_resource: head",
            "get_resource: haed",
            "resources.deployment.properties.server",
            34,
            "no resource 'haed'",
        ),
    ],
)
def test_a_mistake_in_a_template_is_named_with_its_line(check, good, bad, place, line, words):
    assert TEMPLATE.count(good) == 1
    code, problems = check(TEMPLATE.replace(good, bad))
    assert code == 1
    found = next(each for each in problems if each.startswith(place))
    assert problems[found]["line"] == line and words in problems[found]["problem"] and problems[found]["remedy"]


def test_a_section_in_novas_metadata_is_told_where_it_belongs(check):
    code, problems = check(
        """
        heat_template_version: 2018-08-31
        resources:
          head:
            type: OS::Nova::Server
            properties: {metadata: {swagent: {roles: [head]}}}
        """
    )
    assert code == 1
    assert "beside `properties:`" in problems["resources.head.properties.metadata.swagent"]["remedy"]


def test_an_undeploy_run_list_that_never_runs_is_doubtful_and_no_failure(check):
    code, problems = check(TEMPLATE.replace("actions: [CREATE, UPDATE, DELETE]", "actions: [CREATE]"))
    assert code == 0
    assert problems["resources.deployment.properties.actions"]["severity"] == "doubtful"


def test_several_members_without_a_data_bag_are_wrong(check):
    code, problems = check(
        TEMPLATE.replace("        data_bag: {get_attr: [bag, data_bag]}\n", "").replace("{get_param: n}}", "2}")
    )
    assert code == 1 and "resources.head.metadata.swagent.data_bag" in problems


def test_a_template_with_nothing_for_swagent_is_doubtful(check):
    code, problems = check("heat_template_version: 2018-08-31\nresources: {head: {type: OS::Nova::Server}}\n")
    assert code == 0 and problems["resources"]["severity"] == "doubtful"
    assert check("heat_template_version: 2018-08-31\nresources: {net: {type: OS::Neutron::Net}}\n") == (0, {})


def test_a_template_without_resources_is_wrong(check):
    assert check("heat_template_version: 2018-08-31\n")[0] == 1


def test_a_metadata_document_is_checked_as_the_agent_reads_it(check):
    good = {
        "metadata": {
            "swagent": {"member": "head-0", "data_bag": {"store": "directory", "path": "/srv/bag"}},
            "deployments": [{"id": "1", "name": "app", "group": "chef", "config": '["recipe[app]"]', "inputs": []}],
            "os-collect-config": {"cfn": {"path": "stack.Metadata"}},
        }
    }
    assert check(json.dumps(good)) == (0, {})
    good["metadata"]["swagent"]["data_bag"]["store"] = "floppy"
    good["metadata"]["deployments"][0]["config"] = "[recipe[app"
    good["metadata"]["deployments"].append({"name": "no id"})
    code, problems = check(json.dumps(good, indent=1))
    assert code == 1
    assert "floppy" in problems["metadata.swagent.data_bag.store"]["problem"]
    assert any(place.startswith("metadata.deployments[0].config") for place in problems)
    assert "metadata.deployments[1].id" in problems


def test_a_document_that_is_no_map_or_no_yaml_is_named(check, root, tmp_path):
    assert check("- a\n- b\n")[0] == 1
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1\nb: 2\n")
    code, out, err = root.call("config", "check", str(path))
    assert (code, out) == (1, "") and "broken.yaml: line 2" in err and "neither YAML nor JSON" in err


def test_a_file_that_is_not_there_is_named(root):
    code, _, err = root.call("config", "check", "/nonexistent/stack.yaml")
    assert code == 1 and err == "swagent: /nonexistent/stack.yaml: No such file or directory\n"


def test_good_settings_and_none_have_nothing_wrong(root):
    assert root.call("config", "check")[:2] == (0, f"{root.settings.etc}: settings: nothing wrong\n")
    files.write(root.settings.etc / "swagent.yaml", "keep_alive: 60\n")
    assert root.call("config", "check")[0] == 0


def test_every_mistake_in_the_settings_is_told_at_once(root, monkeypatch):
    files.write(root.settings.etc / "swagent.yaml", "keep_alive: 60\npoling_interval: 5\nkeep_runs: none\n")
    files.write(root.settings.etc / "conf.d" / "10.yaml", "a: [\n")
    files.write(root.settings.etc / "conf.d" / "20.yaml", "collectors: [heta]\nchef_path: /nonexistent/chef-solo\n")
    monkeypatch.setenv("SWAGENT_KEEP_ALIVE", "often")
    code, out, _ = root.call("config", "check")
    lines = out.splitlines()
    assert code == 1 and len(lines) == 6
    assert lines[0].startswith(f"line 2: {root.settings.etc}/swagent.yaml: unknown setting 'poling_interval'")
    assert lines[1].startswith(f"line 3: {root.settings.etc}/swagent.yaml: keep_runs: ")
    assert "10.yaml: line 2: not YAML" in lines[2]
    assert lines[3].startswith("SWAGENT_KEEP_ALIVE: keep_alive: ")
    assert "/nonexistent/chef-solo" in lines[4]
    assert "'heta' is not known" in lines[5]
