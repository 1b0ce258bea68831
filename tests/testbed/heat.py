"""A real OpenStack Heat on loopback, from Debian 12's packages, without Nova, Neutron, systemd or a database server.

    /usr/bin/python3 tests/testbed/heat.py up DIR      # 0.6 GB of memory; a second `up` starts only what is not running
    /usr/bin/python3 tests/testbed/heat.py down DIR    # ends all of it; DIR keeps the state, which knows its ports
    /usr/bin/python3 tests/testbed/heat.py hold DIR    # up, then down at the end of stdin, whatever ended its writer

The daemons: keystone (one uwsgi process), memcached, epmd and RabbitMQ, heat-api, heat-api-cfn, heat-engine, and
programs/compute.py, which answers for Nova and Glance. As root: RabbitMQ's start script wants it or its own user.
packages-heat.txt names what must be installed. Everything listens on 127.0.0.1 (epmd on ::1 too) with passwords that
stand here: for tests only.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.testbed.daemons import LOOPBACK, Daemons, TestbedError, free_ports  # noqa: E402

PROGRAMS = Path(__file__).resolve().parent / "programs"
PYTHON = "/usr/bin/python3"
PASSWORD = "testbed"  # of every user here: admin, demo, heat, heat_domain_admin
REGION = "RegionOne"
PORTS = ("keystone", "memcached", "epmd", "rabbitmq", "rabbitmq_dist", "heat_api", "heat_api_cfn", "compute")
# Erlang's own hosts table: a machine made by debootstrap has no /etc/hosts that knows localhost.
INETRC = """{host, {127,0,0,1}, ["localhost"]}.
{lookup, [file, native]}.
"""
# Ended step by step: Heat first, else its engine waits for a RabbitMQ that is gone.
STOP_ORDER = (("heat-engine", "heat-api", "heat-api-cfn"), ("rabbitmq", "keystone", "memcached", "compute"))


@dataclass(frozen=True)
class Places:
    """Where everything of one testbed is: its folder and its ports."""

    folder: Path
    ports: Mapping[str, int]

    def url(self, service: str) -> str:
        return f"http://{LOOPBACK}:{self.ports[service]}"

    @property
    def auth_url(self) -> str:
        return self.url("keystone") + "/v3"


def render_keystone_conf(places: Places) -> str:
    folder = places.folder
    return f"""\
[DEFAULT]
log_file = {folder}/log/keystone-app.log
[database]
connection = sqlite:///{folder}/keystone/keystone.db
# a testbed may lose its data with the power; each commit's fsync costs more than the rest of the request
sqlite_synchronous = false
[token]
provider = fernet
[fernet_tokens]
key_repository = {folder}/keystone/keys
[fernet_receipts]
key_repository = {folder}/keystone/keys
[credential]
key_repository = {folder}/keystone/keys
[cache]
# without a cache each password token costs some 250 queries, 0.2 s
enabled = true
backend = dogpile.cache.memcached
memcache_servers = {LOOPBACK}:{places.ports["memcached"]}
[identity]
# the cheapest that bcrypt allows
password_hash_rounds = 4
"""


def render_heat_conf(places: Places) -> str:
    service = f"""\
auth_type = password
auth_url = {places.auth_url}
username = heat
password = {PASSWORD}
user_domain_id = default
"""
    return f"""\
