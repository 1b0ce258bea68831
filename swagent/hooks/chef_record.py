"""The record of a Chef run (ruby/events.rb writes it) as counts, details and the error in one sentence. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from swagent.model import Json, RunError

Event = Mapping[str, Any]
STATUSES = {"updated": "updated", "up-to-date": "up_to_date", "skipped": "skipped", "failed": "failed"}
# chef: lib/chef/application/exit_code.rb; 172 is the license-acceptance gem's.
REBOOT_SCHEDULED, REBOOT_NEEDED, REBOOT_FAILED, BAD_CONFIG, NO_LICENSE, UPGRADED = 35, 37, 41, 43, 172, 213
SLOWEST = 5
MOST_DETAILS = 200  # a first run may update thousands; events.ndjson has them all
LONGEST_TEXT = 500
MOST_CHANGES = 12
_FATAL = re.compile(r"FATAL:\s*(.*)$")
_LOCATION = re.compile(r"^(?P<cookbook>[^/:]+)/(?P<path>[^:]+)(?::(?P<line>\d+))?")


@dataclass(frozen=True)
class Record:
    """What the lines of one run say. result: success or failure, empty where the run was cut off."""

    result: str = ""
    resources: Mapping[str, int] = field(default_factory=dict)
    details: Tuple[Mapping[str, Json], ...] = ()
    failed: Optional[Event] = None  # the resource whose failure ended the run
    trouble: Optional[Event] = None  # what stopped it before its first resource
    error: Mapping[str, Any] = field(default_factory=dict)
    running: Optional[Event] = None  # the resource that had begun and not ended, whatever the result
    reboot: Optional[Mapping[str, Json]] = None
    cookbooks: Mapping[str, str] = field(default_factory=dict)
    recipes: Tuple[str, ...] = ()
    attributes: Mapping[str, Json] = field(default_factory=dict)
    reads: Optional[Tuple[Tuple[str, ...], ...]] = None
    began: bool = False


def parse_line(line: bytes) -> Optional[Event]:
    """One line's event; None for half a line, which is what a kill leaves."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def read_record(events: Sequence[Event]) -> Record:
    """The events of a run, in their order, as one record."""
    by_kind: dict[str, List[Event]] = {}
    open_resources: List[Event] = []
    for event in events:
        by_kind.setdefault(event["event"], []).append(event)
        if event["event"] == "begin":
            open_resources.append(event)
        elif event["event"] == "resource":
            while open_resources and open_resources.pop()["resource"] != event["resource"]:
                pass
    # `action nothing` says that a resource waits for a notification: neither done nor skipped.
    done = [each for each in by_kind.get("resource", []) if each.get("action") != "nothing"]
    end = by_kind.get("end", [{}])[0]
    node_end = by_kind.get("node_end", [{}])[-1]
    reads = by_kind.get("reads", [{}])[-1].get("paths")
    result = str(end.get("result") or "")
    troubles = by_kind.get("trouble", [])
    failures = [each for each in done if each["status"] == "failed" and not each.get("ignored")]
    return Record(
        result=result,
        resources=count(done) if by_kind.get("converge") else {},
        details=details(done),
        # The innermost failing resource comes first; a resource of a custom resource says more than its wrapper.
        failed=_failure(failures) if result != "success" else None,
        trouble=troubles[0] if troubles else None,
        error=end.get("error") or {},
        running=open_resources[-1] if open_resources else None,
        reboot=_reboot(end.get("reboot")),
        cookbooks=by_kind.get("cookbooks", [{}])[-1].get("versions", {}),
        recipes=tuple(node_end.get("recipes", ())),
        attributes=node_end.get("attributes", {}),
        reads=tuple(tuple(path) for path in reads) if reads is not None and result == "success" else None,
        began=bool(by_kind.get("start")),
    )


