"""`swagent status`: one word and the reason, of this member or of the stack, from the files alone."""

from __future__ import annotations

import argparse
import time
from typing import Any, Iterator, Mapping

from swagent import context, runs, state
from swagent.commands import stored
from swagent.commands.verb import Show, clock, span
from swagent.errors import SwagentError
from swagent.settings import Settings

TIMED_OUT = 124
LOOK = 0.2  # s between two looks of --wait: files of this machine, read in a millisecond


def stack_verdict(settings: Settings, document: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
    """{converged, reasons} over the items as last read, with what the newest context expects."""
    members = document.get("members", {})
    suspects = status.get("suspects", [name for name, each in members.items() if each.get("suspect")])
    found = context.verdict(stored.read_items(settings), document.get("expected", {}), suspects)
    return {
        "converged": found.converged,
        "reasons": list(found.reasons) or ([] if found.converged else ["no member yet"]),
    }


def deployment_rows(found: state.State) -> list[Mapping[str, Any]]:
    return [
        {
            "name": each.name,
            "group": each.group,
            "status": each.status,
            "action": each.action,
            "run": each.run or None,
            "failures": each.failures,
            "retry_at": each.retry_at or None,
            "error": each.error,
        }
        for _, each in sorted(found.deployments.items())
    ]


def read(settings: Settings, stack: bool) -> Mapping[str, Any]:
    """The document of `swagent status -f json` (docs/commands.md)."""
    status = stored.read_status(settings)
    found = state.read(settings)
    holder = stored.holder(settings)
    try:
        document = stored.newest_context(settings)["swagent"] if found and found.context else {}
    except SwagentError:
        document = {}  # pruned by hand: the word and the reason do not need it
    last = str(status.get("state", ""))
    said = str(status.get("reason", ""))
    if holder is None:
        word, reason = "not-running", "no agent holds the lock"
        if last:
            reason += f"; it was last {last}{f': {said}' if said else ''}"
    elif not last or status.get("pid") != holder.get("pid"):
        word, reason = "converging", "the agent starts"  # what is there was said by the one before it
    else:
        word, reason = last, said
    numbers = runs.numbers(settings)
    record = (runs.read(settings, numbers[-1]) or {}) if numbers else {}
    return {
        "state": word,
        "reason": reason,
        "since": status.get("since") if holder is not None else None,
        "last": last or None,
        "pid": holder.get("pid") if holder else None,
        "member": document.get("member"),
        "roles": document.get("my_roles", []),
        "run": run_entry(record) if record else None,
        "running": found.running.number if found and found.running and holder is not None else None,
        "next_poll": status.get("next_poll") if holder is not None else None,
        "next_retry": status.get("next_retry") if holder is not None else None,
        "waiting_for": list(status.get("waiting_for", ())),
        "problems": list(status.get("problems", ())),
        "signals": len(list(settings.outbox.glob("*.json"))),
        "refused": len(list((settings.outbox / "refused").glob("*.json"))),
        "stack": stack_verdict(settings, document, status) if stack else None,
        "deployments": deployment_rows(found) if found else [],
    }


def run_entry(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: record.get(key) for key in ("number", "name", "events", "status", "started", "ended", "error")}


def error_text(error: Any) -> str:
    """A record's error as one sentence: it is a map for a failed recipe, text for what never got that far."""
    if isinstance(error, Mapping):
        place = error.get("line") or error.get("recipe")
        return f"{error.get('message', '')}{f' ({place})' if place else ''}"
    return str(error or "")


class Status(Show):
    """One word and the reason, of this member or of the whole stack.

    The word: converged, converging, waiting, degraded, failed, paused, suspended, replaced or not-running. It comes
    from files, without the agent and without the network. --stack judges the whole stack as this member last read it.
    The exit code is 0 whatever the word, unless --exit-status asks for 1; 124 when --wait timed out."""

    example = "swagent status --stack --wait --timeout 600"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--long", action="store_true", help="each deployment too, and times")
        parser.add_argument("--stack", action="store_true", help="the verdict on the whole stack")
        parser.add_argument("--wait", action="store_true", help="wait until converged (with --stack: the stack)")
        parser.add_argument(
            "--timeout", type=seconds, metavar="S", help="with --wait: give up after S seconds, with 124"
        )
        parser.add_argument(
            "--hold", type=seconds, default=0.0, metavar="S", help="with --wait: converged for S seconds"
        )
        parser.add_argument("--exit-status", action="store_true", help="exit with 1 unless converged")

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        self.long = arguments.long
        settings: Settings = self.app.settings
        stored.check_access(settings)
        document = read(settings, arguments.stack)
        if arguments.wait:
            document = self.wait(arguments, document)
        if arguments.exit_status and not self.status and not converged(document, arguments.stack):
            self.status = 1
        return document

    def wait(self, arguments: argparse.Namespace, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Look until converged for --hold seconds; a dead agent's last word does not count as converged."""
        start = time.monotonic()
        since: float | None = None
        told = ""
        while True:
            now = time.monotonic()
            if document["state"] != "not-running" and converged(document, arguments.stack):
                since = now if since is None else since
                if now - since >= arguments.hold:
                    return document
            else:
                since = None
            if arguments.timeout is not None and now - start >= arguments.timeout:
                self.app.note(f"not converged after {arguments.timeout:g} s")
                self.status = TIMED_OUT
                return document
            words = missed(document)
            if words != told and since is None:
                self.app.note(f"waiting: {words}")
                told = words
            time.sleep(LOOK)
            document = read(self.app.settings, arguments.stack)

    def text(self, document: Mapping[str, Any]) -> Iterator[str]:
        now = time.time()
        if document["stack"] is not None:
            yield f"stack {'converged' if document['stack']['converged'] else 'not converged'}"
            yield from (f"  {reason}" for reason in document["stack"]["reasons"])
        since = f" (for {span(now - document['since'])})" if document["since"] else ""
        yield headline(document) + since
        if document["member"]:
            yield f"member {document['member']}, roles: {', '.join(document['roles']) or 'none'}"
        yield from run_lines(document, now)
        if document["next_retry"]:
            yield f"next retry in {span(document['next_retry'] - now)}"
        if document["waiting_for"]:
            yield f"waiting for: {', '.join(document['waiting_for'])}"
        if document["signals"]:
            yield f"{document['signals']} result(s) not yet delivered to Heat"
        if document["refused"]:
            yield f"{document['refused']} result(s) that Heat refused for good, in outbox/refused"
        yield from (f"problem: {problem}" for problem in document["problems"])
        if self.long:
            if document["next_poll"]:
                yield f"next poll in {span(document['next_poll'] - now)}"
            if document["pid"]:
                yield f"agent: pid {document['pid']}"
            for each in document["deployments"]:
                run = f", run {each['run']}" if each["run"] else ""
                failures = f", {each['failures']} failure(s) in a row" if each["failures"] else ""
                title = f"deployment {each['name']} ({each['group']}, {each['action']})"
                yield f"{title}: {each['status']}{run}{failures}"
                if each["error"]:
                    yield f"  {each['error']}"


def run_lines(document: Mapping[str, Any], now: float) -> Iterator[str]:
    run = document["run"]
    if run is None:
        yield "no run yet"
        return
    title = f"run {run['number']} of {run['name']} ({', '.join(run['events'] or ())})"
    if document["running"] == run["number"]:
        yield f"{title}: running for {span(now - run['started'])}"
        return
    when = f", {span(now - run['ended'])} ago, at {clock(run['ended'])}" if run["ended"] else ""
    yield f"last {title}: {run['status']}{when}"
    if run["error"]:
        yield f"  {error_text(run['error'])}"


def converged(document: Mapping[str, Any], stack: bool) -> bool:
    return bool(document["stack"]["converged"] if stack else document["state"] == "converged")


def headline(document: Mapping[str, Any]) -> str:
    return f"{document['state']}{': ' if document['reason'] else ''}{document['reason']}"


def missed(document: Mapping[str, Any]) -> str:
    """What --wait waits for: the stack's reasons, else the member's own."""
    if document["stack"] is not None and document["state"] != "not-running":
        return f"stack not converged: {'; '.join(document['stack']['reasons'])}"
    return headline(document)


def seconds(word: str) -> float:
    """For argparse: a number of seconds, not negative."""
    value = float(word)
    if not 0 <= value < float("inf"):
        raise ValueError(word)
    return value
