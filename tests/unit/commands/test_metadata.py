"""`swagent metadata`: what was collected, with secrets replaced by value and by name."""

import json

import pytest

from swagent import files

HEAT = {
    "deployments": [
        {
            "id": "d-1",
            "name": "app",
            "group": "chef",
            "config": '["recipe[app]"]',
            "options": {"secrets": ["pin"]},
            "inputs": [
                {"name": "db_password", "type": "String", "value": "hunter22", "default": "hunter22"},
                {"name": "pin", "type": "String", "value": "42"},
                {"name": "url", "type": "String", "value": "mysql://app:hunter22@db/app"},
                {"name": "port", "type": "Number", "value": 80},
            ],
        }
    ],
    "swagent": {"member": "head-0"},
    "os-collect-config": {"cfn": {"access_key_id": "AKI", "secret_access_key": "s3cr3t"}},
}


@pytest.fixture
def collected(root):
    files.write_json(root.settings.collected / "heat.json", HEAT)
    files.write_json(root.settings.collected / "local.json", {"mine": {"swagent": {"member": "head-1"}}})
    return root


def test_every_source_is_shown_and_no_secret_is(collected):
    document = collected.json("metadata")
    assert set(document) == {"sources", "problems"} and set(document["sources"]) == {"heat", "mine"}
    inputs = document["sources"]["heat"]["deployments"][0]["inputs"]
    assert inputs[0] == {
        "name": "db_password",
        "type": "String",
        "value": "<secret:db_password>",
        "default": "<secret:db_password>",
    }
    assert inputs[1]["value"] == "<secret:pin>", "named by the option, and too short to be found by its value"
    assert inputs[2]["value"] == "mysql://app:<secret:db_password>@db/app"
    assert inputs[3]["value"] == 80
    assert document["sources"]["heat"]["os-collect-config"]["cfn"]["secret_access_key"] == "<secret:secret_access_key>"
    for secret in ("hunter22", "s3cr3t", '"42"'):
        assert secret not in json.dumps(document)
        assert secret not in collected.call("metadata")[1] + collected.call("metadata", "--merged")[1]


def test_secrets_are_shown_when_asked_for(collected):
    assert collected.json("metadata", "--secrets")["sources"]["heat"] == HEAT
    assert "hunter22" in collected.call("metadata", "--merged", "--secrets")[1]


def test_merged_is_what_is_applied(collected):
    document = collected.json("metadata", "--merged")
    assert document["sources"]["merged"]["swagent"] == {"member": "head-1"}


def test_one_source_and_one_that_is_not_there(collected):
    assert set(collected.json("metadata", "mine")["sources"]) == {"mine"}
    code, out, err = collected.call("metadata", "cfn")
    assert (code, out) == (1, "") and "there is: " in err and "heat" in err


def test_problems_of_documents_and_of_sources_are_told(collected):
    files.write_json(collected.settings.collected / "local.json", {"mine": {"swagent": {"roles": "head"}}})
    collected.status("degraded", "x", problems=["heat: connection refused"])
    document = collected.json("metadata")
    assert "heat: connection refused" in document["problems"]
    assert any("swagent.roles" in problem for problem in document["problems"])
    code, out, err = collected.call("metadata")
    assert "# heat\n" in out and "swagent: heat: connection refused\n" in err


def test_nothing_collected_names_the_next_step(root):
    code, out, err = root.call("metadata")
    assert (code, out) == (0, "") and "nothing has been collected yet" in err
