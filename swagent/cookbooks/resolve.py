"""From a specification to a release: look, fetch, lay side by side, let librarian-chef resolve, switch by rename.

What is unchanged starts nothing; what fails leaves the last release of the same specification in use, and says so.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Mapping, Protocol, Sequence, Tuple

from swagent import model
from swagent.cookbooks import cheffile, cookbook, git, librarian, path, release, tarball, tree
from swagent.cookbooks.attempt import Attempt
from swagent.cookbooks.cookbook import Cookbook
from swagent.cookbooks.release import Release, Revision, Standing
from swagent.cookbooks.specification import NAME, Source, Specification
from swagent.errors import SwagentError
from swagent.files import make_folder
from swagent.settings import Settings


class Kind(Protocol):
    """A kind of source is a module with these two."""

    def look(self, sources: Sequence[Source], attempt: Attempt) -> Mapping[Source, Revision]:
        """What each of the sources is now, without fetching it; SwagentError names the source and the reason."""

    def fetch(self, source: Source, revision: Revision, folder: Path, attempt: Attempt) -> Tuple[str, ...]:
        """Lay that revision out in the folder, which is not there yet; gives warnings."""


KINDS: Mapping[str, Kind] = {
    "git": git,
    "tarball": tarball,
    "path": path,
}  # a site's cookbooks are librarian-chef's own business


def resolve(
    specification: Specification, settings: Settings, deadline: float, mark: str, lookup_interval: float = 0.0
) -> Release:
    """The release of a specification; deadline: monotonic s; mark: as process.run has it.

    lookup_interval: s for which followed branches, tags and folders are not looked up again. SwagentError if a source
    cannot be had or a dependency not be met, and no earlier release of this specification is there to go on with.
    """
    attempt = Attempt(settings, deadline, mark)
    stands = release.standing(settings, specification.digest)
    last = release.load(settings, stands.release) if stands.release else None
    if last and 0 <= time.time() - stands.looked_up < lookup_interval:
        return last
    try:
        git.sweep_keys(settings)
        revisions = look(specification.sources, attempt)
        found, warnings = _moved(specification, revisions, last)
        if found is None:
            found = build(specification, revisions, warnings, last, attempt)
    except (SwagentError, OSError) as error:
        problem = str(error) if isinstance(error, SwagentError) else _system(error)
        _remember(settings, specification, replace(stands, error=problem, error_at=time.time()), stands)
        if last is None:
            raise error if isinstance(error, SwagentError) else SwagentError(problem) from error
        age = _age(time.time() - last.resolved_at)
        warning = f"{problem}; the cookbooks resolved {age} ago (release {last.digest[:12]}) stay in use"
        return replace(last, warnings=(*last.warnings, warning))
    looked_up = time.time() if lookup_interval else stands.looked_up
    _remember(settings, specification, Standing(found.digest, looked_up), stands)
    return found


def look(sources: Sequence[Source], attempt: Attempt) -> Mapping[Source, Revision]:
    """What each source is now; sites' cookbooks stay as they were resolved until the specification changes."""
    found: dict[Source, Revision] = {}
    for name, kind in KINDS.items():
        same = [source for source in sources if source.kind == name]
        if same:
            found.update(kind.look(same, attempt))
    found.update({source: Revision(source.constraint, "constraint") for source in sources if source.kind == "site"})
    return found


def _moved(
    specification: Specification, revisions: Mapping[Source, Revision], last: Release | None
) -> Tuple[Release | None, Tuple[str, ...]]:
    """The release that is already there for these revisions, if any, and what to say of tags that moved."""
    if last is None:
        return None, ()
    before = {(str(each["location"]), str(each["reference"])): each for each in last.sources}
    warnings = []
    for source, revision in revisions.items():
        old = before.get((source.location, source.reference), {})
        if revision.sort == "tag" and old.get("sort") == "tag" and old["revision"] != revision.id:
            warnings.append(
                f"{source}: tag {source.reference.rpartition('/')[2]} was moved from {str(old['revision'])[:12]} to "
                f"{revision.id[:12]}; name the commit to be sure of what runs"
            )
    digest = _digest(specification, revisions)
    return (last if digest == last.digest else None), tuple(warnings)


