"""The application behind the verbs: cliff, without entry points to scan and without a pager."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any, Callable, Sequence

from cliff import app, commandmanager, complete

from swagent import __version__
from swagent.commands import VERBS, add_global_options, bootstrap, run
from swagent.commands.verb import Verb
from swagent.errors import UsageError
from swagent.settings import Settings, load

DESCRIPTION = "Turns what the whole Heat stack knows into what this machine is."
EPILOG = "`swagent help VERB` tells about one verb, with an example."


@dataclass(frozen=True)
class Loader:
    """A verb's class, imported when it is asked for; the shape that cliff wants of an entry point."""

    place: str

    def load(self) -> Callable[..., Any]:
        module, name = self.place.split(":")
        found: Callable[..., Any] = getattr(importlib.import_module(f"swagent.commands.{module}"), name)
        return found


class Verbs(commandmanager.CommandManager):  # type: ignore[misc]
    """The verbs of VERBS. cliff would read the entry points of every installed package, and keep a cache in $HOME."""

    def _load_commands(self) -> None:
        self.commands.update({name: Loader(place) for name, place in VERBS.items()})

    def add_command(self, name: str, command_class: Any) -> None:
        """cliff's own `help` and `complete` give way to ours."""


class App(app.App):  # type: ignore[misc]
    """One verb per process; `settings` are read when a verb runs, `note` tells a person something on stderr."""

    NAME = "swagent"

    def __init__(self) -> None:
        super().__init__(DESCRIPTION, __version__, Verbs("swagent.commands"), deferred_help=True)
        self.settings = Settings()

    def build_option_parser(self, description: str, version: str, argparse_kwargs: Any = None) -> Any:
        parser = argparse.ArgumentParser(
            prog="swagent",
            description=description,
            epilog=EPILOG,
            usage="swagent [--root DIR] [-q | -v] [--debug] VERB ...",
            add_help=False,
            allow_abbrev=False,  # an abbreviation would take a verb's own options away from it
        )
        add_global_options(parser)
        parser.add_argument(
            "-h", "--help", dest="deferred_help", action="store_true", help="help of swagent or of a verb"
        )
        return parser

    def configure_logging(self) -> None:
        """Libraries stay silent below a warning, unless -v asks twice."""
        if self.options.verbose > 1:
            logging.basicConfig(level=logging.DEBUG, format="swagent: %(name)s: %(message)s")

    def print_help_if_requested(self) -> None:
        if self.options.deferred_help:
            self.print_help(self.stdout)
            raise SystemExit(0)

    def print_help(self, stream: Any) -> None:
        """The options and one line per verb."""
        self.parser.print_help(stream)
        stream.write("\nverbs:\n")
        for name, loader in self.command_manager:
            verb = loader.load()(self, None, cmd_name=name)
            stream.write(f"  {name:<13} {verb.get_description().splitlines()[0]}\n")

    def interact(self) -> int:
        """No verb: say what there is (cliff would open a shell)."""
        self.print_help(self.stderr)
        return UsageError.exit_code

    def run_subcommand(self, argv: Sequence[str]) -> int:
        """Run the verb; errors pass on to __main__, which knows their exit codes."""
        if argv[0] == "help":  # also `VERB ... --help`, which cliff turns into this: its options are not those of help
            argv = [word for word in argv if not word.startswith("-")]
        found, name, rest = self.find(argv)
        if getattr(found, "reads_settings", True):
            self.settings = load(os.environ, root=self.options.root)
        command = found(self, self.options, cmd_name=name)
        return int(command.run(command.get_parser(f"swagent {name}").parse_args(rest)))

    def find(self, words: Sequence[str]) -> tuple[Callable[..., Any], str, Sequence[str]]:
        try:
            found: tuple[Callable[..., Any], str, Sequence[str]] = self.command_manager.find_command(words)
        except ValueError as error:
            near = ", ".join(self.get_fuzzy_matches(words[0])) if words else ""
            meant = f"did you mean {near}?" if near else "`swagent help` lists them"
            raise UsageError(f"there is no verb {' '.join(words)!r}; {meant}") from error
        return found

    def note(self, text: str) -> None:
        """A word for a person, on stderr: data goes to stdout alone."""
        if not self.options.quiet:
            print(f"swagent: {text}", file=sys.stderr)


class Run(Verb):
    __doc__ = run.DESCRIPTION
    example = run.EXAMPLE

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        run.add_arguments(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        return run.run(self.app.options, parsed_args)


class Bootstrap(Verb):
    __doc__ = bootstrap.DESCRIPTION
    example = bootstrap.EXAMPLE

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        bootstrap.add_arguments(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        return bootstrap.run(self.app.options, parsed_args)


class Help(Verb):
    """What swagent or one verb does, with its options and an example."""

    example = "swagent help context diff"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("verb", nargs="*", metavar="VERB", help="a verb; default: all in short")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if not parsed_args.verb:
            self.app.print_help(self.app.stdout)
            return 0
        found, name, _ = self.app.find(parsed_args.verb)
        found(self.app, self.app_args, cmd_name=name).get_parser(f"swagent {name}").print_help(self.app.stdout)
        return 0


class Complete(Verb):
    """The completion of verbs and options, for bash."""

    example = "swagent complete > /etc/bash_completion.d/swagent"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--name", default="swagent", help="the command to complete; default: swagent")

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        words = complete.CompleteDictionary()
        for name, loader in self.app.command_manager:
            parser = loader.load()(self.app, self.app_args, cmd_name=name).get_parser(f"swagent {name}")
            words.add_command(name.split(), parser._get_optional_actions())
        complete.CompleteBash(parsed_args.name, self.app.stdout).write(words.get_commands(), words.get_data())
        return 0
