"""`swagent why`: why a run happened: a sentence, the keys that differed, and what led there."""

from __future__ import annotations

import argparse
import re
from typing import Any, Iterator, Mapping

from swagent import runs
from swagent.commands import stored
from swagent.commands.verb import Show, shown
from swagent.errors import SwagentError
from swagent.settings import Settings

# As context.py words the origin of a member's facts.
ORIGIN = re.compile(r"^member (?P<member>.+?)(?: run (?P<run>\d+))? seq (?P<seq>\d+)$")
LONGEST = 50  # runs in one chain: a loop of members would go on for ever


def read_cause(record: runs.Record) -> Mapping[str, Any]:
    cause = record.get("cause")
    if isinstance(cause, Mapping):
        return cause
    return {"kind": "", "summary": "no cause is recorded", "changes": [], "previous_run": 0}


def own_member(settings: Settings) -> str:
    """The name that this member bears, or empty where no context is kept."""
    try:
        return str(stored.newest_context(settings)["swagent"].get("member", ""))
    except SwagentError:
        return ""


def origins_of(cause: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """(member, run or None) that the changes came from, each once, in their order."""
    found: dict[tuple[str, int | None], None] = {}
    for change in cause.get("changes", ()):
        match = ORIGIN.match(str(change.get("origin", "")))
        if match:
            found[match["member"], int(match["run"]) if match["run"] else None] = None
    return list(found)


def chain(settings: Settings, number: int) -> Iterator[Mapping[str, Any]]:
    """Backwards from a run: {member, run, sentence, here}; what others did is in their own records (here: false)."""
    me = own_member(settings)
    waiting = [number]
    seen: set[tuple[str, int | None]] = {(me, number)}
    while waiting and len(seen) < LONGEST:
        current = waiting.pop(0)
        record = runs.read(settings, current)
        cause = read_cause(record) if record is not None else {"summary": "its record is not kept any more"}
        if current != number:
            yield {"member": me, "run": current, "sentence": str(cause["summary"]), "here": True}
        earlier = origins_of(cause)
        if cause.get("kind") in ("retry", "interrupted") and cause.get("previous_run"):
            earlier = [(me, int(cause["previous_run"])), *earlier]
        for member, run in earlier:
            # A fact that was published after this run had begun, or twice, leads nowhere new.
            if (member, run) in seen or (member == me and (run is None or run >= current)):
                continue
            seen.add((member, run))
            if member == me and run is not None:
                waiting.append(run)
            else:
                yield {"member": member, "run": run, "sentence": said_elsewhere(member, run), "here": False}


def said_elsewhere(member: str, run: int | None) -> str:
    if run is None:
        return f"{member} published it before its first run"
    return f"run {run} of {member} published it; `swagent why {run} --chain` there goes on"


class Why(Show):
    """Why a run happened: a sentence first, then the keys that differed, before and after and from where.

    --chain goes on backwards through the runs that led there, as far as this member knows: of other members it
    knows which run published the fact, and their own `swagent why` tells the rest."""

    example = "swagent why 7 --chain"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", nargs="?", type=int, metavar="RUN", help="a run's number; default: the last")
        parser.add_argument("--chain", action="store_true", help="what led there, across members")

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        settings = self.app.settings
        stored.check_access(settings)
        number = arguments.run if arguments.run is not None else stored.last_run(settings)
        record = stored.read_run(settings, number)
        cause = read_cause(record)
        return {
            "run": number,
            "deployment": record.get("name"),
            "events": list(record.get("events") or ()),
            "sentence": str(cause.get("summary", "")),
            "cause": dict(cause),
            "chain": list(chain(settings, number)) if arguments.chain else None,
        }

    def text(self, document: Mapping[str, Any]) -> Iterator[str]:
        events = ", ".join(document["events"])
        yield f"run {document['run']} of {document['deployment']} ({events}): {document['sentence']}"
        yield from (f"  {change_line(change)}" for change in document["cause"].get("changes", ()))
        for link in document["chain"] or ():
            run = f" run {link['run']}" if link["run"] else ""
            yield f"because of {link['member'] or 'this member'}{run}: {link['sentence']}"
        if document["chain"] == []:
            yield "nothing led there that this member knows of"


def change_line(change: Mapping[str, Any]) -> str:
    """One difference as a person reads it."""
    if change["kind"] == "added":
        what = f"now {shown(change['after'])}"
    elif change["kind"] == "removed":
        what = f"was {shown(change['before'])}, now absent"
    else:
        what = f"{shown(change['before'])} -> {shown(change['after'])}"
    return f"{change['path']}: {what}" + (f"    [{change['origin']}]" if change.get("origin") else "")
