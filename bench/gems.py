"""What `gem install chef-bin librarian-chef` gives, made once per bench: the plain way, with its own defaults."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bench.row import CLEAN

CHEF = "18.11.11"
# Its librarian-chef asks for any chef and any minitar: what goes with this chef and works is named.
GEMS = (("chef-bin", CHEF), ("minitar", "0.12.1"), ("librarian-chef", "0.0.4"))


@dataclass(frozen=True)
class Plain:
    """home: its GEM_HOME; seconds: how long it took; size in MB of its files."""

    home: Path
    seconds: float
    megabytes: float

    @property
    def chef_solo(self) -> list[str]:
        return [str(self.home / "bin" / "chef-solo")]

    @property
    def environment(self) -> dict[str, str]:
        return {**CLEAN, "GEM_HOME": str(self.home)}


def megabytes(folder: Path) -> float:
    """MB (10^6 bytes) that the folder takes on disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


@lru_cache(maxsize=None)
def plain() -> Plain:
    """The installation; removed when this process ends."""
    import atexit

    home = Path(tempfile.mkdtemp(prefix="bench-gems-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    started = time.perf_counter()
    for name, version in GEMS:
        command = ["gem", "install", "--no-document", "--quiet", "--conservative", name, "-v", version]
        ended = subprocess.run(command, env={**CLEAN, "GEM_HOME": str(home)}, capture_output=True, text=True)
        if ended.returncode:
            raise SystemExit(f"{' '.join(command)}: {ended.stderr[-2000:]}")
    return Plain(home, time.perf_counter() - started, megabytes(home))
