"""Converge: run what is due, one at a time, each run in a child process.

`start` and `harvest` are the two transitions of a run; cycles go on between them. What is due is due.py's to say.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from dataclasses import dataclass, replace
from typing import Any, Callable, Mapping, Sequence, Tuple

from swagent import files, hooks, process, runs
from swagent import state as states
from swagent.context import diff, read_values, without_own_facts
from swagent.due import Answer, Due, config_digest
from swagent.errors import DocumentError, SwagentError
from swagent.model import Cause, Context, Deployment, HookResult, Metadata, RunError, digest
from swagent.scrub import Scrubber
from swagent.settings import Settings
from swagent.state import DeploymentState, Running, State


def retry_delay(failures: int, minimum: float, maximum: float) -> float:
    """Seconds until a failed run is tried again on the same input."""
    return min(maximum, minimum * 2.0 ** min(failures - 1, 30))


def explain(
    settings: Settings, due: Due, known: DeploymentState | None, context: Context, shown: Mapping[str, Any]
) -> Cause:
    """The cause of a run with the differences to what its deployment's last run was given."""
    changes: Tuple[Any, ...] = ()
    summary, kind, previous = due.summary, due.kind, known.run if known else 0
    if known is not None and known.context_digest:
        try:
            before = files.read_json(settings.contexts / f"{known.saved_context}.json")
            changes = diff(
                {
                    "parameters": {due.deployment.name: before["parameters"].get(due.deployment.name, {})},
                    **_counted(before["swagent"]),
                },
                {"parameters": {due.deployment.name: shown.get(due.deployment.name, {})}, **_counted(context.document)},
                context.origins,
            )
            # What the last run did not read is no reason for this one.
            changes = tuple(each for each in changes if is_read(each.path, known.reads)) or changes
        except (OSError, DocumentError, KeyError, TypeError):
            changes = ()  # pruned or damaged: the sentence stands on its own
    interrupted = [
        record
        for record in (runs.read(settings, number) for number in runs.numbers(settings)[-3:])
        if record and record.get("identity") == due.deployment.identity and record.get("status") == "interrupted"
    ]
    if interrupted and interrupted[-1]["number"] > previous:
        previous = interrupted[-1]["number"]
        kind, summary = "interrupted", f"run {previous} was interrupted; {summary}"
    if kind == "context" and changes:
        first = changes[0]
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        summary = f"{first.path} {first.kind} ({first.origin}){more}; {summary}"
    return Cause(kind, summary, changes, previous)


def is_read(path: str, reads: Sequence[Sequence[str]] | None) -> bool:
    """Whether a changed key is a parameter, or is, holds or lies in what was read (None: all was)."""
    if reads is None or path.startswith("parameters."):
        return True
    dotted = [".".join(each) for each in reads]
    return any(f"{path}.".startswith(f"{each}.") or f"{each}.".startswith(f"{path}.") for each in dotted)


def _counted(document: Mapping[str, Any]) -> Mapping[str, Any]:
    value = read_values(document, None)
    assert isinstance(value, Mapping)
    return value


@dataclass
class Child:
    """The process of the run in progress."""

    pid: int
    number: int


