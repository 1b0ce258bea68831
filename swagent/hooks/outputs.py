"""Declared outputs, which a hook's program leaves in files (heat-agents: $heat_outputs_path.<output name>)."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Mapping, Sequence

from swagent import files
from swagent.model import Deployment, Output

# Heat refuses a body over 1 MiB; more of one output is of no use to it.
LONGEST_OUTPUT = 1 << 20


def make_outputs_path(folder: Path, deployment: Deployment) -> Path:
    """$heat_outputs_path: a path that may get `.NAME` appended, and a folder for files that are called NAME."""
    name = "".join(each for each in deployment.id if each.isalnum() or each in "-_") or "outputs"
    return files.make_folder(folder / "outputs" / name)


def read_outputs(path: Path, declared: Sequence[Output]) -> Mapping[str, str]:
    """The text of each declared output that was written, nothing stripped; `path.NAME` counts before `path/NAME`."""
    found = {}
    for output in declared:
        if "/" in output.name or "\0" in output.name or output.name in ("", ".", ".."):
            continue  # no file can be called so
        for candidate in (path.with_name(f"{path.name}.{output.name}"), path / output.name):
            try:
                if stat.S_ISREG(candidate.stat().st_mode):
                    with candidate.open("rb") as stream:
                        found[output.name] = stream.read(LONGEST_OUTPUT).decode("utf-8", "replace")
                    break
            except OSError:
                continue  # not written
    return found


def take_outputs(path: Path, declared: Sequence[Output]) -> Mapping[str, str]:
    """read_outputs, and the files are gone: nobody scrubbed them."""
    found = read_outputs(path, declared)
    shutil.rmtree(path.parent)
    return found


def error_of(outputs: Mapping[str, object], declared: Sequence[Output]) -> str:
    """The first error output that says something: by Heat's contract the deployment has failed then."""
    for output in declared:
        if output.error_output and str(outputs.get(output.name) or "").strip():
            return str(outputs[output.name]).strip()
    return ""


def without_empty_errors(outputs: Mapping[str, object], declared: Sequence[Output]) -> Mapping[str, object]:
    """Heat takes an error output that is merely present for failure: one that says nothing stays out."""
    errors = {output.name for output in declared if output.error_output}
    return {name: value for name, value in outputs.items() if name not in errors or str(value or "").strip()}
