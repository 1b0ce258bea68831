"""Any executable heat-config hook: the deployment's JSON on stdin, its result as JSON on stdout.

The contract is heat-agents': heat-config/os-refresh-config/configure.d/55-heat-config.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any, Mapping, Optional, Tuple

from swagent import process
from swagent.errors import SwagentError
from swagent.hooks import outputs
from swagent.hooks.chef_config import timeout_of
from swagent.hooks.log import ScrubbedLog, kept
from swagent.hooks.request import Hook, HookRequest
from swagent.hooks.stopping import until_stopped
from swagent.model import Deployment, HookResult, Json, RunError
from swagent.scrub import Scrubber
from swagent.settings import Settings

GRACE = 5.0
OWN_KEYS = ("deploy_stdout", "deploy_stderr", "deploy_status_code")


def hook_of(group: str, settings: Settings) -> Optional[Hook]:
    """The group's hook program as a hook, $HEAT_CONFIG_HOOKS before the settings' folders; None where none is there."""
    path = path_of(group, settings)
    return (lambda request: run(path, request)) if path else None


def path_of(group: str, settings: Settings) -> str:
    """The group's hook program; empty where there is none."""
    name = re.sub(r"[^A-Za-z0-9_-]", "", group)
    folders = [*filter(None, [os.environ.get("HEAT_CONFIG_HOOKS")]), *settings.hooks]
    return process.find([os.path.join(folder, name) for folder in folders if os.path.isabs(folder)]) if name else ""


def document_of(deployment: Deployment) -> Mapping[str, Json]:
    """What the hook reads: the deployment as Heat sent it, a component's part chosen, String inputs made texts."""
    inputs = [dict(each) for each in deployment.document.get("inputs") or ()] or [
        {"name": each.name, "type": each.type, "value": each.value} for each in deployment.inputs
    ]
    for each in inputs:
        if each.get("type") == "String" and not isinstance(each.get("value"), str):
            each["value"] = str(each.get("value"))  # launchpad bug 1333992: hooks rely on it
    declared = [
        {"name": each.name, "type": each.type, "error_output": each.error_output} for each in deployment.outputs
    ]
    return {
        "id": deployment.id,
        "name": deployment.name,
        "creation_time": deployment.creation_time,
        "options": dict(deployment.options),
        "outputs": declared,
        **deployment.document,
        "group": deployment.group,
        "config": deployment.config,
        "inputs": inputs,
    }


def parse_answer(stdout: str, stderr: str, exit_code: int) -> Mapping[str, Any]:
    """The hook's answer: its JSON, whatever the exit code; nothing at all with exit code 0 is one without outputs.

    All else becomes what the program said and its exit code.
    """
    if not stdout.strip() and exit_code == 0:
        return {}
    try:
        answer = json.loads(stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return {"deploy_stdout": stdout, "deploy_stderr": stderr, "deploy_status_code": exit_code}
    # Without a status of its own a failed program would be a success for Heat.
    return answer if "deploy_status_code" in answer else {**answer, "deploy_status_code": exit_code}


def status_code(value: Any) -> int:
    """deploy_status_code as Heat reads it: absent, empty, 0 and "0" succeed, a text that is no number fails."""
    if value in (None, "", 0, "0"):
        return 0
    try:
        return int(value) or 1
    except (TypeError, ValueError):
        return 1


def run(path: str, request: HookRequest) -> HookResult:
    """Run the hook program to its end or the deployment's timeout."""
    began = time.monotonic()
    deployment, scrubber = request.deployment, request.scrubber
    if request.why_run:
        return HookResult(status="success", exit_code=0, stdout=f"{path} cannot say what it would do: not run")
    timeout = timeout_of(deployment)
    try:
        with until_stopped() as stopped, ScrubbedLog(request.folder / "log", scrubber) as log:
            ended = process.run(
                [path],
                timeout=timeout,
                mark=request.mark,
                stdin=json.dumps(document_of(deployment)).encode(),
                grace=GRACE,
                sink=log.write,
                stopping=stopped,
            )
            interrupted = stopped()
    except OSError as error:
        raise SwagentError(f"hook {path} cannot be started: {error.strerror}; correct or remove it") from error
    seconds = round(time.monotonic() - began, 3)
    if ended.timed_out:
        what = "interrupted: the agent is stopping" if interrupted else f"not done within {timeout:g} s and ended"
        return HookResult(
            status="interrupted" if interrupted else "timeout",
            exit_code=ended.status,
            stdout=kept(ended.stdout, scrubber),
            stderr=kept(ended.stderr, scrubber),
            error=RunError(f"hook {path}: {what}"),
            seconds=seconds,
        )
    answer = parse_answer(ended.stdout, ended.stderr, ended.status)
    return result_of(answer, deployment, scrubber, seconds)


def result_of(answer: Mapping[str, Any], deployment: Deployment, scrubber: Scrubber, seconds: float) -> HookResult:
    code = status_code(answer.get("deploy_status_code"))
    stdout, stderr = (kept(_text(answer.get(key)), scrubber) for key in OWN_KEYS[:2])
    names = {each.name for each in deployment.outputs}
    written = {name: value for name, value in answer.items() if name in names}
    said = scrubber.text(outputs.error_of(written, deployment.outputs))
    status, error = _status(code, said, stdout, stderr)
    return HookResult(
        status=status,
        exit_code=code,
        stdout=stdout,
        stderr=stderr,
        error=error,
        outputs=scrubber.value(outputs.without_empty_errors(written, deployment.outputs)),
        seconds=seconds,
        reads=(),  # it knows the deployment only, which the deployment's own digest covers
    )


def _status(code: int, said: str, stdout: str, stderr: str) -> Tuple[str, Optional[RunError]]:
    if not code and not said:
        return "success", None
    last = (stderr.strip() or stdout.strip()).splitlines()[-1:]
    return "failed", RunError(said or f"the hook's status code is {code}" + (f": {last[0].strip()}" if last else ""))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
