"""Run records: one folder per run with its cause, digests, result and log; capped by count and bytes.

runs/<n>/run.json       {number, identity, deployment_id, name, group, action, events, cause, context, previous_context,
                        config_digest, started, ended, status, error, result}; times in seconds since the epoch;
                        status: running, success, failed, timeout or interrupted; result: HookResult, None while running
runs/<n>/log            what the tool printed, scrubbed
runs/<n>/events.ndjson  Chef's own events, scrubbed
runs/<n>/result.json    the hook's result, written by the run's child process as its last act
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Mapping, Sequence

from swagent import files
from swagent.errors import DocumentError
from swagent.settings import Settings

Record = Mapping[str, Any]


def numbers(settings: Settings) -> list[int]:
    """The recorded runs, oldest first."""
    try:
        return sorted(int(name) for name in os.listdir(settings.runs) if name.isdigit())
    except FileNotFoundError:
        return []


def folder(settings: Settings, number: int) -> Path:
    return settings.runs / str(number)


def read(settings: Settings, number: int) -> Record | None:
    """The record, or None where it is not there or damaged."""
    try:
        document = files.read_json(folder(settings, number) / "run.json")
    except (OSError, DocumentError):
        return None
    return document if isinstance(document, dict) else None


def save(settings: Settings, record: Record) -> None:
    files.write_json(folder(settings, record["number"]) / "run.json", dict(record))


def surplus(sizes: Sequence[tuple[int, int, bool]], keep_runs: int, keep_bytes: int) -> list[int]:
    """Which runs to drop, from (number, bytes, kept for a reason), newest last: pure."""
    dropped, count, total = [], 0, 0
    for number, size, needed in reversed(sizes):
        count, total = count + 1, total + size
        if not needed and (count > keep_runs or total > keep_bytes):
            dropped.append(number)
            total -= size
    return dropped


def prune(settings: Settings) -> None:
    """Drop the oldest runs over the caps, then their contexts; never the last success or failure, or one going on."""
    recorded = numbers(settings)
    if len(recorded) <= settings.keep_runs and len(recorded) % 10:
        return  # sizes are only added up now and then
    last: dict[str, int] = {}
    contexts: dict[int, set[str]] = {}
    sizes = []
    for number in recorded:
        record = read(settings, number) or {}
        last[str(record.get("status"))] = number
        contexts[number] = {str(record.get("context")), str(record.get("previous_context"))}
        path = folder(settings, number)
        sizes.append((number, sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())))
    needed = set(last.values())
    for number in surplus(
        [(number, size, number in needed) for number, size in sizes], settings.keep_runs, settings.keep_bytes
    ):
        shutil.rmtree(folder(settings, number), ignore_errors=True)
        contexts.pop(number)
    used = set().union(*contexts.values()) if contexts else set()
    if settings.contexts.is_dir():
        for path in sorted(settings.contexts.iterdir(), key=lambda each: each.stat().st_mtime)[:-5]:
            if path.stem not in used:
                path.unlink()
