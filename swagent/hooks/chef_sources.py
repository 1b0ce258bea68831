"""Where a deployment's cookbooks, roles, environments and data bags come from: its options, made into folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Optional

from swagent.errors import DocumentError
from swagent.hooks.chef_root import Sources
from swagent.hooks.request import HookRequest

Resolved = Mapping[str, Mapping[str, Any]]


def sources_of(request: HookRequest, deadline: float) -> Sources:
    """The folders of the deployment's repository and cookbooks, fetched where needed, until `deadline` (monotonic s).

    SwagentError where something cannot be had and was never had before.
    """
    options = {key: value for key, value in request.deployment.options.items() if value not in (None, "", [], {})}
    parameters = request.deployment.parameters
    found = Sources()
    kitchen_path = options.get("kitchen_path")
    option = options.get("repository") or options.get("kitchen")
    if option or kitchen_path:
        if kitchen_path is not None and not isinstance(kitchen_path, str):
            raise DocumentError(
                f"deployment {request.deployment.name}", "options.kitchen_path", "is no text", "give a folder's path"
            )
        from swagent.cookbooks import repository  # here: a deployment without one does not load git's part

        book = repository.checkout(option, request.settings, deadline, request.mark, kitchen_path, parameters)
        resolved = cookbooks_in(book.path, book.source, book.revision)
        found = Sources(repository=book.path, resolved=resolved, warnings=book.warnings)
    if options.get("cookbooks") or options.get("cheffile"):
        from swagent.cookbooks import resolve, specification

        wanted = specification.parse(options, parameters, request.settings)
        release = resolve.resolve(wanted, request.settings, deadline, request.mark)
        found = Sources(
            cookbook_paths=(release.path,),
            repository=found.repository,
            resolved={**found.resolved, **release.cookbooks},
            warnings=(*found.warnings, *release.warnings),
        )
    return found


def cookbooks_in(repository: Optional[Path], source: str, revision: str) -> Resolved:
    """The repository's cookbooks with where they come from; their versions are Chef's to say."""
    folder = repository / "cookbooks" if repository else None
    if folder is None or not folder.is_dir():
        return {}
    return {each.name: {"source": source, "revision": revision} for each in sorted(folder.iterdir()) if each.is_dir()}
