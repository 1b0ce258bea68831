"""What is due: which deployments need a run now and why, which an answer, and what waits. Pure.

The order of a deployment's life is in `_plan_one`, the quiet timer in `Quiet`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Mapping, Sequence, Tuple

from swagent.context import read_values, without_own_facts
from swagent.errors import DocumentError
from swagent.hooks.chef_config import parse_config, run_list_of
from swagent.model import Context, Deployment, HookResult, Json, Metadata, Quiescence, RunError, digest
from swagent.state import DeploymentState, State

# Groups that only carry data for other programs: they are answered, nothing runs.
DATA_GROUPS = ("os-apply-config", "apply-config", "Heat::Ungrouped")
# While expected members are missing a change is acted on soon, later ones ever more slowly (seconds: quiet, deadline).
EAGER = (1.0, 5.0)


@dataclass(frozen=True)
class Due:
    """A run that should happen now: for these events, with `later` ones after it."""

    deployment: Deployment
    events: Tuple[str, ...]
    kind: str
    summary: str
    own: bool = False
    later: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A deployment that is settled without a run; `body` None: with the outputs of its last run."""

    deployment: Deployment
    status: str
    result: HookResult | None
    action: str = ""


@dataclass(frozen=True)
class Plan:
    """What this cycle should do. held: (deployment, reason); accepted: identities whose own facts changed once more."""

    due: Tuple[Due, ...] = ()
    answers: Tuple[Answer, ...] = ()
    held: Tuple[Tuple[str, str], ...] = ()
    accepted: Tuple[str, ...] = ()
    wake: float | None = None  # monotonic: when something held becomes due


@dataclass(frozen=True)
class Quiet:
    """The quiet timer: of which context, when that first and last changed (monotonic s), runs while incomplete."""

    digest: str = ""
    first: float = 0.0
    last: float = 0.0
    eager_runs: int = 0

    def seen(self, context: str, now: float) -> Quiet:
        if context == self.digest:
            return self
        return replace(self, digest=context, first=self.first or now, last=now)

    def over(self) -> Quiet:
        return replace(self, first=0.0, last=0.0)

    def due_at(self, quiescence: Quiescence, complete: bool) -> float:
        """When a change may be acted on: quiet for `min`, never later than `max` after the first of them."""
        low, high = quiescence.min, quiescence.max
        if not complete:
            low = min(EAGER[0] * 2**self.eager_runs, low)
            high = min(EAGER[1] * 2**self.eager_runs, high)
        return min(self.last + low, self.first + high)


def config_digest(deployment: Deployment) -> str:
    """Over what the template says: group, config, options, parameters, and whether it comes or goes.

    Hooks of other groups look at the action themselves (heat-config runs them for each): to them it is input.
    """
    phase = "deploy" if deployment.action in ("CREATE", "UPDATE") else deployment.action
    if deployment.group == "chef" and phase != "DELETE":
        phase = "deploy"
    return digest([deployment.group, deployment.config, deployment.options, deployment.parameters, phase])


def current(deployments: Sequence[Deployment]) -> Tuple[Deployment, ...]:
    """The newest entry of each identity, in Heat's order (a deleted deployment stands there twice)."""
    newest: dict[str, Deployment] = {}
    for deployment in deployments:
        known = newest.get(deployment.identity)
        if known is None or deployment.creation_time >= known.creation_time:
            newest[deployment.identity] = deployment
    return tuple(each for each in deployments if newest[each.identity] is each)


def wanted_events(deployment: Deployment, known: DeploymentState | None) -> Tuple[str, ...]:
    """The events that an action means."""
    if deployment.action == "DELETE":
        return ("undeploy",)
    if deployment.group != "chef":
        return ("deploy",)
    if deployment.action == "RESUME" and known is not None and known.status == "applied":
        return ("configure",)
    if known is None or not known.run or known.status == "undeployed":
        return ("setup", "deploy")
    return ("deploy",)


