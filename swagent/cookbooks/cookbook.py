"""A cookbook as its metadata describes it: read without running it, mended where librarian-chef would fail on it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Mapping, Sequence, Tuple

from swagent import files
from swagent.errors import SwagentError
from swagent.model import Json

# In the order in which librarian-chef takes them.
METADATA = ("metadata.json", "metadata.rb")
# `all: true` looks this deep; deeper are only fixtures.
DEPTH = 8
_LITERAL = r"""\s*\(?\s*(?:'([^'\n]*)'|"([^"\n#]*)")"""
_KEYWORD = re.compile(rf"^[ \t]*(name|version){_LITERAL}", re.MULTILINE)
_DEPENDS = re.compile(rf"^[ \t]*depends{_LITERAL}([^\n]*)", re.MULTILINE)
# The one idiom of Ruby in metadata.rb that is common enough to read: %w(a b).each { |name| depends name }
_LOOP = re.compile(r"%w\s*[(\[{]([^)\]}]*)[)\]}]\.each\s*(?:do|\{)\s*\|\s*(\w+)\s*\|\s*depends[\s(]+\2\b")
# Words by which metadata.rb looks beyond itself; its long description may, that changes nothing.
_OUTSIDE = re.compile(
    rb"\b(File|IO|Dir|ENV|Time|Date|Pathname|Kernel|require|require_relative|load|\w*eval|open)\b|`|%x"
)
_LONG = re.compile(rb"^\s*long_description\b[^\n]*$", re.MULTILINE)
_QUOTED = re.compile(r"""'([^'\n]*)'|"([^"\n#]*)\"""")


@dataclass(frozen=True)
class Cookbook:
    """name: as its metadata says, empty where it does not; dependencies: {name: constraint, empty for any version}."""

    name: str
    version: str = "0.0.0"
    dependencies: Mapping[str, str] = field(default_factory=dict)
    place: str = ""  # where it is from, for messages


def parse_json(content: bytes) -> Cookbook:
    """The cookbook of a metadata.json; ValueError, TypeError where it is none."""
    document = json.loads(content)
    if not isinstance(document, dict):
        raise TypeError("is no map")
    wanted = document.get("dependencies") or {}
    if not isinstance(wanted, dict):
        raise TypeError("its dependencies are no map")
    return Cookbook(
        name=str(document.get("name") or ""),
        version=str(document.get("version") or "0.0.0"),
        dependencies={str(name): _joined(constraint) for name, constraint in wanted.items()},
    )


def parse_ruby(text: str) -> Cookbook:
    """What metadata.rb says in so many words; what its Ruby computes is not seen (librarian-chef sees it)."""
    said = {keyword: single or double for keyword, single, double in reversed(_KEYWORD.findall(text))}
    wanted = {}
    for single, double, rest in _DEPENDS.findall(text):
        wanted[single or double] = ", ".join(one or other for one, other in _QUOTED.findall(rest.partition("#")[0]))
    for names, _ in _LOOP.findall(text):
        wanted.update({name: "" for name in names.split()})
    return Cookbook(name=said.get("name", ""), version=said.get("version", "0.0.0"), dependencies=wanted)


def _joined(constraint: Json) -> str:
    parts = constraint if isinstance(constraint, list) else [constraint]
    return ", ".join(str(part) for part in parts if part and str(part) != ">= 0.0.0")


def satisfied(version: str, constraint: str) -> bool:
    """Whether a version meets a constraint ("~> 1.2, != 1.3") as RubyGems counts; unreadable ones are not refused."""
    return all(_meets(version, part.strip()) for part in constraint.split(",") if part.strip())


def _meets(version: str, constraint: str) -> bool:
    match = re.fullmatch(r"(=|!=|>=|<=|>|<|~>)?\s*([0-9]+(?:\.[0-9]+)*)", constraint)
    if not match or not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        return True
    operator, bound = match.group(1) or "=", [int(part) for part in match.group(2).split(".")]
    have = [int(part) for part in version.split(".")]
    if operator == "~>":
        upper = bound[:-1] if len(bound) > 1 else bound
        return _padded(have) >= _padded(bound) and have[: len(upper)] <= [*upper[:-1], upper[-1]]
    left, right = _padded(have), _padded(bound)
    return {
        "=": left == right,
        "!=": left != right,
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
    }[operator]


