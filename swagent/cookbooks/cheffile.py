"""The Cheffile and its lock: rendered for librarian-chef, and read back. Pure.

A Cheffile is Ruby that runs as root, so every word in it was checked (specification.py) and is quoted here once more.
Format: librarian-chef 0.0.4, `librarian/chef/dsl.rb` and librarian 0.1.2, `librarian/lockfile/parser.rb`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping, Sequence, Tuple


@dataclass(frozen=True)
class Wanted:
    """A cookbook from a site; site empty: the first one."""

    name: str
    constraint: str = ""
    site: str = ""


@dataclass(frozen=True)
class Locked:
    """A cookbook of the lock: kind SITE, PATH or GIT; sha only for GIT."""

    name: str
    version: str
    kind: str
    remote: str
    sha: str = ""


def quoted(text: str) -> str:
    """A Ruby string in single quotes, where nothing is interpolated; ValueError for what no name or URL holds."""
    if not text or not text.isprintable():
        raise ValueError(f"{text!r} cannot be in a Cheffile")
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def render(fetched: Mapping[str, str], sites: Sequence[str], wanted: Sequence[Wanted]) -> str:
    """A Cheffile over fetched cookbooks ({name: folder}) and sites.

    Every fetched cookbook is named, wanted or only a dependency: librarian-chef takes one from where a line says,
    else from the sites alone. Only the first site is the default one: with two it gives up where one has no such
    cookbook.
    """
    lines = ["# Rendered by swagent: changes here are lost."]
    lines += [f"site {quoted(site)}" for site in sites[:1]]
    lines += [f"cookbook {quoted(name)}, path: {quoted(folder)}" for name, folder in sorted(fetched.items())]
    for each in sorted(wanted, key=lambda one: one.name):
        words = [quoted(each.name)]
        words += [quoted(each.constraint)] if each.constraint else []
        words += [f"site: {quoted(each.site)}"] if each.site else []
        lines.append(f"cookbook {', '.join(words)}")
    return "\n".join(lines) + "\n"


def parse_lock(text: str) -> Tuple[Locked, ...]:
    """The cookbooks in a Cheffile.lock, in its order."""
    found = []
    kind = remote = sha = ""
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z]+", line):
            kind, remote, sha = line, "", ""
        elif line.startswith("  remote: "):
            remote = line[len("  remote: ") :]
        elif line.startswith("  sha: "):
            sha = line[len("  sha: ") :]
        else:
            match = re.fullmatch(r"    ([^ (]\S*) \(([^)]*)\)", line)
            if match and kind != "DEPENDENCIES":
                found.append(Locked(match.group(1), match.group(2), kind, remote, sha))
    return tuple(found)
