from dataclasses import replace

from swagent import converge
from swagent.context import compile_context
from swagent.due import Plan, Quiet, config_digest
from swagent.due import plan as plan_now
from swagent.model import Deployment, HookResult, Input, Item, Metadata, Quiescence, RunError, StackSection
from swagent.settings import Settings
from swagent.state import Running, State

SETTINGS = Settings(retry_min=10, retry_max=100)


def deployment(id="d-1", action="CREATE", group="chef", config=("recipe[app]",), **more) -> Deployment:
    inputs = [
        Input("deploy_action", "String", action),
        Input("deploy_stack_id", "String", "stack/1"),
        Input("deploy_resource_name", "String", "app"),
        *(Input(name, "String", value) for name, value in more.pop("inputs", {"port": "80"}).items()),
    ]
    shaped = list(config) if isinstance(config, tuple) else config
    return Deployment(id, "app", group, shaped, tuple(inputs), creation_time=id, **more)


def item(name, **facts) -> Item:
    return Item(name, f"i-{name}", roles=("r",), facts=facts, facts_digest=str(facts))


class Member:
    """A member whose runs end at once with the result that the test says: state in, state out."""

    def __init__(self, *deployments, **options):
        self.metadata = Metadata(deployments=deployments, section=StackSection(member="me"))
        self.items = {"me": item("me")}
        self.state = State(instance="i-me")
        self.quiet = Quiet()
        self.options = {"ignore_timers": True, "now": 100.0, "wall": 1000.0, **options}

    @property
    def context(self):
        return compile_context(self.metadata, self.items["me"], self.items)

    def plan(self, **more):
        return plan_now(
            self.metadata,
            self.context,
            self.state,
            self.quiet.seen(self.context.digest, self.options["now"]),
            Quiescence(5, 30, 1),
            has_hook=lambda group: group in ("chef", "script"),
            hooks_looked_for="/hooks",
            **{**self.options, **more},
        )

    def harvest(self, due, result=HookResult("success", 0)):
        known = self.state.deployments.get(due.deployment.identity)
        running = Running(
            self.state.next_run,
            due.deployment.identity,
            due.deployment.id,
            due.deployment.name,
            due.deployment.group,
            due.deployment.action,
            due.events,
            due.later,
            "mark",
            0.0,
            config_digest(due.deployment),
            self.context.digest,
            "",
            own=due.own,
        )
        settled = converge.settled(running, known, result, self.context.document, SETTINGS, self.options["wall"])
        self.state = replace(self.state.with_deployment(settled), next_run=self.state.next_run + 1)
        return settled

    def converge(self, result=HookResult("success", 0)):
        """Run what is due once, and give it."""
        (due,) = self.plan().due
        self.harvest(due, result)
        return due


def test_a_new_deployment_is_set_up_and_deployed_in_one_run_and_then_nothing_is_due():
    member = Member(deployment())
    due = member.converge()
    assert due.events == ("setup", "deploy") and due.kind == "deployment"
    assert member.plan() == Plan()


def test_events_with_run_lists_of_their_own_are_runs_of_their_own():
    config = {"run_list": ["recipe[app]"], "events": {"setup": ["recipe[app::setup]"]}}
    member = Member(deployment(config=config))
    assert member.converge().events == ("setup",)
    assert member.state.deployments["stack/1/app"].result is None, "the signal waits for the last of them"
    assert member.converge().events == ("deploy",)
    assert member.state.deployments["stack/1/app"].result is not None
    assert not member.plan().due


def test_a_new_id_with_the_same_input_is_answered_with_the_last_outputs_and_not_run():
    member = Member(deployment())
    member.converge(HookResult("success", 0, outputs={"url": "x"}))
    member.metadata = replace(member.metadata, deployments=(deployment("d-2", "UPDATE"),))
    planned = member.plan()
    assert not planned.due and planned.answers[0].result is None
    state = converge.answer(member.state, planned.answers[0])
    assert state.deployments["stack/1/app"].id == "d-2"
    assert state.deployments["stack/1/app"].result["outputs"] == {"url": "x"}


def test_a_changed_input_is_deployed_once():
    member = Member(deployment())
    member.converge()
    member.metadata = replace(member.metadata, deployments=(deployment("d-2", "UPDATE", inputs={"port": "81"}),))
    assert member.converge().events == ("deploy",)
    assert not member.plan().due


