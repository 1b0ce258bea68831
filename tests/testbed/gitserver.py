"""Git repositories for tests: made with the real git, served as files or by the real `git daemon` on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Mapping

from tests.wait import until

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
}


class Repository:
    """A bare repository at `path`, and a clone beside it through which commits come."""

    def __init__(self, path: Path, branch: str = "main") -> None:
        self.path = path
        self.work = path.with_name(path.name + ".work")
        self.branch = branch
        path.parent.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "--bare", "-b", branch, str(path), folder=path.parent)
        self.git("init", "-q", "-b", branch, str(self.work), folder=path.parent)
        self.git("remote", "add", "origin", str(path))

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *words: str, folder: Path | None = None) -> str:
        command = ["git", "-c", "protocol.file.allow=always", *words]
        ended = subprocess.run(
            command, cwd=folder or self.work, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
        return ended.stdout.strip()

    def commit(self, tree: Mapping[str, str], push: bool = True, force: bool = False) -> str:
        """Write {path: content} (and what is not named stays), commit, push; gives the commit."""
        for name, content in tree.items():
            target = self.work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        return self.commit_all(push, force)

    def commit_all(self, push: bool = True, force: bool = False) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")
        if push:
            self.git("push", "-q", *(["-f"] if force else []), "origin", f"HEAD:refs/heads/{self.branch}")
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, commit: str = "HEAD", annotated: bool = False) -> None:
        self.git("tag", "-f", *(["-m", name, "-a"] if annotated else []), name, commit)
        self.git("push", "-q", "-f", "origin", f"refs/tags/{name}")


def cookbook(
    name: str, version: str = "1.0.0", depends: Mapping[str, str] | None = None, recipe: str = "", under: str = ""
) -> dict[str, str]:
    """{path: content} of a small cookbook."""
    lines = [f"name '{name}'", f"version '{version}'"]
    for other, constraint in (depends or {}).items():
        lines.append(f"depends '{other}'" + (f", '{constraint}'" if constraint else ""))
    top = f"{under}/" if under else ""
    return {
        f"{top}metadata.rb": "\n".join(lines) + "\n",
        f"{top}recipes/default.rb": recipe or f"log '{name} {version}'\n",
    }


def write(folder: Path, tree: Mapping[str, str]) -> Path:
    """Write {path: content} below a folder."""
    for name, content in tree.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def git_daemon(folder: Path) -> Iterator[str]:
    """The URL below which `git daemon` serves the repositories of a folder."""
    port = free_port()
    command = ["git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}"]
    child = subprocess.Popen(
        [*command, f"--base-path={folder}", str(folder)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: _answers(port), 20, "git daemon answers")
        yield f"git://127.0.0.1:{port}"
    finally:
        # `git daemon` is git's child: its session goes as a whole.
        os.killpg(child.pid, 15)
        child.wait(20)


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one file, signed by itself."""
    path = folder / "certificate.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    made = subprocess.run(
        [*words, "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", "-"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    path.write_bytes(path.read_bytes() + made.stdout)
    return path


@contextmanager
def web(folder: Path, work: Path, credentials: str) -> Iterator[Web]:
    """A web server with TLS over a folder: git's repositories below /git/, files elsewhere."""
    work.mkdir(parents=True, exist_ok=True)
    port_file, log, signed = work / "port", work / "requests", certificate(work)
    words = [sys.executable, str(Path(__file__).with_name("gitweb.py")), str(folder), str(port_file)]
    with log.open("wb") as stream:
        child = subprocess.Popen([*words, str(signed), credentials], stdout=stream, env={"PATH": os.environ["PATH"]})
    try:
        port = until(lambda: port_file.exists() and int(port_file.read_text()), 20, "the web server listens")
        yield Web(f"https://127.0.0.1:{port}", log, signed)
    finally:
        child.terminate()
        child.wait(20)


class Web:
    def __init__(self, url: str, log: Path, certificate: Path) -> None:
        self.url = url
        self.log = log
        self.certificate = certificate

    @property
    def requests(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if not line.startswith("answered")]


@contextmanager
def supermarket(root: Path, work: Path) -> Iterator[Site]:
    """A running supermarket over ROOT/NAME/VERSION folders; `work` gets its log."""
    root.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    port_file, log = work / "port", work / "requests"
    with log.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("supermarket.py")), str(root), str(port_file)], stdout=stream
        )
    try:
        port = until(lambda: port_file.exists() and int(port_file.read_text()), 20, "the supermarket listens")
        yield Site(root, f"http://127.0.0.1:{port}/api/v1", log)
    finally:
        child.terminate()
        child.wait(20)


class Site:
    def __init__(self, root: Path, url: str, log: Path) -> None:
        self.root = root
        self.url = url
        self.log = log

    def add(self, name: str, version: str = "1.0.0", depends: Mapping[str, str] | None = None) -> Path:
        return write(self.root / name / version, cookbook(name, version, depends))

    @property
    def requests(self) -> list[str]:
        return self.log.read_text().splitlines()
