"""A supermarket for tests: serves folders as cookbooks by the API that librarian-chef speaks.

    python3 supermarket.py ROOT PORT-FILE

ROOT/NAME/VERSION/ is one version of a cookbook. It listens on a free port of 127.0.0.1, writes the number to PORT-FILE,
and each request's path to stdout. ROOT may change while it runs.

    GET /api/v1/cookbooks/NAME                          {"name", "versions": [URL, newest first]}
    GET /api/v1/cookbooks/NAME/versions/1_2_0           {"version", "file": URL}
    GET /api/v1/cookbooks/NAME/versions/1_2_0/download  a tar.gz with one folder NAME
    GET /moved/...                                      302 to the same below /api/v1
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BASE = "/api/v1/cookbooks/"


def versions_of(root: Path, name: str) -> list[str]:
    folder = root / name
    if name in ("", ".", "..") or not folder.is_dir():
        return []
    return sorted(os.listdir(folder), key=lambda version: [int(part) for part in version.split(".")], reverse=True)


def packed(folder: Path, name: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(folder, arcname=name)
    return content.getvalue()


class Supermarket(BaseHTTPRequestHandler):
    root: Path

    def do_GET(self) -> None:
        print(self.path, flush=True)
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path.startswith("/moved/"):
            return self.answer(302, b"", location=f"{here}/api/v1/{self.path[len('/moved/'):]}")
        name, *rest = self.path[len(BASE) :].split("/") if self.path.startswith(BASE) else [""]
        known = versions_of(self.root, name)
        version = rest[1].replace("_", ".") if len(rest) > 1 and rest[0] == "versions" else ""
        if not known or (rest and version not in known):
            return self.answer(404, b'{"error_code": "NOT_FOUND"}')
        url = f"{here}{BASE}{name}/versions/"
        if not rest:
            listed = {"name": name, "versions": [url + each.replace(".", "_") for each in known]}
            return self.answer(200, json.dumps(listed).encode())
        if len(rest) == 2:
            return self.answer(200, json.dumps({"version": version, "file": f"{url}{rest[1]}/download"}).encode())
        return self.answer(200, packed(self.root / name / version, name), kind="application/gzip")

    def answer(self, status: int, body: bytes, kind: str = "application/json", location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(root: str, port_file: str) -> None:
    Supermarket.root = Path(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Supermarket)
    beside = port_file + ".new"
    Path(beside).write_text(str(server.server_address[1]))
    os.replace(beside, port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
