"""Log in at keystone (v3, password, by user id) and talk to the services of its catalogue; a token is used again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Mapping, Sequence, Tuple

from swagent.errors import DocumentError, TransportError
from swagent.openstack.http import Answer, Http

# The service's own clock says how long a token lives; at this share of it a new one is taken.
SHARE_OF_LIFE = 0.8


@dataclass(frozen=True)
class Credentials:
    """A user of Heat's domain, as the metadata's `os-collect-config.heat` or a deployment's deploy_* inputs give it."""

    auth_url: str
    user_id: str
    password: str = field(repr=False)
    project_id: str = ""
    region_name: str = ""


@dataclass(frozen=True)
class Token:
    """A token, the catalogue that came with it, and the monotonic time at which a new one is due."""

    id: str = field(repr=False)
    catalog: Tuple[Mapping[str, Any], ...]
    renew_at: float


def tokens_url(auth_url: str) -> str:
    """Where passwords are exchanged for tokens; auth_url may end in /v3, in /v2.0 (old templates) or in neither."""
    base = auth_url.rstrip("/")
    if base.endswith("/v2.0"):
        base = base[: -len("/v2.0")]
    return f"{base}/auth/tokens" if base.endswith("/v3") else f"{base}/v3/auth/tokens"


def login_body(credentials: Credentials) -> bytes:
    """The request of keystone's API v3, "Password authentication with scoped authorization"."""
    user = {"id": credentials.user_id, "password": credentials.password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if credentials.project_id:
        auth["scope"] = {"project": {"id": credentials.project_id}}
    return json.dumps({"auth": auth}).encode()


def life(token: Mapping[str, Any]) -> float:
    """Seconds that a token lives, by the two times of the same clock that it carries; else an hour."""
    try:
        expires, issued = (
            datetime.strptime(str(token[key]).partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S")
            for key in ("expires_at", "issued_at")
        )
    except (KeyError, ValueError):
        return 3600.0
    return max(0.0, (expires - issued).total_seconds())


def parse_token(answer: Answer, now: float) -> Token:
    """The token of a 201 answer at monotonic `now`; DocumentError where it is none."""
    document = answer.json()
    token = document.get("token") if isinstance(document, dict) else None
    identifier = answer.headers.get("x-subject-token", "")
    if not isinstance(token, dict) or not identifier:
        raise DocumentError(answer.url, "token", "missing in keystone's answer", "is auth_url really keystone's?")
    catalog = token.get("catalog") or []
    if not isinstance(catalog, list) or not all(isinstance(each, dict) for each in catalog):
        raise DocumentError(answer.url, "token.catalog", "must be a list of maps", "is auth_url really keystone's?")
    return Token(id=identifier, catalog=tuple(catalog), renew_at=now + SHARE_OF_LIFE * life(token))


def endpoint(catalog: Sequence[Mapping[str, Any]], service: str, region: str = "", interface: str = "public") -> str:
    """The URL of a service type in a catalogue, without a trailing slash; empty where it has none (in that region)."""
    for entry in catalog:
        if entry.get("type") != service:
            continue
        for each in entry.get("endpoints") or []:
            if each.get("interface") == interface and (
                not region or region in (each.get("region_id"), each.get("region"))
            ):
                return str(each.get("url") or "").rstrip("/")
    return ""


class Session:
    """One user's way to the services: logs in when there is no good token, and once more when a service says 401."""

    def __init__(self, credentials: Credentials, http: Http, clock: Callable[[], float] = time.monotonic) -> None:
        self.credentials = credentials
        self.http = http
        self._clock = clock
        self._token: Token | None = None

    def token(self) -> Token:
        """A token that is not due for renewal. TransportError with keystone's status where it refuses."""
        now = self._clock()
        if self._token is None or now >= self._token.renew_at:
            url = tokens_url(self.credentials.auth_url)
            answer = self.http.request(
                "POST",
                url,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                body=login_body(self.credentials),
            )
            if answer.status in (401, 403):
                raise TransportError(
                    f"keystone at {answer.url} refuses user {self.credentials.user_id} ({answer.status}): "
                    "its stack is deleted, or the password is an old one; see os-collect-config in the metadata",
                    answer.status,
                )
            if answer.status not in (200, 201):
                raise TransportError(f"keystone at {answer.url} answers {answer.status}; will retry", answer.status)
            self._token = parse_token(answer, now)
        return self._token

    def endpoint(self, service: str) -> str:
        """The service's public URL; TransportError names the regions that have one where ours has none."""
        token = self.token()
        url = endpoint(token.catalog, service, self.credentials.region_name)
        if not url:
            # Not kept: the catalogue may be mended while the token lives.
            self._token = None
            raise TransportError(
                f"keystone at {tokens_url(self.credentials.auth_url)} lists no public endpoint of {service} "
                f"in region {self.credentials.region_name or 'any'}; ask the cloud's operator, or correct region_name"
            )
        return url

    def request(self, method: str, service: str, path: str, *, body: bytes | None = None) -> Answer:
        """The answer of METHOD <endpoint of the service><path>, after at most one new login."""
        for fresh in (self._token is None, True):
            url = self.endpoint(service) + path
            headers = {"X-Auth-Token": self.token().id, "Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            answer = self.http.request(method, url, headers=headers, body=body)
            if answer.status != 401 or fresh:
                break
            self._token = None  # expired early, or revoked
        if answer.status == 401:
            self._token = None
        return answer
