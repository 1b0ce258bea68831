"""The systemd unit: its words, and its files below a root of its own (nothing is started)."""

from __future__ import annotations

import configparser
import os

from swagent.bootstrap import service
from swagent.settings import Settings


def unit(text):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    return parser


def test_the_unit_starts_the_agent_and_lets_it_end_its_run_in_order():
    parsed = unit(service.render_unit(["/opt/swagent/venv/bin/swagent"]))
    assert parsed["Service"]["ExecStart"] == "/opt/swagent/venv/bin/swagent run"
    assert parsed["Service"]["KillMode"] == "mixed"
    assert parsed["Service"]["Restart"] == "always"
    assert parsed["Install"]["WantedBy"] == "multi-user.target"


def test_words_that_systemd_would_expand_are_quoted():
    parsed = unit(service.render_unit(["/a dir/$x/50%/py", "-m", "swagent"]))
    assert parsed["Service"]["ExecStart"] == '"/a dir/$$x/50%%/py" -m swagent run'


def test_the_program_is_one_that_can_be_started():
    assert os.access(service.program()[0], os.X_OK)


def test_the_unit_is_written_and_enabled_below_its_root_and_once(tmp_path):
    said = []
    settings = Settings(root=tmp_path)
    assert service.install(settings, said.append) is True
    assert service.install(settings, said.append) is False
    path = tmp_path / "etc/systemd/system/swagent.service"
    assert path.read_text() == service.render_unit(service.program())
    assert path.stat().st_mode & 0o777 == 0o644
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants/swagent.service"
    assert wants.is_symlink() and os.readlink(wants).endswith("/etc/systemd/system/swagent.service")
    assert said == [f"{path}: enabled; it starts with the machine"] * 2
