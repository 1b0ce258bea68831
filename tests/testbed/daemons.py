"""Daemons of a testbed: started by hand, each in a session of its own, found and ended by pid.

Every daemon carries a mark in its environment that names the testbed's folder. What a daemon starts inherits the
mark, also in a session of its own (Erlang's port programs), so that `stop_all` finds all of it in /proc.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

LOOPBACK = "127.0.0.1"
MARK = "SWAGENT_TESTBED"
# Debian's own programs only: another python3 that comes first on PATH has none of OpenStack's modules.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class TestbedError(Exception):
    """A real server did not come up; the text holds the end of its log."""

    __test__ = False  # its name begins as pytest's own


def free_ports(names: Sequence[str]) -> Dict[str, int]:
    """A port per name, free now. They lie below the kernel's range for outgoing connections, which would take one
    between this look and the daemon's own bind."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports: List[int] = []
    candidate = 10000 + (os.getpid() * 97 + time.monotonic_ns()) % max(1, min(low, 32000) - 12000)
    while len(ports) < len(names):
        candidate += 1
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, candidate))
            except OSError:
                continue
        ports.append(candidate)
    return dict(zip(names, ports))


def state_of(pid: int) -> Optional[Tuple[str, int, int]]:
    """(state letter, session, start time in clock ticks) of a process, or None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[3]), int(fields[19])


def marked(folder: Path) -> Dict[int, int]:
    """{pid: start time} of the living processes that carry the mark of this folder."""
    wanted = f"{MARK}={folder}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        state = state_of(int(entry.name))
        if wanted in environment.split(b"\0") and state and state[0] not in "ZX":
            found[int(entry.name)] = state[2]
    return found


class Daemons:
    """The daemons of one folder: FOLDER/pid/NAME and FOLDER/log/NAME.log. Another process may go on with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        (self.folder / "pid").mkdir(parents=True, exist_ok=True)
        (self.folder / "log").mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def tail(self, name: str, lines: int = 25) -> str:
        path = self.log(name)
        text = path.read_text(errors="replace") if path.exists() else ""
        return f"the end of {path}:\n" + "\n".join(text.splitlines()[-lines:])

    def environment(self, **more: str) -> Dict[str, str]:
        return {"PATH": PATH, "HOME": str(self.folder), "LANG": "C.UTF-8", MARK: str(self.folder), **more}

    def pid(self, name: str) -> Optional[int]:
        """The daemon's pid, None unless it runs: a number that another process got since is not taken for it."""
        try:
            pid, start = json.loads((self.folder / "pid" / name).read_text())
        except (OSError, ValueError):
            return None
        self._reap(pid)
        state = state_of(pid)
        return pid if state and state[0] not in "ZX" and state[2] == start else None

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] = {}) -> None:
        """Start it unless it runs; its output goes to its log."""
        if self.pid(name) is not None:
            return
        with open(self.log(name), "ab") as log:
            started = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(**environment),
                cwd=self.folder,
                start_new_session=True,
            )
        state = state_of(started.pid)
        (self.folder / "pid" / name).write_text(json.dumps([started.pid, state[2] if state else 0]))
        # Only `pid` and `stop` reap it: Popen's own destructor would warn about a child that lives on.
        started.returncode = 0

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str] = {}) -> None:
        """Run a program to its end; TestbedError with its output where it fails."""
        self.finish(name, self.begin(name, command, environment))

    def begin(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] = {}
    ) -> "subprocess.Popen[bytes]":
        with open(self.log(name), "ab") as log:
            return subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(**environment),
                cwd=self.folder,
            )

    def finish(self, name: str, program: "subprocess.Popen[bytes]", seconds: float = 120) -> None:
        try:
            code = program.wait(seconds)
        except subprocess.TimeoutExpired as error:
            program.kill()
            program.wait()
            raise TestbedError(f"{name} took longer than {seconds:.0f} s; {self.tail(name)}") from error
        if code != 0:
            raise TestbedError(f"{name} ended with {code}; {self.tail(name)}")

    def wait_port(self, name: str, port: int, seconds: float = 60) -> None:
        """Until the daemon accepts connections; TestbedError as soon as it ended, or after the time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection((LOOPBACK, port), 1).close()
                return
            except OSError as error:
                if self.pid(name) is None:
                    raise TestbedError(f"{name} ended before it listened; {self.tail(name)}") from error
                if time.monotonic() > deadline:
                    text = f"{name} does not listen on {port} after {seconds:.0f} s; {self.tail(name)}"
                    raise TestbedError(text) from error
            time.sleep(0.05)

    def stop(self, name: str, seconds: float = 10) -> None:
        """End one daemon with all of its session: TERM, after `seconds` KILL."""
        pid = self.pid(name)
        if pid is not None:
            self._end(
                {each: start for each, start in marked(self.folder).items() if self._session(each) == pid}, seconds
            )
        (self.folder / "pid" / name).unlink(missing_ok=True)

    def stop_all(self, order: Sequence[Sequence[str]] = (), seconds: float = 10) -> None:
        """End the daemons of each step of `order` together, one step after the other, then all that bears the mark."""
        for step in order:
            leaders = {self.pid(name) for name in step} - {None}
            self._end(
                {pid: start for pid, start in marked(self.folder).items() if self._session(pid) in leaders}, seconds
            )
        self._end(marked(self.folder), seconds)
        for path in (self.folder / "pid").iterdir():
            path.unlink()

    def _session(self, pid: int) -> Optional[int]:
        state = state_of(pid)
        return state[1] if state else None

    def _end(self, processes: Mapping[int, int], seconds: float) -> None:
        for number, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
            for pid in self._living(processes):
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + wait
            while self._living(processes) and time.monotonic() < deadline:
                time.sleep(0.05)

    def _living(self, processes: Mapping[int, int]) -> List[int]:
        living = []
        for pid, start in processes.items():
            self._reap(pid)
            state = state_of(pid)
            if state and state[0] not in "ZX" and state[2] == start:
                living.append(pid)
        return living

    def _reap(self, pid: int) -> None:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass  # started by another process, which reaps it