def start(
    settings: Settings,
    state: State,
    due: Due,
    context: Context,
    metadata: Metadata,
    scrubber: Scrubber,
    own_descriptors: Sequence[int] = (),
    why_run: bool = False,
) -> Tuple[State, Child]:
    """Record the run, then fork its child. A kill at any point leaves a record that the next start finds."""
    deployment, known, number = due.deployment, state.deployments.get(due.deployment.identity), state.next_run
    seen = dict(known.departed) if known else {}
    departed = {name: entry for name, entry in context.document["departed"].items() if seen.get(name) != digest(entry)}
    document = {**context.document, "departed": departed, "event": due.events[-1]}
    saved_context = save_context(settings, context)
    cause = explain(settings, due, known, context, context.parameters)
    started = time.time()
    runs.save(
        settings,
        {
            "number": number,
            "identity": deployment.identity,
            "deployment_id": deployment.id,
            "name": deployment.name,
            "group": deployment.group,
            "action": deployment.action,
            "events": list(due.events),
            "cause": scrubber.value(cause.to_document()),
            "context": saved_context,
            "previous_context": known.saved_context if known else "",
            "config_digest": config_digest(deployment),
            "started": started,
            "ended": None,
            "status": "running",
            "why_run": why_run,
            "error": None,
            "result": None,
        },
    )
    mark = f"{digest(str(settings.root))[:12]}.{number}.{int(started)}"
    running = Running(
        number=number,
        identity=deployment.identity,
        id=deployment.id,
        name=deployment.name,
        group=deployment.group,
        action=deployment.action,
        events=due.events,
        later=due.later,
        mark=mark,
        started=started,
        config_digest=config_digest(deployment),
        context_digest=context.digest,
        saved_context=saved_context,
        attempts=_attempts(deployment),
        own=due.own,
        why_run=why_run,
        departed={name: digest(entry) for name, entry in departed.items()},
    )
    state = states.save(settings, replace(state, running=running, next_run=number + 1))
    request = hooks.HookRequest(
        deployment=deployment,
        events=due.events,
        context=replace(context, document=document),
        settings=settings,
        folder=runs.folder(settings, number),
        number=number,
        scrubber=scrubber,
        mark=mark,
        why_run=why_run,
        attributes=metadata.section.facts.attributes,
    )
    return state, Child(_fork(request, own_descriptors), number)


def _attempts(deployment: Deployment) -> int:
    value = deployment.options.get("attempts", 1)
    return value if isinstance(value, int) and value > 0 else 1


def save_context(settings: Settings, context: Context) -> str:
    """Save the context (shared by the runs that see it) and give its name: a digest of parameters too."""
    document = context.to_document()
    name = digest([context.digest, document["parameters"]])
    path = settings.contexts / f"{name}.json"
    if not path.exists():
        files.write_json(path, document)
    return name


def _fork(request: hooks.HookRequest, own_descriptors: Sequence[int]) -> int:
    """A child without exec: it shares our memory, needs no start-up, and dies with us."""
    parent, prctl = os.getpid(), process.prctl()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        process.die_with_parent(parent, signal.SIGKILL, prctl)
        for descriptor in own_descriptors:  # the lock is the agent's: a run that outlives it must not hold it
            os.close(descriptor)
        apply(request)
        status = 0
    finally:
        os._exit(status)


def apply(request: hooks.HookRequest) -> None:
    """What the child does: apply the deployment, write result.json as the last act."""
    started = time.monotonic()
    try:
        hook = hooks.find(request.deployment.group, request.settings)
        if hook is None:
            raise SwagentError(f"no hook for group {request.deployment.group!r}")
        result = hook(request)
    except SwagentError as error:
        result = HookResult(status="failed", exit_code=1, stderr=str(error), error=RunError(str(error)))
    except Exception as error:  # the last door of this process: the run must say what broke, not vanish
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        files.write(request.folder / "internal-error", request.scrubber.text(text))
        said = f"internal error: {error!r}; the trace is in {request.folder / 'internal-error'}"
        result = HookResult(status="failed", exit_code=1, stderr=said, error=RunError(said))
    if not result.seconds:
        result = replace(result, seconds=time.monotonic() - started)
    document = request.scrubber.value(result.to_document())
    files.write_json(request.folder / "result.json", document)


def ended(child: Child) -> bool:
    """Whether the child has ended; reaps it."""
    try:
        pid, _ = os.waitpid(child.pid, os.WNOHANG)
    except ChildProcessError:
        return True
    return pid != 0


