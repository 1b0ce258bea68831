"""`swagent members`: everybody in the stack, as this member last read the data bag."""

from __future__ import annotations

import argparse
from typing import Any, Iterator, Mapping

from swagent import context
from swagent.commands import stored
from swagent.commands.verb import Rows, span
from swagent.errors import SwagentError
from swagent.model import Item

EMPTY: Mapping[str, Any] = {
    "member": None,
    "roles": [],
    "state": "missing",
    "ip": None,
    "run": None,
    "result": None,
    "applied": False,
    "suspect": False,
    "left": False,
    "waiting_for": [],
    "seq": None,
    "epoch": None,
    "instance": None,
    "generation": None,
}


def row(item: Item, suspect: bool, stack: str) -> Mapping[str, Any]:
    """One member; applied: whether nothing was due there under the facts that are everybody's now."""
    return {
        "member": item.member,
        "roles": sorted(item.roles),
        "state": "left" if item.left else "silent" if suspect else item.status.state,
        "ip": item.facts.get("ip"),
        "run": item.status.run or None,
        "result": item.status.result or None,
        "applied": item.status.applied == stack and not item.left,
        "suspect": suspect,
        "left": item.left,
        "waiting_for": list(item.status.waiting_for),
        "seq": item.seq,
        "epoch": item.epoch,
        "instance": item.instance,
        "generation": item.generation,
    }


class Members(Rows):
    """Everybody in the stack: roles, state, address, last run, as this member last read the data bag.

    `applied` says whether the member has nothing left to do under the facts that are everybody's now. Members that
    the template expects and nobody has heard of are rows without a name, in state `missing`."""

    example = "swagent members -f json"
    columns = ("member", "roles", "state", "ip", "run", "result", "applied")
    wide = ("suspect", "left", "waiting_for", "seq", "epoch", "instance", "generation")

    def rows(self, arguments: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
        settings = self.app.settings
        stored.check_access(settings)
        items = stored.read_items(settings)
        try:
            document = stored.newest_context(settings)["swagent"]
        except SwagentError:
            document = {}
        status = stored.read_status(settings)
        known = document.get("members", {})
        suspects = status.get("suspects", [name for name, each in known.items() if each.get("suspect")])
        age = stored.members_age(settings)
        if age is None:
            self.app.note("the data bag has not been read here yet: swagent run --once")
        elif stored.holder(settings) is None:
            self.app.note(f"the agent is not running: this is how it was {span(age)} ago")
        stack = context.stack_digest(items)
        for name, item in sorted(items.items()):
            yield row(item, name in suspects and not item.left, stack)
        for role, number in context.missing_members(document.get("expected", {}), items).items():
            for _ in range(number):
                yield {**EMPTY, "roles": [role]}