def build(
    specification: Specification,
    revisions: Mapping[Source, Revision],
    warnings: Tuple[str, ...],
    last: Release | None,
    attempt: Attempt,
) -> Release:
    """Make the release of these revisions, or find that another process made it meanwhile."""
    settings = attempt.settings
    digest = _digest(specification, revisions)
    with attempt.hold(settings.cookbooks / "build.lock", "cannot build a release"):
        there = release.load(settings, digest)
        if there:
            return there
        workshop = settings.cookbooks / "building"
        shutil.rmtree(workshop, ignore_errors=True)  # of one that was killed; nobody else builds, we hold the lock
        try:
            make_folder(workshop / "release")
            made = _build(specification, revisions, workshop, digest, warnings, last, attempt)
            return release.save(settings, workshop / "release", made)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
            release.prune(settings)


def _build(
    specification: Specification,
    revisions: Mapping[Source, Revision],
    workshop: Path,
    digest: str,
    warnings: Tuple[str, ...],
    last: Release | None,
    attempt: Attempt,
) -> Release:
    said = list(warnings)
    fetched: dict[str, Tuple[Path, Cookbook]] = {}
    origins: dict[str, Tuple[str, str]] = {}
    for number, source in enumerate(specification.sources):
        if source.kind == "site":
            continue
        export = workshop / "exports" / str(number)
        make_folder(export.parent)
        said += KINDS[source.kind].fetch(source, revisions[source], export, attempt)
        tree.check(export, str(source))
        for folder, found in chosen(source, export):
            if found.name in fetched:
                first, second = fetched[found.name][1].place, found.place
                raise SwagentError(f"cookbook {found.name} is in two places: {first} and {second}; keep one of them")
            target = make_folder(workshop / "fetched") / found.name
            os.rename(folder, target)
            cookbook.mend(target, found.name)
            fetched[found.name] = (target, found)
            origins[found.name] = (str(source), revisions[source].id)
    cookbooks = make_folder(workshop / "release" / "cookbooks")
    metadata = _metadata(fetched)
    if last and metadata and metadata == last.metadata:
        lock = _as_before(last, fetched, cookbooks)
    else:
        lock = _install(specification, fetched, workshop, attempt)
    described = {}
    for each in cheffile.parse_lock(lock):
        place, revision = origins.get(each.name) or (
            f"site {each.remote}" if each.kind == "SITE" else f"{each.kind.lower()} {each.remote}",
            each.sha or (librarian.package_digest(each.remote, each.name, each.version, attempt)),
        )
        described[each.name] = {"source": place, "revision": revision, "version": each.version}
        if each.name not in fetched:
            tree.check(cookbooks / each.name, place, left_out=frozenset())
    sources = tuple(
        {**source.to_document(), "revision": revision.id, "sort": revision.sort, "followed": revision.name}
        for source, revision in revisions.items()
    )
    return Release(
        release.folder_of(attempt.settings, digest) / "cookbooks",
        digest,
        described,
        tuple(said),
        time.time(),
        sources,
        lock,
        metadata,
    )


def _metadata(fetched: Mapping[str, Tuple[Path, Cookbook]]) -> str:
    """A digest of what all that was fetched says it is and depends on; empty where the text alone does not tell."""
    contents = {name: cookbook.settled(folder) for name, (folder, _) in fetched.items()}
    if not contents or not all(contents.values()):
        return ""
    return model.digest({name: content.decode("utf-8", "replace") for name, content in contents.items()})


