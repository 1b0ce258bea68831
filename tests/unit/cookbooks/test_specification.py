"""Reading `cookbooks`, `sites` and `cheffile`: what is taken, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies

from swagent.cookbooks.specification import Credentials, Source, git_url, parse, without_credentials
from swagent.errors import DocumentError
from swagent.settings import Settings

SETTINGS = Settings(root=Path("/nowhere"))


def one(entry, inputs=None, sites=()):
    (source,) = parse({"cookbooks": [entry], "sites": list(sites)}, inputs or {}, SETTINGS).sources
    return source


@pytest.mark.parametrize(
    "entry, source",
    [
        (
            {"name": "app", "git": "https://h/app.git", "ref": "v1.2"},
            Source("git", "https://h/app.git", "app", reference="v1.2"),
        ),
        ({"git": "git@h:ops/c.git"}, Source("git", "git@h:ops/c.git")),
        ({"git": "/srv/c.git", "branch": "main"}, Source("git", "file:///srv/c.git", reference="refs/heads/main")),
        ({"git": "git://h/c", "tag": "v1"}, Source("git", "git://h/c", reference="refs/tags/v1")),
        ({"git": "ssh://git@h:22/c", "ref": "HEAD"}, Source("git", "ssh://git@h:22/c")),
        (
            {"git": "https://h/c", "path": "./cookbooks/", "all": True},
            Source("git", "https://h/c", folder="cookbooks", every=True),
        ),
        ({"git": "https://h/c", "ref": 1.5}, Source("git", "https://h/c", reference="1.5")),
        ({"tarball": "/srv/a.zip", "path": "x"}, Source("tarball", "file:///srv/a.zip", folder="x")),
        (
            {"name": "a", "tarball": "https://h/a.tgz?x=1", "sha256": "AB" * 32},
            Source("tarball", "https://h/a.tgz?x=1", "a", checksum="ab" * 32),
        ),
        ({"name": "local", "path": "/srv/cookbooks/local/"}, Source("path", "/srv/cookbooks/local", "local")),
    ],
)
def test_an_entry_becomes_a_source(entry, source):
    assert one(entry) == source


def test_a_site_is_what_names_no_other_source():
    source = one({"name": "ntp", "version": "~> 3.0"}, sites=["https://supermarket.example/api/v1/"])
    assert source == Source("site", "", "ntp", constraint="~> 3.0")


@pytest.mark.parametrize(
    "entry, words",
    [
        ("ntp", r"cookbooks\[0\]: must be a map"),
        ({}, "neither names a cookbook nor says where one is"),
        ({"name": "ntp"}, "`sites` names none to look in; add a supermarket's URL"),
        ({"name": "../etc", "path": "/x"}, "is no name of a cookbook"),
        ({"name": "a\nb", "path": "/x"}, "control characters"),
        ({"name": "a", "git": "https://h/c", "colour": "red"}, "unknown key colour for git; known are: all, branch"),
        ({"git": "https://h/c", "ref": "main", "tag": "v1"}, "ref and tag say the same thing"),
        ({"git": "https://h/c", "all": True, "name": "a"}, "`all` finds the names itself"),
        ({"git": "https://h/c", "all": "yes"}, "all: must be true or false"),
        ({"git": "https://h/c", "commit": "main"}, "is no commit"),
        ({"git": "https://h/c", "ref": "--upload-pack=touch /x"}, "is no branch, tag or commit"),
        ({"git": "https://h/c", "path": "../../etc"}, "leaves the repository"),
        ({"git": "https://h/c", "path": "a/.git/hooks"}, "leaves the repository"),
        ({"git": "--upload-pack=touch"}, "is no URL that is fetched"),
        ({"git": "ext::sh -c touch"}, "is no URL that is fetched"),
        ({"git": "http://h/c"}, "http:// is not fetched; use one of: https://, ssh://, git://, file://"),
        ({"git": "ssh://-oProxyCommand=x/c"}, "names no host"),
        ({"git": "-oProxyCommand=x:c"}, "is no URL that is fetched"),
        ({"git": "user@-oProxyCommand=x:c"}, "is no URL"),
        ({"git": "file://host/c"}, "a file URL has no host"),
        ({"git": "ssh://u:p@h/c"}, "ssh takes no password from a URL"),
        ({"name": "a", "path": "relative"}, "is relative; give the folder's absolute path"),
        ({"name": "a", "tarball": "ftp://h/a.tar.gz"}, "is no URL of an archive"),
        ({"name": "a", "tarball": "https://h/a.tar.gz", "sha256": "abc"}, "sha256: is no SHA-256"),
        ({"name": "a", "tarball": "http://u:p@h/a.tar.gz"}, "would send the credentials in the open"),
        ({"name": "a", "svn": "https://h/a"}, "sources of kind svn are not supported yet"),
        ({"git": "git@h:c", "ssh_key": {"input": "k"}, "known_hosts": "x"}, "known_hosts, ssh_key: not supported yet"),
        ({"name": "a", "git": {"input": "url"}}, "the deployment has no input url; add it to input_values"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(entry, words):
    with pytest.raises(DocumentError, match=words) as caught:
        one(entry)
    assert "\n" not in str(caught.value)


def test_a_version_that_is_no_constraint_and_a_site_that_is_no_url_are_refused():
    with pytest.raises(DocumentError, match="is no version constraint"):
        one({"name": "ntp", "version": "latest'; system('x')"}, sites=["https://s/api/v1"])
    for site in ("ftp://s", "https://u:p@s", "https://s/?q=1", "nothing", "https://s:port/"):
        with pytest.raises(DocumentError, match="sites"):
            one({"name": "ntp"}, sites=[site])


def test_a_cookbook_named_twice_is_refused():
    with pytest.raises(DocumentError, match=r"cookbooks\[1\]: app is named twice"):
        parse({"cookbooks": [{"name": "app", "path": "/a"}, {"name": "app", "path": "/b"}]}, {}, SETTINGS)


def test_any_value_may_be_an_input():
    assert one({"name": "app", "git": "https://h/c", "ref": {"input": "v"}}, {"v": "v2"}).reference == "v2"


def test_lists_may_be_text_as_heat_carries_json_parameters():
    options = {"cookbooks": json.dumps([{"name": "a", "path": "/a"}]), "sites": "[]"}
    assert parse(options, {}, SETTINGS).sources == (Source("path", "/a", "a"),)
    with pytest.raises(DocumentError, match="cookbooks: must be a list, not dict"):
        parse({"cookbooks": '{"name": "a"}'}, {}, SETTINGS)


def test_nothing_wanted_is_false():
    assert not parse({}, {}, SETTINGS)
    assert not parse({"cookbooks": [], "sites": ["https://s"]}, {}, SETTINGS)


def test_a_cheffile_is_refused_unless_settings_allow_it():
    with pytest.raises(DocumentError, match="Ruby that runs as root.*allow_cheffile: true"):
        parse({"cheffile": "cookbook 'a'"}, {}, SETTINGS)
    allowed = Settings(root=Path("/nowhere"), allow_cheffile=True)
    assert parse({"cheffile": "cookbook 'a'"}, {}, allowed).cheffile == "cookbook 'a'"
    with pytest.raises(DocumentError, match="together with `cookbooks`"):
        parse({"cheffile": "x", "cookbooks": [{"name": "a", "path": "/a"}]}, {}, allowed)


def test_credentials_leave_the_url_and_do_not_change_the_digest():
    location, credentials = git_url("https://deploy:hunter%2F2@h:8443/c.git", "git")
    assert (location, credentials) == ("https://h:8443/c.git", Credentials("deploy", "hunter/2"))
    with_password = parse({"cookbooks": [{"git": "https://a:secret1@h/c"}]}, {}, SETTINGS)
    without = parse({"cookbooks": [{"git": "https://h/c"}]}, {}, SETTINGS)
    assert with_password.digest == without.digest
    assert "secret1" not in repr(with_password)


def test_username_and_password_may_be_inputs_and_are_for_https():
    entry = {"git": "https://h/c", "username": "deploy", "password": {"input": "token"}}
    assert one(entry, {"token": "s3cret!"}).credentials == Credentials("deploy", "s3cret!")
    with pytest.raises(DocumentError, match="username and password are for https"):
        one({**entry, "git": "git://h/c"}, {"token": "s3cret!"})


def test_an_at_sign_does_not_hide_the_real_host():
    assert git_url("https://good.example@evil.example/c", "git")[0] == "https://evil.example/c"
    assert without_credentials("https://u:p@ss@h/c?x=@") == "https://h/c?x=@"


@hypothesis_settings(max_examples=200, deadline=None)
@given(strategies.text(max_size=40) | strategies.text("-/:@.a \n\\~^*", max_size=12))
def test_whatever_is_accepted_as_url_ref_or_path_is_no_option_and_one_line(text):
    for key in ("git", "ref", "path"):
        try:
            source = one({"git": "https://h/c", key: text})
        except DocumentError as error:
            assert "\n" not in str(error)
            continue
        accepted = {"git": source.location, "ref": source.reference, "path": source.folder}[key]
        assert not accepted.startswith("-") and accepted.isprintable()
        assert key == "git" or ".." not in accepted.split("/")
        assert key != "ref" or " " not in accepted
