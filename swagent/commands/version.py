"""`swagent version`: what is installed here, found without starting any of it."""

from __future__ import annotations

import argparse
import platform
from typing import Any, Iterator, Mapping

from swagent import __version__, process
from swagent.commands.verb import Show
from swagent.errors import SwagentError
from swagent.settings import Settings


def find_chef(settings: Settings) -> str:
    """The program that would run recipes; empty where there is none."""
    from swagent.hooks.chef import find_program

    try:
        return find_program(settings)
    except SwagentError:
        return ""


def find_librarian(settings: Settings) -> str:
    return process.find([str(settings.chef_home / "bin" / "librarian-chef")])


def ask(program: str, *words: str) -> str | None:
    """The first line that a program says of its version; None where there is no program."""
    if not program:
        return None
    return process.check([program, *words], timeout=60).strip().splitlines()[0]


class Version(Show):
    """The versions of swagent and Python, and where Chef and librarian-chef are.

    Chef is only looked for: starting it takes seconds. --long starts it and asks."""

    example = "swagent version --long"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--long", action="store_true", help="also start Chef and librarian-chef for their versions")

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        chef, librarian = find_chef(self.app.settings), find_librarian(self.app.settings)
        document: dict[str, Any] = {
            "swagent": __version__,
            "python": platform.python_version(),
            "chef": chef or None,
            "librarian": librarian or None,
            "chef_version": None,
            "librarian_version": None,
        }
        if arguments.long:
            document["chef_version"] = ask(chef, "--version")
            document["librarian_version"] = ask(librarian, "version")
        return document

    def text(self, document: Mapping[str, Any]) -> Iterator[str]:
        yield f"swagent {document['swagent']}"
        yield f"python {document['python']}"
        yield f"chef: {document['chef'] or 'none; swagent bootstrap chef installs it'}"
        if document["chef_version"]:
            yield f"  {document['chef_version']}"
        yield f"librarian-chef: {document['librarian'] or 'none; swagent bootstrap chef installs it'}"
        if document["librarian_version"]:
            yield f"  {document['librarian_version']}"
