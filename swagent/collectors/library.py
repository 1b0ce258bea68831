"""The `cfn` and `request` sources, read by os-collect-config's own modules; each is imported only when configured.

The modules take their options from oslo.config's one global CONF and their HTTP from what we hand them: our session,
so that size, time and redirects are bounded, and signed URLs stay out of logs and messages.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any, Callable, Mapping, Sequence

from swagent.collectors.found import Found
from swagent.errors import DocumentError, SourceUnavailable, SwagentError
from swagent.metadata import check_document
from swagent.model import Json
from swagent.openstack import credentials
from swagent.settings import Settings

METADATA_SERVER = "/var/lib/heat-cfntools/cfn-metadata-server"
REMEDY = "look at it with curl, or correct the template; the last good one stays in use"


class _Words(logging.Handler):
    """Keeps what the module logs: it is the only place where it says what was wrong with a document."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


class _Response:
    """The little of requests' response that the modules use."""

    def __init__(self, text: str, headers: Mapping[str, str]) -> None:
        self.text = text
        self.headers = headers

    def raise_for_status(self) -> None:
        """Refused answers have been raised where they came."""


class Requests:
    """What the modules take for the requests library; `error` is the last exchange's, in our words."""

    def __init__(self, timeout: float, ca_certificate: str, check: Callable[[bytes, str], Any]) -> None:
        import requests

        from swagent.openstack.http import Http

        self.exceptions = requests.exceptions
        self.error: SwagentError | None = None
        self._check = check
        self._http = Http(timeout, ca_certificate)

    def Session(self) -> Requests:
        return self

    def head(self, url: str, timeout: float = 0) -> _Response:
        """Nothing asked: the module compares Last-Modified only, which misses a second change within one second."""
        return _Response("", {})

    def get(self, url: str, params: Mapping[str, str] | None = None, **unused: Any) -> _Response:
        from swagent.openstack import cfn

        self.error = None
        try:
            answer = self._http.request("GET", url, params=params)
            if not answer.ok:
                raise cfn.explain(answer, "cannot read the metadata")
            self._check(answer.body, answer.url)
            return _Response(answer.body.decode("utf-8"), answer.headers)
        except SwagentError as error:
            self.error = error
        raise self.exceptions.RequestException(str(self.error))


def configure(name: str, options: Mapping[str, Any]) -> Any:
    """The module os_collect_config.<name>, its group of CONF set to the options; SourceUnavailable without it."""
    try:
        from oslo_config import cfg  # type: ignore[import]

        module = importlib.import_module(f"os_collect_config.{name}")
    except ImportError as error:
        raise SourceUnavailable(
            f"{name}: needs os-collect-config ({error}); install the package python3-os-collect-config"
        ) from error
    # Without CONF(): os-collect-config's own configuration files are not ours to read.
    cfg.CONF.register_opts(module.opts, group=name)
    cfg.CONF.register_opts([cfg.MultiStrOpt("deployment-key", default=["deployments"])])
    known = {option.dest for option in module.opts}
    # Deployments that only carry data are laid out by us (metadata.laid_out): there a bad one does not drop the rest.
    cfg.CONF.set_override("deployment_key", [])
    for key in known:
        value = [] if key == "deployment_key" else options.get(key)
        if value is None:
            cfg.CONF.clear_override(key, group=name)
            continue
        try:
            cfg.CONF.set_override(key, value, group=name)
        except ValueError as error:
            raise DocumentError(f"sources.{name}", key, str(error), "correct it in the settings or metadata") from error
    return module


class Library:
    """A source that os-collect-config's module reads with these options.

    url is for messages; check(body, url) raises DocumentError: the modules take a list for a map, and only log faults.
    """

    def __init__(self, name: str, options: Mapping[str, Any], url: str, check: Callable[[bytes, str], Any]) -> None:
        self.name = name
        self.options = options
        self.url = url
        self.requests = Requests(credentials.timeout(options, name), str(options.get("ca_certificate") or ""), check)
        configure(name, options)

    def collect(self) -> Found:
        content: dict[str, Json] = {}
        # One path at a time: keystoneclient's signer adds each text to the last one: a second signature is wrong.
        for path in self.options.get("path") or [None]:
            content.update(self._read(path))
        return Found(((self.name, check_document(content, self.name)),))

    def _read(self, path: str | None) -> Mapping[str, Json]:
        module = configure(self.name, {**self.options, "path": [path]} if path else self.options)
        words = _Words()
        logger = logging.getLogger(f"os_collect_config.{self.name}")
        logger.addHandler(words)
        logger.propagate = False  # its lines carry whole signed URLs
        try:
            return check_document(module.Collector(requests_impl=self.requests).collect()[0][1], self.name)
        # A document that is not what the module expects comes out as AttributeError, TypeError, lxml's errors...
        except Exception as error:
            if self.requests.error is not None:
                raise self.requests.error from error
            if isinstance(error, SwagentError):
                raise
            said = "; ".join(words.words) or f"not what it should be: {type(error).__name__}: {error}"
            raise DocumentError(f"{self.name} at {self.url}", path or "", said, REMEDY) from error
        finally:
            logger.removeHandler(words)


def check_map(document: Json, url: str) -> None:
    if not isinstance(document, dict):
        raise DocumentError(url, "", "must be a map", REMEDY)


def cfn_options(options: Mapping[str, Any], hint: Sequence[str]) -> dict[str, Any]:
    """Options of `cfn` with `path` as a list and the API's URL from the hint file's lines where none is given."""
    found = dict(options)
    if not found.get("metadata_url") and hint and hint[0].strip():
        found["metadata_url"] = f"{hint[0].strip()}/v1/"
    path: Json = found.get("path")
    if isinstance(path, str):
        found["path"] = [path]
    return found


def cfn(options: Mapping[str, Any], settings: Settings) -> Library:
    """`cfn`: DescribeStackResource with the server's keys; options as in the metadata's `os-collect-config.cfn`."""
    from pathlib import Path

    hint_file = Path(str(options.get("heat_metadata_hint") or settings.under_root(METADATA_SERVER)))
    try:
        hint = hint_file.read_text(errors="replace").splitlines()
    except OSError:
        hint = []
    whole = cfn_options(options, hint)
    credentials.require(whole, "cfn", "metadata_url", "access_key_id", "secret_access_key", "stack_name", "path")
    for path in whole["path"]:
        if "." not in path:
            raise DocumentError(
                "sources.cfn",
                "path",
                f"{path!r} is not RESOURCE.Metadata[.KEY...]",
                "correct it in the settings or metadata",
            )
    from swagent.openstack.cfn import parse_metadata
    from swagent.openstack.http import plain

    below = any(path.partition(".")[2] != "Metadata" for path in whole["path"])

    def check(body: bytes, url: str) -> None:
        document = parse_metadata(body, url)
        if not below:
            check_map(document, url)

    return Library("cfn", whole, plain(whole["metadata_url"]), check)


def request(options: Mapping[str, Any], settings: Settings) -> Library:
    """`request`: a document at a (signed) URL, such as Swift's TempURL of a POLL_TEMP_URL server."""
    (url,) = credentials.require(options, "request", "metadata_url")
    from swagent.openstack.http import parse_json, plain

    return Library("request", options, plain(url), lambda body, source: check_map(parse_json(body, source), source))
