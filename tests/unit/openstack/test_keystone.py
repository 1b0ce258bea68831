"""Tokens: taken once, used again, taken anew when a service no longer knows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import responses

from swagent.errors import DocumentError, TransportError
from swagent.openstack import heat
from swagent.openstack.http import Answer, Http
from swagent.openstack.keystone import Credentials, Session, endpoint, life, login_body, parse_token, tokens_url
from tests.fake_cloud import FakeCloud

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        running.metadata["stack/0000", "srv"] = {"a": 1}
        yield running


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def session(cloud, clock=None):
    options = cloud.heat_options
    user = Credentials(*(options[key] for key in ("auth_url", "user_id", "password", "project_id", "region_name")))
    return Session(user, Http(timeout=5), clock or Clock())


def logins(cloud):
    return sum(path.endswith("/auth/tokens") for _, path in cloud.requests)


@pytest.mark.parametrize(
    "auth_url, url",
    [
        ("http://k:5000/v3/", "http://k:5000/v3/auth/tokens"),
        ("http://k:5000/v3", "http://k:5000/v3/auth/tokens"),
        ("http://k:5000", "http://k:5000/v3/auth/tokens"),
        ("http://k/identity/", "http://k/identity/v3/auth/tokens"),
        ("http://k:5000/v2.0/", "http://k:5000/v3/auth/tokens"),
    ],
)
def test_passwords_go_to_v3_whatever_heat_calls_it(auth_url, url):
    assert tokens_url(auth_url) == url


@pytest.mark.parametrize(
    "token, seconds",
    [
        ({"issued_at": "2026-11-23T04:51:54.000000Z", "expires_at": "2026-11-23T05:51:54.000000Z"}, 3600),
        ({"issued_at": "2026-11-23T04:51:54Z", "expires_at": "2026-11-23T04:52:00Z"}, 6),
        ({"issued_at": "2026-11-23T04:51:54Z", "expires_at": "2026-11-23T04:51:00Z"}, 0),
        ({}, 3600),
        ({"issued_at": "soon", "expires_at": "later"}, 3600),
    ],
)
def test_a_tokens_life_is_told_by_one_clock(token, seconds):
    assert life(token) == seconds


def test_the_endpoint_is_the_public_one_of_the_region():
    catalog = [
        {"type": "compute", "endpoints": [{"interface": "public", "region": "R1", "url": "http://n"}]},
        {
            "type": "orchestration",
            "endpoints": [
                {"interface": "internal", "region": "R1", "url": "http://i"},
                {"interface": "public", "region_id": "R2", "url": "http://two/"},
                {"interface": "public", "region": "R1", "url": "http://one"},
            ],
        },
    ]
    assert endpoint(catalog, "orchestration", "R1") == "http://one"
    assert endpoint(catalog, "orchestration", "R2") == "http://two"
    assert endpoint(catalog, "orchestration") == "http://two"
    assert endpoint(catalog, "orchestration", "R3") == ""
    assert endpoint(catalog, "messaging") == ""


def test_an_answer_without_a_token_is_a_document_error():
    with pytest.raises(DocumentError, match="is auth_url really keystone's"):
        parse_token(Answer(200, b'{"versions": []}', "http://k"), 0)


def test_an_idle_poll_is_one_request(cloud):
    user = session(cloud)
    for _ in range(4):
        assert heat.metadata(user, "stack/0000", "srv") == {"a": 1}
    assert logins(cloud) == 1 and len(cloud.requests) == 5 and cloud.connections == 1


def test_a_token_is_renewed_at_four_fifths_of_its_life(cloud):
    clock = Clock()
    user = session(cloud, clock)
    for now, expected in ((0, 1), (2879, 1), (2881, 2), (2900, 2)):
        clock.now = now
        heat.metadata(user, "stack/0000", "srv")
        assert logins(cloud) == expected


def test_a_revoked_token_means_one_new_login(cloud):
    user = session(cloud)
    heat.metadata(user, "stack/0000", "srv")
    cloud.tokens.clear()
    assert heat.metadata(user, "stack/0000", "srv") == {"a": 1}
    assert logins(cloud) == 2


def test_a_service_that_refuses_fresh_tokens_is_not_asked_for_ever(cloud):
    user = session(cloud)
    cloud.fail = [401] * 10
    with pytest.raises(TransportError) as caught:
        heat.metadata(user, "stack/0000", "srv")
    assert caught.value.status == 401 and len(cloud.requests) == 2
    with pytest.raises(TransportError):
        heat.metadata(user, "stack/0000", "srv")
    assert logins(cloud) == 2


def test_a_refused_password_names_the_user_and_not_the_password(cloud):
    user = session(cloud)
    del cloud.users["user-1"]
    with pytest.raises(TransportError) as caught:
        user.token()
    assert caught.value.status == 401
    assert "user-1" in str(caught.value) and "p%word" not in str(caught.value)


def test_a_region_without_heat_is_named(cloud):
    user = session(cloud)
    cloud.region = "Elsewhere"
    with pytest.raises(TransportError, match="no public endpoint of orchestration in region RegionOne"):
        heat.metadata(user, "stack/0000", "srv")


def test_secrets_are_not_in_reprs(cloud):
    user = session(cloud)
    token = user.token()
    assert "p%word" not in repr(user.credentials) and token.id not in repr(token)


def test_the_login_is_as_keystone_documents_it():
    document = json.loads(login_body(Credentials("http://k", "u", "p", "pr")))
    user = {"id": "u", "password": "p"}
    assert document == {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"id": "pr"}},
        }
    }


@responses.activate
def test_a_captured_expired_token_answer_leads_to_a_new_login():
    captured = json.loads((SAMPLES / "heat_expired_token_response.json").read_text())
    metadata = json.loads((SAMPLES / "metadata_heat_rest.json").read_text())
    public = {"interface": "public", "url": "http://h/v1/p"}
    catalog = [{"type": "orchestration", "endpoints": [public]}]
    for number in (1, 2):
        responses.add(
            responses.POST,
            "http://k/v3/auth/tokens",
            status=201,
            json={"token": {"catalog": catalog}},
            headers={"X-Subject-Token": f"t{number}"},
        )
    url = "http://h/v1/p/stacks/s/1/resources/heat_srv/metadata"
    seen = {"headers": {}}
    responses.add(responses.GET, url, json={"metadata": seen})
    responses.add(responses.GET, url, status=captured["status"], body=captured["body"])
    responses.add(responses.GET, url, json=metadata)
    user = Session(Credentials("http://k", "u", "p", "pr"), Http())
    assert heat.metadata(user, "s/1", "heat_srv") == seen
    assert heat.metadata(user, "s/1", "heat_srv") == metadata["metadata"]
    tokens = [call.request.headers.get("X-Auth-Token") for call in responses.calls if call.request.url == url]
    assert tokens == ["t1", "t1", "t2"]
