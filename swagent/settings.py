"""Settings: defaults < /etc/swagent/swagent.yaml < conf.d/*.yaml < SWAGENT_* < flags, read once at the door.

To add a setting: a field of Settings, its line in SHAPES, a line in docs/settings.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Tuple

from swagent.errors import SettingsError

# os-collect-config's own order: what comes later wins where two say the same key. The collectors without
# credentials or files say so once and are not polled.
COLLECTORS = ("heat_local", "cfn", "heat", "request", "local")


@dataclass(frozen=True)
class Settings:
    """Where things are and how often. Paths below `root` move with --root; `chef_home` does not: one Chef a machine."""

    root: Path = Path("/")
    collectors: Tuple[str, ...] = COLLECTORS
    # Per collector: its keys as in os-collect-config (docs/settings.md); the metadata's own section overrides them.
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    polling_interval: float = 30.0  # s, the ceiling of the adaptive polling
    min_polling_interval: float = 1.0  # s, after any change
    keep_alive: float = 100.0  # s between writes of an unchanged own item; three of them silent: suspect
    hooks: Tuple[str, ...] = ("/usr/libexec/heat-config/hooks", "/var/lib/heat-config/hooks")
    chef_home: Path = Path("/opt/swagent/chef")  # what `swagent bootstrap chef` installs
    chef_license: str = ""  # accept, accept-silent or accept-no-persist: the user's explicit choice
    chef_path: str = ""  # a chef-solo or cinc-solo to use before any other
    allow_cheffile: bool = False  # a Cheffile is Ruby that runs as root
    retry_min: float = 10.0  # s before a failed run is tried again on the same input, doubling
    retry_max: float = 1800.0
    keep_runs: int = 100
    keep_bytes: int = 64 << 20
    config_files: Tuple[str, ...] = ()  # OS_CONFIG_FILES: os-collect-config runs us as its command

    def under_root(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def etc(self) -> Path:
        return self.under_root("/etc/swagent")

    @property
    def state_file(self) -> Path:
        return self.lib / "state.json"

    @property
    def lib(self) -> Path:
        return self.under_root("/var/lib/swagent")

    @property
    def run(self) -> Path:
        """Gone after a reboot (tmpfs): the lock, keys while they are used."""
        return self.under_root("/run/swagent")

    @property
    def collected(self) -> Path:
        return self.lib / "collected"

    @property
    def members_file(self) -> Path:
        return self.lib / "members.json"

    @property
    def runs(self) -> Path:
        return self.lib / "runs"

    @property
    def contexts(self) -> Path:
        return self.lib / "contexts"

    @property
    def outbox(self) -> Path:
        return self.lib / "outbox"

    @property
    def cookbooks(self) -> Path:
        return self.lib / "cookbooks"

    @property
    def chef_root(self) -> Path:
        """The one root of everything that Chef reads and writes."""
        return self.lib / "chef"

    @property
    def facts_folders(self) -> Tuple[Path, Path]:
        """Custom facts: the operator's, then the recipes'."""
        return self.etc / "facts.d", self.lib / "facts.d"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def _texts(value: Any) -> Tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("must be a list of texts")
    return tuple(value)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or float(value) < 0:
        raise ValueError("must be a number of seconds")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or int(value) < 1:
        raise ValueError("must be a positive whole number")
    return int(value)


def _flag(value: Any) -> bool:
    known = {True: True, False: False, "true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    if value not in known:
        raise ValueError("must be true or false")
    return known[value]


def _license(value: Any) -> str:
    if value not in ("", "accept", "accept-silent", "accept-no-persist"):
        raise ValueError("must be accept, accept-silent or accept-no-persist")
    return str(value)


def _sources(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ValueError("must be a map of collectors to maps of their keys")
    return value


SHAPES: Mapping[str, Callable[[Any], Any]] = {
    "collectors": _texts,
    "sources": _sources,
    "polling_interval": _seconds,
    "min_polling_interval": _seconds,
    "keep_alive": _seconds,
    "hooks": _texts,
    "chef_home": lambda value: Path(_text(value)),
    "chef_license": _license,
    "chef_path": _text,
    "allow_cheffile": _flag,
    "retry_min": _seconds,
    "retry_max": _seconds,
    "keep_runs": _count,
    "keep_bytes": _count,
}


def apply(settings: Settings, values: Mapping[str, Any], where: str) -> Settings:
    """Settings with the values over them; SettingsError names the place, the key and the known keys."""
    shaped = {}
    for key, value in values.items():
        if key not in SHAPES:
            raise SettingsError(f"{where}: unknown setting {key!r}; known are: {', '.join(sorted(SHAPES))}")
        try:
            shaped[key] = SHAPES[key](value)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{where}: {key}: {error}, not {value!r}; correct the setting") from error
    return replace(settings, **shaped)


def read_file(path: Path) -> Mapping[str, Any]:
    """A settings file's map; SettingsError names the line where it is not YAML."""
    import yaml  # here: an agent without settings files never loads it

    try:
        document = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise SettingsError(f"{path}: {line}not YAML: {getattr(error, 'problem', error)}; correct it") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must be a map of settings, not {type(document).__name__}; correct it")
    return document


def load(environment: Mapping[str, str], root: str = "", **flags: Any) -> Settings:
    """Settings for this process; `root` and `flags` are the command line's (None: not given)."""
    settings = Settings(root=Path(root or environment.get("SWAGENT_ROOT") or "/").absolute())
    main = settings.etc / "swagent.yaml"
    folder = settings.etc / "conf.d"
    for path in [main, *(sorted(folder.glob("*.yaml")) if folder.is_dir() else [])]:
        if path.exists():
            settings = apply(settings, read_file(path), str(path))
    from_environment = {
        key: environment["SWAGENT_" + key.upper()]
        for key in SHAPES
        if key != "sources" and "SWAGENT_" + key.upper() in environment
    }
    settings = apply(settings, from_environment, "environment SWAGENT_*")
    settings = apply(settings, {key: value for key, value in flags.items() if value is not None}, "command line")
    files = tuple(filter(None, environment.get("OS_CONFIG_FILES", "").split(os.pathsep)))
    return replace(settings, config_files=files) if files else settings
