"""Cookbooks from an archive: tar (plain, gzip, bzip2, xz) or zip, by http(s) or from a file; its bytes are not trusted.

An archive is kept under its own SHA-256, so that only one that changed is fetched, and a run can be repeated offline.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from pathlib import Path
from typing import IO, Any, Callable, Iterator, Mapping, Sequence, Tuple

from swagent import files
from swagent.cookbooks.attempt import Attempt
from swagent.cookbooks.release import Revision
from swagent.cookbooks.specification import Source
from swagent.errors import DocumentError, SwagentError
from swagent.model import digest

# Unpacked bytes and entries, and the archive's own bytes: more is no cookbook but an attack, or a mistake.
MOST_BYTES = 256 << 20
MOST_ENTRIES = 50_000
TRIES = 3
PIECE = 1 << 16
# s to connect, s without a byte.
PATIENCE = (15.0, 30.0)
# The disk's fault; other errors while unpacking are the archive's (a file where a folder was, too long a name).
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES})
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "lzma"), (b"PK\x03\x04", "zip"))


def format_of(head: bytes) -> str:
    """gzip, bz2, lzma, zip, tar or empty, from an archive's first 512 bytes: names and content types lie."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    return "tar" if head[257:262] == b"ustar" else ""


def safe_name(name: str) -> Tuple[str, ...]:
    """The parts of an entry's path; ValueError where it is absolute or leads out of the tree."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"{name!r} leads out of the tree")
    if len(name) > 1024 or len(parts) > 64:
        raise ValueError(f"{name[:60]!r}… is too long a path")
    return parts


def look(sources: Sequence[Source], attempt: Attempt) -> Mapping[Source, Revision]:
    """Each archive's SHA-256: as the specification says it, else of what is there now (fetched only if it changed)."""
    return {
        source: Revision(source.checksum or _fetched(source, attempt), "checksum" if source.checksum else "archive")
        for source in sources
    }


def fetch(source: Source, revision: Revision, folder: Path, attempt: Attempt) -> Tuple[str, ...]:
    """Unpack the archive into `folder`; a single folder at its top is left away, whatever its name."""
    path = _archives(attempt) / revision.id
    if not path.exists():
        found = _fetched(source, attempt)
        if found != revision.id:
            raise SwagentError(f"{source}: its SHA-256 is {found}, not {revision.id}; correct `sha256` or the archive")
    os.utime(path)  # release.prune removes those not used for long
    unpacked = files.make_folder(folder.with_name(folder.name + ".unpacked"))
    try:
        unpack(path, unpacked, lambda: attempt.seconds(f"cannot unpack {source}"))
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise SwagentError(f"{source}: cannot unpack it: {error}; make the archive anew") from error
    top = unpacked
    inside = [each for each in os.listdir(top) if each != "pax_global_header"]
    if len(inside) == 1 and (top / inside[0]).is_dir() and not (top / inside[0]).is_symlink():
        top = top / inside[0]
    wanted = top / source.folder
    if not wanted.is_dir() or wanted.is_symlink() or not _within(wanted, top):
        raise SwagentError(f"{source}: there is no such folder in the archive; correct `path`")
    os.rename(wanted, folder)
    if source.location.startswith("http://") and not source.checksum:
        return (f"{source}: fetched over http without a checksum, so anybody on the way can change it; add sha256",)
    return ()


def unpack(path: Path, folder: Path, go_on: Callable[[], Any]) -> None:
    """Files, folders and links inside the tree, for their owner only; ValueError names what is refused.

    Links come last, so that nothing is ever written through one; `go_on` raises where the deadline is over.
    """
    links: list[Tuple[Path, str]] = []
    room = MOST_BYTES
    for number, (name, mode, link, content) in enumerate(_entries(path)):
        if number >= MOST_ENTRIES:
            raise ValueError(f"it has more than {MOST_ENTRIES} entries")
        go_on()
        parts = safe_name(name)
        target = folder.joinpath(*parts)
        if not parts or (content is None and not link):
            files.make_folder(target)
        elif link:
            links.append((target, link))
        elif content is not None:
            files.make_folder(target.parent)
            room = _write(target, content, mode, room, go_on)
    for target, link in links:
        shown = str(target.relative_to(folder))
        if not _within(target.parent, folder):
            raise ValueError(f"{shown} lies behind a link out of the tree")
        files.make_folder(target.parent)
        if os.path.lexists(target):
            raise ValueError(f"{shown} is in it twice")
        target.symlink_to(link)
        if link.startswith("/") or not _within(target, folder):
            raise ValueError(f"{shown} is a link out of the tree (to {link})")


