import pytest

from swagent import converge
from swagent.model import HookResult


@pytest.mark.parametrize(
    "path, reads, read",
    [
        ("members.w-0.ip", [["members", "w-0", "ip"]], True),
        ("members.w-0.ip", [["members"]], True),
        ("members.w-0", [["members", "w-0", "ip"]], True),
        ("members.w-0.cpus", [["members", "w-0", "ip"]], False),
        ("members.w-01.ip", [["members", "w-0"]], False),
        ("complete", [["members"]], False),
        ("parameters.app.port", [], True),
        ("complete", None, True),
    ],
)
def test_what_the_last_run_did_not_read_is_no_reason(path, reads, read):
    assert converge.is_read(path, reads) is read


def test_the_state_keeps_the_ends_of_a_long_output_and_no_details():
    result = HookResult("success", 0, stdout="begin" + "x" * 100000 + "end", details=({"resource": "file[a]"},))
    kept = converge.reportable(result)
    assert kept["stdout"].startswith("begin") and kept["stdout"].endswith("end") and len(kept["stdout"]) < 17000
    assert kept["details"] == [] and HookResult.parse(kept).status == "success"


@pytest.mark.parametrize("failures, delay", [(1, 10), (2, 20), (3, 40), (5, 100), (5000, 100)])
def test_the_back_off_doubles_to_its_ceiling(failures, delay):
    assert converge.retry_delay(failures, 10, 100) == delay
