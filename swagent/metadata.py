"""What the sources say, as values: deployments, the `swagent` section, and all documents merged into one. Pure.

Deployments: heat, engine/resources/openstack/heat/software_deployment.py; how they are prepared for a hook:
heat-agents, heat-config's 55-heat-config. Merging: os-apply-config, collect_config.py.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Callable, Iterator, Mapping, Sequence, Tuple

from swagent.errors import DocumentError
from swagent.model import Deployment, Document, FactSelection, Input, Json, Metadata, Output, Quiescence, StackSection

MEMBER = re.compile(r"[A-Za-z0-9._-]+")
# Collectors whose deployments os-collect-config also lays out as documents of their own (os_collect_config.merger).
EXPANDED = ("heat", "cfn", "request", "zaqar")
# Groups that carry data for other programs; a deployment without a group is an ungrouped one.
DATA_GROUPS = ("os-apply-config", "Heat::Ungrouped")
SECTION_KEYS = ("member", "roles", "expected", "generation", "address", "facts", "data_bag", "quiescence")
FACT_KEYS = ("packages", "services", "files", "attributes", "secret")
# The parts of the `os-collect-config` section that are collectors; the rest configures os-collect-config itself.
SOURCES = ("cfn", "heat", "heat_local", "local", "request", "ec2", "zaqar")
TEMPLATE = "correct it in the template and update the stack"


def _kind(value: Json) -> str:
    names = {dict: "a map", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _map(value: Json, source: str, place: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise DocumentError(source, place, f"must be a map, not {_kind(value)}", TEMPLATE)
    return value


def _list(value: Json, source: str, place: str) -> Sequence[Json]:
    if not isinstance(value, list):
        raise DocumentError(source, place, f"must be a list, not {_kind(value)}", TEMPLATE)
    return value


def _text(value: Json, source: str, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise DocumentError(source, place, f"must be text, not {_kind(value) if value != '' else 'empty'}", TEMPLATE)
    return value


def _texts(value: Json, source: str, place: str) -> Tuple[str, ...]:
    return tuple(_text(each, source, f"{place}[{index}]") for index, each in enumerate(_list(value, source, place)))


def _number(value: Json, source: str, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise DocumentError(source, place, f"must be a number of seconds, not {value!r}", TEMPLATE)
    return float(value)


def _count(value: Json, source: str, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise DocumentError(source, place, f"must be a whole number, 0 or more, not {value!r}", TEMPLATE)
    return value


def _present(document: Mapping[str, Json], key: str, source: str, place: str) -> Json:
    if key not in document:
        raise DocumentError(source, f"{place}.{key}", "missing", "see the resource that made the deployment")
    return document[key]


# Deployments


def _inputs(value: Json, source: str, place: str) -> Iterator[dict[str, Json]]:
    for index, each in enumerate(_list(value, source, place) if value is not None else ()):
        entry = dict(_map(each, source, f"{place}[{index}]"))
        _text(entry.get("name"), source, f"{place}[{index}].name")
        entry["value"] = entry.get("value", entry.get("default"))
        entry["type"] = str(entry.get("type") or "String")
        if entry["type"] == "String" and entry["value"] is not None and not isinstance(entry["value"], str):
            # heat-config does so too (bug 1333992): a hook may rely on text. A null stays what it is: nothing known.
            entry["value"] = str(entry["value"])
        yield entry


def _outputs(value: Json, source: str, place: str) -> Iterator[Output]:
    for index, each in enumerate(_list(value, source, place) if value is not None else ()):
        entry = _map(each, source, f"{place}[{index}]")
        yield Output(
            name=_text(entry.get("name"), source, f"{place}[{index}].name"),
            type=str(entry.get("type") or "String"),
            error_output=bool(entry.get("error_output")),
        )


def _component(config: Json, action: str, source: str, place: str) -> tuple[str, Json] | None:
    """(tool, config) of the first part of an OS::Heat::SoftwareComponent for the action, None where none is."""
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except ValueError as error:
            raise DocumentError(source, place, f"not JSON: {error}", TEMPLATE) from error
    configs = _list(_map(config, source, place).get("configs") or [], source, f"{place}.configs")
    for index, each in enumerate(configs):
        here = f"{place}.configs[{index}]"
        part = _map(each, source, here)
        if action in _list(_present(part, "actions", source, here), source, f"{here}.actions"):
            tool = _text(_present(part, "tool", source, here), source, f"{here}.tool")
            return tool, _present(part, "config", source, here)
    return None


def parse_deployment(document: Json, source: str, place: str) -> Deployment:
    """One entry of `deployments` at a place such as `deployments[2]`; DocumentError names the place inside it.

    Deployment.document is what a heat-config hook reads: the entry with its inputs and component chosen as here.
    """
    entry = _map(document, source, place)
    identifier = _text(_present(entry, "id", source, place), source, f"{place}.id")
    name = _text(_present(entry, "name", source, place), source, f"{place}.name")
    group = _text(_present(entry, "group", source, place), source, f"{place}.group")
    config = _present(entry, "config", source, place)
    inputs = list(_inputs(entry.get("inputs"), source, f"{place}.inputs"))
    outputs = tuple(_outputs(entry.get("outputs"), source, f"{place}.outputs"))
    options = entry.get("options")
    options = {} if options is None else _map(options, source, f"{place}.options")
    if group == "component":
        action = next((str(each["value"]) for each in inputs if each["name"] == "deploy_action"), "CREATE")
        part = _component(config, action, source, f"{place}.config")
        group, config = part if part is not None else (group, None)
    return Deployment(
        id=identifier,
        name=name,
        group=group,
        config=config,
        inputs=tuple(Input(each["name"], each["type"], each["value"]) for each in inputs),
        outputs=outputs,
        options=options,
        creation_time=str(entry.get("creation_time") or ""),
        source=source,
        document={**entry, "group": group, "config": config, "inputs": inputs, "options": options},
    )


def answerable(document: Json, source: str) -> Deployment | None:
    """A deployment that cannot be used, as far as Heat can be told; None where not even that is possible."""
    if not isinstance(document, dict) or not isinstance(document.get("id"), str) or not document["id"]:
        return None

    def entries(key: str) -> Iterator[Mapping[str, Json]]:
        listed = document.get(key)
        for each in listed if isinstance(listed, list) else ():
            if isinstance(each, dict) and isinstance(each.get("name"), str):
                yield each

    deployment = Deployment(
        id=document["id"],
        name=str(document.get("name") or document["id"]),
        group=str(document.get("group") or ""),
        config=None,
        inputs=tuple(
            Input(each["name"], "String", each.get("value"))
            for each in entries("inputs")
            if each["name"].startswith("deploy_")
        ),
        outputs=tuple(Output(each["name"], "String", bool(each.get("error_output"))) for each in entries("outputs")),
        source=source,
    )
    return deployment if deployment.transport != "NO_SIGNAL" else None


# The `swagent` and `os-collect-config` sections


def _optional(document: Mapping[str, Json], key: str) -> bool:
    """Whether a key says anything: null is what a get_attr gives before Heat knows."""
    return document.get(key) is not None


def _address(value: Json, source: str, place: str) -> Mapping[str, str]:
    """{interface: NAME} or {cidr: NETWORK}; text is a network."""
    address = {"cidr": value} if isinstance(value, str) else dict(_map(value, source, place))
    if len(address) != 1 or not set(address) <= {"interface", "cidr"}:
        raise DocumentError(source, place, "must be {interface: NAME} or {cidr: NETWORK}", TEMPLATE)
    for key, each in address.items():
        _text(each, source, f"{place}.{key}")
    if "cidr" in address:
        import ipaddress

        try:
            ipaddress.ip_network(address["cidr"], strict=False)
        except ValueError as error:
            raise DocumentError(source, f"{place}.cidr", str(error), TEMPLATE) from error
    return address


def _data_bag(value: Json, source: str, place: str) -> Mapping[str, Json]:
    if isinstance(value, str):  # an output of a nested stack may come as the text of its map
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DocumentError(source, place, f"must be a map, or JSON text of one: {error}", TEMPLATE) from error
    return _map(value, source, place)


def parse_section(document: Json, source: str) -> StackSection:
    """The `swagent` section (design: docs/metadata.md); null keys are absent. DocumentError names the place."""
    if document is None:
        return StackSection()
    section = _map(document, source, "swagent")
    parts: dict[str, Any] = {}
    if _optional(section, "member"):
        parts["member"] = _text(section["member"], source, "swagent.member")
        if not MEMBER.fullmatch(parts["member"]):
            raise DocumentError(
                source,
                "swagent.member",
                f"{parts['member']!r} must be of letters, digits, dot, dash, underscore",
                TEMPLATE,
            )
    if _optional(section, "roles"):
        parts["roles"] = _texts(section["roles"], source, "swagent.roles")
    if _optional(section, "expected"):
        expected = _map(section["expected"], source, "swagent.expected")
        parts["expected"] = {
            role: _count(each, source, f"swagent.expected.{role}")
            for role, each in expected.items()
            if each is not None
        }
    if _optional(section, "generation"):
        parts["generation"] = section["generation"]
    if _optional(section, "address"):
        parts["address"] = _address(section["address"], source, "swagent.address")
    if _optional(section, "facts"):
        facts = _map(section["facts"], source, "swagent.facts")
        parts["facts"] = FactSelection(
            **{key: _texts(facts[key], source, f"swagent.facts.{key}") for key in FACT_KEYS if _optional(facts, key)}
        )
    if _optional(section, "data_bag"):
        parts["data_bag"] = _data_bag(section["data_bag"], source, "swagent.data_bag")
    if _optional(section, "quiescence"):
        quiescence = _map(section["quiescence"], source, "swagent.quiescence")
        parts["quiescence"] = Quiescence(
            **{
                key: _number(quiescence[key], source, f"swagent.quiescence.{key}")
                for key in ("min", "max", "hold")
                if _optional(quiescence, key)
            }
        )
    return StackSection(**parts)


def unknown_keys(section: Mapping[str, Json]) -> Iterator[str]:
    """Dotted places in a good `swagent` section that mean nothing here: most likely misspelt."""
    known = {"facts": FACT_KEYS, "quiescence": ("min", "max", "hold")}
    for key, value in section.items():
        if key not in SECTION_KEYS:
            yield f"swagent.{key}"
        elif key in known and isinstance(value, dict):
            yield from (f"swagent.{key}.{each}" for each in value if each not in known[key])


def parse_sources(document: Json, source: str) -> Mapping[str, Mapping[str, Json]]:
    """The collectors' keys of an `os-collect-config` section: {collector: {key: text, number or list of texts}}."""
    if document is None:
        return {}
    section = _map(document, source, "os-collect-config")
    sources: dict[str, Mapping[str, Json]] = {}
    for collector in SOURCES:
        if not _optional(section, collector):
            continue
        options = _map(section[collector], source, f"os-collect-config.{collector}")
        for key, value in options.items():
            place = f"os-collect-config.{collector}.{key}"
            if isinstance(value, list):
                _texts(value, source, place)
            elif not isinstance(value, (str, int, float)) and value is not None:
                raise DocumentError(source, place, f"must be text or a number, not {_kind(value)}", TEMPLATE)
        sources[collector] = options
    return sources


