"""Heat's CloudFormation API with AWS keys: signature version 2, without a Timestamp, so that a request never expires.

Signing follows AWS "Signature Version 2" as keystone checks it (keystoneclient: contrib/ec2/utils.py); Heat compares
the path unquoted and the host in lower case (heat: engine/resources/signal_responder.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any, Mapping
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from xml.etree import ElementTree

from swagent.errors import DocumentError, TransportError
from swagent.openstack.http import Answer, Http, parse_json


@dataclass(frozen=True)
class Keys:
    """An access key of Heat's domain and the API that takes it (`http://host:8000/v1/`)."""

    metadata_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)


def canonical_query(params: Mapping[str, str]) -> str:
    return "&".join(f"{quote(key, safe='')}={quote(params[key], safe='-_~')}" for key in sorted(params))


def signature(secret: str, verb: str, host: str, path: str, params: Mapping[str, str]) -> str:
    """Signature version 2 (HMAC-SHA256, base64) of a request; path is unquoted."""
    text = f"{verb}\n{host.lower()}\n{path}\n{canonical_query(params)}"
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


def sign(keys: Keys, verb: str, url: str, params: Mapping[str, str]) -> dict[str, str]:
    """The params with key, method and signature: the whole query of a request to the URL (its own is left out)."""
    parts = urlsplit(url)
    signed = {
        **params,
        "AWSAccessKeyId": keys.access_key_id,
        "SignatureVersion": "2",
        "SignatureMethod": "HmacSHA256",
    }
    signed["Signature"] = signature(keys.secret_access_key, verb, parts.netloc, unquote(parts.path), signed)
    return signed


def signed_url(keys: Keys, verb: str, url: str) -> str:
    """The URL signed with our keys instead of whatever query it had: how an expired pre-signed URL is used again."""
    bare = urlunsplit(urlsplit(url)._replace(query="", fragment=""))
    return f"{bare}?{canonical_query(sign(keys, verb, url, {}))}"


def explain(answer: Answer, what: str) -> TransportError:
    """The error of an answer that is not 2xx."""
    if answer.status in (401, 403):
        hint = "the stack is deleted, or the key is wrong or not for this resource; compare with the newest metadata"
    elif answer.status >= 500:
        hint = "Heat is not well; will retry"
    else:
        hint = "compare metadata_url, stack_name and path with the stack"
    return TransportError(f"{what}: {answer.url} answers {answer.status}: {hint}", answer.status)


def parse_metadata(body: bytes, source: str) -> Any:
    """The document inside DescribeStackResource's XML; DocumentError names the place."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DocumentError(
            source, f"line {line} column {column}", "not XML", "is the URL really heat-api-cfn's?"
        ) from error
    text = root.findtext("./DescribeStackResourceResult/StackResourceDetail/Metadata")
    if text is None:
        raise DocumentError(
            source,
            "DescribeStackResourceResult.StackResourceDetail.Metadata",
            "missing",
            "is the URL really heat-api-cfn's?",
        )
    return parse_json(text.encode(), f"{source} Metadata")


def describe(http: Http, keys: Keys, stack_name: str, resource: str) -> Any:
    """The metadata of a resource: a map {id: text} for a wait condition handle. TransportError, DocumentError."""
    params = {"Action": "DescribeStackResource", "StackName": stack_name, "LogicalResourceId": resource}
    answer = http.request("GET", keys.metadata_url, params=sign(keys, "GET", keys.metadata_url, params))
    if not answer.ok:
        raise explain(answer, f"cannot read resource {resource} of stack {stack_name}")
    return parse_metadata(answer.body, answer.url)


def post(http: Http, url: str, body: Mapping[str, Any], verb: str = "POST") -> Answer:
    """Send the body to a signed URL; the answer as it came."""
    return http.request(verb, url, headers={"Content-Type": "application/json"}, body=json.dumps(body).encode())
