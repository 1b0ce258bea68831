"""Services: captured answers of systemd 252 and OpenRC 0.45, programs that answer like them, and real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from swagent.facts.services import (
    AGAIN,
    AGAIN_GATED,
    AGAIN_PASSING,
    RETRY,
    SYSTEMD_PROPERTIES,
    Services,
    parse_init_script,
    parse_rc_status,
    parse_systemctl_show,
    state_of_unit,
)
from tests.wait import until

SAMPLES = Path(__file__).parent / "samples"

# Answers with $MACHINE/answer, whatever is asked by the right words; says what it was asked in $MACHINE/asked.
SYSTEMCTL = """#!/bin/sh
here="{machine}"
[ "$1 $2 $3 $4" = "show {properties} -- *.service" ] || {{ echo "not told what to do with $*" >&2; exit 3; }}
shift 4
echo "$@" >> "$here/asked"
[ -e "$here/broken" ] && {{ echo "Failed to connect to bus: Host is down" >&2; exit 1; }}
cat "$here/answer"
"""
RC_STATUS = """#!/bin/sh
[ "$*" = "--servicelist --nocolor" ] || {{ echo "not told what to do with $*" >&2; exit 3; }}
cat "{machine}/answer"
"""


def put_program(machine: Path, name: str, text: str) -> None:
    path = machine / "usr/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(machine=machine, properties=SYSTEMD_PROPERTIES))
    path.chmod(0o755)


@pytest.fixture
def systemd(tmp_path):
    """A machine that systemd runs; its answer is the captured one."""
    for folder in ("run/systemd/system", "run/systemd/units", "usr/lib/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    put_program(tmp_path, "systemctl", SYSTEMCTL)
    shutil.copy(SAMPLES / "systemctl_show.txt", tmp_path / "answer")
    return tmp_path


def asked(machine: Path) -> list:
    path = machine / "asked"
    return path.read_text().splitlines() if path.exists() else []


def test_systemd_states_in_one_word():
    states = parse_systemctl_show((SAMPLES / "systemctl_show.txt").read_text())
    wanted = ("works", "worker@1", "broken", "slow", "idle", "nosuch", "masked", "systemd-sysctl")
    assert {name: states[name] for name in wanted} == {
        "works": "active",
        "worker@1": "active",
        "broken": "failed",
        "slow": "activating",
        "idle": "inactive",
        "nosuch": "absent",
        "masked": "inactive",
        "systemd-sysctl": "active",
    }
    assert list(states) == sorted(states)


def test_a_service_that_systemd_waits_to_restart_has_failed():
    states = parse_systemctl_show((SAMPLES / "systemctl_show_auto_restart.txt").read_text())
    assert states["restarts"] == "failed"


@pytest.mark.parametrize(
    "load, active, sub, state",
    [
        ("loaded", "active", "running", "active"),
        ("loaded", "reloading", "reload", "active"),
        ("loaded", "activating", "start-pre", "activating"),
        ("loaded", "activating", "auto-restart", "failed"),
        ("loaded", "activating", "auto-restart-queued", "failed"),
        ("loaded", "deactivating", "stop-sigterm", "deactivating"),
        ("not-found", "inactive", "dead", "absent"),
        ("not-found", "active", "running", "active"),  # its unit file was removed while it ran
        ("bad-setting", "inactive", "dead", "inactive"),
    ],
)
def test_state_of_unit(load, active, sub, state):
    assert state_of_unit(load, active, sub) == state


def test_an_alias_is_the_service_that_it_names():
    text = "Id=ssh.service\nNames=ssh.service sshd.service\nLoadState=loaded\nActiveState=active\nSubState=running\n"
    assert parse_systemctl_show(text) == {"ssh": "active", "sshd": "active"}


@pytest.mark.parametrize("text", ["", "\n\n", "Id=x.socket\nActiveState=active\n", "Id=x.service\n", "no equals"])
def test_broken_answers_give_nothing(text):
    assert parse_systemctl_show(text) == {}


def test_openrc_states_in_systemds_words():
    assert parse_rc_status((SAMPLES / "rc_status.txt").read_text()) == {
        "agetty": "inactive",
        "alpha": "active",
        "beta": "inactive",
        "delta": "activating",
        "gamma": "failed",
        "savecache": "inactive",
    }


def test_openrc_with_times_and_supervision():
    assert parse_rc_status(" sshd    [  started 01:12:07 (0)  ]\n * Caching service dependencies ... [ ok ]\n") == {
        "sshd": "active"
    }


def test_systemd_is_asked_once_until_something_moves(systemd):
    services = Services(systemd)
    first = services.look(("works",), now=100.0)
    assert first.states["works"] == "active" and first.source.startswith("systemd") and first.at == 100.0
    assert services.look(("works",), now=100.0 + AGAIN_GATED - 1) is first
    (systemd / "run/systemd/units/invocation:idle.service").symlink_to("0123")  # as systemd does at each start
    second = services.look(("works",), now=110.0)
    assert second.at == 110.0
    assert services.look(("works",), now=110.0 + AGAIN_GATED).at == 110.0 + AGAIN_GATED
    assert services.look(("works",), now=171.0, again=True).at == 171.0
    assert len(asked(systemd)) == 4


def test_a_service_on_its_way_is_followed_closely(systemd):
    services = Services(systemd)
    services.look(("slow",), now=100.0)
    assert services.look(("slow",), now=100.0 + AGAIN_PASSING).at == 100.0 + AGAIN_PASSING


def test_an_unselected_service_on_its_way_is_not_followed(systemd):
    services = Services(systemd)
    first = services.look(("works",), now=100.0)
    assert first.states["slow"] == "activating"
    assert services.look(("works",), now=100.0 + AGAIN_PASSING) is first


def test_services_that_are_installed_and_down_are_asked_for_by_name(systemd):
    for name in ("slurmd.service", "slurmctld.service", "slurm@.service", "slurm.socket", "other.service"):
        (systemd / "usr/lib/systemd/system" / name).write_text("")
    Services(systemd).look(("slurm*", "munge.service", "--force", "a b"), now=1.0)
    assert asked(systemd) == ["--force.service munge.service slurmctld.service slurmd.service"]


def test_a_new_unit_file_is_a_reason_to_ask(systemd):
    services = Services(systemd)
    services.look(("slurm*",), now=1.0)
    (systemd / "usr/lib/systemd/system/slurmd.service").write_text("")
    services.look(("slurm*",), now=2.0)
    assert asked(systemd) == ["", "slurmd.service"]


def test_a_service_that_is_not_there_is_told_only_to_who_named_it(systemd):
    assert Services(systemd).look(("nosuch",), now=1.0).states["nosuch"] == "absent"
    assert "nosuch" not in Services(systemd).look(("nos*",), now=1.0).states


def test_when_systemd_does_not_answer_the_last_states_stand_and_it_is_named(systemd):
    services = Services(systemd)
    good = services.look(("works",), now=1.0)
    (systemd / "broken").touch()
    bad = services.look(("works",), now=2.0, again=True)
    assert bad.states == good.states
    assert len(bad.problems) == 1 and "Host is down" in bad.problems[0] and "systemctl" in bad.problems[0]
    assert services.look(("works",), now=2.0 + RETRY - 1) is bad
    (systemd / "broken").unlink()
    assert services.look(("works",), now=2.0 + RETRY).problems == ()


def test_a_machine_of_systemd_without_systemctl_says_so(tmp_path):
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    look = Services(tmp_path).look(("works",), now=1.0)
    assert look.states == {} and "systemctl" in look.problems[0] and "not found" in look.problems[0]


def test_openrc_is_asked_where_it_runs_the_machine(tmp_path):
    (tmp_path / "run/openrc").mkdir(parents=True)
    put_program(tmp_path, "rc-status", RC_STATUS)
    shutil.copy(SAMPLES / "rc_status.txt", tmp_path / "answer")
    services = Services(tmp_path)
    look = services.look(("gamma", "nosuch"), now=100.0)
    assert look.source == "OpenRC (rc-status)" and not look.problems
    assert (look.states["gamma"], look.states["alpha"], look.states["nosuch"]) == ("failed", "active", "absent")
    assert services.look(("gamma", "nosuch"), now=100.0 + AGAIN - 1) is look
    assert services.look(("gamma", "nosuch"), now=100.0 + AGAIN).at == 100.0 + AGAIN


@pytest.mark.parametrize(
    "script, parsed",
    [
        ("NAME=munged\nDAEMON=/usr/sbin/$NAME\nPIDFILE=/run/munge/${NAME}.pid\n", ("/run/munge/munged.pid", "munged")),
        ('# chkconfig: 2345 90 10\n# pidfile: /var/run/crond.pid\nprog="crond"\n', ("/var/run/crond.pid", "crond")),
        ("PIDFILE=$(mktemp)\nDAEMON=$UNKNOWN\n", ("", "")),
        ("  pidfile='/run/a b.pid' # where\nexec=\"/usr/bin/python3 -m x\"\n", ("/run/a b.pid", "python3")),
        ("A=$B\nB=$A\nPIDFILE=$A\n", ("", "")),
        ("\x00\xff not a script", ("", "")),
    ],
)
def test_what_an_init_script_names(script, parsed):
    assert parse_init_script(script) == parsed


def put_script(machine: Path, name: str, text: str = "#!/bin/sh\n") -> None:
    path = machine / "etc/init.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def daemon(tmp_path):
    """A process with a name of its own; ended at the end."""
    program = tmp_path / "swfactd"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([str(program), "600"]) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        until(lambda: comm.read_text().strip() == "swfactd", 10, "the daemon bears its name")
        yield process
        process.kill()


def test_without_an_init_system_processes_and_pid_files_are_used_and_said(tmp_path, daemon):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/by-file.pid").write_text(f"{daemon.pid}\n")
    (tmp_path / "run/dead.pid").write_text("4194305\n")  # above the kernel's largest pid
    (tmp_path / "run/torn.pid").write_text("not a pid")
    for name in ("by-file", "dead", "torn", "down", "README"):
        put_script(tmp_path, name)
    put_script(tmp_path, "by-name", "NAME=swfactd\nDAEMON=/usr/sbin/$NAME\n")
    put_script(tmp_path, "not-executable")
    (tmp_path / "etc/init.d/not-executable").chmod(0o644)
    look = Services(tmp_path).look(("swfactd", "nosuch"), now=1.0)
    assert look.states == {
        "by-file": "active",
        "by-name": "active",
        "dead": "failed",
        "down": "inactive",
        "nosuch": "absent",
        "swfactd": "active",
        "torn": "inactive",
    }
    assert "init scripts" in look.source and "systemd" in look.source and not look.problems


def test_a_process_that_ended_and_was_not_fetched_is_not_active(tmp_path):
    put_script(tmp_path, "gone")
    with subprocess.Popen(["/bin/true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        (tmp_path / "run").mkdir()
        (tmp_path / "run/gone.pid").write_text(str(process.pid))
        assert Services(tmp_path).look(("gone",), now=1.0).states["gone"] == "failed"


def test_a_changed_init_script_is_read_again(tmp_path, daemon):
    put_script(tmp_path, "one")
    services = Services(tmp_path)
    assert services.look(("one",), now=1.0).states == {"one": "inactive"}
    put_script(tmp_path, "one", "DAEMON=/usr/sbin/swfactd\n")
    assert services.look(("one",), now=2.0, again=True).states == {"one": "active"}
