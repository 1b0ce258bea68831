"""A web server with TLS for tests: real `git http-backend` below /git/ (a password below /git/private/), else files.

    python3 gitweb.py FOLDER PORT-FILE CERTIFICATE USER:PASSWORD

It listens on a free port of 127.0.0.1, writes the number to PORT-FILE, and to stdout each request's method and path,
and each answer's status.
"""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Web(SimpleHTTPRequestHandler):
    folder: Path
    authorization: str
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        print(self.command, self.path, flush=True)
        path, _, query = self.path.partition("?")
        if not path.startswith("/git/"):
            return super().do_GET()
        if path.startswith("/git/private/") and self.headers.get("Authorization") != self.authorization:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "PATH_INFO": path[len("/git") :],
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        ended = subprocess.run(["git", "http-backend"], env=environment, input=body, stdout=subprocess.PIPE, timeout=60)
        head, _, content = ended.stdout.partition(b"\r\n\r\n")
        fields = [line.partition(": ") for line in head.decode().split("\r\n")]
        self.send_response(next((int(value.split()[0]) for name, _, value in fields if name == "Status"), 200))
        for name, _, value in fields:
            if name not in ("Status", ""):
                self.send_header(name, value)
        # Else the end of the answer is the end of the connection, which GnuTLS takes for an attack.
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass

    def log_request(self, code: object = "-", size: object = "-") -> None:
        print("answered", int(code), flush=True)


def main(folder: str, port_file: str, certificate: str, credentials: str) -> None:
    Web.folder = Path(folder)
    Web.authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    os.chdir(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    beside = port_file + ".new"
    Path(beside).write_text(str(server.server_address[1]))
    os.replace(beside, port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
