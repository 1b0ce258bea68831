"""One HTTP exchange with an OpenStack service: bounded in time and size, verified, and silent about credentials.

Everything that talks to Heat, keystone or Swift goes through `Http`. An answer is a value whatever its status; only an
exchange that gave no whole answer is an error. Decide by the status: Heat answers errors as JSON, XML, HTML or nothing.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Mapping
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests

from swagent.errors import DocumentError, TransportError

# No document of a server comes near it; a body that goes on for ever must not fill the machine's memory.
BODY_CEILING = 64 << 20
REDIRECTS = 3


@dataclass(frozen=True)
class Answer:
    """What a service said: status, headers (names in lower case), body; url is fit for messages."""

    status: int
    body: bytes
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body's document; DocumentError names the URL, line and column where it is none."""
        return parse_json(self.body, self.url)


def plain(url: str) -> str:
    """The URL without user, password, query and fragment: signatures and keys live there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def parse_json(body: bytes, source: str) -> Any:
    """The document in a body; DocumentError names the source, line and column where it is none."""
    remedy = "the last good one stays in use"
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise DocumentError(source, place, f"not JSON: {error.msg}", remedy) from error
    except UnicodeDecodeError as error:
        raise DocumentError(source, f"byte {error.start}", "not UTF-8", remedy) from error
    except RecursionError as error:
        raise DocumentError(source, "", "nested too deeply", remedy) from error


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port, so that what is secret may follow from one to the other."""
    ports = {"http": 80, "https": 443}
    try:
        first, second = urlsplit(one), urlsplit(other)
        return (first.scheme, first.hostname, first.port or ports.get(first.scheme)) == (
            second.scheme,
            second.hostname,
            second.port or ports.get(second.scheme),
        )
    except ValueError:
        return False


def reason(error: Exception) -> str:
    """Why an exchange failed, in a few words: requests' own text repeats the whole URL, signature included."""
    if isinstance(error, requests.exceptions.SSLError):
        return f"the server's certificate is not accepted ({_innermost(error)})"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, (requests.exceptions.Timeout, socket.timeout)):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, (requests.exceptions.ConnectionError, ConnectionError, HTTPException)):
        text = _innermost(error)
        for known in ("Connection refused", "Name or service not known", "No route to host", "Network is unreachable"):
            if known in text:
                return known.lower()
        if "timed out" in text:
            return "no answer in time"
        return "the connection was closed without an answer"
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema)):
        return "not a URL"
    return type(error).__name__


def _innermost(error: BaseException) -> str:
    """The text of the error at the bottom: the ones above it carry the URL."""
    deepest: BaseException = error
    for _ in range(10):
        inner = getattr(deepest, "reason", None) or next(
            (each for each in deepest.args if isinstance(each, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        deepest = inner
    return str(deepest.args[-1]) if deepest.args else type(deepest).__name__


class Http:
    """A keep-alive session. `timeout`: seconds to connect and for each read; `deadline`: for the whole exchange."""

    def __init__(self, timeout: float = 10.0, ca_certificate: str = "", deadline: float = 60.0) -> None:
        self.timeout = timeout
        self.deadline = max(deadline, timeout)
        self._session = requests.Session()
        self._session.verify = ca_certificate or True
        # Without an auth of its own requests looks for the host in ~/.netrc and sends what it finds.
        self._session.auth = lambda prepared: prepared
        # Plain bytes only: a compressed body could unpack into any size.
        self._session.headers.update({"User-Agent": "swagent", "Accept-Encoding": "identity"})

    def close(self) -> None:
        self._session.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        ceiling: int = BODY_CEILING,
    ) -> Answer:
        """The answer, whatever its status. TransportError where none came whole, or it leads to another host."""
        until = time.monotonic() + self.deadline
        shown = plain(url)
        for _ in range(REDIRECTS + 1):
            answer, target = self._exchange(method, url, headers, params, body, ceiling, until, shown)
            if target is None:
                return answer
            if not same_origin(url, target):
                raise TransportError(
                    f"{shown} redirects to another host, {plain(target)}: credentials are not sent there; "
                    "correct the URL in the settings or the service's endpoint",
                    answer.status,
                )
            if method not in ("GET", "HEAD") and answer.status not in (307, 308):
                raise TransportError(
                    f"{shown} redirects a {method} to {plain(target)}; correct the service's endpoint", answer.status
                )
            url, params = target, None  # the target's query is whole
        raise TransportError(f"{shown} redirects more than {REDIRECTS} times; correct the service's endpoint")

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        params: Mapping[str, str] | None,
        body: bytes | None,
        ceiling: int,
        until: float,
        shown: str,
    ) -> tuple[Answer, str | None]:
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers or {}),
                params=params,
                data=body,
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                received = self._read(response.raw, ceiling, until, shown)
                told = response.headers.get("content-length", "")
                if method != "HEAD" and told.isdigit() and len(received) < int(told):
                    raise TransportError(f"cannot reach {shown}: its answer was cut off; will retry")
                answer = Answer(
                    response.status_code,
                    bytes(received),
                    shown,
                    {name.lower(): value for name, value in response.headers.items()},
                )
                target = response.headers.get("location") if response.is_redirect else None
                return answer, urljoin(url, target) if target else None
        except (requests.exceptions.RequestException, HTTPException, OSError, ValueError) as error:
            raise TransportError(f"cannot reach {shown}: {reason(error)}; will retry") from error

    def _read(self, raw: Any, ceiling: int, until: float, shown: str) -> bytearray:
        """The body, piece by piece as it comes: requests' own reads wait for all they ask for, however slow."""
        received = bytearray()
        while piece := raw._fp.read1(65536):
            received += piece
            if len(received) > ceiling:
                raise TransportError(f"{shown} answers with more than {ceiling} bytes; its document must be smaller")
            if time.monotonic() > until:
                raise TransportError(f"{shown} did not finish its answer within {self.deadline:g} s; will retry")
        raw.read()  # nothing is left: this gives the connection back for the next request
        return received
