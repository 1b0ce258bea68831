"""What was fetched, as a tree of files: nothing in it may lead out of it, and a copy or a fingerprint of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Iterator, Tuple

from swagent.errors import SwagentError
from swagent.files import make_folder

# Never part of a cookbook, and changed by every look at it.
LEFT_OUT = frozenset({".git", ".svn"})


def walk(folder: Path, left_out: frozenset[str] = LEFT_OUT) -> Iterator[Tuple[Path, os.stat_result]]:
    """Every file, link and folder below, sorted, links not followed."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name in left_out:
            continue
        status = entry.stat(follow_symlinks=False)
        yield Path(entry.path), status
        if stat.S_ISDIR(status.st_mode):
            yield from walk(Path(entry.path), left_out)


def check(folder: Path, place: str, left_out: frozenset[str] = LEFT_OUT) -> None:
    """SwagentError where a link leads out of the folder, or something is neither file, folder nor link."""
    top = os.path.realpath(folder)
    for path, status in walk(folder, left_out):
        name = path.relative_to(folder)
        if stat.S_ISLNK(status.st_mode):
            # The real path, not the written one: a link through another link leaves the tree without saying so.
            target = os.path.realpath(path)
            if os.path.isabs(os.readlink(path)) or (target != top and not target.startswith(top + os.sep)):
                raise SwagentError(
                    f"{place}: {name} is a link out of the tree (to {os.readlink(path)}), which is refused; "
                    "put the file itself there"
                )
        elif not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise SwagentError(f"{place}: {name} is neither a file nor a folder, which is refused; remove it there")


def fingerprint(folder: Path) -> str:
    """SHA-256 over (relative path, size, mtime in ns, mode) of its files: changes when a file does; none is read."""
    sha = hashlib.sha256()
    for path, status in walk(folder):
        size, when = (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
        sha.update(f"{path.relative_to(folder)}\0{size}\0{when}\0{status.st_mode}\0".encode("utf-8", "surrogateescape"))
    return sha.hexdigest()


def copy(folder: Path, target: Path) -> None:
    """Copy files, folders and links as they are, for the owner only; whatever else lies there is left to `check`."""
    make_folder(target)
    for path, status in walk(folder):
        to = target / path.relative_to(folder)
        if stat.S_ISDIR(status.st_mode):
            to.mkdir(mode=0o700)
        elif stat.S_ISLNK(status.st_mode):
            to.symlink_to(os.readlink(path))
        elif stat.S_ISREG(status.st_mode):
            shutil.copyfile(path, to)
            to.chmod(stat.S_IMODE(status.st_mode) & 0o700)