def _within(path: Path, folder: Path) -> bool:
    """Whether the path, with every link in it followed, is the folder or below it."""
    real, top = os.path.realpath(path), os.path.realpath(folder)
    return real == top or real.startswith(top + os.sep)


def _write(target: Path, content: IO[bytes], mode: int, room: int, go_on: Callable[[], Any]) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(target, flags, 0o700 if mode & 0o100 else 0o600)
    except FileExistsError:
        raise ValueError(f"{target.name} is in it twice") from None
    with os.fdopen(descriptor, "wb") as stream:
        while True:
            piece = content.read(PIECE)
            if not piece:
                return room
            room -= len(piece)
            if room < 0:
                raise ValueError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
            go_on()
            stream.write(piece)


def _entries(path: Path) -> Iterator[Tuple[str, int, str, IO[bytes] | None]]:
    """(name, mode, link's target or empty, content or None for a folder) of every entry, in the archive's order."""
    with path.open("rb") as stream:
        kind = format_of(stream.read(512))
    if not kind:
        raise ValueError("it is neither tar (plain, gzip, bzip2, xz) nor zip")
    yield from _zip_entries(path) if kind == "zip" else _tar_entries(path, kind)


def _tar_entries(path: Path, kind: str) -> Iterator[Tuple[str, int, str, IO[bytes] | None]]:
    import bz2
    import gzip
    import lzma
    import tarfile
    import zlib

    opener: Mapping[str, Callable[[Path], Any]] = {"gzip": gzip.open, "bz2": bz2.open, "lzma": lzma.open, "tar": open}
    unzipped = open(path, "rb") if kind == "tar" else opener[kind](path)
    try:
        # As a stream, so that a bomb is met where it goes off; a header's own size counts too.
        bounded: Any = _Bounded(unzipped)
        with unzipped, tarfile.open(fileobj=bounded, mode="r|") as archive:
            for entry in archive:
                if entry.isdir():
                    yield entry.name, entry.mode, "", None
                elif entry.isreg():
                    yield entry.name, entry.mode, "", archive.extractfile(entry)
                elif entry.issym():
                    yield entry.name, entry.mode, entry.linkname, None
                else:
                    raise ValueError(f"{entry.name} is neither a file, a folder nor a symbolic link")
    except (tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(str(error) or "it is damaged") from error


def _zip_entries(path: Path) -> Iterator[Tuple[str, int, str, IO[bytes] | None]]:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                mode = entry.external_attr >> 16
                if entry.is_dir():
                    yield entry.filename, mode, "", None
                elif stat.S_ISLNK(mode):
                    with archive.open(entry) as content:
                        yield entry.filename, mode, content.read(4096).decode("utf-8", "surrogateescape"), None
                elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                    raise ValueError(f"{entry.filename} is neither a file, a folder nor a symbolic link")
                else:
                    with archive.open(entry) as content:
                        yield entry.filename, mode, "", content
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error) or "it is damaged") from error


