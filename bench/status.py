"""How long `swagent status` takes, as a whole process, on a root with a history."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Sequence

from bench.row import Row, seconds, swagent
from tests.member import Member, deployment


def rows() -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as folder:
        member = Member(Path(folder))
        member.metadata(deployment(config="#!/bin/sh\nexit 0\n"), member="head-0", roles=["head"])
        if member.once().returncode:
            raise SystemExit("the member did not converge")
        times = [seconds(swagent("--root", folder, "status")) for _ in range(11)]
    took = statistics.median(times)
    return [Row("`swagent status`", f"{took:.2f} s", "–", None, "≤ 0.3 s", took <= 0.3)]
