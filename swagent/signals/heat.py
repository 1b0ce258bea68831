"""HEAT_SIGNAL: POST to the deployment's resource by Heat's REST API; also the way out when another way is closed.

heat: engine/resources/signal_responder.py. Each deployment brings a user of its own in its deploy_* inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

from swagent.errors import NotConfigured, TransportError
from swagent.model import Signal
from swagent.openstack import credentials
from swagent.settings import Settings
from swagent.signals.delivery import WAITING, Delivery, judge

if TYPE_CHECKING:
    from swagent.openstack.keystone import Credentials


def through(signal: Signal, user: Credentials, options: Mapping[str, Any]) -> Delivery:
    """Signal as that user of Heat's domain; options: timeout and ca_certificate. TransportError where it is refused."""
    from swagent.openstack import heat, http, keystone

    connection = http.Http(credentials.timeout(options, "heat"), str(options.get("ca_certificate") or ""))
    session = keystone.Session(user, connection)
    stack, resource = (str(signal.address.get(key) or "") for key in ("deploy_stack_id", "deploy_resource_name"))
    answer = heat.signal(session, stack, resource, signal.body)
    said = "" if answer.ok else str(heat.explain(answer, f"cannot signal {signal.name}"))
    if answer.status in (401, 403):
        raise TransportError(said, answer.status)
    return judge(answer.status, said)


def own_options(settings: Settings, collector: str) -> dict[str, Any]:
    """What this server itself reads its metadata with."""
    return credentials.overlay(settings.sources, credentials.saved(settings), collector)


def through_own(signal: Signal, settings: Settings) -> Delivery:
    """Signal with this server's own user: it may signal every resource of its stack. NotConfigured without one."""
    from swagent.openstack.keystone import Credentials

    options = own_options(settings, "heat")
    auth_url, user_id, password, project_id = credentials.require(
        options, "heat", "auth_url", "user_id", "password", "project_id"
    )
    user = Credentials(auth_url, user_id, password, project_id, str(options.get("region_name") or ""))
    return through(signal, user, options)


def send(signal: Signal, settings: Settings, now: float) -> Delivery:
    """HEAT_SIGNAL by the deployment's user, else by the server's own."""
    from swagent.openstack.keystone import Credentials

    names = ("deploy_auth_url", "deploy_user_id", "deploy_password", "deploy_project_id", "deploy_region_name")
    values = [str(signal.address.get(name) or "") for name in names]
    if not all(values[:4]):
        return Delivery(WAITING, f"{signal.name} has no deploy_auth_url, user, password or project: update the stack")
    try:
        return through(signal, Credentials(*values), own_options(settings, "heat"))
    except TransportError as error:
        if error.status not in (401, 403):
            raise
        try:
            return through_own(signal, settings)
        except NotConfigured:
            raise error from None
