"""A run of a 20-resource recipe with nothing to do: through swagent, cycle and all, beside the plain chef-solo gem."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Sequence

from bench.gems import plain
from bench.row import Row, in_turn, seconds, swagent
from tests.member import Member, deployment

RECIPE = """
19.times do |number|
  file "%s/#{number}" do
    content "file #{number}"
  end
end
directory "%s"
"""


def rows() -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as folder:
        cookbook, out = Path(folder) / "cookbooks" / "twenty", Path(folder) / "out"
        (cookbook / "recipes").mkdir(parents=True)
        out.mkdir()
        (cookbook / "metadata.json").write_text(json.dumps({"name": "twenty", "version": "1.0.0", "dependencies": {}}))
        (cookbook / "recipes" / "default.rb").write_text(RECIPE % (out, out))
        member = Member(Path(folder) / "root", chef_license="accept-no-persist")
        cookbooks = [{"name": "twenty", "path": str(cookbook)}]
        member.metadata(deployment(group="chef", config=["recipe[twenty]"], cookbooks=cookbooks), member="head-0")
        solo = Path(folder) / "solo.rb"
        solo.write_text(f'chef_repo_path "{folder}"\nchef_license "accept-no-persist"\nnode_name "head-0"\n')
        attributes = Path(folder) / "dna.json"
        attributes.write_text(json.dumps({"run_list": ["recipe[twenty]"]}))
        bare = [*plain().chef_solo, "-c", str(solo), "-j", str(attributes)]
        # unshare: a full ohai, which is plain chef-solo's default, asks the cloud's metadata address.
        network = ["unshare", "-n"]
        ours, beside, ratio = in_turn(
            lambda: seconds([*network, *swagent("--root", str(member.root), "run", "--once", "--force")]),
            lambda: seconds([*network, *bare], plain().environment),
            7,
        )
        resources = member.runs()[-1]["result"]["resources"]
        if resources["updated"] or resources["total"] != 20:
            raise SystemExit(f"the run was to have 20 resources and nothing to do: {resources}")
    return [
        Row(
            "a run of a 20-resource recipe with nothing to do, `swagent run --once --force`",
            f"{ours:.2f} s",
            f"chef-solo of gem install chef-bin {beside:.2f} s",
            ratio,
            "≤ 0.5x",
            ratio <= 0.5,
        )
    ]
