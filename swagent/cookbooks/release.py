"""Releases on disk: a specification and its resolved tree are one value, kept whole or not at all.

    cookbooks/releases/<digest>/cookbooks/NAME/    the tree that a run uses from start to end
    cookbooks/releases/<digest>/release.json       what was resolved: revisions, versions, the lock file's text
    cookbooks/specifications/<digest>.json         which release stands for a specification, and the last failure
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Sequence, Tuple

from swagent import files
from swagent.errors import DocumentError
from swagent.model import Json, digest
from swagent.settings import Settings

FORMAT = 1
KEEP = 5
# Who uses a release touches it; one touched in this time (s) may belong to a run that is still going on.
IN_USE = 86400.0


@dataclass(frozen=True)
class Revision:
    """What a source is now: commit or fingerprint; sort: HEAD, branch, tag, commit, folder or constraint.

    Only a HEAD, branch or folder is followed: another id there is expected. Another one for a tag is worth a warning.
    """

    id: str
    sort: str
    name: str = ""  # the full reference


@dataclass(frozen=True)
class Release:
    """cookbooks: {name: {source, revision, version}}; path: one folder for each of them, named so."""

    path: Path
    digest: str
    cookbooks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    warnings: Tuple[str, ...] = ()
    resolved_at: float = 0.0  # wall clock, s
    sources: Tuple[Mapping[str, Json], ...] = ()
    lock: str = ""
    metadata: str = ""  # digest of what was fetched says of itself; empty where that is not known from its text


@dataclass(frozen=True)
class Standing:
    """What is known of a specification: its release's digest, when it was looked up, the last failure."""

    release: str = ""
    looked_up: float = 0.0
    error: str = ""
    error_at: float = 0.0


def digest_of(specification: str, revisions: Sequence[str]) -> str:
    """A release's digest: of the specification's, and of each source's revision in its order."""
    return digest({"format": FORMAT, "specification": specification, "revisions": list(revisions)})


def folder_of(settings: Settings, name: str) -> Path:
    return settings.cookbooks / "releases" / name


def load(settings: Settings, name: str) -> Release | None:
    """The release of this digest, marked as used now; None where there is none, or a damaged one."""
    folder = folder_of(settings, name)
    try:
        document = files.read_json(folder / "release.json")
        found = Release(
            path=folder / "cookbooks",
            digest=name,
            cookbooks={str(key): dict(value) for key, value in document["cookbooks"].items()},
            warnings=tuple(str(each) for each in document["warnings"]),
            resolved_at=float(document["resolved_at"]),
            sources=tuple(document["sources"]),
            lock=str(document["lock"]),
            metadata=str(document["metadata"]),
        )
        os.utime(folder / "release.json")
    except (FileNotFoundError, DocumentError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if found.path.is_dir() else None


def save(settings: Settings, building: Path, release: Release) -> Release:
    """Make building/cookbooks and its record the release, by one rename."""
    files.write_json(
        building / "release.json",
        {
            "format": FORMAT,
            "cookbooks": {name: dict(value) for name, value in release.cookbooks.items()},
            "warnings": list(release.warnings),
            "resolved_at": release.resolved_at,
            "sources": [dict(each) for each in release.sources],
            "lock": release.lock,
            "metadata": release.metadata,
        },
    )
    target = folder_of(settings, release.digest)
    files.make_folder(target.parent)
    sync_all(target.parent)
    if target.exists():  # damaged, else it would have been loaded
        shutil.rmtree(target)
    os.rename(building, target)
    files.sync_folder(target.parent)
    return release


def sync_all(folder: Path) -> None:
    """Put all that was written to the folder's file system on disk.

    A rename that outlives a power cut must not point at files that do not, and a tree's are too many to sync singly.
    """
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Of this file system alone: os.sync would wait for every disk of the machine.
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "cannot be synced", str(folder))
    finally:
        os.close(descriptor)


def standing(settings: Settings, specification: str) -> Standing:
    try:
        document = files.read_json(_standing_file(settings, specification))
        return Standing(
            str(document["release"]), float(document["looked_up"]), str(document["error"]), float(document["error_at"])
        )
    except (FileNotFoundError, DocumentError, KeyError, TypeError, ValueError):
        return Standing()


def remember(settings: Settings, specification: str, now: Standing) -> None:
    document = {"release": now.release, "looked_up": now.looked_up, "error": now.error, "error_at": now.error_at}
    files.make_folder(settings.cookbooks)
    lock = os.open(settings.cookbooks / "specifications.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Two processes that write one file at once take each other's temporary file away; it is held for a moment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        files.write_json(_standing_file(settings, specification), document)
    finally:
        os.close(lock)


def _standing_file(settings: Settings, specification: str) -> Path:
    return settings.cookbooks / "specifications" / f"{specification}.json"


def prune(settings: Settings, keep: int = KEEP) -> None:
    """Remove all but the `keep` releases used last and those used within a day, and what stood for the removed ones."""
    folder = settings.cookbooks / "releases"
    used = {}
    for each in folder.iterdir() if folder.is_dir() else []:
        record = each / "release.json"
        used[each.name] = record.stat().st_mtime if record.exists() else 0.0
    newest = sorted(used, key=lambda name: used[name], reverse=True)
    for name in newest[keep:]:
        if time.time() - used[name] > IN_USE:
            shutil.rmtree(folder / name)
    # Archives are only kept to be unpacked once more, by a new release of a part of them.
    archives = settings.cookbooks / "archives"
    kept = [(each.stat().st_mtime, each) for each in (archives.iterdir() if archives.is_dir() else [])]
    for when, each in sorted(kept, reverse=True)[2 * keep :]:
        if time.time() - when > IN_USE:
            each.unlink()
    records = settings.cookbooks / "specifications"
    for path in records.iterdir() if records.is_dir() else []:
        stands = standing(settings, path.stem)
        if stands.release and not (folder / stands.release).is_dir() and path.suffix == ".json":
            path.unlink()