[DEFAULT]
transport_url = rabbit://guest:guest@{LOOPBACK}:{places.ports["rabbitmq"]}/
auth_encryption_key = {"0123456789abcdef" * 2}
heat_metadata_server_url = {places.url("heat_api_cfn")}
heat_waitcondition_server_url = {places.url("heat_api_cfn")}/v1/waitcondition
region_name_for_services = {REGION}
heat_stack_user_role = heat_stack_user
stack_user_domain_name = heat
stack_domain_admin = heat_domain_admin
stack_domain_admin_password = {PASSWORD}
# one engine process: sqlite takes one writer at a time
num_engine_workers = 1
max_stacks_per_tenant = 1000
[heat_api]
bind_host = {LOOPBACK}
bind_port = {places.ports["heat_api"]}
workers = 1
[heat_api_cfn]
bind_host = {LOOPBACK}
bind_port = {places.ports["heat_api_cfn"]}
workers = 1
[database]
connection = sqlite:///{places.folder}/heat/heat.db
sqlite_synchronous = false
[oslo_concurrency]
lock_path = {places.folder}/heat
[oslo_messaging_notifications]
driver = noop
[keystone_authtoken]
www_authenticate_uri = {places.auth_url}
project_name = service
project_domain_id = default
{service}[trustee]
{service}[clients_keystone]
auth_uri = {places.url("keystone")}
[ec2authtoken]
auth_uri = {places.auth_url}
[clients]
endpoint_type = publicURL
"""


def commands(places: Places) -> Dict[str, Tuple[Sequence[str], Mapping[str, str]]]:
    """{daemon: (argv, environment beyond the common one)}, in the order in which they start."""
    folder, ports = places.folder, places.ports
    epmd = {"ERL_EPMD_ADDRESS": LOOPBACK, "ERL_EPMD_PORT": str(ports["epmd"])}
    rabbitmq = {
        "HOME": f"{folder}/rabbitmq",  # its cookie
        "RABBITMQ_NODENAME": "testbed@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(ports["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(ports["rabbitmq_dist"]),
        "RABBITMQ_MNESIA_BASE": f"{folder}/rabbitmq/mnesia",
        "RABBITMQ_LOG_BASE": f"{folder}/rabbitmq/log",
        "ERL_INETRC": f"{folder}/rabbitmq/inetrc",
        "RABBITMQ_PID_FILE": f"{folder}/rabbitmq/pid",
        # files that are not there, in the place of those in /etc/rabbitmq
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/rabbitmq/plugins",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq/env.conf",
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq/rabbitmq",
        # idle schedulers sleep at once: two cores are shared with the tests
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
        "+sbwt none +sbwtdcpu none +sbwtdio none",
    }
    uwsgi = ["uwsgi_python3", "--http-socket", f"{LOOPBACK}:{ports['keystone']}", "--master", "--lazy-apps"]
    uwsgi += ["--wsgi-file", "/usr/bin/keystone-wsgi-public", "--buffer-size", "65535", "--listen", "100"]
    # No threads: a sqlite connection belongs to the thread that opened it.
    uwsgi += ["--processes", "1", "--die-on-term", "--no-orphans", "--disable-logging"]
    # uwsgi closes each connection; unless it says so, a client that keeps connections sees one break now and then.
    uwsgi += ["--add-header", "Connection: close"]
    keystone = {"OS_KEYSTONE_CONFIG_DIR": f"{folder}/keystone", "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
    heat = ["--config-file", f"{folder}/heat/heat.conf"]
    memcached = ["memcached", "-u", "nobody", "-l", LOOPBACK, "-p", str(ports["memcached"]), "-U", "0", "-m", "64"]
    return {
        # An epmd that RabbitMQ starts itself outlives it, in nobody's session.
        "epmd": (["epmd"], epmd),
        "rabbitmq": (["/usr/lib/rabbitmq/bin/rabbitmq-server"], {**epmd, **rabbitmq}),
        "memcached": (memcached, {}),
        "compute": ([PYTHON, f"{PROGRAMS}/compute.py", str(ports["compute"])], {}),
        "keystone": (uwsgi, keystone),
        "heat-engine": ([PYTHON, f"{PROGRAMS}/heat_daemon.py", "engine", *heat], {}),
        "heat-api": ([PYTHON, f"{PROGRAMS}/heat_daemon.py", "api", *heat], {}),
        "heat-api-cfn": ([PYTHON, f"{PROGRAMS}/heat_daemon.py", "api_cfn", *heat], {}),
    }


class Testbed:
    """The control plane of one folder; a new object on the same folder goes on with what runs there."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.daemons = Daemons(folder)
        stored = self.daemons.folder / "ports.json"
        if not stored.exists():
            # Keystone's catalogue holds them: they are chosen once per folder.
            stored.write_text(json.dumps(free_ports(PORTS)))
        self.places = Places(self.daemons.folder, json.loads(stored.read_text()))
        self.timings: Dict[str, float] = {}
        self._begun = time.monotonic()

    def start(self, name: str) -> None:
        """Start one daemon unless it runs."""
        command, environment = commands(self.places)[name]
        self.daemons.start(name, command, environment)

    def stop(self, name: str) -> None:
        self.daemons.stop(name)

    def start_api(self, name: str = "heat-api") -> None:
        """Start heat-api or heat-api-cfn and wait until it accepts connections."""
        self.start(name)
        self.daemons.wait_port(name, self.places.ports[name.replace("-", "_")])

    def up(self) -> None:
        """Start everything and wait until the engine answers; TestbedError with the end of a log where it does not."""
        self._begun = time.monotonic()
        with contextlib.ExitStack() as undo:
            undo.callback(self.down)
            self._up()
            undo.pop_all()

    def down(self) -> None:
        # heat-engine takes 6 s to leave on its own, and RabbitMQ none of it while it starts: their state is kept anyway
        self.daemons.stop_all(STOP_ORDER, seconds=2)

    def _up(self) -> None:
        folder, ports, daemons = self.places.folder, self.places.ports, self.daemons
        for part in ("keystone/keys", "heat", "rabbitmq"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "keystone" / "keystone.conf").write_text(render_keystone_conf(self.places))
        (folder / "heat" / "heat.conf").write_text(render_heat_conf(self.places))
        (folder / "rabbitmq" / "inetrc").write_text(INETRC)
        for name in ("epmd", "memcached", "compute"):
            self.start(name)
        daemons.wait_port("epmd", ports["epmd"])
        self.start("rabbitmq")
        prepared = folder / "prepared"
        if not prepared.exists():
            self._prepare_databases()
            self._lap("databases")
        for name in ("keystone", "heat-engine", "heat-api", "heat-api-cfn"):
            self.start(name)
        daemons.wait_port("keystone", ports["keystone"])
        if not prepared.exists():
            self._fill_keystone()
            prepared.touch()
            self._lap("keystone's users and catalogue")
        daemons.wait_port("rabbitmq", ports["rabbitmq"])
        daemons.wait_port("heat-api", ports["heat_api"])
        daemons.wait_port("heat-api-cfn", ports["heat_api_cfn"])
        self._lap("ports of both APIs")
        self._wait_engine()
        self._lap("heat-engine answers")

    def _prepare_databases(self) -> None:
        folder, daemons = self.places.folder, self.daemons
        # The key repositories as fernet_setup and credential_setup lay them: 0 is the staged, 1 the primary key.
        for number in ("0", "1"):
            key = folder / "keystone" / "keys" / number
            key.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
            key.chmod(0o600)
        sync = ["heat-manage", "--config-file", str(folder / "heat" / "heat.conf"), "db_sync"]
        heat = daemons.begin("heat-db-sync", sync)
        try:
            setup = [PYTHON, str(PROGRAMS / "keystone_setup.py"), str(folder / "keystone" / "keystone.conf")]
            daemons.run("keystone-setup", [*setup, self.places.auth_url, PASSWORD])
        finally:
            daemons.finish("heat-db-sync", heat)
        for path in (folder / "keystone" / "keystone.db", folder / "heat" / "heat.db"):
            with contextlib.closing(sqlite3.connect(path)) as database:
                # Else a reader makes a writer fail with "database is locked". Stays with the file.
                database.execute("PRAGMA journal_mode=WAL")
                if path.name == "heat.db":
                    # sqlite gives the id of a deleted last row to the next row, and Heat deletes properties by ids
                    # that it remembers: an update loses its properties. With the largest id taken, ids are random.
                    database.execute(
                        "INSERT INTO resource_properties_data (id, data, encrypted) VALUES (?, '{}', 0)", (2**63 - 1,)
                    )
                    database.commit()

    def _fill_keystone(self) -> None:
        """Users, roles and the catalogue, as Heat's installation guide has them."""
        admin = Keystone(self.places.auth_url, "admin", "admin")
        default = {"domain_id": "default"}
        project = {name: admin.create("project", name=name, **default) for name in ("service", "demo")}
        user = {name: admin.create("user", name=name, password=PASSWORD, **default) for name in ("heat", "demo")}
        role = {each["name"]: each["id"] for each in admin.get("/roles")["roles"]}
        for name in ("heat_stack_owner", "heat_stack_user"):
            role[name] = admin.create("role", name=name)
        domain = admin.create("domain", name="heat")
        keeper = admin.create("user", name="heat_domain_admin", password=PASSWORD, domain_id=domain)
        admin.grant(f"projects/{project['service']}", user["heat"], role["admin"])
        admin.grant(f"domains/{domain}", keeper, role["admin"])
        for name in ("member", "heat_stack_owner"):
            admin.grant(f"projects/{project['demo']}", user["demo"], role[name])
        for kind, url in (
            ("orchestration", self.places.url("heat_api") + "/v1/%(tenant_id)s"),
            ("cloudformation", self.places.url("heat_api_cfn") + "/v1"),
            ("compute", self.places.url("compute") + "/v2.1"),
            ("image", self.places.url("compute") + "/image"),
        ):
            service = admin.create("service", type=kind, name=kind)
            for interface in ("public", "internal"):
                admin.create("endpoint", service_id=service, interface=interface, url=url, region_id=REGION)

    def _wait_engine(self) -> None:
        """Until a call reached the engine: an open port says only that the API could hand it on."""
        import requests  # here: `down` needs none

        user = Keystone(self.places.auth_url, "demo", "demo")
        url = f"{self.places.url('heat_api')}/v1/{user.project}/stacks"
        deadline = time.monotonic() + 60
        last = ""
        while time.monotonic() < deadline:
            try:
                answer = user.session.get(url, timeout=3)
                last = f"{answer.status_code} {answer.text[:200]}"
                if answer.status_code == 200:
                    return
            except requests.RequestException as error:
                last = str(error)
            for name in ("heat-engine", "heat-api", "rabbitmq"):
                if self.daemons.pid(name) is None:
                    raise TestbedError(f"{name} ended; {self.daemons.tail(name)}")
            time.sleep(0.1)
        tails = "\n".join(self.daemons.tail(name) for name in ("heat-engine", "heat-api"))
        raise TestbedError(f"heat-engine does not answer after 60 s ({last}); {tails}")

    def _lap(self, what: str) -> None:
        self.timings[what] = round(time.monotonic() - self._begun, 1)


