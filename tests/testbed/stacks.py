"""A user's side of Heat: stacks created, updated, watched and deleted with the demo user's token, by plain requests.

    heat = Stacks(testbed)
    heat.create("web", Path("web.yaml"), {"port": 80})
    heat.wait("web", "CREATE_COMPLETE", 60)
    credentials = heat.credentials("web", "server_os_collect_config")
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import requests
import yaml

from tests.testbed.heat import Keystone, Testbed
from tests.wait import until

Template = Union[Path, str, Mapping[str, Any]]
# On sqlite Heat still writes for a moment after a stack reached its end; an update that comes then may lose
# properties ("ResourcePropertiesData ... not found").
SETTLE = 3.0


@dataclass(frozen=True)
class Stack:
    """What Heat says of a stack; `outputs` is empty unless it was asked for."""

    id: str
    name: str
    status: str
    reason: str
    outputs: Mapping[str, Any]


class Refused(Exception):
    """Heat answered with an error; `status` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


def nested_files(template: Path) -> Dict[str, str]:
    """{name: text} of the templates that a template names as resource types, and those that they name."""
    files: Dict[str, str] = {}
    waiting = [template]
    while waiting:
        path = waiting.pop()
        for resource in (yaml.safe_load(path.read_text()).get("resources") or {}).values():
            name = resource["type"]
            if name.endswith(".yaml") and name not in files:
                files[name] = (path.parent / name).read_text()
                waiting.append(path.parent / name)
    return files


