"""`swagent bootstrap`: from a bare instance to one able to converge. Free of cliff: over at once when all is there.

cliff shows the same words through app.Bootstrap, so that help and completion know this verb too.
"""

from __future__ import annotations

import argparse
import os
import sys

PARTS = ("chef", "service", "all")
DESCRIPTION = """Install what a converging machine needs: Chef and librarian-chef, the agent as a service. Needs root.

Safe to repeat: what is complete stays as it is. Chef's licence is never accepted for you: see the setting
chef_license. `service` writes and enables a systemd unit, and starts it where systemd runs."""
EXAMPLE = "swagent bootstrap chef"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("part", nargs="?", choices=PARTS, default="chef", help="what to install; default: chef")


def run(options: argparse.Namespace, arguments: argparse.Namespace) -> int:
    from swagent.settings import load

    settings = load(os.environ, root=options.root)

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr, flush=True)

    if arguments.part in ("chef", "all"):
        from swagent.bootstrap import chef

        chef.install(settings, say)
    if arguments.part in ("service", "all"):
        from swagent.bootstrap import service

        service.install(settings, say)
    return 0
