"""The hook of group `chef`: one run of chef-solo (or cinc-solo) under the context as it is now.

Understand the deployment, get its cookbooks, lay out Chef's root, run Chef, read its record, leave nothing behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Type

from swagent import files, process
from swagent.errors import SettingsError, SwagentError
from swagent.hooks import chef_config, chef_record, chef_root, chef_sources, outputs
from swagent.hooks.chef_record import Record
from swagent.hooks.log import ScrubbedLog, kept
from swagent.hooks.request import HookRequest
from swagent.hooks.stopping import until_stopped
from swagent.model import HookResult, Json, RunError
from swagent.scrub import Scrubber
from swagent.settings import Settings

# Chef ends its command with SIGTERM, waits 3 s, kills it and writes its record: then it is our turn.
GRACE = 10.0
LICENSES = ("accept", "accept-silent", "accept-no-persist")


def find_program(settings: Settings) -> str:
    """The user's cinc-solo or chef-solo before ours; SwagentError says what to type where there is none."""
    if settings.chef_path:
        if not process.find([settings.chef_path]):
            raise SettingsError(f"chef_path: {settings.chef_path} is no program; correct the setting")
        return settings.chef_path
    names = ("cinc-solo", "/opt/cinc/bin/cinc-solo", "chef-solo", "/opt/chef/bin/chef-solo")
    found = process.find([*names, str(settings.chef_home / "bin" / "chef-solo")])
    if not found:
        raise SwagentError("no chef-solo: type `swagent bootstrap chef`, or install Cinc or Chef")
    return found


def license_of(settings: Settings, environment: Mapping[str, str]) -> str:
    """What the user has accepted, in the settings or as Chef's own variable; empty: nothing."""
    given = settings.chef_license or environment.get("CHEF_LICENSE", "")
    return given if given in LICENSES else ""


def run(request: HookRequest) -> HookResult:
    """Apply the deployment. What Chef makes of it is a value; SwagentError tells what keeps Chef from running."""
    began = time.monotonic()
    config = chef_config.parse_config(request.deployment)
    event = str(request.context.document.get("event") or request.events[-1])
    run_list = config.run_list_for(event)
    if run_list is None:
        return HookResult(status="success", exit_code=0, stdout=f"nothing to run on {event}")
    program = find_program(request.settings)
    deadline = began + config.timeout
    sources = chef_sources.sources_of(request, deadline)
    context = {**request.context.document, "event": event}
    member = str(context["member"])
    with until_stopped() as stopped, ScrubbedLog(request.folder / "log", request.scrubber) as log:
        for warning in sources.warnings:
            log.write(f"WARN: {warning}\n".encode())
        try:
            paths = chef_root.lay_out(
                request.settings,
                config,
                run_list,
                sources,
                context,
                request.attributes,
                license_of(request.settings, os.environ),
            )
            outputs_path = outputs.make_outputs_path(request.folder, request.deployment)
            with RecordReader(paths.events, request.folder / "events.ndjson", request.scrubber) as reader:
                ended = process.run(
                    argv(program, paths, request.why_run),
                    timeout=max(1.0, deadline - time.monotonic()),
                    mark=request.mark,
                    environment=process.base_environment(heat_outputs_path=str(outputs_path)),
                    grace=GRACE,
                    sink=log.write,
                    stopping=stopped,
                )
            keep_stacktrace(paths.stacktrace, request)
            written = outputs.take_outputs(outputs_path, request.deployment.outputs)
        except OSError as error:
            raise SwagentError(f"cannot run {program}: {error.strerror}: {error.filename or program}") from error
        finally:
            chef_root.tidy(request.settings, member)
        interrupted = stopped()
    result = result_of(
        chef_record.read_record(reader.events),
        ended,
        request,
        config.timeout,
        interrupted,
        written,
        sources.resolved,
        time.monotonic() - began,
    )
    return result


def argv(program: str, paths: chef_root.Paths, why_run: bool) -> Sequence[str]:
    return [program, "-c", str(paths.solo_rb), "-j", str(paths.dna), *(["--why-run"] if why_run else [])]


