"""Cookbooks from a supermarket that obeys the API, resolved by real librarian-chef, beside git and path sources."""

from __future__ import annotations

import os

import pytest

from swagent.errors import SwagentError
from tests.testbed.gitserver import cookbook, supermarket, write


def test_a_constraint_is_met_and_dependencies_come_along(machine, site):
    for version in ("1.0.0", "1.10.0", "1.9.0", "2.0.0"):
        site.add("ntp", version, depends={"tz": ">= 0.1"})
    site.add("tz", "0.2.0")
    release = machine.resolve([{"name": "ntp", "version": "~> 1.0"}], [site.url])
    assert {name: each["version"] for name, each in release.cookbooks.items()} == {"ntp": "1.10.0", "tz": "0.2.0"}
    assert release.cookbooks["tz"]["source"] == f"site {site.url}"
    assert len(release.cookbooks["tz"]["revision"]) == 64
    assert "ntp (1.10.0)" in release.lock


def test_unchanged_asks_the_site_nothing_and_starts_nothing(machine, site):
    site.add("ntp")
    wanted = [{"name": "ntp"}]
    first = machine.resolve(wanted, [site.url])
    before = len(site.requests)
    site.add("ntp", "9.0.0")
    assert machine.started(wanted, [site.url]) == []
    assert machine.resolve(wanted, [site.url]) == first
    assert len(site.requests) == before


def test_git_cookbooks_depend_on_the_sites_and_on_one_another(machine, site, repository):
    site.add("ntp", "1.0.0")
    site.add("base", "9.9.9")
    base, app = repository("base"), repository("app")
    base.commit(cookbook("base", "1.0.0", depends={"ntp": ""}))
    app.commit(cookbook("app", "1.0.0", depends={"base": "~> 1.0", "ntp": ">= 1.0"}))
    release = machine.resolve([{"name": "app", "git": app.url}, {"name": "base", "git": base.url}], [site.url])
    versions = {name: each["version"] for name, each in release.cookbooks.items()}
    assert versions == {"app": "1.0.0", "base": "1.0.0", "ntp": "1.0.0"}


def test_redirects_are_followed(machine, site):
    site.add("ntp")
    moved = site.url.replace("/api/v1", "/moved")
    assert machine.resolve([{"name": "ntp"}], [moved]).cookbooks["ntp"]["version"] == "1.0.0"


def test_two_sites_are_asked_in_their_order(machine, site, tmp_path):
    site.add("shared", "1.0.0")
    site.add("first", "1.0.0", depends={"second": "", "shared": ""})
    with supermarket(tmp_path / "other", tmp_path / "other.work") as other:
        other.add("shared", "2.0.0")
        other.add("second", "1.0.0", depends={"third": ""})
        other.add("third", "1.0.0")
        release = machine.resolve([{"name": "first"}], [site.url, other.url])
        assert {name: each["version"] for name, each in release.cookbooks.items()} == {
            "first": "1.0.0",
            "second": "1.0.0",
            "shared": "1.0.0",
            "third": "1.0.0",
        }
        assert release.cookbooks["third"]["source"] == f"site {other.url}"
        # An entry may say which one.
        named = machine.resolve([{"name": "shared", "site": other.url}], [site.url])
        assert named.cookbooks["shared"]["version"] == "2.0.0"


def test_a_cookbook_that_no_site_has_is_named_with_who_wants_it(machine, site, repository):
    site.add("ntp", depends={"nonesuch": ">= 2.0"})
    with pytest.raises(SwagentError) as caught:
        machine.resolve([{"name": "ntp"}], [site.url])
    said = str(caught.value)
    assert f"cookbook ntp 1.0.0 ({site.url}) wants nonesuch, which no source has; looked in {site.url}" in said
    with pytest.raises(SwagentError, match="the deployment wants absent, which no source has"):
        machine.resolve([{"name": "absent"}], [site.url])


def test_a_version_that_does_not_exist_is_named_with_those_that_do(machine, site):
    site.add("ntp", "1.0.0")
    site.add("ntp", "1.1.0")
    with pytest.raises(SwagentError) as caught:
        machine.resolve([{"name": "ntp", "version": "~> 7.0"}], [site.url])
    assert "the deployment wants ntp ~> 7.0, but there is" in str(caught.value)
    assert "1.0.0" in str(caught.value) and "1.1.0" in str(caught.value)


def test_a_conflict_names_both_who_want_it(machine, site, tmp_path):
    site.add("lib", "1.0.0")
    site.add("lib", "2.0.0")
    for name, constraint in (("a", "~> 1.0"), ("b", "~> 2.0")):
        write(tmp_path / "all" / name, cookbook(name, depends={"lib": constraint}))
    with pytest.raises(SwagentError) as caught:
        machine.resolve([{"path": str(tmp_path / "all"), "all": True}], [site.url])
    said = str(caught.value)
    assert "wants lib ~> 1.0 and cookbook b" in said and "wants lib ~> 2.0, but there is" in said


