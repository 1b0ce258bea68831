"""The data bag `directory`: one file per member in one folder, renamed into place; on a shared file system too.

swagent: {data_bag: {store: directory, path: /srv/bag}}
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Mapping, Tuple

from swagent import files
from swagent.model import Item


class DirectoryBag:
    """write(own item), read() → all items; OSError where the folder cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Tuple[Tuple[int, int, int], Item]] = {}

    def write(self, item: Item) -> None:
        files.write_json(self.path / f"{item.member}.json", item.to_document())

    def read(self) -> Tuple[Mapping[str, Item], Tuple[str, ...]]:
        """Every member's item by name, and what could not be read; files that did not move are not read again."""
        known: dict[str, Tuple[Tuple[int, int, int], Item]] = {}
        problems = []
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return {}, ()
        for name in names:
            if name.startswith(".") or not name.endswith(".json"):
                continue
            try:
                with open(self.path / name, "rb") as stream:
                    status = os.fstat(stream.fileno())
                    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                    before = self._known.get(name)
                    if before is not None and before[0] == stamp:
                        known[name] = before
                        continue
                    item = Item.parse(json.loads(stream.read()))
                if item.member != name[: -len(".json")]:
                    raise ValueError(f"the item of {item.member}")
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                problems.append(f"data bag {self.path}: {name}: no item ({error!r}); its last one stays in use")
                if name in self._known:
                    known[name] = self._known[name]
                continue
            known[name] = (stamp, item)
        self._known = known
        return {item.member: item for _, item in known.values()}, tuple(problems)
