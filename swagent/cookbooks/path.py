"""Cookbooks from a folder of this machine: copied, so that a run is not disturbed by whoever edits them."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence, Tuple

from swagent.cookbooks import tree
from swagent.cookbooks.attempt import Attempt
from swagent.cookbooks.release import Revision
from swagent.cookbooks.specification import Source
from swagent.errors import SwagentError


def look(sources: Sequence[Source], attempt: Attempt) -> Mapping[Source, Revision]:
    return {source: Revision(tree.fingerprint(_folder(source)), "folder") for source in sources}


def fetch(source: Source, revision: Revision, folder: Path, attempt: Attempt) -> Tuple[str, ...]:
    tree.check(_folder(source), str(source))  # before the copy too: a pipe in it would not be there afterwards
    tree.copy(_folder(source), folder)
    return ()


def _folder(source: Source) -> Path:
    folder = Path(source.location)
    if not folder.is_dir():
        raise SwagentError(f"{source}: there is no such folder; create it or correct the path")
    return folder
