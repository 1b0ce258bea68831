"""The door: options, exit codes, help, and what every verb has in common."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from swagent import __version__, files
from swagent.commands import VERBS

CHECKOUT = Path(__file__).resolve().parents[3]
READING = [
    "status",
    "status --stack --long",
    "members",
    "context",
    "context diff",
    "why --chain",
    "runs",
    "runs show",
    "runs log",
    "metadata",
    "config check",
    "version",
]


def loaded(*words):
    """The modules that a call of swagent loads."""
    program = (
        "import sys; from swagent.__main__ import main; main(sys.argv[1:]); print(*sorted(sys.modules), sep='\\n')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        timeout=60,
    )
    return set(ended.stdout.splitlines())


def test_help_lists_every_verb_with_a_line_that_fits(root):
    code, out, err = root.call("--help")
    assert (code, err) == (0, "")
    lines = out[out.index("verbs:\n") :].splitlines()[1:]
    assert [line[2:15].strip() for line in lines] == list(VERBS)
    assert all(len(line[16:]) > 20 for line in lines)
    assert root.call("help")[1] == out


@pytest.mark.parametrize("verb", [verb for verb in VERBS])
def test_the_help_of_every_verb_ends_with_an_example(root, verb):
    code, out, err = root.call("help", *verb.split())
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: swagent {verb} ")
    assert out.splitlines()[-2] == "Example:" and out.splitlines()[-1].startswith("  swagent ")
    assert root.call(*verb.split(), "--help")[1] == out


def test_help_may_be_asked_for_in_the_middle_of_a_command(root):
    assert root.call("runs", "log", "7", "-f", "--help")[1] == root.call("help", "runs", "log")[1]
    assert root.call("-h", "context", "--at", "3")[1] == root.call("help", "context")[1]


def test_the_help_of_run_is_the_same_with_and_without_cliff(root):
    assert root.call("run", "--help")[1] == root.call("help", "run")[1]


def test_the_resident_agent_loads_no_cliff(root):
    files.write(root.settings.etc / "disabled", "")
    modules = loaded("--root", str(root.settings.root), "run")
    assert "swagent.agent" in modules
    assert not {
        name for name in modules if name.partition(".")[0] in ("cliff", "stevedore", "cmd2", "autopage", "yaml")
    }


def test_reading_verbs_load_no_network_and_look_for_no_plugins(root, new_item):
    root.items(new_item("head-0"))
    root.compiled()
    root.run(1)
    for verb in ("status --stack", "runs"):
        modules = loaded("--root", str(root.settings.root), *verb.split())
        assert "swagent.commands.stored" in modules, verb
        assert not modules & {"requests", "yaml", "psutil", "os_collect_config", "cmd2", "swagent.agent"}, verb


def test_global_options_may_stand_before_and_after_the_verb(root, capsys):
    from swagent.__main__ import main

    files.write_json(root.settings.run / "status.json", {"state": "failed"})
    assert main(["status", "--root", str(root.settings.root)]) == 0
    assert "it was last failed" in capsys.readouterr().out


def test_the_version_option_and_verb(root):
    assert root.call("--version") == (0, f"swagent {__version__}\n", "")
    document = root.json("version")
    assert set(document) == {"swagent", "python", "chef", "librarian", "chef_version", "librarian_version"}
    assert document["swagent"] == __version__ and document["chef_version"] is None


def test_version_names_the_chef_that_the_settings_choose(root, tmp_path):
    solo = tmp_path / "chef-solo"
    solo.write_text("#!/bin/sh\necho Chef Infra Client: 18.0\n")
    solo.chmod(0o755)
    files.write_json(root.settings.etc / "swagent.yaml", {"chef_path": str(solo), "chef_home": str(tmp_path / "none")})
    assert root.json("version")["chef"] == str(solo)
    document = root.json("version", "--long")
    assert document["chef_version"] == "Chef Infra Client: 18.0"


@pytest.mark.parametrize(
    "words", ["", "nonsense", "runs nonsense", "status --nonsense", "run --event never", "-q -v status", "run extra"]
)
def test_words_that_are_not_understood_end_with_2_and_nothing_on_stdout(root, words):
    code, out, err = root.call(*words.split())
    assert (code, out) == (2, "") and err


def test_a_misspelt_verb_gets_a_suggestion(root):
    assert root.call("stauts")[2] == "swagent: there is no verb 'stauts'; did you mean status?\n"


def test_a_verb_may_be_shortened_while_it_is_clear(root):
    assert root.call("stat") == root.call("status")


def test_bad_settings_end_with_2_and_name_the_key(root):
    files.write(root.settings.etc / "swagent.yaml", "keep_alive: often\n")
    for verb in ("status", "run"):
        code, out, err = root.call(verb)
        assert (code, out) == (2, "")
        assert err.startswith(f"swagent: {root.settings.etc}/swagent.yaml: keep_alive: ") and "Traceback" not in err


def test_a_traceback_only_with_debug(root):
    assert "Traceback" not in root.call("why")[2]
    code, _, err = root.call("why", "--debug")
    assert code == 1 and "Traceback" in err and err.splitlines()[-1].startswith("swagent: no run is recorded")


def test_quiet_leaves_only_data_and_errors(root):
    assert root.call("members")[2] != ""
    assert root.call("members", "-q")[2] == ""
    assert root.call("why", "-q")[2] != ""


def test_a_held_lock_is_75_and_names_the_holder(root):
    root.hold()
    ended = root.process("run", "--once")
    assert ended.returncode == 75 and ended.stdout == ""
    assert f"held by pid {os.getpid()}" in ended.stderr


NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


@pytest.fixture
def reachable(root):
    """A root that other users may enter, with the agent's own folders in it as the agent makes them."""
    assert os.geteuid() == 0, "this lane runs as root"
    root.run(1)
    root.status("converged")
    assert root.settings.lib.stat().st_mode & 0o77 == root.settings.run.stat().st_mode & 0o77 == 0
    for folder in (root.settings.lib, root.settings.run):
        for above in list(folder.parents)[:5]:
            if above not in (Path("/"), Path("/tmp")):
                above.chmod(0o755)
    # The checkout may lie where other users cannot enter (/root): they get a copy, and the system's own Python.
    shutil.copytree(CHECKOUT / "swagent", root.settings.root / "package" / "swagent")
    return root


