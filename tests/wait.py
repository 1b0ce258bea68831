"""Waiting for what another process does: by polling with a deadline, never by a fixed sleep."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, TypeVar

T = TypeVar("T")


def until(predicate: Callable[[], T], seconds: float, what: str, pause: float = 0.1) -> T:
    """The predicate's first true value; AssertionError that names `what` and the last value after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s; last seen: {value!r}")
        time.sleep(pause)


def running(pid: int) -> bool:
    """Whether the process is there and has not ended: one that nobody has taken leave of yet (a zombie) has."""
    try:
        state = Path("/proc", str(pid), "stat").read_bytes().rpartition(b") ")[2][:1]
    except OSError:
        return False
    return state not in (b"Z", b"X")
