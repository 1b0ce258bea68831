"""What a deployment wants: the sources of its cookbooks, read from its options and checked word by word.

To add a kind of source: its keys in KEYS, a module with `look` and `fetch`, its line in resolve.KINDS.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence, Tuple
from urllib.parse import unquote, urlsplit, urlunsplit

from swagent.errors import DocumentError
from swagent.model import Json, digest
from swagent.settings import Settings

# The keys of each kind's entry. An entry is of the first kind here whose own name is among its keys, else of a site.
KEYS: Mapping[str, frozenset[str]] = {
    "git": frozenset({"git", "name", "ref", "branch", "tag", "commit", "path", "all", "username", "password"}),
    "svn": frozenset({"svn"}),
    "tarball": frozenset({"tarball", "name", "sha256", "path", "all", "username", "password"}),
    "path": frozenset({"path", "name", "all"}),
    "site": frozenset({"name", "version", "site"}),
}
# Said plainly instead of fetched wrongly.
UNSUPPORTED_KINDS = frozenset({"svn"})
UNSUPPORTED_KEYS = frozenset({"ssh_key", "known_hosts"})
GIT_SCHEMES = ("https", "ssh", "git", "file")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
CONSTRAINT = re.compile(r"(=|!=|>=|<=|>|<|~>)?\s*[0-9]+(\.[0-9]+){0,3}")
COMMIT = re.compile(r"[0-9a-f]{40}")
# git's own rules (git-check-ref-format), and no leading dash: it would be an option.
BAD_REF = re.compile(r"[\s\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(/|$)")


@dataclass(frozen=True)
class Credentials:
    """What a private source wants; in no digest, record, message or argv."""

    username: str = ""
    password: str = ""

    def __bool__(self) -> bool:
        return bool(self.username or self.password)


@dataclass(frozen=True)
class Source:
    """One entry of `cookbooks`. `location` bears no credentials, so that it can be shown."""

    kind: str
    location: str  # URL, folder, or the site's URL (empty: the first of `sites` that has the cookbook)
    name: str = ""  # the cookbook's; empty: as its metadata says
    reference: str = ""  # branch, tag or commit; empty: the remote's HEAD
    folder: str = ""  # inside what is fetched
    every: bool = False  # all cookbooks below `folder`
    constraint: str = ""  # of versions, for a site
    checksum: str = ""  # SHA-256 that an archive must have
    credentials: Credentials = field(default=Credentials(), compare=False, repr=False)

    def to_document(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "location": self.location,
            "name": self.name,
            "reference": self.reference,
            "folder": self.folder,
            "every": self.every,
            "constraint": self.constraint,
            "checksum": self.checksum,
        }

    def __str__(self) -> str:
        if self.kind == "site":
            return f"{self.name} from {self.location or 'the sites'}"
        inside = f", folder {self.folder}" if self.folder else ""
        return f"{self.kind} {self.location}{inside}" if self.kind != "path" else f"path {self.location}"


@dataclass(frozen=True)
class Specification:
    """All that a deployment says of its cookbooks; equal specifications have equal digests, whoever's keys they use."""

    sources: Tuple[Source, ...] = ()
    sites: Tuple[str, ...] = ()
    cheffile: str = ""

    @property
    def digest(self) -> str:
        return digest(
            {
                "sources": [source.to_document() for source in self.sources],
                "sites": list(self.sites),
                "cheffile": self.cheffile,
            }
        )

    def __bool__(self) -> bool:
        """Whether any cookbook is wanted."""
        return bool(self.sources or self.cheffile)


