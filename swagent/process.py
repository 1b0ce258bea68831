"""The one door to other programs: argv and never a shell, always a deadline, and nothing left behind after it.

A program starts in a session of its own, marked SWAGENT_RUN=<mark> in its environment. Commands that it puts into
further sessions (Chef gives each command one) inherit the mark, and are found by it when the deadline ends it all.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Callable, Iterable, Mapping, Sequence

from swagent.errors import CommandFailed, CommandTimeout

MARK = "SWAGENT_RUN"
# What a program gets when we do not say otherwise: never the agent's own environment, which may hold secrets.
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}
# How much of each stream `run` keeps in memory; what is written to `sink` is whole.
KEEP_BYTES = 4 << 20


@dataclass(frozen=True)
class Ended:
    """How a program ended. status: its own, negative: the signal; stdout, stderr: the last 4 MiB of each."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False


def base_environment(**more: str) -> dict[str, str]:
    """A clean environment, with proxies and HOME of the caller kept: a fetch behind a proxy must work."""
    proxies = ("http_proxy", "https_proxy", "no_proxy")
    kept = ("HOME", "SSL_CERT_FILE", "TZ", *proxies, *(name.upper() for name in proxies))
    return {**BASE_ENVIRONMENT, **{key: os.environ[key] for key in kept if key in os.environ}, **more}


def marked(mark: str) -> list[int]:
    """Pids of living processes whose environment carries the mark, the caller's own left out."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                environment = Path("/proc", entry, "environ").read_bytes()
                stat = Path("/proc", entry, "stat").read_bytes()
            except OSError:
                continue  # ended meanwhile, or a kernel thread
            if wanted in environment.split(b"\0") and stat.rpartition(b") ")[2][:1] not in (b"Z", b"X"):
                found.append(int(entry))
    return found


def sweep(mark: str, patience: float = 5.0) -> list[int]:
    """Kill every process that carries the mark and wait until none is left; gives the pids that were killed."""
    killed: list[int] = []
    until = time.monotonic() + patience
    while True:
        left = marked(mark)
        if not left or time.monotonic() > until:
            return killed
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(pid)
        time.sleep(0.02)


@lru_cache(maxsize=None)
def prctl() -> Callable[..., int]:
    """The C library's; loaded before a fork, because a child of a process with threads must not import."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(parent: int, number: int, prctl: Callable[..., int]) -> None:
    """In a child: the kernel sends `number` when the parent dies, so that kill -9 of the agent ends its run too."""
    prctl(1, number, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(127)


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    mark: str = "",
    environment: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] = "/",
    stdin: bytes = b"",
    grace: float = 0.0,
    sink: Callable[[bytes], None] | None = None,
    stopping: Callable[[], bool] | None = None,
    umask: int = -1,
) -> Ended:
    """Run a program to its end, or to the deadline `timeout` (seconds).

    At the deadline, or as soon as `stopping()` is true: SIGINT to its group, `grace` seconds (0: none), SIGKILL to the
    group, then to all that carries the mark. `sink` gets the bytes of stdout and stderr as they come.
    OSError where the program cannot be started.
    """
    started = time.monotonic()
    mark = mark or f"{os.getpid()}.{time.monotonic_ns()}"
    full = {**(environment if environment is not None else base_environment()), MARK: mark}
    child = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=full,
        start_new_session=True,
        umask=umask,
        preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGINT if grace else signal.SIGKILL, prctl()),
    )
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    timed_out = False
    interrupted_at = 0.0
    assert child.stdout is not None and child.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, "stdout")
        selector.register(child.stderr, selectors.EVENT_READ, "stderr")
        if stdin:
            assert child.stdin is not None
            _feed(child.stdin, stdin)
        ended_at = 0.0
        while selector.get_map():
            now = time.monotonic()
            if child.poll() is not None:
                # A daemon that the program started may hold the pipes open for ever: read on for a moment only.
                ended_at = ended_at or now
                if now - ended_at > 0.5:
                    break
            elif not interrupted_at and (now - started > timeout or (stopping is not None and stopping())):
                timed_out, interrupted_at = True, now
                _signal_group(child.pid, signal.SIGINT if grace else signal.SIGKILL)
            elif interrupted_at and now - interrupted_at > grace:
                _signal_group(child.pid, signal.SIGKILL)
            for key, _ in selector.select(timeout=0.1):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                if sink is not None:
                    sink(data)
                stream = kept[key.data]
                stream += data
                if len(stream) > KEEP_BYTES:
                    del stream[: len(stream) - KEEP_BYTES]
    while child.poll() is None:  # it closed its streams and goes on
        now = time.monotonic()
        if not interrupted_at and (now - started > timeout or (stopping is not None and stopping())):
            timed_out, interrupted_at = True, now
            _signal_group(child.pid, signal.SIGINT if grace else signal.SIGKILL)
        elif interrupted_at and now - interrupted_at > grace:
            _signal_group(child.pid, signal.SIGKILL)
        time.sleep(0.02)
    child.stdout.close()
    child.stderr.close()
    if timed_out:
        sweep(mark)
    return Ended(
        status=child.returncode,
        stdout=kept["stdout"].decode("utf-8", "replace"),
        stderr=kept["stderr"].decode("utf-8", "replace"),
        seconds=time.monotonic() - started,
        timed_out=timed_out,
    )


def check(argv: Sequence[str], *, timeout: float, **more: object) -> str:
    """stdout of a program that must succeed; CommandFailed, CommandTimeout (both with its stderr) where it does not."""
    try:
        ended = run(argv, timeout=timeout, **more)  # type: ignore[arg-type]
    except OSError as error:
        raise CommandFailed(argv[0], 127, f"cannot start: {error.strerror}") from error
    if ended.timed_out:
        raise CommandTimeout(argv[0], timeout, ended.stderr)
    if ended.status:
        raise CommandFailed(argv[0], ended.status, ended.stderr or ended.stdout)
    return ended.stdout


def _feed(stream: IO[bytes], data: bytes) -> None:
    """Write stdin from a thread of its own: a program that answers before it has read all must not block us."""
    import threading

    def write() -> None:
        try:
            stream.write(data)
            stream.close()
        except BrokenPipeError:
            pass  # it ended without reading: its exit status tells

    threading.Thread(target=write, daemon=True).start()


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def find(names: Iterable[str], environment: Mapping[str, str] | None = None) -> str:
    """The first of the programs (names, or absolute paths) that is there and executable, else empty."""
    path = (environment or os.environ).get("PATH", "") + os.pathsep + BASE_ENVIRONMENT["PATH"]
    for name in names:
        folders = [""] if os.path.isabs(name) else path.split(os.pathsep)
        for folder in folders:
            candidate = os.path.join(folder, name)
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
                return candidate
    return ""
