"""What all kinds of facts share: selection by name or glob, and what tells that a file moved."""

from __future__ import annotations

import os

from swagent.facts import fingerprint, read_text, select


def test_names_and_globs_select():
    values = {"B": 4, "a": 1, "ab": 2, "c[1]": 3}
    assert select(values, ("a*",)) == {"a": 1, "ab": 2}
    assert select(values, ("?", "ab", "nosuch")) == {"B": 4, "a": 1, "ab": 2}
    assert select(values, ("b",)) == {} and select(values, ()) == {}
    assert select(values, ("[!a]*",)) == {"B": 4, "c[1]": 3}


def test_a_bad_glob_is_an_ordinary_name():
    assert select({"a[": 1, "b": 2}, ("a[", "(", "b)|(.*")) == {"a[": 1}


def test_a_fingerprint_moves_with_content_names_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    assert fingerprint(path) is None and read_text(path) == ""
    path.write_text("one")
    one = fingerprint(path)
    assert fingerprint(path) == one and read_text(path) == "one"
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(path) != one
