"""SIGTERM as a flag: a run that is asked to stop ends its program in order and still gives a result."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from types import FrameType
from typing import Callable, Iterator, Optional


@contextmanager
def until_stopped() -> Iterator[Callable[[], bool]]:
    """Gives `stopped()`, true from the first SIGTERM on; the handler that was there before comes back afterwards.

    Signals reach the main thread only: in another one `stopped()` stays false.
    """
    asked = threading.Event()

    def note(_number: int, _frame: Optional[FrameType]) -> None:
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
