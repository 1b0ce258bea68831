"""What verbs have in common: help with an example, output formats, and what a person reads by default.

A verb that shows one thing gives `document(arguments)` (its JSON) and `text(document)` (its lines); a verb that lists
gives `rows(arguments)`: maps with the keys of `columns`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import time
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Mapping, Sequence

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

LIST_FORMATS = {
    "table": "swagent.commands.verb:Table",
    "json": "cliff.formatters.json_format:JSONFormatter",
    "yaml": "cliff.formatters.yaml_format:YAMLFormatter",
    "value": "cliff.formatters.value:ValueFormatter",
    "csv": "cliff.formatters.commaseparated:CSVLister",
}
# `text` is what the verb itself says to a person.
SHOW_FORMATS = {
    "text": "cliff.formatters.value:ValueFormatter",
    "json": "cliff.formatters.json_format:JSONFormatter",
    "yaml": "cliff.formatters.yaml_format:YAMLFormatter",
    "value": "cliff.formatters.value:ValueFormatter",
    "table": "swagent.commands.verb:Table",
    "shell": "cliff.formatters.shell:ShellFormatter",
}
# Columns that hold seconds since the epoch.
TIMES = ("started", "ended")


@dataclass(frozen=True)
class Formatter:
    """One output format, in the shape that cliff wants of a plug-in; `obj` also adds the format's own options."""

    name: str
    place: str

    @property
    def obj(self) -> Any:
        module, kind = self.place.split(":")
        return getattr(importlib.import_module(module), kind)()


class Table:
    """cliff's table with its options, without prettytable in a process that draws none."""

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        width = int(os.environ.get("CLIFF_MAX_TERM_WIDTH", 0))
        group = parser.add_argument_group("table formatter")
        group.add_argument("--max-width", metavar="N", type=int, default=width, help="at most N characters wide")
        group.add_argument("--fit-width", action="store_true", help="as wide as the terminal")
        group.add_argument("--print-empty", action="store_true", help="a table also where there is no data")

    def emit_list(self, *arguments: Any) -> None:
        from cliff.formatters.table import TableFormatter

        TableFormatter().emit_list(*arguments)

    def emit_one(self, *arguments: Any) -> None:
        from cliff.formatters.table import TableFormatter

        TableFormatter().emit_one(*arguments)


class Formatters:
    """An explicit list of formats in place of a scan for entry points, which takes longer than the verb itself."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self.kinds = {name: Formatter(name, place) for name, place in kinds.items()}

    def names(self) -> list[str]:
        return list(self.kinds)

    def __iter__(self) -> Iterator[Formatter]:
        # cliff asks each for its options; formats that are one class add theirs once.
        return iter({each.place: each for each in self.kinds.values()}.values())

    def __getitem__(self, name: str) -> Formatter:
        return self.kinds[name]


class Verb(Command):  # type: ignore[misc]
    """A verb of swagent. The class's docstring is its help, `example` the command line below it."""

    example = ""

    def _load_hooks(self) -> None:
        self._hooks: Sequence[Any] = ()  # nobody extends our verbs, and looking for those who do takes 50 ms

    def get_epilog(self) -> str:
        return f"Example:\n  {self.example}"

    def get_description(self) -> str:
        return inspect.cleandoc(type(self).__doc__ or "")

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        self.add_arguments(parser)
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The verb's own words and options."""


class Show(Verb, ShowOne):  # type: ignore[misc]
    """A verb that shows one document: `-f text` (default) as lines, else by cliff's formats."""

    status = 0

    @property
    def formatter_default(self) -> str:
        return "text"

    def _load_formatter_plugins(self) -> Formatters:
        return Formatters(SHOW_FORMATS)

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        raise NotImplementedError

    def text(self, document: Mapping[str, Any]) -> Iterable[str]:
        raise NotImplementedError

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        document = self.document(parsed_args)
        return tuple(document), tuple(document.values())

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Any, data: Any) -> int:
        document = dict(zip(column_names, data))
        if parsed_args.formatter == "text" and not parsed_args.columns:
            for line in self.text(document):
                self.app.stdout.write(line + "\n")
        else:
            values = [formatted(value, name, parsed_args.formatter) for name, value in document.items()]
            super().produce_output(parsed_args, column_names, values)
        return 0

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return self.status


class Tree(Show):
    """A verb that shows a tree: JSON and YAML are the value itself, text is one line per key."""

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Any, data: Any) -> int:
        value = dict(zip(column_names, data))["value"]
        if parsed_args.formatter == "json":
            self.app.stdout.write(json.dumps(value, indent=None if parsed_args.noindent else 2) + "\n")
        elif parsed_args.formatter == "yaml":
            import yaml

            yaml.safe_dump(value, self.app.stdout, default_flow_style=False, allow_unicode=True)
        else:
            super().produce_output(parsed_args, column_names, data)
        return 0


class Rows(Verb, Lister):  # type: ignore[misc]
    """A verb that lists: a table by default, JSON as a list of maps with the keys of `columns`."""

    columns: Sequence[str] = ()
    # Columns that only the machine formats and -c show: a table must fit a terminal.
    wide: Sequence[str] = ()

    def _load_formatter_plugins(self) -> Formatters:
        return Formatters(LIST_FORMATS)

    def rows(self, arguments: argparse.Namespace) -> Iterable[Mapping[str, Any]]:
        raise NotImplementedError

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        names, formatter = tuple(self.columns), parsed_args.formatter
        if formatter in ("json", "yaml") or parsed_args.columns:
            names += tuple(self.wide)
        rows = self.rows(parsed_args)
        return names, [tuple(formatted(row[name], name, formatter) for name in names) for row in rows]


def formatted(value: Any, name: str, formatter: str) -> Any:
    """A value for an output format: JSON and YAML get it as it is, a table text, the formats of scripts plain text."""
    if formatter in ("json", "yaml"):
        return value
    if formatter in ("table", "text"):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and name not in TIMES
        return value if is_number and name != "seconds" else shown(value, name)
    if value is None:
        return ""
    if value == [] or value == ():
        return ""
    return shown(value) if isinstance(value, (bool, list, tuple, Mapping)) else value


def shown(value: Any, name: str = "") -> str:
    """A value as a person reads it in a line or a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in TIMES:
        return clock(value)
    if name == "seconds":
        return f"{value:.1f}"
    if isinstance(value, (list, tuple, Mapping)) and not value:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value))
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def clock(moment: float) -> str:
    """Seconds since the epoch as local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def span(seconds: float) -> str:
    """A duration in its largest fitting unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
