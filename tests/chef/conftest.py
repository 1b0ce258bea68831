"""One member's Chef for a test: a root of its own, a repository for the test's recipes, the real chef-solo."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from swagent import files, process
from swagent.hooks import HookRequest, chef
from swagent.model import Context, Deployment, Input, Output, digest
from swagent.scrub import Scrubber
from swagent.settings import Settings

COOKBOOKS = Path(__file__).parent / "cookbooks"

HEAD = {
    "roles": ["head"],
    "state": "converged",
    "suspect": False,
    "fqdn": "head-0.stack.local",
    "hostname": "head-0",
    "domain": "stack.local",
    "os": "linux",
    "platform": "debian",
    "platform_version": "12",
    "ip": "10.0.0.1",
    "addresses": {"eth0": ["10.0.0.1"]},
    "cpus": 4,
    "memory_mb": 8000,
    "packages": {"slurm": "22.05"},
}
COMPUTE = {**HEAD, "roles": ["compute"], "fqdn": "me.stack.local", "hostname": "me", "ip": "10.0.0.2"}
RECIPES = {"head-0": ["slurm", "slurm::default", "slurm::head"]}


def context_of(members, member="me", event="deploy", **more):
    roles = {}
    for name, entry in sorted(members.items()):
        for role in entry["roles"]:
            roles.setdefault(role, []).append(name)
    document = {
        "member": member,
        "my_roles": list(members[member]["roles"]),
        "event": event,
        "members": members,
        "roles": roles,
        "recipes": {name: recipes for name, recipes in RECIPES.items() if name in members},
        "expected": {},
        "missing": {},
        "departed": {},
        "complete": True,
        **more,
    }
    document["digest"] = digest(document)
    return Context(document=document, origins={}, digest=document["digest"], stack_digest="")


class ChefMember:
    """`recipe` writes a recipe into the repository, `run` runs a run list under the members' facts."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.repository = folder / "repository"
        self.settings = Settings(root=folder / "root", chef_license="accept-no-persist")
        self.members = {"head-0": HEAD, "me": COMPUTE}
        self.number = 0
        self.marks = []
        for part in ("cookbooks", "roles", "environments", "data_bags"):
            files.make_folder(self.repository / part)

    @property
    def last(self) -> Path:
        return self.settings.runs / str(self.number)

    def cookbook(self, name: str) -> None:
        """Take one of the test cookbooks as it is."""
        shutil.copytree(COOKBOOKS / name, self.repository / "cookbooks" / name)

    def recipe(self, text: str, cookbook="app", name="default", version="1.0.0") -> None:
        folder = self.repository / "cookbooks" / cookbook
        files.write(folder / "metadata.rb", f"name '{cookbook}'\nversion '{version}'\n")
        files.write(folder / "recipes" / f"{name}.rb", text)

    def request(
        self, run_list=("recipe[app]",), inputs=None, outputs=(), secrets=(), config=None, context=None, **more
    ):
        self.number += 1
        options = {"repository": {"path": str(self.repository)}, **more.pop("options", {})}
        deployment = Deployment(
            id=f"d-{self.number}",
            name="app",
            group="chef",
            config=config if config is not None else list(run_list),
            inputs=tuple(Input(name, "Json", value) for name, value in (inputs or {}).items()),
            outputs=tuple(Output(each) if isinstance(each, str) else each for each in outputs),
            options={key: value for key, value in options.items() if value is not None},
        )
        mark = f"test.{uuid.uuid4().hex}"
        self.marks.append(mark)
        request = HookRequest(
            deployment=deployment,
            events=("deploy",),
            context=context or context_of(self.members),
            settings=self.settings,
            folder=files.make_folder(self.last),
            number=self.number,
            scrubber=Scrubber([("secret", each) for each in secrets]),
            mark=mark,
        )
        return replace(request, **more)

    def run(self, *args, **more):
        return chef.run(self.request(*args, **more))


@pytest.fixture
def chef_member(tmp_path):
    os.chmod(tmp_path, 0o700)
    member = ChefMember(tmp_path)
    yield member
    for mark in member.marks:
        process.sweep(mark)
