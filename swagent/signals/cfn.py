"""CFN_SIGNAL: POST to a URL that Heat has signed, good for 15 minutes; afterwards with the server's own credentials.

heat: api/cfn/v1/__init__.py; keystone: [credential] auth_ttl.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Mapping
from urllib.parse import parse_qs, urlsplit

from swagent.errors import NotConfigured, TransportError
from swagent.model import Signal
from swagent.openstack import credentials
from swagent.settings import Settings
from swagent.signals import heat
from swagent.signals.delivery import DELIVERED, WAITING, Delivery, judge

LIFE = 15 * 60.0  # s that keystone takes a Timestamp for, unless the cloud has set another time


def age(url: str, now: float) -> float | None:
    """Seconds since a URL was signed, None for one without a Timestamp (it never expires)."""
    try:
        (stamp,) = parse_qs(urlsplit(url).query).get("Timestamp", [])
        made = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return now - made.timestamp()


def server_time(headers: Mapping[str, str], now: float) -> float:
    """Heat's clock by its Date header: it judges the Timestamp, and ours may be wrong. Seconds since the epoch."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, IndexError):
        return now


def explain(name: str, status: int, url: str, now: float) -> str:
    """Why a signed URL was refused (Heat's own answer is the same for every reason)."""
    seconds = age(url, now)
    if status == 403 and seconds is not None and seconds > LIFE:
        made = time.strftime("%H:%M:%SZ", time.gmtime(now - seconds))
        return (
            f"the pre-signed URL of {name} has expired: made at {made}, "
            f"{seconds / 60:.0f} min ago, good for {LIFE / 60:.0f}; use HEAT_SIGNAL for deployments that take longer"
        )
    if status in (401, 403):
        return (
            f"Heat refuses the pre-signed URL of {name} ({status}): its stack is deleted, or the deployment is replaced"
        )
    return f"cannot signal {name}: Heat answers {status}"


def send(signal: Signal, settings: Settings, now: float) -> Delivery:
    """By the URL as it is, and where that is refused by the server's own user, else by its own access key."""
    from swagent.openstack import cfn
    from swagent.openstack.http import Http

    url = str(signal.address.get("deploy_signal_id") or "")
    verb = str(signal.address.get("deploy_signal_verb") or "POST")
    if not url:
        return Delivery(WAITING, f"{signal.name} has no deploy_signal_id: update the stack")
    options = heat.own_options(settings, "cfn")
    http = Http(credentials.timeout(options, "cfn"), str(options.get("ca_certificate") or ""))
    answer = cfn.post(http, url, signal.body, verb)
    said = explain(signal.name, answer.status, url, server_time(answer.headers, now))
    if answer.status not in (401, 403):
        return judge(answer.status, said)
    tried = []
    try:
        delivery = heat.through_own(signal, settings)
        if delivery.kind == DELIVERED:
            return delivery
        tried.append(delivery.reason)
    except NotConfigured:
        pass
    except TransportError as error:
        tried.append(str(error))
    try:
        keys = cfn.Keys(*credentials.require(options, "cfn", "metadata_url", "access_key_id", "secret_access_key"))
        answer = cfn.post(http, cfn.signed_url(keys, verb, url), signal.body, verb)
        if answer.ok:
            return Delivery(DELIVERED)
        tried.append(f"the server's own access key is refused too ({answer.status})")
    except NotConfigured:
        pass
    except TransportError as error:
        tried.append(str(error))
    return Delivery(WAITING, "; ".join([said, *(tried or ["the server has no other credentials known here"])]))