def result_of(
    record: Record,
    ended: process.Ended,
    request: HookRequest,
    timeout: float,
    interrupted: bool,
    written: Mapping[str, str],
    resolved: Mapping[str, Mapping[str, Json]],
    seconds: float,
) -> HookResult:
    """What the run came to, from Chef's record and exit code together."""
    scrubber, declared = request.scrubber, request.deployment.outputs
    stdout = kept(ended.stdout, scrubber)
    stderr = kept(ended.stderr, scrubber)
    status, error = status_of(record, ended, stdout, stderr, timeout, interrupted)
    said = outputs.error_of(written, declared)
    if status == "success" and said:
        # Heat takes the deployment for failed as soon as an error output says something.
        status, error = "failed", RunError(chef_record.short(scrubber.text(said.replace("\n", " "))))
    versions = {name: {**(resolved.get(name) or {}), "version": version} for name, version in record.cookbooks.items()}
    values = scrubber.value(outputs.without_empty_errors(written, declared))
    return HookResult(
        status=status,
        exit_code=ended.status,
        stdout=stdout,
        stderr=stderr,
        error=error,
        outputs=values,
        resources=record.resources,
        details=record.details,
        seconds=round(seconds, 3),
        reboot=reboot_of(record, ended.status) if status == "success" else None,
        cookbooks=versions,
        recipes=record.recipes,
        attributes=record.attributes,
        reads=record.reads,
    )


def status_of(
    record: Record, ended: process.Ended, stdout: str, stderr: str, timeout: float, interrupted: bool
) -> Tuple[str, Optional[RunError]]:
    """(status, error): 35 and 37 are successes that want a reboot (chef: lib/chef/application/exit_code.rb)."""
    # Chef may be done at the very moment it is asked to stop: what its record and exit code say together is so.
    done = record.result == "success" and ended.status in (0, chef_record.REBOOT_SCHEDULED, chef_record.REBOOT_NEEDED)
    if ended.timed_out and not done:
        what = "interrupted: the agent is stopping" if interrupted else f"not done within {timeout:g} s and ended"
        busy: Mapping[str, Any] = record.failed or record.running or {}
        where = {key: str(busy.get(key) or "") for key in ("resource", "cookbook", "recipe", "line")}
        if busy:
            what += f", while {where['resource']}" + (f" ({where['line']})" if where["line"] else "") + " was running"
        elif not record.began:
            what += ", before Chef had started its run"
        return "interrupted" if interrupted else "timeout", RunError(what, **where)
    if ended.status in (0, chef_record.REBOOT_SCHEDULED, chef_record.REBOOT_NEEDED):
        return "success", None
    return "failed", chef_record.error_of(record, ended.status, stdout, stderr)


def reboot_of(record: Record, exit_code: int) -> Optional[Mapping[str, Json]]:
    """The reboot that a recipe asked for, or that Chef's exit code says is needed."""
    if exit_code not in (chef_record.REBOOT_SCHEDULED, chef_record.REBOOT_NEEDED):
        return record.reboot
    reason = chef_record.sentence_of(record.error) if record.error else f"Chef ended with exit code {exit_code}"
    return record.reboot or {"delay_mins": 0, "reason": reason, "requested_by": ""}


def keep_stacktrace(path: Path, request: HookRequest) -> None:
    """Take Chef's stack trace over into the run's folder; tidy removes the original, which is not scrubbed."""
    try:
        text = path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return
    files.write(request.folder / "stacktrace", request.scrubber.text(text))


class RecordReader:
    """Reads Chef's record from a FIFO while it is written, and keeps it scrubbed: the raw lines never reach a disk."""

    def __init__(self, fifo: Path, kept_in: Path, scrubber: Scrubber) -> None:
        self.events: List[Mapping[str, Any]] = []
        self._scrubber = scrubber
        self._rest = b""
        self._done = threading.Event()
        os.mkfifo(fifo, 0o600)
        # Open for both: without a writer of our own, reading would end before Chef has opened its side.
        self._fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._fifo, getattr(fcntl, "F_SETPIPE_SZ", 1031), 1 << 20)
        except OSError:
            pass  # the default size makes Chef wait for us, no more
        self._kept = os.open(kept_in, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._thread = threading.Thread(target=self._follow, name="record", daemon=True)

    def __enter__(self) -> RecordReader:
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._done.set()
        self._thread.join()
        self._drain()  # Chef is over: what it wrote is in the FIFO
        os.close(self._fifo)
        os.close(self._kept)

    def _follow(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._fifo, selectors.EVENT_READ)
            while not self._done.is_set():
                if selector.select(timeout=0.02):
                    self._drain()

    def _drain(self) -> None:
        while True:
            try:
                data = os.read(self._fifo, 1 << 16)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            text = ""
            for line in lines:
                event = chef_record.parse_line(line)
                if event is not None:
                    self.events.append(self._scrubber.value(event))
                    text += json.dumps(self.events[-1], ensure_ascii=False) + "\n"
            left = text.encode("utf-8", "replace")
            while left:
                left = left[os.write(self._kept, left) :]