class Stacks:
    """The stacks of the project demo."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self.session = requests.Session()
        self.session.trust_env = False
        self._user = Keystone(testbed.places.auth_url, "demo", "demo")
        self.session.headers["X-Auth-Token"] = self._user.token
        self.url = f"{testbed.places.url('heat_api')}/v1/{self._user.project}"
        self._ended: Dict[str, float] = {}

    def call(self, verb: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's document, None where it has none; Refused for 4xx and 5xx. `path` begins at the project."""
        answer = self.session.request(verb, self.url + path, json=body, params=query, timeout=90)
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text[:1000])
        # an accepted PATCH is told in HTML, a DELETE not at all
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else None

    def create(
        self,
        name: str,
        template: Template,
        parameters: Mapping[str, Any] = {},
        environment: Mapping[str, Any] = {},
        files: Mapping[str, str] = {},
    ) -> str:
        """Begin to create a stack; its id. Templates that a template's file names are sent along."""
        body = {"stack_name": name, "disable_rollback": True, "timeout_mins": 10}
        body.update(self._body(template, parameters, environment, files))
        return str(self.call("POST", "/stacks", body)["stack"]["id"])

    def update(
        self,
        name: str,
        template: Optional[Template] = None,
        parameters: Mapping[str, Any] = {},
        environment: Mapping[str, Any] = {},
        files: Mapping[str, str] = {},
    ) -> None:
        """Begin an update: without a template the stack keeps its own, and the parameters that are not given."""
        self._settle(name)
        if template is None:
            self.call("PATCH", self.path(name), {"parameters": dict(parameters), "environment": dict(environment)})
        else:
            self.call("PUT", self.path(name), self._body(template, parameters, environment, files))

    def act(self, name: str, action: str) -> None:
        """Begin `suspend`, `resume` or `check`."""
        self._settle(name)
        self.call("POST", f"{self.path(name)}/actions", {action: None})

    def delete(self, name: str, seconds: float = 60) -> None:
        """Delete a stack and wait until it is gone; no stack of that name is gone already."""
        try:
            path = self.path(name)
        except Refused as error:
            if error.status == 404:
                return
            raise
        self.call("DELETE", path)
        self.wait_gone(name, path, seconds)

    def begin_delete(self, name: str) -> str:
        """Begin to delete a stack whose deployments have a part in it; the path for `wait_gone`."""
        path = self.path(name)
        self.call("DELETE", path)
        return path

    def wait_gone(self, name: str, path: str, seconds: float = 60) -> None:
        until(lambda: self._gone(name, path), seconds, f"stack {name} is deleted", 0.3)

    def show(self, name: str, outputs: bool = True) -> Stack:
        """The stack; while an update runs ask without outputs: resolving them disturbs it on sqlite."""
        answer = self.call("GET", f"/stacks/{name}", resolve_outputs=outputs)["stack"]
        values = {each["output_key"]: each.get("output_value") for each in answer.get("outputs") or []}
        return Stack(answer["id"], name, answer["stack_status"], answer["stack_status_reason"], values)

    def path(self, name: str) -> str:
        """/stacks/NAME/ID: what every other call wants."""
        return f"/stacks/{name}/{self.show(name, outputs=False).id}"

    def wait(self, name: str, status: str, seconds: float = 60) -> Stack:
        """The stack with that status and its outputs; AssertionError with Heat's reasons where it ends otherwise."""

        def ended() -> Optional[Stack]:
            stack = self.show(name, outputs=False)
            if stack.status != status and stack.status.endswith("_FAILED"):
                reasons = "\n".join(self.reasons(name))
                raise AssertionError(f"stack {name}: {stack.status} instead of {status}: {stack.reason}\n{reasons}")
            return stack if stack.status == status else None

        until(ended, seconds, f"stack {name} is {status}", 0.3)
        self._ended[name] = time.monotonic()
        return self.show(name)

    def resource(self, name: str, resource: str) -> Mapping[str, Any]:
        """{resource_status, resource_status_reason, physical_resource_id, attributes, ...}"""
        found: Mapping[str, Any] = self.call("GET", f"{self.path(name)}/resources/{resource}")["resource"]
        return found

    def events(self, name: str, resource: str = "") -> List[Mapping[str, Any]]:
        """The stack's events, the oldest first, or those of one resource."""
        middle = f"/resources/{resource}" if resource else ""
        return list(self.call("GET", f"{self.path(name)}{middle}/events", sort_keys="created_at")["events"])

    def reasons(self, name: str) -> Sequence[str]:
        """Why something failed: "RESOURCE: reason" for each failed resource."""
        failed = [each for each in self.events(name) if each["resource_status"].endswith("FAILED")]
        return [f"{each['resource_name']}: {each['resource_status_reason']}" for each in failed]

    def deployment(self, name: str, resource: str) -> Mapping[str, Any]:
        """{status, status_reason, output_values, input_values, action, ...} of a software deployment resource."""
        id = self.resource(name, resource)["physical_resource_id"]
        found: Mapping[str, Any] = self.call("GET", f"/software_deployments/{id}")["software_deployment"]
        return found

    def deployments_of(self, server: str) -> List[Mapping[str, Any]]:
        """What Heat puts into the metadata of the server with that id."""
        return list(self.call("GET", f"/software_deployments/metadata/{server}")["metadata"])

    def signal(self, name: str, resource: str, body: Mapping[str, Any] = {}) -> None:
        """Signal a resource as its stack's owner."""
        self.call("POST", f"{self.path(name)}/resources/{resource}/signal", dict(body))

    def credentials(self, name: str, output: str) -> Mapping[str, Any]:
        """The first contact of a server's agent: an output that holds its attribute `os_collect_config`.

        {collectors: [...], heat: {user_id, password, auth_url, ...} or cfn: {metadata_url, ...} or ...}
        """

        def complete() -> Any:
            value = self.call("GET", f"{self.path(name)}/outputs/{output}")["output"].get("output_value")
            if not value:
                return None
            # each key stands there with null before the server resource has made its user
            kind = next((each for each in ("heat", "cfn", "request", "zaqar") if each in value), None)
            return value if kind and all(value[kind].values()) else None

        found: Mapping[str, Any] = until(complete, 60, f"stack {name} has the output {output}", 0.3)
        return found

    def _settle(self, name: str) -> None:
        pause = self._ended.get(name, 0.0) + SETTLE - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def _body(
        self,
        template: Template,
        parameters: Mapping[str, Any],
        environment: Mapping[str, Any],
        files: Mapping[str, str],
    ) -> Dict[str, Any]:
        nested = nested_files(template) if isinstance(template, Path) else {}
        # As text: parsed here, `heat_template_version: 2018-08-31` would become a date, which is no JSON.
        text = template.read_text() if isinstance(template, Path) else template
        return {
            "template": text,
            "parameters": dict(parameters),
            "environment": dict(environment),
            "files": {**nested, **files},
        }

    def _gone(self, name: str, path: str) -> bool:
        try:
            stack = self.call("GET", path, resolve_outputs=False)["stack"]
        except Refused as error:
            if error.status == 404:
                return True
            raise
        if stack["stack_status"] == "DELETE_FAILED":
            raise AssertionError(f"stack {name}: {stack['stack_status_reason']}\n" + "\n".join(self.reasons(name)))
        return bool(stack["stack_status"] == "DELETE_COMPLETE")
