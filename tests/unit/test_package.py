"""What is packaged, and the rules that hold for every file of the project."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

import swagent

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = sorted(str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "swagent").rglob("*.py"))
# Walked, as there may be no git; the names of folders that are made and not written.
MADE = {".git", ".venv", ".eggs", "build", "dist", "__pycache__"}


def texts():
    """Every text file of the project, as (path, text)."""
    for path in sorted(CHECKOUT.rglob("*")):
        parts = path.relative_to(CHECKOUT).parts
        made = any(part in MADE or part.endswith((".egg-info", "_cache")) or part == ".hypothesis" for part in parts)
        if not made and path.is_file() and not path.is_symlink():
            try:
                yield "/".join(parts), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with what an installation would hold: lib/ as site-packages, and its metadata beside."""
    folder = tmp_path_factory.mktemp("build")
    words = ["-q", "egg_info", "--egg-base", folder, "build", "--build-base", folder, "--build-lib", folder / "lib"]
    ended = subprocess.run([sys.executable, "setup.py", *map(str, words)], cwd=CHECKOUT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return folder


def files_of(built):
    lib = built / "lib"
    return {str(path.relative_to(lib)) for path in lib.rglob("*") if path.is_file()}


def test_every_module_and_every_data_file_is_installed(built):
    wanted = {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / "swagent").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted == files_of(built)


def test_the_pins_and_the_ruby_of_bootstrap_are_installed(built):
    assert {f"swagent/bootstrap/data/{name}" for name in ("gems.sha256", "fetch.rb", "boot.rb")} <= files_of(built)


def test_the_version_is_the_packages_own(built):
    metadata = (built / "swagent.egg-info" / "PKG-INFO").read_text()
    assert f"\nVersion: {swagent.__version__}\n" in metadata


def test_the_command_starts_at_a_function_that_is_there():
    settings = configparser.ConfigParser()
    settings.read(CHECKOUT / "setup.cfg")
    script = settings["options.entry_points"]["console_scripts"].strip()
    name, _, target = script.partition(" = ")
    module, _, function = target.partition(":")
    tree = ast.parse((CHECKOUT / (module.replace(".", "/") + ".py")).read_text())
    assert name == "swagent"
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_required_packages_are_those_that_are_imported():
    settings = configparser.ConfigParser()
    settings.read(CHECKOUT / "setup.cfg")
    required = {name.lower().replace("-", "_") for name in settings["options"]["install_requires"].split()}
    required = required - {"pyyaml"} | {"yaml"}
    imported = set()
    for module in MODULES:
        text = (CHECKOUT / module).read_text()
        imported |= set(re.findall(r"import_module\(f?\"(\w+)", text))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = {name for name in imported if name not in sys.stdlib_module_names and name != "swagent"}
    # os-collect-config stands on these, and cannot be had without them.
    assert foreign - {"oslo_config", "keystoneauth1", "lxml"} == required


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for_and_runs_on_python_3_9(module):
    text = (CHECKOUT / module).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 9))
    assert ast.get_docstring(tree), "starts without a docstring"
    if len(tree.body) > 1 and module != "swagent/__init__.py":
        assert text.count("from __future__ import annotations\n") == 1


def test_no_file_names_a_registry_or_the_place_of_its_checkout():
    # Put together here, so that this file passes its own test.
    foreign = re.compile(
        "|".join(["ruby" + r"gems\.org", "py" + r"pi\.org", "deb" + r"\.debian\.org", str(CHECKOUT) + "/"])
    )
    assert [name for name, text in texts() if foreign.search(text)] == []


def test_every_program_of_tools_is_executable_and_parses():
    programs = [path for path in [*(CHECKOUT / "tools").iterdir(), CHECKOUT / ".ci/run"] if path.is_file()]
    shell = [path for path in programs if path.read_text().startswith(("#!/bin/bash", "#!/bin/sh"))]
    assert CHECKOUT / "tools/test" in shell
    for path in shell:
        assert path.stat().st_mode & 0o111, f"{path} is not executable"
    for path in [*shell, CHECKOUT / "tools/lib.sh"]:
        subprocess.run(["bash", "-n", path], check=True)
