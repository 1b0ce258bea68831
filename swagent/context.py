"""Compile: metadata and everybody's items into the context of one member, its digests and the stack's verdict. Pure.

docs/context.md describes the document; design words: missing (not heard of), departed (left), suspect (silent).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence, Tuple

from swagent.model import Change, Context, Deployment, Item, Metadata, digest
from swagent.scrub import is_secret_name

# Outside every digest: they tell about runs and must not start one.
VOLATILE = ("state", "suspect")
UNDIGESTED = ("event", "digest", "departed")
ABSENT = "\0absent"


def present(items: Mapping[str, Item]) -> Mapping[str, Item]:
    """The items of those that have not left."""
    return {name: item for name, item in items.items() if not item.left}


def stack_digest(items: Mapping[str, Item]) -> str:
    """Over (member, instance, facts digest) of the present members and nothing else."""
    return digest(sorted([item.member, item.instance, item.facts_digest] for item in present(items).values()))


def missing_members(expected: Mapping[str, int], items: Mapping[str, Item]) -> Mapping[str, int]:
    """How many members each role lacks; a role that has enough is absent."""
    count = {role: sum(role in item.roles for item in present(items).values()) for role in expected}
    return {role: number - count[role] for role, number in sorted(expected.items()) if number > count[role]}


def member_entry(item: Item, suspect: bool) -> Mapping[str, Any]:
    """What recipes see of a member; what it ran stands apart, else its first run would concern all who list members."""
    facts = {key: value for key, value in item.facts.items() if key != "recipes"}
    return {"roles": sorted(item.roles), "state": item.status.state, "suspect": suspect, **facts}


def mark_secret(name: str, value: Any, key: str) -> str:
    """What stands for a secret in a context: the same for the same value, so that a difference shows, and no more."""
    mac = hmac.new(key.encode(), digest([name, value]).encode(), "sha256").hexdigest()
    return f"<secret:{name}#{mac[:12]}>"


def shown_parameters(deployment: Deployment, key: str) -> Mapping[str, Any]:
    """The deployment's parameters with marks in place of secrets."""
    named = deployment.options.get("secrets") or ()
    return {
        name: mark_secret(name, value, key) if name in named or is_secret_name(name) else value
        for name, value in deployment.parameters.items()
    }


def compile_context(
    metadata: Metadata, own: Item, items: Mapping[str, Item], suspects: Sequence[str] = (), key: str = ""
) -> Context:
    """The context of `own.member`: parameters and everybody's facts, where each key came from, and the digests."""
    section = metadata.section
    there = present(items)
    roles: dict[str, list[str]] = {role: [] for role in section.expected}
    for name, item in sorted(there.items()):
        for role in item.roles:
            roles.setdefault(role, []).append(name)
    missing = missing_members(section.expected, items)
    document: dict[str, Any] = {
        "member": own.member,
        "my_roles": sorted(own.roles),
        "event": "",
        "members": {name: member_entry(item, name in suspects) for name, item in sorted(there.items())},
        "recipes": {name: item.facts["recipes"] for name, item in sorted(there.items()) if item.facts.get("recipes")},
        "roles": {role: sorted(set(names)) for role, names in sorted(roles.items())},
        "expected": dict(sorted(section.expected.items())),
        "missing": missing,
        "departed": {
            name: {"roles": sorted(item.roles), **item.facts} for name, item in sorted(items.items()) if item.left
        },
        "complete": not missing,
    }
    where = metadata.origins.get("swagent", "settings")
    origins = {name: where for name in ("expected", "my_roles", "member")}
    for name, item in items.items():
        run = f" run {item.status.run}" if item.status.run else ""
        for part in ("members", "recipes", "departed"):
            origins[f"{part}.{name}"] = f"member {name}{run} seq {item.seq}"
    parameters = {}
    for deployment in metadata.deployments:
        parameters[deployment.name] = shown_parameters(deployment, key)
        origins[f"parameters.{deployment.name}"] = f"collector {deployment.source}"
    document["digest"] = context_digest(document)
    return Context(
        document=document,
        origins=origins,
        digest=document["digest"],
        stack_digest=stack_digest(items),
        parameters=parameters,
    )


def digested(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a context that counts: without events, states, suspicion and who has left."""
    counted = {key: value for key, value in document.items() if key not in UNDIGESTED}
    counted["members"] = {
        name: {key: value for key, value in member.items() if key not in VOLATILE}
        for name, member in document.get("members", {}).items()
    }
    return counted


def context_digest(document: Mapping[str, Any]) -> str:
    return digest(digested(document))


def read_values(document: Mapping[str, Any], reads: Sequence[Sequence[str]] | None) -> Any:
    """The values that a run read (None: it read all), from the part of the context that counts."""
    counted = digested(document)
    if reads is None:
        return counted
    values = []
    for path in reads:
        value: Any = counted
        for step in path:
            if isinstance(value, Mapping) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
                value = value[int(step)]
            else:
                value = ABSENT
                break
        values.append([list(path), value])
    return values


def without_own_facts(document: Mapping[str, Any], member: str) -> Mapping[str, Any]:
    """The context with the member's own facts taken out: what changed but for them."""
    recipes = {name: entry for name, entry in document.get("recipes", {}).items() if name != member}
    return {**document, "members": {**document.get("members", {}), member: {}}, "recipes": recipes}


def flatten(value: Any, prefix: str = "") -> Iterator[Tuple[str, Any]]:
    """(dotted path, leaf) pairs; lists are leaves, because their elements have no names."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value, key=str):
            yield from flatten(value[key], f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def origin_of(origins: Mapping[str, str], path: str) -> str:
    """Where a key came from: the longest known prefix of its path."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        known = origins.get(".".join(parts[:length]))
        if known:
            return known
    # Member names may hold dots, which split does not know of.
    return next((where for prefix, where in origins.items() if path.startswith(prefix + ".")), "compiled")


def diff(
    before: Mapping[str, Any], after: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> Tuple[Change, ...]:
    """The keys that differ between two documents, by path."""
    old, new = dict(flatten(before)), dict(flatten(after))
    changes = []
    for path in sorted({*old, *new}):
        if path in old and path in new and old[path] == new[path]:
            continue
        kind = "changed" if path in old and path in new else ("added" if path in new else "removed")
        changes.append(Change(path, kind, old.get(path), new.get(path), origin_of(origins or {}, path)))
    return tuple(changes)


@dataclass(frozen=True)
class Verdict:
    """Whether the stack is converged in this read, and who or what is in the way."""

    converged: bool
    reasons: Tuple[str, ...] = ()


def verdict(items: Mapping[str, Item], expected: Mapping[str, int], suspects: Sequence[str] = ()) -> Verdict:
    """Converged: all present members applied the digest of this read, with success, one generation, nobody missing."""
    now = stack_digest(items)
    there = present(items)
    reasons = [f"missing: {number} × {role}" for role, number in missing_members(expected, items).items()]
    for name, item in sorted(there.items()):
        if name in suspects:
            reasons.append(f"{name} is silent")
        if item.status.state == "failed" or item.status.result in ("failed", "timeout"):
            reasons.append(f"{name} failed in run {item.status.run}")
        elif item.status.applied != now:
            reasons.append(f"{name} is {item.status.state}")
    generations = {digest(item.generation) for item in there.values()}
    if len(generations) > 1:
        reasons.append("members are at different generations: " + ", ".join(sorted(there)))
    return Verdict(not reasons and bool(there), tuple(reasons))
