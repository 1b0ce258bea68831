"""librarian-chef with its faults contained: a deadline, no prompt, its own folder, one at a time, a telling reason.

It resolves over what was fetched and over the sites, and installs into a new folder, which it would empty first.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Iterator, Mapping, Sequence, Tuple

from swagent import files, process
from swagent.cookbooks import cookbook
from swagent.cookbooks.attempt import Attempt
from swagent.cookbooks.cheffile import Wanted, render
from swagent.cookbooks.cookbook import Cookbook
from swagent.errors import SwagentError

# A site's answer, s.
SITE_LIMIT = 30.0
_NOT_FOUND = re.compile(r"Could not get (\S+)/cookbooks/([^/\s]+) because 404")


def reason(output: str) -> str:
    """librarian-chef's one-line message; of a Ruby backtrace the line that names the error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        # /usr/lib/ruby/3.1.0/net/http.rb:987:in `initialize': Failed to open … (Errno::ECONNREFUSED)
        match = re.search(r"^\S+:\d+:in `[^']*': (.*) \(([\w:]+)\)$", line)
        if match:
            return f"{match.group(1)} ({match.group(2)})"
    telling = [line for line in lines if not line.startswith("from ") and "DidYouMean" not in line]
    return (telling or ["it says nothing"])[-1]


def not_found(output: str) -> Tuple[str, str] | None:
    """(site, name) where a site had no such cookbook."""
    match = _NOT_FOUND.search(output)
    return (match.group(1), match.group(2)) if match else None


def environment(attempt: Attempt, target: Path) -> dict[str, str]:
    """librarian-chef's: without HOME it crashes, without UTF-8 it fails on metadata that is not ASCII."""
    files.make_folder(attempt.home)
    return process.base_environment(
        HOME=str(attempt.home),
        LANG="C.UTF-8",
        LIBRARIAN_CHEF_TMP=str(_cache(attempt)),
        LIBRARIAN_CHEF_PATH=str(target),
        # Only a Cheffile of the user's own makes it call git.
        GIT_TERMINAL_PROMPT="0",
        GIT_CONFIG_NOSYSTEM="1",
        GIT_ALLOW_PROTOCOL="https:ssh:git:file",
        GIT_SSH_COMMAND="ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=15",
        GIT_COMMITTER_NAME="swagent",
        GIT_COMMITTER_EMAIL="swagent@localhost",
    )


def install(
    fetched: Mapping[str, Tuple[Path, Cookbook]],
    sites: Sequence[str],
    wanted: Sequence[Wanted],
    project: Path,
    target: Path,
    attempt: Attempt,
) -> str:
    """Resolve and install into `target` (which must be new); gives the lock's text.

    fetched: {name: (its folder, what it says)}. SwagentError names which cookbook wants what, where it was looked for.
    """
    named = {each.name: each for each in wanted}
    tried: set[str] = set()
    while True:
        folders = {name: f"../{folder.parent.name}/{folder.name}" for name, (folder, _) in fetched.items()}
        ended = install_from(render(folders, sites, list(named.values())), project, target, attempt)
        if not ended.status:
            return (project / "Cheffile.lock").read_text(encoding="utf-8")
        output = ended.stderr + ended.stdout
        absent = not_found(output)
        if absent and absent[1] not in tried:
            # It gives up at the first site without the cookbook, so the others are asked for it here.
            site, name = absent
            asked = named.get(name, Wanted(name))
            elsewhere = [] if asked.site else [other for other in sites if other != site and has(other, name, attempt)]
            if elsewhere:
                tried.add(name)
                named[name] = Wanted(name, asked.constraint, elsewhere[0])
                continue
        known = [each for _, each in fetched.values()] + list(_cached(attempt, [*sites, *(w.site for w in wanted)]))
        raise SwagentError(explain(output, known, wanted, sites))


def install_from(cheffile: str, project: Path, target: Path, attempt: Attempt) -> process.Ended:
    """Run `librarian-chef install` on a Cheffile's text in a project folder of its own."""
    program = attempt.settings.chef_home / "bin" / "librarian-chef"
    if not program.exists():
        raise SwagentError(f"there is no librarian-chef at {program}; run `swagent bootstrap`")
    # It looks for a Cheffile in parent folders too; with one in the project it stops there.
    files.write(project / "Cheffile", cheffile)
    with attempt.hold(attempt.settings.cookbooks / "librarian.lock", "cannot resolve cookbooks"):
        # Its downloads are not renamed into place: what a killed one left in the cache would be taken for whole.
        unclean = attempt.settings.cookbooks / "librarian.unclean"
        if unclean.exists():
            shutil.rmtree(_cache(attempt), ignore_errors=True)
        files.write(unclean, "librarian-chef is at work, or was killed\n")
        files.make_folder(_cache(attempt))
        ended = attempt.run(
            [str(program), "install"],
            environment(attempt, target),
            project,
            "cannot resolve cookbooks with librarian-chef",
        )
        if ended.status >= 0:
            unclean.unlink()
        return ended


