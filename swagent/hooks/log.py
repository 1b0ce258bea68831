"""A run's log: what its program says, as it comes, scrubbed before it reaches the disk."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from types import TracebackType
from typing import Optional, Type

from swagent.process import KEEP_BYTES
from swagent.scrub import Scrubber


class ScrubbedLog:
    """An append-only file, 0600. `write` takes bytes cut anywhere; what may begin a secret waits for the rest."""

    def __init__(self, path: Path, scrubber: Scrubber) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        self._scrubber = scrubber
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def __enter__(self) -> ScrubbedLog:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        clean, self._rest = self._scrubber.take(self._rest + self._decoder.decode(data))
        self._append(clean)

    def close(self) -> None:
        self._append(self._scrubber.text(self._rest + self._decoder.decode(b"", final=True)))
        self._rest = ""
        os.close(self._descriptor)

    def _append(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._descriptor, data) :]


def kept(text: str, scrubber: Scrubber, limit: int = 1 << 20) -> str:
    """A stream as a result keeps it: scrubbed, and of a long one the end, `limit` characters.

    process.run keeps the end of a stream too, and may have cut it inside a secret: the beginning goes, up to a line's
    end behind the longest secret.
    """
    if len(text) * 4 >= KEEP_BYTES and len(text.encode("utf-8", "replace")) >= KEEP_BYTES:
        text = _from_next_line(text, scrubber.longest)
    text = scrubber.text(text)
    return _from_next_line(text, len(text) - limit) if len(text) > limit else text


def _from_next_line(text: str, position: int) -> str:
    return text[text.find("\n", position) + 1 :] if "\n" in text[position:] else text[position:]
