"""The values that travel along the walk, frozen; raw documents end where they are parsed (metadata.py, Item.parse).

Words as in the glossary of docs/glossary.md: member, deployment, facts, item, context, run, signal, event.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence, Tuple

Json = Any
# The events a run happens for; run lists of a chef deployment are chosen by them.
EVENTS = ("setup", "deploy", "configure", "undeploy", "shutdown")


def canonical(value: Json) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Json) -> str:
    """SHA-256 in hex over canonical JSON."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Input:
    """One input of a deployment, as Heat resolved it."""

    name: str
    type: str
    value: Json


@dataclass(frozen=True)
class Output:
    """One declared output; Heat takes the mere presence of an `error_output` for failure."""

    name: str
    type: str = "String"
    error_output: bool = False


@dataclass(frozen=True)
class Deployment:
    """One entry of metadata.deployments (heat: engine/resources/openstack/heat/software_deployment.py)."""

    id: str
    name: str
    group: str
    config: Json
    inputs: Tuple[Input, ...] = ()
    outputs: Tuple[Output, ...] = ()
    options: Mapping[str, Json] = field(default_factory=dict)
    creation_time: str = ""
    source: str = ""
    document: Mapping[str, Json] = field(default_factory=dict)  # as Heat sent it: what an external hook reads

    def input(self, name: str, default: Json = None) -> Json:
        return next((each.value for each in self.inputs if each.name == name), default)

    @property
    def action(self) -> str:
        """CREATE, UPDATE, DELETE, SUSPEND or RESUME."""
        return str(self.input("deploy_action") or "CREATE")

    @property
    def identity(self) -> str:
        """What stays the same over a deployment's life: Heat gives a new id to every action."""
        stack, resource = self.input("deploy_stack_id"), self.input("deploy_resource_name")
        return f"{stack}/{resource}" if stack and resource else self.name

    @property
    def transport(self) -> str:
        """CFN_SIGNAL, TEMP_URL_SIGNAL, HEAT_SIGNAL, ZAQAR_SIGNAL or NO_SIGNAL."""
        return str(self.input("deploy_signal_transport") or "NO_SIGNAL")

    @property
    def parameters(self) -> Mapping[str, Json]:
        """The inputs without those that only address the signal."""
        return {each.name: each.value for each in self.inputs if not each.name.startswith("deploy_")}


@dataclass(frozen=True)
class Quiescence:
    """Seconds: a change of facts waits `min` for the next one, never past `max`; a verdict holds for `hold`."""

    min: float = 5.0
    max: float = 30.0
    hold: float = 30.0


@dataclass(frozen=True)
class FactSelection:
    """`swagent.facts`: which facts are published; names or globs."""

    packages: Tuple[str, ...] = ()
    services: Tuple[str, ...] = ()
    files: Tuple[str, ...] = ()
    attributes: Tuple[str, ...] = ()
    secret: Tuple[str, ...] = ()


@dataclass(frozen=True)
class StackSection:
    """The `swagent` section of the metadata (docs/metadata.md); every key optional."""

    member: str = ""
    roles: Tuple[str, ...] = ()
    expected: Mapping[str, int] = field(default_factory=dict)
    generation: Json = None
    address: Mapping[str, str] = field(default_factory=dict)
    facts: FactSelection = FactSelection()
    data_bag: Mapping[str, Json] = field(default_factory=dict)
    quiescence: Quiescence = Quiescence()


@dataclass(frozen=True)
class Document:
    """The last good document of one source, and what is wrong with the source now, if anything."""

    source: str
    content: Mapping[str, Json]
    stale: bool = False
    error: str = ""


@dataclass(frozen=True)
class Metadata:
    """What all sources say together; `origins` names the source of each top-level key.

    refused: deployments that cannot be used, as far as they can be answered, each with the reason.
    """

    content: Mapping[str, Json] = field(default_factory=dict)
    deployments: Tuple[Deployment, ...] = ()
    section: StackSection = StackSection()
    origins: Mapping[str, str] = field(default_factory=dict)
    documents: Tuple[Document, ...] = ()
    problems: Tuple[str, ...] = ()
    refused: Tuple[Tuple[Deployment, str], ...] = ()


