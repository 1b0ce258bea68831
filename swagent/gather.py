"""Gather this member's facts: everything for the node itself, and the settled, selected part that peers are told.

Nothing is read again that has not moved; what cannot be asked keeps its last value and is named.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping, Sequence, Tuple, TypeVar

from swagent import files
from swagent.errors import DocumentError
from swagent.facts import Found, select
from swagent.facts.custom import Custom, CustomFound
from swagent.facts.files import Files
from swagent.facts.host import Host
from swagent.facts.packages import Packages
from swagent.facts.services import PASSING, Look, Services, short_name
from swagent.model import Facts, FactSelection, Json, StackSection
from swagent.scrub import Scrubber
from swagent.settings import Settings

# A service state is published when two looks this many seconds apart agree; one that a service passes through is given
# the longer time to become another.
SETTLE, SETTLE_PASSING = 2.0, 30.0
# One that does not settle for so long is looked at in ordinary cycles only: `run --once` would wait for it for ever.
RESTLESS = 60.0
FORMAT = 1
NOT_ASKED = Look(source="not asked: the stack selects none (swagent.facts.services)")
T = TypeVar("T")


@dataclass(frozen=True)
class Settling:
    """One value on its way: what was seen last, since when, what settled before it (empty: nothing), and since when
    something else than that is seen. Times are monotonic."""

    seen: str
    since: float
    settled: str = ""
    restless: float = 0.0


def settle(
    known: Mapping[str, Settling], seen: Mapping[str, str], at: float, seconds: float = SETTLE
) -> Dict[str, Settling]:
    """What is known after a look at monotonic time `at`: a value settles when it was the same for so many seconds.

    Until then the former one stays. A name that is gone is a value too (empty), and is dropped when that settles.
    """
    after = {}
    for name in sorted({*known, *seen}):
        value = seen.get(name, "")
        before = known.get(name)
        if before is None:
            before = Settling(value, at, "", at)
        elif before.seen != value:
            restless = at if before.seen == before.settled else before.restless
            before = Settling(value, at, before.settled, restless)
        patience = SETTLE_PASSING if value in PASSING else seconds
        if value == before.settled or at >= before.since + patience:
            before = Settling(value, before.since, value)
        if before.seen or before.settled:
            after[name] = before
    return after


def next_look(known: Mapping[str, Settling], at: float, seconds: float = SETTLE) -> float | None:
    """The monotonic time of the look that unsettled values wait for; None where all have settled or never seem to."""
    dues = [
        each.since + seconds for each in known.values() if each.seen != each.settled and at < each.restless + RESTLESS
    ]
    if not dues:
        return None
    # Past its first due time (a state that is passed through): so many seconds after the last look.
    return min(dues) if min(dues) > at else at + seconds


def publish(
    everything: Mapping[str, Json],
    selection: FactSelection,
    packages: Mapping[str, str],
    services: Mapping[str, str],
    last: Mapping[str, Json],
) -> Dict[str, Json]:
    """What peers get (model.Facts): empty maps and lists are left out, except `addresses`."""
    kept = ("hostname", "fqdn", "domain", "os", "platform", "platform_version", "cpus", "memory_mb", "addresses", "ip")
    published: Dict[str, Json] = {key: everything[key] for key in kept if key in everything}
    environment = last.get("environment")
    optional = {
        "packages": packages,
        "services": services,
        "files": everything["files"],
        "facts": {name: value for name, value in everything["facts"].items() if name not in selection.secret},
        "recipes": sorted(set(last.get("recipes") or ())),
        "environment": environment if environment != "_default" else "",
        "attributes": last.get("attributes"),
    }
    return {**published, **{key: value for key, value in optional.items() if value}}


def said_problems(found: Iterable[Tuple[object, Sequence[str]]]) -> Tuple[str, ...]:
    """The problems of those kinds that something selected needs: (needed, problems)."""
    return tuple(problem for needed, problems in found if needed for problem in problems)


@dataclass
class Gatherer:
    """What a process remembers of its machine between two cycles.

    machine: where the facts are read, another folder for an image or a test; `settings.root` does not move it.
    remember: keep settled values and last good custom facts in facts.json, so that a restart changes no fact; only for
    the process that holds the lock. settle_seconds: between the two looks that must agree. look_again: the monotonic
    time at which an unsettled value wants its next look. secrets: the custom facts that `swagent.facts.secret` names.
    """

    settings: Settings
    machine: Path = Path("/")
    remember: bool = False
    settle_seconds: float = SETTLE
    look_again: float | None = None
    secrets: Mapping[str, Json] = field(default_factory=dict)
    scrubber: Scrubber = field(default_factory=Scrubber)  # of custom facts, which are others' words

    def __post_init__(self) -> None:
        remembered = self._load()
        self._host = Host(self.machine)
        self._packages = Packages(self.machine)
        self._services = Services(self.machine)
        self._files = Files(self.machine)
        self._custom = Custom(self.settings.facts_folders, remembered["custom"])
        # Not known since when: a first look that agrees settles it at once.
        self._settling = {name: Settling(str(state), 0.0, str(state)) for name, state in remembered["services"].items()}
        self._settled_at = 0.0
        self._selected: Tuple[object, Mapping[str, str]] = (None, {})
        self._remembered = remembered
        self._timing: Dict[str, float] = {}

    def gather(self, section: StackSection, last: Mapping[str, Json], fresh: bool = False) -> Facts:
        """The facts now. last: {recipes, environment, attributes} of the last successful runs, published as they are.

        fresh (after a run, or a person asks): services are asked again and executables run again though nothing moved.
        """
        selection = section.facts
        self._timing = {}
        packages = self._timed("packages", self._packages.look)
        names = self._timed("host", self._host.look)
        addresses = self._timed("addresses", lambda: self._host.look_at_addresses(section.address))
        services = self._timed("services", lambda: self._look_at_services(selection.services, fresh))
        content = self._timed("files", lambda: self._files.look(selection.files))
        custom = self._timed("custom", lambda: self._custom.look(time.monotonic(), fresh))
        everything = {
            **names.values,
            **addresses.values,
            "packages": packages.values,
            "packages_source": packages.source,
            "services": services.states,
            "services_source": services.source,
            "files": content.values,
            "facts": self.scrubber.value(custom.values),
            "origins": {f"facts.{name}": path for name, path in custom.origins.items()},
            "secret": sorted({*custom.secret, *selection.secret}),
            **{key: last[key] for key in ("recipes", "environment", "attributes") if key in last},
            "timing": self._timing,
        }
        published = publish(
            everything, selection, self._select_packages(packages, selection), self._settled(selection), last
        )
        self.secrets = {name: custom.values[name] for name in selection.secret if name in custom.values}
        if self.remember:
            self._save()
        problems = said_problems(
            [
                (selection.packages, packages.problems),
                (selection.services, services.problems),
                (True, (*addresses.problems, *content.problems, *custom.problems)),
                (not section.data_bag.get("secret"), secret_problems(selection, custom)),
            ]
        )
        return Facts(everything, published, problems)

    def _timed(self, kind: str, look: Callable[[], T]) -> T:
        started = time.monotonic()
        found = look()
        self._timing[kind] = time.monotonic() - started
        return found

    def _look_at_services(self, selected: Sequence[str], fresh: bool) -> Look:
        """Where nobody selects services, they are looked at only on request, and nothing settles."""
        now = time.monotonic()
        if not selected:
            # What had settled is kept: an agent that starts without its metadata must not forget it.
            self.look_again = None
            return self._services.look(selected, now, again=True) if fresh else NOT_ASKED
        again = fresh or (self.look_again is not None and now >= self.look_again)
        look = self._services.look(selected, now, again)
        if look.problems:
            self.look_again = None  # asked again in the ordinary cycles
        elif look.at != self._settled_at:
            self._settled_at = look.at
            short_names = [short_name(name) for name in selected]
            self._settling = settle(self._settling, select(look.states, short_names), look.at, self.settle_seconds)
            self.look_again = next_look(self._settling, look.at, self.settle_seconds)
        return look

    def _settled(self, selection: FactSelection) -> Dict[str, str]:
        settled = {name: each.settled for name, each in self._settling.items() if each.settled}
        return select(settled, [short_name(name) for name in selection.services])

    def _select_packages(self, packages: Found, selection: FactSelection) -> Mapping[str, str]:
        """Globs over a thousand names take longer than all else: once per list of packages."""
        key = (id(packages.values), selection.packages)
        if self._selected[0] != key:
            self._selected = (key, select(packages.values, selection.packages))
        return self._selected[1]

    def _load(self) -> Dict[str, Dict[str, Any]]:
        nothing: Dict[str, Dict[str, Any]] = {"services": {}, "custom": {}}
        try:
            document = files.read_json(self.settings.lib / "facts.json")
        except (OSError, DocumentError):
            return nothing  # not there, not for this user, or damaged: it only bridges a restart, and is written anew
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            return nothing
        return {key: each if isinstance(each := document.get(key), dict) else {} for key in nothing}

    def _save(self) -> None:
        remembered = {
            "services": {name: each.settled for name, each in self._settling.items() if each.settled},
            "custom": self.scrubber.value(self._custom.good),
        }
        if remembered != self._remembered:
            files.write_json(self.settings.lib / "facts.json", {"format": FORMAT, **remembered})
            self._remembered = remembered


def secret_problems(selection: FactSelection, custom: CustomFound) -> Tuple[str, ...]:
    """Secret facts that cannot be sealed stay here, and the template line that is missing is named."""
    names = sorted({*custom.secret, *(name for name in selection.secret if name in custom.values)})
    if not names:
        return ()
    words = "add `secret: {get_resource: ...}` (an OS::Heat::RandomString) under swagent.data_bag of the template"
    return (f"secret facts are not published: {', '.join(names)}; {words}",)