def _failure(failures: Sequence[Event]) -> Optional[Event]:
    """The innermost of the failures that ended the run: wrappers fail after it with its message inside theirs."""
    if not failures:
        return None
    last = failures[-1]
    message = _first_line(last)
    for candidate in failures:
        if _first_line(candidate) and _first_line(candidate) in str((last.get("error") or {}).get("message", "")):
            return candidate
    return last if message is not None else None


def _first_line(event: Event) -> str:
    return str((event.get("error") or {}).get("message", "")).strip().split("\n", 1)[0]


def _reboot(info: Any) -> Optional[Mapping[str, Json]]:
    if not isinstance(info, dict):
        return None
    minutes = str(info.get("delay_mins") or "0")
    return {
        "delay_mins": int(float(minutes)) if re.fullmatch(r"\d+(\.\d+)?", minutes) else 0,
        "reason": str(info.get("reason") or ""),
        "requested_by": str(info.get("requested_by") or ""),
    }


def count(done: Sequence[Event]) -> Mapping[str, int]:
    """{total, updated, failed, skipped, up_to_date} over the resources' actions."""
    counts = {"total": len(done), **{name: 0 for name in STATUSES.values()}}
    for event in done:
        counts[STATUSES.get(event["status"], "up_to_date")] += 1
    return counts


def details(done: Sequence[Event]) -> Tuple[Mapping[str, Json], ...]:
    """Updated and failed resources and the slowest, in the order they ran."""
    slow = {id(each) for each in sorted(done, key=lambda each: -float(each.get("seconds") or 0))[:SLOWEST]}
    failed = [each for each in done if each["status"] == "failed"]
    chosen = [each for each in done if each["status"] in ("updated", "failed") or id(each) in slow]
    if len(chosen) > MOST_DETAILS:
        kept = {id(each) for each in chosen[: MOST_DETAILS - len(failed)]} | {id(each) for each in failed} | slow
        chosen = [each for each in chosen if id(each) in kept]
    return tuple(_detail(each) for each in chosen)


def _detail(event: Event) -> Mapping[str, Json]:
    kept = {
        key: event[key]
        for key in ("resource", "action", "status", "seconds", "cookbook", "recipe", "line", "cause")
        if event.get(key) is not None
    }
    if event.get("changes"):
        kept["changes"] = [short(line) for line in event["changes"][:MOST_CHANGES]]
    for key in ("before", "after"):
        if event.get(key):
            kept[key] = {name: short(value) for name, value in event[key].items()}
    if event.get("error"):
        kept["error"] = short(sentence_of(event["error"]))
    if event.get("ignored"):
        kept["ignored"] = True
    return kept


def short(value: Json) -> Json:
    """A text with its middle left out where it is long. Only for what is scrubbed: half a secret would pass unseen."""
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return f"{value[: LONGEST_TEXT // 2]} … {value[-LONGEST_TEXT // 2 :]}"
    return value


def sentence_of(error: Mapping[str, Any]) -> str:
    """Chef's message as one line: for a command what it wrote last, for a refusal of the (local) server its reason."""
    message = str(error.get("message") or error.get("class") or "").strip()
    body = error.get("body")
    if body:
        try:
            said = json.loads(body)["error"]
            said = said if isinstance(said, str) else "; ".join(str(each) for each in said)
            return said or message
        except (ValueError, KeyError, TypeError):
            return f"{message}: {' '.join(str(body).split())}"
    lines = message.split("\n")
    if "---- Begin output of" in message:
        said = re.findall(r"^STDERR: (.*?)(?=^---- End output)", message, re.DOTALL | re.MULTILINE)
        said = (
            said
            if said and said[0].strip()
            else re.findall(r"^STDOUT: (.*?)(?=^STDERR)", message, re.DOTALL | re.MULTILINE)
        )
        last = [line for line in (said[0] if said else "").split("\n") if line.strip()][-1:]
        return lines[0].strip() + (f": {last[0].strip()}" if last else "")
    first = next((line.strip() for line in lines if line.strip()), "")
    inner = error.get("inner")
    if inner:
        return "; ".join(dict.fromkeys(sentence_of(each) for each in inner)) or first
    return first


