"""Resident memory, idle on the heat transport: the agent beside the real os-collect-config, on the same Heat."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from bench.row import CLEAN, Row, resident_mb
from tests.member import Member
from tests.testbed.heat import held
from tests.testbed.stacks import Stacks

TEMPLATE = """
heat_template_version: 2018-08-31
resources:
  server:
    type: OS::Heat::DeployedServer
    properties: {name: head-0, software_config_transport: POLL_SERVER_HEAT}
    metadata: {swagent: {member: head-0, roles: [head]}}
outputs:
  credentials: {value: {get_attr: [server, os_collect_config]}}
"""
POLLS = 6  # after so many polls nothing is new to either
INTERVAL = 2


def occ_conf(folder: Path, credentials: Mapping[str, Any]) -> Path:
    """os-collect-config's configuration for these credentials; in it a $ is written $$."""
    options = {"polling_interval": INTERVAL, "cachedir": folder / "cache", "backup_cachedir": folder / "backup"}
    lines = [
        "[DEFAULT]",
        "collectors = heat",
        "command = /bin/true",
        *(f"{key} = {value}" for key, value in options.items()),
    ]
    lines += ["[heat]", *(f"{key} = {value}".replace("$", "$$") for key, value in credentials.items())]
    path = folder / "os-collect-config.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def settled(pid: int, polled: Callable[[], bool]) -> float:
    """Resident MB once the process has polled and some polls more are over."""
    deadline = time.monotonic() + 60
    while not polled():
        if time.monotonic() > deadline:
            raise SystemExit(f"process {pid} did not poll within 60 s")
        time.sleep(0.2)
    time.sleep(POLLS * INTERVAL)
    return resident_mb(pid)


def rows() -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as name, held(Path(name) / "testbed") as testbed:
        folder = Path(name)
        stacks = Stacks(testbed)
        stacks.create("idle", TEMPLATE)
        stacks.wait("idle", "CREATE_COMPLETE")
        heat = stacks.credentials("idle", "credentials")["heat"]
        member = Member(folder / "root", collectors=["heat"], sources={"heat": heat}, polling_interval=INTERVAL)
        conf = occ_conf(folder, heat)
        beside = subprocess.Popen(
            ["/usr/bin/os-collect-config", "--config-file", str(conf)],
            env=CLEAN,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        agent = member.start()
        try:
            ours = settled(agent.pid, lambda: member.status().get("state") == "converged")
            theirs = settled(beside.pid, lambda: (folder / "cache" / "heat.json").exists())
        finally:
            member.close()
            beside.terminate()
            beside.wait()
        stacks.delete("idle")
    ratio = ours / theirs
    return [
        Row(
            "resident memory, idle on the heat transport",
            f"{ours:.0f} MB",
            f"os-collect-config {theirs:.0f} MB",
            ratio,
            "≤ 0.5x",
            ratio <= 0.5,
        )
    ]
