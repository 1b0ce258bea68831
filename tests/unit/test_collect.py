"""Collecting: pace, last good documents across failures and restarts, credentials that documents bring."""

from __future__ import annotations

import json

import pytest

from swagent import collect
from swagent.collect import Collectors, jittered, next_delay
from swagent.openstack import credentials
from swagent.settings import Settings
from tests.fake_cloud import FakeCloud


@pytest.fixture
def cloud():
    with FakeCloud() as running:
        running.metadata["stack/0000", "srv"] = {"app": {"n": 1}}
        running.metadata["stack", "srv"] = {"app": {"n": 2}}
        yield running


@pytest.fixture
def settings(tmp_path):
    return Settings(root=tmp_path)


def with_heat(settings, cloud):
    return Settings(root=settings.root, sources={"heat": {**cloud.heat_options, "timeout": 2}})


def local(settings, **documents):
    folder = settings.under_root("/var/lib/os-collect-config/local-data")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in documents.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def boot(settings, content):
    path = settings.under_root("/var/lib/heat-cfntools/cfn-init-data")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "previous, changed, floor, ceiling, expected",
    [
        (0, False, 1, 30, 1),
        (1, False, 1, 30, 2),
        (2, False, 1, 30, 4),
        (16, False, 1, 30, 30),
        (30, False, 1, 30, 30),
        (30, True, 1, 30, 1),
        (0, True, 0, 30, 0),
        (0, False, 0, 30, 0.1),
        (0.1, False, 0, 30, 0.2),
        (5, True, 10, 3, 3),
        (0.5, False, 0.05, 2, 1.0),
    ],
)
def test_the_delay_doubles_to_a_ceiling_and_starts_anew_after_a_change(previous, changed, floor, ceiling, expected):
    assert next_delay(previous, changed, floor, ceiling) == expected


@pytest.mark.parametrize("chance, expected", [(0, 9), (0.5, 10), (1, 11)])
def test_jitter_is_a_tenth_either_way(chance, expected):
    assert jittered(10, chance) == pytest.approx(expected)


def test_polls_become_seldom_and_a_change_makes_them_frequent(settings, cloud):
    collectors = Collectors(with_heat(settings, cloud))
    heat = next(source for source in collectors.sources if source.name == "heat")
    delays = []
    now = 100.0
    for _ in range(8):
        collectors.collect(now)
        delays.append(heat.delay)
        assert now + 0.9 * heat.delay <= heat.next_at <= now + 1.1 * heat.delay
        now = heat.next_at + 0.001
    assert delays == [1, 2, 4, 8, 16, 30, 30, 30]
    cloud.metadata["stack/0000", "srv"] = {"app": {"n": 5}}
    assert collectors.collect(now).content["app"] == {"n": 5}
    assert heat.delay == 1


def test_nothing_is_asked_before_it_is_due(settings, cloud):
    collectors = Collectors(with_heat(settings, cloud))
    collectors.collect(100.0)
    asked = len(cloud.requests)
    collectors.collect(100.5)
    assert len(cloud.requests) == asked
    collectors.collect(100.5, force=True)
    assert len(cloud.requests) == asked + 1


def test_hurry_brings_the_next_poll_forward_and_never_back(settings, cloud):
    collectors = Collectors(with_heat(settings, cloud))
    now = 0.0
    for _ in range(7):
        collectors.collect(now, force=True)
    assert collectors.next_poll > 20
    collectors.hurry(1.0)
    assert 1.9 <= collectors.next_poll <= 2.1
    collectors.hurry(50.0)
    assert collectors.next_poll <= 2.1


def test_an_idle_poll_of_heat_is_one_request(settings, cloud):
    collectors = Collectors(with_heat(settings, cloud))
    collectors.collect(0.0)
    cloud.requests.clear()
    for now in (100.0, 200.0, 300.0):
        collectors.collect(now)
    assert cloud.requests == [("GET", "/heat/v1/p/stacks/stack/0000/resources/srv/metadata")] * 3
    assert cloud.connections == 1


