"""What the agent left on disk, as the reading verbs see it: nothing here writes, waits or asks another program."""

from __future__ import annotations

import os
import time
from typing import Any, Mapping

from swagent import files, lock, runs, state
from swagent.errors import DocumentError, NeedsRoot, SwagentError
from swagent.model import Item
from swagent.settings import Settings


def check_access(settings: Settings) -> None:
    """NeedsRoot where the files are another user's: they hold secrets, and an empty answer would be a wrong one."""
    for folder in (settings.lib, settings.run):
        try:
            os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise NeedsRoot(f"{folder} is kept from other users; run this command as root") from error


def lock_path(settings: Settings) -> Any:
    return settings.run / "lock"


def holder(settings: Settings) -> Mapping[str, object] | None:
    """Who is the agent here ({pid, command, since}), or None."""
    return lock.holder(lock_path(settings))


def read_status(settings: Settings) -> Mapping[str, Any]:
    """What the agent last said of itself; empty where it never did (or the machine has rebooted since)."""
    try:
        document = files.read_json(settings.run / "status.json")
    except (FileNotFoundError, DocumentError):
        return {}
    return document if isinstance(document, dict) else {}


def read_state(settings: Settings) -> state.State:
    """The saved state; SwagentError where the agent has not run here yet."""
    found = state.read(settings)
    if found is None and settings.state_file.exists():
        raise SwagentError(f"{settings.state_file}: damaged; the agent sets it aside at its next start: swagent run")
    if found is None:
        raise SwagentError(f"{settings.state_file}: no state; the agent has not run here yet: swagent run --once")
    return found


def read_items(settings: Settings) -> Mapping[str, Item]:
    """The items as the agent last read them; DocumentError where the file is damaged."""
    try:
        document = files.read_json(settings.members_file)
        return {str(name): Item.parse(each) for name, each in document.items()}
    except FileNotFoundError:
        return {}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DocumentError(
            str(settings.members_file),
            "",
            f"not what the agent writes ({error!r})",
            "remove it; the agent writes it anew",
        ) from error


def members_age(settings: Settings) -> float | None:
    """Seconds since the items last changed."""
    try:
        return time.time() - settings.members_file.stat().st_mtime
    except FileNotFoundError:
        return None


def read_context(settings: Settings, digest: str, whose: str) -> Mapping[str, Any]:
    """{swagent, parameters, origins, stack_digest}; SwagentError naming whose context it is where it is not kept."""
    try:
        if digest:
            document = files.read_json(settings.contexts / f"{digest}.json")
            if isinstance(document, dict) and isinstance(document.get("swagent"), dict):
                return document
    except FileNotFoundError:
        pass
    raise SwagentError(f"the context of {whose} is not kept any more; `swagent runs` names the newer ones")


def newest_context(settings: Settings) -> Mapping[str, Any]:
    found = read_state(settings)
    if not found.context:
        raise SwagentError("no context has been compiled here yet: swagent run --once")
    return read_context(settings, found.context, "the last cycle")


def read_run(settings: Settings, number: int) -> runs.Record:
    """The record of a run; SwagentError naming the runs there are."""
    record = runs.read(settings, number)
    if record is None:
        known = runs.numbers(settings)
        there = f"there are {known[0]} to {known[-1]}" if known else "there is none yet"
        raise SwagentError(f"no record of run {number}; {there}")
    return record


def last_run(settings: Settings) -> int:
    """The number of the newest run; SwagentError where there is none."""
    known = runs.numbers(settings)
    if not known:
        raise SwagentError("no run is recorded here yet: swagent run --once")
    return known[-1]
