"""A member on this machine: a root folder, metadata through the `local` collector, the real `swagent` process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from swagent import files, runs
from swagent.settings import Settings, load
from tests.wait import until

CHECKOUT = Path(__file__).resolve().parent.parent


def deployment(
    name="app", group="script", config="#!/bin/sh\n", id="d-1", action="CREATE", inputs=None, outputs=(), **options
):
    """One entry of metadata.deployments as Heat writes it, with NO_SIGNAL unless the inputs say otherwise."""
    shown = {
        "deploy_action": action,
        "deploy_stack_id": "stack/0001",
        "deploy_resource_name": name,
        "deploy_signal_transport": "NO_SIGNAL",
        "deploy_server_id": "server-1",
        **(inputs or {}),
    }
    kinds = {str: "String", dict: "Json", list: "Json", int: "Number", float: "Number", bool: "Boolean"}
    return {
        "id": id,
        "name": name,
        "group": group,
        "creation_time": "2026-11-23T04:18:51Z",
        "config": config,
        "inputs": [{"name": key, "type": kinds[type(value)], "value": value} for key, value in shown.items()],
        "outputs": [{"name": output, "type": "String"} if isinstance(output, str) else output for output in outputs],
        "options": options,
    }


class Member:
    """One root and what runs in it; `start` gives a resident agent that `stop` or `kill` ends."""

    def __init__(self, root: Path, **settings):
        self.root = root
        self.agent = None
        files.write_json(
            root / "etc/swagent/swagent.yaml", {"collectors": ["local"], "polling_interval": 1, **settings}
        )
        self.data = root / "var/lib/os-collect-config/local-data"

    @property
    def settings(self) -> Settings:
        return load({}, str(self.root))

    def metadata(self, *deployments, name="test", **section) -> None:
        files.write_json(self.data / f"{name}.json", {"deployments": list(deployments), "swagent": section})

    def command(self, *words):
        return [sys.executable, "-m", "swagent", "--root", str(self.root), *words]

    @property
    def environment(self):
        return {**os.environ, "PYTHONPATH": str(CHECKOUT)}

    def call(self, *words, timeout=120, **more) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            **{"env": self.environment, **more},
        )

    def once(self, *words, timeout=120) -> subprocess.CompletedProcess:
        return self.call("run", "--once", *words, timeout=timeout)

    def start(self) -> subprocess.Popen:
        self.log = open(self.root / "agent.log", "ab")
        self.agent = subprocess.Popen(
            self.command("run"), env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        return self.agent

    def stop(self, number=signal.SIGTERM, timeout=60) -> int:
        self.agent.send_signal(number)
        status = self.agent.wait(timeout)
        self.log.close()
        self.agent = None
        return status

    def close(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            self.stop(signal.SIGTERM)

    def runs(self):
        """The run records, oldest first."""
        return [runs.read(self.settings, number) for number in runs.numbers(self.settings)]

    def status(self):
        """status.json, or an empty document before the first cycle."""
        try:
            return json.loads((self.settings.run / "status.json").read_text())
        except FileNotFoundError:
            return {}

    def wait_for(self, state, seconds=60):
        until(lambda: self.status().get("state") == state, seconds, f"{self.root} to be {state}")