def parse(options: Mapping[str, Json], inputs: Mapping[str, Json], settings: Settings) -> Specification:
    """The specification in a deployment's `cookbooks`, `sites`, `cheffile`; DocumentError names entry, key and remedy.

    inputs: {name: value}; any value of an entry may be {input: NAME}.
    """
    cheffile = options.get("cheffile") or ""
    entries, sites = _listed(options, "cookbooks"), _listed(options, "sites")
    if cheffile:
        if not isinstance(cheffile, str):
            raise _wrong("cheffile", "must be the text of a Cheffile", "give its text")
        if entries or sites:
            raise _wrong("cheffile", "comes together with `cookbooks` or `sites`", "use one or the other")
        if not settings.allow_cheffile:
            raise _wrong(
                "cheffile",
                "a Cheffile is Ruby that runs as root, and this machine's settings refuse it",
                "list the cookbooks in `cookbooks`, or set allow_cheffile: true in swagent.yaml",
            )
        return Specification(cheffile=cheffile)
    checked = tuple(site_url(site, f"sites[{number}]") for number, site in enumerate(sites))
    sources = tuple(parse_entry(entry, inputs, f"cookbooks[{number}]") for number, entry in enumerate(entries))
    for number, source in enumerate(sources):
        if source.kind == "site" and not source.location and not checked:
            raise _wrong(
                f"cookbooks[{number}]",
                f"{source.name} has no source and `sites` names none to look in",
                "add a supermarket's URL to `sites`, or git:, path: to the entry",
            )
        if source.name and source.name in [other.name for other in sources[:number]]:
            raise _wrong(f"cookbooks[{number}]", f"{source.name} is named twice", "keep one of the entries")
    return Specification(sources=sources, sites=checked)


def parse_entry(entry: Json, inputs: Mapping[str, Json], place: str) -> Source:
    if not isinstance(entry, Mapping):
        raise _wrong(place, f"must be a map, not {entry!r}", "write {name: …, version: …} or {git: …}")
    kind = next((kind for kind in KEYS if kind in entry), "site")
    if kind in UNSUPPORTED_KINDS:
        raise _wrong(place, f"sources of kind {kind} are not supported yet", "use git, tarball, path or a site")
    unsupported = sorted(UNSUPPORTED_KEYS & set(entry))
    if unsupported:
        raise _wrong(place, f"{', '.join(unsupported)}: not supported yet", "use https with username and password")
    unknown = sorted(set(map(str, entry)) - KEYS[kind])
    if unknown:
        known = ", ".join(sorted(KEYS[kind]))
        raise _wrong(place, f"unknown key {', '.join(unknown)} for {kind}", f"known are: {known}")
    values = {key: given(value, inputs, f"{place}.{key}") for key, value in entry.items() if value is not None}
    every = values.pop("all", False)
    if not isinstance(every, bool):
        raise _wrong(f"{place}.all", "must be true or false", "correct it")
    texts = {key: text(value, f"{place}.{key}") for key, value in values.items()}
    name = texts.get("name", "")
    if name:
        check_name(name, f"{place}.name")
    if every and name:
        raise _wrong(place, "`all` finds the names itself", "leave out `name` or `all`")
    if kind == "site":
        if not name:
            raise _wrong(place, "neither names a cookbook nor says where one is", "add name:, git: or path:")
        constraint = texts.get("version", "")
        check_constraint(constraint, f"{place}.version")
        site = site_url(texts["site"], f"{place}.site") if "site" in texts else ""
        return Source("site", site, name=name, constraint=constraint)
    if kind == "path":
        return Source("path", absolute_path(texts["path"], f"{place}.path"), name=name, every=every)
    folder = inside(texts["path"], f"{place}.path") if "path" in texts else ""
    if kind == "tarball":
        location, credentials = archive_url(texts["tarball"], f"{place}.tarball")
        checksum = texts.get("sha256", "").lower()
        if checksum and not re.fullmatch(r"[0-9a-f]{64}", checksum):
            raise _wrong(f"{place}.sha256", "is no SHA-256", "give its 64 hexadecimal digits, with quotes around them")
        return Source(
            "tarball",
            location,
            name=name,
            folder=folder,
            every=every,
            checksum=checksum,
            credentials=_credentials(texts, location, credentials, place),
        )
    location, credentials = git_url(texts["git"], f"{place}.git")
    references = [(key, texts[key]) for key in ("ref", "branch", "tag", "commit") if key in texts]
    if len(references) > 1:
        raise _wrong(place, f"{' and '.join(key for key, _ in references)} say the same thing", "keep one of them")
    return Source(
        "git",
        location,
        name=name,
        reference=git_reference(*references[0], place) if references else "",
        folder=folder,
        every=every,
        credentials=_credentials(texts, location, credentials, place),
    )


