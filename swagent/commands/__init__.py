"""The command line, one file per noun. To add a verb: a class in the file of its noun, and its line in VERBS."""

from __future__ import annotations

import argparse
import importlib
from typing import Mapping, Sequence

from swagent import __version__

# "module:class" below swagent.commands, loaded when the verb is called: a reading verb answers within 0.3 s.
VERBS: Mapping[str, str] = {
    "run": "app:Run",
    "status": "status:Status",
    "members": "members:Members",
    "facts": "facts:Facts",
    "context": "context:Context",
    "context diff": "context:Diff",
    "why": "why:Why",
    "runs": "runs:Runs",
    "runs show": "runs:Show",
    "runs log": "runs:Log",
    "metadata": "metadata:Metadata",
    "bootstrap": "app:Bootstrap",
    "config check": "config:Check",
    "version": "version:Version",
    "help": "app:Help",
    "complete": "app:Complete",
}

# Modules here that have DESCRIPTION, EXAMPLE, add_arguments and run, and go past cliff: it would stay in the resident
# agent's memory for good, and would be most of the time of a bootstrap that finds all there.
DIRECT = ("run", "bootstrap")


def call_directly(verb: str, options: argparse.Namespace, words: Sequence[str]) -> int:
    """Parse the words of a verb in DIRECT and run it; gives its exit code."""
    module = importlib.import_module(f"swagent.commands.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"swagent {verb}",
        description=module.DESCRIPTION,
        epilog=f"Example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return int(module.run(options, parser.parse_args(words)))


def add_global_options(parser: argparse.ArgumentParser) -> None:
    """Options that every verb takes, before it or after it."""
    parser.add_argument("--version", action="version", version=f"swagent {__version__}")
    parser.add_argument("--root", default="", metavar="DIR", help="where all files are; default: SWAGENT_ROOT, else /")
    level = parser.add_mutually_exclusive_group()
    level.add_argument("-q", "--quiet", action="store_true", help="only data and errors")
    level.add_argument("-v", "--verbose", action="count", default=0, help="tell more on stderr")
    parser.add_argument("--debug", action="store_true", help="the traceback of an error")
