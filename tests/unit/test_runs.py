from swagent import files, runs
from swagent.settings import Settings


def test_the_oldest_runs_over_the_caps_are_dropped_but_never_the_needed():
    sizes = [(1, 10, True), (2, 10, False), (3, 10, False), (4, 10, False)]
    assert runs.surplus(sizes, 2, 1000) == [2]
    assert runs.surplus(sizes, 10, 25) == [2]
    assert runs.surplus(sizes, 10, 1000) == []


def test_pruning_keeps_the_last_failure_and_the_contexts_in_use(tmp_path):
    settings = Settings(root=tmp_path, keep_runs=3)
    for number in range(1, 11):
        status = "failed" if number == 2 else "success"
        runs.save(settings, {"number": number, "status": status, "context": f"c{number}", "previous_context": ""})
        files.write_json(settings.contexts / f"c{number}.json", {})
    runs.prune(settings)
    assert runs.numbers(settings) == [2, 8, 9, 10]
    left = {path.stem for path in settings.contexts.iterdir()}
    assert {"c2", "c8", "c9", "c10"} <= left and "c1" not in left


def test_a_damaged_record_is_no_record(tmp_path):
    settings = Settings(root=tmp_path)
    files.write(settings.runs / "1" / "run.json", "{")
    assert runs.read(settings, 1) is None and runs.read(settings, 2) is None
    assert runs.numbers(settings) == [1]
