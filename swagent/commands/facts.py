"""`swagent facts`: what this member says of itself, gathered now, and which of it the others get to know."""

from __future__ import annotations

import argparse
import time
from fnmatch import fnmatchcase
from typing import Any, Iterator, Mapping

from swagent import context, state
from swagent.commands import stored
from swagent.commands.verb import Rows
from swagent.errors import SwagentError
from swagent.model import Facts as GatheredFacts
from swagent.scrub import Scrubber, secrets_of
from swagent.settings import Settings


# What the gatherer says of its own work, beside the facts.
ABOUT = ("timing", "origins")


def selected(path: str, key: str) -> bool:
    """Whether a fact's path is the key, lies below it, or matches it as a glob."""
    return not key or path == key or path.startswith(key + ".") or fnmatchcase(path, key)


def fact_rows(facts: GatheredFacts, key: str) -> Iterator[Mapping[str, Any]]:
    """{path, value, published} of the facts that the key selects."""
    published = dict(context.flatten(facts.published))
    own = {name: value for name, value in facts.all.items() if name not in ABOUT}
    everything = {**dict(context.flatten(own)), **published}
    for path, value in sorted(everything.items()):
        if path and selected(path, key):
            yield {"path": path, "value": value, "published": path in published}


def gather(settings: Settings) -> GatheredFacts:
    """The facts as they are now: the machine is asked, the network and the agent are not."""
    from swagent.agent import own_section, published_of_runs
    from swagent.collect import saved
    from swagent.gather import Gatherer

    found, metadata = state.read(settings), saved(settings)
    last = published_of_runs(found) if found is not None else {}
    gatherer = Gatherer(settings, scrubber=Scrubber(secrets_of(metadata, settings.sources)))
    return gatherer.gather(own_section(metadata), last, fresh=True)


class Facts(Rows):
    """This member's facts as they are now, and which of them are published to the stack.

    KEY is a dotted path (packages.munge), the start of some (packages), or a glob (services.slurm*). Values that
    have not settled yet are left out of what is published."""

    example = "swagent facts 'services.*'"
    columns = ("path", "value", "published")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("key", nargs="?", default="", metavar="KEY", help="a dotted path or a glob; default: all")
        parser.add_argument("--timing", action="store_true", help="say on stderr how long it took")

    def rows(self, arguments: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
        stored.check_access(self.app.settings)
        started = time.monotonic()
        facts = gather(self.app.settings)
        if arguments.timing:
            parts = ", ".join(f"{kind} {seconds:.3f} s" for kind, seconds in facts.all.get("timing", {}).items())
            self.app.note(f"gathered in {time.monotonic() - started:.3f} s: {parts}")
        for problem in facts.problems:
            self.app.note(problem)
        found = list(fact_rows(facts, arguments.key))
        if arguments.key and not found:
            raise SwagentError(f"no fact is called {arguments.key!r}; `swagent facts` lists them")
        yield from found
