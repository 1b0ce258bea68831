"""A running Heat for the whole session, and per test what uses it; all of it ends with the session, however it ends."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import yaml

from tests.member import Member
from tests.testbed.heat import held
from tests.testbed.stacks import Stacks
from tests.wait import until

HERE = Path(__file__).parent
COOKBOOKS = HERE / "cookbooks"
TEMPLATES = HERE / "templates"


@pytest.fixture(scope="session")
def testbed(tmp_path_factory):
    """The control plane: its places, and its daemons to stop and start."""
    with held(tmp_path_factory.mktemp("testbed")) as testbed:
        yield testbed


@pytest.fixture
def heat(testbed):
    """A user of that Heat. A failed test's stacks stay; they disturb no other test, as each has its own names."""
    return Stacks(testbed)


@pytest.fixture
def name(request):
    """A stack name for this test."""
    words = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return "t" + words[-60:]


@pytest.fixture
def scratch(tmp_path):
    """The folder in which what is deployed and the test meet."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def create(heat, name, scratch):
    """Begin a template with the given parameters; gives the credentials of its server's agent once it has work."""

    def begin(template="chef.yaml", deployments=2, **parameters):
        known = {"cookbooks": str(COOKBOOKS), "scratch": str(scratch), **parameters}
        declared = yaml.safe_load((TEMPLATES / template).read_text()).get("parameters", {})
        given = {key: value for key, value in known.items() if key in declared or key in parameters}
        heat.create(name, TEMPLATES / template, given)
        credentials = heat.credentials(name, "credentials")
        server = heat.resource(name, "server")["physical_resource_id"]
        # `--once` looks a single time: before that Heat must have put every deployment into the metadata.
        until(lambda: len(heat.deployments_of(server)) == deployments, 30, "the deployments are in the metadata")
        return credentials

    return begin


@pytest.fixture
def new_member(tmp_path):
    """Make a server's side: a root of its own with the agent's first contact in its settings."""
    with contextlib.ExitStack() as stack:

        def make(credentials, root="root", **settings):
            sources = {key: value for key, value in credentials.items() if key != "collectors"}
            member = Member(
                tmp_path / root,
                **{
                    "collectors": credentials["collectors"],
                    "sources": sources,
                    "polling_interval": 2,
                    "chef_license": "accept-no-persist",
                    **settings,
                },
            )
            stack.callback(tell, member)
            stack.callback(member.close)
            return member

        yield make


def tell(member):
    """The agent's own words, which pytest shows beside a failed test."""
    log = member.root / "agent.log"
    if log.exists():
        print(f"{log}:\n{log.read_text()}")
