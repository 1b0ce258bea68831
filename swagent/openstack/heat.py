"""Heat's REST API as a server of the stack may use it: read its own metadata, signal a resource."""

from __future__ import annotations

import json
from typing import Any, Mapping
from urllib.parse import quote

from swagent.errors import DocumentError, TransportError
from swagent.openstack.http import Answer
from swagent.openstack.keystone import Session

SERVICE = "orchestration"


def resource_path(stack_id: str, resource_name: str) -> str:
    """The path of a resource below Heat's endpoint; stack_id is `name/uuid`, as Heat gives it."""
    return f"/stacks/{quote(stack_id, safe='/')}/resources/{quote(resource_name, safe='')}"


def explain(answer: Answer, what: str) -> TransportError:
    """The error of an answer that is not 2xx. Heat says 401 or 403, not 404, for a stack that is gone."""
    if answer.status in (401, 403):
        hint = "the stack is deleted, or the credentials are not for it; compare them with the stack's newest metadata"
    elif answer.status == 404:
        hint = "Heat knows no such stack or resource; compare stack_id and resource_name with the stack"
    elif answer.status >= 500:
        hint = "Heat is not well; will retry"
    else:
        hint = "will retry"
    return TransportError(f"{what}: {answer.url} answers {answer.status}: {hint}", answer.status)


def metadata(session: Session, stack_id: str, resource_name: str) -> Mapping[str, Any]:
    """The metadata of a server resource. TransportError, DocumentError (the answer is not `{"metadata": {…}}`)."""
    answer = session.request("GET", SERVICE, resource_path(stack_id, resource_name) + "/metadata")
    if not answer.ok:
        raise explain(answer, "cannot read the metadata")
    document = answer.json()
    content = document.get("metadata") if isinstance(document, dict) else None
    if not isinstance(content, dict):
        raise DocumentError(
            answer.url, "metadata", "must be a map", "is the endpoint in keystone's catalogue really Heat's?"
        )
    return content


def signal(session: Session, stack_id: str, resource_name: str, body: Mapping[str, Any]) -> Answer:
    """POST the body to a resource: a deployment's result, or an entry of a wait condition handle; any answer."""
    path = resource_path(stack_id, resource_name) + "/signal"
    return session.request("POST", SERVICE, path, body=json.dumps(body).encode())
