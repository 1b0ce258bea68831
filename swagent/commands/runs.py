"""`swagent runs`, `runs show`, `runs log`: the history of what was applied, and how it went."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any, Iterator, Mapping

from swagent import runs
from swagent.commands import stored
from swagent.commands.status import error_text
from swagent.commands.verb import Rows, Verb, clock, shown
from swagent.commands.verb import Show as ShowVerb
from swagent.commands.why import change_line, read_cause
from swagent.errors import SwagentError
from swagent.settings import Settings

LOOK = 0.2  # s between two looks at a growing log


def lasted(record: runs.Record, now: float) -> float | None:
    """Seconds that a run took, or has taken so far."""
    started, ended = record.get("started"), record.get("ended")
    if started is None:
        return None
    return float((ended or now) - started)


def row(record: runs.Record, now: float) -> Mapping[str, Any]:
    result = record.get("result") or {}
    resources = result.get("resources") or {}
    error = record.get("error") or result.get("error")
    return {
        "number": record["number"],
        "started": record.get("started"),
        "seconds": lasted(record, now),
        "deployment": record.get("name"),
        "events": list(record.get("events") or ()),
        "status": record.get("status"),
        "updated": f"{resources.get('updated', 0)}/{resources['total']}" if "total" in resources else None,
        "cause": read_cause(record).get("summary"),
        "group": record.get("group"),
        "action": record.get("action"),
        "identity": record.get("identity"),
        "deployment_id": record.get("deployment_id"),
        "ended": record.get("ended"),
        "resources": dict(resources),
        "context": record.get("context"),
        "why_run": bool(record.get("why_run")),
        "error": error_text(error) or None,
    }


def count(word: str) -> int:
    """For argparse: a positive whole number."""
    if int(word) < 1:
        raise ValueError(word)
    return int(word)


class Runs(Rows):
    """The recorded runs, oldest first: when, for which deployment and event, how it ended, and why it happened."""

    example = "swagent runs --last 5"
    columns = ("number", "started", "seconds", "deployment", "events", "status", "updated", "cause")
    wide = ("group", "action", "identity", "deployment_id", "ended", "resources", "context", "why_run", "error")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--last", type=count, metavar="N", help="only the last N")

    def rows(self, arguments: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
        settings = self.app.settings
        stored.check_access(settings)
        numbers = runs.numbers(settings)
        now = time.time()
        for number in numbers[-arguments.last :] if arguments.last else numbers:
            record = runs.read(settings, number)
            if record is None:
                self.app.note(f"run {number} has no readable record in {runs.folder(settings, number)}")
                continue
            yield row({**record, "number": number}, now)


class Show(ShowVerb):
    """All that is known of one run: cause, result, error with its place, resources, cookbooks, context."""

    example = "swagent runs show 7"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", nargs="?", type=int, metavar="RUN", help="a run's number; default: the last")

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        settings = self.app.settings
        stored.check_access(settings)
        number = arguments.run if arguments.run is not None else stored.last_run(settings)
        record = stored.read_run(settings, number)
        result = record.get("result") or {}
        return {
            "number": number,
            "deployment": record.get("name"),
            "group": record.get("group"),
            "action": record.get("action"),
            "events": list(record.get("events") or ()),
            "identity": record.get("identity"),
            "deployment_id": record.get("deployment_id"),
            "status": record.get("status"),
            "why_run": bool(record.get("why_run")),
            "started": record.get("started"),
            "ended": record.get("ended"),
            "seconds": lasted(record, time.time()),
            "cause": dict(read_cause(record)),
            "context": record.get("context"),
            "previous_context": record.get("previous_context"),
            "config_digest": record.get("config_digest"),
            "error": error_document(record.get("error") or result.get("error")),
            "exit_code": result.get("exit_code"),
            "resources": dict(result.get("resources") or {}),
            "details": list(result.get("details") or ()),
            "recipes": list(result.get("recipes") or ()),
            "cookbooks": dict(result.get("cookbooks") or {}),
            "outputs": dict(result.get("outputs") or {}),
            "reboot": result.get("reboot"),
            "log": str(runs.folder(settings, number) / "log"),
        }

    def text(self, document: Mapping[str, Any]) -> Iterator[str]:
        yield (
            f"run {document['number']} of {document['deployment']} ({document['group']}, {document['action']};"
            f" {', '.join(document['events'])}): {document['status']}"
            f"{' (a dry run: nothing was changed)' if document['why_run'] else ''}"
        )
        yield f"cause: {document['cause'].get('summary', '')}"
        yield from (f"  {change_line(change)}" for change in document["cause"].get("changes", ()))
        if document["started"]:
            ended = clock(document["ended"]) if document["ended"] else "still running"
            yield f"time: {clock(document['started'])} to {ended}, {document['seconds']:.1f} s"
        error = document["error"]
        if error:
            yield f"error: {error['message']}"
            for name in ("resource", "cookbook", "recipe", "line"):
                if error.get(name):
                    yield f"  {name}: {error[name]}"
        if document["exit_code"] is not None:
            yield f"exit code: {document['exit_code']}"
        if document["resources"]:
            yield "resources: " + ", ".join(f"{number} {name}" for name, number in document["resources"].items())
        yield from (f"  {detail_line(each)}" for each in document["details"])
        if document["recipes"]:
            yield f"recipes: {', '.join(document['recipes'])}"
        for name, each in sorted(document["cookbooks"].items()):
            yield f"cookbook {name}: {cookbook_line(each)}"
        for name, value in sorted(document["outputs"].items()):
            yield f"output {name}: {shown(value)}"
        if document["reboot"]:
            yield f"asked for a reboot: {shown(document['reboot'])}"
        yield f"context: {document['context'] or '-'}"
        yield f"log: {document['log']}"


def error_document(error: Any) -> Mapping[str, Any] | None:
    """Always {message, resource, cookbook, recipe, line}: what never reached a recipe is only a sentence."""
    if not error:
        return None
    blank = {"message": "", "resource": "", "cookbook": "", "recipe": "", "line": ""}
    return {**blank, **error} if isinstance(error, Mapping) else {**blank, "message": str(error)}


def detail_line(detail: Mapping[str, Any]) -> str:
    """One resource: its name first, then whatever else is known."""
    name = detail.get("resource") or detail.get("name") or ""
    rest = ", ".join(
        f"{key}: {shown(value)}" for key, value in detail.items() if key not in ("resource", "name") and value
    )
    return f"{name}  {rest}".strip()


def cookbook_line(cookbook: Any) -> str:
    """Version, revision and source of a cookbook as it was resolved."""
    if not isinstance(cookbook, Mapping):
        return shown(cookbook)
    revision = f"revision {cookbook['revision']} of " if cookbook.get("revision") else ""
    return (
        ", ".join(filter(None, (str(cookbook.get("version") or ""), f"{revision}{cookbook.get('source') or ''}")))
        or "-"
    )


class Log(Verb):
    """What the tool printed in a run, with secrets replaced; -f goes on until the run ends."""

    example = "swagent runs log 7 -f"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("run", nargs="?", type=int, metavar="RUN", help="a run's number; default: the last")
        parser.add_argument("-f", "--follow", action="store_true", help="go on as the log grows, until the run ends")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        settings: Settings = self.app.settings
        stored.check_access(settings)
        number = parsed_args.run if parsed_args.run is not None else stored.last_run(settings)
        stored.read_run(settings, number)
        path = runs.folder(settings, number) / "log"
        if not parsed_args.follow and not path.exists():
            raise SwagentError(f"run {number} has no log: nothing was printed, or it never started")
        offset = 0
        while True:
            # The end is looked for before the log is read: what was written just before it must not be lost.
            ended = not parsed_args.follow or not is_running(settings, number)
            offset = self.copy(path, offset)
            if ended:
                return 0
            time.sleep(LOOK)

    def copy(self, path: os.PathLike[str], offset: int) -> int:
        """Print the log from the offset on; the new offset."""
        try:
            with open(path, "rb") as stream:
                stream.seek(offset)
                data = stream.read()
        except FileNotFoundError:
            return offset
        # A character that is only half written comes whole in the next look.
        whole = data if len(data) < 4 else data[: len(data) - half_character(data)]
        self.app.stdout.write(whole.decode("utf-8", "replace"))
        self.app.stdout.flush()
        return offset + len(whole)


def half_character(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character that is not complete."""
    for length in range(1, 4):
        byte = data[-length]
        if byte & 0xC0 != 0x80:
            needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return length if needed > length else 0
    return 0


def is_running(settings: Settings, number: int) -> bool:
    """Running by its record, with an agent there to end it."""
    record = runs.read(settings, number)
    return record is not None and record.get("status") == "running" and stored.holder(settings) is not None
