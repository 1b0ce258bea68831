"""The CloudFormation API: our signatures against keystoneclient's, captured answers, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from keystoneclient.contrib.ec2.utils import Ec2Signer

from swagent.errors import DocumentError, TransportError
from swagent.openstack import cfn
from swagent.openstack.http import Http
from tests.fake_cloud import FakeCloud

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        running.metadata["stack", "srv"] = {"a": 1}
        yield running


def keys(cloud, **change):
    options = {**cloud.cfn_options, **change}
    return cfn.Keys(options["metadata_url"], options["access_key_id"], options["secret_access_key"])


@pytest.mark.parametrize("secret", ["N^PCY^9ftrW!30yISS1RENKjcA0BF%kT", "é"])
def test_a_signature_is_the_one_that_keystone_computes(secret):
    params = {"Action": "DescribeStackResource", "StackName": "a b/ü~*", "AWSAccessKeyId": "k", "SignatureVersion": "2"}
    request = {"verb": "GET", "host": "h:8000", "path": "/v1/", "params": dict(params)}
    theirs = Ec2Signer(secret).generate(request)
    assert cfn.signature(secret, "GET", "H:8000", "/v1/", {**params, "SignatureMethod": "HmacSHA256"}) == theirs


def test_a_presigned_url_is_signed_anew_over_its_unquoted_path():
    url = "http://H:8000/v1/signal/arn%3Aopenstack%3Aheat%3A%3Ap%3Astacks/s/1/resources/d?Timestamp=2026&Signature=old"
    again = urlsplit(cfn.signed_url(cfn.Keys("u", "k", "secret"), "POST", url))
    query = dict(parse_qsl(again.query))
    signature = query.pop("Signature")
    request = {"verb": "POST", "host": "h:8000", "path": unquote(again.path), "params": query}
    assert signature == Ec2Signer("secret").generate(request)
    assert "Timestamp" not in query and "arn%3Aopenstack" in again.path


def test_a_captured_answer_holds_the_document_that_os_collect_config_printed():
    body = (SAMPLES / "metadata_cfn_DescribeStackResource.xml").read_bytes()
    printed = json.loads((SAMPLES / "occ_cfn_print.json").read_text())
    assert cfn.parse_metadata(body, "u") == printed["cfn"]


@pytest.mark.parametrize(
    "body, place",
    [
        (b"<a></b>", "line 1 column 5"),
        (b"", "line 1 column 0"),
        (b"<a/>", "DescribeStackResourceResult.StackResourceDetail.Metadata"),
    ],
)
def test_an_answer_of_another_shape_is_a_document_error(body, place):
    with pytest.raises(DocumentError) as caught:
        cfn.parse_metadata(body, "http://u")
    assert (caught.value.source, caught.value.place) == ("http://u", place)


def test_a_resource_is_read_with_a_signed_request_that_never_expires(cloud):
    assert cfn.describe(Http(timeout=5), keys(cloud), "stack", "srv") == {"a": 1}
    assert "Timestamp" not in cloud.queries[0]


def test_a_wrong_secret_is_told_without_the_signature(cloud):
    with pytest.raises(TransportError) as caught:
        cfn.describe(Http(timeout=5), keys(cloud, secret_access_key="wrong"), "stack", "srv")
    assert caught.value.status == 403
    assert "Signature" not in str(caught.value) and "wrong or not for this resource" in str(caught.value)


def test_a_presigned_url_is_sent_as_it_is(cloud):
    url = cloud.signed_url()
    assert cfn.post(Http(timeout=5), url, {"a": 1}).ok
    assert cloud.raw_paths == [url[len(cloud.url) :]]
