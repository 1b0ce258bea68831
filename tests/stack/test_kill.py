"""Kill -9 at every step: at each n-th rename, fsync and execve of a cycle; after a start all is as without it.

strace tells the steps. The recipe counts its own runs: one more than without the kill is allowed, none may be lost.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from swagent import report
from tests.member import Member, deployment

RECIPE = """
file node['counted'] do
  content lazy { (File.exist?(node['counted']) ? File.read(node['counted']) : '') + "run\\n" }
end
file node['rendered'] do
  content "members #{node['swagent']['members'].keys.sort.join(' ')} port #{node['port']}\\n"
end
file ENV['heat_outputs_path'] + '.answer' do
  content '42'
end
"""
SYSCALLS = "rename,renameat,renameat2,fsync,execve"
STEP = re.compile(r'(rename\w*|fsync|execve)\((?:AT_FDCWD, )?"?([^",)]*)')
PROGRAMS = ("python3", "librarian-chef", "chef-solo", "ruby", "git", "sh")
PARTS = 4  # of the steps, for as many tests: they share the processors


class Heat(BaseHTTPRequestHandler):
    """What Heat's CFN endpoint does with a signal: 200, and the first one counts."""

    def do_POST(self):
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def heat():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Heat)
    server.bodies = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def prepare(root, heat) -> Member:
    """A member with one chef deployment that is still to run, its signal expected by `heat`."""
    member = Member(root, chef_license="accept-no-persist")
    cookbook = root / "cookbooks" / "app"
    (cookbook / "recipes").mkdir(parents=True)
    (cookbook / "metadata.json").write_text(json.dumps({"name": "app", "version": "1.0.0", "dependencies": {}}))
    (cookbook / "recipes" / "default.rb").write_text(RECIPE)
    member.metadata(
        deployment(
            group="chef",
            config=["recipe[app]"],
            inputs={
                "counted": str(root / "counted"),
                "rendered": str(root / "rendered"),
                "port": 80,
                "deploy_signal_transport": "CFN_SIGNAL",
                "deploy_signal_id": f"http://127.0.0.1:{heat.server_port}/v1/signal/arn",
                "deploy_signal_verb": "POST",
            },
            outputs=["answer"],
            cookbooks=[{"name": "app", "path": str(cookbook)}],
        ),
        member="head-0",
        roles=["head"],
        data_bag={"store": "directory", "path": str(root / "bag")},
    )
    return member


def end_state(member, heat):
    """What is true in the end, without what may differ: numbers of runs and writes, times, this root's paths."""
    state = json.loads(member.settings.state_file.read_text())
    (known,) = state["deployments"].values()
    item = json.loads((member.root / "bag/head-0.json").read_text())
    return {
        "running": state["running"],
        "deployment": {
            key: known[key] for key in ("id", "status", "events", "pending", "failures", "signalled", "error")
        },
        "outputs": known["result"]["outputs"],
        "rendered": (member.root / "rendered").read_text(),
        "item": {
            **item,
            "seq": 0,
            "instance": "",
            "facts_digest": "",
            "status": {**item["status"], "run": 0, "applied": ""},
        },
        "outbox": [signal.name for signal in report.pending(member.settings)],
        "told": heat.bodies[0]["deploy_status_code"],
        "left": [path.name for path in (member.settings.run / "chef").rglob("*")],
        "damaged": [path.name for path in member.settings.lib.rglob("*damaged*")],
    }


def counted(member) -> int:
    path = member.root / "counted"
    return len(path.read_text().splitlines()) if path.exists() else 0


class Traced:
    """`swagent run --once` below strace, which tells of each step of it and of all that it starts, one line a step."""

    def __init__(self, member):
        pipe = member.root / "steps"
        os.mkfifo(pipe)
        # Every step waits a moment before it happens: what is killed after one step does not get to the next.
        strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none", "-o", str(pipe)]
        strace += ["-e", f"trace={SYSCALLS}", "-e", f"inject={SYSCALLS}:delay_enter=10ms"]
        self.process = subprocess.Popen(
            [*strace, *member.command("run", "--once")],
            env=member.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.lines = open(pipe, encoding="utf-8", errors="replace")
        self.agent = 0

    def steps(self):
        """Each step as it is done; a search of PATH is none, nor is what ohai asks the machine."""
        for line in self.lines:
            pid, _, call = line.partition(" ")
            self.agent = self.agent or int(pid)
            step = STEP.match(call.lstrip())
            if step and (step[1] != "execve" or os.path.basename(step[2]) in PROGRAMS):
                yield call

    def kill(self):
        """Kill -9 of the agent, and of nothing else: what it has started must notice by itself."""
        os.kill(self.agent, signal.SIGKILL)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.lines.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_kill_at_any_step_loses_nothing_and_costs_one_run_at_most(tmp_path, heat, part):
    plain = prepare(tmp_path / "plain", heat)
    traced = Traced(plain)
    steps = sum(1 for _ in traced.steps())
    assert traced.process.wait() == 0
    traced.close()
    expected, runs = end_state(plain, heat), counted(plain)
    assert expected["deployment"]["status"] == "applied" and expected["outputs"] == {"answer": "42"}
    assert steps > 50, "an ordinary cycle with a run has more steps: the trace is not whole"
    for number in range(part, steps, PARTS):
        heat.bodies.clear()
        member = prepare(tmp_path / str(number), heat)
        traced = Traced(member)
        last = next(itertools.islice(traced.steps(), number, None), "")
        assert last, f"step {number} did not come"
        traced.kill()
        again = member.once()
        where = f"killed after step {number}: {last}"
        assert again.returncode == 0, f"{where}{again.stderr}"
        assert end_state(member, heat) == expected, where
        assert runs <= counted(member) <= runs + 1, where
        interrupted = [run for run in member.runs() if run["status"] == "interrupted"]
        assert len(interrupted) <= 1 and member.runs()[-1]["status"] == "success", where
        assert not processes_below(member.root), f"{where}: something is left running"
        traced.close()


def processes_below(root):
    """Command lines of what still works on this root, strace left out."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
        if str(root).encode() + b"/" in words and not words.startswith(b"strace"):
            found.append(words)
    return found