def given(value: Json, inputs: Mapping[str, Json], place: str) -> Json:
    """The value, or the input's that {input: NAME} names."""
    if not isinstance(value, Mapping):
        return value
    name = value.get("input")
    if set(value) != {"input"} or not isinstance(name, str):
        raise _wrong(place, "must be a value or {input: NAME}", "correct it")
    if name not in inputs:
        raise _wrong(place, f"the deployment has no input {name}", "add it to input_values")
    return inputs[name]


def text(value: Json, place: str) -> str:
    """Text in one line, without control characters; numbers as YAML reads an unquoted version or tag."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise _wrong(place, f"must be text, not {value!r}", "correct it, with quotes around it")
    if not value.isprintable():
        raise _wrong(place, "holds control characters", "remove them")
    return value


def check_name(name: str, place: str) -> str:
    if not NAME.fullmatch(name):
        raise _wrong(place, f"{name!r} is no name of a cookbook", "use letters, digits, _ - and .")
    return name


def check_constraint(constraint: str, place: str) -> str:
    if constraint and not CONSTRAINT.fullmatch(constraint):
        raise _wrong(place, f"{constraint!r} is no version constraint", 'write it as "~> 3.0", ">= 1.2" or "1.2.3"')
    return constraint


def git_url(url: str, place: str) -> Tuple[str, Credentials]:
    """The URL without credentials, and those; https, ssh, git, file URLs, host:path as ssh has it, absolute paths."""
    text(url, place)
    if url.startswith("-") or "::" in url or " " in url:
        raise _wrong(place, f"{without_credentials(url)!r} is no URL that is fetched", f"use one of: {_schemes()}")
    if url.startswith("/"):
        return "file://" + url, Credentials()
    if "://" not in url:
        host, colon, rest = url.partition(":")
        if not colon or "/" in host or not rest or host.rpartition("@")[2].startswith("-") or not host:
            raise _wrong(place, f"{url!r} is no URL", f"use one of: {_schemes()}")
        return url, Credentials()
    parts = split_url(url, place)
    if parts.scheme not in GIT_SCHEMES:
        shown = without_credentials(url)
        raise _wrong(place, f"{shown}: {parts.scheme}:// is not fetched", f"use one of: {_schemes()}")
    user, _, host = parts.netloc.rpartition("@")
    if parts.scheme == "file":
        if host or not parts.path:
            raise _wrong(place, "a file URL has no host", "write file:///folder/repository.git")
        return url, Credentials()
    name, colon, password = user.partition(":")
    if not host or host.startswith("-") or name.startswith("-"):
        raise _wrong(place, f"{without_credentials(url)!r} names no host", "correct it")
    if parts.scheme == "ssh":
        if colon:
            raise _wrong(place, "ssh takes no password from a URL", "remove it")
        return url, Credentials()
    shown = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return shown, Credentials(unquote(name), unquote(password))


def archive_url(url: str, place: str) -> Tuple[str, Credentials]:
    """An archive's URL without credentials, and those: https, http, file, or an absolute path."""
    if url.startswith("/"):
        return "file://" + url, Credentials()
    parts = split_url(url, place)
    user, _, host = parts.netloc.rpartition("@")
    if parts.scheme not in ("https", "http", "file") or bool(host) == (parts.scheme == "file") or " " in url:
        raise _wrong(
            place, f"{without_credentials(url)!r} is no URL of an archive", "use https://, http:// or file:///"
        )
    name, _, password = user.partition(":")
    if user and parts.scheme == "http":
        raise _wrong(place, "http:// would send the credentials in the open", "use https://")
    return urlunsplit((parts.scheme, host, parts.path, parts.query, "")), Credentials(unquote(name), unquote(password))


