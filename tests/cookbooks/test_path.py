"""Cookbooks from folders of this machine, through real librarian-chef."""

from __future__ import annotations

import os

import pytest

from swagent.errors import SwagentError
from tests.testbed.gitserver import cookbook, write


def test_a_folder_is_copied_and_resolved(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app", "1.5.0"))
    release = machine.resolve([{"name": "app", "path": str(folder)}])
    assert release.cookbooks["app"]["version"] == "1.5.0"
    (folder / "recipes/default.rb").write_text("raise")
    assert "raise" not in (release.path / "app/recipes/default.rb").read_text()


def test_unchanged_starts_no_program_and_a_changed_file_gives_a_new_release(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    wanted = [{"name": "app", "path": str(folder)}]
    first = machine.resolve(wanted)
    assert machine.started(wanted) == []
    assert machine.resolve(wanted) == first
    (folder / "recipes/default.rb").write_text("log 'changed'\n")
    second = machine.resolve(wanted)
    assert second.digest != first.digest
    assert (second.path / "app/recipes/default.rb").read_text() == "log 'changed'\n"


def test_a_new_mode_alone_gives_a_new_release(machine, tmp_path):
    folder = write(tmp_path / "app", {**cookbook("app"), "files/run.sh": "#!/bin/sh\n"})
    wanted = [{"name": "app", "path": str(folder)}]
    first = machine.resolve(wanted)
    (folder / "files/run.sh").chmod(0o755)
    second = machine.resolve(wanted)
    assert second.digest != first.digest
    assert os.access(second.path / "app/files/run.sh", os.X_OK)


def test_all_below_a_folder_and_dependencies_among_them(machine, tmp_path):
    folder = tmp_path / "cookbooks"
    write(folder / "web", cookbook("web", depends={"base": ">= 1.0"}))
    write(folder / "base", cookbook("base", "1.1.0"))
    release = machine.resolve([{"path": str(folder), "all": True}])
    assert sorted(release.cookbooks) == ["base", "web"]


def test_a_hundred_and_thirty_cookbooks_of_one_folder(machine, tmp_path):
    folder = tmp_path / "cookbooks"
    for number in range(130):
        depends = {f"c{number - 1}": ""} if number else {}
        write(folder / f"c{number}", cookbook(f"c{number}", depends=depends))
    assert len(machine.resolve([{"path": str(folder), "all": True}]).cookbooks) == 130


def test_a_folder_that_is_not_there_is_named(machine, tmp_path):
    with pytest.raises(SwagentError, match="there is no such folder; create it"):
        machine.resolve([{"name": "app", "path": str(tmp_path / "nowhere")}])


def test_a_folder_that_vanished_leaves_the_last_release_in_use(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    wanted = [{"name": "app", "path": str(folder)}]
    first = machine.resolve(wanted)
    folder.rename(tmp_path / "gone")
    again = machine.resolve(wanted)
    assert again.path == first.path
    assert "there is no such folder" in again.warnings[0] and "stay in use" in again.warnings[0]


def test_a_pipe_and_a_link_to_a_secret_are_refused(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    os.mkfifo(folder / "pipe")
    with pytest.raises(SwagentError, match="pipe is neither a file nor a folder"):
        machine.resolve([{"name": "app", "path": str(folder)}])
    (folder / "pipe").unlink()
    (folder / "secret").symlink_to("/etc/shadow")
    with pytest.raises(SwagentError, match="secret is a link out of the tree"):
        machine.resolve([{"name": "app", "path": str(folder)}])


def test_a_release_is_for_its_owner_only(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    machine.resolve([{"name": "app", "path": str(folder)}])
    for path in machine.settings.cookbooks.rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o077 == 0, path


def test_metadata_that_is_not_ascii_and_ruby_in_it_work(machine, tmp_path):
    text = "name 'app'\nmaintainer 'Žofie Müller'\nversion IO.read(File.join(__dir__, 'VERSION')).strip\n"
    text += "%w(base extra).each do |other|\n  depends other\nend\n"
    write(tmp_path / "all/app", {"metadata.rb": text, "VERSION": "4.5.6\n", "recipes/default.rb": ""})
    write(tmp_path / "all/base", cookbook("base"))
    write(tmp_path / "all/extra", cookbook("extra"))
    release = machine.resolve([{"path": str(tmp_path / "all"), "all": True}])
    assert release.cookbooks["app"]["version"] == "4.5.6"
