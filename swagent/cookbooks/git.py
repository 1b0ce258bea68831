"""Cookbooks from git: one cheap look per repository, one commit fetched into a mirror, and its tree laid out.

Nothing of the repository's own is run: no hooks, no filters, no settings of the machine or of whoever started swagent.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Mapping, Sequence, Tuple
from urllib.parse import quote, urlsplit

from swagent import files, process
from swagent.cookbooks.attempt import Attempt
from swagent.cookbooks.release import Revision
from swagent.cookbooks.specification import COMMIT, Source
from swagent.errors import SwagentError
from swagent.settings import Settings

# s for one look at a remote: what is longer silent counts as down, and the last release stays in use.
LOOK_LIMIT = 30.0
# s without a kilobyte after which a transfer over https counts as stuck.
STUCK = 30
# Last words of git and ssh that say nothing about the reason.
_EMPTY_WORDS = re.compile(
    r"Could not read from remote repository|Please make sure you have the correct|and the repository exists|^$"
    r"|early EOF|index-pack failed|remote end hung up|^warning:|^hint:|^remote: (Enumerat|Count|Compress|Total)"
)
# Of the mirror, not of the remote, whose words git marks.
_DAMAGE = re.compile(
    r"^(?!remote:).*(inflate|corrupt|damaged|unable to read|bad (object|tree|pack)|missing blob|index file)", re.M
)


def parse_ls_remote(text: str) -> Mapping[str, str]:
    """{reference: commit}; an annotated tag's commit is the one it points at (git writes that as NAME^{})."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        commit, tab, name = line.partition("\t")
        if tab and COMMIT.fullmatch(commit):
            if name.endswith("^{}") or name not in found:
                found[name[: -len("^{}")] if name.endswith("^{}") else name] = commit
    return found


def patterns(reference: str) -> Tuple[str, ...]:
    """What to ask a remote for, in git's own order: a tag comes before a branch of the same name."""
    if not reference:
        return ("HEAD",)
    if reference.startswith("refs/"):
        return (reference,)
    return (f"refs/tags/{reference}", f"refs/heads/{reference}")


def pick(found: Mapping[str, str], reference: str) -> Revision | None:
    """The revision that a reference means among those of a remote."""
    for name in patterns(reference):
        if name in found:
            sort = "tag" if name.startswith("refs/tags/") else "branch" if name.startswith("refs/heads/") else "HEAD"
            return Revision(found[name], sort, name)
    return None


def reason(stderr: str) -> str:
    """git's or ssh's reason in one sentence, taken from what it wrote to stderr."""
    lines = [line.strip() for line in stderr.splitlines()]
    telling = [line for line in lines if not _EMPTY_WORDS.search(line)]
    fatal = [line for line in telling if re.match(r"(fatal|error|ERROR|remote|ssh)\b", line)]
    words = (fatal or telling or [line for line in lines if line] or ["git says nothing"])[0]
    return re.sub(r"^(fatal|error|ERROR|remote): *(error: *)?", "", words).rstrip(".")


def mirror_of(settings: Settings, location: str) -> Path:
    return settings.cookbooks / "mirrors" / hashlib.sha256(location.encode()).hexdigest()[:32]


def transport(location: str) -> str:
    return location.partition("://")[0] if "://" in location else "ssh"


def environment(location: str, attempt: Attempt) -> dict[str, str]:
    """git's: it cannot prompt, reads no settings but ours, and uses the one transport of the URL that was asked for."""
    files.make_folder(attempt.home)
    return process.base_environment(
        HOME=str(attempt.home),
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL="/dev/null",
        GIT_TERMINAL_PROMPT="0",
        GIT_ALLOW_PROTOCOL=transport(location),
        GIT_SSH_COMMAND="ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15",
        # Without them git asks the name service who it is, which takes seconds where that does not answer.
        GIT_COMMITTER_NAME="swagent",
        GIT_COMMITTER_EMAIL="swagent@localhost",
        GIT_AUTHOR_NAME="swagent",
        GIT_AUTHOR_EMAIL="swagent@localhost",
    )


