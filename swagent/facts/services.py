"""The services of the machine and their states: {name: state}, from the init system that runs it.

States are systemd's words, whatever the init system: active (also while it reloads), inactive, failed, activating,
deactivating, maintenance; and absent for a service that is asked for by name and does not exist. A service that
systemd waits to restart has failed. Names are without ".service".
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

from swagent import process
from swagent.errors import CommandFailed
from swagent.facts import fingerprint, is_glob, read_text, select

ACTIVE, INACTIVE, FAILED, ABSENT = "active", "inactive", "failed", "absent"
# States that a service only passes through.
PASSING = ("activating", "deactivating")
DEADLINE = 10.0  # s for the query
# Seconds until the same question is asked again although nothing seems to have moved: where systemd runs, a folder's
# mtime tells of every start, stop and failure; elsewhere nothing does. A passing state is followed more closely.
AGAIN_GATED, AGAIN, AGAIN_PASSING = 60.0, 5.0, 2.0
RETRY = 30.0  # s after a query that failed: one that hangs must not hold up every cycle
# systemd keeps a link here for each unit that is up, and the unit files in the others (systemd.unit(5)).
SYSTEMD_UP = "run/systemd/units"
SYSTEMD_UNITS = (
    *("etc/systemd/system", "run/systemd/system", "run/systemd/generator"),
    *("usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"),
)
SYSTEMD_PROPERTIES = "--property=Id,Names,LoadState,ActiveState,SubState"
OPENRC_STATES = {
    **{"started": ACTIVE, "stopped": INACTIVE, "inactive": INACTIVE, "crashed": FAILED, "failed": FAILED},
    **{"starting": "activating", "stopping": "deactivating", "scheduled": "activating"},
}
# Scripts in /etc/init.d that start no service of their own.
NO_SERVICES = {
    "README",
    "functions",
    "rc",
    "rcS",
    "rc.local",
    "skeleton",
    "halt",
    "reboot",
    "single",
    "killprocs",
    "killall",
}
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.@\\-]+")


def short_name(unit: str) -> str:
    return unit[: -len(".service")] if unit.endswith(".service") else unit


def state_of_unit(load: str, active: str, sub: str) -> str:
    """One word for systemd's LoadState, ActiveState and SubState."""
    if load == "not-found" and active == INACTIVE:
        return ABSENT
    if sub.startswith(
        "auto-restart"
    ):  # it has ended and will be tried again; later systemds say auto-restart-queued too
        return FAILED
    return ACTIVE if active == "reloading" else active


def parse_systemctl_show(text: str) -> Dict[str, str]:
    """{name: state} from `systemctl show` with SYSTEMD_PROPERTIES: blocks of KEY=VALUE; aliases count as names."""
    states = {}
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("Id", "").endswith(".service") and "ActiveState" in unit:
            state = state_of_unit(unit.get("LoadState", ""), unit["ActiveState"], unit.get("SubState", ""))
            for name in {unit["Id"], *unit.get("Names", "").split()}:
                states[short_name(name)] = state
    return dict(sorted(states.items()))


def parse_rc_status(text: str) -> Dict[str, str]:
    """{name: state} from OpenRC's `rc-status --servicelist --nocolor`: NAME [ STATE ]; newer ones add times."""
    states = {}
    for line in text.splitlines():
        match = re.match(r"\s+(\S+)\s+\[\s*([a-z]+)", line)
        if match:
            states[match[1]] = OPENRC_STATES.get(match[2], match[2])
    return dict(sorted(states.items()))


