"""The one root of everything that Chef reads and writes: solo.rb, node objects, data bags, laid out before each run.

    <chef_root>/solo.rb  nodes/  data_bags/stack/  environments/  cache/  backup/  lock    stays, 0700
    <run>/chef/dna.json  data_bags/  data_bag_secret  events          secrets: on tmpfs, removed after use
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Sequence, Set, Tuple

from swagent import files
from swagent.hooks.chef_config import SAFE_NAME, ChefConfig, merge
from swagent.model import Json
from swagent.settings import Settings

RUBY_FOLDER = Path(__file__).parent / "ruby"
# Each search reads every node file again (about 0.2 ms each): a node that is too large goes without its network.
LARGEST_NODE = 1000
# Language runtimes, cloud probes (they wait for 169.254.169.254) and lists that only grow. Addresses, memory, cpu, dmi,
# file systems and virtualization stay: community cookbooks read them.
LEFT_OUT_BY_LEAN_OHAI = (
    *(
        "C",
        "Docker",
        "Elixir",
        "Erlang",
        "Fips",
        "Go",
        "Groovy",
        "Haskell",
        "Java",
        "Languages",
        "Lua",
        "Mono",
        "Nodejs",
    ),
    *("Packages", "Perl", "PHP", "Powershell", "Python", "Ruby", "Rust", "Scala"),
    *(
        "Alibaba",
        "Azure",
        "Cloud",
        "DigitalOcean",
        "EC2",
        "Eucalyptus",
        "GCE",
        "Linode",
        "OCI",
        "Openstack",
        "Rackspace",
    ),
    *("Scaleway", "Softlayer", "Libvirt", "Virtualbox", "VMware"),
    *(
        "Grub2",
        "Habitat",
        "Hostnamectl",
        "Interrupts",
        "IPC",
        "Keys",
        "Livepatch",
        "Lspci",
        "Mdadm",
        "Passwd",
        "PS",
        "Rpm",
    ),
    *("Sessions", "ShardSeed", "Shells", "SSHHostKey", "Sysconf", "Sysctl", "SystemdPaths", "TC", "Zpools"),
)


@dataclass(frozen=True)
class Sources:
    """Where a run's cookbooks, roles, environments and data bags come from.

    repository: a folder with cookbooks/, roles/, environments/, data_bags/, or None.
    resolved: {cookbook: {source, revision, version}}.
    """

    cookbook_paths: Tuple[Path, ...] = ()
    repository: Optional[Path] = None
    resolved: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    warnings: Tuple[str, ...] = ()

    def part(self, name: str) -> Tuple[Path, ...]:
        """The repository's folder of that name, where there is one."""
        folder = self.repository / name if self.repository else None
        return (folder,) if folder and folder.is_dir() else ()


@dataclass(frozen=True)
class Paths:
    """Where the parts of the root are."""

    root: Path
    volatile: Path

    @classmethod
    def of(cls, settings: Settings) -> Paths:
        return cls(settings.chef_root, settings.run / "chef")

    @property
    def solo_rb(self) -> Path:
        return self.root / "solo.rb"

    @property
    def nodes(self) -> Path:
        return self.root / "nodes"

    @property
    def stack_bag(self) -> Path:
        return self.root / "data_bags" / "stack"

    @property
    def environments(self) -> Path:
        return self.root / "environments"

    @property
    def stacktrace(self) -> Path:
        return self.root / "cache" / "chef-stacktrace.out"

    @property
    def dna(self) -> Path:
        return self.volatile / "dna.json"

    @property
    def own_bags(self) -> Path:
        return self.volatile / "data_bags"

    @property
    def data_bag_secret(self) -> Path:
        return self.volatile / "data_bag_secret"

    @property
    def events(self) -> Path:
        return self.volatile / "events"


