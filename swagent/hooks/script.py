"""The hook of group `script`: the config is a program's text, inputs its environment (heat-agents: hook-script.py)."""

from __future__ import annotations

import errno
import json
import time
from typing import Mapping

from swagent import files, process
from swagent.hooks import outputs
from swagent.hooks.chef_config import timeout_of
from swagent.hooks.log import ScrubbedLog, kept
from swagent.hooks.request import HookRequest
from swagent.hooks.stopping import until_stopped
from swagent.model import Deployment, HookResult, Json, RunError

GRACE = 5.0
# What lets its reader act for the server; a script that has something to say has its outputs.
CREDENTIALS = ("deploy_signal_id", "deploy_password")


def as_text(value: Json) -> str:
    """An input as heat-agents puts it into the environment: lists and maps as JSON, all else as Python writes it."""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def environment_of(deployment: Deployment) -> Mapping[str, str]:
    """The inputs that can stand in an environment, without Heat's credentials."""
    return {
        each.name: as_text(each.value).replace("\0", "")
        for each in deployment.inputs
        if each.name and each.name not in CREDENTIALS and "=" not in each.name and "\0" not in each.name
    }


def run(request: HookRequest) -> HookResult:
    """Run the script to its end or its timeout; whatever it does is a value."""
    began = time.monotonic()
    deployment, scrubber = request.deployment, request.scrubber
    if request.why_run:
        return HookResult(status="success", exit_code=0, stdout="a script cannot say what it would do: not run")
    timeout = timeout_of(deployment)
    config = deployment.config
    outputs_path = outputs.make_outputs_path(request.folder, deployment)
    # Beside the log and not in /run, which is often mounted noexec.
    script = request.folder / "script"
    files.write(script, config if isinstance(config, str) else json.dumps(config or ""), mode=0o700)
    try:
        with until_stopped() as stopped, ScrubbedLog(request.folder / "log", scrubber) as log:
            ended = process.run(
                [str(script)],
                timeout=timeout,
                mark=request.mark,
                environment=process.base_environment(
                    **{**environment_of(deployment), "heat_outputs_path": str(outputs_path)}
                ),
                grace=GRACE,
                sink=log.write,
                stopping=stopped,
            )
            interrupted = stopped()
    except OSError as error:
        said = _cannot_start(error)
        return HookResult(status="failed", exit_code=127, stderr=said, error=RunError(said))
    finally:
        script.unlink()  # the text may carry secrets
    written = outputs.take_outputs(outputs_path, deployment.outputs)
    stdout, stderr = kept(ended.stdout, scrubber), kept(ended.stderr, scrubber)
    status, problem = "success", outputs.error_of(written, deployment.outputs)
    if ended.timed_out:
        status = "interrupted" if interrupted else "timeout"
        problem = "interrupted: the agent is stopping" if interrupted else f"not done within {timeout:g} s and ended"
    elif ended.status:
        last = (stderr.strip() or stdout.strip()).splitlines()[-1:]
        problem = problem or f"the script ended with {ended.status}" + (f": {last[0].strip()}" if last else "")
    if problem and status == "success":
        status = "failed"
    return HookResult(
        status=status,
        exit_code=ended.status,
        stdout=stdout,
        stderr=stderr,
        error=RunError(scrubber.text(problem)) if problem else None,
        outputs=scrubber.value(outputs.without_empty_errors(written, deployment.outputs)),
        seconds=round(time.monotonic() - began, 3),
        reads=(),  # a script knows its inputs only, which the deployment's own digest covers
    )


def _cannot_start(error: OSError) -> str:
    if error.errno == errno.ENOEXEC:
        return "the script does not begin with #! and its interpreter; make its first line #!/bin/sh"
    if error.errno == errno.ENOENT:
        return (
            "the interpreter in the script's first line is not on this machine (or that line ends with CR); correct it"
        )
    return f"the script cannot be started: {error.strerror}"