def test_heat_down_keeps_the_last_good_document_marked_stale(settings, cloud):
    collectors = Collectors(with_heat(settings, cloud))
    assert collectors.collect(0.0).problems == ()
    cloud.fail = [503]
    found = collectors.collect(100.0)
    assert found.content["app"] == {"n": 1}
    (document,) = found.documents
    assert document.stale and "answers 503" in document.error
    assert "answers 503" in found.problems[0]
    found = collectors.collect(200.0)
    assert not found.documents[0].stale and found.problems == ()


def test_heat_down_at_a_restart_uses_the_last_good_document(settings, cloud):
    settings = with_heat(settings, cloud)
    Collectors(settings).collect(0.0)
    cloud.fail = [500]
    found = Collectors(settings).collect(0.0)
    assert found.content["app"] == {"n": 1} and found.documents[0].stale


def test_heat_down_from_the_start_is_a_named_problem(settings, cloud):
    cloud.fail = [500]
    found = Collectors(with_heat(settings, cloud)).collect(0.0)
    assert found.content == {} and found.documents == ()
    (problem,) = found.problems
    assert problem.startswith("heat: cannot read the metadata: ") and "500" in problem


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"metadata": [1]}', b'{"metadata": {"deployments": "x"}}'])
def test_a_bad_document_is_named_and_the_last_good_one_stays(settings, cloud, body):
    settings = with_heat(settings, cloud)
    collectors = Collectors(settings)
    collectors.collect(0.0)
    cloud.metadata["stack/0000", "srv"] = body
    found = collectors.collect(100.0)
    assert found.content["app"] == {"n": 1} and found.documents[0].stale and len(found.problems) == 1
    again = Collectors(settings).collect(0.0)
    assert again.content["app"] == {"n": 1}


def test_a_damaged_cache_file_is_set_aside_and_collected_anew(settings, cloud):
    settings = with_heat(settings, cloud)
    Collectors(settings).collect(0.0)
    (settings.collected / "heat.json").write_text('{"half')
    cloud.fail = [500]
    collectors = Collectors(settings)
    assert collectors.collect(0.0).content == {}
    aside = [path.name for path in settings.collected.iterdir() if ".damaged-" in path.name]
    assert len(aside) == 1 and aside[0].startswith("heat.json")
    assert collectors.collect(100.0).content["app"] == {"n": 1}
    assert json.loads((settings.collected / "heat.json").read_text()) == {"app": {"n": 1}}


@pytest.mark.parametrize("name", ["heat.json", "local.json", "sections.json"])
@pytest.mark.parametrize("content", ["", "[]", "null", '{"a": 1}', "\x00\xff", pytest.param("[" * 100_000, id="deep")])
def test_no_cache_file_is_fatal(settings, name, content):
    settings.collected.mkdir(parents=True)
    (settings.collected / name).write_text(content)
    Collectors(settings).collect(0.0)
    collect.saved(settings)


def test_cache_files_are_for_root_only(settings, cloud):
    Collectors(with_heat(settings, cloud)).collect(0.0)
    assert [path.stat().st_mode & 0o777 for path in settings.collected.iterdir()] == [0o600]
    assert settings.collected.stat().st_mode & 0o777 == 0o700


