"""Report: the one result that Heat waits for, per deployment and action, through an outbox on disk.

A result is put into the outbox once it is committed; from there it is delivered with back-off, across restarts, until
Heat answers. Nothing here looks at recipes: a signal that cannot be delivered never makes one run again.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Iterable, Mapping

from swagent import files
from swagent.errors import DocumentError, SwagentError
from swagent.model import Deployment, HookResult, Json, RunError, Signal, digest
from swagent.scrub import Scrubber
from swagent.settings import Settings
from swagent.signals import DELIVERED, KINDS, REFUSED, WAITING, Delivery

# Heat refuses bodies above 1 MiB (max_json_body_size); a proxy before it may count headers too.
BODY_LIMIT = 1_000_000
DELAY_MIN = 1.0  # s before the second attempt, doubling
DELAY_MAX = 300.0
# A refusal by status (the resource takes no signals, is gone, the body is too large) is believed after so many times:
# a proxy answers 404 too while Heat is being updated.
BELIEVED = 8
# One call of `deliver` does not hold the walk for longer (s): what is left goes out at the next.
PATIENCE = 20.0
KEEP_REFUSED = 20


# The body


def sentence(result: HookResult, group: str) -> str:
    """Why a deployment failed: one sentence with resource, cookbook and line, as far as they are known."""
    error = result.error or RunError(
        f"{group or 'hook'} ended at its deadline after {result.seconds:.0f} s"
        if result.status == "timeout"
        else f"{group or 'hook'} ended with exit code {result.exit_code}"
    )
    cookbook = f"{error.cookbook}::{error.recipe}" if error.cookbook and error.recipe else error.cookbook
    where = [error.resource, f"cookbook {cookbook}" if cookbook else "", f"at {error.line}" if error.line else ""]
    found = ", ".join(filter(None, where))
    message = " ".join(error.message.split())
    return f"{message} ({found})" if found else message


def json_size(value: Json) -> int:
    """Bytes of the value in the JSON that is sent: ASCII, as every version of Heat takes it."""
    return len(json.dumps(value))


def trim_middle(text: str, room: int) -> str:
    """The text with its middle left out, so that its JSON takes at most `room` bytes; the ends say the most."""
    if json_size(text) <= room:
        return text

    def cut(keep: int) -> str:
        head, tail = text[: (keep + 1) // 2], text[len(text) - keep // 2 :]
        return f"{head}\n[... {len(text) - keep} characters left out ...]\n{tail}"

    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if json_size(cut(middle)) <= room else (low, middle - 1)
    return cut(low) if json_size(cut(low)) <= room else ""


def trim(body: Mapping[str, Json], limit: int = BODY_LIMIT) -> dict[str, Json]:
    """The body within `limit` bytes of JSON: its longest texts give way first; an output of another type goes whole."""
    trimmed = dict(body)
    if json_size(trimmed) <= limit:
        return trimmed
    for key, value in trimmed.items():
        if not isinstance(value, (str, int, float, type(None))) and json_size(value) > limit // 4:
            trimmed[key] = f"left out: {json_size(value)} bytes of JSON do not fit into a signal of {limit} bytes"
    sizes = {key: json_size(value) for key, value in trimmed.items() if isinstance(value, str)}
    rest = json_size(trimmed) - sum(sizes.values())
    low, high = 0, limit
    while low < high:  # the largest room for each text with which the whole fits
        room = (low + high + 1) // 2
        whole = rest + sum(min(size, room) for size in sizes.values())
        low, high = (room, high) if whole <= limit else (low, room - 1)
    return {key: trim_middle(value, max(low, 2)) if key in sizes else value for key, value in trimmed.items()}


def body(deployment: Deployment, result: HookResult, scrubber: Scrubber) -> dict[str, Json]:
    """What Heat is told: {deploy_stdout, deploy_stderr, deploy_status_code, <output>: value}, scrubbed, not too large.

    Heat (engine/resources/openstack/heat/software_deployment.py) takes a status code other than 0, and the mere
    presence of an `error_output`, for failure: those are absent on success, and on failure each tells why.
    """
    failed = result.status != "success"
    said: dict[str, Json] = {
        "deploy_stdout": result.stdout,
        "deploy_stderr": result.stderr,
        # Chef's 35 and 37 (a reboot is scheduled) come with success, and Heat knows no code but 0 for that.
        "deploy_status_code": (result.exit_code or 1) if failed else 0,
    }
    for output in deployment.outputs:
        if output.name in said:
            continue
        if output.error_output:
            if failed:
                said[output.name] = sentence(result, deployment.group)
        elif output.name in result.outputs:
            said[output.name] = result.outputs[output.name]
    return trim(_printable(scrubber.value(said)))


def _printable(value: Json) -> Json:
    """Without what no database behind Heat stores: half surrogate pairs and NUL."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list) else value


# The outbox


def make_signal(deployment: Deployment, said: Mapping[str, Json]) -> Signal:
    """The signal of a deployment's result; it is addressed by the deployment's own deploy_* inputs."""
    return Signal(
        deployment_id=deployment.id,
        identity=deployment.identity,
        name=deployment.name,
        transport=deployment.transport,
        address={each.name: each.value for each in deployment.inputs if each.name.startswith("deploy_")},
        body=dict(said),
    )


