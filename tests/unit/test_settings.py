from pathlib import Path

import pytest

from swagent import settings
from swagent.errors import SettingsError


def write(root: Path, name: str, text: str) -> None:
    path = root / "etc/swagent" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_flags_beat_environment_beats_conf_d_beats_file_beats_defaults(tmp_path):
    assert settings.load({}, str(tmp_path)).polling_interval == 30
    write(tmp_path, "swagent.yaml", "polling_interval: 20\nkeep_runs: 7\n")
    assert settings.load({}, str(tmp_path)).polling_interval == 20
    write(tmp_path, "conf.d/10.yaml", "polling_interval: 15\n")
    assert settings.load({}, str(tmp_path)).polling_interval == 15
    environment = {"SWAGENT_POLLING_INTERVAL": "12", "SWAGENT_ROOT": str(tmp_path)}
    assert settings.load(environment).polling_interval == 12
    loaded = settings.load(environment, polling_interval=10)
    assert loaded.polling_interval == 10 and loaded.keep_runs == 7


def test_every_path_moves_with_the_root(tmp_path):
    loaded = settings.load({}, str(tmp_path))
    for path in (loaded.etc, loaded.lib, loaded.run, loaded.outbox, loaded.state_file, *loaded.facts_folders):
        assert str(path).startswith(str(tmp_path))


@pytest.mark.parametrize(
    "text, words",
    [
        ("colectors: [heat]", ["unknown setting 'colectors'", "collectors"]),
        ("polling_interval: often", ["polling_interval", "often"]),
        ("chef_license: yes", ["chef_license", "accept-no-persist"]),
        ("a: [", ["line 1", "not YAML"]),
        ("- a", ["must be a map"]),
        ("keep_runs: 0", ["keep_runs", "positive"]),
    ],
)
def test_a_wrong_setting_is_named_with_file_and_key(tmp_path, text, words):
    write(tmp_path, "swagent.yaml", text)
    with pytest.raises(SettingsError) as caught:
        settings.load({}, str(tmp_path))
    for word in [str(tmp_path), *words]:
        assert word in str(caught.value)
    assert caught.value.exit_code == 2


def test_os_collect_configs_files_are_taken_from_its_environment(tmp_path):
    loaded = settings.load({"OS_CONFIG_FILES": "/a/heat.json:/a/x.json"}, str(tmp_path))
    assert loaded.config_files == ("/a/heat.json", "/a/x.json")
