"""The packages that are installed, as dpkg and rpm know them: {name: version}."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Dict, Mapping, Tuple

from swagent import process
from swagent.errors import CommandFailed
from swagent.facts import Found, fingerprint

# Where rpm keeps its database (the first is newer; often one is a link to the other), and the files that move with it.
RPM_FOLDERS = ("usr/lib/sysimage/rpm", "var/lib/rpm")
RPM_FILES = ("rpmdb.sqlite", "Packages.db", "Packages")
RPM_FORMAT = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{INSTALLTIME}\\n"
RPM_DEADLINE = 20.0  # s
RPM_RETRY = 60.0  # s after a failed query: an rpm that hangs must not hold up every cycle


def parse_dpkg(data: bytes) -> Dict[str, str]:
    """{name: version} of what is installed; packages of a foreign architecture are NAME:ARCHITECTURE, as dpkg has it.

    data: /var/lib/dpkg/status, followed by the journal in /var/lib/dpkg/updates where there is one (a later stanza on
    a package replaces an earlier one). Installed is what dpkg has configured, also with triggers outstanding.
    Format: deb822 as dpkg writes it, dpkg-query(1) for the states.
    """
    found: Dict[Tuple[bytes, bytes], bytes] = {}
    native = b""
    # dpkg writes Package first in each stanza: one split gives the names, and blank lines need no care.
    for stanza in (b"\n" + data).split(b"\nPackage:")[1:]:
        name = stanza[: stanza.find(b"\n")].strip()
        architecture = _field(stanza, b"\nArchitecture:")
        state = _field(stanza, b"\nStatus:")
        version = _field(stanza, b"\nVersion:")
        if version and (state.endswith(b" installed") or b" triggers-" in state):
            found[name, architecture] = version
            if name == b"dpkg":
                native = architecture
        else:
            found.pop((name, architecture), None)
    if not native:  # a status file without dpkg itself: take what most packages are of
        counts: Dict[bytes, int] = {}
        for _, architecture in found:
            if architecture != b"all":
                counts[architecture] = counts.get(architecture, 0) + 1
        native = max(sorted(counts), key=lambda each: counts[each], default=b"")
    plain = (native, b"all", b"")
    named = {
        (name if architecture in plain else name + b":" + architecture).decode("utf-8", "replace"): version
        for (name, architecture), version in found.items()
    }
    return {name: named[name].decode("utf-8", "replace") for name in sorted(named)}


def _field(stanza: bytes, key: bytes) -> bytes:
    """A field's first line, empty without one; `key` with the newline before it and the colon after it."""
    at = stanza.find(key)
    if at < 0:
        return b""
    at += len(key)
    end = stanza.find(b"\n", at)
    return stanza[at : end if end >= 0 else len(stanza)].strip()


def parse_rpm(text: str) -> Dict[str, str]:
    """{name: [epoch:]version-release} from lines of RPM_FORMAT; of several installed (kernels) the one installed last.

    Packages of another architecture than rpm's own are NAME.ARCHITECTURE where the plain name is taken.
    """
    rows = []
    native = ""
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) != 4 or parts[0] == "gpg-pubkey":  # a key that rpm trusts, kept as if it were a package
            continue
        name, version, architecture, installed = parts
        rows.append((int(installed) if installed.isdigit() else 0, version, name, architecture))
        if name == "rpm":
            native = architecture
    versions: Dict[Tuple[str, str], str] = {}
    architectures: Dict[str, set[str]] = {}
    for _, version, name, architecture in sorted(rows):
        versions[name, architecture] = version
        architectures.setdefault(name, set()).add(architecture)
    found = {}
    for (name, architecture), version in versions.items():
        plain = native if native in architectures[name] else min(architectures[name])
        found[name if architecture == plain else f"{name}.{architecture}"] = version
    return dict(sorted(found.items()))


class Packages:
    """Both databases, read again only when they moved; what was read last stands while one cannot be read."""

    def __init__(self, machine: Path = Path("/")) -> None:
        self._status = machine / "var/lib/dpkg/status"
        self._updates = machine / "var/lib/dpkg/updates"
        self._rpm_folders = [machine / folder for folder in RPM_FOLDERS]
        self._dpkg_gate: object = None
        self._rpm_gate: object = None
        self._rpm_retry = 0.0
        self._rpm_problem: Tuple[str, ...] = ()
        self._dpkg: Mapping[str, str] = {}
        self._rpm: Mapping[str, str] = {}
        self._found = Found(source="none")

    def look(self) -> Found:
        if self._look_at_dpkg() | self._look_at_rpm():
            # Debian with alien packages, a Fedora with dpkg for chroots: the first named is the machine's own.
            source = " and ".join(filter(None, ["dpkg" if self._dpkg else "", "rpm" if self._rpm else ""]))
            values = dict(sorted({**self._rpm, **self._dpkg}.items())) if self._rpm and self._dpkg else None
            self._found = Found(values or self._dpkg or self._rpm, source or "none", self._rpm_problem)
        return self._found

    def _look_at_dpkg(self) -> bool:
        gate = (fingerprint(self._status), fingerprint(self._updates))
        if gate == self._dpkg_gate:
            return False
        try:
            data = self._status.read_bytes()
            # dpkg's journal: what a running (or killed) dpkg has done since it last wrote the whole file.
            for path in sorted(self._updates.iterdir()) if self._updates.is_dir() else []:
                if path.name.isdigit():
                    data += b"\n\n" + path.read_bytes()
        except FileNotFoundError:
            if gate[0] is not None:
                return False  # dpkg merged its journal under our eyes: look again in the next cycle
            data = b""
        self._dpkg = parse_dpkg(data)
        self._dpkg_gate = gate
        return True

    def _look_at_rpm(self) -> bool:
        folder = next((each for each in self._rpm_folders if any((each / name).exists() for name in RPM_FILES)), None)
        if folder is None:
            changed = bool(self._rpm or self._rpm_problem)
            self._rpm, self._rpm_problem, self._rpm_gate = {}, (), None
            return changed
        # The write-ahead log too: SQLite moves it into the database only now and then. Without the ctimes: each query
        # by root sets the log's owner to what it is.
        moved = [fingerprint(folder / name) for name in (*RPM_FILES, "rpmdb.sqlite-wal")]
        gate = (folder, *(each and (each[0], *each[2:]) for each in moved))
        now = time.monotonic()
        if gate == self._rpm_gate or now < self._rpm_retry:
            return False
        try:
            program = process.find(["rpm"])
            if not program:
                raise CommandFailed("rpm", 127, "there is an rpm database, and no rpm to read it; install rpm")
            argv = [program, "--dbpath", str(folder), "-qa", "--queryformat", RPM_FORMAT]
            self._rpm = parse_rpm(process.check(argv, timeout=RPM_DEADLINE))
        except CommandFailed as error:
            self._rpm_retry = now + RPM_RETRY
            self._rpm_problem = (f"packages of {folder}: {error}; what was read last stands",)
            return True
        self._rpm_gate, self._rpm_retry, self._rpm_problem = gate, 0.0, ()
        return True
