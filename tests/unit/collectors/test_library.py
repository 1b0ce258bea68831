"""`cfn` and `request` through os-collect-config's modules, against a server that checks signatures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from swagent.collectors import library
from swagent.errors import DocumentError, NotConfigured, TransportError
from swagent.settings import Settings
from tests.fake_cloud import FakeCloud

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        running.metadata["stack", "srv"] = {"a": 1, "deep": {"er": {"b": 2}}}
        yield running


@pytest.fixture
def settings(tmp_path):
    return Settings(root=tmp_path)


def cfn(cloud, settings, **change):
    return library.cfn({**cloud.cfn_options, **change}, settings)


def test_cfn_gives_the_documents_that_os_collect_config_printed(cloud, settings):
    printed = json.loads((SAMPLES / "occ_cfn_print.json").read_text())["cfn"]
    cloud.metadata["stack", "srv"] = printed
    assert cfn(cloud, settings).collect().documents == (("cfn", printed),)


def test_cfn_polls_on_one_connection(cloud, settings):
    source = cfn(cloud, settings)
    for _ in range(3):
        source.collect()
    assert len(cloud.requests) == 3 and cloud.connections == 1


def test_cfn_reads_below_a_path_and_merges_several(cloud, settings):
    cloud.metadata["stack", "other"] = {"c": 3}
    found = cfn(cloud, settings, path=["srv.Metadata.deep.er", "other.Metadata"]).collect()
    assert found.documents == (("cfn", {"b": 2, "c": 3}),)


def test_cfn_takes_the_api_from_the_hint_file(cloud, settings, tmp_path):
    hint = tmp_path / "var/lib/heat-cfntools/cfn-metadata-server"
    hint.parent.mkdir(parents=True)
    hint.write_text(f"{cloud.url}/cfn\n")
    options = {key: value for key, value in cloud.cfn_options.items() if key != "metadata_url"}
    assert library.cfn(options, settings).collect().documents[0][1]["a"] == 1


@pytest.mark.parametrize("key", ["metadata_url", "access_key_id", "secret_access_key", "stack_name", "path"])
def test_cfn_without_one_of_its_keys_is_not_configured(cloud, settings, key):
    options = {name: value for name, value in cloud.cfn_options.items() if name != key}
    with pytest.raises(NotConfigured, match=key):
        library.cfn(options, settings)


def test_cfn_with_a_path_of_another_form_is_a_document_error(cloud, settings):
    with pytest.raises(DocumentError, match="'srv' is not RESOURCE.Metadata"):
        cfn(cloud, settings, path="srv")


def test_a_refusal_is_told_without_the_signature(cloud, settings, capfd):
    with pytest.raises(TransportError) as caught:
        cfn(cloud, settings, secret_access_key="wrong").collect()
    assert caught.value.status == 403
    said = capfd.readouterr()
    assert "Signature" not in str(caught.value) + said.out + said.err


@pytest.mark.parametrize("text", ["{", "[1]", "null", "7", '{"deployments": {}}'])
def test_cfn_metadata_that_is_no_document_is_named(cloud, settings, text):
    cloud.metadata["stack", "srv"] = text
    with pytest.raises(DocumentError) as caught:
        cfn(cloud, settings).collect()
    assert "cfn" in caught.value.source and caught.value.remedy


def test_a_list_is_no_document_even_an_empty_one(cloud, settings):
    cloud.metadata["stack", "srv"] = "[]"
    with pytest.raises(DocumentError, match="must be a map"):
        cfn(cloud, settings).collect()


def test_a_place_that_is_not_there_is_named(cloud, settings):
    with pytest.raises(DocumentError, match="Sub-key nowhere does not exist"):
        cfn(cloud, settings, path="srv.Metadata.nowhere").collect()


@pytest.mark.parametrize("body", [b"", b"<html>", b"<a/>", b"\xff\xfe", b"<a><DescribeStackResourceResult/></a>"])
def test_an_answer_that_is_not_heats_is_a_document_error(cloud, settings, body):
    cloud.fail = [lambda handler: handler.say(200, body)]
    with pytest.raises(DocumentError) as caught:
        cfn(cloud, settings).collect()
    assert cloud.url in caught.value.source


def test_a_bad_deployment_does_not_drop_the_document(cloud, settings):
    content = {"deployments": [7, {"name": "x", "group": "os-apply-config"}], "a": 1}
    cloud.metadata["stack", "srv"] = content
    assert cfn(cloud, settings).collect().documents == (("cfn", content),)


def test_request_reads_a_temporary_url(cloud, settings):
    captured = json.loads((SAMPLES / "metadata_tempurl.json").read_text())
    cloud.objects["/swift/o"] = captured
    source = library.request({"metadata_url": f"{cloud.url}/swift/o?temp_url_sig=abc"}, settings)
    for _ in range(2):
        assert source.collect().documents == (("request", captured),)
    assert cloud.requests == [("GET", "/swift/o")] * 2


def test_request_follows_changes_within_one_second(cloud, settings):
    source = library.request({"metadata_url": f"{cloud.url}/swift/o"}, settings)
    for number in range(3):
        cloud.objects["/swift/o"] = {"n": number}
        assert source.collect().documents == (("request", {"n": number}),)


@pytest.mark.parametrize("body, place", [(b"{", "line 1 column 2"), (b"[]", "must be a map"), (b"\xff", "byte 0")])
def test_request_names_a_document_that_does_not_parse(cloud, settings, body, place):
    cloud.objects["/swift/o"] = body
    with pytest.raises(DocumentError) as caught:
        library.request({"metadata_url": f"{cloud.url}/swift/o?temp_url_sig=abc"}, settings).collect()
    assert place in str(caught.value) and "temp_url_sig" not in str(caught.value)


def test_request_says_when_the_url_is_refused(cloud, settings):
    with pytest.raises(TransportError, match="answers 404"):
        library.request({"metadata_url": f"{cloud.url}/swift/none"}, settings).collect()


def test_request_without_a_url_is_not_configured(settings):
    with pytest.raises(NotConfigured):
        library.request({}, settings)


def test_two_sources_share_the_one_conf(cloud, settings):
    cloud.objects["/swift/o"] = {"o": 1}
    first, second = cfn(cloud, settings), library.request({"metadata_url": f"{cloud.url}/swift/o"}, settings)
    assert first.collect().documents[0][1]["a"] == 1
    assert second.collect().documents == (("request", {"o": 1}),)
    assert first.collect().documents[0][1]["a"] == 1


def test_the_library_is_loaded_only_when_it_is_used(tmp_path):
    program = (
        "import sys; from pathlib import Path;"
        "from swagent.collect import Collectors; from swagent.settings import Settings;"
        f"Collectors(Settings(root=Path({str(tmp_path)!r}))).collect(0.0);"
        "print([name for name in sys.modules if name.split('.')[0] in ('requests', 'oslo_config', 'lxml', 'yaml')])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout == "[]\n"
