"""Rendering a Cheffile, with Ruby itself as the judge of the quoting, and reading a lock."""

from __future__ import annotations

import subprocess

import pytest

from swagent.cookbooks.cheffile import Locked, Wanted, parse_lock, quoted, render

LOCK = """SITE
  remote: http://127.0.0.1:8000/api/v1
  specs:
    ntp (1.10.0)
      tz (>= 0.1)
    tz (0.2.0)

GIT
  remote: file:///srv/app.git
  ref: main
  sha: 48396170977bb81a77e563ab263b59be6a298d88
  specs:
    app (2.0.0)

PATH
  remote: ../fetched/base
  specs:
    base (1.0.0)
      ntp (>= 0.0.0)

DEPENDENCIES
  base (>= 0)
  ntp (~> 1.0)

"""


def test_fetched_cookbooks_are_all_named_and_one_site_is_the_default():
    text = render(
        {"web": "../fetched/web", "db": "../fetched/db"},
        ["https://a.example/api/v1", "https://b.example/api/v1"],
        [Wanted("ntp", "~> 3.0"), Wanted("apt"), Wanted("far", "", "https://b.example/api/v1")],
    )
    assert text.splitlines()[1:] == [
        "site 'https://a.example/api/v1'",
        "cookbook 'db', path: '../fetched/db'",
        "cookbook 'web', path: '../fetched/web'",
        "cookbook 'apt'",
        "cookbook 'far', site: 'https://b.example/api/v1'",
        "cookbook 'ntp', '~> 3.0'",
    ]


def test_ruby_reads_a_quoted_text_as_it_was():
    texts = ["plain", "it's", "back\\slash", "\\'", "#{system('x')}", '"double"', "#$0", "%q(x)", "ž"]
    program = "\n".join(f"puts {quoted(text)}" for text in texts)
    ended = subprocess.run(["ruby", "-Eutf-8:utf-8", "-"], input=program.encode(), capture_output=True, timeout=60)
    assert ended.stdout.decode().splitlines() == texts


@pytest.mark.parametrize("text", ["", "two\nlines", "nul\0", "\x1b[31m"])
def test_what_is_never_in_a_name_is_not_quoted(text):
    with pytest.raises(ValueError):
        quoted(text)


def test_a_lock_gives_each_cookbook_with_its_source():
    site = "http://127.0.0.1:8000/api/v1"
    assert parse_lock(LOCK) == (
        Locked("ntp", "1.10.0", "SITE", site),
        Locked("tz", "0.2.0", "SITE", site),
        Locked("app", "2.0.0", "GIT", "file:///srv/app.git", "48396170977bb81a77e563ab263b59be6a298d88"),
        Locked("base", "1.0.0", "PATH", "../fetched/base"),
    )
    assert parse_lock("") == ()
