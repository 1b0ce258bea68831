"""Cookbooks from real git repositories, through real librarian-chef."""

from __future__ import annotations

import os

import pytest

from swagent.errors import SwagentError
from tests.testbed.gitserver import cookbook, git_daemon


def test_no_ref_takes_the_remote_head_whatever_its_name(machine, repository):
    made = repository(branch="trunk")
    commit = made.commit(cookbook("app", "1.2.3"))
    release = machine.resolve([{"name": "app", "git": made.url}])
    assert release.cookbooks == {"app": {"source": f"git {made.url}", "revision": commit, "version": "1.2.3"}}
    assert (release.path / "app/recipes/default.rb").read_text() == "log 'app 1.2.3'\n"
    assert release.warnings == ()
    assert machine.left == []


@pytest.mark.parametrize("key", ["ref", "branch", "tag", "annotated", "commit", "short"])
def test_a_branch_a_tag_and_a_commit_give_that_version(machine, repository, key):
    made = repository()
    wanted = made.commit(cookbook("app", "1.0.0"))
    made.tag("v1", annotated=key == "annotated")
    made.git("push", "-q", "origin", "HEAD:refs/heads/stable")
    made.commit(cookbook("app", "2.0.0"))
    reference = {
        "ref": {"ref": "stable"},
        "branch": {"branch": "stable"},
        "tag": {"tag": "v1"},
        "annotated": {"ref": "v1"},
        "commit": {"commit": wanted},
        "short": {"ref": wanted[:9]},
    }[key]
    release = machine.resolve([{"name": "app", "git": made.url, **reference}])
    assert release.cookbooks["app"]["version"] == "1.0.0"
    assert release.cookbooks["app"]["revision"] == wanted


def test_git_daemon_serves_a_tag_and_a_path(machine, repository, tmp_path):
    made = repository()
    made.commit({**cookbook("web", under="cookbooks/web"), **cookbook("db", under="cookbooks/db")})
    made.tag("v1")
    with git_daemon(tmp_path / "git") as url:
        release = machine.resolve([{"name": "web", "git": f"{url}/app.git", "ref": "v1", "path": "cookbooks/web"}])
        assert sorted(release.cookbooks) == ["web"]
        assert sorted(os.listdir(release.path)) == ["web"]


def test_all_finds_every_cookbook_below_the_path_and_not_their_fixtures(machine, repository):
    made = repository()
    made.commit(
        {
            **cookbook("web", under="site/cookbooks/web", depends={"db": "~> 1.0"}),
            **cookbook("db", under="site/cookbooks/group/db", version="1.4.0"),
            **cookbook("fixture", under="site/cookbooks/web/test/fixtures/cookbooks/fixture"),
            **cookbook("elsewhere", under="other/elsewhere"),
        }
    )
    release = machine.resolve([{"git": made.url, "path": "site", "all": True}])
    assert {name: each["version"] for name, each in release.cookbooks.items()} == {"web": "1.0.0", "db": "1.4.0"}


def test_a_moved_branch_gives_a_new_release_and_keeps_the_old_one(machine, repository):
    made = repository()
    made.commit(cookbook("app", "1.0.0"))
    wanted = [{"name": "app", "git": made.url, "ref": "main"}]
    first = machine.resolve(wanted)
    made.commit(cookbook("app", "2.0.0"))
    second = machine.resolve(wanted)
    assert second.digest != first.digest
    assert "2.0.0" in (second.path / "app/metadata.rb").read_text()
    assert "1.0.0" in (first.path / "app/metadata.rb").read_text()


def test_a_branch_rewritten_by_force_is_followed(machine, repository):
    made = repository()
    made.commit(cookbook("app", "1.0.0"))
    made.commit(cookbook("app", "1.1.0"))
    wanted = [{"name": "app", "git": made.url, "ref": "main"}]
    machine.resolve(wanted)
    made.git("reset", "-q", "--hard", "HEAD~1")
    made.commit(cookbook("app", "3.0.0"), force=True)
    release = machine.resolve(wanted)
    assert release.cookbooks["app"]["version"] == "3.0.0"
    assert release.warnings == ()


def test_a_moved_tag_is_used_and_said(machine, repository):
    made = repository()
    before = made.commit(cookbook("app", "1.0.0"))
    made.tag("v1")
    wanted = [{"name": "app", "git": made.url, "tag": "v1"}]
    machine.resolve(wanted)
    after = made.commit(cookbook("app", "1.0.1"))
    made.tag("v1")
    release = machine.resolve(wanted)
    assert release.cookbooks["app"]["version"] == "1.0.1"
    (warning,) = release.warnings
    assert f"tag v1 was moved from {before[:12]} to {after[:12]}" in warning


