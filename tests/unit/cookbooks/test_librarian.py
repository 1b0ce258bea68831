"""librarian-chef's words, as captured from 0.0.4, and what is made of them."""

from __future__ import annotations

import pytest

from swagent.cookbooks.cheffile import Wanted
from swagent.cookbooks.cookbook import Cookbook
from swagent.cookbooks.librarian import explain, not_found, reason

SITE = "http://127.0.0.1:8000/api/v1"
REFUSED = (
    "/usr/lib/ruby/3.1.0/net/http.rb:987:in `initialize': Failed to open TCP connection to 127.0.0.1:1 "
    '(Connection refused - connect(2) for "127.0.0.1" port 1) (Errno::ECONNREFUSED)\n'
    "\tfrom /usr/lib/ruby/3.1.0/net/http.rb:987:in `open'\n"
)


@pytest.mark.parametrize(
    "output, words",
    [
        ("Could not resolve the dependencies.\n", "Could not resolve the dependencies."),
        (
            REFUSED,
            'Failed to open TCP connection to 127.0.0.1:1 (Connection refused - connect(2) for "127.0.0.1" port 1) '
            "(Errno::ECONNREFUSED)",
        ),
        ("Installing a (1.0)\nNo metadata file found for zz from x!\n", "No metadata file found for zz from x!"),
        ("", "it says nothing"),
    ],
)
def test_the_reason_is_its_message_or_the_first_line_of_a_backtrace(output, words):
    assert reason(output) == words


def test_a_404_names_the_site_and_the_cookbook():
    assert not_found(f"Could not get {SITE}/cookbooks/ntp because 404 Not Found!") == (SITE, "ntp")
    assert not_found("Could not resolve the dependencies.") is None


def test_an_older_runs_downloads_are_not_blamed():
    known = [Cookbook("app", "1.0.0", {"ntp": ""}, "git X"), Cookbook("ntp", "1.0.0", {"zz": ""}, SITE)]
    stray = Cookbook("other", "1.0.0", {"nothing": "~> 9"}, SITE)
    said = explain("Could not resolve the dependencies.", [*known, stray], [], [SITE])
    assert said == (
        f"cookbook ntp 1.0.0 ({SITE}) wants zz, which is in none of the sources; looked in {SITE} and what was fetched"
    )


def test_a_failure_that_nothing_explains_keeps_its_own_words():
    said = explain("Could not resolve the dependencies.", [Cookbook("a", "1.0.0", {}, "git X")], [Wanted("b")], [SITE])
    assert "the deployment wants b" in said
    assert "says no more" in explain("Could not resolve the dependencies.", [Cookbook("a", place="git X")], [], [])
    assert explain("boom\n", [], [], []) == "librarian-chef: boom; looked in what was fetched; `sites` is empty"
