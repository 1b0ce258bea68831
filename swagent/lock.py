"""One agent per root: a lock that the kernel drops with its holder, with the holder's name inside, never unlinked."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from swagent.errors import LockHeld
from swagent.files import make_folder


@dataclass
class Lock:
    """A held lock; `release` also happens when the process ends, whatever ends it."""

    descriptor: int

    def release(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def acquire(path: Path, command: str) -> Lock:
    """The lock, or LockHeld with pid, command and age of the holder."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        held_by = holder(path) or {}
        since = time.time() - float(held_by.get("since", time.time()))
        raise LockHeld(
            f"{path} is held by pid {held_by.get('pid', 'unknown')} ({held_by.get('command', 'swagent')}) "
            f"for {since:.0f} s; wait for it, or stop it first"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "command": command, "since": time.time()}).encode(), 0)
    return Lock(descriptor)


def holder(path: Path) -> Mapping[str, Any] | None:
    """Who holds the lock ({pid, command, since}), or None where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            document = json.loads(os.pread(descriptor, 4096, 0) or b"{}")
            return document if isinstance(document, dict) else {}
        return None
    except ValueError:
        return {}
    finally:
        os.close(descriptor)