def test_unchanged_is_one_ls_remote_per_repository_and_nothing_else(machine, repository):
    made = repository()
    made.commit({**cookbook("app", under="app"), **cookbook("same", under="same")})
    wanted = [{"git": made.url, "path": "app"}, {"git": made.url, "path": "same", "branch": "main"}]
    first = machine.resolve(wanted)
    before = _tree(machine)
    started = machine.started(wanted)
    assert len([words for words in started if "ls-remote" in words]) == 1
    assert not [words for words in started if "fetch" in words or "checkout-index" in words]
    assert not [words for words in started if "librarian-chef" in words[0]]
    assert machine.resolve(wanted) == first
    assert _tree(machine) == before


def test_a_full_commit_is_not_even_looked_up(machine, repository):
    made = repository()
    commit = made.commit(cookbook("app"))
    wanted = [{"name": "app", "git": made.url, "commit": commit}]
    first = machine.resolve(wanted)
    assert machine.started(wanted) == []
    made.path.rename(made.path.with_name("gone"))
    assert machine.resolve(wanted) == first


def test_unchanged_within_the_lookup_interval_needs_no_remote(machine, repository):
    made = repository()
    made.commit(cookbook("app"))
    wanted = [{"name": "app", "git": made.url}]
    first = machine.resolve(wanted, lookup_interval=1000)
    made.path.rename(made.path.with_name("gone"))
    again = machine.resolve(wanted, lookup_interval=1000)
    assert again == first


def test_source_down_uses_the_last_release_and_says_so(machine, repository):
    made = repository()
    made.commit(cookbook("app"))
    wanted = [{"name": "app", "git": made.url}]
    first = machine.resolve(wanted)
    made.path.rename(made.path.with_name("gone"))
    again = machine.resolve(wanted)
    assert (again.digest, again.path) == (first.digest, first.path)
    (warning,) = again.warnings
    assert "does not exist" in warning or "does not appear to be a git repository" in warning
    assert "stay in use" in warning


def test_source_down_without_a_release_is_an_error_with_gits_reason(machine, tmp_path):
    with pytest.raises(SwagentError, match="does not exist|does not appear to be a git repository") as caught:
        machine.resolve([{"name": "app", "git": f"file://{tmp_path}/nowhere.git"}])
    assert "\n" not in str(caught.value)


def test_a_port_where_nobody_listens_is_an_error_at_once(machine):
    with pytest.raises(SwagentError, match="(?i)connection refused|unable to connect"):
        machine.resolve([{"name": "app", "git": "git://127.0.0.1:1/app.git"}])


def test_an_unknown_ref_and_an_empty_repository_are_named(machine, repository):
    made = repository()
    with pytest.raises(SwagentError, match="the repository has no HEAD"):
        machine.resolve([{"name": "app", "git": made.url}])
    made.commit(cookbook("app"))
    with pytest.raises(SwagentError, match="has no branch, tag or commit nobranch"):
        machine.resolve([{"name": "app", "git": made.url, "ref": "nobranch"}])
    with pytest.raises(SwagentError, match="0123456789"):
        machine.resolve([{"name": "app", "git": made.url, "commit": "0123456789" * 4}])


def test_a_path_that_is_not_there_and_a_folder_without_metadata_are_named(machine, repository):
    made = repository()
    made.commit({**cookbook("app", under="cookbooks/app"), "README": "many"})
    with pytest.raises(SwagentError, match="there is no such folder at .*correct `path`"):
        machine.resolve([{"name": "app", "git": made.url, "path": "nowhere"}])
    with pytest.raises(SwagentError, match="neither metadata.json nor metadata.rb.*all: true"):
        machine.resolve([{"name": "app", "git": made.url}])


def test_a_folder_of_many_and_a_name_give_that_one_as_librarian_does(machine, repository):
    made = repository()
    made.commit({**cookbook("web", under="cookbooks/web"), **cookbook("db", under="cookbooks/db")})
    release = machine.resolve([{"name": "web", "git": made.url, "path": "cookbooks"}])
    assert sorted(release.cookbooks) == ["web"]


def test_two_cookbooks_of_one_name_are_named_with_both_places(machine, repository):
    made = repository()
    made.commit({**cookbook("web", under="a/web"), **cookbook("web", under="b/web")})
    with pytest.raises(SwagentError, match=r"cookbook web is in two places: .*folder a/web and .*folder b/web"):
        machine.resolve([{"git": made.url, "all": True}])


def test_a_name_that_is_not_the_metadatas_is_said(machine, repository):
    made = repository()
    made.commit(cookbook("app"))
    with pytest.raises(SwagentError, match="its metadata names it app, not web; correct `name`"):
        machine.resolve([{"name": "web", "git": made.url}])


