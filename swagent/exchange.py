"""Exchange: put the own item into the data bag if it changed, read everybody's.

To add a store: a file in data_bags/ with write(item) and read(), and its line in STORES.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Protocol, Tuple

from swagent import files
from swagent.data_bags.directory import DirectoryBag
from swagent.errors import DocumentError
from swagent.model import Item
from swagent.settings import Settings


class DataBag(Protocol):
    """One item per member, written only by its owner."""

    def write(self, item: Item) -> None:
        ...

    def read(self) -> Tuple[Mapping[str, Item], Tuple[str, ...]]:
        ...


def open_directory(options: Mapping[str, Any]) -> DataBag:
    path = options.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise DocumentError("swagent.data_bag", "path", f"no absolute path: {path!r}", "name the folder of the items")
    return DirectoryBag(Path(path))


STORES: Mapping[str, Callable[[Mapping[str, Any]], DataBag]] = {"directory": open_directory}


@dataclass(frozen=True)
class Exchanged:
    """items: everybody's, the own one included; replaced: another machine bears this name and came later."""

    items: Mapping[str, Item]
    own: Item
    published: bool = False
    replaced: str = ""
    suspects: Tuple[str, ...] = ()
    problems: Tuple[str, ...] = ()


def yields(own: Item, stored: Item) -> bool:
    """Whether the own item gives way to another instance's: to a higher epoch, or on equal ones as the greater."""
    if stored.instance == own.instance:
        return False
    return stored.epoch > own.epoch or (stored.epoch == own.epoch and own.instance > stored.instance)


def stamped(own: Item, stored: Item | None) -> Item:
    """The own item with its epoch and the number of its last write; another instance's item is overtaken once."""
    epoch = own.epoch
    if not epoch:
        epoch = 1 if stored is None else stored.epoch + (stored.instance != own.instance)
    seq = own.seq if stored is None or stored.instance != own.instance else max(own.seq, stored.seq)
    return replace(own, epoch=epoch, seq=seq)


def same(one: Item, other: Item) -> bool:
    """Equal but for the number of the write."""
    return replace(one, seq=0) == replace(other, seq=0)


class Exchange:
    """Remembers what was last read and when each item last moved, on this machine's monotonic clock."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._options: Mapping[str, Any] | None = None
        self._bag: DataBag | None = None
        self._heard: dict[str, Tuple[int, int, float]] = {}
        self._written = float("-inf")
        self._saved: Mapping[str, Item] = {}
        self.items: Mapping[str, Item] = self._load()

    def _load(self) -> Mapping[str, Item]:
        try:
            document = files.read_json(self.settings.members_file)
            items = {name: Item.parse(each) for name, each in document.items()}
        except FileNotFoundError:
            return {}
        except (DocumentError, AttributeError, KeyError, TypeError, ValueError):
            files.set_aside(self.settings.members_file)
            return {}
        self._saved = items
        return items

    def _open(self, options: Mapping[str, Any]) -> DataBag | None:
        if options != self._options:
            self._bag = None
            if options:
                store = str(options.get("store", ""))
                if store not in STORES:
                    raise DocumentError(
                        "swagent.data_bag",
                        "store",
                        f"unknown store {store!r}",
                        f"known are: {', '.join(sorted(STORES))}",
                    )
                self._bag = STORES[store](options)
            self._options = dict(options)
        return self._bag

    def exchange(self, options: Mapping[str, Any], own: Item, now: float, observe: bool = False) -> Exchanged:
        """Write the own item if it changed or is due to say that it lives; read all. `observe` writes nothing.

        A bag that fails leaves the last items in use and is named; the own item stays unpublished and is tried again.
        """
        try:
            bag = self._open(options)
        except DocumentError as error:
            return Exchanged({own.member: own}, own, problems=(str(error),))
        if bag is None:
            own = replace(stamped(own, None), seq=max(own.seq, 1))
            return self._remember(Exchanged({own.member: own}, own))
        problems: Tuple[str, ...] = ()
        published = False
        try:
            items, problems = bag.read()
            stored = items.get(own.member)
            own = stamped(own, stored)
            if stored is not None and yields(own, stored):
                said = f"{own.member} is now instance {stored.instance} (epoch {stored.epoch})"
                return self._remember(Exchanged(items, own, replaced=said, problems=problems))
            due = stored is None or not same(own, stored) or now - self._written >= self.settings.keep_alive
            if due and not observe:
                own = replace(own, seq=own.seq + 1)
                bag.write(own)
                self._written, published = now, True
            items = {**items, own.member: own}
        except OSError as error:
            said = f"data bag {options.get('path')}: {error.strerror or error}; the last items stay in use"
            return Exchanged({**self.items, own.member: own}, own, problems=(*problems, said))
        return self._remember(
            Exchanged(items, own, published, suspects=self._suspects(items, own.member, now), problems=problems)
        )

    def _remember(self, exchanged: Exchanged) -> Exchanged:
        self.items = exchanged.items
        if exchanged.items != self._saved:
            files.write_json(
                self.settings.members_file, {name: item.to_document() for name, item in exchanged.items.items()}
            )
            self._saved = exchanged.items
        return exchanged

    def _suspects(self, items: Mapping[str, Item], member: str, now: float) -> Tuple[str, ...]:
        """Members silent for three keep-alives since the last change that this reader saw; no other clock counts."""
        for name, item in items.items():
            heard = self._heard.get(name)
            if heard is None or heard[:2] != (item.epoch, item.seq):
                self._heard[name] = (item.epoch, item.seq, now)
        return tuple(
            sorted(
                name
                for name, item in items.items()
                if name != member and not item.left and now - self._heard[name][2] > 3 * self.settings.keep_alive
            )
        )
