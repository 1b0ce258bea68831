"""What a deployment of group `chef` asks for: run lists, attributes and options, checked before anything happens.

Compatible with heat-agents' chef hook: config is a JSON run list, inputs are top-level node attributes, the input
`environment` is Chef's.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Mapping, NoReturn, Optional, Tuple

from swagent.errors import DocumentError
from swagent.model import EVENTS, Deployment, Json

DEFAULT_TIMEOUT = 3600.0  # s of one run
KEYS = ("run_list", "attributes", "events", "needs", "needs_timeout")
DEFAULT_NEEDS_TIMEOUT = 600.0  # s that needs may delay a run
NEEDS = ("role", "member", "service", "package", "fact", "count")
# recipe[book::name@1.2.3], role[name], and the bare forms book and book::name (Chef::RunList::RunListItem).
_NAME = r"[A-Za-z0-9_.\-]+"
_RECIPE = rf"{_NAME}(?:::{_NAME})?(?:@\d+(?:\.\d+){{1,2}})?"
RUN_LIST_ENTRY = re.compile(rf"recipe\[{_RECIPE}\]|role\[{_NAME}\]|{_RECIPE}")
SAFE_NAME = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,199}")
# Chef reads these in its attributes file as something else than attributes; `swagent` is the context.
RESERVED_ATTRIBUTES = ("run_list", "recipes", "policy_name", "policy_group", "chef_environment", "swagent")
# Bags that are laid out from the context.
OWN_BAGS = ("stack", "stack_secrets")


@dataclass(frozen=True)
class ChefConfig:
    """A chef deployment, understood. events: {event: run list} where an event has its own; timeout in seconds.

    data_bags: {bag: {item: {…}}}. needs: {role or member, service, package or fact, count} each; needs_timeout: s.
    """

    run_list: Tuple[str, ...] = ()
    attributes: Mapping[str, Json] = field(default_factory=dict)
    events: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    needs: Tuple[Mapping[str, Json], ...] = ()
    needs_timeout: float = DEFAULT_NEEDS_TIMEOUT
    environment: str = "_default"
    data_bags: Mapping[str, Mapping[str, Mapping[str, Json]]] = field(default_factory=dict)
    data_bag_secret: str = ""
    lean_ohai: bool = True
    timeout: float = DEFAULT_TIMEOUT

    def run_list_for(self, event: str) -> Optional[Tuple[str, ...]]:
        """The event's own run list, else the run list that setup, deploy and configure share; None: nothing to run."""
        if event in self.events:
            return self.events[event]
        return self.run_list if event in ("setup", "deploy", "configure") else None


def run_list_of(deployment: Deployment, event: str) -> Optional[Tuple[str, ...]]:
    """What a deployment runs on an event; None where it has nothing to run. DocumentError as parse_config."""
    return parse_config(deployment).run_list_for(event)


def parse_config(deployment: Deployment) -> ChefConfig:
    """The deployment's config, inputs and options as values; DocumentError names the deployment and the place."""
    return _Parser(deployment).config()


def timeout_of(deployment: Deployment) -> float:
    """Option `timeout`: how many seconds one run may take."""
    return _Parser(deployment).timeout()


