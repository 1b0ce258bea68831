from dataclasses import replace

from swagent import state as states
from swagent.settings import Settings
from swagent.state import DeploymentState, Running, State


def running() -> Running:
    return Running(3, "s/r", "id", "app", "chef", "CREATE", ("setup", "deploy"), (), "m", 1.0, "c", "d", "e")


def test_what_is_saved_is_what_is_loaded(tmp_path):
    settings = Settings(root=tmp_path)
    state = State(instance="i-1", key="k", epoch=2, seq=5, next_run=4, running=running()).with_deployment(
        DeploymentState(
            "s/r", "id", events=("setup",), reads=[["members", "head-0", "ip"]], result={"status": "success"}
        )
    )
    states.save(settings, state)
    assert states.load(settings, "i-1") == (state, ())
    assert states.read(settings) == state


def test_a_damaged_state_is_set_aside_and_said_and_run_numbers_go_on(tmp_path):
    settings = Settings(root=tmp_path)
    states.save(settings, State(instance="i-1", next_run=9))
    for damage in (b"", b"{}", b'{"format": 99}', b"\xff\xfe", b'{"format": 1, "instance": "i-1", "unknown": 1}'):
        (settings.runs / "8").mkdir(parents=True, exist_ok=True)
        settings.state_file.write_bytes(damage)
        state, notes = states.load(settings, "i-1")
        assert state.instance == "i-1" and not state.deployments and state.next_run == 9
        assert "damaged" in notes[0] and str(settings.state_file) in notes[0]
        assert not settings.state_file.exists()


def test_state_of_another_instance_is_set_aside_whole(tmp_path):
    settings = Settings(root=tmp_path)
    states.save(settings, State(instance="old", next_run=9))
    settings.outbox.mkdir()
    (settings.outbox / "x.json").write_text("{}")
    state, notes = states.load(settings, "new")
    assert state.instance == "new" and state.next_run == 1 and "old" in notes[0]
    assert not settings.outbox.exists() and not settings.state_file.exists()
    aside = next(settings.lib.glob("aside-*"))
    assert (aside / "state.json").exists() and (aside / "outbox" / "x.json").exists()


def test_an_unchanged_instance_keeps_its_state(tmp_path):
    settings = Settings(root=tmp_path)
    state = states.save(settings, replace(State(instance="i"), next_run=2))
    assert states.load(settings, "i") == (state, ())
