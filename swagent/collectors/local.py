"""Documents on this machine: cloud-init's from the boot (`heat_local`), operators' in a folder (`local`), and the
files that os-collect-config hands to its command (`command`).

os-collect-config's own modules for the first two need 6.5 MB and 0.1 s for oslo.config and oslo.log (Debian 12), and a
bad file drops all others there; so the files are read here, with the same names, order and safety rules.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Mapping

from swagent.collectors.found import Found, paths_of, read_document
from swagent.errors import NotConfigured, SourceUnavailable, SwagentError
from swagent.model import Json
from swagent.settings import Settings

HEAT_LOCAL = "/var/lib/heat-cfntools/cfn-init-data"
LOCAL = "/var/lib/os-collect-config/local-data"


class HeatLocal:
    """`heat_local`: the files of `path`, the keys of later ones over those of earlier ones."""

    def __init__(self, options: Mapping[str, Any], settings: Settings) -> None:
        self.paths = paths_of(options.get("path"), settings.under_root(HEAT_LOCAL))

    def collect(self) -> Found:
        there = [path for path in self.paths if path.exists()]
        content: dict[str, Json] = {}
        errors = []
        for path in there:
            try:
                content.update(read_document(path))
            except SwagentError as error:
                errors.append(str(error))
        if errors and not content:
            raise SourceUnavailable("; ".join(errors))
        if not content:
            raise NotConfigured(f"heat_local: nothing at {', '.join(map(str, self.paths))}")
        return Found((("heat_local", content),), {"heat_local": "; ".join(errors)} if errors else {})


def insecure(path: Path, uid: int) -> str:
    """Why a folder is not trusted, empty where it is: others' folders, and those that anybody may write to."""
    about = path.stat()
    if about.st_uid != uid:
        return f"{path} belongs to user {about.st_uid}, not to {uid}: chown it, after a look at what is in it"
    if about.st_mode & stat.S_IWOTH:
        return f"{path} may be written by anybody: chmod o-w {path}, after a look at what is in it"
    return ""


class Local:
    """`local`: every file of the folders of `path` that is not hidden, a document under its file name, in C order."""

    def __init__(self, options: Mapping[str, Any], settings: Settings) -> None:
        self.paths = paths_of(options.get("path"), settings.under_root(LOCAL))

    def collect(self) -> Found:
        folders = [path for path in self.paths if path.is_dir()]
        if not folders:
            raise NotConfigured(f"local: no folder {', '.join(map(str, self.paths))}")
        good: dict[str, Mapping[str, Json]] = {}
        failed: dict[str, str] = {}
        for folder in folders:
            try:
                danger = insecure(folder, os.getuid())
                names = os.listdir(folder)
            except OSError as error:
                raise SourceUnavailable(f"cannot read {folder}: {error.strerror}") from error
            if danger:
                raise SourceUnavailable(danger)
            for name in names:
                if name.startswith(".") or (folder / name).is_dir():
                    continue
                try:
                    good[name] = read_document(folder / name, refuse_world_writable=True)
                except SwagentError as error:
                    failed[name] = str(error)
        return Found(tuple((name, good[name]) for name in sorted(good, key=os.fsencode)), failed)


# The order in which os-collect-config lays its documents over one another, for those that it leaves out at a failure.
COMMAND_ORDER = ("heat_local", "ec2", "cfn", "heat", "request")


class Command:
    """`command`: the files in OS_CONFIG_FILES, each a document named as the file without `.json`."""

    def __init__(self, options: Mapping[str, Any], settings: Settings) -> None:
        self.paths = tuple(Path(path) for path in settings.config_files)

    def collect(self) -> Found:
        good = []
        failed = {}
        for path in self.paths:
            name = path.name[: -len(".json")] if path.name.endswith(".json") else path.name
            try:
                good.append((name, read_document(path)))
            except SwagentError as error:
                failed[name] = str(error)
        if failed and not good:
            raise SourceUnavailable("; ".join(failed.values()))
        return Found(tuple(good), failed)
