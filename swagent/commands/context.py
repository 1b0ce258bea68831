"""`swagent context`, `context diff`: the compiled context, where each key came from, what changed between runs."""

from __future__ import annotations

import argparse
from typing import Any, Iterator, Mapping, Sequence

from swagent import context, runs
from swagent.commands import stored
from swagent.commands.verb import Rows, Tree, shown
from swagent.errors import SwagentError
from swagent.settings import Settings


def whole(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """node['swagent'] and the parameters in one tree, as `origins` names its paths."""
    return {**saved["swagent"], "parameters": saved.get("parameters", {})}


def lookup(document: Any, path: str) -> Any:
    """The value at a dotted path; names may hold dots themselves. SwagentError names the part that is there."""
    value, rest, done = document, path, ""
    while rest:
        names: Sequence[str] = ()
        if isinstance(value, Mapping):
            # The longest first: a member may be called head-0.example.
            names = sorted((str(name) for name in value if is_prefix(str(name), rest)), key=len, reverse=True)
        elif isinstance(value, list):
            names = [first for first in [rest.partition(".")[0]] if first.isdigit() and int(first) < len(value)]
        if not names:
            there = ", ".join(map(str, value)) if isinstance(value, Mapping) else shown(value)
            raise SwagentError(f"no {path!r} in the context; {done or 'it'} has: {there or 'nothing'}")
        value = value[int(names[0])] if isinstance(value, list) else value[names[0]]
        done = f"{done}.{names[0]}" if done else names[0]
        rest = rest[len(names[0]) + 1 :]
    return value


def is_prefix(name: str, path: str) -> bool:
    return path == name or path.startswith(name + ".")


def lines(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of each leaf."""
    yield from context.flatten(value, path)


class Context(Tree):
    """The compiled context: parameters and everybody's facts, as recipes see them in node['swagent'].

    PATH is dotted: members.head-0.ip. Secrets are marks that only tell whether two are the same. JSON is the value
    at PATH, with --origin a list of {path, value, origin}."""

    example = "swagent context members.head-0 --origin"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("path", nargs="?", default="", metavar="PATH", help="a dotted path; default: all of it")
        parser.add_argument("--at", type=int, metavar="RUN", help="as run number RUN was given it; default: the newest")
        parser.add_argument("--origin", action="store_true", help="where each key came from")

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        self.path, self.origin = arguments.path, arguments.origin
        settings = self.app.settings
        stored.check_access(settings)
        saved = context_of(settings, arguments.at) if arguments.at is not None else stored.newest_context(settings)
        value = lookup(whole(saved), self.path)
        if self.origin:
            origins = saved.get("origins", {})
            value = [
                {"path": path, "value": each, "origin": context.origin_of(origins, path)}
                for path, each in lines(value, self.path)
            ]
        return {"value": value}

    def text(self, document: Mapping[str, Any]) -> Iterator[str]:
        value = document["value"]
        if self.origin:
            yield from (f"{each['path']} = {shown(each['value'])}    [{each['origin']}]" for each in value)
        elif not isinstance(value, Mapping):
            yield shown(value)  # one value alone, for `ip=$(swagent context members.head-0.ip)`
        else:
            yield from (f"{path} = {shown(each)}" for path, each in lines(value, self.path))


def context_of(settings: Settings, number: int) -> Mapping[str, Any]:
    """The context that a run was given."""
    record = stored.read_run(settings, number)
    return stored.read_context(settings, str(record.get("context") or ""), f"run {number}")


def last_two(settings: Settings) -> tuple[int, int]:
    """The two newest runs whose contexts differ, older first; SwagentError where there are none."""
    numbers = runs.numbers(settings)
    newest = stored.last_run(settings)
    digest = stored.read_run(settings, newest).get("context")
    for number in reversed(numbers[:-1]):
        other = (runs.read(settings, number) or {}).get("context")
        if other and other != digest:
            return number, newest
    raise SwagentError(
        "all recorded runs had the same context; `swagent context diff RUN` compares one with the newest"
    )


class Diff(Rows):
    """What changed between two contexts: the keys that start runs, before, after and where they came from.

    A and B are run numbers. Without any: the last two runs whose contexts differ; with one: that run against the
    newest context."""

    example = "swagent context diff 3 7"
    columns = ("path", "kind", "before", "after", "origin")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("a", nargs="?", type=int, metavar="A", help="the earlier run")
        parser.add_argument("b", nargs="?", type=int, metavar="B", help="the later run")
        parser.add_argument(
            "--all", action="store_true", help="also states, events and departed members, which start no run"
        )

    def rows(self, arguments: argparse.Namespace) -> Iterator[Mapping[str, Any]]:
        settings = self.app.settings
        stored.check_access(settings)
        a, b = (arguments.a, arguments.b) if arguments.a is not None else last_two(settings)
        before = context_of(settings, a)
        after = context_of(settings, b) if b is not None else stored.newest_context(settings)
        self.app.note(f"run {a} against {'the newest context' if b is None else f'run {b}'}")
        old, new = whole(before), whole(after)
        if not arguments.all:
            old, new = context.digested(old), context.digested(new)
        for change in context.diff(old, new, after.get("origins", {})):
            yield change.to_document()
