"""What each collector needs to reach its source: the settings, overlaid by the `os-collect-config` section.

Heat gives every server the section with its credentials; the first one comes by cfn-init-data, later ones with each
document. The last good one is kept on disk beside the documents, for a restart and for signals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from swagent import files
from swagent.errors import DocumentError, NotConfigured
from swagent.metadata import parse_sources
from swagent.settings import Settings


def normal(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under os-collect-config's Python names (metadata-url is metadata_url), those without a value left out."""
    return {key.replace("-", "_"): value for key, value in options.items() if value is not None and value != ""}


def overlay(sources: Mapping[str, Mapping[str, Any]], section: Mapping[str, Any], collector: str) -> dict[str, Any]:
    """The options of a collector: the section wins, a null in it means absent (Heat nulls a former transport)."""
    return {**normal(sources.get(collector) or {}), **normal(section.get(collector) or {})}


def require(options: Mapping[str, Any], collector: str, *names: str) -> list[str]:
    """The values of the options, as text; NotConfigured names those that are absent."""
    absent = [name for name in names if not options.get(name)]
    if absent:
        raise NotConfigured(
            f"{collector}: {', '.join(absent)} not known; they come with the metadata's os-collect-config section "
            f"or from sources.{collector} of the settings"
        )
    return [str(options[name]) for name in names]


def timeout(options: Mapping[str, Any], collector: str) -> float:
    """Seconds to connect and to wait for each read; DocumentError where the option is no number."""
    value = options.get("timeout", 10.0)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < float("inf") or isinstance(value, bool):
        raise DocumentError(f"sources.{collector}", "timeout", f"{value!r} is no number of seconds", "correct it")
    return seconds


def sections_file(settings: Settings) -> Path:
    """{"swagent": {…}, "os-collect-config": {…}}: the last good sections; no collector bears its name."""
    return settings.collected / "sections.json"


def saved(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """The last good `os-collect-config` section on disk, by collector; empty where there is none or it is damaged."""
    try:
        document = files.read_json(sections_file(settings))
        return parse_sources(document.get("os-collect-config"), str(sections_file(settings)))
    except (OSError, DocumentError, AttributeError):
        return {}
