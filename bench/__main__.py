"""The bench: tools/bench [NAME...] [-f table|json] [--readme]"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from typing import Sequence

from bench.row import CHECKOUT, Row

NAMES = ("status", "facts", "bootstrap", "run", "memory")
BLOCK = re.compile(r"<!-- bench -->.*<!-- /bench -->", re.DOTALL)


def render(rows: Sequence[Row]) -> str:
    """The table, in Markdown."""
    lines = ["| what | ours | beside | ratio | goal | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}x" if row.ratio >= 0.095 else f"{row.ratio:.3f}x"
        lines.append(
            f"| {row.what} | {row.ours} | {row.beside} | {ratio} | {row.goal} | {'yes' if row.met else 'no'} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("-f", "--format", choices=("table", "json"), default="table")
    parser.add_argument("--readme", action="store_true", help="put the table into the README")
    words = parser.parse_args()
    unknown = [name for name in words.names if name not in NAMES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are: {', '.join(NAMES)}")
    rows: list[Row] = []
    for name in words.names or NAMES:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"bench.{name}").rows()
    if words.readme:
        readme = CHECKOUT / "README.md"
        text, count = BLOCK.subn(f"<!-- bench -->\n{render(rows)}\n<!-- /bench -->", readme.read_text())
        if not count:
            raise SystemExit("README.md has no place for the table (<!-- bench --> … <!-- /bench -->)")
        readme.write_text(text)
    if words.format == "json":
        print(json.dumps([row.to_document() for row in rows], ensure_ascii=False, indent=1))
    else:
        print(render(rows))
    return 0


sys.exit(main())