def parse_init_script(text: str) -> Tuple[str, str]:
    """The pid file and the program that an init script names, each empty where it names none."""
    variables: Dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*(?:export\s+|readonly\s+)?([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|[^\s;#]*)", line)
        if match:
            variables.setdefault(match[1], match[2].strip("\"'"))

    def expand(value: str) -> str:
        for _ in range(5):
            value = re.sub(r"\$\{?(\w+)\}?", lambda match: variables.get(match[1], "$"), value)
        return "" if "$" in value or "`" in value else value

    named = {key.lower().replace("_", ""): expand(value) for key, value in variables.items()}
    header = re.search(r"^#\s*pidfile:\s*(/\S+)", text, re.MULTILINE | re.IGNORECASE)
    pid_file = named.get("pidfile") or (header[1] if header else "")
    program = next((named[key] for key in ("daemon", "exec", "prog", "processname") if named.get(key)), "")
    return pid_file if pid_file.startswith("/") else "", os.path.basename(program.split(" ")[0])


def running_programs() -> Dict[int, str]:
    """{pid: program} of what lives, the names cut to 15 bytes as the kernel keeps them; zombies do not count."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            head, _, tail = read_text(f"/proc/{entry}/stat").rpartition(") ")
            if head and tail[:1] not in ("Z", "X"):
                found[int(entry)] = head.partition("(")[2]
    return found


@dataclass(frozen=True)
class Look:
    """What one query found, and the monotonic time at which it was asked: two looks are two queries."""

    states: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    problems: Tuple[str, ...] = ()
    at: float = 0.0


class Services:
    """Asks the init system that runs the machine when something moved there, or after a while."""

    def __init__(self, machine: Path = Path("/")) -> None:
        self._machine = machine
        self._gate: object = None
        self._look = Look()
        self._scripts: Dict[Path, Tuple[object, Tuple[str, str]]] = {}

    def look(self, selected: Sequence[str], now: float, again: bool = False) -> Look:
        """The states of all services, those that are `selected` by name included where they are not up or not there.

        now: monotonic; again: ask even if nothing moved. What was found last stands while the query fails.
        """
        names = [short_name(name) for name in selected]
        systemd = (self._machine / "run/systemd/system").is_dir()  # as sd_booted(3) knows it
        gate: Tuple[object, ...] = (tuple(selected), systemd)
        if systemd:
            folders = (self._machine / folder for folder in (SYSTEMD_UP, *SYSTEMD_UNITS))
            gate = (*gate, *(fingerprint(folder) for folder in folders))
        interval = AGAIN_GATED if systemd else AGAIN
        if any(state in PASSING for state in select(self._look.states, names).values()):
            interval = AGAIN_PASSING
        if self._look.problems:
            interval = RETRY
        if not again and gate == self._gate and now - self._look.at < interval:
            return self._look
        source, states = "", self._look.states
        problems: Tuple[str, ...] = ()
        try:
            if systemd:
                source = "systemd (systemctl show)"
                states = self._ask_systemd(names)
            elif (self._machine / "run/openrc").is_dir():
                source = "OpenRC (rc-status)"
                states = self._ask_openrc(names)
            else:
                source = "init scripts, pid files and processes (neither systemd nor OpenRC runs this machine)"
                states = self._ask_init_scripts(names)
        except CommandFailed as error:
            problems = (f"services: {source}: {error}; what was found last stands",)
        self._gate = gate
        self._look = Look(states, source, problems, now)
        return self._look

    def _program(self, name: str) -> str:
        folders = ("usr/bin", "bin", "usr/sbin", "sbin")
        program = process.find([str(self._machine / folder / name) for folder in folders])
        if not program:
            raise CommandFailed(name, 127, "not found")
        return program

    def _ask_systemd(self, names: Sequence[str]) -> Dict[str, str]:
        # The pattern gives the units that systemd has loaded. One that is installed but down may not be among them: it
        # is asked for by name, so that what is told of it does not depend on when systemd forgot it.
        asked = {name for name in names if not is_glob(name) and UNIT_NAME.fullmatch(name)}
        globs = [name for name in names if is_glob(name)]
        if globs:
            asked |= set(select(self._unit_files(), globs))
        argv = [self._program("systemctl"), "show", SYSTEMD_PROPERTIES, "--", "*.service"]
        states = parse_systemctl_show(
            process.check([*argv, *(f"{name}.service" for name in sorted(asked))], timeout=DEADLINE)
        )
        return {name: state for name, state in states.items() if state != ABSENT or name in names}

    def _unit_files(self) -> Dict[str, str]:
        """{name: folder} of the services that are installed."""
        found: Dict[str, str] = {}
        for folder in SYSTEMD_UNITS:
            try:
                entries = os.listdir(self._machine / folder)
            except OSError:
                continue
            services = (entry for entry in entries if entry.endswith(".service") and "@." not in entry)
            found.update((short_name(entry), folder) for entry in services)
        return found

    def _ask_openrc(self, names: Sequence[str]) -> Dict[str, str]:
        argv = [self._program("rc-status"), "--servicelist", "--nocolor"]
        states = parse_rc_status(process.check(argv, timeout=DEADLINE))
        return {**{name: ABSENT for name in names if not is_glob(name)}, **states}

    def _ask_init_scripts(self, names: Sequence[str]) -> Dict[str, str]:
        running = running_programs()
        programs = set(running.values())
        states = {}
        for name, (pid_file, program) in self._init_scripts().items():
            candidates = [pid_file] if pid_file else [f"/run/{name}.pid", f"/run/{name}/{name}.pid"]
            pids = [read_text(self._machine / each.lstrip("/")).strip() for each in candidates]
            written = [int(pid) for pid in pids if pid.isdigit()]
            if any(pid in running for pid in written) or {name[:15], program[:15]} & programs:
                states[name] = ACTIVE
            else:
                # A pid file without its process: it ended without being stopped (LSB's status 1).
                states[name] = FAILED if written else INACTIVE
        for name in names:
            if name not in states and not is_glob(name):
                states[name] = ACTIVE if name[:15] in programs else ABSENT
        return dict(sorted(states.items()))

    def _init_scripts(self) -> Dict[str, Tuple[str, str]]:
        """{name: (pid file, program)}; a script is read again only when it moved."""
        folder = self._machine / "etc/init.d"
        found: Dict[str, Tuple[str, str]] = {}
        paths: List[Path] = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in paths:
            if path.name in NO_SERVICES or path.name.startswith(".") or not os.access(path, os.X_OK) or path.is_dir():
                continue
            gate = fingerprint(path)
            if self._scripts.get(path, (None, None))[0] != gate:
                self._scripts[path] = (gate, parse_init_script(read_text(path)))
            found[path.name] = self._scripts[path][1]
        return found
