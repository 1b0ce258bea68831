"""Answers for Nova and Glance where Heat asks them without any OS::Nova resource: a server on a loopback port.

Heat asks Nova whether a server still exists when a deployment with action DELETE is deleted, and for flavor and image
of a launch configuration. Here every id exists but those that begin with "gone". Anything else is refused with 404
and stands in the log.

    /usr/bin/python3 tests/testbed/programs/compute.py PORT
"""

from __future__ import annotations

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Tuple

ITEM = re.compile(r"/(?:v2\.1|image/v2)/(?:[0-9a-f]{32}/)?(servers|flavors|images)/([^/]+)")
LISTING = re.compile(r"/(?:v2\.1|image/v2)/(?:[0-9a-f]{32}/)?(servers|flavors|images)(?:/detail)?")


def answer(base: str, path: str) -> Tuple[int, Any]:
    """(status, document) for a GET; the shapes are those of the compute API 2.1 and the image API 2."""
    nova = {
        "id": "v2.1",
        "status": "CURRENT",
        "version": "2.1",
        "min_version": "2.1",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base}/v2.1/"}],
    }
    glance = {"id": "v2.9", "status": "CURRENT", "links": [{"rel": "self", "href": f"{base}/image/v2/"}]}
    if path == "":
        return 200, {"versions": [nova]}
    if path == "/v2.1":
        return 200, {"version": nova}
    if path in ("/image", "/image/versions"):
        return 300, {"versions": [glance]}
    if path.startswith("/image/v2/schemas/"):
        return 200, {"name": "image", "properties": {}, "additionalProperties": {"type": "string"}}
    listing = LISTING.fullmatch(path)
    if listing:
        return 200, {listing[1]: []}
    item = ITEM.fullmatch(path)
    if not item or item[2].startswith("gone"):
        return 404, {"itemNotFound": {"code": 404, "message": f"{path} is not here"}}
    thing = {"id": item[2], "name": item[2], "status": "ACTIVE", "links": [], "metadata": {}, "addresses": {}}
    thing.update(ram=64, disk=1, vcpus=1)
    return 200, thing if item[1] == "images" else {item[1][:-1]: thing}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host, port = self.server.server_address[:2]
        status, document = answer(f"http://{host}:{port}", self.path.partition("?")[0].rstrip("/"))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