def ruby(value: Json) -> str:
    """A Ruby literal of a text, number, truth value, list or map; no text can leave its quotes."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{ruby(str(key))} => {ruby(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(ruby(each) for each in value) + "]"
    # Single quotes know two escapes and no interpolation.
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def expand(
    run_list: Sequence[str], roles_folders: Sequence[Path], environment: str
) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """(recipes, roles) of a run list, roles in JSON files opened; a default recipe has two names."""
    recipes: dict[str, None] = {}
    roles: dict[str, None] = {}
    waiting = list(run_list)
    while waiting:
        entry = waiting.pop(0)
        if entry.startswith("role["):
            name = entry[5:-1]
            if name not in roles:
                roles[name] = None
                waiting[:0] = _run_list_of_role(name, roles_folders, environment)
            continue
        name = (entry[7:-1] if entry.startswith("recipe[") else entry).partition("@")[0]
        recipes[name] = None
        if "::" not in name:
            recipes[f"{name}::default"] = None
    return tuple(recipes), tuple(roles)


def _run_list_of_role(name: str, folders: Sequence[Path], environment: str) -> Sequence[str]:
    for folder in folders:
        try:
            role = json.loads((folder / f"{name}.json").read_bytes())
            entries = role.get("env_run_lists", {}).get(environment, role.get("run_list", []))
            return [str(each) for each in entries]
        except (OSError, ValueError, AttributeError):
            continue  # in Ruby, or damaged: Chef itself will open it, or say what is wrong
    return []


def nested(attributes: Mapping[str, Json]) -> Mapping[str, Json]:
    """{"app.port": 80} as {"app": {"port": 80}}, which is how searches and recipes look for it."""
    tree: Json = {}
    for path, value in sorted(attributes.items()):
        for step in reversed(str(path).split(".")):
            value = {step: value}
        tree = merge(tree, value)
    assert isinstance(tree, dict)
    return tree


def render_node(
    name: str,
    entry: Mapping[str, Any],
    run_list: Optional[Sequence[str]] = None,
    recipes: Sequence[str] = (),
    roles: Sequence[str] = (),
    environment: str = "",
) -> Mapping[str, Json]:
    """A member as a node object that searches find; with a run_list the own one, which has no attributes yet.

    `entry`: its part of node['swagent']['members'], and the recipes that it ran. recipes, roles: known besides those.
    """
    own = run_list is not None
    all_recipes = sorted({*map(str, entry.get("recipes") or ()), *recipes})
    all_roles = sorted({*map(str, entry.get("roles") or ()), *roles})
    automatic: dict[str, Json] = {
        "name": name,
        "hostname": entry.get("hostname") or name,
        "fqdn": entry.get("fqdn") or entry.get("hostname") or name,
        "domain": entry.get("domain"),
        "ipaddress": entry.get("ip"),
        "os": entry.get("os"),
        "platform": entry.get("platform"),
        "platform_version": entry.get("platform_version"),
        "roles": all_roles,
        "recipes": all_recipes,
        "cpu": {"total": entry["cpus"]} if entry.get("cpus") else None,
        "memory": {"total": f"{int(entry['memory_mb']) * 1024}kB"} if _number(entry.get("memory_mb")) else None,
    }
    automatic = {key: value for key, value in automatic.items() if value not in (None, "")}
    short_names = [each for each in all_recipes if not each.endswith("::default")]
    attributes = {} if own else nested(_map(entry.get("attributes")))
    document: dict[str, Json] = {
        "name": name,
        "chef_environment": environment or str(entry.get("environment") or "_default"),
        "run_list": list(run_list or ())
        if own
        else [f"role[{r}]" for r in all_roles] + [f"recipe[{r}]" for r in short_names],
        "automatic": automatic,
        "normal": {**attributes, "swagent": {"member": name, **({} if own else {"roles": all_roles})}, "tags": []},
    }
    network = {
        "interfaces": {
            str(interface): {
                "addresses": {str(each): {"family": "inet6" if ":" in str(each) else "inet"} for each in addresses}
            }
            for interface, addresses in _map(entry.get("addresses")).items()
            if isinstance(addresses, (list, tuple))
        }
    }
    if network["interfaces"]:
        larger = {**document, "automatic": {**automatic, "network": network}}
        if len(json.dumps(larger)) <= LARGEST_NODE:
            return larger
    return document


def _map(value: Any) -> Mapping[str, Any]:
    """Peers' facts are not trusted to have the right shape."""
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def render_item(name: str, entry: Mapping[str, Any]) -> Mapping[str, Json]:
    """A member as an item of the data bag `stack`: its part of node['swagent']['members'], with `id` and `member`."""
    return {**entry, "id": name, "member": name}


