"""Scripts and heat-config hooks, run for real: what Heat's own agents do with them, and what they leave out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid

import pytest

from swagent import files, hooks, process
from swagent.errors import SwagentError
from swagent.hooks import HookRequest, external, script
from swagent.model import Context, Deployment, Input, Output
from swagent.scrub import Scrubber
from swagent.settings import Settings


@pytest.fixture
def make(tmp_path):
    """make(config, …) → a request; what it starts is ended."""
    marks = []

    def request(config="", group="script", inputs=None, outputs=(), secrets=(), document=None, **options):
        marks.append(f"test.{uuid.uuid4().hex}")
        return HookRequest(
            deployment=Deployment(
                id="d-1/../x",
                name="app",
                group=group,
                config=config,
                inputs=tuple(Input(*each) for each in (inputs or ())),
                outputs=tuple(Output(each) if isinstance(each, str) else each for each in outputs),
                options=options,
                document=document or {},
            ),
            events=("deploy",),
            context=Context(document={"member": "me", "event": "deploy"}, origins={}, digest="", stack_digest=""),
            settings=Settings(root=tmp_path, hooks=(str(tmp_path / "hooks"),)),
            folder=files.make_folder(tmp_path / "run"),
            number=1,
            scrubber=Scrubber([("secret", each) for each in secrets]),
            mark=marks[-1],
        )

    yield request
    for mark in marks:
        process.sweep(mark)


def hook(tmp_path, text, name="puppet"):
    files.write(tmp_path / "hooks" / name, "#!/bin/sh\n" + text, mode=0o755)


# ---- script


def test_a_script_gets_its_inputs_as_environment_and_gives_outputs_as_files(make):
    inputs = [
        ("text", "String", "a 'b' $(c)"),
        ("number", "Number", 3),
        ("flag", "Boolean", True),
        ("map", "Json", {"k": [1]}),
        ("deploy_action", "String", "CREATE"),
        ("deploy_password", "String", "hunter2-hunter2"),
        ("deploy_signal_id", "String", "https://heat/signed"),
    ]
    text = (
        '#!/bin/sh\nprintf \'%s|%s|%s|%s|%s|%s%s\' "$text" "$number" "$flag" "$map" "$deploy_action"'
        ' "$deploy_password" "$deploy_signal_id" > $heat_outputs_path.all\necho out; echo err >&2\n'
    )
    request = make(text, inputs=inputs, outputs=["all", "never"])
    result = script.run(request)
    assert (result.status, result.exit_code, result.stdout, result.stderr) == ("success", 0, "out\n", "err\n")
    assert result.outputs == {"all": "a 'b' $(c)|3|True|{\"k\": [1]}|CREATE|"}
    assert result.reads == ()
    assert sorted(path.name for path in request.folder.iterdir()) == ["log"]


def test_a_script_that_fails_tells_its_last_words(make):
    result = script.run(make("#!/bin/sh\necho bad thing >&2\nexit 3\n"))
    assert (result.status, result.exit_code) == ("failed", 3)
    assert result.error.message == "the script ended with 3: bad thing"


def test_a_script_without_an_interpreter_says_what_its_first_line_must_be(make):
    for text in ("echo hello", ""):
        result = script.run(make(text))
        assert (result.status, result.exit_code) == ("failed", 127) and "#!/bin/sh" in result.error.message
    assert "interpreter" in script.run(make("#!/nowhere/sh\n")).error.message


def test_an_error_output_fails_the_script_and_an_empty_one_does_not(make):
    declared = [Output("problem", "String", True)]
    good = script.run(make("#!/bin/sh\n: > $heat_outputs_path.problem\n", outputs=declared))
    assert (good.status, good.outputs) == ("success", {})
    bad = script.run(make("#!/bin/sh\nprintf oh > $heat_outputs_path.problem\n", outputs=declared))
    assert (bad.status, bad.error.message, bad.outputs) == ("failed", "oh", {"problem": "oh"})


def test_a_script_past_its_timeout_is_ended_with_what_it_started(make):
    request = make("#!/bin/sh\nsetsid sleep 600 &\nsleep 600\n", timeout=0.5)
    result = script.run(request)
    assert result.status == "timeout" and "0.5 s" in result.error.message
    assert process.marked(request.mark) == []


def test_no_secret_of_a_script_reaches_log_result_or_disk(make, tmp_path):
    secret = "correct-horse-battery"
    text = f"#!/bin/sh\n# {secret}\necho $pw; echo $pw >&2; printf $pw > $heat_outputs_path.o; exit 2\n"
    result = script.run(make(text, inputs=[("pw", "String", secret)], outputs=["o"], secrets=[secret]))
    assert secret not in json.dumps(result.to_document()) and "<secret:secret>" in result.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_text()] == []


# ---- heat-config hooks


def test_a_hook_is_found_by_its_group_and_an_unknown_group_has_none(tmp_path, make):
    hook(tmp_path, "true")
    settings = make().settings
    assert hooks.find("puppet", settings) and hooks.find("pup/pet", settings)
    assert hooks.find("chef", settings) is hooks.KINDS["chef"]
    assert hooks.find("nothing", settings) is None and hooks.find("../../bin/sh", settings) is None
    assert hooks.find("", settings) is None
    files.write(tmp_path / "hooks/notes", "text")
    assert hooks.find("notes", settings) is None


def test_a_hook_reads_the_deployment_as_heat_sent_it_with_string_inputs_as_texts(tmp_path, make):
    hook(tmp_path, f'cat > {tmp_path}/seen; echo \'{{"deploy_status_code": 0, "x": [1], "y": 2}}\'')
    sent = {
        "id": "d-1",
        "name": "app",
        "group": "component",
        "config": {"configs": []},
        "inputs": [{"name": "n", "type": "String", "value": 5}, {"name": "m", "type": "Number", "value": 5}],
        "outputs": [{"name": "x"}],
        "creation_time": "now",
    }
    request = make("the part", "puppet", outputs=["x"], document=sent)
    result = hooks.find("puppet", request.settings)(request)
    assert (result.status, result.outputs) == ("success", {"x": [1]})
    seen = json.loads((tmp_path / "seen").read_text())
    assert [each["value"] for each in seen["inputs"]] == ["5", 5]
    assert (seen["group"], seen["config"], seen["creation_time"]) == ("puppet", "the part", "now")


ANSWERS = [
    ("", 0, ("success", 0, "")),  # nothing at all is an answer without outputs
    ("", 3, ("failed", 3, "")),
    ("plain text\n", 0, ("success", 0, "plain text\n")),
    ("plain text\n", 4, ("failed", 4, "plain text\n")),
    ('{"deploy_status_code": 0, "deploy_stdout": "o"}', 5, ("success", 0, "o")),  # JSON wins over the exit code
    ('{"deploy_status_code": "6", "deploy_stdout": "o"}', 0, ("failed", 6, "o")),
    ('{"deploy_status_code": "0"}', 0, ("success", 0, "")),
    ('{"deploy_status_code": ""}', 0, ("success", 0, "")),
    ('{"deploy_status_code": null}', 0, ("success", 0, "")),
    ('{"deploy_status_code": "odd"}', 0, ("failed", 1, "")),
    ('{"deploy_stdout": "o"}', 0, ("success", 0, "o")),
    ('{"deploy_stdout": "o"}', 7, ("failed", 7, "o")),
    ("[1]", 0, ("success", 0, "[1]")),
    ('{"half', 2, ("failed", 2, '{"half')),
    ('{"deploy_status_code": 0, "problem": "no disk"}', 0, ("failed", 0, "")),
    ('{"deploy_status_code": 0, "problem": ""}', 0, ("success", 0, "")),
]


@pytest.mark.parametrize("said, code, expected", ANSWERS)
def test_a_hooks_answer_is_read_as_heats_agents_read_it(tmp_path, make, said, code, expected):
    files.write(tmp_path / "said", said)
    hook(tmp_path, f"cat > /dev/null; cat {tmp_path}/said; exit {code}")
    request = make("", "puppet", outputs=[Output("problem", "String", True)])
    result = hooks.find("puppet", request.settings)(request)
    assert (result.status, result.exit_code, result.stdout) == expected
    assert (result.error is None) == (result.status == "success")


def test_a_hook_that_does_not_read_its_input_is_no_trouble(tmp_path, make):
    hook(tmp_path, "echo '{\"deploy_status_code\": 0}'")
    request = make("x" * (1 << 20), "puppet")
    assert hooks.find("puppet", request.settings)(request).status == "success"


def test_a_hook_past_its_timeout_is_ended(tmp_path, make):
    hook(tmp_path, "exec sleep 600")
    request = make("", "puppet", timeout=0.5)
    assert hooks.find("puppet", request.settings)(request).status == "timeout"
    assert process.marked(request.mark) == []


def test_a_hook_that_cannot_start_is_named(tmp_path, make):
    files.write(tmp_path / "hooks/puppet", "#!/nowhere/sh\n", mode=0o755)
    with pytest.raises(SwagentError, match="hooks/puppet"):
        external.run(str(tmp_path / "hooks/puppet"), make("", "puppet"))


def test_what_a_hook_says_is_scrubbed(tmp_path, make):
    secret = "correct-horse-battery"
    hook(tmp_path, f'cat >/dev/null; echo {secret} >&2; echo \'{{"deploy_stdout": "{secret}", "o": "{secret}"}}\'')
    request = make("", "puppet", outputs=["o"], secrets=[secret])
    result = hooks.find("puppet", request.settings)(request)
    assert secret not in json.dumps(result.to_document())
    assert secret not in (request.folder / "log").read_text()
    assert os.stat(request.folder / "log").st_mode & 0o777 == 0o600


def test_the_folder_in_heats_variable_comes_first(tmp_path, make):
    hook(tmp_path, "true")
    files.write(tmp_path / "first/puppet", "#!/bin/sh\n", mode=0o755)
    code = (
        "import sys; from swagent.hooks import external; from swagent.settings import Settings\n"
        "print(external.path_of('puppet', Settings(hooks=(sys.argv[1],))))"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "hooks")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = [
        subprocess.check_output(argv, text=True, env={**environment, **more}).strip()
        for more in ({}, {"HEAT_CONFIG_HOOKS": str(tmp_path / "first")})
    ]
    assert found == [str(tmp_path / "hooks/puppet"), str(tmp_path / "first/puppet")]