def test_a_changed_peer_configures_what_read_it():
    member = Member(deployment())
    member.converge()
    member.items["peer"] = item("peer", ip="1")
    due = member.converge()
    assert due.events == ("configure",) and due.kind == "context"
    assert not member.plan().due


def test_a_change_of_what_was_not_read_runs_nothing():
    member = Member(deployment())
    member.items["peer"] = item("peer", ip="1", cpus=2)
    member.converge(HookResult("success", 0, reads=[["members", "peer", "ip"]]))
    member.items["peer"] = item("peer", ip="1", cpus=4)
    assert not member.plan().due
    member.items["peer"] = item("peer", ip="2", cpus=4)
    assert member.plan().due


def test_a_peers_state_or_departure_alone_runs_nothing_that_does_not_read_it():
    member = Member(deployment())
    member.items["peer"] = item("peer", ip="1")
    member.converge()
    member.items["peer"] = replace(
        member.items["peer"], status=replace(member.items["peer"].status, state="failed", run=3)
    )
    assert not member.plan().due


def test_own_facts_changed_by_the_run_cause_one_more_run_and_not_for_ever():
    member = Member(deployment())
    member.converge()
    member.items["me"] = item("me", cluster="1")
    assert member.plan(after_run="stack/1/app").due[0].kind == "own-facts"
    member.converge()
    member.items["me"] = item("me", cluster="2")
    planned = member.plan(after_run="stack/1/app")
    assert not planned.due and planned.accepted == ("stack/1/app",)
    member.state = converge.accept(member.state, "stack/1/app", member.context)
    assert not member.plan().due


def test_own_facts_that_change_without_a_run_count_like_a_peers():
    member = Member(deployment())
    member.converge()
    for number in range(3):
        member.items["me"] = item("me", edited=number)
        assert member.converge().kind == "own-facts"


def test_changes_wait_for_quiet_but_never_past_the_deadline():
    member = Member(deployment())
    member.converge()
    member.options.update(ignore_timers=False)
    quiet = Quiet().seen(member.context.digest, 0).over()
    for at in (100, 104, 108, 112, 116, 120, 124, 128):
        member.items["peer"] = item("peer", ip=at)
        quiet = quiet.seen(member.context.digest, at)
        member.quiet, member.options["now"] = quiet, at
        planned = member.plan()
        assert not planned.due and planned.held and planned.wake == min(at + 5, 130)
    member.options["now"] = 130.1
    assert member.plan().due


def test_while_members_are_missing_changes_are_acted_on_soon_and_ever_more_slowly():
    eager = [replace(Quiet(first=10, last=10), eager_runs=runs).due_at(Quiescence(5, 30), False) for runs in range(5)]
    assert eager == [11, 12, 14, 15, 15]
    assert Quiet(first=10, last=10).due_at(Quiescence(5, 30), True) == 15


def test_a_failed_run_waits_for_its_retry_and_a_new_input_does_not():
    failure = HookResult("failed", 1, error=RunError("broken"))
    member = Member(deployment())
    member.converge(failure)
    planned = member.plan()
    assert not planned.due and planned.held and planned.wake == 110.0
    assert member.plan(retry_now=lambda identity: True).due[0].kind == "retry"
    member.options["wall"] += 11
    assert member.converge(failure).kind == "retry"
    assert member.state.deployments["stack/1/app"].failures == 2
    member.metadata = replace(member.metadata, deployments=(deployment("d-2", "UPDATE", inputs={"port": "81"}),))
    assert member.plan().due[0].kind == "deployment"


def test_a_failed_run_is_tried_at_once_under_a_new_context():
    member = Member(deployment())
    member.converge(HookResult("failed", 1))
    member.items["peer"] = item("peer")
    assert member.plan().due[0].kind == "context"


def test_heat_is_told_of_a_failure_only_after_the_attempts():
    member = Member(deployment(options={"attempts": 2}))
    (due,) = member.plan().due
    known = None
    for number, told in ((1, False), (2, True)):
        running = Running(
            number, "stack/1/app", "d-1", "app", "chef", "CREATE", due.events, (), "m", 0.0, "c", "x", "y", 2
        )
        known = converge.settled(running, known, HookResult("failed", 1), None, SETTINGS, 0.0)
        assert (known.result is not None) is told


