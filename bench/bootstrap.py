"""`swagent bootstrap chef` into an empty folder, beside the plain gem installation; what a second call takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Sequence

from bench.gems import megabytes, plain
from bench.row import CLEAN, Row, seconds, swagent

# A search path without a compiler: what needs one fails.
TOOLS = ("gcc", "cc", "g++", "c++", "make")


def without_compiler(folder: Path) -> str:
    """A PATH that has every program of the system but the compilers."""
    for source in (Path("/usr/bin"), Path("/usr/sbin"), Path("/bin"), Path("/sbin")):
        for program in source.iterdir():
            link = folder / program.name
            if not link.exists() and not program.name.split("-")[-1].startswith(TOOLS) and program.name not in TOOLS:
                link.symlink_to(program)
    return str(folder)


def rows() -> Sequence[Row]:
    beside = plain()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "chef"
        path = Path(folder) / "path"
        path.mkdir()
        environment = {**CLEAN, "SWAGENT_CHEF_HOME": str(home), "PATH": without_compiler(path)}
        command = swagent("--root", folder, "bootstrap", "chef")
        took = seconds(command, environment)
        again = sorted(seconds(command, environment) for _ in range(5))[2]
        size = megabytes(home)
    return [
        Row(
            "`swagent bootstrap chef`, Debian's Ruby packages there, no compiler on its path",
            f"{took:.0f} s, {size:.0f} MB",
            f"gem install chef-bin librarian-chef, with gcc: {beside.seconds:.0f} s, {beside.megabytes:.0f} MB",
            took / beside.seconds,
            "≤ 45 s, ≤ 50 MB, no compiler",
            took <= 45 and size <= 50,
        ),
        Row("`swagent bootstrap chef` when it is there", f"{again:.2f} s", "–", None, "≤ 0.1 s", again <= 0.1),
    ]