@dataclass(frozen=True)
class Facts:
    """A member's facts: `all` stays on the node, `published` is what peers get; problems in words, one a line.

    published: {fqdn, ip, addresses: {interface: [address]}, cpus, memory_mb, os, packages: {name: version},
    services: {name: state}, files: {path: sha256}, facts: {custom}}. Sets are sorted; no times, loads or pids.
    """

    all: Mapping[str, Json] = field(default_factory=dict)
    published: Mapping[str, Json] = field(default_factory=dict)
    problems: Tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return digest(self.published)


@dataclass(frozen=True)
class Status:
    """What a member says of its own convergence; outside every digest, so that publishing it changes nothing."""

    state: str = "converging"  # converging, converged, waiting, failed, degraded, leaving
    applied: str = ""  # the stack digest under which nothing was due
    result: str = ""  # success, failed, timeout or interrupted: the last run
    run: int = 0
    waiting_for: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One member's entry in the data bag, written only by its owner (docs/data-bag.md)."""

    member: str
    instance: str
    epoch: int = 1
    seq: int = 0
    server_id: str = ""
    roles: Tuple[str, ...] = ()
    generation: Json = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    facts_digest: str = ""
    status: Status = Status()
    left: bool = False
    format: int = 1

    def to_document(self) -> dict[str, Json]:
        return {
            "format": self.format,
            "member": self.member,
            "instance": self.instance,
            "epoch": self.epoch,
            "seq": self.seq,
            "server_id": self.server_id,
            "roles": list(self.roles),
            "generation": self.generation,
            "facts": dict(self.facts),
            "facts_digest": self.facts_digest,
            "status": {
                "state": self.status.state,
                "applied": self.status.applied,
                "result": self.status.result,
                "run": self.status.run,
                "waiting_for": list(self.status.waiting_for),
            },
            "left": self.left,
        }

    @classmethod
    def parse(cls, document: Json) -> Item:
        """The item; ValueError, KeyError or TypeError where it is none (peers' items are not trusted)."""
        status = document["status"]
        if not isinstance(document["facts"], dict):
            raise TypeError("facts are no map")
        return cls(
            format=int(document["format"]),
            member=str(document["member"]),
            instance=str(document["instance"]),
            epoch=int(document["epoch"]),
            seq=int(document["seq"]),
            server_id=str(document.get("server_id") or ""),
            roles=tuple(str(role) for role in document["roles"]),
            generation=document.get("generation"),
            facts=document["facts"],
            facts_digest=str(document["facts_digest"]),
            status=Status(
                state=str(status["state"]),
                applied=str(status["applied"]),
                result=str(status["result"]),
                run=int(status["run"]),
                waiting_for=tuple(str(name) for name in status.get("waiting_for", ())),
            ),
            left=bool(document.get("left")),
        )


@dataclass(frozen=True)
class Context:
    """What one member knows: `document` is node['swagent'] (docs/context.md), origins says where each key came from.

    origins: {dotted path: "collector heat" | "member head-0 run 3 seq 7" | ...}; the longest prefix of a path counts.
    """

    document: Mapping[str, Json]
    origins: Mapping[str, str]
    digest: str
    stack_digest: str
    parameters: Mapping[str, Json] = field(default_factory=dict)  # per deployment, marks in place of secrets

    def to_document(self) -> dict[str, Json]:
        """As it is saved: {swagent, parameters, origins, stack_digest}."""
        return {
            "swagent": dict(self.document),
            "parameters": dict(self.parameters),
            "origins": dict(self.origins),
            "stack_digest": self.stack_digest,
        }


@dataclass(frozen=True)
class Change:
    """One key that differs between two contexts; absent values are None. kind: added, removed or changed."""

    path: str
    kind: str
    before: Json
    after: Json
    origin: str = ""

    def to_document(self) -> dict[str, Json]:
        return {"path": self.path, "kind": self.kind, "before": self.before, "after": self.after, "origin": self.origin}


