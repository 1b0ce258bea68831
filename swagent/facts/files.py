"""Files whose content matters to peers, told by their SHA-256: {path: hex digest, or absent}."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from swagent.facts import Found, fingerprint

ABSENT = "absent"
LARGEST = 16 << 20  # bytes: reading more would hold up the cycle
MOST = 100  # files that one glob may give
# What is no file on a disk changes by itself: times, counters, devices.
NO_DISK = ("/proc", "/sys", "/dev")


class Files:
    """Reads a file again only when it moved."""

    def __init__(self, machine: Path = Path("/")) -> None:
        self._machine = machine
        self._known: Dict[str, Tuple[object, str]] = {}

    def look(self, selected: Sequence[str]) -> Found:
        """Absolute paths or globs; a path that is not there is `absent`, a glob that matches nothing gives nothing."""
        values: Dict[str, str] = {}
        problems: List[str] = []
        for pattern in selected:
            if not os.path.isabs(pattern):
                problems.append(f"swagent.facts.files: {pattern!r} is not absolute; write the whole path")
                continue
            for path in self._expand(pattern, problems):
                try:
                    values[path] = self._digest(path)
                except (OSError, ValueError) as error:
                    reason = error.strerror if isinstance(error, OSError) else error
                    problems.append(f"swagent.facts.files: {path}: {reason}; it is not published")
        self._known = {path: known for path, known in self._known.items() if path in values}
        return Found(dict(sorted(values.items())), "files", tuple(problems))

    def _expand(self, pattern: str, problems: List[str]) -> List[str]:
        if not glob.has_magic(pattern):
            return [os.path.normpath(pattern)]
        # Only the folder of `machine` is taken off again; it may hold characters that glob would read as a pattern.
        root = str(self._machine).rstrip("/")
        found = sorted(path[len(root) :] for path in glob.glob(glob.escape(root) + pattern) if os.path.isfile(path))
        if len(found) > MOST:
            problems.append(
                f"swagent.facts.files: {pattern} gives {len(found)} files; only the first {MOST} are published"
            )
        return found[:MOST]

    def _digest(self, path: str) -> str:
        real = self._machine / path.lstrip("/")
        gate = fingerprint(real)
        if gate is None and not os.path.lexists(real):
            return ABSENT
        known = self._known.get(path)
        if gate is not None and known is not None and known[0] == gate:
            return known[1]
        if any(path == folder or path.startswith(folder + "/") for folder in NO_DISK):
            raise ValueError("not a file on a disk: its content changes by itself")
        # Not blocking, and looked at once it is open: a pipe in its place must not hold up the agent.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a regular file")
            if status.st_size > LARGEST:
                raise ValueError(f"its {status.st_size} bytes are more than {LARGEST >> 20} MiB")
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                content = hashlib.sha256(stream.read(LARGEST + 1)).hexdigest()
        finally:
            os.close(descriptor)
        self._known[path] = (gate, content)
        return content
