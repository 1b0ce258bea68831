"""A Chef repository (cookbooks/, roles/, environments/, data_bags/), as `repository` or heat-agents' `kitchen` has it.

cookbooks/repositories/<digest>/tree/ holds one revision of one; a run uses it from start to end.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Tuple

from swagent import files
from swagent.cookbooks import git, tree
from swagent.cookbooks.attempt import Attempt
from swagent.cookbooks.release import Revision, Standing, remember, standing, sync_all
from swagent.cookbooks.specification import Source, parse_entry
from swagent.errors import DocumentError, SwagentError
from swagent.model import Json, digest
from swagent.settings import Settings

FOLDERS = ("cookbooks", "roles", "environments", "data_bags")
KEEP = 5


@dataclass(frozen=True)
class Repository:
    """path: a folder with some of FOLDERS in it; revision: a commit, or a fingerprint of the folder."""

    path: Path
    revision: str
    source: str = ""
    warnings: Tuple[str, ...] = ()


def parse(option: Json, inputs: Mapping[str, Json]) -> Source:
    """The source of a repository: {git, ref, path}, {path}, or a git URL as heat-agents' `kitchen` is one."""
    entry = {"git": option} if isinstance(option, str) else option
    if not isinstance(entry, Mapping):
        raise DocumentError("options", "repository", f"must be a map, not {entry!r}", "write {git: …, ref: …}")
    for key in ("name", "all", "version", "site"):
        if key in entry:
            raise DocumentError("options", "repository", f"takes no {key}", "it is one repository as a whole")
    return parse_entry(entry, inputs, "repository")


def checkout(
    option: Json,
    settings: Settings,
    deadline: float,
    mark: str,
    kitchen_path: str | None = None,
    inputs: Mapping[str, Json] | None = None,
) -> Repository:
    """The repository at its newest revision; without an option the existing folder kitchen_path, as heat-agents does.

    deadline: monotonic s. With its source down the revision used last stays in use, with a warning; SwagentError where
    there is none.
    """
    if not option:
        if not kitchen_path:
            raise SwagentError("no repository is named; add `repository: {git: …}` to the options")
        return _folder(Path(kitchen_path), "kitchen_path")
    source = parse(option, inputs or {})
    if source.kind == "path":
        return _folder(Path(source.location), "repository")
    attempt = Attempt(settings, deadline, mark)
    name = digest({"repository": source.to_document()})
    stands = standing(settings, name)
    try:
        git.sweep_keys(settings)
        revision = git.look([source], attempt)[source]
        warnings = _have(source, revision, attempt)
    except SwagentError as error:
        last = _tree(settings, source, stands.release)
        if not stands.release or not last.is_dir():
            raise
        said = f"{error}; revision {stands.release[:12]}, used before, stays in use"
        return Repository(last, stands.release, str(source), (said,))
    if stands.release != revision.id:
        remember(settings, name, Standing(revision.id))
    return Repository(_tree(settings, source, revision.id), revision.id, str(source), warnings)


def _folder(folder: Path, key: str) -> Repository:
    if not folder.is_dir():
        raise SwagentError(f"{key}: there is no folder {folder}; create it or name a repository with `repository`")
    _check(folder, str(folder))
    return Repository(folder, tree.fingerprint(folder), str(folder))


def _check(folder: Path, place: str) -> None:
    if not any((folder / name).is_dir() for name in FOLDERS):
        raise SwagentError(f"{place}: no Chef repository: it has none of {', '.join(name + '/' for name in FOLDERS)}")


def _tree(settings: Settings, source: Source, revision: str) -> Path:
    name = digest({"location": source.location, "folder": source.folder, "revision": revision})
    return settings.cookbooks / "repositories" / name / "tree"


def _have(source: Source, revision: Revision, attempt: Attempt) -> Tuple[str, ...]:
    """See that the revision's tree is there: laid out beside, checked, renamed."""
    target = _tree(attempt.settings, source, revision.id)
    if target.is_dir():
        os.utime(target.parent)
        return ()
    with attempt.hold(attempt.settings.cookbooks / "repositories.lock", "cannot check out"):
        workshop = attempt.settings.cookbooks / "checking-out"
        shutil.rmtree(workshop, ignore_errors=True)
        try:
            warnings = git.fetch(source, revision, files.make_folder(workshop) / "tree", attempt)
            tree.check(workshop / "tree", str(source))
            _check(workshop / "tree", str(source))
            (workshop / "tree.index").unlink()
            files.make_folder(target.parent.parent)
            sync_all(target.parent.parent)
            if not target.parent.exists():
                os.rename(workshop, target.parent)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
        _prune(target.parent.parent)
        return warnings


def _prune(folder: Path) -> None:
    used = sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for each in used[KEEP:]:
        shutil.rmtree(each)
