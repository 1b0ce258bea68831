"""The kinds of metadata source. To add one, write a class with `collect()` (found.Collector) and its line in KINDS."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from swagent.collectors import heat, library, local
from swagent.collectors.found import Collector
from swagent.settings import Settings

# Each is made from (options, settings) and raises NotConfigured where it lacks what it needs; modules load when made.
KINDS: Mapping[str, Callable[[Mapping[str, Any], Settings], Collector]] = {
    "heat_local": local.HeatLocal,
    "cfn": library.cfn,
    "heat": heat.Heat,
    "request": library.request,
    "local": local.Local,
    "command": local.Command,
}
# Transports of a server's metadata: a server has one of them, and an update of the stack may change which.
REMOTE = ("cfn", "heat", "request")
