"""What a hook is asked to do: one deployment, under one context, in one run's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Tuple

from swagent.model import Context, Deployment, HookResult
from swagent.scrub import Scrubber
from swagent.settings import Settings


@dataclass(frozen=True)
class HookRequest:
    """One run of one deployment.

    events: those that are due together, with the same run list; recipes see the one in the context, else the last.
    folder: runs/<number>, there already and 0700; the hook writes `log` into it as it goes, chef also `events.ndjson`.
    mark: what process.run marks every process of the run with. attributes: dotted node attribute paths to publish.
    """

    deployment: Deployment
    events: Tuple[str, ...]
    context: Context
    settings: Settings
    folder: Path
    number: int
    scrubber: Scrubber
    mark: str
    why_run: bool = False
    attributes: Tuple[str, ...] = ()


Hook = Callable[[HookRequest], HookResult]