def harvest(
    settings: Settings,
    state: State,
    context_of: Callable[[str], Mapping[str, Any] | None],
    wall: float,
    stopped: bool = False,
) -> Tuple[State, HookResult | None]:
    """Take over what the run in progress left: its result, or nothing (then it was interrupted and is due again).

    The run's own processes are over, or are ended here. Applied is saved apart from, and before, being reported.
    """
    running = state.running
    assert running is not None
    record = dict(runs.read(settings, running.number) or {"number": running.number, "identity": running.identity})
    try:
        result: HookResult | None = HookResult.parse(
            files.read_json(runs.folder(settings, running.number) / "result.json")
        )
    except (OSError, DocumentError, KeyError, TypeError):
        result = None
    if result is None or result.status == "interrupted" or (stopped and result.status != "success"):
        process.sweep(running.mark)
        hooks.tidy(settings)
        status, result = "interrupted", None
    else:
        status = result.status
    record.update(
        status=status,
        ended=wall,
        error=result.error.to_document() if result and result.error else None,
        result={**result.to_document(), "stdout": None} if result else None,
    )
    runs.save(settings, record)
    known = state.deployments.get(running.identity)
    state = replace(state, running=None)
    if result is not None and not running.why_run:
        document = context_of(running.saved_context)
        state = state.with_deployment(settled(running, known, result, document, settings, wall))
    return states.save(settings, state), result


def reportable(result: HookResult) -> Mapping[str, Any]:
    """What a signal needs of a result; the whole log stays with the run, and the state, written often, stays small."""
    kept = replace(result, stdout=middle_out(result.stdout), stderr=middle_out(result.stderr), details=(), reads=None)
    return kept.to_document()


def middle_out(text: str, limit: int = 16384) -> str:
    """The text with its middle left out where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n… {len(text) - limit} characters left out …\n{text[-limit // 2 :]}"


def settled(
    running: Running,
    known: DeploymentState | None,
    result: HookResult,
    document: Mapping[str, Any] | None,
    settings: Settings,
    wall: float,
) -> DeploymentState:
    """What is true of a deployment after a run of it: pure. `document`: the context that the run was given."""
    before = known or DeploymentState(identity=running.identity, id=running.id)
    common = replace(
        before,
        id=running.id,
        name=running.name,
        group=running.group,
        action=running.action,
        config_digest=running.config_digest,
        context_digest=running.context_digest,
        saved_context=running.saved_context,
        run=running.number,
        events=running.events,
        own=running.own,
    )
    if result.status == "success":
        manual_only = set(running.events) <= {"shutdown"}
        # Only chef reads the context; None: what it read is not known, everything counts.
        reads = None if result.reads is None else [list(path) for path in result.reads]
        reads = reads if running.group == "chef" else []
        return replace(
            common,
            status="undeployed" if "undeploy" in running.events else "applied",
            pending=() if manual_only else running.later,
            reads=reads,
            reads_digest=digest(read_values(document, reads)) if document is not None else "",
            peers_digest=(
                digest(read_values(without_own_facts(document, str(document["member"])), reads))
                if document is not None
                else ""
            ),
            result=None if running.later else reportable(result),
            failures=0,
            retry_at=0.0,
            error="",
            facts={
                key: value
                for key, value in (("recipes", list(result.recipes)), ("attributes", dict(result.attributes)))
                if value
            },
            departed={**before.departed, **running.departed},
        )
    failures = before.failures + 1 if before.status == "failed" else 1
    error = result.error.message if result.error else f"exit code {result.exit_code}"
    return replace(
        common,
        status="failed",
        pending=(*running.events, *running.later),
        result=reportable(result) if failures >= running.attempts else None,
        failures=failures,
        retry_at=wall + retry_delay(failures, settings.retry_min, settings.retry_max),
        error=error,
    )


def answer(state: State, each: Answer) -> State:
    """The state once a deployment is answered without a run."""
    deployment = each.deployment
    before = state.deployments.get(deployment.identity) or DeploymentState(deployment.identity, deployment.id)
    result = reportable(each.result) if each.result is not None else before.result
    changed = replace(
        before,
        id=deployment.id,
        name=deployment.name,
        group=deployment.group,
        action=deployment.action,
        status=each.status,
        config_digest=config_digest(deployment) if not before.run else before.config_digest,
        result=result,
        error=each.result.error.message if each.result and each.result.error else "",
    )
    return state.with_deployment(changed)


def accept(state: State, identity: str, context: Context) -> State:
    """The state with the context as it is now taken for what the deployment's last run read."""
    known, document = state.deployments[identity], context.document
    return state.with_deployment(
        replace(known, reads_digest=digest(read_values(document, known.reads)), context_digest=context.digest)
    )
