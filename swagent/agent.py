"""The walk on one screen: collect → gather → exchange → compile → converge → report, and the loop around it.

A cycle takes the state to the next state; what is not yet true is done in the next one. Time and signals live here.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Tuple

from swagent import converge, due, files, hooks, instance, lock, process, report, runs
from swagent import state as states
from swagent.collect import Collectors
from swagent.context import compile_context
from swagent.errors import DocumentError, NeedsRoot, SwagentError
from swagent.exchange import Exchange, Exchanged
from swagent.gather import Gatherer
from swagent.model import Context, HookResult, Item, Metadata, Signal, StackSection, Status
from swagent.scrub import Scrubber, secrets_of
from swagent.settings import Settings

# How long a stop waits for Chef to end its resource in order before it is killed.
STOP_GRACE = 30.0
# Chef's exit codes that `run --once` passes on (reboot scheduled, needed, failed; bad configuration).
PASSED_ON = (35, 37, 41, 43)


@dataclass(frozen=True)
class Mode:
    """How the same walk is walked: until nothing is due (once), for ever, dry (why_run), or for one event."""

    once: bool = False
    force: bool = False
    why_run: bool = False
    event: str = ""


class Agent:
    """What a process remembers between cycles; all that must outlive it is in `state`."""

    def __init__(self, settings: Settings, mode: Mode, held: lock.Lock, say: Callable[[str], None]) -> None:
        self.settings = settings
        self.mode = mode
        self.lock = held
        self.say = say
        self.state, self.notes = states.load(settings, instance.read_instance(settings.root))
        if self.state.left and mode.event != "shutdown":
            self.state = replace(self.state, left=False)  # it booted again: a member again
        self.collectors = Collectors(settings)
        self.gatherer = Gatherer(settings, remember=not mode.why_run)
        self.exchange = Exchange(settings)
        self.child: converge.Child | None = None
        self.quiet = due.Quiet()
        self.status = Status()
        self.bag_interval = settings.min_polling_interval
        self.bag_due = 0.0
        self.stopping = 0.0
        self.ran: list[Tuple[str, HookResult]] = []  # identities and results of this process
        self.settled = False
        self.wake: float = 0.0
        self._metadata: Metadata | None = None
        self._scrubber = Scrubber()
        self._told: Mapping[str, Any] = {}

    # -- the walk ---------------------------------------------------------------------------------------------------

    def cycle(self, now: float, wall: float) -> None:
        """One walk from the state to the next one; sets `wake`, the monotonic time of the next."""
        harvested = self.harvest(wall)
        metadata = self.collect(now, bool(harvested))
        section = own_section(metadata)
        last_facts = published_of_runs(self.state)
        facts = self.gatherer.gather(section, last_facts, fresh=bool(harvested))
        own = Item(
            member=section.member,
            instance=self.state.instance,
            epoch=self.state.epoch,
            seq=self.state.seq,
            server_id=server_id(metadata),
            roles=tuple(sorted(section.roles)),
            generation=section.generation,
            facts=facts.published,
            facts_digest=facts.digest,
            status=self.status,
            left=self.state.left,
        )
        exchanged = self.exchange.exchange(section.data_bag, own, now, observe=self.mode.why_run)
        self.remember(exchanged)
        context = compile_context(metadata, exchanged.own, exchanged.items, exchanged.suspects, self.state.key)
        self.keep_context(context)
        planned = self.converge(metadata, section, context, exchanged, harvested, now, wall)
        waiting = self.report(metadata, wall)
        if harvested:
            self.reboot()
        problems = (*self.notes, *metadata.problems, *facts.problems, *exchanged.problems)
        self.tell(context, planned, exchanged, section, waiting, problems, now, wall)

    # -- its steps --------------------------------------------------------------------------------------------------

    def collect(self, now: float, changed: bool) -> Metadata:
        metadata = self.collectors.collect(now, force=self.mode.once and self._metadata is None)
        if changed:
            self.collectors.hurry(now)
        if metadata != self._metadata:
            self._metadata = metadata
            self._scrubber = self.gatherer.scrubber = Scrubber(secrets_of(metadata, self.settings.sources))
        return metadata

    def remember(self, exchanged: Exchanged) -> None:
        own = exchanged.own
        if (own.epoch, own.seq) != (self.state.epoch, self.state.seq):
            self.state = states.save(self.settings, replace(self.state, epoch=own.epoch, seq=own.seq))

    def keep_context(self, context: Context) -> None:
        name = converge.save_context(self.settings, context)
        if name != self.state.context:
            self.state = states.save(self.settings, replace(self.state, context=name))

    def harvest(self, wall: float) -> str:
        """The identity whose run was taken over in this cycle, or empty."""
        running = self.state.running
        if running is None or (self.child is not None and not converge.ended(self.child)):
            return ""
        if self.child is None:  # a run of an earlier process of ours: its child died with it, what Chef left may live
            process.sweep(running.mark)
        self.child = None
        self.state, result = converge.harvest(self.settings, self.state, self.saved_context, wall, bool(self.stopping))
        runs.prune(self.settings)
        if result is None:
            self.say(f"run {running.number} of {running.name} was interrupted")
        else:
            self.ran.append((running.identity, result))
            self.say(run_line(running.number, running.name, result))
        self.quiet = replace(self.quiet.over(), eager_runs=self.quiet.eager_runs + 1)
        return running.identity

    def saved_context(self, name: str) -> Mapping[str, Any] | None:
        try:
            document = files.read_json(self.settings.contexts / f"{name}.json")
            return dict(document["swagent"])
        except (OSError, DocumentError, KeyError, TypeError):
            return None

    def converge(
        self,
        metadata: Metadata,
        section: StackSection,
        context: Context,
        exchanged: Exchanged,
        harvested: str,
        now: float,
        wall: float,
    ) -> due.Plan:
        if context.document["complete"]:
            self.quiet = replace(self.quiet, eager_runs=0)
        self.quiet = self.quiet.seen(context.digest, now)
        ran = {identity for identity, _ in self.ran}
        asked = (self.mode.force or bool(self.mode.event)) and not ran
        planned = due.plan(
            metadata,
            context,
            self.state,
            self.quiet,
            section.quiescence,
            now,
            wall,
            has_hook=lambda group: hooks.find(group, self.settings) is not None,
            hooks_looked_for=", ".join(self.settings.hooks),
            after_run=harvested,
            force=asked and self.mode.force,
            event=self.mode.event if asked else "",
            ignore_timers=self.mode.once,
            # A person who asks again wants it tried; os-collect-config asks at every poll and must wait.
            retry_now=lambda identity: self.mode.once and not self.settings.config_files and identity not in ran,
        )
        if exchanged.replaced or self.stopping or (self.mode.event == "shutdown" and not asked):
            planned = replace(planned, due=())
        if self.mode.once:
            # Each failed run is tried once; a dry run is never applied and would stay due.
            again = {identity for identity, result in self.ran if result.status != "success" or self.mode.why_run}
            planned = replace(planned, due=tuple(each for each in planned.due if each.deployment.identity not in again))
        if self.mode.why_run:
            planned = replace(planned, answers=())
        state = self.state
        for each in planned.answers:
            state = converge.answer(state, each)
        for identity in planned.accepted:
            state = converge.accept(state, identity, context)
        if state is not self.state:
            self.state = states.save(self.settings, state)
        if planned.due and self.child is None and self.state.running is None:
            first = planned.due[0]
            self.state, self.child = converge.start(
                self.settings,
                self.state,
                first,
                context,
                metadata,
                self._scrubber,
                own_descriptors=(self.lock.descriptor,),
                why_run=self.mode.why_run,
            )
            self.say(f"run {self.child.number} of {first.deployment.name} ({', '.join(first.events)}): {first.summary}")
        if self.mode.event == "shutdown" and self.child is None and not planned.due and not self.state.left:
            self.state = states.save(self.settings, replace(self.state, left=True))
            self.settled = False
        return planned

    def report(self, metadata: Metadata, wall: float) -> Tuple[Signal, ...]:
        """Put what Heat has not heard into the outbox, deliver what is due; gives the signals still waiting."""
        if self.mode.why_run:
            return report.pending(self.settings)
        refused = tuple(deployment for deployment, _ in metadata.refused)
        for deployment in (*due.current(metadata.deployments), *refused):
            known = self.state.deployments.get(deployment.identity)
            if known is None or known.result is None or known.id != deployment.id or known.signalled == known.id:
                continue
            body = report.body(deployment, HookResult.parse(known.result), self._scrubber)
            report.put(self.settings, report.make_signal(deployment, body))
            self.state = states.save(self.settings, self.state.with_deployment(replace(known, signalled=deployment.id)))
        return report.deliver(self.settings, wall, (*metadata.deployments, *refused))

    def reboot(self) -> None:
        """The reboot that the harvested run asked for, its result saved and in the outbox; never below a --root."""
        result = self.ran[-1][1] if self.ran else None
        if result is None or not result.reboot or result.status != "success" or self.mode.why_run:
            return
        if self.settings.root != Path("/"):
            self.say(f"a recipe asks for a reboot ({result.reboot.get('reason')}); recorded only: the root is not /")
            return
        delay = int(result.reboot.get("delay_mins") or 0)
        try:
            process.check(["shutdown", "-r", f"+{delay}", str(result.reboot.get("reason") or "swagent")], timeout=30)
        except SwagentError as error:
            self.say(f"a recipe asks for a reboot, which failed: {error}; reboot by hand")

    # -- what it says of itself -------------------------------------------------------------------------------------

    def tell(
        self,
        context: Context,
        planned: due.Plan,
        exchanged: Exchanged,
        section: StackSection,
        waiting: Tuple[Signal, ...],
        problems: Tuple[str, ...],
        now: float,
        wall: float,
    ) -> None:
        """Settle the status that the next item carries, write status.json when it changed, choose when to wake."""
        failed = {known.identity: known for known in self.state.deployments.values() if known.status == "failed"}
        idle = not planned.due and self.child is None and not planned.held and not failed
        missing = tuple(f"{number} × {role}" for role, number in context.document["missing"].items())
        last = max((known for known in self.state.deployments.values() if known.run), key=_run, default=None)
        state, reason = self.word(planned, exchanged, failed, missing, problems, waiting)
        status = Status(
            state="leaving" if self.state.left else state if state != "degraded" else "converged",
            applied=context.stack_digest if idle else self.status.applied,
            result={"applied": "success", "undeployed": "success", "failed": "failed"}.get(last.status, "")
            if last
            else "",
            run=last.run if last else 0,
            waiting_for=missing,
        )
        moved = status != self.status
        self.status = status
        if moved or exchanged.published:
            self.bag_interval, self.bag_due = (
                self.settings.min_polling_interval,
                now + self.settings.min_polling_interval,
            )
        elif now >= self.bag_due:
            self.bag_interval = min(2 * self.bag_interval, self.settings.polling_interval)
            self.bag_due = now + self.bag_interval
        wakes = [self.collectors.next_poll, self.bag_due]
        wakes += [each for each in (planned.wake, self.gatherer.look_again) if each is not None]
        wakes += [now + max(0.0, each.next_at - wall) for each in waiting]
        self.wake = now if moved or (planned.due and self.child is None and not self.stopping) else min(wakes)
        self.settled = not (
            moved or self.child or planned.due or exchanged.published or self.gatherer.look_again is not None
        )
        retries = [known.retry_at for known in failed.values()]
        told = {
            "state": state,
            "reason": reason,
            "pid": os.getpid(),
            "member": section.member,
            "problems": list(problems),
            "waiting_for": list(missing),
            "suspects": list(exchanged.suspects),
            "held": [f"{name} {why.split(' in ')[0]}" for name, why in planned.held],
            "next_retry": min(retries, default=None),
        }
        if told != self._told:
            if (told["state"], told["reason"]) != (self._told.get("state"), self._told.get("reason")):
                self.say(f"{state}: {reason}" if reason else state)
            for problem in problems:
                if problem not in self._told.get("problems", ()):
                    self.say(problem)
            self._told = told
            since = {"since": wall, "next_poll": wall + max(0.0, self.collectors.next_poll - now)}
            files.write_json(self.settings.run / "status.json", self._scrubber.value({**told, **since}))

    def word(
        self,
        planned: due.Plan,
        exchanged: Exchanged,
        failed: Mapping[str, states.DeploymentState],
        missing: Tuple[str, ...],
        problems: Tuple[str, ...],
        waiting: Tuple[Signal, ...],
    ) -> Tuple[str, str]:
        """The member's state in one word, and the reason."""
        if exchanged.replaced:
            return "replaced", exchanged.replaced
        if self.state.running is not None:
            return "converging", f"run {self.state.running.number} of {self.state.running.name}"
        if failed:
            known = next(iter(failed.values()))
            return (
                "failed",
                f"{known.name}: run {known.run}: {known.error}" if known.run else f"{known.name}: {known.error}",
            )
        if planned.due:
            return "converging", planned.due[0].summary
        if planned.held:
            return "converging", f"{planned.held[0][0]} waits for the facts to settle"
        if missing:
            return "waiting", "missing: " + ", ".join(missing)
        if problems:
            return "degraded", problems[0]
        if waiting and any(each.attempts for each in waiting):
            return "degraded", f"{len(waiting)} signal not delivered: {waiting[0].error}"
        return "converged", ""

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Cycle until told to stop, or with `once` until nothing is due, running or unpublished."""
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        old_wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        old = {
            number: signal.signal(number, handler)
            for number, handler in (
                (signal.SIGTERM, self._stop),
                (signal.SIGINT, self._stop),
                (signal.SIGHUP, self._hurry),
                (signal.SIGCHLD, lambda *_: None),
            )
        }
        try:
            while True:
                now = time.monotonic()
                try:
                    self.cycle(now, time.time())
                except (OSError, SwagentError) as error:
                    # A full disk, most often: what is saved is true, the rest is done once there is room again.
                    if self.mode.once:
                        raise SwagentError(
                            f"the cycle could not end: {error}; nothing is lost, run it again"
                        ) from error
                    self.say(f"the cycle could not end: {error}; trying again in {self.settings.retry_min:g} s")
                    self.wake = now + self.settings.retry_min
                if self.stopping and self.child is None:
                    return 0 if not self.mode.once else 1
                if self.mode.once and self.settled:
                    return self.exit_code()
                self.stop_child(time.monotonic())
                patience = self.wake - time.monotonic()
                if self.stopping:
                    patience = min(patience, 0.2)
                if patience > 0:
                    select.select([reader], [], [], patience)
                try:
                    reader.recv(4096)
                except BlockingIOError:
                    pass
        finally:
            signal.set_wakeup_fd(old_wakeup)
            for number, handler in old.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()

    def _stop(self, *_: object) -> None:
        self.stopping = self.stopping or time.monotonic()
        self.wake = 0.0

    def _hurry(self, *_: object) -> None:
        self.collectors.hurry(float("-inf"))
        self.wake = 0.0

    def stop_child(self, now: float) -> None:
        """While stopping: ask the run to end in order, then end it."""
        if not self.stopping or self.child is None:
            return
        number = signal.SIGTERM if now - self.stopping < STOP_GRACE else signal.SIGKILL
        try:
            os.kill(self.child.pid, number)
        except ProcessLookupError:
            pass

    def exit_code(self) -> int:
        """What `run --once` ends with: Chef's own reboot codes, 1 for a failure or an undelivered signal, else 0."""
        for _, result in self.ran:
            if result.exit_code in PASSED_ON:
                return result.exit_code
        if any(result.status != "success" for _, result in self.ran):
            return 1
        if self._metadata is not None and not self._metadata.documents:
            self.say("no metadata: no collector has a document; see `swagent metadata` and `swagent config check`")
            return 1
        if any(known.status == "failed" for known in self.state.deployments.values()):
            return 1
        undelivered = () if self.mode.why_run else report.pending(self.settings)
        for each in undelivered:
            self.say(f"signal of {each.name} is not delivered: {each.error}; it stays in the outbox")
        return 1 if undelivered else 0


