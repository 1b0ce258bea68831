"""Chef repositories as `repository` and heat-agents' `kitchen` name them, from real git."""

from __future__ import annotations

import time

import pytest

from swagent.cookbooks.repository import checkout
from swagent.errors import SwagentError
from tests.testbed.gitserver import cookbook

ROLE = '{"name": "head", "run_list": ["recipe[app]"]}'


def check(machine, option, **more):
    mark = f"test.repository.{machine.settings.root}"
    return checkout(option, machine.settings, time.monotonic() + 60, mark, **more)


def test_a_kitchen_is_a_url_and_its_head_is_checked_out(machine, repository):
    made = repository("kitchen", branch="trunk")
    commit = made.commit({**cookbook("app", under="cookbooks/app"), "roles/head.json": ROLE, "README": "."})
    found = check(machine, made.url)
    assert found.revision == commit and found.warnings == ()
    assert (found.path / "roles/head.json").read_text() == ROLE
    assert (found.path / "cookbooks/app/metadata.rb").exists()
    assert machine.left == []


def test_a_ref_and_a_folder_of_a_repository(machine, repository):
    made = repository("kitchen")
    made.commit({**cookbook("app", "1.0.0", under="chef/cookbooks/app")})
    made.tag("v1")
    made.commit({**cookbook("app", "2.0.0", under="chef/cookbooks/app")})
    found = check(machine, {"git": made.url, "ref": "v1", "path": "chef"})
    assert "1.0.0" in (found.path / "cookbooks/app/metadata.rb").read_text()


def test_a_moved_branch_is_followed_beside_the_old_tree(machine, repository):
    made = repository("kitchen")
    made.commit({"roles/head.json": "{}"})
    first = check(machine, {"git": made.url, "ref": "main"})
    made.commit({"roles/head.json": ROLE})
    second = check(machine, {"git": made.url, "ref": "main"})
    assert (first.path / "roles/head.json").read_text() == "{}"
    assert (second.path / "roles/head.json").read_text() == ROLE


def test_source_down_uses_the_revision_used_before(machine, repository):
    made = repository("kitchen")
    made.commit({"roles/head.json": ROLE})
    first = check(machine, made.url)
    made.path.rename(made.path.with_name("gone"))
    again = check(machine, made.url)
    assert (again.path, again.revision) == (first.path, first.revision)
    assert "used before, stays in use" in again.warnings[0]


def test_what_is_no_chef_repository_is_said(machine, repository, tmp_path):
    made = repository("kitchen")
    made.commit({"README": "nothing"})
    with pytest.raises(SwagentError, match="no Chef repository: it has none of cookbooks/, roles/"):
        check(machine, made.url)
    with pytest.raises(SwagentError, match="there is no folder .*nowhere"):
        check(machine, {"path": str(tmp_path / "nowhere")})


def test_an_existing_folder_is_used_as_it_is(machine, tmp_path):
    (tmp_path / "kitchen/cookbooks").mkdir(parents=True)
    assert check(machine, {"path": str(tmp_path / "kitchen")}).path == tmp_path / "kitchen"
    assert check(machine, None, kitchen_path=str(tmp_path / "kitchen")).path == tmp_path / "kitchen"


def test_a_link_out_of_a_repository_is_refused(machine, repository):
    made = repository("kitchen")
    made.commit({"roles/head.json": ROLE})
    (made.work / "data_bags").symlink_to("/etc")
    made.commit_all()
    with pytest.raises(SwagentError, match="data_bags is a link out of the tree"):
        check(machine, made.url)
    assert machine.left == []