class _Bounded:
    """A stream that ends with ValueError once more was read than a tree may have."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.left = MOST_BYTES + MOST_ENTRIES * 2048

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise ValueError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
        return bytes(self.stream.read(size))


def _archives(attempt: Attempt) -> Path:
    return attempt.settings.cookbooks / "archives"


def _fetched(source: Source, attempt: Attempt) -> str:
    """See that the archive as it is now lies in `archives`, and give its SHA-256."""
    if source.location.startswith("file://"):
        path = Path(source.location[len("file://") :])
        try:
            with path.open("rb") as stream:
                return _keep(iter(lambda: stream.read(PIECE), b""), source, attempt)
        except FileNotFoundError as error:
            raise SwagentError(f"{source}: there is no such file; create it or correct the path") from error
    problem = ""
    for tried in range(TRIES):
        if tried:
            time.sleep(min(0.5 * tried, attempt.seconds(problem)))
        try:
            return _download(source, attempt)
        except _Again as error:
            problem = str(error)
    raise SwagentError(f"{problem}; tried {TRIES} times")


class _Again(Exception):
    """A download that failed in a way that may pass."""


def _download(source: Source, attempt: Attempt) -> str:
    """One conditional GET: what the server says is unchanged is not sent again."""
    import requests

    noted = _archives(attempt) / f"{digest(source.location)[:32]}.json"
    try:
        known: Mapping[str, str] = files.read_json(noted)
        kept = (_archives(attempt) / str(known.get("sha256"))).exists()
    except (FileNotFoundError, DocumentError, AttributeError):
        known, kept = {}, False
    headers = {"Accept-Encoding": "identity"}  # else the server may gzip what is hashed here
    if kept:
        headers.update({key: known[name] for key, name in _VALIDATORS if known.get(name)})
    credentials = (source.credentials.username, source.credentials.password) if source.credentials else None
    verify: Any = os.environ.get("SSL_CERT_FILE") or True
    attempt.seconds(f"cannot fetch {source}")
    try:
        with requests.get(
            source.location, headers=headers, auth=credentials, stream=True, timeout=PATIENCE, verify=verify
        ) as answer:
            if answer.status_code == 304 and kept:
                return str(known["sha256"])
            if answer.status_code >= 500 or answer.status_code == 429:
                raise _Again(f"cannot fetch {source}: {answer.status_code} {answer.reason}")
            if answer.status_code != 200:
                raise SwagentError(f"cannot fetch {source}: {answer.status_code} {answer.reason}; correct the URL")
            found = _keep(answer.iter_content(PIECE), source, attempt, int(answer.headers.get("Content-Length") or -1))
            validators = {name: answer.headers.get(header, "") for header, name in _ANSWERED}
            files.write_json(noted, {"sha256": found, "location": source.location, **validators})
            return found
    except requests.exceptions.SSLError as error:
        raise SwagentError(f"cannot fetch {source}: {_reason(error)}; trust its authority on this machine") from error
    except requests.RequestException as error:
        raise _Again(f"cannot fetch {source}: {_reason(error)}") from error


_VALIDATORS = (("If-None-Match", "etag"), ("If-Modified-Since", "modified"))
_ANSWERED = (("ETag", "etag"), ("Last-Modified", "modified"))


def _reason(error: Exception) -> str:
    """The innermost words of what requests wraps three times."""
    match = re.search(r"(\[SSL[^\]]*\][^(\"')]*|\] ([A-Z][a-z ]+)|timed out|Name or service not known)", str(error))
    return (match.group(2) or match.group(1)).strip() if match else type(error).__name__


def _keep(pieces: Iterator[bytes], source: Source, attempt: Attempt, size: int = -1) -> str:
    """Write the archive beside, then rename it to its own SHA-256, which is given."""
    folder = files.make_folder(_archives(attempt))
    sha, beside, total = hashlib.sha256(), folder / f".{os.getpid()}.new", 0
    try:
        with open(beside, "wb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW, 0o600)) as stream:
            for piece in pieces:
                total += len(piece)
                if total > MOST_BYTES:
                    raise SwagentError(f"{source}: it has more than {MOST_BYTES >> 20} MiB; correct the URL")
                attempt.seconds(f"cannot fetch {source}")
                sha.update(piece)
                stream.write(piece)
            if 0 <= size != total:
                raise _Again(f"cannot fetch {source}: it ended after {total} of {size} bytes")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, folder / sha.hexdigest())
    finally:
        beside.unlink(missing_ok=True)
    return sha.hexdigest()
