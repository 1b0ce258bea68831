"""A keystone, Heat, heat-api-cfn and Swift on one local port: they keep the contract, count what they are asked, refuse
what they were not told, and fail on demand. Signatures are checked by keystoneclient's own signer.
"""

from __future__ import annotations

import json
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

EXPIRED = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code></Error></ErrorResponse>"


class FakeCloud:
    """Use as a context manager. Everything is public: arrange it, run, look at it."""

    def __init__(self) -> None:
        self.users = {"user-1": "p%word $&#1"}
        self.keys = {"access-1": "secr^t%1"}
        self.project = "project-1"
        self.token_life = 3600
        self.tokens: set[str] = set()
        self.region = "RegionOne"
        self.metadata: dict[tuple[str, str], Any] = {}  # (name/uuid, resource) -> metadata
        self.objects: dict[str, Any] = {}  # path -> document or bytes
        self.signals: list[tuple[str, dict[str, Any]]] = []  # (path, body), those that were accepted
        self.requests: list[tuple[str, str]] = []  # (method, path), all
        self.queries: list[str] = []
        self.raw_paths: list[str] = []
        self.connections = 0
        self.fail: list[Any] = []  # what the next requests to Heat or Swift get: a status, or a callable(handler)
        self.fail_login: list[int] = []
        self.signed_urls_expired = False
        self.clock_offset = 0.0
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # header and body go out as two writes

            def setup(self) -> None:
                cloud.connections += 1
                super().setup()

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    pass  # a client that gave us up

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.dispatch()

            do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

            def dispatch(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length)
                self.parts = urlsplit(self.path)
                self.query = dict(parse_qsl(self.parts.query, keep_blank_values=True))
                cloud.requests.append((self.command, unquote(self.parts.path)))
                cloud.queries.append(self.parts.query)
                cloud.raw_paths.append(self.path)
                cloud.answer(self)

            def date_time_string(self, timestamp: Any = None) -> str:
                return formatdate(time.time() + cloud.clock_offset, usegmt=True)

            def say(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> FakeCloud:
        self.thread.start()
        return self

    def __exit__(self, *unused: Any) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    # Addresses, as Heat hands them out

    @property
    def heat_options(self) -> dict[str, str]:
        return {
            "auth_url": f"{self.url}/v3/",
            "user_id": "user-1",
            "password": self.users.get("user-1", "gone"),
            "project_id": self.project,
            "stack_id": "stack/0000",
            "resource_name": "srv",
            "region_name": self.region,
        }

    @property
    def cfn_options(self) -> dict[str, str]:
        return {
            "metadata_url": f"{self.url}/cfn/v1/",
            "access_key_id": "access-1",
            "secret_access_key": self.keys["access-1"],
            "stack_name": "stack",
            "path": "srv.Metadata",
        }

    def signed_url(self, made: float | None = None) -> str:
        """A pre-signed signal URL as Heat makes it, by keystoneclient's signer."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made if made is not None else time.time()))
        path = "/cfn/v1/signal/arn%3Aopenstack%3Aheat%3A%3Aproject-0%3Astacks/stack/0000/resources/d"
        params = {"AWSAccessKeyId": "access-1", "SignatureVersion": "2", "Timestamp": stamp}
        params["SignatureMethod"] = "HmacSHA256"
        params["Signature"] = self.sign("POST", unquote(path), params)
        from urllib.parse import urlencode

        return f"{self.url}{path}?{urlencode(params)}"

    def sign(self, verb: str, path: str, params: dict[str, str]) -> str:
        from keystoneclient.contrib.ec2.utils import Ec2Signer

        host = urlsplit(self.url).netloc
        wanted = {key: value for key, value in params.items() if key != "Signature"}
        return str(
            Ec2Signer(self.keys[params["AWSAccessKeyId"]]).generate(
                {"host": host, "verb": verb, "path": path, "params": wanted}
            )
        )

    # Answers

    def answer(self, handler: Any) -> None:
        path = unquote(handler.parts.path)
        if path.endswith("/auth/tokens"):
            return self.login(handler, path)
        if self.fail:
            failure = self.fail.pop(0)
            return failure(handler) if callable(failure) else handler.say(failure, b"<html>no</html>")
        if path.startswith("/heat/"):
            return self.heat(handler, path)
        if path.startswith("/cfn/"):
            return self.cfn(handler, path)
        if path.startswith("/swift/"):
            return self.swift(handler, path)
        handler.say(404, {"error": "nobody told this fake of " + path})

    def login(self, handler: Any, path: str) -> None:
        if self.fail_login:
            return handler.say(self.fail_login.pop(0), {"error": {"message": "told to fail"}})
        auth = json.loads(handler.body)["auth"]
        user = auth["identity"]["password"]["user"]
        assert auth["identity"]["methods"] == ["password"] and path == "/v3/auth/tokens"
        assert auth["scope"] == {"project": {"id": self.project}}
        if user["id"] not in self.users or self.users[user["id"]] != user["password"]:
            return handler.say(401, {"error": {"code": 401, "title": "Unauthorized"}})
        token = f"token-{len(self.tokens) + 1}"
        self.tokens.add(token)

        def stamp(seconds: float) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + self.clock_offset + seconds))

        endpoints = [
            {"interface": "public", "region": self.region, "region_id": self.region, "url": f"{self.url}/heat/v1/p"},
            {"interface": "internal", "region": self.region, "region_id": self.region, "url": "http://127.0.0.1:1/"},
        ]
        catalog = [{"type": "identity", "endpoints": []}, {"type": "orchestration", "endpoints": endpoints}]
        document = {"token": {"expires_at": stamp(self.token_life), "issued_at": stamp(0), "catalog": catalog}}
        return handler.say(201, document, {"X-Subject-Token": token})

    def heat(self, handler: Any, path: str) -> None:
        if handler.headers.get("X-Auth-Token") not in self.tokens:
            return handler.say(401, {"error": {"code": 401, "title": "Unauthorized"}})
        place = path[len("/heat/v1/p/stacks/") :]
        stack, _, rest = place.partition("/resources/")
        resource, _, verb = rest.rpartition("/")
        if (handler.command, verb) == ("GET", "metadata") and (stack, resource) in self.metadata:
            content = self.metadata[stack, resource]
            return handler.say(200, content if isinstance(content, bytes) else {"metadata": content})
        if (handler.command, verb) == ("POST", "signal"):
            self.signals.append((path, json.loads(handler.body)))
            return handler.say(200, None)
        return handler.say(403, {"code": 403, "title": "Forbidden"})

    def cfn(self, handler: Any, path: str) -> None:
        query = handler.query
        if query.get("AWSAccessKeyId") not in self.keys:
            return handler.say(403, EXPIRED.encode())
        if query.get("Signature") != self.sign(handler.command, path, query):
            return handler.say(403, EXPIRED.encode())
        if "Timestamp" in query and self.signed_urls_expired:
            return handler.say(403, EXPIRED.encode())
        if handler.command == "POST":
            self.signals.append((path, json.loads(handler.body)))
            return handler.say(200, b"")
        content = self.metadata[query["StackName"], query["LogicalResourceId"]]
        text = content if isinstance(content, str) else json.dumps(content)
        detail = f"<StackResourceDetail><Metadata>{escape(text)}</Metadata></StackResourceDetail>"
        result = f"<DescribeStackResourceResult>{detail}</DescribeStackResourceResult>"
        body = f"<DescribeStackResourceResponse>{result}</DescribeStackResourceResponse>"
        return handler.say(200, body.encode(), {"Content-Type": "application/xml"})

    def swift(self, handler: Any, path: str) -> None:
        if handler.command == "PUT":
            self.objects[path] = json.loads(handler.body)
            return handler.say(201)
        if path not in self.objects:
            return handler.say(404)
        return handler.say(200, self.objects[path], {"Last-Modified": formatdate(usegmt=True)})
