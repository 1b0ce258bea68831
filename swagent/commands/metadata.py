"""`swagent metadata`: what Heat said last, per source, with secrets replaced."""

from __future__ import annotations

import argparse
import json
from typing import Any, Iterator, Mapping

from swagent.commands import stored
from swagent.commands.verb import Show
from swagent.errors import SwagentError
from swagent.model import Metadata as Collected
from swagent.scrub import CREDENTIAL_NAME, Scrubber, is_secret_name, secrets_of
from swagent.settings import Settings


def hidden(value: Any, named: frozenset[str] = frozenset()) -> Any:
    """The value with secrets replaced by name: a short one is not found by its value. named: option `secrets`."""
    if isinstance(value, Mapping):
        options = value.get("options")
        more = options.get("secrets") if isinstance(options, Mapping) else None
        if isinstance(more, list):
            named = named | frozenset(map(str, more))
        name = value.get("name")
        if isinstance(name, str) and "value" in value and (name in named or is_secret_name(name)):
            # Heat sends an input's default beside its value.
            return {key: mark(name, each) if key in ("value", "default") else each for key, each in value.items()}
        return {
            key: mark(str(key), each)
            if isinstance(each, (str, int)) and CREDENTIAL_NAME.search(str(key))
            else hidden(each, named)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [hidden(each, named) for each in value]
    return value


def mark(name: str, value: Any) -> Any:
    return f"<secret:{name}>" if value not in (None, "") else value


def shown_sources(metadata: Collected, settings: Settings, merged: bool) -> Mapping[str, Any]:
    """{source: content} without secrets; the key is `merged` for all of them as one."""
    scrubber = Scrubber(secrets_of(metadata, settings.sources))
    sources = {"merged": metadata.content} if merged else {each.source: each.content for each in metadata.documents}
    return {name: scrubber.value(hidden(content)) for name, content in sources.items()}


class Metadata(Show):
    """What Heat said last, as each collector kept it; secrets are replaced unless --secrets asks for them.

    With SOURCE only that one; --merged shows all of them as one document, which is what is applied. What is wrong
    with a source is told as a problem."""

    example = "swagent metadata heat"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("source", nargs="?", metavar="SOURCE", help="a collector's name; default: all")
        parser.add_argument("--merged", action="store_true", help="all sources as one document")
        parser.add_argument("--secrets", action="store_true", help="show secrets too")

    def document(self, arguments: argparse.Namespace) -> Mapping[str, Any]:
        from swagent.collect import saved

        settings: Settings = self.app.settings
        stored.check_access(settings)
        metadata = saved(settings)
        if arguments.secrets and arguments.merged:
            sources: Mapping[str, Any] = {"merged": metadata.content}
        elif arguments.secrets:
            sources = {each.source: each.content for each in metadata.documents}
        else:
            sources = shown_sources(metadata, settings, arguments.merged)
        if arguments.source is not None:
            if arguments.source not in sources:
                there = ", ".join(sources) or "none has been collected yet"
                raise SwagentError(f"no document of {arguments.source!r}; there is: {there}")
            sources = {arguments.source: sources[arguments.source]}
        said = (*metadata.problems, *stored.read_status(settings).get("problems", ()))
        return {"sources": sources, "problems": list(dict.fromkeys(said))}

    def text(self, document: Mapping[str, Any]) -> Iterator[str]:
        for name, content in document["sources"].items():
            yield f"# {name}"
            yield json.dumps(content, indent=2, ensure_ascii=False)
        if not document["sources"]:
            self.app.note("nothing has been collected yet: swagent run --once, or swagent config check")
        for problem in document["problems"]:
            self.app.note(problem)
