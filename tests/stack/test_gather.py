"""Gather: what is published of what was found, when a value has settled, and what it costs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, strategies
from hypothesis import settings as hypothesis_settings

from swagent.gather import RESTLESS, SETTLE, SETTLE_PASSING, Gatherer, Settling, next_look, settle
from swagent.model import FactSelection, StackSection
from swagent.settings import Settings
from tests.wait import until

SYSTEMCTL = """#!/bin/sh
echo asked >> "{machine}/asked"
[ -e "{machine}/broken" ] && {{ echo "Host is down" >&2; exit 1; }}
while read name state sub; do
    printf 'Id=%s.service\\nLoadState=loaded\\nActiveState=%s\\nSubState=%s\\n\\n' $name $state $sub
done < "{machine}/states"
"""


@pytest.fixture
def machine(tmp_path):
    """A machine of its own: packages, os-release, and a systemd that tells the states of the file `states`."""
    machine = tmp_path / "machine"
    for folder in ("etc", "run/systemd/system", "run/systemd/units", "usr/bin", "var/lib/dpkg"):
        (machine / folder).mkdir(parents=True)
    (machine / "etc/os-release").write_text("ID=debian\nVERSION_ID=12\n")
    put_packages(machine, {"munge": "0.5", "slurmd": "22", "slurmctld": "22", "bash": "5"})
    (machine / "usr/bin/systemctl").write_text(SYSTEMCTL.format(machine=machine))
    (machine / "usr/bin/systemctl").chmod(0o755)
    put_states(machine, munge="active running", slurmd="inactive dead")
    return machine


def put_packages(machine: Path, packages: dict) -> None:
    text = "\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
        for name, version in packages.items()
    )
    (machine / "var/lib/dpkg/status-new").write_text(text)
    os.replace(machine / "var/lib/dpkg/status-new", machine / "var/lib/dpkg/status")


def put_states(machine: Path, **states: str) -> None:
    (machine / "states").write_text("".join(f"{name} {state}\n" for name, state in states.items()))
    # As systemd does: what is up has a link in this folder.
    link = machine / "run/systemd/units/invocation:x.service"
    link.unlink(missing_ok=True)
    link.symlink_to(str(time.monotonic_ns()))


@pytest.fixture
def settings(tmp_path):
    return Settings(root=tmp_path / "root")


def quick(settings: Settings, machine: Path, **more) -> Gatherer:
    """A gatherer whose second look comes sooner; the real time has a test of its own."""
    return Gatherer(settings, machine, settle_seconds=0.2, **more)


@pytest.fixture
def gatherer(settings, machine):
    return quick(settings, machine)


def section(**selection) -> StackSection:
    return StackSection(facts=FactSelection(**{name: tuple(values) for name, values in selection.items()}))


def custom_fact(settings: Settings, name: str, value) -> Path:
    folder = settings.facts_folders[1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))
    return folder / name


def settled(gatherer: Gatherer, wanted: StackSection):
    """The facts when nothing waits for a second look any more, looked at when the gatherer says."""

    def look():
        facts = gatherer.gather(wanted, {})
        return facts if gatherer.look_again is None else None

    return until(look, 15, "service states settle", pause=0.02)


def test_everything_stays_on_the_node_and_the_selected_is_published(gatherer, settings):
    path = custom_fact(settings, "slurm.json", {"port": 6817})
    facts = gatherer.gather(section(packages=["slurm*", "munge", "nosuch"]), {})
    assert facts.published["packages"] == {"munge": "0.5", "slurmctld": "22", "slurmd": "22"}
    assert facts.published["facts"] == {"port": 6817}
    assert facts.all["packages"] == {"bash": "5", "munge": "0.5", "slurmctld": "22", "slurmd": "22"}
    assert facts.all["packages_source"] == "dpkg"
    assert facts.all["origins"] == {"facts.port": str(path)}
    assert facts.problems == ()
    always = {"hostname", "fqdn", "domain", "os", "platform", "platform_version", "cpus", "memory_mb", "addresses"}
    assert set(facts.published) - {"ip"} == always | {"packages", "facts"}


def test_nothing_volatile_is_published_and_published_is_json(gatherer):
    facts = gatherer.gather(section(packages=["*"]), {})
    assert set(facts.all["timing"]) == {"packages", "host", "addresses", "services", "files", "custom"}
    assert all(seconds >= 0 for seconds in facts.all["timing"].values())
    assert not {"timing", "origins", "services_source", "packages_source", "secret"} & set(facts.published)
    assert json.loads(json.dumps(facts.published, allow_nan=False)) == facts.published


def test_empty_maps_are_left_out_except_addresses(gatherer):
    published = gatherer.gather(StackSection(), {"recipes": [], "environment": "", "attributes": {}}).published
    assert "addresses" in published
    assert not {"packages", "services", "files", "facts", "recipes", "environment", "attributes"} & set(published)


def test_the_last_runs_are_published_as_they_were(gatherer):
    last = {"recipes": ["slurm::head", "munge", "munge"], "environment": "production", "attributes": {"app.port": 80}}
    published = gatherer.gather(StackSection(), last).published
    assert published["recipes"] == ["munge", "slurm::head"]
    assert published["environment"] == "production" and published["attributes"] == {"app.port": 80}
    assert "environment" not in gatherer.gather(StackSection(), {"environment": "_default"}).published


def test_the_same_machine_has_the_same_digest_in_every_look_and_process(settings, machine):
    custom_fact(settings, "a.json", {"b": 1, "a": 2})
    wanted = section(packages=["*"], files=["/etc/os-release"])
    one, other = Gatherer(settings, machine), Gatherer(settings, machine)
    digests = {
        one.gather(wanted, {}).digest,
        one.gather(wanted, {}, fresh=True).digest,
        other.gather(wanted, {}).digest,
    }
    assert len(digests) == 1
    put_packages(machine, {"munge": "0.6"})
    assert one.gather(wanted, {}).digest not in digests


def test_files_are_published_by_digest(gatherer):
    published = gatherer.gather(section(files=["/etc/os-release", "/etc/nosuch"]), {}).published
    assert published["files"]["/etc/nosuch"] == "absent" and len(published["files"]["/etc/os-release"]) == 64


def test_a_first_state_is_published_after_the_second_look(settings, machine):
    gatherer, wanted = Gatherer(settings, machine), section(services=["munge"])
    before = time.monotonic()
    facts = gatherer.gather(wanted, {})
    assert facts.all["services"]["munge"] == "active" and "services" not in facts.published
    assert gatherer.look_again is not None and before + SETTLE <= gatherer.look_again <= time.monotonic() + SETTLE
    assert "services" not in gatherer.gather(wanted, {}).published
    facts = settled(gatherer, wanted)
    assert facts.published["services"] == {"munge": "active"}
    assert time.monotonic() >= before + SETTLE


def test_until_a_changed_state_settles_the_former_one_stays(gatherer, machine):
    wanted = section(services=["munge", "slurm*"])
    assert settled(gatherer, wanted).published["services"] == {"munge": "active", "slurmd": "inactive"}
    put_states(machine, munge="failed failed", slurmd="inactive dead")
    facts = gatherer.gather(wanted, {})
    assert facts.all["services"]["munge"] == "failed"
    assert facts.published["services"]["munge"] == "active" and gatherer.look_again is not None
    assert settled(gatherer, wanted).published["services"]["munge"] == "failed"


def test_a_state_that_comes_back_before_it_settled_was_never_published(gatherer, machine):
    wanted = section(services=["munge"])
    settled(gatherer, wanted)
    put_states(machine, munge="deactivating stop-sigterm")
    assert gatherer.gather(wanted, {}).published["services"] == {"munge": "active"}
    put_states(machine, munge="active running")
    assert gatherer.gather(wanted, {}).published["services"] == {"munge": "active"}
    assert gatherer.look_again is None


def test_a_crash_loop_is_failed(gatherer, machine):
    put_states(machine, munge="activating auto-restart")
    assert settled(gatherer, section(services=["munge"])).published["services"] == {"munge": "failed"}


def test_services_are_asked_for_only_where_selected_or_on_request(gatherer, machine):
    facts = gatherer.gather(StackSection(), {})
    assert facts.all["services"] == {} and "selects none" in facts.all["services_source"]
    assert not (machine / "asked").exists() and gatherer.look_again is None
    facts = gatherer.gather(StackSection(), {}, fresh=True)
    assert facts.all["services"] == {"munge": "active", "slurmd": "inactive"} and "services" not in facts.published
    assert facts.all["services_source"].startswith("systemd")


def test_a_run_is_a_reason_to_ask_again(gatherer, machine):
    wanted = section(services=["munge"])
    settled(gatherer, wanted)
    asked = (machine / "asked").read_text()
    gatherer.gather(wanted, {})
    assert (machine / "asked").read_text() == asked
    gatherer.gather(wanted, {}, fresh=True)
    assert len((machine / "asked").read_text()) > len(asked)


def test_an_init_system_that_does_not_answer_changes_no_fact_and_is_not_asked_in_a_loop(gatherer, machine):
    wanted = section(services=["munge"])
    settled(gatherer, wanted)
    (machine / "broken").touch()
    put_states(machine)
    facts = gatherer.gather(wanted, {}, fresh=True)
    assert facts.published["services"] == {"munge": "active"}
    assert len(facts.problems) == 1 and "Host is down" in facts.problems[0]
    assert gatherer.look_again is None
    asked = (machine / "asked").read_text()
    assert gatherer.gather(wanted, {}).problems == facts.problems
    assert (machine / "asked").read_text() == asked


def test_a_kind_that_fails_is_a_problem_only_where_something_needs_it(gatherer, machine):
    (machine / "broken").touch()
    assert gatherer.gather(StackSection(), {}, fresh=True).problems == ()
    (machine / "var/lib/rpm").mkdir(parents=True)
    (machine / "var/lib/rpm/rpmdb.sqlite").write_text("no database")
    other = Gatherer(gatherer.settings, machine)
    assert other.gather(StackSection(), {}).problems == ()
    problems = other.gather(section(packages=["munge"]), {}).problems
    assert len(problems) == 1 and "var/lib/rpm" in problems[0]


def test_a_restart_changes_no_fact(settings, machine):
    wanted = section(services=["munge"])
    agent = quick(settings, machine, remember=True)
    before = settled(agent, wanted)
    again = quick(settings, machine, remember=True)
    assert again.gather(wanted, {}).digest == before.digest and again.look_again is None
    # Changed while no agent ran: the former state stays until the second look.
    put_states(machine, munge="failed failed")
    third = quick(settings, machine, remember=True)
    assert third.gather(wanted, {}).published["services"] == {"munge": "active"}
    assert settled(third, wanted).published["services"] == {"munge": "failed"}


def test_an_agent_that_starts_without_its_metadata_does_not_forget(settings, machine):
    wanted = section(services=["munge"])
    settled(quick(settings, machine, remember=True), wanted)
    agent = quick(settings, machine, remember=True)
    agent.gather(StackSection(), {})
    assert agent.gather(wanted, {}).published["services"] == {"munge": "active"}


def test_only_the_process_that_is_told_to_writes_and_0600(settings, machine):
    wanted = section(services=["munge"])
    settled(quick(settings, machine), wanted)
    assert not settings.lib.exists()
    settled(quick(settings, machine, remember=True), wanted)
    path = settings.lib / "facts.json"
    assert path.stat().st_mode & 0o777 == 0o600 and settings.lib.stat().st_mode & 0o777 == 0o700
    before = path.stat().st_mtime_ns
    quick(settings, machine, remember=True).gather(wanted, {})
    assert path.stat().st_mtime_ns == before  # written only when something changed


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 9}', '{"format": 1, "services": [], "custom": 1}', "\xff"]
)
def test_a_damaged_memory_is_no_crash(settings, machine, content):
    settings.lib.mkdir(parents=True)
    (settings.lib / "facts.json").write_bytes(content.encode("latin-1"))
    agent = quick(settings, machine, remember=True)
    assert settled(agent, section(services=["munge"])).published["services"] == {"munge": "active"}


def test_secret_facts_are_held_back_and_the_missing_template_line_is_named(gatherer, settings):
    custom_fact(settings, "munge.json", {"munge_key": "do not tell", "port": 1})
    wanted = section(secret=["munge_key"])
    facts = gatherer.gather(wanted, {})
    assert facts.published["facts"] == {"port": 1} and "do not tell" not in json.dumps(facts.published)
    assert gatherer.secrets == {"munge_key": "do not tell"} and facts.all["secret"] == ["munge_key"]
    assert len(facts.problems) == 1 and "munge_key" in facts.problems[0] and "RandomString" in facts.problems[0]
    sealed = StackSection(facts=wanted.facts, data_bag={"secret": "x" * 32})
    assert gatherer.gather(sealed, {}).problems == ()


def test_a_fact_without_a_home_is_published_as_what_it_is(gatherer):
    facts = gatherer.gather(StackSection(address={"interface": "nosuch0"}), {})
    assert "ip" not in facts.published and "nosuch0" in facts.problems[0]


states = strategies.sampled_from(["active", "inactive", "failed", "activating", ""])
looks = strategies.lists(strategies.tuples(strategies.floats(0.1, 10), states), min_size=1, max_size=12)


@given(looks)
@hypothesis_settings(max_examples=60, deadline=None)
def test_only_a_value_seen_unchanged_for_two_seconds_becomes_the_settled_one(steps):
    known, at, seen = {}, 100.0, []
    for pause, state in steps:
        at += pause
        before = known["x"].settled if "x" in known else ""
        known = settle(known, {"x": state} if state else {}, at)
        seen.append((at, state))
        after = known["x"].settled if "x" in known else ""
        if after != before:
            same = [since for since, value in seen if since <= at - SETTLE]
            assert after == state and same
            assert all(value == state for since, value in seen if since >= same[-1])
        again = next_look(known, at)
        if after == state:
            assert again is None
        elif at < 100.0 + RESTLESS:
            assert again is not None
        assert again is None or at < again <= at + SETTLE


def test_a_state_on_its_way_is_given_time_to_arrive():
    known = settle({}, {"x": "active"}, 0.0)
    known = settle(known, {"x": "active"}, 2.0)
    known = settle(known, {"x": "activating"}, 10.0)
    known = settle(known, {"x": "activating"}, 10.0 + SETTLE)
    assert known["x"].settled == "active" and next_look(known, 10.0 + SETTLE) == 10.0 + 2 * SETTLE
    assert settle(known, {"x": "active"}, 15.0)["x"].settled == "active"
    assert settle(known, {"x": "activating"}, 10.0 + SETTLE_PASSING)["x"].settled == "activating"


def test_a_state_that_never_settles_is_not_waited_for_for_ever():
    known = settle({}, {"x": "active"}, 0.0)
    known, at = settle(known, {"x": "active"}, SETTLE), 100.0
    while at < 100.0 + RESTLESS:
        assert next_look(known, at) == (None if at == 100.0 else at + SETTLE)
        at += 1.0
        known = settle(known, {"x": "failed" if at % 2 else "inactive"}, at)
    known = settle(known, {"x": "failed"}, at + 1.0)
    assert known["x"].settled == "active" and next_look(known, at + 1.0) is None
    known = settle(known, {"x": "failed"}, at + 1.0 + SETTLE)
    assert known["x"].settled == "failed"


def test_a_service_that_is_gone_is_dropped_when_that_has_settled():
    known = {"x": Settling("active", 0.0, "active")}
    known = settle(known, {}, 10.0)
    assert known["x"].settled == "active"
    assert settle(known, {}, 12.0) == {}


def test_services_are_selected_with_or_without_their_suffix(gatherer):
    assert settled(gatherer, section(services=["mung*.service", "slurmd.service"])).published["services"] == {
        "munge": "active",
        "slurmd": "inactive",
    }


def test_fifteen_hundred_packages_cost_little_and_an_unchanged_machine_almost_nothing(settings, machine):
    put_packages(machine, {f"package-{number}": f"1:{number}.0-1" for number in range(1500)})
    wanted = section(packages=["package-1*", "package-7"], files=["/etc/os-release"])
    started = time.process_time()
    gatherer = Gatherer(settings, machine)
    facts = gatherer.gather(wanted, {})
    assert time.process_time() - started < 0.15  # measured exactly by bench/
    assert len(facts.all["packages"]) == 1500
    fastest = min(timed(lambda: gatherer.gather(wanted, {})) for _ in range(20))
    assert fastest < 0.005


def timed(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
