"""Files that survive a kill or a power cut: whole or not there, 0600 in 0700 folders, and never fatal when damaged."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from swagent.errors import DocumentError


def make_folder(path: Path) -> Path:
    """Make the folder and its missing parents, each 0700; folders that are there keep their mode."""
    if not path.is_dir():
        make_folder(path.parent)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not path.is_dir():
                raise
    return path


def write(path: Path, content: str | bytes, mode: int = 0o600, durable: bool = True) -> None:
    """Write beside, fsync, rename, fsync the folder: a reader sees the old file or the new one, also after a power cut.

    durable=False leaves out the fsyncs: for what is derived, and compared with its source before each use.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    make_folder(path.parent)
    # One fixed temporary name per process: what a kill leaves behind is overwritten by the next write, not collected.
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(beside, path)
    if durable:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders renames durably or not at all
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, document: Any, mode: int = 0o600) -> None:
    write(path, json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n", mode)


def read_json(path: Path) -> Any:
    """The document; FileNotFoundError where there is none, DocumentError with path and line where it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DocumentError(
            str(path), f"line {error.lineno} column {error.colno}", f"not JSON: {error.msg}", "correct or remove it"
        ) from error
    except UnicodeDecodeError as error:
        raise DocumentError(str(path), f"byte {error.start}", "not UTF-8", "correct or remove it") from error
    except RecursionError as error:
        raise DocumentError(str(path), "", "nested too deeply", "correct or remove it") from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file to NAME.damaged-<time> beside it, so that nothing is lost, and give the new path."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
    os.replace(path, aside)
    return aside
