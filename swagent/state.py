"""The state: what is already true, in one file. What it does not say is done in the next cycle.

Each change is saved after its effect, so that a kill between the two repeats the effect and loses nothing.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Mapping, Sequence, Tuple

from swagent import files
from swagent.errors import DocumentError
from swagent.settings import Settings

FORMAT = 1
# All that belongs to one instance, below /var/lib/swagent: set aside together when the machine is another one.
BELONGINGS = ("state.json", "members.json", "facts.json", "collected", "runs", "contexts", "outbox", "facts.d", "chef")


@dataclass(frozen=True)
class DeploymentState:
    """What is true of one deployment (by identity).

    status: applied, failed, undeployed or answered (no run was needed). id: the deployment id that this is about.
    config_digest, context_digest: what the last run was given; saved_context: the name of its file in contexts/.
    reads: the paths below node['swagent'] that the last successful run read (None: all), reads_digest: of their values
    then, peers_digest: of those without the member's own facts. own: that run was due to the member's own facts alone.
    events: those of the last run; pending: those still to run under this config. retry_at: seconds since the epoch.
    result: what the signal for `id` will say (None: nothing yet); signalled: the id whose signal is in the outbox.
    facts: {recipes, attributes} of the last successful run. departed: {member: digest} that a successful run saw leave.
    """

    identity: str
    id: str
    name: str = ""
    group: str = ""
    action: str = "CREATE"
    status: str = "answered"
    config_digest: str = ""
    context_digest: str = ""
    saved_context: str = ""
    reads: Sequence[Sequence[str]] | None = None
    reads_digest: str = ""
    peers_digest: str = ""
    own: bool = False
    run: int = 0
    events: Tuple[str, ...] = ()
    pending: Tuple[str, ...] = ()
    result: Mapping[str, Any] | None = None
    signalled: str = ""
    failures: int = 0
    retry_at: float = 0.0
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    departed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """The run in progress: enough to harvest it, or to record it as interrupted after a restart.

    later: events to run after it; attempts: failed runs before Heat is told; mark: what its processes carry.
    """

    number: int
    identity: str
    id: str
    name: str
    group: str
    action: str
    events: Tuple[str, ...]
    later: Tuple[str, ...]
    mark: str
    started: float
    config_digest: str
    context_digest: str
    saved_context: str
    attempts: int = 1
    own: bool = False
    why_run: bool = False
    departed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """All that outlives a process. epoch 0: not yet chosen. key: of the marks in place of secrets in saved contexts."""

    instance: str
    key: str = ""
    epoch: int = 0
    seq: int = 0
    next_run: int = 1
    context: str = ""  # digest of the newest compiled context
    deployments: Mapping[str, DeploymentState] = field(default_factory=dict)
    running: Running | None = None
    left: bool = False

    def with_deployment(self, deployment: DeploymentState) -> State:
        return replace(self, deployments={**self.deployments, deployment.identity: deployment})


def to_document(state: State) -> dict[str, Any]:
    return {"format": FORMAT, **asdict(state)}


def parse(document: Any) -> State:
    """The state; KeyError, TypeError or ValueError where the document is none."""
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, not {FORMAT}")
    fields = {key: value for key, value in document.items() if key != "format"}
    fields["deployments"] = {
        identity: DeploymentState(**_tuples(each, "events", "pending"))
        for identity, each in document["deployments"].items()
    }
    running = document["running"]
    fields["running"] = Running(**_tuples(running, "events", "later")) if running else None
    return State(**fields)


def _tuples(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {**document, **{name: tuple(document[name]) for name in names}}


def read(settings: Settings) -> State | None:
    """The saved state for a reading command; None where there is none or it is damaged."""
    try:
        return parse(files.read_json(settings.state_file))
    except (OSError, DocumentError, KeyError, TypeError, ValueError):
        return None


def load(settings: Settings, instance: str) -> Tuple[State, Tuple[str, ...]]:
    """The state of this instance, and what was set aside: a damaged file, or all that belongs to another instance."""
    fresh = State(instance=instance, key=secrets.token_hex(16))
    try:
        state = parse(files.read_json(settings.state_file))
    except FileNotFoundError:
        return fresh, ()
    except (DocumentError, KeyError, TypeError, ValueError) as error:
        aside = files.set_aside(settings.state_file)
        runs = [int(name) for name in os.listdir(settings.runs) if name.isdigit()] if settings.runs.is_dir() else []
        return (
            replace(fresh, next_run=max(runs, default=0) + 1),
            (f"the state was damaged ({error!r}) and is now {aside}; every deployment runs once more",),
        )
    if state.instance != instance:
        aside = set_belongings_aside(settings)
        return fresh, (f"the state of instance {state.instance} was found on {instance} and is now in {aside}",)
    return state, ()


def set_belongings_aside(settings: Settings) -> Path:
    aside = files.make_folder(settings.lib / f"aside-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
    # state.json last: a kill in between finds the other instance's state again and goes on.
    for name in reversed(BELONGINGS):
        if (settings.lib / name).exists():
            os.replace(settings.lib / name, aside / name)
    return aside


def save(settings: Settings, state: State) -> State:
    files.write_json(settings.state_file, to_document(state))
    return state
