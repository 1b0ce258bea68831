"""Packages: dpkg's status file as dpkg itself reads it, and a real rpm database."""

from __future__ import annotations

import functools
import os
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from swagent.facts.packages import Packages, parse_dpkg, parse_rpm

STANZA = """Package: {name}
Status: {status}
Maintainer: Nobody <nobody@example.org>
Architecture: {architecture}
Version: {version}
Description: one line
 Version: 9.9 is only spoken of
 .
 Package: neither
"""


def stanza(name="munge", status="install ok installed", architecture="amd64", version="1.0-1"):
    return STANZA.format(name=name, status=status, architecture=architecture, version=version)


def write_status(machine: Path, *stanzas: str) -> Path:
    folder = machine / "var/lib/dpkg"
    (folder / "updates").mkdir(parents=True, exist_ok=True)
    beside = folder / "status-new"  # as dpkg does
    beside.write_text("\n".join(stanzas))
    os.replace(beside, folder / "status")
    return folder / "status"


@functools.lru_cache(None)
def machine_architecture() -> str:
    argv = ["dpkg", "--print-architecture"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def ask_dpkg(folder: Path) -> dict:
    """What dpkg-query says is installed: {name, with the architecture where it is not the machine's: version}."""
    native = machine_architecture()
    shown = "${Package}\t${Version}\t${Architecture}\t${db:Status-Status}\n"
    argv = ["dpkg-query", f"--admindir={folder}", "-W", "-f", shown]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in said.splitlines()]
    return {
        name if architecture in (native, "all") else f"{name}:{architecture}": version
        for name, version, architecture, state in rows
        if state in ("installed", "triggers-awaited", "triggers-pending")
    }


def test_this_machine_has_what_dpkg_says():
    found = Packages().look()
    assert found.values == ask_dpkg(Path("/var/lib/dpkg"))
    assert len(found.values) > 100 and list(found.values) == sorted(found.values)
    assert "dpkg" in found.source and not found.problems


names = strategies.from_regex(r"[a-z0-9][a-z0-9+.-]{1,12}", fullmatch=True)
versions = strategies.from_regex(r"([1-9]:)?[0-9][0-9a-z.+~]{0,8}(-[0-9a-z+.~]{1,6})?", fullmatch=True)
states = strategies.sampled_from(
    ["installed", "half-configured", "unpacked", "half-installed", "config-files", "triggers-pending", "not-installed"]
)
wants = strategies.sampled_from(["install", "hold", "deinstall", "purge"])
entries = strategies.tuples(names, versions, strategies.sampled_from(["amd64", "all", "i386"]), states, wants)


@given(strategies.lists(entries, max_size=12, unique_by=lambda entry: entry[0]), strategies.randoms())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_status_file_is_read_as_dpkg_reads_it(tmp_path, generated, random):
    stanzas = [stanza("dpkg", version="1.21.22", architecture=machine_architecture())]
    for name, version, architecture, state, want in generated:
        if name == "dpkg":
            continue
        fields = [
            f"Status: {want} ok {state}",
            f"Architecture: {architecture}",
            "Maintainer: Åse Ødegård <ase@example.org>",
            "Description: naïve\n Version: 0 is\n not a field\n .\n Status: install ok installed",
        ]
        if state == "config-files":
            fields.append(f"Config-Version: {version}")
        if state != "not-installed":
            fields.append(f"Version: {version}")
        if state == "triggers-pending":
            fields.append("Triggers-Pending: ldconfig")
        random.shuffle(fields)
        stanzas.append("\n".join([f"Package: {name}", *fields, ""]))
    status = write_status(tmp_path, *stanzas)
    assert parse_dpkg(status.read_bytes()) == ask_dpkg(status.parent)