def look(sources: Sequence[Source], attempt: Attempt) -> Mapping[Source, Revision]:
    """What each source is now, with one ls-remote per repository; none for a full commit, which cannot move."""
    found: dict[Source, Revision] = {}
    repositories: dict[str, list[Source]] = {}
    for source in sources:
        if COMMIT.fullmatch(source.reference):
            found[source] = Revision(source.reference, "commit", source.reference)
        else:
            repositories.setdefault(source.location, []).append(source)
    for location, same in repositories.items():
        asked = dict.fromkeys(pattern for source in same for pattern in patterns(source.reference))
        # The peeled form of a tag is an answer of its own.
        argv = [*asked, *(f"{pattern}^{{}}" for pattern in asked if pattern.startswith("refs/tags/"))]
        answers = parse_ls_remote(_git(same[0], ["ls-remote", "--", location, *argv], attempt, "look up", LOOK_LIMIT))
        for source in same:
            revision = pick(answers, source.reference) or _abbreviated(source, attempt)
            if revision is None:
                what = f"branch, tag or commit {source.reference}" if source.reference else "HEAD"
                raise SwagentError(f"{source}: the repository has no {what}; correct `ref`")
            found[source] = revision
    return found


def fetch(source: Source, revision: Revision, folder: Path, attempt: Attempt) -> Tuple[str, ...]:
    """Lay the commit's tree (or the source's folder of it) out in `folder`; gives warnings."""
    mirror = mirror_of(attempt.settings, source.location)
    with attempt.hold(mirror.with_name(mirror.name + ".lock"), f"cannot fetch {source}"):
        try:
            _mirror(source, revision.id, attempt)
            return _lay_out(source, revision, folder, attempt)
        except Refused as refused:
            if not _DAMAGE.search(refused.stderr):
                raise
        # The mirror is only a copy: make it anew.
        shutil.rmtree(mirror)
        shutil.rmtree(folder, ignore_errors=True)
        _mirror(source, revision.id, attempt)
        return _lay_out(source, revision, folder, attempt)


