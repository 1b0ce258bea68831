"""A machine of its own for each test of the cookbooks lane, with the Chef and librarian-chef of `swagent bootstrap`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from swagent.cookbooks.resolve import resolve
from swagent.cookbooks.specification import parse
from swagent.settings import Settings
from tests.testbed.gitserver import Repository, supermarket


class Machine:
    """A root folder, its settings, and the two calls that the chef hook makes."""

    def __init__(self, root: Path, **settings) -> None:
        self.settings = Settings(root=root, **settings)

    def resolve(self, cookbooks, sites=(), seconds=100.0, inputs=None, lookup_interval=0.0):
        options = {"cookbooks": cookbooks, "sites": list(sites)}
        return self.resolve_options(options, seconds, inputs, lookup_interval)

    def resolve_options(self, options, seconds=100.0, inputs=None, lookup_interval=0.0):
        specification = parse(options, inputs or {}, self.settings)
        # A mark of its own: what is swept by one test's mark must not be another's, in this run or one beside it.
        mark = f"test.cookbooks.{self.settings.root}"
        return resolve(specification, self.settings, time.monotonic() + seconds, mark, lookup_interval)

    def started(self, cookbooks, sites=()) -> list[list[str]]:
        """The command line of every program that resolving starts, as the kernel saw it."""
        program = (
            "import json, sys, time; from pathlib import Path; from swagent.settings import Settings\n"
            "from swagent.cookbooks.resolve import resolve; from swagent.cookbooks.specification import parse\n"
            "root, options = sys.argv[1:]; settings = Settings(root=Path(root))\n"
            "resolve(parse(json.loads(options), {}, settings), settings, time.monotonic() + 60, 'test.started')\n"
        )
        record = self.settings.root / "execve"
        options = json.dumps({"cookbooks": cookbooks, "sites": list(sites)})
        tracer = [
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=execve",
            "-e",
            "signal=none",
            "-s",
            "4096",
            "-v",
            "-o",
            str(record),
        ]
        command = [*tracer, "/usr/bin/python3", "-c", program, str(self.settings.root), options]
        folder = Path(__file__).parent.parent.parent
        subprocess.run(command, cwd=folder, env={"PATH": os.environ["PATH"]}, check=True, timeout=100)
        lines = re.findall(r'execve\("([^"]*)", (\[.*?\]), \[.*= 0$', record.read_text(), re.MULTILINE)
        record.unlink()
        return [json.loads(words) for _, words in lines][1:]

    @property
    def left(self) -> list[str]:
        """What is left of work that is over: of builds, and of keys."""
        folders = (
            self.settings.cookbooks / "building",
            self.settings.cookbooks / "checking-out",
            self.settings.run / "keys",
        )
        return [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path / "root")


@pytest.fixture
def repository(tmp_path):
    """Makes a repository by name."""
    return lambda name="app", branch="main": Repository(tmp_path / "git" / f"{name}.git", branch)


@pytest.fixture
def site(tmp_path):
    with supermarket(tmp_path / "site", tmp_path / "site.work") as running:
        yield running
