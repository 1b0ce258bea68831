"""A root folder as an agent would have left it, written with its own functions, and the verbs called on it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from swagent import context, files, lock, runs, state
from swagent.__main__ import main
from swagent.metadata import merge
from swagent.model import Document, Item, Status
from swagent.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[3]
NOW = time.time()


def item(member, roles=(), ip=None, state="converged", run=1, result="success", applied="", **more):
    facts = {"addresses": {}, **({"ip": ip} if ip else {}), **more.pop("facts", {})}
    return Item(
        member=member,
        instance=f"i-{member}",
        seq=more.pop("seq", 3),
        roles=tuple(roles),
        facts=facts,
        facts_digest=context.digest(facts),
        status=Status(state=state, applied=applied, result=result, run=run),
        **more,
    )


def applied(*items):
    """The same items, each with the digest that all of them make: a stack in which nothing is due."""
    found = context.stack_digest({each.member: each for each in items})
    return [
        Item.parse({**(document := each.to_document()), "status": {**document["status"], "applied": found}})
        for each in items
    ]


class Root:
    """One root folder: `items`, `compiled`, `run` and `status` write what the agent writes; `call` calls a verb."""

    def __init__(self, path, capsys):
        self.settings = Settings(root=path)
        self.capsys = capsys
        self.held = None
        self.state = state.State(instance="i-test")

    def items(self, *items):
        self.items_by_name = {each.member: each for each in items}
        files.write_json(
            self.settings.members_file, {name: each.to_document() for name, each in self.items_by_name.items()}
        )

    def compiled(self, member="head-0", inputs=None, **section):
        """Compile, save and remember a context over the items; gives its name."""
        deployment = {
            "id": "d-1",
            "name": "app",
            "group": "chef",
            "config": [],
            "inputs": [{"name": name, "type": "String", "value": value} for name, value in (inputs or {}).items()],
        }
        content = {"swagent": {"member": member, **section}, "deployments": [deployment]}
        compiled = context.compile_context(
            merge([Document("heat", content)]), self.items_by_name[member], self.items_by_name, key="k"
        )
        name = context.digest([compiled.digest, compiled.to_document()["parameters"]])
        files.write_json(self.settings.contexts / f"{name}.json", compiled.to_document())
        self.change(context=name)
        return name

    def change(self, **fields):
        self.state = replace(self.state, **fields)
        state.save(self.settings, self.state)

    def run(self, number, **fields):
        started = NOW - 600 + 10 * number
        record = {
            "number": number,
            "identity": "stack/app",
            "deployment_id": "d-1",
            "name": "app",
            "group": "chef",
            "action": "CREATE",
            "events": ["configure"],
            "cause": {
                "kind": "deployment",
                "summary": "deployment app is new (CREATE)",
                "changes": [],
                "previous_run": 0,
            },
            "context": "",
            "previous_context": "",
            "config_digest": "c",
            "started": started,
            "ended": started + 2.5,
            "status": "success",
            "error": None,
            "result": None,
            **fields,
        }
        runs.save(self.settings, record)
        return record

    def status(self, word, reason="", **fields):
        files.write_json(
            self.settings.run / "status.json",
            {
                "state": word,
                "reason": reason,
                "since": time.time() - 302,
                "pid": os.getpid(),
                "problems": [],
                "waiting_for": [],
                "next_poll": time.time() + 100,
                "next_retry": None,
                **fields,
            },
        )

    def hold(self):
        """Be the agent: hold its lock."""
        self.held = lock.acquire(self.settings.run / "lock", "swagent run")

    def call(self, *words):
        """(exit code, stdout, stderr) of a verb."""
        self.capsys.readouterr()
        code = main(["--root", str(self.settings.root), *words])
        out, err = self.capsys.readouterr()
        return code, out, err

    def json(self, *words):
        """The JSON of a verb that must succeed."""
        code, out, err = self.call(*words, "-f", "json")
        assert code == 0, err
        return json.loads(out)

    def process(self, *words, **more):
        """The real process."""
        command = [sys.executable, "-m", "swagent", "--root", str(self.settings.root), *words]
        more.setdefault("env", {**os.environ, "PYTHONPATH": str(CHECKOUT)})
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, **more)


@pytest.fixture
def root(tmp_path, capsys):
    root = Root(tmp_path, capsys)
    yield root
    if root.held is not None:
        root.held.release()


@pytest.fixture
def new_item():
    return item


@pytest.fixture
def as_applied():
    return applied
