"""A circle on one machine: a head and its workers, each of which needs the other first; what tools/demo shows.

    python examples/circle/circle.py [--keep FOLDER] [--timeout SECONDS]

Every member is a resident `swagent --root FOLDER/NAME run`. Its metadata lies where os-collect-config's collector
`local` looks, the data bag is a folder, the cookbooks are those beside this file, in a git repository made on the spot.
Ends with 0 if each phase converged and every rendered file says what is true, else with 1, naming member and log.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence

import psutil

from swagent import context, files, runs
from swagent import state as states
from swagent.data_bags.directory import DirectoryBag
from swagent.errors import SwagentError
from swagent.model import Item
from swagent.settings import Settings, load

COOKBOOKS = Path(__file__).resolve().parent / "cookbooks"
SWAGENT = [sys.executable, "-m", "swagent"]
EXPECTED = {"head": 1, "worker": 2}
QUIESCENCE = {"min": 0.5, "max": 2, "hold": 1}
QUIET = 8.0  # s in which nothing may happen: several polls, and past every quiet timer
LOOK = 0.2  # s between two looks
SETTINGS = """# Written by examples/circle
collectors: [local]
polling_interval: 2
chef_license: accept-no-persist
"""
# A machine's own git settings (signing, hooks) have no part in a demo.
GIT = {
    **{f"GIT_{who}_{what}": "circle@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


class NotConverged(Exception):
    """A member that did not end where it should: its name, why, and lines that help to find out more."""

    def __init__(self, member: str, why: str, lines: Sequence[str] = ()) -> None:
        super().__init__(f"{member} did not converge: {why}")
        self.lines = tuple(lines)


@dataclass
class Member:
    """One member: a name, a root of its own, the agent's process while it runs, the id of its newest deployment."""

    name: str
    root: Path
    settings: Settings
    agent: subprocess.Popen[bytes] | None = None
    deployment: str = ""

    @property
    def role(self) -> str:
        return self.name.rpartition("-")[0]

    @property
    def agent_log(self) -> Path:
        return self.root / "agent.log"


@dataclass(frozen=True)
class Phase:
    """What one phase took: seconds until every member was converged (without the hold), runs per member."""

    title: str
    seconds: float
    runs: Mapping[str, int] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """The most runs that one member needed: how often knowledge had to go round until nothing changed."""
        return max(self.runs.values(), default=0)


@dataclass(frozen=True)
class Machine:
    """What is true of this machine, looked up without swagent: addresses, number of processors, MiB of memory."""

    addresses: frozenset[str]
    cpus: int
    memory: float

    @classmethod
    def look(cls) -> Machine:
        found = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
        memory = psutil.virtual_memory().total / (1 << 20)
        return cls(frozenset(filter(is_address, found)), psutil.cpu_count() or 0, memory)

    @property
    def address(self) -> str:
        """How an address appears in a rendered file: not at all on a machine without a network."""
        return " ADDRESS" if self.addresses else ""

    def recognise(self, word: str) -> str:
        """ADDRESS or MEMORY for a true one, else the word."""
        if word in self.addresses:
            return "ADDRESS"
        amount = word.removeprefix("memory=")
        # Members may round, or count what the kernel keeps for itself.
        near = amount != word and amount.isdigit() and abs(int(amount) - self.memory) < self.memory / 20
        return "MEMORY" if near else word


# What is written and what is expected: pure.


