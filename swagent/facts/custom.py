"""Custom facts: what the operator and the recipes say of this machine, in files and executables of the facts.d folders.

NAME.json, NAME.yaml and NAME.yml are read; any other file that is executable is run and prints JSON or YAML. A map's
keys become facts; anything else becomes the fact NAME. A later file wins over an earlier: by folder, then by name.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from swagent import process
from swagent.facts import Found, fingerprint

DEADLINE = 10.0  # s for an executable
INTERVAL = 60.0  # s until it is run again
LONGEST_INTERVAL = 3600.0  # s, where it goes on failing: each hanging one costs a cycle its deadline
LARGEST = 1 << 20  # bytes of a file or of what an executable prints
MOST_VALUES, DEEPEST = 10_000, 20
DATA = (".json", ".yaml", ".yml")
# What editors and package tools leave beside a file.
LEFTOVERS = re.compile(r"^\.|~$|^#.*#$|\.(?:bak|orig|swp|new|tmp|rpmnew|rpmsave|rpmorig|dpkg-\w+|ucf-\w+)$")
# Not read here: such facts travel sealed or not at all.
SECRET_FOLDER = "secret"
# Values that differ at every look would keep the whole stack converging for ever.
VOLATILE = re.compile(
    r"(?:.*_)?(?:uptime|timestamp|pids?|ppid|loadavg|load_?averages?)(?:_(?:s|sec|seconds|ms))?"
    r"|load(?:_?(?:1|5|15)m?)?|(?:cpu|sys|system)_load|load_(?:one|five|fifteen)"
    r"|time|now|date|datetime|idletime|idle_(?:time|seconds)"
    r"|(?:boot|current|local|system|start|unix|wall)_?(?:time|date)|btime"
    r"|(?:started|updated|generated|checked)_at|last_seen",
    re.IGNORECASE,
)


def is_volatile(name: str) -> bool:
    """True of names that say time, load, uptime or process ids: `uptime_seconds`, `load1`, `slurmd_pid`, `bootTime`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]+", "_", name)
    return VOLATILE.fullmatch(words) is not None


def parse_output(text: str) -> Any:
    """JSON, else YAML; ValueError says where it is neither."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return parse_yaml(text)


def parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: not JSON: {error.msg}") from error


def parse_yaml(text: str) -> Any:
    import yaml  # here: machines without YAML facts never load it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(text, Loader=loader)  # a safe loader: no objects
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{line}not YAML: {getattr(error, 'problem', None) or error}") from error


def to_json(value: Any, problems: List[str], path: str = "", left: List[int] | None = None) -> Any:
    """The value as JSON has it, without what is volatile (named in `problems`); ValueError where JSON has none for it.

    Dates become their ISO text, sets are sorted, keys become text; aliases of YAML may not blow it up without bound.
    """
    left = left if left is not None else [MOST_VALUES]
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {MOST_VALUES} values")
    if path.count("\0") > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST}")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"{_dotted(path)} is not valid Unicode") from error
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{_dotted(path)} is {value}, which JSON cannot say")
        return value
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [to_json(each, problems, f"{path}\0{number}", left) for number, each in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return sorted((to_json(each, problems, path, left) for each in value), key=str)
    if isinstance(value, dict):
        kept = {}
        for key, each in value.items():
            name = key if isinstance(key, str) else json.dumps(key, default=str)
            to_json(name, problems, path, left)
            if is_volatile(name):
                problems.append(
                    f"{_dotted(f'{path}{chr(0)}{name}')}: times, load, uptime and process ids change by themselves"
                    " and are refused as facts; drop or rename it"
                )
            else:
                kept[name] = to_json(each, problems, f"{path}\0{name}", left)
        return kept
    raise ValueError(f"{_dotted(path)} is a {type(value).__name__}, which JSON cannot say")


def _dotted(path: str) -> str:
    return path.strip("\0").replace("\0", ".") or "the document"


def merge(entries: Sequence[Tuple[Path, Any]]) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """The facts of all files, later ones winning key by key, and the file that each comes from."""
    facts: Dict[str, Any] = {}
    origins: Dict[str, str] = {}
    for path, value in entries:
        if value is None:
            continue
        for key, each in value.items() if isinstance(value, dict) else [(stem(path), value)]:
            facts[key] = each
            origins[key] = str(path)
    return dict(sorted(facts.items())), dict(sorted(origins.items()))


def stem(path: Path) -> str:
    """What comes before the first dot of the name."""
    return path.name.partition(".")[0]


def why_not_run(path: Path) -> str:
    """Why the file is not run as root, empty where it may be: nobody else may be able to change it."""
    own = (0, os.geteuid())
    for each, words in ((path.parent, "its folder"), (path, "it")):
        status = each.stat()
        if status.st_uid not in own:
            return f"{words} belongs to uid {status.st_uid}, not to root; chown root it"
        if status.st_mode & stat.S_IWOTH:
            return f"{words} is writable by everyone; chmod o-w it"
        if status.st_mode & stat.S_IWGRP and status.st_gid not in (0, os.getegid()):
            return f"{words} is writable by group {status.st_gid}; chmod g-w it"
    return ""


@dataclass(frozen=True)
class Entry:
    """One file: what it last gave that was good, and how it is now. due: monotonic time of an executable's next run."""

    gate: object = None
    value: Any = None
    problems: Tuple[str, ...] = ()
    due: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class CustomFound(Found):
    """Custom facts with the file that each comes from, and the names in facts.d/secret."""

    origins: Mapping[str, str] = field(default_factory=dict)
    secret: Tuple[str, ...] = ()