def split_events(deployment: Deployment, events: Sequence[str]) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """(events of the next run, those after it): events that follow one another with the same run list are one run.

    Events for which there is nothing to run are left out; DocumentError where the config cannot be read.
    """
    if deployment.group != "chef":
        # Other hooks know no events: a script does not read the context, and has nothing to do at a shutdown.
        return tuple(event for event in events if event not in ("configure", "shutdown")), ()
    lists = [(event, run_list_of(deployment, event)) for event in events]
    lists = [(event, run_list) for event, run_list in lists if run_list is not None]
    if not lists:
        return (), ()
    count = next((at for at, (_, run_list) in enumerate(lists) if run_list != lists[0][1]), len(lists))
    return tuple(event for event, _ in lists[:count]), tuple(event for event, _ in lists[count:])


def answered(message: str = "") -> HookResult:
    return HookResult(status="success", exit_code=0, stdout=message)


def refused(message: str) -> HookResult:
    return HookResult(status="failed", exit_code=1, stderr=message, error=RunError(message))


def unmet(need: Mapping[str, Json], members: Mapping[str, Mapping[str, Json]]) -> str:
    """What lacks of {role or member, service, package or fact, count}, in words; empty: non-suspect members have it."""
    wanted = int(need.get("count") or 1)
    found = 0
    for name, entry in members.items():
        named = need.get("member", name) == name and ("role" not in need or need["role"] in entry.get("roles", ()))
        found += (
            named
            and not entry.get("suspect")
            and ("service" not in need or (entry.get("services") or {}).get(need["service"]) == "active")
            and ("package" not in need or need["package"] in (entry.get("packages") or {}))
            and ("fact" not in need or need["fact"] in (entry.get("facts") or {}))
        )
    if found >= wanted:
        return ""
    words = " ".join(f"{key} {need[key]}" for key in ("member", "role", "service", "package", "fact") if key in need)
    return f"needs {words} ({found} of {wanted})"


def plan(
    metadata: Metadata,
    context: Context,
    state: State,
    quiet: Quiet,
    quiescence: Quiescence,
    now: float,
    wall: float,
    has_hook: Callable[[str], bool],
    hooks_looked_for: str = "",
    after_run: str = "",
    force: bool = False,
    event: str = "",
    ignore_timers: bool = False,
    retry_now: Callable[[str], bool] = lambda identity: False,
) -> Plan:
    """What is due now and why. `after_run`: the identity whose run was harvested in this cycle.

    ignore_timers: --once acts on changes at once. retry_now: which failed deployments need not wait for their back-off.
    """
    due: list[Due] = []
    answers: list[Answer] = []
    held: list[Tuple[str, str]] = []
    accepted: list[str] = []
    wakes: list[float] = []
    for deployment, reason in metadata.refused:
        known = state.deployments.get(deployment.identity)
        if known is None or known.id != deployment.id:
            answers.append(Answer(deployment, "failed", refused(reason)))
    for deployment in current(metadata.deployments):
        known = state.deployments.get(deployment.identity)
        fresh = known is None or known.id != deployment.id
        if deployment.group in DATA_GROUPS or (deployment.group == "component" and deployment.config is None):
            if fresh:
                answers.append(Answer(deployment, "answered", answered()))
            continue
        if not has_hook(deployment.group):
            if fresh:
                said = f"no hook for group {deployment.group!r}; looked in {hooks_looked_for}"
                answers.append(Answer(deployment, "failed", refused(said)))
            continue
        if deployment.action == "SUSPEND" and deployment.group == "chef":
            if fresh:
                answers.append(Answer(deployment, known.status if known else "answered", answered("suspended")))
            continue
        try:
            step = _plan_one(deployment, known, context, state, wall, fresh, force, event, retry_now, after_run)
        except DocumentError as error:
            if fresh:
                answers.append(Answer(deployment, "failed", refused(str(error))))
            continue
        if isinstance(step, Answer):
            answers.append(step)
        elif isinstance(step, str):
            accepted.append(step)
        elif isinstance(step, float):
            held.append((deployment.name, f"retries in {max(0.0, step - wall):.0f} s"))
            wakes.append(now + max(0.0, step - wall))
        elif step is not None:
            waits = _needed(step, context) if "configure" in step.events else ()
            patience = quiet.first + parse_config(deployment).needs_timeout if waits else 0.0
            if waits and now < patience and not ignore_timers:
                held.append((deployment.name, waits[0]))
                wakes.append(patience)
                continue
            due_at = quiet.due_at(quiescence, bool(context.document["complete"]))
            if step.kind in ("context", "own-facts") and not ignore_timers and now < due_at:
                held.append((deployment.name, f"waits {due_at - now:.0f} s for the facts to settle"))
                wakes.append(due_at)
            else:
                due.append(step)
    return Plan(tuple(due), tuple(answers), tuple(held), tuple(accepted), min(wakes, default=None))


