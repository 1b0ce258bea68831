"""The transports: captured exchanges, closed doors, and the way through the server's own credentials."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import responses

from swagent import files, report
from swagent.metadata import parse_deployment
from swagent.model import Signal
from swagent.openstack import credentials
from swagent.settings import Settings
from swagent.signals import cfn, delivery
from tests.fake_cloud import FakeCloud

SAMPLES = Path(__file__).parents[2] / "samples"
BODY = {"deploy_status_code": 0}


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        yield running


@pytest.fixture
def settings(tmp_path):
    return Settings(root=tmp_path)


def signal(cloud, transport="CFN_SIGNAL", **change):
    address = {"deploy_stack_id": "stack/0000", "deploy_resource_name": "d", "deploy_signal_id": cloud.signed_url()}
    return Signal("d-1", "i", "d", transport, {**address, **change}, BODY)


def deliver(settings, signal, now=None):
    report.put(settings, signal)
    return report.deliver(settings, now or time.time())


def sections(settings, **section):
    files.write_json(credentials.sections_file(settings), {"os-collect-config": section})


@pytest.mark.parametrize(
    "status, kind",
    [
        (200, "delivered"),
        (201, "delivered"),
        (204, "delivered"),
        (302, "waiting"),
        (400, "refused"),
        (401, "waiting"),
        (403, "waiting"),
        (404, "refused"),
        (410, "refused"),
        (413, "refused"),
        (429, "waiting"),
        (500, "waiting"),
        (503, "waiting"),
    ],
)
def test_only_2xx_is_delivered(status, kind):
    assert delivery.judge(status, "").kind == kind


@pytest.mark.parametrize(
    "url, seconds",
    [
        ("http://h/?Timestamp=2026-11-23T05%3A07%3A19Z&Signature=x", 900),
        ("http://h/?Signature=x", None),
        ("http://h/?Timestamp=yesterday", None),
    ],
)
def test_the_age_of_a_signed_url_is_in_its_timestamp(url, seconds):
    made = 1795410439.0
    assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)) == "2026-11-23T05:07:19Z"
    assert cfn.age(url, made + 900) == seconds


def test_an_expired_url_is_said_to_be_that_and_waits(settings, cloud):
    cloud.signed_urls_expired = True
    (waiting,) = deliver(settings, signal(cloud, deploy_signal_id=cloud.signed_url(time.time() - 1100)))
    assert waiting.error.startswith("the pre-signed URL of d has expired: made at ")
    assert "18 min ago, good for 15" in waiting.error and "no other credentials" in waiting.error
    assert "Signature" not in waiting.error


def test_heats_clock_and_not_ours_tells_the_age(settings, cloud):
    cloud.signed_urls_expired, cloud.clock_offset = True, 1200.0
    (waiting,) = deliver(settings, signal(cloud))
    assert "has expired" in waiting.error and "20 min ago" in waiting.error


def test_a_url_that_is_refused_while_young_is_another_matter(settings, cloud):
    cloud.signed_urls_expired = True
    (waiting,) = deliver(settings, signal(cloud))
    assert "its stack is deleted, or the deployment is replaced" in waiting.error


def test_an_expired_url_goes_through_the_servers_own_user(settings, cloud):
    cloud.signed_urls_expired = True
    sections(settings, heat=cloud.heat_options)
    assert deliver(settings, signal(cloud)) == ()
    assert cloud.signals == [("/heat/v1/p/stacks/stack/0000/resources/d/signal", BODY)]


def test_an_expired_url_goes_through_the_servers_own_key(settings, cloud):
    cloud.signed_urls_expired = True
    sections(settings, cfn=cloud.cfn_options)
    assert deliver(settings, signal(cloud)) == ()
    assert cloud.signals == [("/cfn/v1/signal/arn:openstack:heat::project-0:stacks/stack/0000/resources/d", BODY)]


def test_credentials_of_the_settings_count_too(settings, cloud):
    cloud.signed_urls_expired = True
    settings = Settings(root=settings.root, sources={"heat": cloud.heat_options})
    assert deliver(settings, signal(cloud)) == ()


def test_when_every_way_is_closed_each_is_named(settings, cloud):
    cloud.signed_urls_expired = True
    sections(
        settings, heat={**cloud.heat_options, "password": "outdated-1"}, cfn={**cloud.cfn_options, "access_key_id": "k"}
    )
    (waiting,) = deliver(settings, signal(cloud, deploy_signal_id=cloud.signed_url(time.time() - 1100)))
    assert "has expired" in waiting.error and "refuses user user-1" in waiting.error
    assert "own access key is refused too (403)" in waiting.error and "outdated-1" not in waiting.error


def test_a_young_url_needs_no_other_credentials(settings, cloud):
    sections(settings, heat=cloud.heat_options)
    assert deliver(settings, signal(cloud)) == ()
    assert [path for method, path in cloud.requests] == [
        "/cfn/v1/signal/arn:openstack:heat::project-0:stacks/stack/0000/resources/d"
    ]


def heat_signal(cloud, **change):
    options = cloud.heat_options
    address = {
        f"deploy_{key}": options[key] for key in ("auth_url", "user_id", "password", "project_id", "region_name")
    }
    return signal(cloud, "HEAT_SIGNAL", deploy_signal_id=None, **{**address, **change})


def test_a_refused_user_of_the_deployment_gives_way_to_the_servers_own(settings, cloud):
    sections(settings, heat=cloud.heat_options)
    assert deliver(settings, heat_signal(cloud, deploy_password="replaced")) == ()
    assert len(cloud.signals) == 1


def test_a_refused_user_without_another_waits_with_the_reason(settings, cloud):
    (waiting,) = deliver(settings, heat_signal(cloud, deploy_password="replaced"))
    assert "refuses user user-1 (401)" in waiting.error and "replaced" not in waiting.error


@pytest.mark.parametrize("transport", ["HEAT_SIGNAL", "CFN_SIGNAL", "TEMP_URL_SIGNAL"])
def test_a_signal_without_an_address_waits_with_the_reason(settings, transport):
    (waiting,) = deliver(settings, Signal("d-1", "i", "d", transport, {}, BODY))
    assert waiting.error.startswith("d has no deploy_")


def captured(transport):
    exchanges = json.loads((SAMPLES / "signal_exchanges.json").read_text())
    return next(each for each in exchanges if each["transport"] == transport)


@responses.activate
def test_the_captured_heat_exchange_is_reproduced(settings):
    exchange = captured("HEAT_SIGNAL")
    method, url = exchange["request"].split()
    endpoint = url[: url.index("/stacks/")]
    catalog = [
        {"type": "orchestration", "endpoints": [{"interface": "public", "region": "RegionOne", "url": endpoint}]}
    ]
    responses.add(
        responses.POST,
        "http://127.0.0.1:15000/v3/auth/tokens",
        status=201,
        json={"token": {"catalog": catalog}},
        headers={"X-Subject-Token": "t"},
    )
    responses.add(method, url, status=exchange["status"], body=exchange["response"])
    entry = json.loads((SAMPLES / "deployment_d_heat_heat_on_heat.json").read_text())
    stack = "sig/2437671f-f6cd-43ea-8649-f4f438063d9c"
    for each in entry["inputs"]:
        each["value"] = {"deploy_stack_id": stack, "deploy_resource_name": "e"}.get(each["name"], each["value"])
    report.put(settings, report.make_signal(parse_deployment(entry, "heat", "deployments[0]"), exchange["body"]))
    assert report.deliver(settings, time.time()) == ()
    assert json.loads(responses.calls[-1].request.body) == exchange["body"]
    assert responses.calls[-1].request.headers["Content-Type"] == "application/json"


@responses.activate
def test_the_captured_cfn_exchange_is_reproduced(settings):
    exchange = captured("CFN_SIGNAL")
    method, url = exchange["request"].split()
    responses.add(method, url, status=exchange["status"], body=exchange["response"])
    address = {"deploy_signal_id": url, "deploy_signal_verb": "POST"}
    assert deliver(settings, Signal("d-1", "i", "d", "CFN_SIGNAL", address, exchange["body"])) == ()
    assert responses.calls[0].request.url == url
    assert json.loads(responses.calls[0].request.body) == exchange["body"]


@responses.activate
def test_the_captured_refusal_of_an_expired_url_is_understood(settings):
    _, url = captured("CFN_SIGNAL")["request"].split()
    responses.add(responses.POST, url, status=403, body=(SAMPLES / "cfn_signal_expired_url.xml").read_bytes())
    now = 1795410439.0 + 18 * 60
    (waiting,) = deliver(settings, Signal("d-1", "i", "d", "CFN_SIGNAL", {"deploy_signal_id": url}, BODY), now)
    assert "has expired: made at 05:07:19Z, 18 min ago" in waiting.error