def render_dna(config: ChefConfig, run_list: Sequence[str], context: Mapping[str, Json]) -> Mapping[str, Json]:
    """The attributes of the run: the deployment's, and the context as `swagent`."""
    return {**config.attributes, "swagent": context, "run_list": list(run_list)}


def render_solo_rb(
    paths: Paths,
    *,
    member: str,
    config: ChefConfig,
    sources: Sources,
    roles: Sequence[str] = (),
    attributes: Sequence[str] = (),
    chef_license: str = "",
) -> str:
    """Chef's configuration. Every path is absolute: Chef changes to / before it runs."""

    def texts(folders: Sequence[Path]) -> str:
        return ruby([str(each) for each in folders])

    root = paths.root
    lines = [
        "# Written by swagent before each run. chef-solo reads it twice, so everything is assigned, nothing appended.",
        f"node_name {ruby(member)}",
        f"chef_guid {ruby(str(uuid.uuid5(uuid.NAMESPACE_OID, member)))}",
        *([f"chef_license {ruby(chef_license)}"] if chef_license else []),
        f"environment {ruby(config.environment)}",
        "# Cookbooks that ask whether they run under chef-solo would skip their searches.",
        "solo false",
        f"chef_repo_path {ruby(str(root))}",
        f"cookbook_path {texts([*sources.cookbook_paths, *sources.part('cookbooks')] or [root / 'cookbooks'])}",
        f"role_path {texts(sources.part('roles') or [root / 'roles'])}",
        f"environment_path {texts([*sources.part('environments'), paths.environments])}",
        f"data_bag_path {texts([paths.stack_bag.parent, paths.own_bags, *sources.part('data_bags')])}",
        f"node_path {ruby(str(paths.nodes))}",
        f"file_cache_path {ruby(str(root / 'cache'))}",
        f"file_backup_path {ruby(str(root / 'backup'))}",
        f"lockfile {ruby(str(root / 'lock'))}",
        "# The Chef of a run that was killed may need this long to end its command.",
        "run_lock_timeout 15",
        *([f"encrypted_data_bag_secret {ruby(str(paths.data_bag_secret))}"] if config.data_bag_secret else []),
        "client_fork false",
        "color false",
        "log_level :warn",
        "# The saved node object keeps what ohai says; attributes may be secrets, and no run starts with old ones.",
        *(f"allowed_{level}_attributes []" for level in ("default", "normal", "override")),
    ]
    if config.lean_ohai:
        plugins = " ".join(LEFT_OUT_BY_LEAN_OHAI)
        lines.append(f"ohai.disabled_plugins = %i{{{plugins}}}")
    options = f"attributes: {ruby(list(attributes))}, roles: {ruby(list(roles))}"
    lines += [
        f"require {ruby(str(RUBY_FOLDER / 'events.rb'))}",
        f"event_handlers [Swagent::Events.new({ruby(str(paths.events))}, {options})]",
        f"require {ruby(str(RUBY_FOLDER / 'corrections.rb'))}",
    ]
    return "\n".join(lines) + "\n"


