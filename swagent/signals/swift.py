"""TEMP_URL_SIGNAL: PUT the result as an object at a signed URL of Swift; Heat looks for it there."""

from __future__ import annotations

from swagent.model import Signal
from swagent.openstack import credentials
from swagent.settings import Settings
from swagent.signals.delivery import WAITING, Delivery, judge


def send(signal: Signal, settings: Settings, now: float) -> Delivery:
    from swagent.openstack import cfn
    from swagent.openstack.http import Http

    url = str(signal.address.get("deploy_signal_id") or "")
    if not url:
        return Delivery(WAITING, f"{signal.name} has no deploy_signal_id: update the stack")
    options = credentials.overlay(settings.sources, credentials.saved(settings), "request")
    http = Http(credentials.timeout(options, "request"), str(options.get("ca_certificate") or ""))
    answer = cfn.post(http, url, signal.body, str(signal.address.get("deploy_signal_verb") or "PUT"))
    hint = "its TempURL may have expired; update the stack"
    said = f"cannot signal {signal.name}: {answer.url} answers {answer.status}: {hint}"
    return judge(answer.status, said)