class Keystone:
    """One user's token and the calls that fill an empty Keystone."""

    def __init__(self, auth_url: str, user: str, project: str, seconds: float = 60) -> None:
        import requests

        self.url = auth_url
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy of the surroundings knows nothing of loopback
        who = {"name": user, "domain": {"id": "default"}, "password": PASSWORD}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        deadline = time.monotonic() + seconds
        while True:
            answer = self.session.post(f"{auth_url}/auth/tokens", json=body, timeout=60)
            # uwsgi listens before it has loaded Keystone
            if answer.status_code < 500 or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if answer.status_code != 201:
            raise TestbedError(f"keystone gives {user} no token: {answer.status_code} {answer.text[:300]}")
        self.token = answer.headers["X-Subject-Token"]
        self.project = answer.json()["token"]["project"]["id"]
        self.session.headers["X-Auth-Token"] = self.token

    def get(self, path: str) -> Any:
        answer = self.session.get(self.url + path, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def create(self, kind: str, **fields: Any) -> str:
        """The new thing's id; `kind` in the singular, as its document has it."""
        answer = self.session.post(f"{self.url}/{kind}s", json={kind: fields}, timeout=60)
        if answer.status_code != 201:
            raise TestbedError(f"keystone creates no {kind} {fields}: {answer.status_code} {answer.text[:300]}")
        return str(answer.json()[kind]["id"])

    def grant(self, target: str, user: str, role: str) -> None:
        self.session.put(f"{self.url}/{target}/users/{user}/roles/{role}", timeout=60).raise_for_status()


@contextlib.contextmanager
def held(folder: Path, seconds: float = 120) -> Iterator[Testbed]:
    """A testbed for the time of the block, in `hold`'s process: it goes down also when this process is killed."""
    command = [PYTHON, str(Path(__file__).resolve()), "hold", str(folder)]
    keeper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert keeper.stdin and keeper.stdout
    try:
        first = keeper.stdout.readline().decode()
        if not first.startswith("up "):
            raise TestbedError(first + keeper.stdout.read().decode(errors="replace"))
        yield Testbed(folder)
    finally:
        keeper.stdin.close()
        keeper.wait(seconds)
        keeper.stdout.close()


def hold(testbed: Testbed) -> None:
    """Up until the end of stdin, then down; also when that end comes before everything is up."""

    class Released(BaseException):
        """The writer of stdin is gone."""

    def release(number: int, frame: Any) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        raise Released

    def watch() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGUSR1)

    # A terminal's Ctrl-C is for the tests. Functions, since the daemons would inherit SIG_IGN and outlive TERM.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGUSR1, release)
    threading.Thread(target=watch, daemon=True).start()
    try:
        testbed.up()
        print(summary(testbed), flush=True)
        while True:
            signal.pause()
    except Released:
        pass
    finally:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        testbed.down()


def summary(testbed: Testbed) -> str:
    """One line: how long each part took, and the variables that OpenStack's own clients read."""
    laps = ", ".join(f"{what} {seconds}" for what, seconds in testbed.timings.items())
    user = f"OS_AUTH_URL={testbed.places.auth_url} OS_USERNAME=demo OS_PASSWORD={PASSWORD} OS_PROJECT_NAME=demo"
    return f"up in s: {laps}; {user} OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="A real OpenStack Heat on loopback, for tests.")
    parser.add_argument("verb", choices=["up", "down", "hold"])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    testbed = Testbed(given.folder)
    try:
        if given.verb == "up":
            testbed.up()
            print(summary(testbed))
        elif given.verb == "hold":
            hold(testbed)
        else:
            testbed.down()
    except TestbedError as error:
        print(error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