def metadata(member: Member, bag: Path, repository: Path, queue: str, number: int) -> Mapping[str, Any]:
    """What Heat would hold for this server; each action of a deployment has an id of its own."""
    own = member.root / "etc" / "circle"
    inputs = {
        "deploy_server_id": member.name,
        "deploy_action": "CREATE" if number == 1 else "UPDATE",
        "deploy_stack_id": "circle/1",
        "deploy_resource_name": f"{member.role}_deployment",
        "deploy_signal_transport": "NO_SIGNAL",
        # Only the head knows the parameter from Heat; the workers learn it from the head's facts.
        **({"queue": queue} if member.role == "head" else {}),
    }
    return {
        "swagent": {
            "member": member.name,
            "roles": [member.role],
            "expected": EXPECTED,
            "data_bag": {"store": "directory", "path": str(bag)},
            "quiescence": QUIESCENCE,
        },
        "deployments": [
            {
                "id": f"{member.name}-{number}",
                "name": "circle",
                "group": "chef",
                "config": {
                    "run_list": [f"recipe[circle::{member.role}]"],
                    "attributes": {"circle": {"folder": str(own), "facts": str(member.settings.facts_folders[1])}},
                },
                "inputs": [{"name": name, "type": "String", "value": value} for name, value in inputs.items()],
                "outputs": [],
                "options": {
                    "cookbooks": [{"git": repository.as_uri(), "ref": "main", "path": "cookbooks", "all": True}]
                },
            }
        ],
    }


def is_address(text: str) -> bool:
    """Whether it is an IP address that other machines may reach."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # of a link, or with a scope
        return False
    return not (address.is_loopback or address.is_link_local)


def parse_rendered(text: str, machine: Machine) -> Mapping[str, Sequence[str]]:
    """{first word: [the rest of each such line]}; what is true of this machine is replaced by the word for it."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            key, *words = line.split()
            lines.setdefault(key, []).append(" ".join(machine.recognise(word) for word in words))
    return lines


def wanted(
    name: str, identifier: str, queue: str, workers: Sequence[str], machine: Machine
) -> Mapping[str, Sequence[str]]:
    """What a member's rendered file must say, as parse_rendered gives it."""
    common = {"cluster": [identifier], "queue": [queue]}
    if name not in workers:
        return {**common, "worker": [f"{each}{machine.address} cpus={machine.cpus} MEMORY" for each in workers]}
    return {**common, "head": [f"head-0{machine.address}"], "fellow": [each for each in workers if each != name]}