def lay_out(
    settings: Settings,
    config: ChefConfig,
    run_list: Sequence[str],
    sources: Sources,
    context: Mapping[str, Any],
    attributes: Sequence[str],
    chef_license: str,
) -> Paths:
    """Write everything that the run will read; files of members that are gone go."""
    paths = Paths.of(settings)
    member = str(context["member"])
    members = {str(name): entry for name, entry in context["members"].items() if SAFE_NAME.fullmatch(str(name))}
    tidy(settings)
    for folder in (
        paths.nodes,
        paths.stack_bag,
        paths.environments,
        paths.volatile,
        *(paths.root / each for each in PLACES),
    ):
        files.make_folder(folder)
    recipes, roles = expand(run_list, sources.part("roles"), config.environment)
    ran = _map(context.get("recipes"))
    known: dict[str, Mapping[str, Json]]
    known = {name: {**_map(entry), "recipes": ran.get(name)} for name, entry in members.items()}
    own = render_node(member, known.get(member, {}), run_list, recipes, roles, config.environment)
    peers = {name: render_node(name, entry) for name, entry in known.items() if name != member}
    _mirror(paths.nodes, {**peers, member: own})
    _mirror(paths.stack_bag, {name: render_item(name, _map(entry)) for name, entry in members.items()})
    _mirror(paths.environments, dict(_environments(config, sources)))
    for bag, items in config.data_bags.items():
        for original in sources.part("data_bags"):  # of two folders of one name Chef sees the first only
            for path in sorted((original / bag).glob("*.json")):
                files.write(paths.own_bags / bag / path.name, path.read_bytes(), durable=False)
        for item, content in items.items():
            files.write(paths.own_bags / bag / f"{item}.json", json.dumps({**content, "id": item}), durable=False)
    files.make_folder(paths.own_bags)
    if config.data_bag_secret:
        files.write(paths.data_bag_secret, config.data_bag_secret, durable=False)
    files.write(paths.dna, json.dumps(render_dna(config, run_list, context)), durable=False)
    my_roles = [str(role) for role in context.get("my_roles") or ()]
    solo_rb = render_solo_rb(
        paths,
        member=member,
        config=config,
        sources=sources,
        roles=my_roles,
        attributes=attributes,
        chef_license=chef_license,
    )
    files.write(paths.solo_rb, solo_rb, durable=False)
    return paths


PLACES = ("cookbooks", "roles", "cache", "backup")


def _environments(config: ChefConfig, sources: Sources) -> Iterator[Tuple[str, Mapping[str, Json]]]:
    """Without a repository nobody could describe the environment that the input names: an empty one stands for it."""
    if config.environment != "_default" and sources.repository is None:
        yield config.environment, {
            "name": config.environment,
            "json_class": "Chef::Environment",
            "chef_type": "environment",
        }


def _mirror(folder: Path, documents: Mapping[str, Mapping[str, Json]]) -> None:
    """Make the folder's files those documents: NAME.json each, written only where it differs, all else removed."""
    there: Set[str] = {entry.name for entry in os.scandir(folder)}
    wanted = {f"{name}.json": json.dumps(document, sort_keys=True).encode() for name, document in documents.items()}
    for name in there - set(wanted):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, content in wanted.items():
        path = folder / name
        if name not in there or path.read_bytes() != content:
            files.write(path, content, durable=False)


def empty_node(paths: Paths, member: str) -> None:
    """Take out of the own node object what a run has put into it, whatever ended the run."""
    path = paths.nodes / f"{member}.json"
    if SAFE_NAME.fullmatch(member) and path.exists():
        files.write(path, json.dumps({"name": member}), durable=False)


def tidy(settings: Settings, member: str = "") -> None:
    """Remove what may hold secrets: the attributes, own data bags, old contents of files, the last trace.

    Done after each run, and before the next one, because a kill comes between.
    """
    paths = Paths.of(settings)
    for folder in (paths.volatile, paths.root / "backup"):
        if folder.is_dir():
            for entry in list(os.scandir(folder)):
                shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    try:
        paths.stacktrace.unlink()
    except FileNotFoundError:
        pass
    if member:
        empty_node(paths, member)
