"""Cookbooks from archives on a real web server with TLS, and from files."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile

import pytest

from swagent.cookbooks.tarball import MOST_BYTES, MOST_ENTRIES
from swagent.errors import SwagentError
from tests.cookbooks.test_https import resolve
from tests.testbed.gitserver import cookbook, web, write


@pytest.fixture
def served(tmp_path):
    (tmp_path / "files").mkdir()
    with web(tmp_path / "files", tmp_path / "web", "deploy:secret-word") as running:
        yield running


def packed(folder, name, tree, top="anything-1.0"):
    write(folder / f"{name}.tree" / top, tree)
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / f"{name}.tree" / top, arcname=top)
    return path


def test_an_archive_over_https_with_a_top_folder_of_any_name(machine, served, tmp_path):
    path = packed(tmp_path / "files", "app", cookbook("app", "3.2.1"))
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    found, _ = resolve(
        machine, {"name": "app", "tarball": f"{served.url}/app.tar.gz", "sha256": sha}, served.certificate
    )
    assert found["cookbooks"]["app"] == {
        "source": f"tarball {served.url}/app.tar.gz",
        "revision": sha,
        "version": "3.2.1",
    }
    # With its checksum it cannot have changed: nobody is asked again.
    before = len(served.requests)
    resolve(machine, {"name": "app", "tarball": f"{served.url}/app.tar.gz", "sha256": sha}, served.certificate)
    assert len(served.requests) == before == 1


def test_an_unchanged_archive_is_not_sent_again_and_a_new_one_is_taken(machine, served, tmp_path):
    path = packed(tmp_path / "files", "app", cookbook("app", "1.0.0"))
    entry = {"name": "app", "tarball": f"{served.url}/app.tar.gz"}
    resolve(machine, entry, served.certificate)
    found, _ = resolve(machine, entry, served.certificate)
    assert found["cookbooks"]["app"]["version"] == "1.0.0"
    assert served.log.read_text().count("304") == 1
    path.unlink()
    packed(tmp_path / "files", "app", cookbook("app", "2.0.0"))
    stamp = path.stat().st_mtime + 5
    os.utime(path, (stamp, stamp))
    found, _ = resolve(machine, entry, served.certificate)
    assert found["cookbooks"]["app"]["version"] == "2.0.0"
    assert len(list((machine.settings.cookbooks / "archives").glob("[0-9a-f]" * 64))) == 2


def test_one_of_many_and_all_of_an_archive(machine, tmp_path):
    tree = {**cookbook("web", under="cookbooks/web", depends={"db": ""}), **cookbook("db", under="cookbooks/db")}
    path = packed(tmp_path / "files", "many", tree)
    assert sorted(machine.resolve([{"tarball": str(path), "all": True}]).cookbooks) == ["db", "web"]
    one = machine.resolve([{"tarball": f"file://{path}", "path": "cookbooks/db"}])
    assert sorted(one.cookbooks) == ["db"]
    with pytest.raises(SwagentError, match="there is no such folder in the archive"):
        machine.resolve([{"tarball": str(path), "path": "nowhere"}])


def test_a_zip_without_a_top_folder(machine, tmp_path):
    write(tmp_path / "app", cookbook("app"))
    shutil.make_archive(str(tmp_path / "app-1.0"), "zip", tmp_path / "app")
    assert sorted(machine.resolve([{"tarball": str(tmp_path / "app-1.0.zip")}]).cookbooks) == ["app"]


def test_an_archive_that_is_gone_leaves_the_last_release_in_use(machine, served, tmp_path):
    path = packed(tmp_path / "files", "app", cookbook("app"))
    entry = {"name": "app", "tarball": f"{served.url}/app.tar.gz"}
    first, _ = resolve(machine, entry, served.certificate)
    path.unlink()
    again, _ = resolve(machine, entry, served.certificate)
    assert again["cookbooks"] == first["cookbooks"]
    assert "404" in again["warnings"][0] and "stay in use" in again["warnings"][0]


def test_nobody_listening_is_tried_again_and_then_said(machine):
    with pytest.raises(SwagentError, match="onnection refused; tried 3 times"):
        machine.resolve([{"name": "app", "tarball": "http://127.0.0.1:1/app.tar.gz"}])


def test_an_untrusted_certificate_is_said(machine, served):
    found, _ = resolve(machine, {"name": "app", "tarball": f"{served.url}/app.tar.gz"})
    assert "CERTIFICATE_VERIFY_FAILED" in found["error"]


def test_a_link_out_of_an_archive_is_refused(machine, tmp_path):
    write(tmp_path / "app", cookbook("app"))
    (tmp_path / "app/stolen").symlink_to("/etc/shadow")
    with tarfile.open(tmp_path / "app.tar", "w") as archive:
        archive.add(tmp_path / "app", arcname="app")
    with pytest.raises(SwagentError, match="stolen is a link out of the tree"):
        machine.resolve([{"tarball": str(tmp_path / "app.tar")}])
    assert machine.left == []


def test_a_bomb_is_stopped_at_a_bound_and_leaves_nothing(machine, tmp_path):
    path = tmp_path / "bomb.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        made = tarfile.TarInfo("zeros")
        made.size = MOST_BYTES + 1
        archive.addfile(made, Zeros())
    with pytest.raises(SwagentError, match="it unpacks to more than 256 MiB"):
        machine.resolve([{"tarball": str(path)}])
    assert machine.left == []


class Zeros(io.RawIOBase):
    def read(self, size=-1):
        return b"\0" * size


def test_an_archive_of_too_many_entries_is_stopped(machine, tmp_path):
    header = tarfile.TarInfo("folder")
    header.type = tarfile.DIRTYPE
    with gzip.open(tmp_path / "many.tar.gz", "wb", compresslevel=1) as stream:
        for _ in range(100):
            stream.write(header.tobuf() * (MOST_ENTRIES // 99))
    with pytest.raises(SwagentError, match="more than 50000 entries"):
        machine.resolve([{"tarball": str(tmp_path / "many.tar.gz")}])
    assert machine.left == []
