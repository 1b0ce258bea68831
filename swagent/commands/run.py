"""`swagent run`: the agent. Free of cliff, because the resident agent keeps in memory whatever it imports.

cliff shows the same words through app.Run, so that help and completion know this verb too.
"""

from __future__ import annotations

import argparse
import os
import sys

from swagent.model import EVENTS
from swagent.settings import load

DESCRIPTION = """Converge this machine: as the resident agent, or once with --once.

The same walk in all modes. Progress goes to stderr. With --once it ends when nothing is due, running or
unpublished; its exit code is 1 when a run failed, and Chef's own 35, 37, 41 and 43 are passed on."""
EXAMPLE = "swagent run --once --force"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="until nothing is due, in the foreground")
    parser.add_argument("--force", action="store_true", help="run every deployment once more, changed or not")
    parser.add_argument("--why-run", action="store_true", help="Chef says what it would change, and changes nothing")
    parser.add_argument("--event", choices=EVENTS, metavar="EVENT", help=f"run for this event: {', '.join(EVENTS)}")


def run(options: argparse.Namespace, arguments: argparse.Namespace) -> int:
    settings = load(os.environ, root=options.root)
    from swagent import agent

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr, flush=True)

    return int(
        agent.run(
            settings,
            once=arguments.once,
            force=arguments.force,
            why_run=arguments.why_run,
            event=arguments.event,
            say=say,
        )
    )
