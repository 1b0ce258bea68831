"""Custom facts: files and executables of the facts.d folders, what they may say and how they fail."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from swagent.facts.custom import INTERVAL, LONGEST_INTERVAL, Custom, is_volatile, to_json
from tests.wait import running


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


@pytest.fixture
def lib(tmp_path):
    folder = tmp_path / "lib"
    folder.mkdir()
    return folder


@pytest.fixture
def custom(etc, lib):
    return Custom((etc, lib), {})


def put_executable(path: Path, body: str, mode: int = 0o755) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


def test_json_yaml_and_executables_become_facts_with_their_origin(custom, etc, lib):
    (etc / "slurm.json").write_text('{"port": 6817, "partitions": ["debug", "long"]}')
    (etc / "site.yaml").write_text("datacenter: Århus\nrack: {row: 3}\n")
    put_executable(lib / "gpus.sh", "echo '{\"gpus\": 4}'")
    put_executable(lib / "plain", "echo 'colour: blue'")
    found = custom.look(0.0)
    assert found.values == {
        "colour": "blue",
        "datacenter": "Århus",
        "gpus": 4,
        "partitions": ["debug", "long"],
        "port": 6817,
        "rack": {"row": 3},
    }
    assert found.origins["port"] == str(etc / "slurm.json") and found.origins["gpus"] == str(lib / "gpus.sh")
    assert not found.problems


def test_what_is_not_a_map_is_put_under_the_name_of_the_file(custom, etc):
    (etc / "ports.json").write_text("[6817, 6818]")
    (etc / "greeting.yml").write_text("hello\n")
    (etc / "nothing.yaml").write_text("")
    put_executable(etc / "zone.sh", "echo b")
    assert custom.look(0.0).values == {"greeting": "hello", "ports": [6817, 6818], "zone": "b"}


def test_a_later_folder_then_a_later_name_wins(custom, etc, lib):
    (etc / "a.json").write_text('{"x": "etc a", "y": "etc a", "z": "etc a"}')
    (etc / "b.json").write_text('{"y": "etc b", "z": "etc b"}')
    (lib / "a.json").write_text('{"z": "lib a"}')
    found = custom.look(0.0)
    assert found.values == {"x": "etc a", "y": "etc b", "z": "lib a"}
    assert found.origins["z"] == str(lib / "a.json")


def test_a_changed_added_or_removed_file_is_seen_and_an_unmoved_one_not_read(custom, etc):
    path = etc / "a.json"
    path.write_text('{"x": 1}')
    assert custom.look(0.0).values == {"x": 1}
    assert custom.look(1.0).values == {"x": 1}
    path.write_text('{"x": 2}')
    (etc / "b.json").write_text('{"y": 1}')
    assert custom.look(2.0).values == {"x": 2, "y": 1}
    path.unlink()
    assert custom.look(3.0).values == {"y": 1}


def test_a_damaged_file_keeps_its_last_good_facts_and_is_named_with_the_line(custom, etc):
    path = etc / "a.json"
    path.write_text('{"x": 1}')
    custom.look(0.0)
    path.write_text('{"x":\n 2')
    found = custom.look(1.0)
    assert found.values == {"x": 1}
    assert len(found.problems) == 1 and str(path) in found.problems[0] and "line 2" in found.problems[0]
    assert custom.look(2.0).problems == found.problems
    path.write_text('{"x": 3}')
    assert custom.look(3.0) == type(found)({"x": 3}, "facts.d", (), {"x": str(path)})


@pytest.mark.parametrize(
    "name, content, named",
    [
        ("a.json", b"{", "line 1"),
        ("a.json", b'{"x": NaN}', "x is nan"),
        ("a.json", b'{"x": ["\\ud800"]}', "x.0 is not valid Unicode"),
        ("a.json", b'{"x": "\xff"}', "utf-8"),
        ("a.json", b"[" * 5000 + b"]" * 5000, "deep"),
        ("a.yaml", b"x: [1\ny: 2\n", "line 2"),
        ("a.yaml", b"x: !!python/object/apply:os.system [id]\n", "not YAML"),
        ("a.yaml", b"x: &x [*x]\n", "deep"),
        ("a.yaml", b"x: !!binary aGVsbG8=\n", "bytes"),
        (
            "a.yaml",
            b"a: &a [1,1,1,1,1,1,1,1,1]\n"
            + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)),
            "values",
        ),
        ("a.json", b'"' + b"x" * (1 << 20) + b'"', "1 MiB"),
    ],
    ids=lambda value: "content" if isinstance(value, bytes) else value.replace(" ", "_"),
)
def test_hostile_files_are_refused_by_name(custom, etc, name, content, named):
    (etc / name).write_bytes(content)
    started = time.monotonic()
    found = custom.look(0.0)
    assert found.values == {}
    assert len(found.problems) == 1 and name in found.problems[0] and named in found.problems[0]
    assert time.monotonic() - started < 5


def test_dates_sets_and_odd_keys_of_yaml_become_json(custom, etc):
    (etc / "a.yaml").write_text("built: 2024-02-03\nroles: !!set {b, a}\n2: two\ntrue: yes\n")
    found = custom.look(0.0)
    assert found.values == {"2": "two", "built": "2024-02-03", "roles": ["a", "b"], "true": True}
    json.dumps(found.values, allow_nan=False)


@pytest.mark.parametrize(
    "name",
    ["uptime", "uptime_seconds", "system_uptime", "load", "load1", "load_5", "loadavg", "load_average", "cpu_load"]
    + ["pid", "slurmd_pid", "slurmd-pid", "pids", "bootTime", "boot_time", "current_time", "timestamp", "now", "time"]
    + ["Uptime", "uptimeSeconds", "started_at"],
)
def test_volatile_names_are_refused(name):
    assert is_volatile(name)


@pytest.mark.parametrize(
    "name",
    ["load_balancer", "timeout", "max_time", "timezone", "rapid", "pid_file", "port", "nowhere", "loader", "dates"],
)
def test_stable_names_are_not_refused(name):
    assert not is_volatile(name)


def test_a_volatile_key_is_dropped_and_named_and_the_rest_is_kept(custom, etc):
    (etc / "node.json").write_text('{"x": 1, "uptime": 5, "slurm": {"port": 1, "daemons": [{"pid": 7, "name": "d"}]}}')
    (etc / "load.json").write_text("0.7")
    found = custom.look(0.0)
    assert found.values == {"slurm": {"daemons": [{"name": "d"}], "port": 1}, "x": 1}
    assert len(found.problems) == 3
    assert any("node.json: uptime:" in problem for problem in found.problems)
    assert any("node.json: slurm.daemons.0.pid:" in problem for problem in found.problems)
    assert any("load.json" in problem for problem in found.problems)


def test_an_executable_runs_at_its_interval_when_it_moved_and_on_request(custom, lib, tmp_path):
    count = tmp_path / "count"
    path = put_executable(lib / "n", f'echo x >> {count}; echo "n: $(wc -l < {count})"')
    assert custom.look(0.0).values == {"n": 1}
    assert custom.look(INTERVAL - 1).values == {"n": 1}
    assert custom.look(INTERVAL).values == {"n": 2}
    assert custom.look(INTERVAL + 1, fresh=True).values == {"n": 3}
    put_executable(path, f'echo x >> {count}; echo "m: $(wc -l < {count})"')
    assert custom.look(INTERVAL + 2).values == {"m": 4}


def test_an_executable_that_fails_keeps_its_last_facts_is_named_and_waits_longer_each_time(custom, lib, tmp_path):
    ran = tmp_path / "ran"
    put_executable(
        lib / "n", f'echo x >> {ran}; [ -e {tmp_path}/bad ] || {{ echo "n: 1"; exit; }}; echo no >&2; exit 3'
    )
    assert custom.look(0.0).values == {"n": 1}
    (tmp_path / "bad").touch()
    found = custom.look(INTERVAL)
    assert found.values == {"n": 1}
    assert len(found.problems) == 1
    assert all(word in found.problems[0] for word in (str(lib / "n"), "ended with 3", "no", "stands"))
    custom.look(2 * INTERVAL)  # the first retry, after one interval
    assert len(ran.read_text().split()) == 3
    custom.look(3 * INTERVAL)  # the second waits for two
    assert len(ran.read_text().split()) == 3
    custom.look(4 * INTERVAL)
    assert len(ran.read_text().split()) == 4
    (tmp_path / "bad").unlink()
    assert custom.look(4 * INTERVAL + LONGEST_INTERVAL).problems == ()


def test_an_executable_that_hangs_is_ended_at_its_deadline_with_what_it_started(lib, tmp_path):
    put_executable(lib / "n", f"(setsid sleep 600 & echo $! > {tmp_path}/pid); sleep 600")
    started = time.monotonic()
    found = Custom((lib,), {}, deadline=0.5).look(0.0)
    assert 0.4 < time.monotonic() - started < 9
    assert found.values == {} and "deadline of 0.5 s" in found.problems[0] and str(lib / "n") in found.problems[0]
    assert not running(int((tmp_path / "pid").read_text()))


def test_an_executable_gets_a_clean_environment_and_no_input(custom, lib):
    put_executable(lib / "n", 'echo "path: $PATH"; echo "input: \\"$(cat)\\""; echo "secret_value: \\"$OS_PASSWORD\\""')
    os.environ["OS_PASSWORD"] = "do not tell"
    try:
        values = custom.look(0.0).values
    finally:
        del os.environ["OS_PASSWORD"]
    assert values["input"] == "" and values["secret_value"] == "" and "/usr/sbin" in values["path"]


@pytest.mark.parametrize(
    "change, named",
    [
        (lambda path: path.chmod(0o757), "writable by everyone"),
        (lambda path: os.chown(path, 12345, -1), "belongs to uid 12345"),
        (lambda path: (os.chown(path, -1, 12345), path.chmod(0o775)), "writable by group 12345"),
        (lambda path: path.parent.chmod(0o777), "its folder is writable by everyone"),
        (lambda path: os.chown(path.parent, 12345, -1), "its folder belongs to uid 12345"),
    ],
)
def test_an_executable_that_others_can_change_is_refused_by_name(custom, lib, tmp_path, change, named):
    path = put_executable(lib / "n", f"touch {tmp_path}/ran; echo 'n: 1'")
    change(path)
    found = custom.look(0.0)
    assert found.values == {} and not (tmp_path / "ran").exists()
    assert str(path) in found.problems[0] and named in found.problems[0]


def test_an_executable_that_is_mended_runs_at_once(custom, lib):
    path = put_executable(lib / "n", "echo 'n: 1'", 0o757)
    custom.look(0.0)
    path.chmod(0o755)
    assert custom.look(1.0).values == {"n": 1}


@pytest.mark.parametrize(
    "content, named",
    [("#!/nonexistent\n", "No such file"), ("#!/bin/sh\necho '{'\n", "not YAML"), ("\x7fELF", "Exec format")],
)
def test_an_executable_that_cannot_run_or_prints_nonsense_is_named(custom, lib, content, named):
    path = lib / "n"
    path.write_text(content)
    path.chmod(0o755)
    found = custom.look(0.0)
    assert found.values == {} and named in found.problems[0] and str(path) in found.problems[0]


def test_secret_facts_are_not_read_and_only_their_names_are_known(custom, etc):
    (etc / "secret").mkdir()
    (etc / "secret" / "munge_key").write_text("do not tell")
    put_executable(etc / "secret" / "token.sh", "echo told: do not tell")
    found = custom.look(0.0)
    assert found.secret == ("munge_key", "token") and found.values == {} and not found.problems
    assert "do not tell" not in repr(found)


def test_leftovers_of_editors_and_package_tools_are_passed_over(custom, etc):
    for name in (".hidden.json", "a.json~", "a.json.dpkg-old", "a.json.rpmsave", ".a.swp", "a.json.bak"):
        (etc / name).write_text("{")
    found = custom.look(0.0)
    assert found.values == {} and found.problems == ()


def test_folders_and_files_of_no_known_kind_are_named(custom, etc):
    (etc / "more").mkdir()
    (etc / "readme.txt").write_text("x")
    found = custom.look(0.0)
    assert len(found.problems) == 2
    assert "more: a folder" in found.problems[0] and "chmod +x" in found.problems[1]


def test_without_folders_there_are_no_facts_and_no_problems(tmp_path):
    found = Custom((tmp_path / "a", tmp_path / "b"), {}).look(0.0)
    assert found.values == {} and found.problems == ()


def test_what_was_good_before_a_restart_stands_while_the_executable_fails(lib):
    path = put_executable(lib / "n", "exit 1")
    gone = lib / "gone.json"
    custom = Custom((lib,), {str(path): {"n": 1}, str(gone): {"g": 1}})
    found = custom.look(0.0)
    assert found.values == {"n": 1} and "stands" in found.problems[0]
    assert custom.good == {str(path): {"n": 1}}


texts = strategies.text("aé\ud800 \u2028.", max_size=4)
scalars = strategies.none() | strategies.booleans() | strategies.integers() | texts
keys = strategies.sampled_from(["port", "uptime", "a.b", "é", "", "pid", "x" * 300])
documents = strategies.dictionaries(keys, scalars | strategies.lists(scalars, max_size=3), max_size=4)


@given(documents)
@settings(max_examples=60, deadline=None)
def test_every_json_value_stays_as_it_is_but_for_volatile_keys(value):
    problems: list = []
    stable = {key: each for key, each in value.items() if key not in ("uptime", "pid")}
    try:
        json.dumps(stable, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(ValueError, match="not valid Unicode"):
            to_json(value, problems)
        return
    assert to_json(value, problems) == stable
    assert len(problems) == len(value) - len(stable)
