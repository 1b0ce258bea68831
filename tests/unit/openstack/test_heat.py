"""Heat's REST API: paths, and what each status means."""

from __future__ import annotations

import pytest

from swagent.errors import DocumentError, TransportError
from swagent.openstack import heat
from swagent.openstack.http import Http
from swagent.openstack.keystone import Credentials, Session
from tests.fake_cloud import FakeCloud


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        running.metadata["stack/0000", "srv"] = {"a": 1}
        yield running


@pytest.fixture
def user(cloud):
    options = cloud.heat_options
    keys = ("auth_url", "user_id", "password", "project_id", "region_name")
    return Session(Credentials(*(options[key] for key in keys)), Http(timeout=5))


def test_names_are_quoted_in_paths():
    assert heat.resource_path("st a/1-2", "r/s#t") == "/stacks/st%20a/1-2/resources/r%2Fs%23t"


@pytest.mark.parametrize(
    "status, hint",
    [(403, "the stack is deleted"), (404, "no such stack"), (500, "Heat is not well"), (503, "Heat is not well")],
)
def test_a_status_is_told_with_the_next_step(cloud, user, status, hint):
    cloud.fail = [status]
    with pytest.raises(TransportError, match=hint) as caught:
        heat.metadata(user, "stack/0000", "srv")
    assert caught.value.status == status


@pytest.mark.parametrize(
    "body", [b"[1]", b'{"metadata": null}', b"{", b"", b"\xff", pytest.param(b"[" * 100_000, id="deep")]
)
def test_an_answer_that_is_no_metadata_is_a_document_error(cloud, user, body):
    cloud.metadata["stack/0000", "srv"] = body
    with pytest.raises(DocumentError) as caught:
        heat.metadata(user, "stack/0000", "srv")
    assert caught.value.source.startswith(f"{cloud.url}/heat/v1/p/stacks/stack/0000/resources/srv/metadata")
    assert caught.value.remedy


def test_a_signal_is_posted_to_the_resource(cloud, user):
    answer = heat.signal(user, "stack/0000", "d", {"deploy_status_code": 0})
    assert answer.ok
    assert cloud.signals == [("/heat/v1/p/stacks/stack/0000/resources/d/signal", {"deploy_status_code": 0})]