def test_an_unchanged_document_is_not_written_again(settings, cloud):
    collectors = Collectors(with_heat(settings, cloud))
    collectors.collect(0.0)
    before = (settings.collected / "heat.json").stat()
    collectors.collect(100.0)
    after = (settings.collected / "heat.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_nothing_configured_is_no_fault(settings):
    collectors = Collectors(settings)
    found = collectors.collect(5.0)
    assert (found.content, found.problems, found.documents) == ({}, (), ())
    assert collectors.next_poll > 5.0


def test_an_unknown_collector_is_named(settings):
    found = Collectors(Settings(root=settings.root, collectors=("ec2", "local"))).collect(0.0)
    assert "'ec2' is not known; known are: " in found.problems[0]


def test_cfn_init_data_brings_the_first_credentials_in_the_same_cycle(settings, cloud):
    boot(settings, {"os-collect-config": {"heat": cloud.heat_options}, "app": {"n": 0}})
    found = Collectors(settings).collect(0.0)
    assert found.content["app"] == {"n": 1}
    assert [document.source for document in found.documents] == ["heat_local", "heat"]


def test_new_credentials_are_used_at_once(settings, cloud):
    cloud.metadata["stack/0000", "srv"] = {"os-collect-config": {"heat": cloud.heat_options}}
    boot(settings, {"os-collect-config": {"heat": cloud.heat_options}})
    collectors = Collectors(settings)
    collectors.collect(0.0)
    cloud.metadata["stack/1111", "srv"] = {"moved": True}
    cloud.metadata["stack/0000", "srv"] = {
        "os-collect-config": {"heat": {**cloud.heat_options, "stack_id": "stack/1111"}}
    }
    collectors.collect(100.0)
    found = collectors.collect(100.1)
    assert found.content.get("moved") is True


def test_a_change_of_transport_retires_the_old_document(settings, cloud):
    """Heat nulls the old transport's keys; cfn comes before heat in the order, so heat's old document would hide it."""
    boot(settings, {"os-collect-config": {"heat": cloud.heat_options}})
    collectors = Collectors(settings)
    collectors.collect(0.0)
    nulls = {key: None for key in cloud.heat_options}
    section = {"os-collect-config": {"heat": nulls, "cfn": cloud.cfn_options}}
    cloud.metadata["stack/0000", "srv"] = {"app": {"n": 1}, **section}
    cloud.metadata["stack", "srv"] = {"app": {"n": 2}, **section}
    collectors.collect(100.0)
    for now in (200.0, 300.0):
        found = collectors.collect(now)
        assert found.content["app"] == {"n": 2}
        assert [document.source for document in found.documents] == ["heat_local", "cfn"]
    assert found.problems == () and not (settings.collected / "heat.json").exists()
    again = Collectors(settings).collect(0.0)
    assert again.content["app"] == {"n": 2}


def test_a_broken_section_is_named_and_the_old_credentials_stay_also_after_a_restart(settings, cloud):
    good = {"os-collect-config": {"heat": cloud.heat_options}, "app": {"n": 1}}
    cloud.metadata["stack/0000", "srv"] = good
    boot(settings, good)
    collectors = Collectors(settings)
    collectors.collect(0.0)
    settings.under_root("/var/lib/heat-cfntools/cfn-init-data").unlink()
    cloud.metadata["stack/0000", "srv"] = {"os-collect-config": {"heat": 5}, "app": {"n": 2}}
    found = collectors.collect(100.0)
    assert found.content["app"] == {"n": 2}
    assert any("os-collect-config.heat: must be a map" in problem for problem in found.problems)
    cloud.metadata["stack/0000", "srv"] = {"os-collect-config": {"heat": 5}, "app": {"n": 3}}
    assert collectors.collect(200.0).content["app"] == {"n": 3}
    cloud.metadata["stack/0000", "srv"] = {**good, "app": {"n": 4}}
    found = Collectors(settings).collect(0.0)
    assert found.content["app"] == {"n": 4} and found.problems == ()


def test_a_broken_swagent_section_keeps_the_members_name_after_a_restart(settings, cloud):
    cloud.metadata["stack/0000", "srv"] = {"swagent": {"member": "head-0"}}
    settings = with_heat(settings, cloud)
    collectors = Collectors(settings)
    assert collectors.collect(0.0).section.member == "head-0"
    cloud.metadata["stack/0000", "srv"] = {"swagent": {"member": "a b"}}
    assert collectors.collect(100.0).section.member == "head-0"
    found = Collectors(settings).collect(0.0)
    assert found.section.member == "head-0" and "swagent.member" in found.problems[0]


def test_a_bad_local_file_keeps_its_last_good_document_across_restarts(settings):
    local(settings, a={"a": 1}, b={"b": 1})
    collectors = Collectors(settings)
    collectors.collect(0.0)
    local(settings, a="{", b={"b": 2})
    for each in (collectors, Collectors(settings)):
        found = each.collect(100.0)
        assert found.content == {"a": 1, "b": 2}
        assert [(document.source, document.stale) for document in found.documents] == [("a", True), ("b", False)]
        assert "line 1 column 2" in found.problems[0]


def test_a_local_file_that_was_removed_is_gone(settings):
    local(settings, a={"a": 1}, b={"b": 1})
    collectors = Collectors(settings)
    collectors.collect(0.0)
    (settings.under_root("/var/lib/os-collect-config/local-data") / "a").unlink()
    assert collectors.collect(100.0).content == {"b": 1}
    assert Collectors(settings).collect(0.0).content == {"b": 1}


def test_a_new_local_file_that_is_bad_is_named(settings):
    local(settings, a="{")
    found = Collectors(settings).collect(0.0)
    assert found.documents == () and found.problems[0].startswith("local: ")


def test_a_full_disk_is_named_and_the_walk_goes_on(settings, cloud):
    settings = with_heat(settings, cloud)
    settings.lib.mkdir(parents=True)
    settings.collected.write_text("a file where the folder should be")
    found = Collectors(settings).collect(0.0)
    assert found.content["app"] == {"n": 1}
    assert any("cannot save" in problem or "cannot read" in problem for problem in found.problems)


def run_by_os_collect_config(settings, **documents):
    cache = settings.under_root("/cache")
    cache.mkdir(exist_ok=True)
    for name, content in documents.items():
        (cache / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return Settings(root=settings.root, config_files=tuple(str(cache / f"{name}.json") for name in documents))


def test_as_os_collect_configs_command_its_files_are_all_there_is(settings, cloud):
    boot(settings, {"os-collect-config": {"heat": cloud.heat_options}})
    found = Collectors(run_by_os_collect_config(settings, cfn={"app": {"n": 1}}, site={"app": {"m": 2}})).collect(0.0)
    assert found.content == {"app": {"n": 1, "m": 2}} and cloud.requests == []


def test_as_a_command_a_source_that_os_collect_config_dropped_stays_in_use(settings):
    Collectors(run_by_os_collect_config(settings, heat={"app": {"n": 1}}, site={"b": 1})).collect(0.0)
    found = Collectors(run_by_os_collect_config(settings, site={"b": 2})).collect(0.0)
    assert found.content == {"app": {"n": 1}, "b": 2}
    assert [(document.source, document.stale) for document in found.documents] == [("heat", True), ("site", False)]


def test_as_a_command_a_bad_file_keeps_its_last_good_document(settings):
    Collectors(run_by_os_collect_config(settings, heat={"app": {"n": 1}}, site={"b": 1})).collect(0.0)
    found = Collectors(run_by_os_collect_config(settings, heat="{", site={"b": 2})).collect(0.0)
    assert found.content == {"app": {"n": 1}, "b": 2} and "heat.json: line 1 column 2" in found.problems[0]


def test_what_was_collected_can_be_read_without_the_network(settings, cloud):
    local(settings, site={"b": 1})
    found = Collectors(with_heat(settings, cloud)).collect(0.0)
    asked = len(cloud.requests)
    saved = collect.saved(settings)
    assert (saved.content, saved.origins) == (found.content, found.origins) and len(cloud.requests) == asked


def test_what_os_collect_config_handed_over_can_be_read_by_a_command_that_was_not_told(settings):
    local(settings, site={"b": 1})
    Collectors(settings).collect(0.0)
    assert collect.saved(settings).content == {"b": 1}
    handed = run_by_os_collect_config(settings, heat={"app": {"n": 1}})
    Collectors(handed).collect(0.0)
    assert collect.saved(settings).content == {"app": {"n": 1}}


@pytest.mark.parametrize(
    "source, section, expected",
    [
        ({}, {}, {}),
        ({"auth-url": "a", "timeout": 5}, {}, {"auth_url": "a", "timeout": 5}),
        ({"auth_url": "a"}, {"heat": {"auth_url": "b"}}, {"auth_url": "b"}),
        ({"auth_url": "a"}, {"heat": {"auth_url": None, "password": "p"}}, {"auth_url": "a", "password": "p"}),
        ({}, {"heat": None, "cfn": {"path": "x"}}, {}),
        ({}, {"heat": {"region_name": ""}}, {}),
    ],
)
def test_the_section_is_laid_over_the_settings(source, section, expected):
    assert credentials.overlay({"heat": source}, section, "heat") == expected


def test_a_timeout_that_is_no_number_is_named_and_not_fatal(settings, cloud):
    sources = {"heat": {**cloud.heat_options, "timeout": "soon"}}
    found = Collectors(Settings(root=settings.root, sources=sources)).collect(0.0)
    assert found.problems == ("heat: sources.heat: timeout: 'soon' is no number of seconds; correct it",)