# Documents


def check_document(content: Json, source: str) -> Mapping[str, Json]:
    """The content, if it has the shape of a source's document: a map, whose deployments (if any) are a list."""
    document = _map(content, source, "")
    if document.get("deployments") is not None:
        _list(document["deployments"], source, "deployments")
    return document


def deep_merge(below: Mapping[str, Json], above: Mapping[str, Json]) -> dict[str, Json]:
    """`above` laid over `below`: maps merge deeply, all else is replaced, lists and nulls too."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = deep_merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def laid_out(document: Document) -> Iterator[tuple[str, Json]]:
    """(name, content) of a document, then of each deployment in it that only carries data, like os-collect-config."""
    yield document.source, document.content
    deployments = document.content.get("deployments") if document.source in EXPANDED else None
    for each in deployments if isinstance(deployments, list) else ():
        if isinstance(each, dict) and "name" in each and "config" in each:
            if each.get("group", DATA_GROUPS[1]) in DATA_GROUPS:
                yield str(each["name"]), each["config"]


def rendered(documents: Sequence[Document]) -> dict[str, Json]:
    """What `os-collect-config --print` says of the same sources: {collector, file or deployment name: content}."""
    return {name: content for document in documents for name, content in laid_out(document)}


def merge(documents: Sequence[Document], last: Mapping[str, Json] = {}) -> Metadata:
    """All documents as one, later ones over earlier ones. What is bad is left out and named in `problems`.

    `last` holds the last good `swagent` and `os-collect-config` sections: they stand in for bad ones, in `content` too.
    """
    content: dict[str, Json] = {}
    origins: dict[str, str] = {}
    problems = [f"{document.source}: {document.error}" for document in documents if document.error]
    for document in documents:
        for name, each in laid_out(document):
            if isinstance(each, dict):  # an ungrouped config may be a script's text: nothing to merge
                content = deep_merge(content, each)
                here = document.source if name == document.source else f"{document.source} deployment {name}"
                origins.update((key, here) for key in each)
    parsers: tuple[tuple[str, Callable[[Json, str], Any]], ...] = (
        ("swagent", parse_section),
        ("os-collect-config", parse_sources),
    )
    for key, parse in parsers:
        try:
            parse(content.get(key), origins.get(key, ""))
        except DocumentError as error:
            kept = last.get(key)
            problems.append(f"{error}; {'the last good one stays in use' if kept else 'it is left out'}")
            content.pop(key)
            if kept:
                content[key] = kept
    section = content.get("swagent")
    problems += [
        f"{origins.get('swagent', '')}: {place}: means nothing here; see docs/metadata.md for the keys"
        for place in unknown_keys(section or {})
    ]
    deployments = []
    refused = []
    source = origins.get("deployments", "")
    listed = content.get("deployments")
    for index, each in enumerate(listed if isinstance(listed, list) else ()):
        try:
            deployments.append(parse_deployment(each, source, f"deployments[{index}]"))
        except DocumentError as error:
            problems.append(str(error))
            failing = answerable(each, source)
            if failing is not None:
                refused.append((failing, str(error)))
    return Metadata(
        content=content,
        deployments=tuple(deployments),
        section=parse_section(section, origins.get("swagent", "")),
        origins=origins,
        documents=tuple(documents),
        problems=tuple(problems),
        refused=tuple(refused),
    )
