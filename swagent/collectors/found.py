"""What one poll of a source gave, and how a file on this machine becomes a document."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Protocol, Tuple

from swagent.errors import DocumentError, SourceUnavailable
from swagent.metadata import check_document
from swagent.model import Json

FILE_CEILING = 64 << 20
REMEDY = "correct the file; the last good one stays in use"


@dataclass(frozen=True)
class Found:
    """(name, content) of each good document in order; failed: why the document of a name is not good now."""

    documents: Tuple[Tuple[str, Mapping[str, Json]], ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


class Collector(Protocol):
    """A kind of source, made with its options; NotConfigured where it lacks them."""

    def collect(self) -> Found:
        """One poll. SourceUnavailable, TransportError or DocumentError where the whole source gave nothing good."""


def paths_of(value: Json, default: Path) -> Tuple[Path, ...]:
    """The `path` option: one path, a list of them, or absent."""
    if not value:
        return (default,)
    return tuple(Path(str(each)) for each in (value if isinstance(value, list) else [value]))


def read_document(path: Path, refuse_world_writable: bool = False) -> Mapping[str, Json]:
    """The map in a JSON file. DocumentError names path, line and column; SourceUnavailable where it cannot be read."""
    try:
        # Without O_NONBLOCK a named pipe that somebody put there would hold us for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise DocumentError(str(path), "", "is no regular file", "remove it")
            if refuse_world_writable and about.st_mode & stat.S_IWOTH:
                raise DocumentError(str(path), "", "anybody may write it", f"chmod o-w {path}, after a look at it")
            if about.st_size > FILE_CEILING:
                raise DocumentError(str(path), "", f"is larger than {FILE_CEILING} bytes", "make it smaller")
            data = stream.read()
    except OSError as error:
        raise SourceUnavailable(f"cannot read {path}: {error.strerror}") from error
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise DocumentError(str(path), place, f"not JSON: {error.msg}", REMEDY) from error
    except UnicodeDecodeError as error:
        raise DocumentError(str(path), f"byte {error.start}", "not UTF-8", REMEDY) from error
    except RecursionError as error:
        raise DocumentError(str(path), "", "nested too deeply", REMEDY) from error
    return check_document(content, str(path))