def site_url(url: Json, place: str) -> str:
    """A supermarket's URL, the part before /cookbooks/NAME, without a slash at its end."""
    url = text(url, place)
    parts = split_url(url, place)
    if parts.scheme not in ("https", "http") or not parts.hostname or " " in url:
        raise _wrong(place, f"{without_credentials(url)!r} is no https or http URL", "correct it")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise _wrong(
            place, "librarian-chef sends neither credentials nor a query to a site", "remove them from the URL"
        )
    return str(url).rstrip("/")


def split_url(url: str, place: str) -> Any:
    try:
        parts = urlsplit(url)
        parts.port  # ValueError where it is no number
    except ValueError as error:
        raise _wrong(place, f"{without_credentials(url)!r} is no URL: {error}", "correct it") from error
    return parts


def without_credentials(url: str) -> str:
    """The URL with nothing between :// and @, for messages; in ssh's user@host:path the user is no secret."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url)


def git_reference(key: str, reference: str, place: str) -> str:
    """As given for `ref`; a branch or tag by its full name, so that one of the other sort does not pass for it."""
    if BAD_REF.search(reference) or reference == "@":
        raise _wrong(f"{place}.{key}", f"{reference!r} is no branch, tag or commit", "correct it")
    if key == "commit":
        if not re.fullmatch(r"[0-9a-fA-F]{7,40}", reference):
            raise _wrong(f"{place}.commit", f"{reference!r} is no commit", "give its 40 hexadecimal digits")
        return reference.lower()
    if reference == "HEAD":
        return ""
    prefix = {"branch": "refs/heads/", "tag": "refs/tags/"}.get(key, "")
    return reference if reference.startswith("refs/") else prefix + reference


def inside(path: str, place: str) -> str:
    """A folder inside what is fetched, normal; empty for its top."""
    normal = posixpath.normpath(path)
    if path.startswith(("/", "-")) or normal.split("/")[0] == ".." or ".git" in normal.lower().split("/"):
        raise _wrong(place, f"{path!r} leaves the repository", "give a folder inside it")
    return "" if normal == "." else normal


def absolute_path(path: str, place: str) -> str:
    if not path.startswith("/"):
        raise _wrong(place, f"{path!r} is relative", "give the folder's absolute path")
    return posixpath.normpath(path)


def _credentials(texts: Mapping[str, str], location: str, of_url: Credentials, place: str) -> Credentials:
    if "username" not in texts and "password" not in texts:
        return of_url
    if not location.startswith("https://"):
        raise _wrong(place, "username and password are for https", "remove them, or use an https:// URL")
    return Credentials(texts.get("username", ""), texts.get("password", ""))


def _listed(options: Mapping[str, Json], key: str) -> Sequence[Json]:
    value = options.get(key)
    if isinstance(value, str) and value:
        value = _loaded(value, key)  # Heat carries a json parameter as text
    if value in (None, ""):
        return ()
    if not isinstance(value, list):
        raise _wrong(key, f"must be a list, not {type(value).__name__}", "write one entry per line, each with a dash")
    return value


def _loaded(value: str, key: str) -> Json:
    import yaml  # here: only texts need it

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise _wrong(key, "is text that is neither YAML nor JSON", "give a list") from error


def _schemes() -> str:
    return ", ".join(f"{scheme}://" for scheme in GIT_SCHEMES) + ", user@host:path"


def _wrong(place: str, problem: str, remedy: str) -> DocumentError:
    return DocumentError("options", place, problem, remedy)
