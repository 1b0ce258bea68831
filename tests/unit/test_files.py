import json
import os
import stat

import pytest

from swagent import files
from swagent.errors import DocumentError


def test_a_written_file_is_private_and_whole(tmp_path):
    path = tmp_path / "deep" / "state.json"
    files.write_json(path, {"a": [1, "é"]})
    assert json.loads(path.read_text()) == {"a": [1, "é"]}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["state.json"]


def test_a_damaged_document_is_named_with_line_and_remedy(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(DocumentError) as caught:
        files.read_json(path)
    assert (
        str(path) in str(caught.value) and "line 2" in str(caught.value) and "correct or remove it" in str(caught.value)
    )


def test_a_file_set_aside_is_kept_beside(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("broken")
    aside = files.set_aside(path)
    assert not path.exists() and aside.read_text() == "broken" and aside.parent == tmp_path


def test_a_link_planted_at_the_temporary_name_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / ".x.json.new").symlink_to(victim)
    with pytest.raises(OSError):
        files.write(tmp_path / "x.json", "new")
    assert victim.read_text() == "kept"
