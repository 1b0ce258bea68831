"""File facts: the digest of a content, and nothing that could hold up the agent or change by itself."""

from __future__ import annotations

import hashlib
import os

from swagent.facts import files
from swagent.facts.files import Files


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_names_and_globs_give_the_digests_of_contents(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    for name in ("b.conf", "a.conf", "other"):
        (etc / name).write_text(name)
    (etc / "folder.conf").mkdir()
    found = Files(tmp_path).look(("/etc/*.conf", "/etc/other", "/etc/missing", "/etc/none*"))
    assert found.values == {
        "/etc/a.conf": sha256("a.conf"),
        "/etc/b.conf": sha256("b.conf"),
        "/etc/missing": "absent",
        "/etc/other": sha256("other"),
    }
    assert list(found.values) == sorted(found.values) and not found.problems


def test_a_changed_content_is_seen_also_with_its_old_mtime_and_size(tmp_path):
    path = tmp_path / "key"
    path.write_text("one")
    known = Files(tmp_path)
    known.look(("/key",))
    before = path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.look(("/key",)).values == {"/key": sha256("two")}


def test_a_removed_file_is_absent_and_a_link_to_nothing_is_named(tmp_path):
    path = tmp_path / "key"
    path.write_text("one")
    known = Files(tmp_path)
    known.look(("/key",))
    path.unlink()
    assert known.look(("/key",)).values == {"/key": "absent"}
    path.symlink_to("nowhere")
    found = known.look(("/key",))
    assert found.values == {} and "/key" in found.problems[0]


def test_folders_pipes_and_relative_names_are_named_and_not_published(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = Files(tmp_path).look(("/folder", "/pipe", "etc/hosts"))
    assert found.values == {}
    assert [word in problem for word, problem in zip(("etc/hosts", "/folder", "/pipe"), sorted(found.problems))]
    assert len(found.problems) == 3 and all("swagent.facts.files" in problem for problem in found.problems)


def test_no_descriptor_is_left_open(tmp_path):
    (tmp_path / "folder").mkdir()
    known = Files(tmp_path)
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        known.look(("/folder",))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_changes_by_itself_is_refused():
    found = Files().look(("/proc/uptime", "/sys/kernel/uevent_seqnum", "/dev/zero"))
    assert found.values == {} and len(found.problems) == 3


def test_a_file_too_large_is_refused_by_name(tmp_path):
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(files.LARGEST + 1)
    found = Files(tmp_path).look(("/large",))
    assert found.values == {} and "/large" in found.problems[0] and "16 MiB" in found.problems[0]


def test_a_glob_over_very_many_files_is_cut_and_said(tmp_path):
    for number in range(files.MOST + 5):
        (tmp_path / f"f{number:03}").touch()
    found = Files(tmp_path).look(("/f*",))
    assert len(found.values) == files.MOST and "105 files" in found.problems[0]