def merge(under: Json, over: Json) -> Json:
    """Maps merge deeply, of all else `over` counts."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {**under, **{key: merge(under[key], value) if key in under else value for key, value in over.items()}}
    return over


class _Parser:
    """One deployment's parts, each with its place for the error."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.source = f"deployment {deployment.name or deployment.id}"

    def refuse(self, place: str, problem: str, remedy: str) -> NoReturn:
        raise DocumentError(self.source, place, problem, remedy)

    def config(self) -> ChefConfig:
        document = self.document()
        parameters = dict(self.deployment.parameters)
        environment = parameters.pop("environment", None)
        if environment in (None, ""):
            environment = "_default"
        if not isinstance(environment, str) or not SAFE_NAME.fullmatch(environment):
            self.refuse(
                "inputs.environment",
                f"{environment!r} is no name of a Chef environment",
                "use letters, digits, _ and -",
            )
        attributes = self.map("config.attributes", document.get("attributes"))
        for place, names in (("config.attributes", attributes), ("inputs", parameters)):
            for name in RESERVED_ATTRIBUTES:
                if name in names:
                    self.refuse(f"{place}.{name}", "is not an attribute for Chef", "call it otherwise")
        ohai = self.deployment.options.get("ohai", "lean")
        if ohai not in ("lean", "full"):
            self.refuse("options.ohai", f"{ohai!r} is neither lean nor full", "choose one")
        return ChefConfig(
            run_list=self.run_list("config.run_list", document.get("run_list")),
            attributes=merge(attributes, parameters),
            events={
                self.event(f"config.events.{event}", event): self.run_list(f"config.events.{event}", entries)
                for event, entries in self.map("config.events", document.get("events")).items()
            },
            needs=self.needs(document.get("needs")),
            needs_timeout=self.seconds("config.needs_timeout", document.get("needs_timeout", DEFAULT_NEEDS_TIMEOUT)),
            environment=environment,
            data_bags=self.data_bags(),
            data_bag_secret=self.data_bag_secret(),
            lean_ohai=ohai == "lean",
            timeout=self.timeout(),
        )

    def document(self) -> Mapping[str, Json]:
        """The config as a map: a list is a run list, a text is the YAML or JSON of either."""
        config = self.deployment.config
        if isinstance(config, str):
            config = self.text(config)
        if config is None:
            return {}
        if isinstance(config, list):
            return {"run_list": config}
        if not isinstance(config, dict):
            self.refuse("config", f"is {_kind(config)}", "give a run list, or a map with run_list")
        for key in config:
            if key not in KEYS:
                self.refuse(f"config.{key}", "is not known", f"known are {', '.join(KEYS)}")
        return config

    def text(self, text: str) -> Json:
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except ValueError:
            import yaml  # here: heat's own templates carry JSON

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or "cannot be read"
            self.refuse(
                f"config line {mark.line + 1}" if mark else "config", f"neither JSON nor YAML: {problem}", "correct it"
            )

    def run_list(self, place: str, entries: Json) -> Tuple[str, ...]:
        if entries is None:
            return ()
        if not isinstance(entries, list):
            self.refuse(place, f"is {_kind(entries)}", 'give a list such as ["recipe[app]"]')
        for number, entry in enumerate(entries):
            if not isinstance(entry, str) or not RUN_LIST_ENTRY.fullmatch(entry):
                self.refuse(
                    f"{place}[{number}]",
                    f"{entry!r} is no run list entry",
                    "write recipe[BOOK], recipe[BOOK::NAME] or role[NAME]",
                )
        return tuple(entries)

    def event(self, place: str, event: Any) -> str:
        if event not in EVENTS:
            self.refuse(place, "is no event", f"events are {', '.join(EVENTS)}")
        return str(event)

    def needs(self, needs: Json) -> Tuple[Mapping[str, Json], ...]:
        if needs is None:
            return ()
        if not isinstance(needs, list):
            self.refuse("config.needs", f"is {_kind(needs)}", "give a list of maps")
        for number, need in enumerate(needs):
            if not isinstance(need, dict) or not (need.get("role") or need.get("member")):
                self.refuse(f"config.needs[{number}]", "names no role", "write {role: ROLE, service: NAME}")
            unknown = sorted(set(need) - set(NEEDS))
            if unknown:
                self.refuse(f"config.needs[{number}].{unknown[0]}", "is not known", f"known are: {', '.join(NEEDS)}")
        return tuple(needs)

    def map(self, place: str, value: Json) -> Mapping[str, Json]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(place, f"is {_kind(value)}", "give a map")
        return value

    def data_bags(self) -> Mapping[str, Mapping[str, Mapping[str, Json]]]:
        bags = self.map("options.data_bags", self.deployment.options.get("data_bags"))
        for bag, items in bags.items():
            if bag in OWN_BAGS:
                self.refuse(f"options.data_bags.{bag}", "is laid out by swagent itself", "call it otherwise")
            self.name("options.data_bags", bag)
            for item, content in self.map(f"options.data_bags.{bag}", items).items():
                self.name(f"options.data_bags.{bag}", item)
                self.map(f"options.data_bags.{bag}.{item}", content)
        return bags

    def name(self, place: str, name: Any) -> None:
        if not isinstance(name, str) or not SAFE_NAME.fullmatch(name):
            self.refuse(place, f"{name!r} is no name of a data bag or an item", "use letters, digits, ., _ and -")

    def data_bag_secret(self) -> str:
        """Option `data_bag_secret: {input: NAME}`: what opens encrypted data bags; always an input, never a text."""
        option = self.deployment.options.get("data_bag_secret")
        if option is None:
            return ""
        if not isinstance(option, dict) or set(option) != {"input"}:
            self.refuse("options.data_bag_secret", "is no map of one key", "write {input: NAME}")
        value = self.deployment.input(str(option["input"]))
        if not isinstance(value, str) or not value:
            self.refuse("options.data_bag_secret", f"input {option['input']!r} has no text", "give that input a value")
        return value

    def timeout(self) -> float:
        return self.seconds("options.timeout", self.deployment.options.get("timeout", DEFAULT_TIMEOUT))

    def seconds(self, place: str, value: Json) -> float:
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if isinstance(value, bool) or not 0 < seconds < float("inf"):
            self.refuse(place, f"{value!r} is no number of seconds", "give a positive number")
        return seconds


def _kind(value: Json) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a map"}
    return names.get(type(value), "nothing" if value is None else type(value).__name__)
