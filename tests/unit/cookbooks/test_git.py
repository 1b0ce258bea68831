"""What ls-remote and git's errors say, as captured from git 2.39 and OpenSSH 9.2."""

from __future__ import annotations

import pytest

from swagent.cookbooks.git import parse_ls_remote, patterns, pick, reason, transport
from swagent.cookbooks.release import Revision

A, B, C = "a" * 40, "b" * 40, "c" * 40
ANSWER = f"{A}\tHEAD\n{A}\trefs/heads/main\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n"


def test_an_annotated_tag_is_the_commit_that_it_points_at():
    assert parse_ls_remote(ANSWER) == {"HEAD": A, "refs/heads/main": A, "refs/tags/v1": C}
    assert parse_ls_remote("warning: redirecting to https://h/\n") == {}


def test_a_reference_is_a_tag_before_it_is_a_branch():
    found = {"refs/tags/x": A, "refs/heads/x": B, "HEAD": C}
    assert pick(found, "x") == Revision(A, "tag", "refs/tags/x")
    assert pick(found, "refs/heads/x") == Revision(B, "branch", "refs/heads/x")
    assert pick(found, "") == Revision(C, "HEAD", "HEAD")
    assert pick(found, "y") is None
    assert patterns("x") == ("refs/tags/x", "refs/heads/x")


@pytest.mark.parametrize(
    "stderr, words",
    [
        (
            "fatal: '/nowhere' does not appear to be a git repository\n"
            "fatal: Could not read from remote repository.\n\n"
            "Please make sure you have the correct access rights\nand the repository exists.\n",
            "'/nowhere' does not appear to be a git repository",
        ),
        (
            "No ED25519 host key is known for 127.0.0.1 and you have requested strict checking.\n"
            "Host key verification failed.\nfatal: Could not read from remote repository.\n\n"
            "Please make sure you have the correct access rights\nand the repository exists.\n",
            "No ED25519 host key is known for 127.0.0.1 and you have requested strict checking",
        ),
        (
            "git@127.0.0.1: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\n"
            "Please make sure you have the correct access rights\nand the repository exists.\n",
            "git@127.0.0.1: Permission denied (publickey)",
        ),
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled\n",
            "could not read Username for 'https://h': terminal prompts disabled",
        ),
        ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found\n", "Repository not found"),
        ("", "git says nothing"),
    ],
)
def test_the_reason_is_the_line_that_says_something(stderr, words):
    assert reason(stderr) == words


def test_the_transport_of_a_url():
    assert [transport(url) for url in ("https://h/c", "git@h:c", "file:///c")] == ["https", "ssh", "file"]