def test_metadata_without_name_or_dependencies_is_mended(machine, repository):
    made = repository()
    made.commit(
        {
            "cookbooks/old/metadata.rb": "version '0.1.0'\n",
            "cookbooks/old/recipes/default.rb": "",
            "cookbooks/json/metadata.json": '{"name": "json", "version": "2.0.0"}',
            "cookbooks/json/recipes/default.rb": "",
        }
    )
    release = machine.resolve([{"git": made.url, "all": True}])
    assert {name: each["version"] for name, each in release.cookbooks.items()} == {"old": "0.1.0", "json": "2.0.0"}
    assert "name 'old'" in (release.path / "old/metadata.rb").read_text()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", "inner/up/.."])
def test_a_link_out_of_the_tree_is_refused(machine, repository, target):
    made = repository()
    made.commit({**cookbook("app"), "inner/file": ""})
    (made.work / "inner/up").symlink_to("..")
    (made.work / "stolen").symlink_to(target)
    made.commit_all()
    with pytest.raises(SwagentError, match="stolen is a link out of the tree"):
        machine.resolve([{"name": "app", "git": made.url}])
    assert machine.left == []


def test_a_link_inside_the_tree_is_kept(machine, repository):
    made = repository()
    made.commit({**cookbook("app"), "files/a": "text"})
    (made.work / "files/b").symlink_to("a")
    made.commit_all()
    release = machine.resolve([{"name": "app", "git": made.url}])
    assert os.readlink(release.path / "app/files/b") == "a"


def test_hooks_filters_and_settings_of_a_repository_run_nothing(machine, repository, tmp_path):
    made = repository()
    made.commit(
        {
            **cookbook("app"),
            ".gitattributes": "* filter=evil\nrecipes export-ignore\n",
            "hooks/post-checkout": "#!/bin/sh\ntouch /tmp/evil\n",
        }
    )
    marker = tmp_path / "ran"
    made.git("config", "filter.evil.smudge", f"touch {marker}; cat", folder=made.path)
    hook = made.path / "hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    release = machine.resolve([{"name": "app", "git": made.url}])
    assert (release.path / "app/recipes/default.rb").exists()
    assert not marker.exists()


def test_a_submodule_is_said_and_its_url_not_followed(machine, repository):
    inner, made = repository("inner"), repository()
    inner.commit({"file": "inside"})
    made.commit(cookbook("app"))
    made.git("submodule", "--quiet", "add", inner.url, "vendor")
    made.commit_all()
    release = machine.resolve([{"name": "app", "git": made.url}])
    (warning,) = release.warnings
    assert "submodules are not fetched yet" in warning and "vendor" in warning
    assert not (release.path / "app/vendor/file").exists()


def test_three_thousand_branches_do_not_hang(machine, repository):
    made = repository()
    commit = made.commit(cookbook("app"))
    lines = [f"{commit} refs/heads/topic/{'x' * 30}-{number}" for number in range(3000)]
    (made.path / "packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted \n" + "\n".join(sorted(lines)) + "\n"
    )
    release = machine.resolve([{"name": "app", "git": made.url, "ref": "main"}], seconds=30)
    assert release.cookbooks["app"]["revision"] == commit


def test_a_damaged_mirror_is_made_anew(machine, repository):
    made = repository()
    made.commit({**cookbook("app", under="app"), **cookbook("two", under="two")})
    machine.resolve([{"git": made.url, "path": "app"}])
    for pack in (machine.settings.cookbooks / "mirrors").glob("*/objects/pack/*.pack"):
        pack.chmod(0o600)
        content = pack.read_bytes()
        pack.write_bytes(content[:40] + b"\0" * (len(content) - 60) + content[-20:])
    release = machine.resolve([{"git": made.url, "path": "two"}])
    assert sorted(release.cookbooks) == ["two"]


def test_a_lock_that_a_killed_git_left_does_no_harm(machine, repository):
    made = repository()
    made.commit(cookbook("app", "1.0.0"))
    wanted = [{"name": "app", "git": made.url}]
    machine.resolve(wanted)
    (mirror,) = [path for path in (machine.settings.cookbooks / "mirrors").iterdir() if path.is_dir()]
    (mirror / "shallow.lock").write_text("")
    made.commit(cookbook("app", "2.0.0"))
    release = machine.resolve(wanted)
    assert release.warnings == () and release.cookbooks["app"]["version"] == "2.0.0"


def test_credentials_in_a_url_reach_no_message_and_no_file(machine):
    with pytest.raises(SwagentError) as caught:
        machine.resolve([{"name": "app", "git": "https://deployer:hunter2secret@127.0.0.1:1/app.git"}])
    assert "hunter2secret" not in str(caught.value) and "127.0.0.1:1/app.git" in str(caught.value)
    assert machine.left == []
    for path in machine.settings.root.rglob("*"):
        assert not path.is_file() or b"hunter2secret" not in path.read_bytes()


def _tree(machine):
    return {
        str(path): path.lstat().st_mtime_ns
        for path in machine.settings.cookbooks.rglob("*")
        if path.name != "release.json"  # touched by whoever uses it
    }
