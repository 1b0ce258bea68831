"""What a member can say of itself, one file per kind of fact.

To add a kind: a file with a class whose `look` gives a Found and costs nothing while the machine is unchanged, a line
in gather.py, a row in docs/facts.md.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence, Tuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What one kind found: values by name (sorted), what was asked, and what went wrong, in words."""

    values: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    problems: Tuple[str, ...] = ()


def is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def select(values: Mapping[str, T], patterns: Sequence[str]) -> Dict[str, T]:
    """The values, in their order, whose names are among the patterns or match one of them (fnmatch, case counts)."""
    literal = {pattern for pattern in patterns if not is_glob(pattern)}
    globs = [fnmatch.translate(pattern) for pattern in patterns if is_glob(pattern)]
    # One expression for all globs: a thousand names, each against each glob, cost more than reading the packages.
    matching = re.compile("|".join(globs)) if globs else None
    return {
        name: value
        for name, value in values.items()
        if name in literal or (matching is not None and matching.match(name))
    }


def fingerprint(path: Path | str) -> Tuple[int, int, int, int] | None:
    """What moves when a file or folder is written, renamed over or touched; None where there is none to see.

    Inode and ctime beside mtime and size: a tool that restores the mtime, or writes twice within a tick, shows there.
    """
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def read_text(path: Path | str) -> str:
    """A small file of the machine as text; empty where it is not there or not for us."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