def _run(known: states.DeploymentState) -> int:
    return known.run


def own_section(metadata: Metadata) -> StackSection:
    """The swagent section with the member's name filled in."""
    section = metadata.section
    return section if section.member else replace(section, member=socket.gethostname().split(".")[0] or "localhost")


def server_id(metadata: Metadata) -> str:
    """Heat's id of this server, as its deployments say it."""
    return next(
        (str(each.input("deploy_server_id")) for each in metadata.deployments if each.input("deploy_server_id")), ""
    )


def published_of_runs(state: states.State) -> Mapping[str, Any]:
    """{recipes, attributes} of the last successful runs of all deployments, together."""
    recipes: set[str] = set()
    attributes: dict[str, Any] = {}
    for _, known in sorted(state.deployments.items()):
        if known.status != "undeployed":
            recipes.update(known.facts.get("recipes", ()))
            attributes.update(known.facts.get("attributes", {}))
    return {"recipes": sorted(recipes), "attributes": attributes}


def run_line(number: int, name: str, result: HookResult) -> str:
    """One line for the journal: how a run ended."""
    count = result.resources
    resources = f", {count.get('updated', 0)} of {count.get('total', 0)} resources updated" if count else ""
    said = f"run {number} of {name}: {result.status} in {result.seconds:.1f} s{resources}"
    return f"{said}: {result.error.message}" if result.error else said


def run(
    settings: Settings,
    once: bool = False,
    force: bool = False,
    why_run: bool = False,
    event: str | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """The agent, from lock to exit code; LockHeld where another one has this root."""
    if os.geteuid() != 0:
        raise NeedsRoot("swagent run changes the machine: become root")
    if (settings.etc / "disabled").exists():
        say(f"{settings.etc / 'disabled'} is there: doing nothing; remove it to start")
        return 0
    held = lock.acquire(settings.run / "lock", "swagent run" + (" --once" if once else ""))
    try:
        return Agent(settings, Mode(once or why_run or bool(event), force, why_run, event or ""), held, say).run()
    finally:
        held.release()