def file_name(deployment_id: str) -> str:
    """A name in the outbox: the id itself where it is harmless (Heat's are), else its digest."""
    safe = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,120}", deployment_id)
    return f"{deployment_id if safe else digest(deployment_id)}.json"


def next_delay(attempts: int) -> float:
    """Seconds to wait after that many failed attempts (1 or more), before jitter."""
    return min(DELAY_MIN * 2.0 ** min(attempts - 1, 30), DELAY_MAX)


def due(signal: Signal, now: float) -> bool:
    """Whether an attempt is due at `now` (seconds since the epoch); a clock that was set back delays none for long."""
    return signal.next_at <= now or signal.next_at > now + 2 * DELAY_MAX


def after(signal: Signal, delivery: Delivery, now: float, chance: float) -> Signal | None:
    """The signal after an attempt, None where nothing is left: delivered, or refused often enough to be believed."""
    attempts = signal.attempts + 1
    if delivery.kind == DELIVERED or (delivery.kind == REFUSED and attempts >= BELIEVED):
        return None
    wait = next_delay(attempts) * (0.75 + 0.5 * chance)
    return replace(signal, attempts=attempts, next_at=now + wait, error=delivery.reason)


def pending(settings: Settings) -> tuple[Signal, ...]:
    """The signals that are not delivered, in the order of their deployments' names; damaged files are set aside."""
    found = []
    for path in sorted(settings.outbox.glob("*.json")) if settings.outbox.is_dir() else []:
        try:
            found.append(Signal.parse(files.read_json(path)))
        except FileNotFoundError:
            continue  # delivered meanwhile, by the agent beside this command
        except (DocumentError, TypeError):
            if os.access(settings.outbox, os.W_OK):
                files.set_aside(path)
    return tuple(sorted(found, key=lambda signal: (signal.name, signal.deployment_id)))


def put(settings: Settings, signal: Signal) -> None:
    """Lay a signal into the outbox; twice is harmless. It replaces one for an older action of the deployment."""
    if signal.transport == "NO_SIGNAL":
        return
    for other in pending(settings):
        if other.identity == signal.identity and other.deployment_id != signal.deployment_id:
            # A resource that is replaced has its successor's name: Heat waits for its DELETE and the other's CREATE.
            if "DELETE" not in (other.address.get("deploy_action"), signal.address.get("deploy_action")):
                drop(settings, other)
        elif other.deployment_id == signal.deployment_id and other.body == signal.body:
            return  # with its attempts so far
    files.write_json(settings.outbox / file_name(signal.deployment_id), signal.to_document())


def drop(settings: Settings, signal: Signal) -> None:
    (settings.outbox / file_name(signal.deployment_id)).unlink(missing_ok=True)


def superseded(signal: Signal, deployments: Iterable[Deployment]) -> bool:
    """Whether Heat now waits for another action of the deployment: at the same URL, any result counts for it."""
    ids = {deployment.id for deployment in deployments if deployment.identity == signal.identity}
    return bool(ids) and signal.deployment_id not in ids


def next_attempt(settings: Settings) -> float | None:
    """When the next signal is due (seconds since the epoch), None where none waits."""
    return min((signal.next_at for signal in pending(settings)), default=None)


def deliver(
    settings: Settings, now: float, deployments: Iterable[Deployment] = (), force: bool = False
) -> tuple[Signal, ...]:
    """Attempt the signals that are due at `now` (seconds since the epoch), all with `force`; give those still waiting.

    `deployments` are the newest metadata's: a signal for an action that they have superseded is dropped.
    A signal that is refused for good goes to outbox/refused/, so that a person can see it.
    """
    deployments = tuple(deployments)
    until = time.monotonic() + PATIENCE
    waiting = []
    for signal in pending(settings):
        path = settings.outbox / file_name(signal.deployment_id)
        if superseded(signal, deployments):
            drop(settings, signal)
            continue
        if not (force or due(signal, now)) or time.monotonic() > until:
            waiting.append(signal)
            continue
        delivery = attempt(settings, signal, now)
        left = after(signal, delivery, now, random.random())
        if left is not None:
            files.write_json(path, left.to_document())
            waiting.append(left)
        elif delivery.kind == REFUSED:
            refuse(settings, path, replace(signal, attempts=signal.attempts + 1, error=delivery.reason))
        else:
            drop(settings, signal)
    return tuple(waiting)


def refuse(settings: Settings, path: Path, signal: Signal) -> None:
    """Keep what was refused for good, the newest few of them, out of the way of what waits."""
    folder = settings.outbox / "refused"
    files.write_json(folder / path.name, signal.to_document())
    path.unlink(missing_ok=True)
    for old in sorted(folder.glob("*.json"), key=lambda each: each.stat().st_mtime)[:-KEEP_REFUSED]:
        old.unlink(missing_ok=True)


def attempt(settings: Settings, signal: Signal, now: float) -> Delivery:
    """One attempt by the signal's own transport."""
    send = KINDS.get(signal.transport)
    if send is None:
        known = ", ".join(KINDS)
        return Delivery(
            WAITING, f"transport {signal.transport} is not supported; use one of {known} in the deployment's template"
        )
    try:
        return send(signal, settings, now)
    except SwagentError as error:
        return Delivery(WAITING, str(error))
