"""One row of the table, and the measuring that rows share: medians of runs taken in turn with what is beside."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

CHECKOUT = Path(__file__).resolve().parent.parent
LICENSE = {"CHEF_LICENSE": "accept-no-persist"}
CLEAN = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    **LICENSE,
}


@dataclass(frozen=True)
class Row:
    """ours and beside: in words, with units; ratio: ours/beside, None where nothing is beside; goal: in words."""

    what: str
    ours: str
    beside: str
    ratio: float | None
    goal: str
    met: bool

    def to_document(self) -> dict[str, Any]:
        return asdict(self)


def seconds(argv: Sequence[str], environment: Mapping[str, str] = CLEAN, status: int = 0) -> float:
    """Wall seconds of one whole process; it must end with `status`."""
    started = time.perf_counter()
    ended = subprocess.run(argv, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = time.perf_counter() - started
    if ended.returncode != status:
        raise SystemExit(
            f"{' '.join(argv)} ended with {ended.returncode}:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        )
    return took


def in_turn(ours: Callable[[], float], beside: Callable[[], float], count: int) -> tuple[float, float, float]:
    """(median of ours, of beside, of the pairs' ratios), measured A B A B after one uncounted run of each."""
    ours(), beside()
    pairs = [(ours(), beside()) for _ in range(count)]
    ratios = [one / other for one, other in pairs]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), statistics.median(ratios)


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB (10^6 bytes), as the kernel counts it (VmRSS)."""
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"process {pid} has no VmRSS")


def swagent(*words: str) -> list[str]:
    return [sys.executable, "-m", "swagent", *words]
