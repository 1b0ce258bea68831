"""Releases as values: kept whole, shared, pruned; deadlines and kills leave the last good one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from swagent import process
from swagent.cookbooks import release as releases
from swagent.errors import SwagentError
from swagent.settings import Settings
from tests.cookbooks.conftest import Machine
from tests.testbed.gitserver import cookbook, write
from tests.wait import running, until

REAL = Settings().chef_home / "bin" / "librarian-chef"

# Resolves one cookbook in a folder: ROOT CHEF-HOME FOLDER; prints the release's digest.
PROGRAM = """
import sys, time
from pathlib import Path
from swagent.cookbooks.resolve import resolve
from swagent.cookbooks.specification import parse
from swagent.settings import Settings
settings = Settings(root=Path(sys.argv[1]), chef_home=Path(sys.argv[2]))
wanted = parse({"cookbooks": [{"name": "app", "path": sys.argv[3]}]}, {}, settings)
print(resolve(wanted, settings, time.monotonic() + 100, f"test.program.{sys.argv[1]}").digest)
"""


def slow_librarian(tmp_path, seconds: float) -> Path:
    """A chef_home whose librarian-chef takes its time and starts a child in another session, then does its work."""
    home = tmp_path / "slow-chef"
    program = home / "bin" / "librarian-chef"
    program.parent.mkdir(parents=True)
    program.write_text(
        f"#!/bin/sh\necho $$ >> {tmp_path}/started\nsetsid sleep {seconds} & echo $! >> {tmp_path}/started\n"
        f'sleep {seconds}\nexec {REAL} "$@"\n'
    )
    program.chmod(0o755)
    return home


def test_an_empty_specification_is_an_empty_folder(machine):
    release = machine.resolve([])
    assert release.cookbooks == {} and os.listdir(release.path) == []


def test_deadline_over_ends_everything_that_was_started(tmp_path):
    machine = Machine(tmp_path / "root", chef_home=slow_librarian(tmp_path, 120))
    folder = write(tmp_path / "app", cookbook("app"))
    started = time.monotonic()
    with pytest.raises(SwagentError, match="no answer within"):
        machine.resolve([{"name": "app", "path": str(folder)}], seconds=2)
    assert time.monotonic() - started < 15
    pids = [int(line) for line in (tmp_path / "started").read_text().split()]
    assert len(pids) == 2
    until(lambda: not any(map(running, pids)), 10, "nothing is left running")
    assert machine.left == []


def test_a_killed_resolution_leaves_the_last_release_and_the_next_one_works(tmp_path):
    machine = Machine(tmp_path / "root")
    folder = write(tmp_path / "app", cookbook("app", "1.0.0"))
    wanted = [{"name": "app", "path": str(folder)}]
    first = machine.resolve(wanted)
    write(folder, cookbook("app", "2.0.0"))
    slow = slow_librarian(tmp_path, 60)
    child = subprocess.Popen(
        ["/usr/bin/python3", "-c", PROGRAM, str(tmp_path / "root"), str(slow), str(folder)],
        cwd=Path(__file__).parent.parent.parent,
        start_new_session=True,
    )
    until(lambda: (tmp_path / "started").exists(), 30, "librarian-chef is at work")
    os.kill(child.pid, signal.SIGKILL)
    child.wait(20)
    assert (first.path / "app/metadata.rb").read_text() == "name 'app'\nversion '1.0.0'\n"
    second = machine.resolve(wanted)
    assert second.cookbooks["app"]["version"] == "2.0.0" and second.warnings == ()
    assert machine.left == []
    # What the slow librarian-chef had started: no agent is left to sweep here.
    process.sweep(f"test.program.{tmp_path / 'root'}")


def test_three_processes_at_once_make_one_release(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    command = ["/usr/bin/python3", "-c", PROGRAM, str(machine.settings.root), str(REAL.parent.parent), str(folder)]
    children = [
        subprocess.Popen(command, cwd=Path(__file__).parent.parent.parent, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = {child.communicate(timeout=100)[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    (digest,) = said
    assert os.listdir(machine.settings.cookbooks / "releases") == [digest]


def test_different_specifications_do_not_disturb_one_another(machine, tmp_path):
    one = write(tmp_path / "one", cookbook("app", "1.0.0"))
    two = write(tmp_path / "two", cookbook("app", "2.0.0"))
    first = machine.resolve([{"name": "app", "path": str(one)}])
    second = machine.resolve([{"name": "app", "path": str(two)}])
    assert first.path != second.path
    assert machine.resolve([{"name": "app", "path": str(one)}]) == first


def test_a_damaged_record_is_made_anew(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    wanted = [{"name": "app", "path": str(folder)}]
    first = machine.resolve(wanted)
    (first.path.parent / "release.json").write_text('{"cookbooks": ')
    again = machine.resolve(wanted)
    assert again.digest == first.digest and again.cookbooks == first.cookbooks
    assert (again.path / "app/metadata.rb").exists()


def test_old_releases_are_removed_but_not_those_used_today(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    wanted = [{"name": "app", "path": str(folder)}]
    made = []
    for number in range(3):
        write(folder, cookbook("app", f"1.0.{number}"))
        made.append(machine.resolve(wanted))
    releases.prune(machine.settings, keep=1)
    assert all(each.path.exists() for each in made)
    for each in made[:2]:
        os.utime(each.path.parent / "release.json", (1, 1))
    releases.prune(machine.settings, keep=1)
    assert [each.path.exists() for each in made] == [False, False, True]
    assert machine.resolve(wanted) == made[2]


def test_a_failure_is_remembered_until_it_is_over(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    wanted = [{"name": "app", "path": str(folder)}]
    machine.resolve(wanted)
    folder.rename(tmp_path / "gone")
    machine.resolve(wanted)
    (record,) = (machine.settings.cookbooks / "specifications").iterdir()
    assert "there is no such folder" in releases.standing(machine.settings, record.stem).error
    (tmp_path / "gone").rename(folder)
    assert machine.resolve(wanted).warnings == ()
    assert releases.standing(machine.settings, record.stem).error == ""


def test_a_disk_without_room_leaves_the_last_release_in_use(machine, tmp_path):
    folder = write(tmp_path / "app", cookbook("app"))
    wanted = [{"name": "app", "path": str(folder)}]
    first = machine.resolve(wanted)
    write(folder, {"files/large": "x" * (3 << 20)})
    small = tmp_path / "root/var/lib/swagent/cookbooks/building"
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)], check=True)
    try:
        again = machine.resolve(wanted)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert again.path == first.path
    assert "No space left" in again.warnings[0] and "stay in use" in again.warnings[0]


def test_no_librarian_is_an_error_that_says_what_to_type(tmp_path):
    machine = Machine(tmp_path / "root", chef_home=tmp_path / "nowhere")
    folder = write(tmp_path / "app", cookbook("app"))
    with pytest.raises(SwagentError, match="no librarian-chef at .*swagent bootstrap"):
        machine.resolve([{"name": "app", "path": str(folder)}])


def test_a_cheffile_of_the_users_own_is_resolved_where_settings_allow_it(tmp_path):
    machine = Machine(tmp_path / "root", allow_cheffile=True)
    folder = write(tmp_path / "app", cookbook("app", "1.2.0"))
    release = machine.resolve_options({"cheffile": f"cookbook 'app', :path => '{folder}'\n"})
    assert release.cookbooks["app"] == {"source": f"path {folder}", "revision": "", "version": "1.2.0"}
    with pytest.raises(SwagentError, match="Cheffile: .*correct `cheffile`"):
        machine.resolve_options({"cheffile": "cookbook 'nowhere', :path => '/nowhere'\n"})


def test_a_cheffile_in_a_parent_folder_is_not_read(tmp_path):
    machine = Machine(tmp_path / "root")
    machine.settings.root.mkdir(parents=True)
    (tmp_path / "Cheffile").write_text("raise 'read'\n")
    (machine.settings.root / "Cheffile").write_text("raise 'read'\n")
    folder = write(tmp_path / "app", cookbook("app"))
    assert machine.resolve([{"name": "app", "path": str(folder)}]).cookbooks["app"]["version"] == "1.0.0"