def _padded(parts: Sequence[int]) -> list[int]:
    return [*parts, *[0] * (8 - len(parts))]


def missing(known: Sequence[Cookbook], wanted: Sequence[Tuple[str, str, str]]) -> Tuple[str, ...]:
    """Sentences on what cannot be met: dependencies that no cookbook is, versions that none has, circles.

    known: every version of every cookbook that was found; wanted: (who, name, constraint) beside the cookbooks' own.
    """
    demands = [*wanted]
    for cookbook in known:
        who = f"cookbook {cookbook.name} {cookbook.version} ({cookbook.place})"
        demands += [(who, name, constraint) for name, constraint in cookbook.dependencies.items()]
    sentences = []
    names = {cookbook.name for cookbook in known}
    for who, name, constraint in demands:
        if name not in names:
            sentences.append(f"{who} wants {name}{_spaced(constraint)}, which is in none of the sources")
    for name in sorted(names):
        versions = [cookbook.version for cookbook in known if cookbook.name == name]
        asked = [(who, constraint) for who, wanted_name, constraint in demands if wanted_name == name and constraint]
        if not any(all(satisfied(version, constraint) for _, constraint in asked) for version in versions):
            asking = " and ".join(f"{who} wants {name} {constraint}" for who, constraint in asked)
            places = sorted({cookbook.place for cookbook in known if cookbook.name == name})
            sentences.append(f"{asking}, but there is {', '.join(versions)} ({', '.join(places)})")
    circle = _circle({cookbook.name: list(cookbook.dependencies) for cookbook in known})
    if circle:
        sentences.append(f"cookbooks depend on one another in a circle: {' -> '.join(circle)}")
    return tuple(dict.fromkeys(sentences))


def _spaced(constraint: str) -> str:
    return f" {constraint}" if constraint else ""


def _circle(graph: Mapping[str, Sequence[str]]) -> Tuple[str, ...]:
    """The first circle in the graph, its first name again at its end; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, trail: Tuple[str, ...]) -> Tuple[str, ...]:
        if name in trail:
            return (*trail[trail.index(name) :], name)
        if name in done:
            return ()
        for other in graph.get(name, ()):
            found = walk(other, (*trail, name))
            if found:
                return found
        done.add(name)
        return ()

    for name in graph:
        found = walk(name, ())
        if found:
            return found
    return ()


def read(folder: Path, place: str) -> Cookbook | None:
    """The cookbook in this folder, or None where there is no metadata; SwagentError where that cannot be read."""
    for name in METADATA:
        path = folder / name
        # A link or a pipe instead of a file is nobody's metadata.
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            try:
                found = (
                    parse_json(content) if name == "metadata.json" else parse_ruby(content.decode("utf-8", "replace"))
                )
            except (ValueError, TypeError) as error:
                raise SwagentError(f"{place}: {name} is no cookbook's metadata: {error}; correct it there") from error
            return Cookbook(found.name, found.version, found.dependencies, place)
    return None


def settled(folder: Path) -> bytes:
    """The metadata's bytes, where they alone say what it depends on; empty where its Ruby looks at something else."""
    path = next(path for path in (folder / name for name in METADATA) if path.is_file())
    content = path.read_bytes()
    if path.suffix == ".rb" and _OUTSIDE.search(_LONG.sub(b"", content)):
        return b""
    return content


def find(folder: Path) -> Iterator[Path]:
    """Every cookbook's folder below this one, itself included, sorted; not those inside another cookbook (fixtures)."""
    for top, folders, names in os.walk(folder):
        if set(METADATA) & set(names):
            folders.clear()
            yield Path(top)
            continue
        deep = len(Path(top).relative_to(folder).parts) >= DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))


def mend(folder: Path, name: str) -> None:
    """Add what Chef does without and librarian-chef or newer Chefs do not: `dependencies`, a version, the name."""
    path = folder / "metadata.json"
    if path.is_file():
        document = json.loads(path.read_bytes())
        whole = {"name": name, "version": "0.0.0", "dependencies": {}, **{k: v for k, v in document.items() if v}}
        if whole != document:
            files.write_json(path, whole)
        return
    path = folder / "metadata.rb"
    text = path.read_bytes()
    if not re.search(rb"^\s*name\b", text, re.MULTILINE):
        # A first line may say the encoding, so the name goes to the end.
        files.write(path, text.rstrip(b"\n") + f"\nname '{name}'\n".encode())