def _needed(step: Due, context: Context) -> Tuple[str, ...]:
    """Which of the deployment's needs are not met by this context, in words."""
    if step.deployment.group != "chef":
        return ()
    words = (unmet(need, context.document["members"]) for need in parse_config(step.deployment).needs)
    return tuple(filter(None, words))


def _plan_one(
    deployment: Deployment,
    known: DeploymentState | None,
    context: Context,
    state: State,
    wall: float,
    fresh: bool,
    force: bool,
    event: str,
    retry_now: Callable[[str], bool],
    after_run: str,
) -> Due | Answer | str | float | None:
    """What one deployment needs: a run, an answer, acceptance (identity), patience (wall time), or nothing."""
    asked = (event,) if event else (known.events or ("deploy",)) if force and known else ("setup", "deploy")
    if force or event:
        events, later = split_events(deployment, asked)
        if events:
            return Due(deployment, events, "manual", f"asked for on the command line ({', '.join(asked)})", later=later)
        return None
    config = config_digest(deployment)
    unchanged = known is not None and known.config_digest == config
    if known is None or not unchanged or (fresh and known.status == "failed"):
        events, later = split_events(deployment, wanted_events(deployment, known))
        if not events:
            status = "undeployed" if deployment.action == "DELETE" else "answered"
            return Answer(deployment, status, answered()) if fresh else None
        return Due(deployment, events, "deployment", _deployment_summary(deployment, known), later=later)
    if known.status == "failed":
        if known.context_digest != context.digest and deployment.group == "chef":
            events, later = split_events(deployment, known.pending or ("deploy",))
            changed = f"the context changed since run {known.run} failed"
            return Due(deployment, events, "context", changed, later=later) if events else None
        if wall < known.retry_at and not retry_now(deployment.identity):
            return known.retry_at
        events, later = split_events(deployment, known.pending or ("deploy",))
        return (
            Due(deployment, events, "retry", f"run {known.run} failed: {known.error}", later=later) if events else None
        )
    if known.pending:
        events, later = split_events(deployment, known.pending)
        return Due(deployment, events, "deployment", f"{events[0]} follows run {known.run}", later=later)
    if fresh:
        if deployment.action == "RESUME":
            events, later = split_events(deployment, ("configure",))
            if events:
                return Due(deployment, events, "deployment", "the stack is resumed", later=later)
        return Answer(deployment, known.status, None)
    if known.status != "applied":
        return None
    document = context.document
    if digest(read_values(document, known.reads)) == known.reads_digest:
        return None
    events, later = split_events(deployment, ("configure",))
    if not events:
        return None
    peers = digest(read_values(without_own_facts(document, str(document["member"])), known.reads))
    if peers == known.peers_digest:
        if known.own and after_run == deployment.identity:
            # A run for its own facts that changes them again would go on for ever: once more is enough.
            return deployment.identity
        return Due(deployment, events, "own-facts", f"facts of this member changed since run {known.run}", True, later)
    return Due(deployment, events, "context", f"what run {known.run} read has changed", later=later)


def _deployment_summary(deployment: Deployment, known: DeploymentState | None) -> str:
    if known is None or not known.run:
        return f"deployment {deployment.name} is new ({deployment.action})"
    if deployment.action == "DELETE":
        return f"deployment {deployment.name} is being deleted"
    return f"deployment {deployment.name} changed ({deployment.action})"
