"""Collect: poll every source at its own pace, keep the last good document of each, and give them merged.

A source that fails keeps its last good document, marked stale, also across restarts (collected/<source>.json); one that
lacks its settings is not polled, and that is no fault. Polls come soon after a change and then ever more seldom.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Mapping, Sequence

from swagent import files
from swagent.collectors import KINDS, REMOTE
from swagent.collectors.found import Collector, Found
from swagent.collectors.local import COMMAND_ORDER
from swagent.errors import DocumentError, NotConfigured, SwagentError
from swagent.metadata import check_document, merge
from swagent.model import Document, Json, Metadata
from swagent.openstack import credentials
from swagent.settings import Settings

# Sources that give several documents, each under a name of its own; the cache file of each holds a map of them.
SEVERAL = ("local", "command")
# Share of a delay by which it is made longer or shorter at random, so that a stack's members do not poll in step.
JITTER = 0.1
# The shortest pause that doubles: with a min_polling_interval of 0 it would stay 0.
LEAST = 0.1


def next_delay(previous: float, changed: bool, floor: float, ceiling: float) -> float:
    """Seconds to the next poll: `floor` after a change, else twice the previous delay, never past `ceiling`."""
    return min(floor if changed else max(floor, 2 * previous, LEAST), ceiling)


def jittered(delay: float, chance: float) -> float:
    """The delay moved by at most a tenth of it; `chance` is from 0 to 1."""
    return delay * (1 + JITTER * (2 * chance - 1))


def source_order(settings: Settings) -> tuple[str, ...]:
    """The sources in the order in which they are merged; run by os-collect-config, there is only what it hands over."""
    return ("command",) if settings.config_files else tuple(name for name in settings.collectors if name in KINDS)


def unknown_collectors(settings: Settings) -> list[str]:
    return [
        f"settings: collectors: {name!r} is not known; known are: {', '.join(KINDS)}"
        for name in settings.collectors
        if name not in KINDS
    ]


def mark(before: Sequence[Document], found: Found, name: str) -> tuple[Document, ...]:
    """The documents of a source after a poll: good ones new, those that failed as they were, with the error."""
    good = {title: Document(title, content, error=found.failed.get(title, "")) for title, content in found.documents}
    old = {each.source: each for each in before}
    kept = {
        title: replace(old[title], stale=True, error=error)
        for title, error in found.failed.items()
        if title not in good and title in old
    }
    if name == "command":
        # os-collect-config leaves out a source that fails; its last document stands until the source answers again.
        for title in COMMAND_ORDER:
            if title in old and title not in good and title not in kept:
                kept[title] = replace(old[title], stale=True, error="os-collect-config has nothing of it now")
        rank = {title: place for place, title in enumerate(COMMAND_ORDER)}
        order = {title: rank.get(title, len(rank) + place) for place, title in enumerate([*good, *kept])}
        return tuple(sorted({**kept, **good}.values(), key=lambda each: order[each.source]))
    return tuple(sorted({**kept, **good}.values(), key=lambda each: each.source.encode("utf-8", "surrogateescape")))


def contents(documents: Sequence[Document]) -> dict[str, Json]:
    return {each.source: each.content for each in documents}


@dataclass
class Source:
    """One source on the way: what it gave, what is wrong with it now, and when it is polled again."""

    name: str
    documents: tuple[Document, ...] = ()
    problems: tuple[str, ...] = ()  # what is wrong where no document can carry it
    options: Mapping[str, Any] | None = field(default=None, repr=False)
    collector: Collector | None = None
    configured: bool = True
    delay: float = 0.0
    next_at: float = float("-inf")  # monotonic

    @property
    def fresh(self) -> bool:
        return self.configured and bool(self.documents) and not any(each.stale for each in self.documents)


def cache_file(settings: Settings, name: str) -> Path:
    return settings.collected / f"{name}.json"


def load(settings: Settings, name: str) -> Source:
    """The source as its cache file has it, stale until its first poll; a damaged file is set aside and named."""
    path = cache_file(settings, name)
    try:
        content = files.read_json(path)
        if name in SEVERAL:
            documents = {title: check_document(each, title) for title, each in content.items()}
        else:
            documents = {name: check_document(content, name)}
    except FileNotFoundError:
        return Source(name)
    except (DocumentError, AttributeError) as error:
        try:
            return Source(name, problems=(f"{name}: {error}: set aside as {files.set_aside(path)}",))
        except OSError as second:
            return Source(name, problems=(f"{name}: {error}: cannot set it aside: {second.strerror}",))
    except OSError as error:
        return Source(name, problems=(f"{name}: cannot read {path}: {error.strerror}",))
    return Source(name, tuple(Document(title, each, stale=True) for title, each in documents.items()))


def load_sections(settings: Settings) -> Mapping[str, Json]:
    try:
        sections = files.read_json(credentials.sections_file(settings))
        return sections if isinstance(sections, dict) else {}
    except (OSError, DocumentError):
        return {}  # the documents beside it say the same, unless the newest is bad


def saved_order(settings: Settings) -> tuple[str, ...]:
    """The sources that were collected last: a command is not told that os-collect-config runs the agent."""

    def written(name: str) -> float:
        try:
            return cache_file(settings, name).stat().st_mtime
        except OSError:
            return 0.0

    names = source_order(settings)
    return ("command",) if written("command") > max(map(written, names), default=0.0) else names


def saved(settings: Settings) -> Metadata:
    """What was collected last, from disk alone: for commands that answer without the agent and without the network."""
    documents = []
    problems: list[str] = []
    for name in saved_order(settings):
        path = cache_file(settings, name)
        try:
            content = files.read_json(path)
            for title, each in content.items() if name in SEVERAL else [(name, content)]:
                documents.append(Document(title, check_document(each, title)))
        except FileNotFoundError:
            continue
        except (OSError, DocumentError, AttributeError) as error:
            problems.append(f"{name}: {error}")
    metadata = merge(documents, load_sections(settings))
    return replace(metadata, problems=(*problems, *metadata.problems))


class Collectors:
    """All sources of one agent. Times are monotonic seconds that the caller gives."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sources = [load(settings, name) for name in source_order(settings)]
        self._now = 0.0
        self._unsaved: dict[Path, str] = {}
        self._sections = load_sections(settings)
        self._metadata = Metadata()
        self._combine()

    @property
    def next_poll(self) -> float:
        """When a source is due again."""
        times = [source.next_at for source in self.sources if source.configured]
        return min(times) if times else self._now + self.settings.polling_interval

    def hurry(self, now: float) -> None:
        """Something changed, or was published: look again after the shortest interval."""
        for source in self.sources:
            source.delay = min(self.settings.min_polling_interval, self.settings.polling_interval)
            source.next_at = min(source.next_at, now + jittered(source.delay, random.random()))

    def collect(self, now: float, force: bool = False) -> Metadata:
        """Poll the sources that are due (all, with `force`) and give what all of them say together."""
        self._now = now
        polled: set[str] = set()
        # Twice: a document may bring the credentials of another source, as cfn-init-data does at the first boot.
        for _ in range(2):
            before = len(polled)
            for source in self.sources:
                if self._prepare(source) and source.name not in polled and (force or source.next_at <= now):
                    said = source.documents, source.problems
                    self._poll(source, now)
                    polled.add(source.name)
                    if (source.documents, source.problems) != said:
                        self._combine()
            if len(polled) == before:
                break
        return self._metadata

    def _prepare(self, source: Source) -> bool:
        """Give the source its newest options; whether it can be polled."""
        section = self._metadata.content.get("os-collect-config") or {}
        options = credentials.overlay(self.settings.sources, section, source.name)
        if source.collector is not None and options == source.options:
            return True
        was_configured, source.options, source.collector = source.configured, options, None
        try:
            source.collector = KINDS[source.name](options, self.settings)
            source.configured = True
            source.next_at = float("-inf")
        except NotConfigured as error:
            source.configured = False
            if was_configured:
                source.problems = ()
                source.documents = tuple(replace(each, stale=True, error=str(error)) for each in source.documents)
                self._combine()
        except SwagentError as error:
            source.configured = True
            source.next_at = self._now + self.settings.polling_interval
            self._fail(source, error)
            self._combine()
        return source.collector is not None

    def _poll(self, source: Source, now: float) -> None:
        assert source.collector is not None
        before = contents(source.documents)
        changed = False
        try:
            found = source.collector.collect()
        except NotConfigured:  # its files are gone, on purpose
            found = Found()
        except SwagentError as error:
            self._fail(source, error)
            found = None
        if found is not None:
            source.documents = mark(source.documents, found, source.name)
            known = {each.source for each in source.documents}
            source.problems = tuple(
                f"{source.name}: {words}" for title, words in found.failed.items() if title not in known
            )
            after = contents(source.documents)
            changed = after != before
            if changed:
                self._save(source, after)
        floor, ceiling = self.settings.min_polling_interval, self.settings.polling_interval
        source.delay = next_delay(source.delay, changed, floor, ceiling)
        source.next_at = now + jittered(source.delay, random.random())

    def _fail(self, source: Source, error: SwagentError) -> None:
        """The last good documents stay, marked; without any, the error stands alone."""
        source.documents = tuple(replace(each, stale=True, error=str(error)) for each in source.documents)
        source.problems = () if source.documents else (f"{source.name}: {error}",)

    def _save(self, source: Source, documents: Mapping[str, Json]) -> None:
        path = cache_file(self.settings, source.name)
        if source.name in SEVERAL:
            self._write(path, documents)
        elif source.name in documents:
            self._write(path, documents[source.name])
        else:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, document: Json) -> None:
        """A full disk must not stop the walk: what is in memory is good, and the failure is named."""
        self._unsaved.pop(path, None)
        try:
            files.write_json(path, document)
        except OSError as error:
            self._unsaved[
                path
            ] = f"cannot save {path}: {error.strerror}; after a restart an older document would be used"

    def _retire(self) -> None:
        """Drop what a transport left behind that Heat has replaced: else its old document would hide the new one's."""
        fresh = [source.name for source in self.sources if source.name in REMOTE and source.fresh]
        for source in self.sources:
            if source.name in REMOTE and not source.configured and source.documents and fresh:
                source.documents = ()
                self._save(source, {})

    def _combine(self) -> None:
        """Merge all documents anew and keep the good sections for the time when a bad one comes."""
        self._retire()
        documents = [each for source in self.sources for each in source.documents]
        metadata = merge(documents, self._sections)
        sections = {
            key: metadata.content[key]
            for key in ("swagent", "os-collect-config")
            if metadata.content.get(key) is not None
        }
        if sections != self._sections:
            self._sections = sections
            self._write(credentials.sections_file(self.settings), sections)
        problems = [words for source in self.sources for words in source.problems]
        self._metadata = replace(
            metadata,
            problems=(
                *unknown_collectors(self.settings),
                *problems,
                *metadata.problems,
                *self._unsaved.values(),
            ),
        )
