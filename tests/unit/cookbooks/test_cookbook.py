"""Reading metadata without running it, and naming what cannot be met."""

from __future__ import annotations

import pytest

from swagent.cookbooks.cookbook import Cookbook, find, mend, missing, parse_json, parse_ruby, read, satisfied
from swagent.errors import SwagentError


def test_metadata_rb_in_the_ways_people_write_it():
    text = """
# depends 'not_this'
name             'app'
version "1.2.3"
depends 'plain'
depends "double", '~> 2.0'
depends('parenthesis', '>= 1.0', '< 3.0')
  depends 'indented' # because of 'this'
%w{ one two }.each do |cookbook|
  depends cookbook
end
%w(x y).each { |os| supports os }
recommends 'other'
"""
    assert parse_ruby(text) == Cookbook(
        "app",
        "1.2.3",
        {
            "plain": "",
            "double": "~> 2.0",
            "parenthesis": ">= 1.0, < 3.0",
            "indented": "",
            "one": "",
            "two": "",
        },
    )


def test_what_ruby_computes_is_not_guessed():
    found = parse_ruby("name File.basename(__dir__)\nversion IO.read('VERSION')\ndepends \"a#{1}\"\n")
    assert found == Cookbook("", "0.0.0", {})


def test_metadata_json_with_and_without_dependencies():
    assert parse_json(
        b'{"name": "a", "version": "2.0.0", "dependencies": {"b": ">= 0.0.0", "c": "~> 1.0"}}'
    ) == Cookbook("a", "2.0.0", {"b": "", "c": "~> 1.0"})
    assert parse_json(b'{"name": "a"}') == Cookbook("a")
    for content in (b"[]", b"{", b'{"dependencies": ["b"]}'):
        with pytest.raises((ValueError, TypeError)):
            parse_json(content)


@pytest.mark.parametrize(
    "version, constraint, met",
    [
        ("1.2.3", "", True),
        ("1.2.3", "1.2.3", True),
        ("1.2.3", "= 1.2", False),
        ("1.2.0", "= 1.2", True),
        ("1.9.0", "~> 1.2", True),
        ("2.0.0", "~> 1.2", False),
        ("1.2.9", "~> 1.2.3", True),
        ("1.3.0", "~> 1.2.3", False),
        ("1.2.2", "~> 1.2.3", False),
        ("10.0.0", "~> 1", False),
        ("1.5.0", "~> 1", True),
        ("1.10.0", "> 1.9", True),
        ("1.5.0", ">= 1.0, < 1.5", False),
        ("1.4.9", ">= 1.0, < 1.5, != 1.4.8", True),
        ("1.0.0", "odd", True),
    ],
)
def test_constraints_are_met_as_rubygems_counts(version, constraint, met):
    assert satisfied(version, constraint) is met


def test_what_is_missing_names_who_wants_it():
    known = [Cookbook("app", "1.0.0", {"db": "~> 2.0", "gone": ""}, "git X"), Cookbook("db", "1.5.0", {}, "git Y")]
    assert missing(known, [("the deployment", "ntp", "~> 1.0")]) == (
        "the deployment wants ntp ~> 1.0, which is in none of the sources",
        "cookbook app 1.0.0 (git X) wants gone, which is in none of the sources",
        "cookbook app 1.0.0 (git X) wants db ~> 2.0, but there is 1.5.0 (git Y)",
    )


def test_nothing_is_missing_where_one_of_several_versions_fits():
    known = [Cookbook("a", "1.0.0", {"b": "~> 2.0"}), Cookbook("b", "1.0.0"), Cookbook("b", "2.3.0")]
    assert missing(known, []) == ()


def test_cookbooks_are_found_without_those_inside_others(tmp_path):
    for folder in ("a", "group/b", "a/test/fixtures/c", ".hidden/d"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "metadata.rb").write_text("")
    assert [str(path.relative_to(tmp_path)) for path in find(tmp_path)] == ["a", "group/b"]


def test_metadata_that_is_a_link_or_no_json_is_not_read(tmp_path):
    (tmp_path / "metadata.json").symlink_to("/etc/passwd")
    assert read(tmp_path, "here") is None
    (tmp_path / "metadata.json").unlink()
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(SwagentError, match="here: metadata.json is no cookbook's metadata"):
        read(tmp_path, "here")


def test_mending_adds_only_what_is_missing(tmp_path):
    (tmp_path / "metadata.json").write_text('{"name": "a", "license": "MIT"}')
    mend(tmp_path, "a")
    assert parse_json((tmp_path / "metadata.json").read_bytes()) == Cookbook("a")
    assert (
        "MIT" in (tmp_path / "metadata.json").read_text()
        and '"dependencies": {}' in (tmp_path / "metadata.json").read_text()
    )
    (tmp_path / "metadata.json").unlink()
    (tmp_path / "metadata.rb").write_text("# coding: utf-8\nname 'a'\n")
    mend(tmp_path, "a")
    assert (tmp_path / "metadata.rb").read_text() == "# coding: utf-8\nname 'a'\n"
