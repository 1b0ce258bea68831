"""git over https from a real `git http-backend`, public and private; the machine trusts its certificate or does not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.testbed.gitserver import cookbook, web

PASSWORD = "hunter2/secret@42"
PROGRAM = """
import json, sys, time
from pathlib import Path
from swagent.cookbooks.resolve import resolve
from swagent.cookbooks.specification import parse
from swagent.errors import SwagentError
from swagent.settings import Settings
settings = Settings(root=Path(sys.argv[1]))
options, inputs = json.loads(sys.stdin.read())
try:
    found = resolve(parse(options, inputs, settings), settings, time.monotonic() + 60, f"test.https.{settings.root}")
except SwagentError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"cookbooks": found.cookbooks, "warnings": found.warnings}))
"""


@pytest.fixture
def served(tmp_path, repository):
    repository("app").commit(cookbook("app"))
    repository("private/secret").commit(cookbook("secret", "2.0.0"))
    with web(tmp_path / "git", tmp_path / "web", f"deploy:{PASSWORD}") as running:
        yield running


def resolve(machine, entry, certificate=None, inputs=None, trace=None):
    """What a process that trusts `certificate` alone makes of one entry; `trace` gets all that it starts and writes."""
    environment = {"PATH": os.environ["PATH"], **({"SSL_CERT_FILE": str(certificate)} if certificate else {})}
    watch = ["strace", "-f", "-v", "-s", "4096", "-e", "trace=execve", "-o", str(trace)] if trace else []
    ended = subprocess.run(
        [*watch, "/usr/bin/python3", "-c", PROGRAM, str(machine.settings.root)],
        input=json.dumps([{"cookbooks": [entry]}, inputs or {}]),
        cwd=Path(__file__).parent.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), ended.stderr


def test_a_public_repository_over_https(machine, served):
    found, _ = resolve(machine, {"name": "app", "git": f"{served.url}/git/app.git"}, served.certificate)
    assert found["cookbooks"]["app"]["version"] == "1.0.0"
    # The look and the fetch, each with its discovery: nothing is cloned.
    assert len(served.requests) <= 5


def test_a_certificate_that_nobody_vouches_for_is_refused(machine, served):
    found, _ = resolve(machine, {"name": "app", "git": f"{served.url}/git/app.git"})
    assert "certificate" in found["error"]


@pytest.mark.parametrize("way", ["url", "keys"])
def test_a_private_repository_and_its_password_is_nowhere_afterwards(machine, served, tmp_path, way):
    url = f"{served.url}/git/private/secret.git"
    quoted = PASSWORD.replace("/", "%2F").replace("@", "%40")
    entry = {
        "url": {"name": "secret", "git": url.replace("https://", f"https://deploy:{quoted}@")},
        "keys": {"name": "secret", "git": url, "username": "deploy", "password": {"input": "token"}},
    }[way]
    found, said = resolve(machine, entry, served.certificate, {"token": PASSWORD}, tmp_path / "trace")
    assert found["cookbooks"]["secret"] == {
        "source": f"git {url}",
        "revision": found["cookbooks"]["secret"]["revision"],
        "version": "2.0.0",
    }
    assert machine.left == []
    # A control: the address without the password is in what is searched.
    texts = [(tmp_path / "trace").read_text(), json.dumps(found), said]
    texts += [
        path.read_bytes().decode("utf-8", "replace") for path in machine.settings.root.rglob("*") if path.is_file()
    ]
    assert any("private/secret.git" in text for text in texts)
    for form in (PASSWORD, quoted, "hunter2"):
        assert not [text for text in texts if form in text]


def test_a_wrong_password_and_none_are_an_error_at_once(machine, served):
    url = f"{served.url}/git/private/secret.git"
    found, _ = resolve(machine, {"name": "secret", "git": url}, served.certificate)
    assert "terminal prompts disabled" in found["error"]
    wrong = {"name": "secret", "git": url, "username": "deploy", "password": "wrong-password"}
    found, _ = resolve(machine, wrong, served.certificate)
    assert "Authentication failed" in found["error"] or "prompts disabled" in found["error"]
    assert "wrong-password" not in found["error"] and machine.left == []


def test_a_repository_that_is_not_there(machine, served):
    found, _ = resolve(machine, {"name": "app", "git": f"{served.url}/git/nowhere.git"}, served.certificate)
    assert "not found" in found["error"]
