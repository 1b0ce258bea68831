"""One attempt at a release: its deadline, its mark, and the one way in which programs and locks are waited for."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping, Sequence

from swagent import process
from swagent.errors import SwagentError
from swagent.files import make_folder
from swagent.settings import Settings


@dataclass(frozen=True)
class Attempt:
    """deadline: monotonic seconds; mark: what everything that it starts carries (process.run)."""

    settings: Settings
    deadline: float
    mark: str

    @property
    def home(self) -> Path:
        """HOME of git and librarian-chef: no settings of whoever started swagent, and none are left there."""
        return self.settings.cookbooks / "home"

    def seconds(self, what: str) -> float:
        """How long there is left; SwagentError where the deadline is over."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise SwagentError(f"{what}: the deadline was over before it began; give the deployment a longer timeout")
        return left

    def run(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, what: str, limit: float = float("inf")
    ) -> process.Ended:
        """How the program ended; SwagentError where it cannot be started or did not end in time (`limit`: seconds)."""
        seconds = min(self.seconds(what), limit)
        try:
            ended = process.run(
                argv, timeout=seconds, mark=self.mark, environment=environment, folder=folder, umask=0o077
            )
        except OSError as error:
            raise SwagentError(f"{what}: cannot start {argv[0]}: {error.strerror}; install it") from error
        if ended.timed_out:
            raise SwagentError(f"{what}: no answer within {seconds:.0f} s; everything that it had started was ended")
        return ended

    @contextmanager
    def hold(self, path: Path, what: str) -> Iterator[None]:
        """A lock between processes, which the kernel drops with its holder; SwagentError at the deadline."""
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self.seconds(f"{what}: another process holds {path}")
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)