def last_fatal(stdout: str) -> str:
    """What Chef says before its client exists: the last FATAL line, else the last line of all."""
    lines = [line.strip() for line in stdout.splitlines() if line.strip()]
    fatal = [match.group(1) for match in map(_FATAL.search, lines) if match]
    told = [line for line in fatal if "stacktrace" not in line.lower() and "Please provide the contents" not in line]
    return (told or fatal or lines or [""])[-1]


def error_of(record: Record, exit_code: int, stdout: str, stderr: str = "") -> RunError:
    """Why the run failed, in one sentence: resource, cookbook, recipe and line where the record has them."""
    if record.failed is not None:
        event = record.failed
        cookbook, recipe, line = (str(event.get(key) or "") for key in ("cookbook", "recipe", "line"))
        where = f" ({cookbook}::{recipe} line {line.rpartition(':')[2]})" if cookbook and recipe and ":" in line else ""
        where = where or (f" ({line})" if line else "")
        said = sentence_of(event.get("error") or record.error)
        return RunError(short(f"{event['resource']}{where}: {said}"), str(event["resource"]), cookbook, recipe, line)
    known = {
        REBOOT_FAILED: "the reboot that a recipe asked for failed",
        BAD_CONFIG: "Chef refuses its configuration",
        UPGRADED: "a recipe upgraded Chef and ended the run: it goes on with the next one",
        2: "Chef was interrupted",
    }
    if exit_code < 0:
        known[exit_code] = f"Chef was killed by signal {-exit_code}"
    exited = (record.trouble or {}).get("error") or record.error
    if exited.get("class") == "SystemExit":
        line = str(exited.get("line") or "")
        said = known.get(exit_code) or f"a recipe ended Chef with exit code {exit_code}"
        return _located(f"{line}: {said}" if line else said, line, None)
    if record.trouble is not None:
        return _trouble(record.trouble)
    if exit_code == NO_LICENSE:
        return RunError(
            "Chef's licence is not accepted: set chef_license to accept, accept-silent or accept-no-persist in"
            " /etc/swagent/swagent.yaml, or use Cinc, which needs none"
        )
    said = sentence_of(record.error) if record.error else last_fatal(stdout) or last_fatal(stderr)
    line = str(record.error.get("line") or "")
    message = known.get(exit_code, "")
    if "RunLockTimeout" in said or "Unable to acquire lock" in said:
        message, said = "another Chef run holds the lock", said.partition("RunLockTimeout: ")[2] or said
    if not message or (said and said != message):
        message = f"{message}: {said}" if message else said or f"Chef ended with exit code {exit_code}"
    if record.running is not None:
        message += f", while {record.running['resource']} was running"
    return _located(short(message), line, record.running)


def _trouble(event: Event) -> RunError:
    error = event.get("error") or {}
    said = sentence_of(error)
    line = str(error.get("line") or event.get("file") or "")
    if event.get("phase") == "run_list" and "MissingRole" in str(error.get("class")):
        said = f"{said}; a role is a file roles/NAME.json of the deployment's repository"
    elif event.get("phase") == "cookbooks" and "No such cookbook" in said:
        said = f"{said}; name it in the deployment's options.cookbooks, or put it into its repository"
    if line and not said.startswith(line):
        said = f"{line}: {said}"
    return _located(short(said), line, None)


def _located(message: str, line: str, resource: Optional[Event]) -> RunError:
    """The error with what a place such as app/recipes/default.rb:3 says of cookbook and recipe."""
    if resource is not None:
        keys = ("cookbook", "recipe", "line")
        cookbook, recipe, place = (str(resource.get(key) or "") for key in keys)
        return RunError(message, str(resource["resource"]), cookbook, recipe, place)
    match = _LOCATION.match(line)
    if not match:
        return RunError(message)
    path = match.group("path")
    recipe = path[len("recipes/") :].rpartition(".")[0] if path.startswith("recipes/") else ""
    return RunError(message, "", match.group("cookbook"), recipe, line)
