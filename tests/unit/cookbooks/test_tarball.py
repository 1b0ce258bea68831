"""Unpacking archives whose bytes are not trusted: nothing outside the tree, bounded, said plainly."""

from __future__ import annotations

import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from swagent.cookbooks import tarball
from swagent.cookbooks.attempt import Attempt
from swagent.cookbooks.release import Revision
from swagent.cookbooks.specification import Source
from swagent.cookbooks.tarball import fetch, format_of, safe_name, unpack
from swagent.errors import SwagentError
from swagent.settings import Settings


def entry(name, content=b"", **fields):
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for key, value in fields.items():
        setattr(made, key, value)
    return made, content


def tar(path: Path, entries, mode="w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for made, content in entries:
            archive.addfile(made, io.BytesIO(content))
    return path


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_each_sort_of_tar_is_told_by_its_bytes(tmp_path, mode):
    path = tar(tmp_path / "named.zip", [entry("top/a", b"text", mode=0o755), entry("top/b", b"")], mode)
    unpack(path, tmp_path / "to", lambda: None)
    assert (tmp_path / "to/top/a").read_bytes() == b"text"
    assert [(tmp_path / "to/top" / name).stat().st_mode & 0o777 for name in "ab"] == [0o700, 0o600]


def test_a_zip_with_a_link_inside(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("top/real", "text")
        link = zipfile.ZipInfo("top/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "real")
    unpack(tmp_path / "a", tmp_path / "to", lambda: None)
    assert (tmp_path / "to/top/link").read_text() == "text"
    assert os.readlink(tmp_path / "to/top/link") == "real"


SYMLINK, HARDLINK = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "entries, words",
    [
        ([entry("../evil", b"x")], "leads out of the tree"),
        ([entry("/tmp/evil", b"x")], "leads out of the tree"),
        ([entry("a/../../evil", b"x")], "leads out of the tree"),
        ([entry("link", type=SYMLINK, linkname="/etc")], "is a link out of the tree"),
        ([entry("link", type=SYMLINK, linkname="../..")], "is a link out of the tree"),
        ([entry("up", type=SYMLINK, linkname=".."), entry("up/evil", b"x")], "twice|out of the tree|cannot unpack"),
        ([entry("a", type=SYMLINK, linkname="."), entry("a/b", type=SYMLINK, linkname="../../x")], "out of the tree"),
        ([entry("hard", type=HARDLINK, linkname="/etc/passwd")], "neither a file, a folder nor a symbolic link"),
        ([entry("device", type=tarfile.CHRTYPE)], "neither a file, a folder nor a symbolic link"),
        ([entry("pipe", type=tarfile.FIFOTYPE)], "neither a file, a folder nor a symbolic link"),
        ([entry("a", b"1"), entry("a", b"2")], "a is in it twice"),
        ([entry("a", b"1"), entry("a/b", b"2")], "cannot unpack"),
    ],
)
def test_a_hostile_tar_writes_nothing_outside_and_is_said(tmp_path, entries, words):
    path = tar(tmp_path / "evil.tar.gz", entries)
    before = [name for name in listed(tmp_path) if not name.startswith("root")]
    with pytest.raises(SwagentError, match=words):
        fetched(tmp_path, path)
    assert [name for name in listed(tmp_path) if not name.startswith(("root", "work"))] == before
    assert not os.path.exists("/tmp/evil")


def fetched(tmp_path: Path, path: Path) -> Path:
    attempt = Attempt(Settings(root=tmp_path / "root"), time.monotonic() + 60, "test")
    source = Source("tarball", f"file://{path}")
    folder = tmp_path / "work" / "0"
    folder.parent.mkdir(exist_ok=True)
    fetch(source, tarball.look([source], attempt)[source], folder, attempt)
    return folder


@pytest.mark.parametrize(
    "content", [b"", b"<html>not found</html>", b"\x1f\x8b\x08\x00garbage", b"PK\x03\x04garbage", b"BZhgarbage"]
)
def test_what_is_no_archive_is_said(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(SwagentError, match="cannot unpack it"):
        fetched(tmp_path, tmp_path / "a")


def test_a_truncated_archive_is_said(tmp_path):
    path = tar(tmp_path / "a.tar.gz", [entry("top/a", os.urandom(5000))])
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SwagentError, match="cannot unpack it"):
        fetched(tmp_path, path)


def test_a_wrong_checksum_names_both(tmp_path):
    path = tar(tmp_path / "a.tar.gz", [entry("top/a", b"x")])
    attempt = Attempt(Settings(root=tmp_path / "root"), time.monotonic() + 60, "test")
    source = Source("tarball", f"file://{path}", checksum="0" * 64)
    assert tarball.look([source], attempt)[source] == Revision("0" * 64, "checksum")
    with pytest.raises(SwagentError, match="its SHA-256 is [0-9a-f]{64}, not 0000"):
        fetch(source, Revision("0" * 64, "checksum"), tmp_path / "to", attempt)


def test_the_format_is_told_by_the_first_bytes():
    assert format_of(b"PK\x03\x04") == "zip"
    assert format_of(b"\0" * 257 + b"ustar") == "tar"
    assert format_of(b"nothing") == ""


@settings(max_examples=300, deadline=None)
@given(strategies.text("./a\0\\-", max_size=20) | strategies.text(max_size=20))
def test_a_safe_name_stays_in_its_tree(name):
    try:
        parts = safe_name(name)
    except ValueError:
        return
    joined = os.path.normpath(os.path.join("/tree", *parts))
    assert joined == "/tree" or joined.startswith("/tree/")
