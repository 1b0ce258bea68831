"""Pins, what is written into an installation, and when one counts as being there: no network, no Ruby."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from swagent.bootstrap import chef
from swagent.errors import DocumentError, LockHeld, SwagentError
from swagent.settings import Settings

SUM = "0123456789abcdef" * 4


def lay_out(home, pins):
    """An installation as far as `installed` looks at it."""
    (home / "bin").mkdir(parents=True)
    for program in chef.PROGRAMS:
        (home / "bin" / program.name).write_text(chef.render_wrapper(program))
        (home / "bin" / program.name).chmod(0o755)
    (home / "stamp").write_text(chef.stamp(pins))


def test_the_pins_hold_chef_librarian_and_ohai_once_each():
    names = [pin.gem.rpartition("-")[0] for pin in chef.read_pins()]
    assert {"chef", "librarian-chef", "librarian", "ohai", "chef-zero"} <= set(names)
    assert len(names) == len(set(names)) > 50


def test_the_pins_leave_out_inspec_and_all_native_code():
    names = {pin.gem.rpartition("-")[0] for pin in chef.read_pins()}
    assert not names & {"inspec", "inspec-core", "train-winrm", "aws-sdk-core", "ffi", "ffi-yajl", "libyajl2", "json"}


def test_a_line_gives_name_version_and_sum():
    pins = chef.parse_pins(f"{SUM}  net-ssh-7.3.9.gem\n{SUM}  mixlib-log-3.1.2.1.gem\n", "gems")
    assert [(pin.gem, pin.file, pin.sha256) for pin in pins] == [
        ("net-ssh-7.3.9", "net-ssh-7.3.9.gem", SUM),
        ("mixlib-log-3.1.2.1", "mixlib-log-3.1.2.1.gem", SUM),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "rack-3.2.8.gem",
        f"{SUM[:-1]}  rack-3.2.8.gem",
        f"{SUM.upper()}  rack-3.2.8.gem",
        f"{SUM} rack-3.2.8.gem",
        f"{SUM}  rack.gem",
        f"{SUM}  ../rack-3.2.8.gem",
        f"{SUM}  -v-1.gem x",
        "",
    ],
)
def test_a_line_that_is_no_pin_is_named(line):
    with pytest.raises(DocumentError, match="^gems: line 2: not a pinned gem"):
        chef.parse_pins(f"{SUM}  rack-3.2.8.gem\n{line}\n", "gems")


def test_a_gem_pinned_twice_is_named():
    with pytest.raises(DocumentError, match="line 2: rack is pinned twice"):
        chef.parse_pins(f"{SUM}  rack-3.2.8.gem\n{SUM}  rack-3.2.9.gem\n", "gems")


def test_a_wrapper_starts_ruby_with_a_clean_environment_and_all_arguments(tmp_path):
    # A Ruby of ours in place of the real one: it shows what a wrapper hands over.
    ruby = tmp_path / "ruby"
    ruby.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nenv | sort\n')
    ruby.chmod(0o755)
    home = tmp_path / "a home"
    wrapper = home / "bin" / "librarian-chef"
    wrapper.parent.mkdir(parents=True)
    program = next(each for each in chef.PROGRAMS if each.name == "librarian-chef")
    wrapper.write_text(chef.render_wrapper(program).replace(chef.RUBY, str(ruby)))
    wrapper.chmod(0o755)
    (tmp_path / "link").symlink_to(wrapper)
    environment = {"GEM_HOME": "/x", "GEM_PATH": "/x", "RUBYOPT": "-rx", "RUBYLIB": "/x", "BUNDLE_GEMFILE": "/x"}
    ended = subprocess.run(
        [tmp_path / "link", "install", "two words", "$HOME"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[:7] == [
        "-W0",
        "-r",
        f"{home}/lib/boot.rb",
        f"{home}/lib/librarian-chef.rb",
        "install",
        "two words",
        "$HOME",
    ]
    assert "LANG=C.UTF-8" in ended.stdout and "HOME=/root" in ended.stdout
    assert not re.search("^(GEM|RUBY|BUNDLE)", ended.stdout, re.MULTILINE)


def test_every_program_ends_in_the_line_that_starts_it():
    for program in chef.PROGRAMS:
        assert chef.render_program(program).endswith(f'require "{program.library}"\n{program.start}\n')


def test_the_licence_stays_enforced():
    assert "enforce_license: true" in chef.contents(())["lib/chef-solo.rb"]
    assert "accept" not in " ".join(chef.contents(()).values()).lower().replace("license_acceptance", "")


def test_nothing_is_installed_in_a_folder_that_is_not_there(tmp_path):
    assert not chef.installed(tmp_path / "chef")


@pytest.mark.parametrize("damage", ["no stamp", "half a stamp", "bytes in the stamp", "no wrapper", "mode lost"])
def test_a_damaged_installation_is_not_installed(tmp_path, damage):
    pins = chef.parse_pins(f"{SUM}  rack-3.2.8.gem\n", "gems")
    lay_out(tmp_path, pins)
    if damage == "no stamp":
        (tmp_path / "stamp").unlink()
    elif damage == "half a stamp":
        (tmp_path / "stamp").write_text(chef.stamp(pins)[:20])
    elif damage == "bytes in the stamp":
        (tmp_path / "stamp").write_bytes(b"\xff" * 65)
    elif damage == "no wrapper":
        (tmp_path / "bin" / "ohai").unlink()
    else:
        (tmp_path / "bin" / "ohai").chmod(0o644)
    assert not chef.installed(tmp_path, pins)


def test_a_file_with_another_sum_is_refused_and_named(tmp_path):
    (tmp_path / "rack-3.2.8.gem").write_bytes(b"not rack")
    with pytest.raises(SwagentError, match="rack-3.2.8.gem has SHA-256 [0-9a-f]{64} and not the pinned 0123"):
        chef.check_sums(tmp_path, chef.parse_pins(f"{SUM}  rack-3.2.8.gem\n", "gems"))


def test_bootstrap_says_once_how_to_accept_the_licence_and_accepts_nothing():
    asked = chef.license_sentence(Settings())
    assert (
        "bootstrap accepts nothing" in asked and "chef_license: accept-no-persist" in asked and "CHEF_LICENSE" in asked
    )
    assert "accepted by the setting chef_license: accept-silent" in chef.license_sentence(
        Settings(chef_license="accept-silent")
    )


def test_two_bootstraps_do_not_collide_and_the_second_names_the_first(tmp_path):
    said = []
    with chef.locked(tmp_path / "chef.lock", 0, said.append):
        with pytest.raises(LockHeld, match=f"another bootstrap .process {os.getpid()}. holds {tmp_path}/chef.lock"):
            with chef.locked(tmp_path / "chef.lock", 0.3, said.append):
                raise AssertionError("both hold the lock")
    assert said == [f"waiting for another bootstrap (process {os.getpid()})"]
    with chef.locked(tmp_path / "chef.lock", 0, said.append):
        assert len(said) == 1
