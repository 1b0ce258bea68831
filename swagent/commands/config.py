"""`swagent config check`: settings, a metadata document or a Heat template, checked before use, off-cloud too.

What a template only learns in the cloud (get_param, get_attr, ...) is left out of the check, the rest is parsed as the
agent will parse it.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

from swagent import settings as settings_module
from swagent.commands.verb import Show
from swagent.errors import DocumentError, SettingsError, SwagentError
from swagent.metadata import check_document, parse_deployment, parse_section, parse_sources, unknown_keys
from swagent.model import Deployment, Input, StackSection
from swagent.settings import SHAPES, Settings

# docs.openstack.org, HOT specification, intrinsic functions; get_input is StructuredConfig's own.
INTRINSIC = frozenset(
    "get_attr get_file get_param get_resource get_input list_join list_concat list_concat_unique digest repeat "
    "resource_facade str_replace str_replace_strict str_replace_vstrict str_split map_merge map_replace yaql equals "
    "if not and or filter make_url contains Fn::GetAtt Ref".split()
)
SERVERS = ("OS::Nova::Server", "OS::Heat::DeployedServer")
CONFIGS = ("OS::Heat::SoftwareConfig", "OS::Heat::StructuredConfig", "OS::Heat::SoftwareComponent")
DEPLOYMENTS = (
    "OS::Heat::SoftwareDeployment",
    "OS::Heat::SoftwareDeploymentGroup",
    "OS::Heat::StructuredDeployment",
    "OS::Heat::StructuredDeploymentGroup",
)
# What an input without a default may be, so that only the template's own mistakes are found.
STAND_INS: Mapping[str, Any] = {"Number": 1, "Boolean": True, "Json": {}, "CommaDelimitedList": []}


@dataclass(frozen=True)
class Problem:
    """What is wrong, where (line 0: not known), and what to do about it."""

    place: str
    problem: str
    remedy: str
    line: int = 0
    severity: str = "wrong"  # or "doubtful": it works, but most likely not as meant


# Documents with lines


def read_document(path: Path) -> tuple[Any, Mapping[str, int]]:
    """(document, line of each place) of a YAML or JSON file; SwagentError where it is neither."""
    import yaml

    try:
        text = path.read_text("utf-8")
        return yaml.safe_load(text), dict(place_lines(yaml.compose(text, yaml.SafeLoader), ""))
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1} column {place.column + 1}" if place else ""
        raise DocumentError(
            str(path), where, f"neither YAML nor JSON: {getattr(error, 'problem', None) or error}", "correct it"
        ) from error
    except UnicodeDecodeError as error:
        raise DocumentError(str(path), f"byte {error.start}", "not UTF-8", "correct it") from error


def place_lines(node: Any, place: str) -> Iterator[tuple[str, int]]:
    """(place, line) of every key and element below a YAML node."""
    if node is None:
        return
    for index, each in enumerate(node.value if isinstance(node.value, list) else ()):
        if isinstance(each, tuple):
            key, value = each
            here = f"{place}.{key.value}" if place else str(key.value)
            yield here, key.start_mark.line + 1
        else:
            value, here = each, f"{place}[{index}]"
            yield here, value.start_mark.line + 1
        yield from place_lines(value, here)


def line_of(lines: Mapping[str, int], place: str) -> int:
    """The line of a place, or of the nearest one around it."""
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), place.rfind(" "), 0)]
    return lines.get(place, 0)


def check(place: str, parse: Callable[[], Any]) -> Iterator[Problem]:
    """The problem that parsing names, with the place where the parsed part stands in front."""
    try:
        parse()
    except DocumentError as error:
        yield Problem(f"{place}{error.place}", error.problem, error.remedy)
    except SwagentError as error:
        yield Problem(place.rstrip("."), str(error), "correct it")


# Settings


def check_settings(root: str, environment: Mapping[str, str]) -> Iterator[Problem]:
    """Every file of settings, key by key, and the environment."""
    settings = Settings(root=Path(root or environment.get("SWAGENT_ROOT") or "/").absolute())
    folder = settings.etc / "conf.d"
    for path in [settings.etc / "swagent.yaml", *(sorted(folder.glob("*.yaml")) if folder.is_dir() else [])]:
        if not path.exists():
            continue
        try:
            document = settings_module.read_file(path)
            _, lines = read_document(path)
        except (SettingsError, DocumentError) as error:
            yield Problem(str(path), str(error).replace(f"{path}: ", "", 1), "until then swagent does not start")
            continue
        for key, value in document.items():
            try:
                settings = settings_module.apply(settings, {key: value}, str(path))
            except SettingsError as error:
                yield Problem(
                    str(path),
                    str(error).replace(f"{path}: ", "", 1),
                    "until then swagent does not start",
                    lines.get(str(key), 0),
                )
    for key in SHAPES:
        name = "SWAGENT_" + key.upper()
        if key != "sources" and name in environment:
            try:
                settings = settings_module.apply(settings, {key: environment[name]}, name)
            except SettingsError as error:
                yield Problem(name, str(error).replace(f"{name}: ", "", 1), "correct or unset it")
    if settings.chef_path and not os.access(settings.chef_path, os.X_OK):
        yield Problem(
            "chef_path", f"{settings.chef_path} is not there or not executable", "name a chef-solo or cinc-solo"
        )
    from swagent.collect import unknown_collectors

    for said in unknown_collectors(settings):
        problem, _, remedy = said.partition("; ")
        yield Problem("collectors", problem.rpartition("collectors: ")[2], remedy)


# Metadata


def check_section(document: Any, place: str, whole: bool) -> Iterator[Problem]:
    """A `swagent` section below the place. whole: nothing was left out of it for want of the cloud."""
    section = StackSection()

    def parse() -> None:
        nonlocal section
        section = parse_section(document, "swagent")

    problems = list(check(place, parse))
    yield from problems
    for each in unknown_keys(document) if isinstance(document, Mapping) else ():
        yield Problem(f"{place}{each}", "means nothing here", "see docs/metadata.md for the keys")
    if problems:
        return
    from swagent.exchange import STORES

    store = section.data_bag.get("store")
    if section.data_bag and (whole or "store" in section.data_bag) and store not in STORES:
        yield Problem(
            f"{place}swagent.data_bag.store", f"unknown store {store!r}", f"known are: {', '.join(sorted(STORES))}"
        )
    if sum(section.expected.values()) > 1 and "data_bag" not in document:
        yield Problem(
            f"{place}swagent.data_bag",
            "missing, while more than one member is expected: each would be a stack of one and wait for the others",
            "give all members the same data_bag",
        )


def check_deployment(deployment: Deployment, place: str, settings: Settings) -> Iterator[Problem]:
    """The config, options and cookbooks of a deployment of group chef; other groups are their hooks' affair."""
    if deployment.group != "chef":
        return
    from swagent.cookbooks import specification
    from swagent.hooks import chef_config

    yield from check(place, lambda: chef_config.parse_config(deployment))
    inputs = {each.name: each.value for each in deployment.inputs}
    yield from check(f"{place}options.", lambda: specification.parse(deployment.options, inputs, settings))