def test_deletion_runs_the_undeploy_list_or_is_answered_at_once():
    config = {"run_list": ["recipe[app]"], "events": {"undeploy": ["recipe[app::leave]"]}}
    member = Member(deployment(config=config))
    member.converge()
    member.metadata = replace(
        member.metadata, deployments=(deployment(config=config), deployment("d-2", "DELETE", config=config))
    )
    assert member.converge().events == ("undeploy",)
    assert member.state.deployments["stack/1/app"].status == "undeployed" and not member.plan().due
    plain = Member(deployment())
    plain.converge()
    plain.metadata = replace(plain.metadata, deployments=(deployment("d-2", "DELETE"),))
    planned = plain.plan()
    assert not planned.due and planned.answers[0].status == "undeployed"
    plain.state = converge.answer(plain.state, planned.answers[0])
    assert plain.plan() == Plan()


def test_a_deployment_absent_from_the_metadata_is_not_undeployed():
    member = Member(deployment())
    member.converge()
    member.metadata = replace(member.metadata, deployments=())
    assert member.plan() == Plan()


def test_suspend_is_answered_at_once_and_resume_configures():
    member = Member(deployment())
    member.converge()
    member.metadata = replace(member.metadata, deployments=(deployment("d-2", "SUSPEND"),))
    planned = member.plan()
    assert not planned.due and planned.answers[0].result.status == "success"
    member.state = converge.answer(member.state, planned.answers[0])
    assert member.plan() == Plan()
    member.metadata = replace(member.metadata, deployments=(deployment("d-3", "RESUME"),))
    assert member.plan().due[0].events == ("configure",)


def test_a_group_without_a_hook_is_refused_and_carriers_of_data_are_answered():
    member = Member(deployment(group="puppet"))
    (answer,) = member.plan().answers
    assert (
        answer.result.status == "failed"
        and "puppet" in answer.result.error.message
        and "/hooks" in answer.result.error.message
    )
    for group in ("os-apply-config", "Heat::Ungrouped"):
        (answer,) = Member(deployment(group=group)).plan().answers
        assert answer.result.status == "success"
    (answer,) = Member(deployment(group="component", config=None)).plan().answers
    assert answer.result.status == "success"


def test_an_answer_is_given_once_per_id():
    member = Member(deployment(group="puppet"))
    member.state = converge.answer(member.state, member.plan().answers[0])
    assert member.plan() == Plan()
    member.metadata = replace(member.metadata, deployments=(deployment("d-2", group="puppet"),))
    assert member.plan().answers


def test_a_config_that_cannot_be_read_is_refused_by_name():
    (answer,) = Member(deployment(config={"run_lst": []})).plan().answers
    assert answer.result.status == "failed" and "app" in answer.result.error.message


def test_force_runs_what_is_applied():
    member = Member(deployment())
    member.converge()
    assert member.plan(force=True).due[0].kind == "manual"
    assert member.plan(event="configure").due[0].events == ("configure",)
    assert not member.plan(event="shutdown").due, "there is no run list for it"


def test_deployments_run_in_heats_order():
    first, second = deployment(), replace(
        deployment(),
        id="e",
        inputs=(Input("deploy_stack_id", "String", "s"), Input("deploy_resource_name", "String", "second")),
    )
    assert [due.deployment.id for due in Member(second, first).plan().due] == ["e", "d-1"]


def test_needs_hold_a_configure_until_they_are_met_and_never_for_ever():
    needs = [{"role": "r", "service": "slurmctld", "count": 1}]
    config = {"run_list": ["recipe[app]"], "needs": needs, "needs_timeout": 60}
    member = Member(deployment(config=config))
    assert member.converge().events == ("setup", "deploy"), "needs hold no setup"
    member.options.update(ignore_timers=False, now=100.0)
    member.items["peer"] = item("peer", services={"slurmctld": "inactive"})
    member.quiet = Quiet().seen(member.context.digest, 100.0)
    planned = member.plan(now=110.0)
    assert not planned.due and planned.held == (("app", "needs role r service slurmctld (0 of 1)"),)
    assert planned.wake == 160.0 and member.plan(now=160.1).due, "it delays, it does not forbid"
    member.items["peer"] = item("peer", services={"slurmctld": "active"})
    member.quiet = member.quiet.seen(member.context.digest, 110.0)
    assert member.plan(now=116.0).due