@given(strategies.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_garbage_is_no_package_and_no_crash(data):
    parsed = parse_dpkg(data)
    assert all(isinstance(name, str) and isinstance(version, str) for name, version in parsed.items())


def test_a_package_of_a_second_architecture_keeps_both():
    data = "\n".join([stanza("dpkg"), stanza("libc6"), stanza("libc6", architecture="i386", version="2.0")])
    assert parse_dpkg(data.encode()) == {"dpkg": "1.0-1", "libc6": "1.0-1", "libc6:i386": "2.0"}


@pytest.mark.parametrize("state", ["half-configured", "unpacked", "half-installed", "config-files", "not-installed"])
def test_what_is_not_configured_is_not_installed(state):
    assert parse_dpkg(stanza(status=f"install ok {state}").encode()) == {}


@pytest.mark.parametrize("status", ["hold ok installed", "install ok triggers-awaited", "install reinstreq installed"])
def test_what_is_held_or_waits_for_triggers_is_installed(status):
    assert parse_dpkg(stanza(status=status).encode()) == {"munge": "1.0-1"}


def test_the_journal_of_a_running_dpkg_counts(tmp_path):
    status = write_status(tmp_path, stanza("munge"), stanza("slurmd"))
    packages = Packages(tmp_path)
    assert packages.look().values == {"munge": "1.0-1", "slurmd": "1.0-1"}
    (status.parent / "updates" / "0001").write_text(stanza("munge", version="2.0"))
    (status.parent / "updates" / "0002").write_text(stanza("slurmd", status="deinstall ok config-files"))
    (status.parent / "updates" / "tmp.i").write_text(stanza("half", version="0"))
    assert packages.look().values == {"munge": "2.0"}


def test_a_status_file_that_did_not_move_is_not_read_again(tmp_path):
    status = write_status(tmp_path, stanza())
    packages = Packages(tmp_path)
    first = packages.look()
    assert packages.look() is first
    # Same size, and the mtime put back: inode and ctime still tell.
    before = status.stat()
    write_status(tmp_path, stanza(version="1.0-2"))
    os.utime(status, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert packages.look().values == {"munge": "1.0-2"}


def test_a_machine_without_packages_has_none_and_no_problem(tmp_path):
    found = Packages(tmp_path).look()
    assert (dict(found.values), found.source, found.problems) == ({}, "none", ())


def test_rpm_lines_with_several_architectures_kernels_and_keys():
    lines = [
        "rpm\t4.16.1-3\tx86_64\t100",
        "glibc\t2.34-1\ti686\t100",
        "glibc\t2.34-1\tx86_64\t100",
        "kernel\t5.14.0-9\tx86_64\t200",
        "kernel\t5.14.0-10\tx86_64\t300",
        "gpg-pubkey\t8483c65d-5ccc5b19\t(none)\t50",
        "bind\t32:9.16-1\tx86_64\t100",
        "basesystem\t11-13\tnoarch\t100",
        "a line that is none",
    ]
    assert parse_rpm("\n".join(lines)) == {
        "basesystem": "11-13",
        "bind": "32:9.16-1",
        "glibc": "2.34-1",
        "glibc.i686": "2.34-1",
        "kernel": "5.14.0-10",
        "rpm": "4.16.1-3",
    }


SPEC = """Name: {name}
Version: {version}
Release: 3
{epoch}Summary: x
License: x
BuildArch: noarch
%description
x
%files
"""


@pytest.fixture(scope="module")
def rpms(tmp_path_factory):
    """Real packages without content: {file name: path}."""
    folder = tmp_path_factory.mktemp("rpms")
    for name, version, epoch in (("munge", "0.5", "Epoch: 1\n"), ("slurm", "22.05", ""), ("slurm", "23.11", "")):
        spec = folder / f"{name}-{version}.spec"
        spec.write_text(SPEC.format(name=name, version=version, epoch=epoch))
        argv = ["rpmbuild", "-bb", "--define", f"_topdir {folder / 'top'}", str(spec)]
        subprocess.run(argv, check=True, capture_output=True)
    return {path.name: path for path in folder.rglob("*.rpm")}


def install(database: Path, how: str, path: Path) -> None:
    database.mkdir(parents=True, exist_ok=True)
    argv = ["rpm", "--dbpath", str(database), how, "--justdb", "--nodeps", str(path)]
    subprocess.run(argv, check=True, capture_output=True)


@pytest.mark.parametrize("place", ["var/lib/rpm", "usr/lib/sysimage/rpm"])
def test_a_real_rpm_database_is_read_when_it_moved_and_only_then(tmp_path, rpms, place):
    database = tmp_path / place
    install(database, "-i", rpms["munge-0.5-3.noarch.rpm"])
    packages = Packages(tmp_path)
    first = packages.look()
    assert (first.values, first.source, first.problems) == ({"munge": "1:0.5-3"}, "rpm", ())
    assert packages.look() is first
    install(database, "-i", rpms["slurm-22.05-3.noarch.rpm"])
    assert packages.look().values == {"munge": "1:0.5-3", "slurm": "22.05-3"}
    install(database, "-U", rpms["slurm-23.11-3.noarch.rpm"])
    assert packages.look().values == {"munge": "1:0.5-3", "slurm": "23.11-3"}


def test_a_damaged_rpm_database_is_named_and_the_last_list_stands(tmp_path, rpms):
    database = tmp_path / "var/lib/rpm"
    install(database, "-i", rpms["munge-0.5-3.noarch.rpm"])
    packages = Packages(tmp_path)
    packages.look()
    (database / "rpmdb.sqlite").write_bytes(b"no database" * 1000)
    found = packages.look()
    assert found.values == {"munge": "1:0.5-3"}
    assert len(found.problems) == 1 and str(database) in found.problems[0] and "rpm" in found.problems[0]
    assert packages.look() is found  # not asked again at once: an rpm that hangs would hold up every cycle


def test_both_databases_of_one_machine_are_united(tmp_path, rpms):
    install(tmp_path / "var/lib/rpm", "-i", rpms["slurm-22.05-3.noarch.rpm"])
    write_status(tmp_path, stanza("munge"))
    found = Packages(tmp_path).look()
    assert (found.values, found.source) == ({"munge": "1.0-1", "slurm": "22.05-3"}, "dpkg and rpm")


def test_fifteen_hundred_packages_are_parsed_at_once(tmp_path):
    write_status(tmp_path, *(stanza(f"package-{number}", version=f"{number}.0") for number in range(1500)))
    started = time.process_time()
    found = Packages(tmp_path).look()
    assert len(found.values) == 1500
    assert time.process_time() - started < 0.15
