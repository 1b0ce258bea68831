"""What Heat is told, and that it is told: trimmed, scrubbed, through an outbox that survives."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies

from swagent import report
from swagent.metadata import parse_deployment
from swagent.model import Deployment, HookResult, Input, Output, RunError, Signal
from swagent.scrub import Scrubber
from swagent.settings import Settings
from swagent.signals import DELIVERED, REFUSED, WAITING, Delivery
from tests.fake_cloud import FakeCloud

SAMPLES = Path(__file__).parents[1] / "samples"
NOBODY = Scrubber()
OUTPUTS = (Output("fact"), Output("problem", error_output=True), Output("other_problem", error_output=True))


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        yield running


@pytest.fixture
def settings(tmp_path):
    return Settings(root=tmp_path)


def deployment(**change):
    return Deployment(**{"id": "d-1", "name": "d", "group": "chef", "config": "[]", "outputs": OUTPUTS, **change})


def addressed(cloud, transport, identifier="d-1", **change):
    options = cloud.heat_options
    address = {
        "deploy_stack_id": "stack/0000",
        "deploy_resource_name": "d",
        "deploy_signal_transport": transport,
        "deploy_auth_url": options["auth_url"],
        "deploy_user_id": options["user_id"],
        "deploy_password": options["password"],
        "deploy_project_id": options["project_id"],
        "deploy_region_name": options["region_name"],
        "deploy_signal_id": {
            "CFN_SIGNAL": cloud.signed_url(),
            "TEMP_URL_SIGNAL": f"{cloud.url}/swift/container/o?temp_url_sig=s",
        }.get(transport),
        "deploy_signal_verb": {"CFN_SIGNAL": "POST", "TEMP_URL_SIGNAL": "PUT"}.get(transport),
        **change,
    }
    inputs = tuple(Input(name, "String", value) for name, value in address.items() if value is not None)
    return deployment(id=identifier, inputs=inputs)


def put(settings, deployed, body=None):
    signal = report.make_signal(deployed, body or {"deploy_status_code": 0})
    report.put(settings, signal)
    return signal


def test_success_has_code_0_outputs_and_no_error_outputs():
    result = HookResult("success", 0, "out", "err", outputs={"fact": "F", "problem": "", "undeclared": 1})
    assert report.body(deployment(), result, NOBODY) == {
        "deploy_stdout": "out",
        "deploy_stderr": "err",
        "deploy_status_code": 0,
        "fact": "F",
    }


@pytest.mark.parametrize("code", [35, 37])
def test_a_reboot_that_chef_asked_for_is_no_failure(code):
    assert report.body(deployment(), HookResult("success", code), NOBODY)["deploy_status_code"] == 0


@pytest.mark.parametrize(
    "status, code, told", [("failed", 1, 1), ("failed", 0, 1), ("timeout", 124, 124), ("failed", -9, -9)]
)
def test_a_failure_is_never_code_0(status, code, told):
    assert report.body(deployment(), HookResult(status, code), NOBODY)["deploy_status_code"] == told


def test_every_error_output_tells_the_one_sentence():
    error = RunError("No such\n  package: munge", "package[munge]", "app", "default", "app/recipes/default.rb:4")
    said = report.body(deployment(), HookResult("failed", 1, error=error, outputs={"fact": "F"}), NOBODY)
    sentence = "No such package: munge (package[munge], cookbook app::default, at app/recipes/default.rb:4)"
    assert (said["problem"], said["other_problem"], said["fact"]) == (sentence, sentence, "F")


@pytest.mark.parametrize(
    "result, sentence",
    [
        (HookResult("failed", 7), "chef ended with exit code 7"),
        (HookResult("timeout", 124, seconds=3600.4), "chef ended at its deadline after 3600 s"),
        (HookResult("failed", 1, error=RunError("no licence")), "no licence"),
        (HookResult("failed", 1, error=RunError("no", cookbook="app")), "no (cookbook app)"),
    ],
)
def test_a_failure_without_a_resource_is_a_sentence_too(result, sentence):
    assert report.sentence(result, "chef") == sentence


def test_secrets_are_scrubbed_from_all_texts():
    scrubber = Scrubber([("password", "hunter22")])
    error = RunError("failed with hunter22")
    result = HookResult("failed", 1, "a hunter22", "b hunter22", error, outputs={"fact": {"deep": ["hunter22"]}})
    said = json.dumps(report.body(deployment(), result, scrubber))
    assert "hunter22" not in said and said.count("<secret:password>") == 5


def test_a_long_output_loses_its_middle():
    result = HookResult("failed", 1, "first" + "x" * 3_000_000 + "last", "e" * 1000)
    said = report.body(deployment(), result, NOBODY)
    assert said["deploy_stdout"].startswith("firstxxx") and said["deploy_stdout"].endswith("xxxlast")
    assert "characters left out" in said["deploy_stdout"]
    assert said["deploy_stderr"] == "e" * 1000 and said["deploy_status_code"] == 1
    assert 990_000 < len(json.dumps(said)) <= report.BODY_LIMIT


def test_a_huge_output_of_another_type_is_left_out_with_a_word():
    result = HookResult("success", 0, "out", outputs={"fact": ["x" * 100] * 20_000})
    said = report.body(deployment(), result, NOBODY)
    assert said["fact"].startswith("left out: ") and len(json.dumps(said)) <= report.BODY_LIMIT


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    strategies.dictionaries(strategies.text(max_size=5), strategies.text(max_size=400), max_size=6),
    strategies.integers(600, 2000),
)
def test_what_is_trimmed_is_json_and_fits(body, limit):
    trimmed = report.trim(body, limit)
    assert len(json.dumps(trimmed)) <= limit and json.loads(json.dumps(trimmed)) == trimmed
    assert set(trimmed) == set(body)
    if len(json.dumps(body)) <= limit:
        assert trimmed == body


def test_half_surrogates_and_nul_do_not_reach_heat():
    said = report.body(deployment(), HookResult("success", 0, "a\ud800b\0c"), NOBODY)
    assert said["deploy_stdout"] == "a?bc"


@pytest.mark.parametrize("attempts, seconds", [(1, 1), (2, 2), (3, 4), (8, 128), (9, 256), (10, 300), (500, 300)])
def test_the_pause_between_attempts_doubles_to_a_ceiling(attempts, seconds):
    assert report.next_delay(attempts) == seconds


@pytest.mark.parametrize(
    "next_at, now, expected",
    [(10, 9, False), (10, 10, True), (10, 11, True), (10_000, 9_000, True), (600, 10, False)],
)
def test_a_clock_that_was_set_back_holds_no_signal(next_at, now, expected):
    assert report.due(Signal("1", "i", "n", "HEAT_SIGNAL", {}, {}, next_at=next_at), now) is expected


@pytest.mark.parametrize(
    "kind, attempts, stays", [(DELIVERED, 0, False), (WAITING, 500, True), (REFUSED, 6, True), (REFUSED, 7, False)]
)
def test_only_what_was_delivered_or_refused_again_and_again_leaves_the_outbox(kind, attempts, stays):
    signal = Signal("1", "i", "n", "HEAT_SIGNAL", {}, {}, attempts=attempts)
    left = report.after(signal, Delivery(kind, "why"), 100.0, 0.5)
    assert (left is not None) is stays
    if left is not None:
        assert (left.attempts, left.error, left.next_at) == (attempts + 1, "why", 100 + report.next_delay(attempts + 1))


@pytest.mark.parametrize(
    "identifier, harmless",
    [
        ("647948ce-b43e-4a31-82d4-bdf34e5ab7d6", True),
        ("../x", False),
        (".x", False),
        ("a/b", False),
        ("x" * 300, False),
    ],
)
def test_no_deployment_id_leads_out_of_the_outbox(identifier, harmless):
    name = report.file_name(identifier)
    assert "/" not in name and not name.startswith(".") and len(name) < 140
    assert (name == f"{identifier}.json") is harmless


@pytest.mark.parametrize("transport", ["HEAT_SIGNAL", "CFN_SIGNAL"])
def test_a_result_reaches_heat_once(settings, cloud, transport):
    put(settings, addressed(cloud, transport), {"deploy_status_code": 0, "fact": "é"})
    assert report.deliver(settings, time.time()) == ()
    assert [body for _, body in cloud.signals] == [{"deploy_status_code": 0, "fact": "é"}]
    assert report.deliver(settings, time.time()) == () and len(cloud.signals) == 1
    assert report.pending(settings) == ()


def test_a_temp_url_gets_an_object(settings, cloud):
    put(settings, addressed(cloud, "TEMP_URL_SIGNAL"))
    assert report.deliver(settings, time.time()) == ()
    assert cloud.objects["/swift/container/o"] == {"deploy_status_code": 0}


def test_no_signal_is_nothing_to_deliver(settings, cloud):
    put(settings, addressed(cloud, "NO_SIGNAL"))
    put(settings, deployment())
    assert report.pending(settings) == () and not settings.outbox.exists()


@pytest.mark.parametrize("transport", ["HEAT_SIGNAL", "CFN_SIGNAL", "TEMP_URL_SIGNAL"])
@pytest.mark.parametrize("status", [500, 503, 429, 404])
def test_a_post_that_failed_goes_out_after_a_restart(settings, cloud, transport, status):
    put(settings, addressed(cloud, transport))
    cloud.fail = [status] * 2
    now = time.time()
    (waiting,) = report.deliver(settings, now)
    assert waiting.attempts == 1 and str(status) in waiting.error
    assert len(report.deliver(settings, waiting.next_at - 0.01)) == 1 and len(cloud.fail) == 1
    (waiting,) = report.deliver(settings, waiting.next_at)
    assert waiting.attempts == 2 and waiting.next_at >= now + 1.5
    assert report.deliver(Settings(root=settings.root), waiting.next_at) == ()
    assert len(cloud.signals) + len(cloud.objects) == 1


def test_heat_that_cannot_be_reached_keeps_the_signal(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL", deploy_auth_url="http://127.0.0.1:1/v3"))
    (waiting,) = report.deliver(settings, time.time())
    assert waiting.error == "cannot reach http://127.0.0.1:1/v3/auth/tokens: connection refused; will retry"


def test_force_does_not_wait_for_the_next_attempt(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    cloud.fail = [503]
    now = time.time()
    assert len(report.deliver(settings, now)) == 1
    assert report.deliver(settings, now, force=True) == ()


def test_a_resource_that_is_gone_is_given_up_visibly_after_many_attempts(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    cloud.fail = [404] * 100
    now = time.time()
    attempts = 0
    while report.pending(settings):
        report.deliver(settings, now, force=True)
        attempts += 1
    assert attempts == report.BELIEVED
    (refused,) = (settings.outbox / "refused").iterdir()
    assert "404" in json.loads(refused.read_text())["error"]


def test_the_outbox_is_for_root_only(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    (path,) = settings.outbox.iterdir()
    assert (path.name, path.stat().st_mode & 0o777, settings.outbox.stat().st_mode & 0o777) == (
        "d-1.json",
        0o600,
        0o700,
    )


def test_putting_a_signal_twice_keeps_its_attempts(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    cloud.fail = [503]
    report.deliver(settings, time.time())
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    (waiting,) = report.pending(settings)
    assert waiting.attempts == 1


def test_a_newer_action_takes_the_place_of_an_older_signal(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL", "old"), {"deploy_status_code": 1})
    put(settings, addressed(cloud, "HEAT_SIGNAL", "new"), {"deploy_status_code": 0})
    assert [signal.deployment_id for signal in report.pending(settings)] == ["new"]


def test_a_replaced_resource_and_its_successor_are_both_answered(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL", "created", deploy_action="CREATE"))
    put(settings, addressed(cloud, "HEAT_SIGNAL", "deleted", deploy_action="DELETE"))
    assert sorted(signal.deployment_id for signal in report.pending(settings)) == ["created", "deleted"]


def test_a_result_of_an_older_action_does_not_answer_for_the_newer_one(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL", "old"), {"deploy_status_code": 1})
    assert report.deliver(settings, time.time(), [addressed(cloud, "HEAT_SIGNAL", "new")]) == ()
    assert cloud.signals == []


def test_a_deployment_that_left_the_metadata_is_still_answered(settings, cloud):
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    assert report.deliver(settings, time.time(), [deployment(id="x", name="another")]) == ()
    assert len(cloud.signals) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "null"])
def test_a_damaged_signal_is_set_aside_and_the_others_go_out(settings, cloud, content):
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    (settings.outbox / "bad.json").write_text(content)
    assert report.deliver(settings, time.time()) == () and len(cloud.signals) == 1
    assert [path.name for path in settings.outbox.iterdir() if path.name.startswith("bad.json.damaged-")]


def test_a_transport_that_is_not_supported_is_named_and_kept(settings, cloud):
    put(settings, addressed(cloud, "ZAQAR_SIGNAL"))
    (waiting,) = report.deliver(settings, time.time())
    assert "transport ZAQAR_SIGNAL is not supported; use one of HEAT_SIGNAL" in waiting.error


def test_when_the_next_attempt_is_due_can_be_asked(settings, cloud):
    assert report.next_attempt(settings) is None
    put(settings, addressed(cloud, "HEAT_SIGNAL"))
    assert report.next_attempt(settings) == 0


def test_the_signal_of_a_captured_deployment_is_addressed_by_its_inputs():
    captured = json.loads((SAMPLES / "deployment_d_heat_heat_on_heat.json").read_text())
    signal = report.make_signal(parse_deployment(captured, "heat", "deployments[0]"), {})
    assert (signal.transport, signal.name) == ("HEAT_SIGNAL", "d_heat_heat")
    assert signal.identity == "tr2/4e970566-3c44-4c77-9149-2dca675d184c/d_heat_heat"
    assert signal.address["deploy_user_id"] == "3099d9bf39ef4b4ab4c0e37e5f3722d6" and "port" not in signal.address