@dataclass(frozen=True)
class Cause:
    """Why a run happens. kind: deployment, context, own-facts, retry, interrupted or manual; summary: a sentence."""

    kind: str
    summary: str
    changes: Tuple[Change, ...] = ()
    previous_run: int = 0

    def to_document(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "summary": self.summary,
            "changes": [change.to_document() for change in self.changes],
            "previous_run": self.previous_run,
        }


@dataclass(frozen=True)
class RunError:
    """Why a run failed, in one sentence, and where in the cookbooks."""

    message: str
    resource: str = ""
    cookbook: str = ""
    recipe: str = ""
    line: str = ""  # app/recipes/default.rb:4

    def to_document(self) -> dict[str, Json]:
        return {
            "message": self.message,
            "resource": self.resource,
            "cookbook": self.cookbook,
            "recipe": self.recipe,
            "line": self.line,
        }


@dataclass(frozen=True)
class HookResult:
    """What a hook made of a deployment: a recipe that failed is a value of this, not an exception.

    status: success, failed, timeout, or interrupted (the agent was asked to stop). exit_code: the tool's own (Chef's 35
    and 37 come with success).
    resources: {total, updated, failed, skipped, up_to_date}; slow and updated ones by name in `details`.
    outputs: declared outputs that were written. reboot: {delay_mins, reason} when a recipe asked for one.
    cookbooks: {name: {source, revision, version}}, as resolved. recipes: the expanded run list that ran.
    reads: paths below node['swagent'] that the run read, none of them below another; None when what was read is not
    known (then everything counts as read).
    """

    status: str
    exit_code: int
    stdout: str = ""
    stderr: str = ""
    error: RunError | None = None
    outputs: Mapping[str, Json] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=dict)
    details: Tuple[Mapping[str, Json], ...] = ()
    seconds: float = 0.0
    reboot: Mapping[str, Json] | None = None
    cookbooks: Mapping[str, Json] = field(default_factory=dict)
    recipes: Tuple[str, ...] = ()
    attributes: Mapping[str, Json] = field(default_factory=dict)
    reads: Sequence[Sequence[str]] | None = None

    def to_document(self) -> dict[str, Json]:
        return {
            "status": self.status,
            "exit_code": self.exit_code,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "error": self.error.to_document() if self.error else None,
            "outputs": dict(self.outputs),
            "resources": dict(self.resources),
            "details": [dict(each) for each in self.details],
            "seconds": self.seconds,
            "reboot": dict(self.reboot) if self.reboot else None,
            "cookbooks": dict(self.cookbooks),
            "recipes": list(self.recipes),
            "attributes": dict(self.attributes),
            "reads": None if self.reads is None else [list(path) for path in self.reads],
        }

    @classmethod
    def parse(cls, document: Json) -> HookResult:
        error = document["error"]
        fields: dict[str, Json] = {
            **document,
            "error": RunError(**error) if error else None,
            "details": tuple(document["details"]),
            "recipes": tuple(document["recipes"]),
        }
        return cls(**fields)


@dataclass(frozen=True)
class Signal:
    """The one result that Heat waits for, per deployment and action; addressing comes from the deployment's inputs.

    body: {deploy_stdout, deploy_stderr, deploy_status_code, <output>: value, …}. address: the deploy_* inputs.
    """

    deployment_id: str
    identity: str
    name: str
    transport: str
    address: Mapping[str, Json]
    body: Mapping[str, Json]
    attempts: int = 0
    next_at: float = 0.0  # seconds since the epoch: it must survive a restart
    error: str = ""

    def to_document(self) -> dict[str, Json]:
        return {
            "deployment_id": self.deployment_id,
            "identity": self.identity,
            "name": self.name,
            "transport": self.transport,
            "address": dict(self.address),
            "body": dict(self.body),
            "attempts": self.attempts,
            "next_at": self.next_at,
            "error": self.error,
        }

    @classmethod
    def parse(cls, document: Json) -> Signal:
        return cls(**document)
