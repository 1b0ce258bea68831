import os
import subprocess
import sys

import pytest

from swagent import lock
from swagent.errors import LockHeld


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path):
    held = lock.acquire(tmp_path / "run" / "lock", "swagent run")
    with pytest.raises(LockHeld) as caught:
        lock.acquire(tmp_path / "run" / "lock", "swagent run --once")
    assert f"pid {os.getpid()} (swagent run)" in str(caught.value) and caught.value.exit_code == 75
    assert lock.holder(tmp_path / "run" / "lock")["pid"] == os.getpid()
    held.release()
    assert lock.holder(tmp_path / "run" / "lock") is None
    lock.acquire(tmp_path / "run" / "lock", "again").release()


def test_the_kernel_drops_the_lock_of_a_killed_holder(tmp_path):
    path = tmp_path / "lock"
    program = "from swagent import lock; from pathlib import Path; "
    program += f"lock.acquire(Path({str(path)!r}), 'x'); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(LockHeld):
        lock.acquire(path, "y")
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    lock.acquire(path, "y").release()


def test_no_lock_file_means_nobody_holds_it(tmp_path):
    assert lock.holder(tmp_path / "none") is None