def _mirror(source: Source, commit: str, attempt: Attempt) -> None:
    """See that the mirror has the commit: it alone, or where the remote refuses that, all branches and tags."""
    mirror = mirror_of(attempt.settings, source.location)
    if not (mirror / "HEAD").exists():
        files.make_folder(mirror)
        _git(source, ["init", "--quiet", "--bare", "--template=", str(mirror)], attempt, "make a mirror of")
    if _has(source, commit, attempt):
        return
    for left in mirror.glob("*.lock"):
        left.unlink()  # of a git that was killed; nobody else is at work here, we hold the mirror
    common = [f"--git-dir={mirror}", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"]
    try:
        # Kept under a reference of its own, so that the commit stays when its branch is rewritten.
        _git(source, [*common, "--depth=1", "--", source.location, f"{commit}:refs/kept/{commit}"], attempt, "fetch")
    except Refused as refused:
        if not re.search(r"not our ref|unadvertised|shallow|dumb|couldn't find remote ref", refused.stderr):
            raise
        whole = ["--unshallow"] if (mirror / "shallow").exists() else []
        kept = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        _git(source, [*common, *whole, "--", source.location, *kept], attempt, "fetch")
    if not _has(source, commit, attempt):
        raise SwagentError(
            f"{source}: commit {commit} is not there any more; name a branch, tag or commit that the repository has"
        )


def _lay_out(source: Source, revision: Revision, folder: Path, attempt: Attempt) -> Tuple[str, ...]:
    mirror = mirror_of(attempt.settings, source.location)
    files.make_folder(folder)
    index = {"GIT_INDEX_FILE": str(folder.with_name(folder.name + ".index"))}
    tree = f"{revision.id}:{source.folder}"
    kind = _try(source, [f"--git-dir={mirror}", "cat-file", "-t", tree], attempt)
    if kind.status or kind.stdout.strip() != "tree":
        raise Refused(f"{source}: there is no such folder at {revision.id[:12]}; correct `path`", kind.stderr)
    _git(source, [f"--git-dir={mirror}", "read-tree", tree], attempt, "read", more=index)
    # From the index, as a clone does: `git archive` would leave out what .gitattributes marks export-ignore.
    out = [f"--git-dir={mirror}", f"--work-tree={folder}", "checkout-index", "--all", "--force", "--quiet"]
    _git(source, out, attempt, "lay out", more=index, folder=folder)
    listed = _git(source, [f"--git-dir={mirror}", "ls-files", "--stage"], attempt, "list", more=index)
    modules = [line.partition("\t")[2] for line in listed.splitlines() if line.startswith("160000 ")]
    if not modules:
        return ()
    return (f"{source}: submodules are not fetched yet, so these folders are empty: {', '.join(modules)}",)


def _abbreviated(source: Source, attempt: Attempt) -> Revision | None:
    """The commit that a short one means: only whoever has all commits can say, so all of them are fetched."""
    short = source.reference
    if not re.fullmatch(r"[0-9a-f]{7,39}", short):
        return None
    mirror = mirror_of(attempt.settings, source.location)
    with attempt.hold(mirror.with_name(mirror.name + ".lock"), f"cannot fetch {source}"):
        if not (mirror / "HEAD").exists():
            files.make_folder(mirror)
            _git(source, ["init", "--quiet", "--bare", "--template=", str(mirror)], attempt, "make a mirror of")
        parse = [f"--git-dir={mirror}", "rev-parse", "--verify", "--quiet", f"{short}^{{commit}}"]
        ended = _try(source, parse, attempt)
        if ended.status:
            whole = ["--unshallow"] if (mirror / "shallow").exists() else []
            kept = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
            common = [f"--git-dir={mirror}", "fetch", "--quiet", "--no-write-fetch-head", "--force"]
            _git(source, [*common, *whole, "--", source.location, *kept], attempt, "fetch")
            ended = _try(source, parse, attempt)
    commit = ended.stdout.strip()
    return Revision(commit, "commit", short) if COMMIT.fullmatch(commit) else None


class Refused(SwagentError):
    """git failed; `stderr` is what it wrote."""

    def __init__(self, message: str, stderr: str) -> None:
        super().__init__(message)
        self.stderr = stderr


def _has(source: Source, commit: str, attempt: Attempt) -> bool:
    mirror = mirror_of(attempt.settings, source.location)
    return _try(source, [f"--git-dir={mirror}", "cat-file", "-e", f"{commit}^{{tree}}"], attempt).status == 0


def _git(
    source: Source,
    words: Sequence[str],
    attempt: Attempt,
    verb: str,
    limit: float = float("inf"),
    more: Mapping[str, str] | None = None,
    folder: Path = Path("/"),
) -> str:
    """stdout of a git that must succeed; Refused with git's reason where it does not."""
    ended = _try(source, words, attempt, verb, limit, more, folder)
    if ended.status:
        raise Refused(f"cannot {verb} {source}: {reason(ended.stderr)}", ended.stderr)
    return ended.stdout


def _try(
    source: Source,
    words: Sequence[str],
    attempt: Attempt,
    verb: str = "read",
    limit: float = float("inf"),
    more: Mapping[str, str] | None = None,
    folder: Path = Path("/"),
) -> process.Ended:
    always = {
        "core.hooksPath": "/dev/null",
        "gc.auto": "0",  # it would go on in the background
        "maintenance.auto": "false",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": str(STUCK),
        "fetch.unpackLimit": "1",  # packs are kept whole: a killed fetch leaves no loose halves
        "submodule.recurse": "false",
    }
    authorities = os.environ.get("SSL_CERT_FILE", "")
    if authorities:
        always["http.sslCAInfo"] = authorities  # as librarian-chef and requests take it; git's TLS library does not
    with _access(source, attempt.settings) as helper:
        options = [word for key, value in {**always, **helper}.items() for word in ("-c", f"{key}={value}")]
        return attempt.run(
            ["git", *options, *words],
            {**environment(source.location, attempt), **(more or {})},
            folder,
            f"cannot {verb} {source}",
            limit,
        )


@contextmanager
def _access(source: Source, settings: Settings) -> Iterator[Mapping[str, str]]:
    """git settings under which the source's credentials are used: from a file in memory, never argv or environment."""
    if not source.credentials:
        yield {}
        return
    import secrets

    # The pid tells whoever starts next that its owner was killed: sweep_keys.
    folder = settings.run / "keys" / f"{os.getpid()}-{secrets.token_hex(8)}"
    parts = urlsplit(source.location)
    user, password = quote(source.credentials.username, safe=""), quote(source.credentials.password, safe="")
    try:
        files.write(folder / "credentials", f"{parts.scheme}://{user}:{password}@{parts.netloc}\n")
        yield {"credential.helper": f"store --file={shlex.quote(str(folder / 'credentials'))}"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_keys(settings: Settings) -> None:
    """Remove what a killed process left of its keys and passwords."""
    folder = settings.run / "keys"
    for each in folder.iterdir() if folder.is_dir() else []:
        pid = each.name.partition("-")[0]
        if not os.path.isdir(f"/proc/{pid}"):
            shutil.rmtree(each, ignore_errors=True)