def explain(output: str, known: Sequence[Cookbook], wanted: Sequence[Wanted], sites: Sequence[str]) -> str:
    """One message for a failed resolution: who wants what, where it was looked for, else librarian-chef's own words."""
    # Fetched cookbooks all, and of the sites' only those that were downloaded: older runs' among them mislead nobody,
    # as long as they are reached from what is wanted.
    demands = [("the deployment", each.name, each.constraint) for each in wanted]
    reached = _reached(known, [each.name for each in wanted])
    looked = (
        f"looked in {', '.join(sites)} and what was fetched"
        if sites
        else "looked in what was fetched; `sites` is empty"
    )
    absent = not_found(output)
    if absent:
        askers = [
            f"cookbook {each.name} {each.version} ({each.place})" for each in reached if absent[1] in each.dependencies
        ]
        who = " and ".join(dict.fromkeys([*askers, *(who for who, name, _ in demands if name == absent[1])]))
        return f"{who or 'something'} wants {absent[1]}, which no source has; {looked}"
    if "Could not resolve the dependencies" in output:
        sentences = cookbook.missing(reached, demands)
        if sentences:
            return f"{'; '.join(sentences)}; {looked}"
        names = ", ".join(f"{each.name} {each.version}" for each in reached)
        return f"librarian-chef could not resolve the dependencies of {names}, and says no more; {looked}"
    return f"librarian-chef: {reason(output)}; {looked}"


def _reached(known: Sequence[Cookbook], wanted: Sequence[str]) -> Tuple[Cookbook, ...]:
    """The fetched cookbooks, and those of the sites that something wants."""
    fetched = [each for each in known if not each.place.startswith("http")]
    names, waiting = set(), [*wanted, *(each.name for each in fetched)]
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += [other for each in known if each.name == name for other in each.dependencies]
    own = {each.name for each in fetched}
    return tuple(each for each in known if each in fetched or (each.name in names and each.name not in own))


def package_digest(site: str, name: str, version: str, attempt: Attempt) -> str:
    """SHA-256 of the archive that a site's cookbook came from, from librarian-chef's cache; empty where it is gone."""
    line = _cache(attempt) / "librarian/cache/source/chef/site" / _short(site) / name
    try:
        url = (line / "version" / version).read_text()
        return hashlib.sha256((line / "version-uri" / _short(url) / "package.tar.gz").read_bytes()).hexdigest()
    except OSError:
        return ""


def has(site: str, name: str, attempt: Attempt) -> bool:
    """Whether a site has the cookbook; SwagentError where it does not answer."""
    import requests

    url = f"{site}/cookbooks/{name}"
    try:
        answer = requests.get(url, timeout=min(SITE_LIMIT, attempt.seconds(f"cannot ask {url}")))
    except requests.RequestException as error:
        raise SwagentError(f"cannot ask {url}: {type(error).__name__}; check `sites` and the network") from error
    if answer.status_code not in (200, 404):
        raise SwagentError(f"cannot ask {url}: {answer.status_code} {answer.reason}; check `sites`")
    return bool(answer.status_code == 200)


def _cached(attempt: Attempt, sites: Sequence[str]) -> Iterator[Cookbook]:
    """Every version of a cookbook that librarian-chef has seen at these sites; dependencies only of downloaded ones."""
    for site in dict.fromkeys(filter(None, sites)):
        folder = _cache(attempt) / "librarian/cache/source/chef/site" / _short(site)
        for described in sorted(folder.glob("*/version-uri/*/metadata.json")):
            try:
                version = str(json.loads(described.read_bytes())["version"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            found = cookbook.read(described.parent / "package", site)
            yield Cookbook(described.relative_to(folder).parts[0], version, found.dependencies if found else {}, site)


def _short(text: str) -> str:
    """How librarian-chef names its cache folders (librarian/chef/source/site.rb: hexdigest)."""
    return hashlib.md5(text.encode()).hexdigest()[:16]


def _cache(attempt: Attempt) -> Path:
    return attempt.settings.cookbooks / "cache"
