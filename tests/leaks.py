"""Looking for values where they must not be: in files, in archives inside files, in streams and in command lines."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote, quote_plus


def forms(value: str) -> set[bytes]:
    """The value as programs write it. Written apart from swagent's own list: one must not excuse the other."""
    raw = value.encode()
    found = {
        raw,
        raw.hex().encode(),
        json.dumps(value)[1:-1].encode(),
        quote(value, safe="").encode(),
        quote_plus(value).encode(),
    }
    found |= {json.dumps(json.dumps(value))[3:-3].encode(), quote(value, safe="").lower().encode()}
    for shift in range(3):
        whole = base64.b64encode(b"x" * shift + raw + b"yyy")
        start = -(-shift * 4 // 3)
        inner = whole[start + (1 if shift else 0) : start + len(raw) * 4 // 3 - 2]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return {form for form in found if len(form) >= 8}


def unpacked(data: bytes, depth: int = 3):
    """The data, and what is in it if it is an archive or compressed, to a depth."""
    yield data
    if not depth or len(data) > 64 << 20:
        return
    for magic, expand in ((b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ", lzma.decompress)):
        if data.startswith(magic):
            try:
                inner = expand(data)
            except (OSError, EOFError, lzma.LZMAError, zlib.error):
                continue
            yield from unpacked(inner, depth - 1)
    if data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if member.isfile():
                    yield from unpacked(archive.extractfile(member).read(), depth - 1)
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from unpacked(archive.read(name), depth - 1)


def found_in(data: bytes, values: dict[str, str]) -> set[str]:
    """The names of the values that are in the data, in whatever form."""
    known = {name: forms(value) for name, value in values.items()}
    return {name for blob in unpacked(data) for name, each in known.items() if any(form in blob for form in each)}


def found_below(folder: Path, values: dict[str, str], allowed: tuple[Path, ...] = ()) -> set[tuple[str, str]]:
    """(name, file) of every value in a file below the folder, file names included, the allowed folders left out."""
    found = set()
    for path in sorted(folder.rglob("*")):
        if any(each == path or each in path.parents for each in allowed):
            continue
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found |= {(name, str(path)) for name in found_in(data, values) | found_in(str(path).encode(), values)}
    return found


def found_in_processes(values: dict[str, str]) -> set[tuple[str, str]]:
    """(name, command line) of every process that has a value in its arguments."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
        found |= {(name, words.replace(b"\0", b" ").decode("utf-8", "replace")) for name in found_in(words, values)}
    return found
