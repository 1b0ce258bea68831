"""Files of this machine as documents: order, safety, and one bad file that does not drop the others."""

from __future__ import annotations

import os

import pytest

from swagent.collectors.local import Command, HeatLocal, Local
from swagent.errors import NotConfigured, SourceUnavailable
from swagent.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(root=tmp_path)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "var/lib/os-collect-config/local-data"
    path.mkdir(parents=True)
    return path


def collect(settings, **options):
    return Local(options, settings).collect()


def test_the_default_places_are_below_the_root(settings, folder, tmp_path):
    (folder / "site.json").write_text('{"a": 1}')
    boot = tmp_path / "var/lib/heat-cfntools/cfn-init-data"
    boot.parent.mkdir(parents=True)
    boot.write_text('{"b": 1}')
    assert collect(settings).documents == (("site.json", {"a": 1}),)
    assert HeatLocal({}, settings).collect().documents == (("heat_local", {"b": 1}),)


def test_documents_are_named_as_their_files_and_sorted_by_bytes(settings, folder):
    for name in ("b", "a.json", "Z", "é", ".hidden"):
        (folder / name).write_text("{}")
    (folder / "sub").mkdir()
    assert [name for name, _ in collect(settings).documents] == ["Z", "a.json", "b", "é"]


@pytest.mark.filterwarnings("ignore:Use setlocale")
def test_names_and_order_equal_os_collect_configs(settings, folder):
    from os_collect_config import local as theirs
    from oslo_config import cfg

    for name in ("b", "a.json", "Z", "é", ".hidden", "_x", "10", "9"):
        (folder / name).write_text('{"a": "%s"}' % name)
    cfg.CONF.register_opts(theirs.opts, group="local")
    cfg.CONF.set_override("path", [str(folder)], group="local")
    assert list(collect(settings).documents) == theirs.Collector().collect()


@pytest.mark.parametrize(
    "content, words",
    [
        (b'{"a": 1,\n  "b" 2}', "line 2 column 7"),
        (b"", "line 1 column 1"),
        (b'{"a": "\xff"}', "byte 7"),
        (b"[1]", "must be a map, not a list"),
        (b'{"deployments": 5}', "deployments: must be a list, not a number"),
        pytest.param(b"[" * 100_000, "nested too deeply", id="deep"),
    ],
)
def test_a_bad_file_is_named_with_its_place_and_the_others_stay(settings, folder, content, words):
    (folder / "good").write_text('{"a": 1}')
    (folder / "bad").write_bytes(content)
    found = collect(settings)
    assert found.documents == (("good", {"a": 1}),)
    assert list(found.failed) == ["bad"]
    assert found.failed["bad"].startswith(f"{folder}/bad: ") and words in found.failed["bad"]


def test_a_file_that_anybody_may_write_is_refused_alone(settings, folder):
    (folder / "good").write_text('{"a": 1}')
    (folder / "open").write_text('{"b": 1}')
    (folder / "open").chmod(0o666)
    found = collect(settings)
    assert found.documents == (("good", {"a": 1}),)
    assert "anybody may write it" in found.failed["open"] and "chmod o-w" in found.failed["open"]


def test_a_folder_that_anybody_may_write_is_refused(settings, folder):
    (folder / "good").write_text('{"a": 1}')
    folder.chmod(0o777)
    with pytest.raises(SourceUnavailable, match="may be written by anybody: chmod o-w"):
        collect(settings)


def test_a_folder_of_another_user_is_refused(settings, folder):
    os.chown(folder, 12345, -1)
    with pytest.raises(SourceUnavailable, match="belongs to user 12345, not to 0"):
        collect(settings)


def test_a_pipe_in_the_folder_holds_nobody(settings, folder):
    os.mkfifo(folder / "pipe")
    (folder / "good").write_text("{}")
    found = collect(settings)
    assert [name for name, _ in found.documents] == ["good"] and "no regular file" in found.failed["pipe"]


def test_a_dangling_link_is_named(settings, folder):
    (folder / "link").symlink_to("nowhere")
    assert collect(settings).failed == {"link": f"cannot read {folder}/link: No such file or directory"}


def test_an_empty_folder_is_no_fault_and_a_missing_one_not_configured(settings, folder):
    assert collect(settings).documents == ()
    with pytest.raises(NotConfigured):
        collect(settings, path="/nowhere/at/all")


def test_later_folders_win(settings, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "site").write_text('{"from": "%s"}' % name)
    found = collect(settings, path=[str(tmp_path / "one"), str(tmp_path / "two")])
    assert found.documents == (("site", {"from": "two"}),)


def test_boot_files_are_laid_over_one_another(settings, tmp_path):
    (tmp_path / "one").write_text('{"a": {"x": 1}, "b": 1}')
    (tmp_path / "bad").write_text("{")
    (tmp_path / "two").write_text('{"a": {"y": 2}}')
    found = HeatLocal({"path": [str(tmp_path / name) for name in ("one", "bad", "none", "two")]}, settings).collect()
    assert found.documents == (("heat_local", {"a": {"y": 2}, "b": 1}),)
    assert "bad: line 1 column 2" in found.failed["heat_local"]


def test_a_single_bad_boot_file_is_unavailable_and_none_is_not_configured(settings, tmp_path):
    (tmp_path / "bad").write_text("{")
    with pytest.raises(SourceUnavailable, match="line 1 column 2"):
        HeatLocal({"path": str(tmp_path / "bad")}, settings).collect()
    with pytest.raises(NotConfigured):
        HeatLocal({}, settings).collect()


def test_os_collect_configs_files_are_documents_without_json(tmp_path):
    for name in ("heat.json", "d_none.json", "site.json.json", "bad.json"):
        (tmp_path / name).write_text("{" if name == "bad.json" else '{"name": "%s"}' % name)
    names = ("heat.json", "d_none.json", "bad.json", "site.json.json")
    settings = Settings(root=tmp_path, config_files=tuple(str(tmp_path / name) for name in names))
    found = Command({}, settings).collect()
    assert [name for name, _ in found.documents] == ["heat", "d_none", "site.json"]
    assert list(found.failed) == ["bad"]