def _as_before(last: Release, fetched: Mapping[str, Tuple[Path, Cookbook]], cookbooks: Path) -> str:
    """The last resolution over new files: the same question has the same answer, so nobody is asked. Gives its lock."""
    for each in cheffile.parse_lock(last.lock):
        if each.name not in fetched:
            tree.copy(last.path / each.name, cookbooks / each.name)
            continue
        for entry in sorted(fetched[each.name][0].iterdir()):
            if not entry.name.startswith("."):  # librarian-chef leaves these out
                os.rename(entry, make_folder(cookbooks / each.name) / entry.name)
    return last.lock


def _install(
    specification: Specification, fetched: Mapping[str, Tuple[Path, Cookbook]], workshop: Path, attempt: Attempt
) -> str:
    project, target = make_folder(workshop / "project"), workshop / "release" / "cookbooks"
    if specification.cheffile:
        ended = librarian.install_from(specification.cheffile, project, target, attempt)
        if ended.status:
            raise SwagentError(f"Cheffile: {librarian.reason(ended.stderr + ended.stdout)}; correct `cheffile`")
        return (project / "Cheffile.lock").read_text(encoding="utf-8")
    wanted = [
        cheffile.Wanted(source.name, source.constraint, source.location)
        for source in specification.sources
        if source.kind == "site"
    ]
    if not fetched and not wanted:
        return ""
    # A site that only an entry names also is where its dependencies are looked for.
    sites = specification.sites or tuple(dict.fromkeys(each.site for each in wanted if each.site))
    return librarian.install(fetched, sites, wanted, project, target, attempt)


def chosen(source: Source, export: Path) -> Tuple[Tuple[Path, Cookbook], ...]:
    """The cookbooks that the source means among what was fetched, with their final names; SwagentError for none."""
    if source.every:
        folders = tuple(cookbook.find(export))
        if not folders:
            raise SwagentError(f"{source}: there is no cookbook below it; correct `path`, or leave out `all`")
        return tuple((folder, _named(source, export, folder)) for folder in folders)
    # As librarian-chef: the folder itself, or the one in it that is named as the cookbook.
    inner = export / source.name
    folder = export if cookbook.read(export, str(source)) or not source.name or not inner.is_dir() else inner
    return ((folder, _named(source, export, folder)),)


def _named(source: Source, export: Path, folder: Path) -> Cookbook:
    inside = "" if folder == export else f", folder {folder.relative_to(export)}"
    place = f"{source}{inside}"
    found = cookbook.read(folder, place)
    if found is None:
        raise SwagentError(
            f"{place}: there is neither metadata.json nor metadata.rb; name the cookbook's folder in `path`, "
            "or take all below it with `all: true`"
        )
    if source.name and found.name and source.name != found.name:
        raise SwagentError(f"{place}: its metadata names it {found.name}, not {source.name}; correct `name`")
    # Metadata of 2011 bears no name: then the folder's is the cookbook's, as it was then.
    last = source.folder.rpartition("/")[2] or source.location.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    guessed = re.sub(r"\.git$|(-[0-9][0-9.]*)?\.(tar|tgz|tbz2?|txz|zip)(\.\w+)?$", "", last)
    name = found.name or source.name or (guessed if folder == export else folder.name)
    if not NAME.fullmatch(name):
        raise SwagentError(f"{place}: {name!r} is no name of a cookbook; correct its metadata")
    return replace(found, name=name)


def _digest(specification: Specification, revisions: Mapping[Source, Revision]) -> str:
    return release.digest_of(specification.digest, [revisions[source].id for source in specification.sources])


def _remember(settings: Settings, specification: Specification, now: Standing, before: Standing) -> None:
    """Write only what changed, so that an unchanged specification costs no fsync."""
    if now == before or (now.error and now.error == before.error):
        return
    try:
        release.remember(settings, specification.digest, now)
    except OSError:
        # A full disk: the record of a failure is worth less than the release that goes on being used.
        if not now.error:
            raise


def _system(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"cannot build a release: {where}{error.strerror or error}; make room or correct the permissions"


def _age(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"