def check_metadata(document: Any, settings: Settings) -> Iterator[Problem]:
    """A document as Heat gives it to a server, also wrapped in `metadata` as its API has it."""
    place = ""
    if isinstance(document, dict) and set(document) == {"metadata"}:
        document, place = document["metadata"], "metadata."
    problems = list(check(place, lambda: check_document(document, "metadata")))
    if problems:
        yield from problems
        return
    if document.get("swagent") is not None:
        yield from check_section(document["swagent"], place, whole=True)
    yield from check(place, lambda: parse_sources(document.get("os-collect-config"), "metadata"))
    for index, each in enumerate(document.get("deployments") or ()):
        here = f"deployments[{index}]"
        problems = list(check(place, lambda: parse_deployment(each, "metadata", here)))  # noqa: B023
        yield from problems
        if not problems:
            yield from check_deployment(parse_deployment(each, "metadata", here), f"{place}{here}.", settings)


# Heat templates


def is_intrinsic(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and str(next(iter(value))) in INTRINSIC


def known_part(value: Any) -> Any:
    """The value without what only the cloud will tell: such keys and elements are left out."""
    if isinstance(value, Mapping):
        return {key: known_part(each) for key, each in value.items() if not is_intrinsic(each)}
    if isinstance(value, list):
        return [known_part(each) for each in value if not is_intrinsic(each)]
    return value


def all_resources(resources: Any, place: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(place, name, definition) of the resources, those inside groups too."""
    for name, definition in resources.items() if isinstance(resources, Mapping) else ():
        if isinstance(definition, Mapping):
            here = f"{place}.{name}"
            yield here, str(name), definition
            properties = definition.get("properties")
            for key in ("resource", "resource_def"):  # AutoScalingGroup, ResourceGroup
                inner = properties.get(key) if isinstance(properties, Mapping) else None
                if isinstance(inner, Mapping) and "type" in inner:
                    yield f"{here}.properties.{key}", str(name), inner


def as_deployment(name: str, properties: Mapping[str, Any]) -> Deployment:
    """A software config as a deployment of it would reach a server, with stand-ins for inputs that have no default."""
    declared = [each for each in properties.get("inputs") or () if isinstance(each, Mapping)]
    inputs = []
    for each in declared:
        kind = str(each.get("type") or "String")
        default = known_part(each.get("default"))
        value = default if default is not None else STAND_INS.get(kind, "known-in-the-cloud")
        inputs.append(Input(str(each.get("name")), kind, value))
    config = properties.get("config")
    return Deployment(
        id=name,
        name=name,
        group=str(properties.get("group") or ""),
        config=None if is_intrinsic(config) else known_part(config),
        inputs=tuple(inputs),
        options=known_part(properties.get("options") or {}),
    )


def check_config(place: str, name: str, properties: Mapping[str, Any], settings: Settings) -> Iterator[Problem]:
    if properties.get("group") == "chef":
        yield from check_deployment(as_deployment(name, properties), f"{place}.properties.", settings)


def target(properties: Mapping[str, Any], key: str) -> str:
    """The resource that a property refers to with get_resource, or empty."""
    value = properties.get(key)
    name = value.get("get_resource") if isinstance(value, Mapping) else None
    return name if isinstance(name, str) else ""


def check_software_deployment(
    place: str, properties: Mapping[str, Any], resources: Mapping[str, Any]
) -> Iterator[Problem]:
    for key in ("config", "server"):
        name = target(properties, key)
        if name and name not in resources:
            yield Problem(f"{place}.properties.{key}", f"there is no resource {name!r}", "correct the name")
    config = resources.get(target(properties, "config"))
    config_properties = config.get("properties") if isinstance(config, Mapping) else None
    if not isinstance(config_properties, Mapping) or config_properties.get("group") != "chef":
        return
    actions = properties.get("actions", ["CREATE", "UPDATE"])
    if isinstance(actions, list) and "DELETE" not in actions and has_undeploy(config_properties):
        yield Problem(
            f"{place}.properties.actions",
            "the config has a run list for undeploy, and without DELETE it never runs",
            "write actions: [CREATE, UPDATE, DELETE]",
            severity="doubtful",
        )


def has_undeploy(properties: Mapping[str, Any]) -> bool:
    from swagent.hooks import chef_config

    try:
        return "undeploy" in chef_config.parse_config(as_deployment("", properties)).events
    except SwagentError:
        return False  # its own check names what is wrong with it


def check_template(document: Mapping[str, Any], settings: Settings) -> Iterator[Problem]:
    """A HOT file: every server's `swagent` section and every config of group chef."""
    resources = document.get("resources")
    if not isinstance(resources, Mapping):
        yield Problem("resources", "there is none", "a template of a stack has resources")
        return
    found, servers = False, False
    for place, name, definition in all_resources(resources, "resources"):
        kind = definition.get("type")
        servers = servers or kind in SERVERS
        properties = definition.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        metadata = definition.get("metadata")
        if isinstance(metadata, Mapping) and "swagent" in metadata:
            found = True
            if not is_intrinsic(metadata["swagent"]):
                section = metadata["swagent"]
                known = known_part(section)
                if isinstance(section, Mapping) and "data_bag" in section and isinstance(known, dict):
                    known.setdefault("data_bag", None)  # there, but only the cloud knows it
                yield from check_section(known, f"{place}.metadata.", whole=False)
        inner = properties.get("metadata")
        if isinstance(inner, Mapping) and "swagent" in inner:
            found = True
            yield Problem(
                f"{place}.properties.metadata.swagent",
                "properties.metadata is Nova's and never reaches the agent",
                "move it to `metadata:` of the resource, beside `properties:`",
            )
        if kind in CONFIGS:
            found = True
            yield from check_config(place, name, properties, settings)
        elif kind in DEPLOYMENTS:
            found = True
            yield from check_software_deployment(place, properties, resources)
    if servers and not found:
        yield Problem(
            "resources",
            "servers, but no `swagent` section, software config or deployment: nothing here is for swagent",
            "add `metadata: {swagent: {...}}` to the servers",
            severity="doubtful",
        )


def check_file(path: Path, settings: Settings) -> tuple[str, Sequence[Problem]]:
    """(template or metadata, what is wrong with it, each with its line)."""
    document, lines = read_document(path)
    if isinstance(document, Mapping) and ("heat_template_version" in document or "resources" in document):
        kind, problems = "template", list(check_template(document, settings))
    else:
        kind, problems = "metadata", list(check_metadata(document, settings))
    return kind, [replace(each, line=line_of(lines, each.place)) for each in problems]


class Check(Show):
    """Check the settings, or with FILE a metadata document (JSON or YAML) or a Heat template, without the cloud.

    Each problem is named with its place and what to do. The exit code is 1 when something is wrong, also 0 when
    something is only doubtful."""

    example = "swagent config check stack.yaml"
    reads_settings = False  # it tells what is wrong with them instead

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="a document or a template; default: the settings"
        )

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        root = self.app.options.root
        if arguments.file is None:
            kind, found = "settings", list(check_settings(root, os.environ))
            name = str(Settings(root=Path(root or os.environ.get("SWAGENT_ROOT") or "/").absolute()).etc)
        else:
            kind, checked = check_file(arguments.file, settings_module.load(os.environ, root=root))
            name, found = str(arguments.file), list(checked)
        self.status = 1 if any(each.severity == "wrong" for each in found) else 0
        return {"file": name, "kind": kind, "ok": not self.status, "problems": [dict(vars(each)) for each in found]}

    def text(self, document: Mapping[str, Any]) -> Iterator[str]:
        for each in document["problems"]:
            line = f"line {each['line']}: " if each["line"] else ""
            doubt = "doubtful: " if each["severity"] == "doubtful" else ""
            yield f"{doubt}{line}{each['place']}: {each['problem']}; {each['remedy']}"
        if not document["problems"]:
            yield f"{document['file']}: {document['kind']}: nothing wrong"