class Custom:
    """Files are read again when they moved; executables run again when they moved, on request and every minute."""

    def __init__(self, folders: Sequence[Path], remembered: Mapping[str, Any], deadline: float = DEADLINE) -> None:
        """remembered: {path: last good value} of an earlier process; deadline: seconds for each executable."""
        self._folders = tuple(folders)
        self._deadline = deadline
        self._entries = {Path(path): Entry(value=value) for path, value in remembered.items()}

    @property
    def good(self) -> Dict[str, Any]:
        """{path: last good value}: what `remembered` should be after a restart."""
        return {str(path): entry.value for path, entry in self._entries.items() if entry.value is not None}

    def look(self, now: float, fresh: bool = False) -> CustomFound:
        """now: monotonic; fresh: run the executables now. What was good last stands while a file fails."""
        entries: Dict[Path, Entry] = {}
        secret: List[str] = []
        problems: List[str] = []
        for path in self._paths(secret):
            known = self._entries.get(path, Entry())
            entries[path] = self._refresh(path, known, now, fresh)
            problems += entries[path].problems
        self._entries = entries
        values, origins = merge([(path, entry.value) for path, entry in entries.items()])
        return CustomFound(values, "facts.d", tuple(problems), origins, tuple(sorted(secret)))

    def _paths(self, secret: List[str]) -> Iterator[Path]:
        for folder in self._folders:
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                continue  # not there, or not for this user: no custom facts
            for name in names:
                if name == SECRET_FOLDER:
                    secret += _names_in(folder / name)
                elif not LEFTOVERS.search(name):
                    yield folder / name

    def _refresh(self, path: Path, known: Entry, now: float, fresh: bool) -> Entry:
        gate = fingerprint(path)
        is_data = path.suffix in DATA
        if gate == known.gate and gate is not None and (is_data or not known.due or (now < known.due and not fresh)):
            return known
        try:
            if path.is_dir():
                return Entry(gate, problems=(f"{path}: a folder; custom facts are read from the files beside it",))
            if is_data:
                text = _read(path)
                value = parse_json(text) if path.suffix == ".json" else parse_yaml(text)
            elif os.access(path, os.X_OK):
                value = self._run(path)
            else:
                words = f"neither {', '.join(DATA)} nor executable; rename it or chmod +x it"
                return Entry(gate, problems=(f"{path}: {words}",))
            refused: List[str] = []
            value = to_json(value, refused)
            if not isinstance(value, dict) and value is not None and is_volatile(stem(path)):
                value, refused = None, [f"{stem(path)} is volatile and refused as a fact; rename the file"]
            good = Entry(gate, value, tuple(f"{path}: {each}" for each in refused))
            return good if is_data else replace(good, due=now + INTERVAL)
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if isinstance(error, RecursionError):
                reason = f"nested deeper than {DEEPEST}"
            stands = "; what it gave last stands" if known.value is not None else "; it gives no facts"
            wait = min(INTERVAL * 2 ** min(known.failures, 10), LONGEST_INTERVAL)
            return Entry(
                gate,
                known.value,
                (f"{path}: {reason}{stands}",),
                0.0 if is_data else now + wait,
                known.failures + 1,
            )

    def _run(self, path: Path) -> Any:
        refusal = why_not_run(path)
        if refusal:
            raise ValueError(f"not run: {refusal}")
        ended = process.run([str(path)], timeout=self._deadline, folder=path.parent)
        if ended.timed_out:
            raise ValueError(f"ended at its deadline of {self._deadline:g} s")
        if ended.status:
            last = ended.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ValueError(f"ended with {ended.status}: {last[0][:200]}")
        if len(ended.stdout) > LARGEST:
            raise ValueError(f"printed more than {LARGEST >> 20} MiB")
        return parse_output(ended.stdout)


def _read(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("not a regular file")
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST >> 20} MiB")
    return content.decode("utf-8")


def _names_in(folder: Path) -> List[str]:
    try:
        return [stem(Path(name)) for name in os.listdir(folder) if not LEFTOVERS.search(name)]
    except OSError:
        return []
