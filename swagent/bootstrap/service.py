"""`swagent bootstrap service`: the agent as a systemd unit, enabled, and started where systemd runs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Callable, Sequence

from swagent import files, process
from swagent.errors import NeedsRoot, SwagentError
from swagent.settings import Settings

NAME = "swagent.service"


def render_unit(program: Sequence[str]) -> str:
    """The unit's text for the words that start swagent (systemd.service(5), systemd.exec(5)).

    KillMode=mixed: the agent ends its run in order and itself, since Chef heeds SIGINT only; TimeoutStopSec is longer
    than that takes. cloud-config.service is where the instance's name and files are made; without cloud-init it is
    nothing to wait for.
    """
    return f"""[Unit]
Description=Turns what the whole Heat stack knows into what this machine is
Documentation=man:systemd.service(5)
After=network-online.target cloud-config.service
Wants=network-online.target
ConditionPathExists=!/etc/swagent/disabled

[Service]
ExecStart={" ".join(_quoted(word) for word in program)} run
Restart=always
RestartSec=5
KillMode=mixed
TimeoutStopSec=90
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def _quoted(word: str) -> str:
    """A word of ExecStart: `%` and `$` would be expanded there."""
    doubled = word.replace("%", "%%").replace("$", "$$")
    return '"' + doubled.replace("\\", "\\\\").replace('"', '\\"') + '"' if shlex.quote(word) != word else doubled


def program() -> Sequence[str]:
    """What starts this very swagent: its own command where it is installed, else the interpreter and the module."""
    command = Path(sys.executable).with_name("swagent")
    return [str(command)] if os.access(command, os.X_OK) else [sys.executable, "-m", "swagent"]


def install(settings: Settings, say: Callable[[str], None]) -> bool:
    """Write the unit and enable it; whether something changed. With a root that is not `/` only the files are made."""
    if os.geteuid():
        raise NeedsRoot("`swagent bootstrap service` installs a systemd unit and must be root; call it with sudo")
    systemctl = process.find(["systemctl"])
    if not systemctl:
        raise SwagentError("this machine has no systemd; let its init system start and restart `swagent run`")
    path = settings.under_root(f"/etc/systemd/system/{NAME}")
    text = render_unit(program())
    changed = not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text
    if changed:
        files.write(path, text, 0o644)
    process.check([systemctl, f"--root={settings.root}", "enable", NAME], timeout=60)
    # systemd's own sign of running as PID 1 (sd_booted(3)); in a chroot or an image that is built it is not there.
    if str(settings.root) == "/" and Path("/run/systemd/system").is_dir():
        if changed:
            process.check([systemctl, "daemon-reload"], timeout=60)
        process.check([systemctl, "restart" if changed else "start", NAME], timeout=120)
        say(f"{path}: enabled and started")
    else:
        say(f"{path}: enabled; it starts with the machine")
    return changed
