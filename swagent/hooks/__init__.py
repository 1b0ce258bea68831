"""Hooks: what applies a deployment, by its group.

To add a kind: a module with `run(request) -> HookResult`, and its line in KINDS. Any other group is looked for among
the executable heat-config hooks (external.py).
"""

from __future__ import annotations

from typing import Mapping, Optional

from swagent.hooks import chef, chef_root, external, script
from swagent.hooks.request import Hook, HookRequest
from swagent.settings import Settings

__all__ = ["KINDS", "Hook", "HookRequest", "find", "tidy"]

KINDS: Mapping[str, Hook] = {"chef": chef.run, "script": script.run}


def find(group: str, settings: Settings) -> Optional[Hook]:
    """The hook of a group: ours, else an executable heat-config hook; None where there is neither."""
    return KINDS.get(group) or external.hook_of(group, settings)


def tidy(settings: Settings) -> None:
    """Remove what a run that was killed left behind and that may hold secrets."""
    chef_root.tidy(settings)