def called_by_nobody(root, *words):
    return subprocess.run(
        ["/usr/bin/python3", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(root.settings.root / "package"), "HOME": "/nonexistent"},
        timeout=60,
        **NOBODY,
    )


def as_nobody(root, verbs):
    """{verb: (exit code, stdout, stderr)} of verbs called by another user, in one process: starting one takes long."""
    program = """
import contextlib, io, json, sys
from swagent.__main__ import main
said = {}
for verb in sys.argv[2:]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--root", sys.argv[1], *verb.split()])
    said[verb] = code, out.getvalue(), err.getvalue()
print(json.dumps(said))
"""
    ended = called_by_nobody(root, "-c", program, str(root.settings.root), *verbs)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_another_user_is_told_that_root_is_needed(reachable):
    verbs = [verb for verb in (*READING, "facts", "run") if verb not in ("config check", "version")]
    for verb, (code, out, err) in as_nobody(reachable, verbs).items():
        assert (code, out) == (77, ""), (verb, err)
        assert "root" in err and "Traceback" not in err


def test_another_user_may_ask_for_the_version_and_for_help(reachable):
    for verb, (code, out, err) in as_nobody(reachable, ("version", "help", "config check", "complete")).items():
        assert code == 0 and out, (verb, err)


def test_settings_that_another_user_may_not_read_are_named(reachable):
    files.write(reachable.settings.etc / "swagent.yaml", "keep_alive: 60\n")
    ended = called_by_nobody(reachable, "-m", "swagent", "--root", str(reachable.settings.root), "version")
    assert ended.returncode == 77 and str(reachable.settings.etc) in ended.stderr and "as root" in ended.stderr


@pytest.mark.parametrize("verb", READING)
def test_no_reading_verb_writes_anything(root, new_item, verb):
    root.items(new_item("head-0"))
    first, second = root.compiled(), root.compiled(inputs={"a": "b"})
    root.run(1, context=first)
    root.run(2, context=second)
    files.write(root.settings.runs / "2" / "log", "x\n")
    before = {path: path.stat().st_mtime_ns for path in root.settings.root.rglob("*")}
    assert root.call(*verb.split())[0] == 0
    assert {path: path.stat().st_mtime_ns for path in root.settings.root.rglob("*")} == before


def test_no_verb_touches_the_home_folder(root, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    for verb in ("status", "complete"):
        assert root.process(verb, env=environment).returncode == 0
    assert list(home.iterdir()) == []


def test_output_is_plain_and_in_any_encoding(root, new_item):
    root.items(new_item("head-0", ["head"]))
    root.compiled(expected={"compute": 1})
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    ended = root.process("status", "--stack", env=environment)
    assert ended.returncode == 0 and "missing: 1 \\xd7 compute" in ended.stdout and "\x1b" not in ended.stdout


def test_yaml_and_shell_and_csv_formats(root):
    assert root.call("status", "-f", "yaml", "-c", "state")[1] == "state: not-running\n"
    assert 'state="not-running"' in root.call("status", "-f", "shell")[1]
    root.run(1)
    assert root.call("runs", "-f", "csv", "-c", "number", "-c", "events")[1].split() == [
        '"number","events"',
        '1,"configure"',
    ]


def test_complete_names_verbs_and_their_options(root):
    code, out, _ = root.call("complete")
    assert code == 0 and "cmds='" in out
    assert "--exit-status" in out and "diff" in out and "--why-run" in out
    ended = subprocess.run(["bash", "-n"], input=out, text=True, capture_output=True, timeout=20)
    assert ended.returncode == 0, ended.stderr


def test_bootstrap_service_enables_the_unit_below_the_root(root):
    code, _, err = root.call("bootstrap", "service")
    assert code == 0 and "swagent.service: enabled" in err


def test_json_of_a_document_is_one_json_document(root):
    assert json.loads(root.call("status", "-f", "json", "--noindent")[1])["state"] == "not-running"


def documented(verb):
    """What the section of a verb in docs/commands.md names in backquotes."""
    text = (CHECKOUT / "docs" / "commands.md").read_text()
    section = re.search(rf"^## swagent {verb}$(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section is not None, f"docs/commands.md says nothing of {verb}"
    return set(re.findall(r"`([^`]+)`", section[1]))


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_is_documented(verb):
    documented(verb)


@pytest.mark.parametrize(
    "verb", ["status", "members", "context diff", "why", "runs", "runs show", "metadata", "config check", "version"]
)
def test_every_key_of_the_json_is_documented(root, new_item, verb):
    root.items(new_item("head-0", ip="10.0.0.1"))
    first, second = root.compiled(), root.compiled(inputs={"a": "b"})
    root.run(1, context=first)
    root.run(2, context=second)
    document = root.json(*verb.split())
    keys = set(document[0] if isinstance(document, list) else document)
    assert keys and keys <= documented(verb)