def test_a_missing_dependency_without_sites_is_named(machine, repository):
    made = repository()
    made.commit(cookbook("app", depends={"mysql": "~> 8.0"}))
    with pytest.raises(SwagentError) as caught:
        machine.resolve([{"name": "app", "git": made.url}])
    assert f"cookbook app 1.0.0 (git {made.url}) wants mysql ~> 8.0, which is in none of the sources" in str(
        caught.value
    )
    assert "`sites` is empty" in str(caught.value)


def test_a_circle_of_dependencies_is_named(machine, tmp_path):
    write(tmp_path / "all/a", cookbook("a", depends={"b": ""}))
    write(tmp_path / "all/b", cookbook("b", depends={"a": ""}))
    with pytest.raises(SwagentError, match="depend on one another in a circle: a -> b -> a"):
        machine.resolve([{"path": str(tmp_path / "all"), "all": True}])


def test_a_site_that_is_down_is_said_in_one_line(machine):
    with pytest.raises(SwagentError, match="(?i)connection refused") as caught:
        machine.resolve([{"name": "ntp"}], ["http://127.0.0.1:1/api/v1"])
    assert "\n" not in str(caught.value) and "http://127.0.0.1:1/api/v1" in str(caught.value)


def test_a_moved_branch_that_no_longer_resolves_leaves_the_last_release_in_use(machine, site, repository):
    site.add("ntp")
    made = repository()
    made.commit(cookbook("app", "1.0.0", depends={"ntp": ""}))
    wanted = [{"name": "app", "git": made.url}]
    first = machine.resolve(wanted, [site.url])
    made.commit(cookbook("app", "2.0.0", depends={"ntp": "~> 5.0"}))
    again = machine.resolve(wanted, [site.url])
    assert again.path == first.path and again.digest == first.digest
    assert "wants ntp ~> 5.0, but there is 1.0.0" in again.warnings[0]
    assert machine.left == []


def test_a_damaged_download_in_the_cache_of_a_killed_run_is_thrown_away(machine, site):
    site.add("ntp", "1.0.0")
    machine.resolve([{"name": "ntp", "version": "1.0.0"}], [site.url])
    for package in machine.settings.cookbooks.rglob("package.tar.gz"):
        package.write_bytes(package.read_bytes()[:40])
    for package in machine.settings.cookbooks.rglob("version-uri/*/package"):
        package.rename(package.with_name("lost"))
    (machine.settings.cookbooks / "librarian.unclean").write_text("as a killed one leaves it")
    assert machine.resolve([{"name": "ntp", "version": ">= 1.0"}], [site.url]).cookbooks["ntp"]["version"] == "1.0.0"


def test_a_moved_branch_with_the_same_metadata_keeps_the_lock_without_librarian(machine, site, repository):
    site.add("ntp", "1.0.0")
    made = repository()
    made.commit({**cookbook("app", "1.0.0", depends={"ntp": ""}), ".kitchen.yml": "left out", "files/.kept": "inside"})
    wanted = [{"name": "app", "git": made.url}]
    first = machine.resolve(wanted, [site.url])
    site.add("ntp", "2.0.0")
    commit = made.commit({"recipes/default.rb": "log 'new'\n"})
    started = machine.started(wanted, [site.url])
    assert not [words for words in started if any("librarian" in word for word in words)]
    second = machine.resolve(wanted, [site.url])
    assert second.cookbooks["app"]["revision"] == commit
    assert second.cookbooks["ntp"] == first.cookbooks["ntp"] and second.lock == first.lock
    assert (second.path / "app/recipes/default.rb").read_text() == "log 'new'\n"
    assert sorted(os.listdir(second.path / "app")) == sorted(os.listdir(first.path / "app"))
    assert (second.path / "app/files/.kept").exists() and (second.path / "ntp/metadata.rb").exists()
    # New metadata is a new question.
    made.commit(cookbook("app", "1.0.1", depends={"ntp": ""}))
    assert machine.resolve(wanted, [site.url]).cookbooks["ntp"]["version"] == "2.0.0"


def test_metadata_that_reads_other_files_is_always_asked_again(machine, repository):
    made = repository()
    made.commit({"metadata.rb": "name 'app'\nversion IO.read(File.join(__dir__, 'VERSION'))\n", "VERSION": "1.0.0"})
    wanted = [{"name": "app", "git": made.url}]
    assert machine.resolve(wanted).cookbooks["app"]["version"] == "1.0.0"
    made.commit({"VERSION": "1.1.0"})
    assert machine.resolve(wanted).cookbooks["app"]["version"] == "1.1.0"