def differences(right: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """One sentence per key that is not as it must be."""
    said = {key: ", ".join(found.get(key, ())) or "nobody" for key in right}
    return [f"{key} is {said[key]}, not {', '.join(value)}" for key, value in right.items() if found.get(key) != value]


def table(rows: Sequence[Sequence[str]]) -> Sequence[str]:
    """Rows in columns: the first one to the left, the others, figures, to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    ]


def cell(item: Item | None, running: bool, number: int, now: str) -> str:
    """What a person wants to know of a member at one look."""
    if running:
        return f"run {number}"
    if item is None:
        return "starting"
    if item.left:
        return "left"
    # `applied` of an older digest: it was converged, and has not yet heard what others say now.
    outdated = item.status.state == "converged" and item.status.applied != now
    return "converging" if outdated else item.status.state


# The circle: members, and what is true of them.


class Circle:
    """The members below one folder, and the terminal that hears about them."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self.folder, self.timeout = folder, timeout
        self.bag, self.repository = folder / "bag", folder / "cookbooks.git"
        self.members: dict[str, Member] = {}
        self.gone: set[str] = set()
        self.queue = "day"
        self.phases: list[Phase] = []
        self._bag = DirectoryBag(self.bag)
        self._bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def say(self, text: str = "", head: bool = False) -> None:
        print(f"\033[1m{text}\033[0m" if head and self._bold else text, flush=True)

    # Members come, are told something, and go.

    def make_repository(self) -> str:
        """Commit the cookbooks; gives the revision."""
        shutil.copytree(COOKBOOKS, self.repository / "cookbooks")

        def git(*words: str) -> str:
            command = ["git", "-C", str(self.repository), *words]
            return subprocess.run(
                command,
                env={**os.environ, **GIT},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            ).stdout.strip()

        git("-c", "init.defaultBranch=main", "init", "--quiet")
        git("add", ".")
        git("commit", "--quiet", "-m", "The circle's cookbooks")
        return git("rev-parse", "--short", "HEAD")

    def add(self, name: str) -> None:
        root = self.folder / name
        files.write(root / "etc/swagent/swagent.yaml", SETTINGS)
        member = self.members[name] = Member(name, root, load({}, root=str(root)))
        self.tell(member)
        with open(member.agent_log, "ab") as log:
            member.agent = subprocess.Popen(
                [*SWAGENT, "--root", str(root), "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C is for us: the agents are ended below, one by one.
                start_new_session=True,
            )

    def tell(self, member: Member) -> None:
        """Put metadata where the collector `local` finds it; with a new id, as for each action of Heat."""
        number = int(member.deployment.rpartition("-")[2] or 0) + 1
        document = metadata(member, self.bag, self.repository, self.queue, number)
        member.deployment = document["deployments"][0]["id"]
        files.write_json(member.root / "var/lib/os-collect-config/local-data/circle.json", document)

    def stop(self, members: Iterable[Member]) -> None:
        """SIGTERM, and SIGKILL to those that do not end."""
        agents = [(member, member.agent) for member in members if member.agent is not None]
        for _, agent in agents:
            agent.terminate()
        until = time.monotonic() + 20
        for member, agent in agents:
            try:
                agent.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()
            member.agent = None

    def leave(self, name: str) -> None:
        member = self.members[name]
        self.stop([member])
        self.gone.add(name)
        self.ask(member, "run", "--once", "--event", "shutdown")

    def ask(self, member: Member, *words: str) -> str:
        """What a `swagent` command says of a member; NotConverged with its words where it fails."""
        command = [*SWAGENT, "--root", str(member.root), *words]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, text=True
        )
        if ended.returncode:
            raise NotConverged(
                member.name,
                f"`swagent {' '.join(words)}` ended with {ended.returncode}",
                ended.stderr.splitlines()[-5:],
            )
        return ended.stdout.rstrip()

    # Looks.

    @property
    def present(self) -> Sequence[Member]:
        return [member for name, member in self.members.items() if name not in self.gone]

    def look(self) -> tuple[Mapping[str, Item], Mapping[str, states.State | None]]:
        """Everybody's item in one read, and each member's own state."""
        items, _ = self._bag.read()
        return items, {name: states.read(member.settings) for name, member in self.members.items()}

    def count(self, name: str) -> int:
        return len(runs.numbers(self.members[name].settings))

    def trouble(self, items: Mapping[str, Item]) -> None:
        """NotConverged for the first member whose agent ended or whose run failed: here nothing has a reason to."""
        for member in self.present:
            if member.agent is not None and member.agent.poll() is not None:
                said = member.agent_log.read_text(errors="replace").splitlines()[-5:]
                raise NotConverged(member.name, f"its agent ended with status {member.agent.returncode}", said)
            item = items.get(member.name)
            if item is not None and item.status.result in ("failed", "timeout"):
                raise self.failure(member, f"run {item.status.run} is {item.status.result}")

    def failure(self, member: Member, why: str) -> NotConverged:
        records = [runs.read(member.settings, number) or {} for number in runs.numbers(member.settings)]
        # A failed run is tried again at once on a new context: the failure tells more than the run after it.
        failed = [record for record in records if record.get("error")]
        lines = []
        for record in (failed or records)[-1:]:
            error = record.get("error") or {"message": record.get("status", "no record"), "line": ""}
            where = f" ({error['line']})" if error["line"] else ""
            lines = [
                f"run    {record.get('number')}: {error['message']}{where}",
                f"log    {runs.folder(member.settings, int(record.get('number', 0))) / 'log'}",
            ]
        lines += [f"agent  {member.agent_log}", f"ask    swagent --root {member.root} status --long"]
        return NotConverged(member.name, why, lines)

    def settle(self, title: str, change: Callable[[], None]) -> None:
        """Make a change, show the members' states as they go, and return when all agree and every file is right."""
        self.say(f"\n{len(self.phases) + 1}. {title}", head=True)
        before = {name: self.count(name) for name in self.members}
        started = time.monotonic()
        change()
        names = [member.name for member in self.members.values()]
        self.say("".join(["    seconds  ", *(f"{name:<13}" for name in names)]).rstrip())
        shown: Sequence[str] = ()
        agreed = 0.0
        while True:
            items, known = self.look()
            now = time.monotonic()
            digest = context.stack_digest(items)
            row = []
            for name in names:
                state = known[name]
                running = state.running if state and name not in self.gone else None
                row.append(cell(items.get(name), running is not None, running.number if running else 0, digest))
            if row != shown:
                shown = row
                self.say("".join([f"    {now - started:7.1f}  ", *(f"{each:<13}" for each in row)]).rstrip())
            self.trouble(items)
            if self.agreed(items, known):
                agreed = agreed or now
                if now - agreed >= QUIESCENCE["hold"]:
                    break
            else:
                agreed = 0.0
            if now - started > self.timeout:
                self.give_up(items, known)
            time.sleep(LOOK)
        self.check()
        self.phases.append(
            Phase(title, agreed - started, {name: self.count(name) - before.get(name, 0) for name in names})
        )
        phase = self.phases[-1]
        self.say(
            f"    converged after {phase.seconds:.1f} s, {phase.rounds} round{'s' * (phase.rounds != 1)}, "
            f"{sum(phase.runs.values())} runs; the rendered files are right"
        )

    def taken(self, member: Member, state: states.State | None) -> bool:
        """Whether the member is done with its newest deployment."""
        return (
            state is not None
            and state.running is None
            and any(each.id == member.deployment for each in state.deployments.values())
        )

    def agreed(self, items: Mapping[str, Item], known: Mapping[str, states.State | None]) -> bool:
        """The product's own verdict over this one read, of these very members, none of whom has anything to do."""
        return (
            set(context.present(items)) == {member.name for member in self.present}
            and all(self.taken(member, known[member.name]) for member in self.present)
            and context.verdict(items, EXPECTED).converged
        )

    def give_up(self, items: Mapping[str, Item], known: Mapping[str, states.State | None]) -> None:
        digest = context.stack_digest(items)
        for member in self.present:
            item = items.get(member.name)
            if item is None or item.status.applied != digest or not self.taken(member, known[member.name]):
                raise self.failure(member, f"still {item.status.state if item else 'unheard'} after {self.timeout:g} s")
        staying = next(name for name in self.gone if not items[name].left)
        raise self.failure(self.members[staying], "it left, and did not say so")

    def check(self) -> None:
        """Compare every rendered file with what we know without swagent; NotConverged names the first wrong one."""
        identifier = (self.members["head-0"].root / "etc/circle/identifier").read_text().strip()
        workers = sorted(member.name for member in self.present if member.role == "worker")
        machine = Machine.look()
        for member in self.present:
            path = member.root / "etc/circle" / ("cluster.conf" if member.role == "head" else "worker.conf")
            try:
                found = parse_rendered(path.read_text(), machine)
            except FileNotFoundError:
                raise self.failure(member, f"{path} was not written") from None
            wrong = differences(wanted(member.name, identifier, self.queue, workers, machine), found)
            if wrong:
                raise self.failure(member, f"{path.name} is wrong: {'; '.join(wrong)}")

    def rest(self, seconds: float) -> None:
        """Nobody runs, publishes or writes anything while nothing changes."""
        title = "nothing changes"
        self.say(f"\n{len(self.phases) + 1}. {title}", head=True)

        def observe() -> Mapping[str, tuple[int, int]]:
            items, _ = self.look()
            return {member.name: (self.count(member.name), items[member.name].seq) for member in self.present}

        before, started = observe(), time.monotonic()
        while time.monotonic() - started < seconds:
            time.sleep(LOOK)
            self.trouble(self.look()[0])
            for name, (ran, seq) in observe().items():
                if ran != before[name][0]:
                    raise self.failure(self.members[name], "it ran although nothing had changed")
                if seq != before[name][1]:
                    raise self.failure(self.members[name], "it published although nothing had changed")
        self.phases.append(Phase(title, seconds, {name: 0 for name in before}))
        self.say(f"    {seconds:.0f} s: 0 runs, 0 items published")

    # What is left to see.

    def show(self) -> None:
        self.say(
            "\nWhat it took (runs per member; rounds: the most of them, how often knowledge went round)", head=True
        )
        rows = [["", "seconds", "rounds", *self.members]]
        for phase in self.phases:
            counts = [str(phase.runs.get(name, "-")) for name in self.members]
            rows.append([phase.title, f"{phase.seconds:.1f}", str(phase.rounds), *counts])
        for line in table(rows):
            self.say(f"    {line}")
        self.say("\nWhat was rendered", head=True)
        for member in self.present:
            for path in sorted((member.root / "etc/circle").glob("*.conf")):
                self.say(f"    {path.relative_to(self.folder)}")
                for line in path.read_text().splitlines():
                    self.say(f"        {line}")
        latest = [
            (runs.read(member.settings, number) or {}, member)
            for member in self.present
            for number in runs.numbers(member.settings)[-1:]
        ]
        record, member = max(latest, key=lambda each: float(each[0].get("started", 0)))
        self.explain(member, int(record["number"]))

    def explain(self, member: Member, number: int) -> None:
        """Say why a run happened, and follow the chain to the members that caused it."""
        title = "\nWhy the last run"
        for _ in self.members:
            self.say(f"{title}: swagent --root {member.name} why {number} --chain", head=True)
            said = self.ask(member, "why", str(number), "--chain")
            for line in said.splitlines():
                self.say(f"    {line}")
            cause = re.search(r"because of (\S+) run (\d+)", said)
            if cause is None or cause[1] not in self.members:
                return
            title, member, number = "And that one", self.members[cause[1]], int(cause[2])


def play(circle: Circle) -> None:
    """The whole piece."""
    revision = circle.make_repository()
    circle.say("A head and its workers: each needs the other first, and nobody is ordered before anybody.", head=True)
    circle.say(f"    folder     {circle.folder}")
    circle.say(f"    cookbooks  {circle.repository.name} at {revision}, resolved by librarian-chef")

    def start() -> None:
        for name in ("head-0", "worker-0", "worker-1"):
            circle.add(name)

    def change_queue() -> None:
        circle.queue = "night"
        circle.tell(circle.members["head-0"])

    circle.settle("three members start", start)
    circle.settle("worker-2 joins", lambda: circle.add("worker-2"))
    circle.settle("worker-1 leaves", lambda: circle.leave("worker-1"))
    circle.settle("the head's queue becomes night", change_queue)
    circle.rest(QUIET)
    circle.show()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="A head and its workers on this machine, in a circle.")
    parser.add_argument("--keep", metavar="FOLDER", help="work in this new folder and leave it there")
    parser.add_argument("--timeout", type=float, default=90.0, metavar="SECONDS", help="of one phase (default: 90)")
    options = parser.parse_args(arguments)
    if options.keep and os.path.exists(options.keep):
        parser.error(f"--keep: {options.keep} is there already; name a new folder")
    folder = (
        files.make_folder(Path(options.keep).absolute()) if options.keep else Path(tempfile.mkdtemp(prefix="circle-"))
    )
    # A polite end takes the members along; they have sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    circle = Circle(folder, options.timeout)
    keep, started = bool(options.keep), time.monotonic()
    try:
        play(circle)
        print(f"\nAll converged; {time.monotonic() - started:.0f} s in all.")
        return 0
    except NotConverged as error:
        keep = True
        print(f"\n{error}", *(f"    {line}" for line in error.lines), sep="\n", file=sys.stderr)
        return 1
    except (SwagentError, OSError, subprocess.SubprocessError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended at your wish", file=sys.stderr)
        return 130
    finally:
        circle.stop(circle.members.values())
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
