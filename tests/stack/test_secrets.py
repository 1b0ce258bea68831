"""Secrets planted where a template can put them are nowhere that swagent writes, says or sends; a control value is."""

import gzip
import io
import json
import tarfile
import threading
import zipfile
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from swagent import files, report
from tests.leaks import found_below, found_in, found_in_processes
from tests.member import Member, deployment
from tests.wait import until

SECRETS = {
    "input by name": "Winter&Rain 4711 pässword",
    "input by option": "licence-of-nobody-0815",
    "nested input": "nested+deep/secret=value",
    "attribute": "attribute#{secret}$value",
    "signal password": "f^mP3f#Xu59ba83Zn0ibpZ@!K@yzm%TF",
    "signal address": "Signature=HPCH2cRcZqcpMLgcr71eVctEtrZXFBt%2BQZnfmuyX1mk%3D",
    "transport password": "OLPZQYxC^6&@#Vor2B@@yRtu7XxqAH8U",
    "access key": "N^PCY^9ftrW!30yISS1RENKjcA0BF%kT",
}
CONTROL = {"control": "greetings-everyone-2026"}
RECIPE = """
file node['target'] do
  content "#{node['db_password']} #{node['license']} #{node['tls_key']['pem']} #{node['db']['password']}"
  mode '0600'
end
file node['target'] + '.2' do
  content "b64 #{[node['db_password']].pack('m0')} #{node['greeting']}"
end
execute "echo #{node['greeting']}; echo '#{node['license']}'; echo '#{node['license']}' >&2" do
  live_stream true
end
file ENV['heat_outputs_path'] + '.answer' do
  content node['license']
end
directory node['facts_folder']
file node['facts_folder'] + '/app.json' do
  content({ 'app' => node['license'], 'hello' => node['greeting'] }.to_json)
end
log "the log has #{node['license']}"
"""
FAILING = (
    RECIPE
    + """
execute "echo '#{node['license']}' #{node['greeting']} >&2; exit 3"
"""
)


class Heat(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def heat():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Heat)
    server.bodies = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def member(tmp_path, heat):
    member = Member(tmp_path / "root", chef_license="accept-no-persist")
    cookbook = tmp_path / "cookbooks" / "app"
    (cookbook / "recipes").mkdir(parents=True)
    (cookbook / "metadata.json").write_text(json.dumps({"name": "app", "version": "1.0.0", "dependencies": {}}))
    (cookbook / "recipes" / "default.rb").write_text(RECIPE)
    (cookbook / "recipes" / "fail.rb").write_text(FAILING)
    yield member
    member.close()


def plant(member, tmp_path, heat, recipe="recipe[app]", id="d-1", action="CREATE"):
    chef = deployment(
        group="chef",
        config={"run_list": [recipe], "attributes": {"db": {"password": SECRETS["attribute"]}}},
        id=id,
        action=action,
        inputs={
            "db_password": SECRETS["input by name"],
            "license": SECRETS["input by option"],
            "tls_key": {"pem": SECRETS["nested input"]},
            "greeting": CONTROL["control"],
            "target": str(tmp_path / "written by the recipe"),
            "facts_folder": str(member.settings.lib / "facts.d"),
            "deploy_signal_transport": "CFN_SIGNAL",
            "deploy_signal_id": f"http://127.0.0.1:{heat.server_port}/v1/signal/arn?{SECRETS['signal address']}",
            "deploy_signal_verb": "POST",
            "deploy_password": SECRETS["signal password"],
        },
        outputs=["answer", {"name": "reason", "type": "String", "error_output": True}],
        cookbooks=[{"name": "app", "path": str(tmp_path / "cookbooks" / "app")}],
        secrets=["license"],
    )
    content = {
        "deployments": [chef],
        "swagent": {"member": "head-0", "data_bag": {"store": "directory", "path": str(member.root / "bag")}},
        "os-collect-config": {
            "heat": {"password": SECRETS["transport password"]},
            "cfn": {"secret_access_key": SECRETS["access key"]},
        },
    }
    files.write_json(member.data / "test.json", content)


def allowed(member):
    """What Heat said is kept as Heat said it, 0600, and nowhere else; what the recipe writes is the recipe's own."""
    return (member.data, member.settings.collected, member.settings.lib / "facts.d")


def everything_said(member) -> bytes:
    """What the agent printed, and every reading verb as text and as JSON."""
    said = (member.root / "agent.log").read_bytes()
    last = str(len(member.runs()))
    for words in (
        ["status"], ["status", "--long"], ["members"], ["facts"], ["context"], ["context", "--origin"],
        ["context", "diff"], ["why"], ["why", last], ["runs"], ["runs", "show", last], ["runs", "log", last],
        ["metadata"], ["config", "check"],
    ):  # fmt: skip
        for more in ([], ["-f", "json"]):
            ended = member.call(*words, *more)
            assert "Traceback" not in ended.stderr, ended.stderr
            said += ended.stdout.encode() + ended.stderr.encode()
    return said


def watch(stop, seen):
    while not stop.is_set():
        seen.update(found_in_processes(SECRETS))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("recipe", ["recipe[app]", "recipe[app::fail]"])
def test_no_secret_is_written_said_sent_or_in_a_command_line(member, tmp_path, heat, recipe):
    stop, seen = threading.Event(), set()
    # The recipe itself puts the licence and the password into no command line but its own echo, which is its own doing.
    watcher = threading.Thread(target=watch, args=(stop, seen))
    watcher.start()
    try:
        plant(member, tmp_path, heat, recipe)
        member.start()
        until(lambda: heat.bodies, 60, "the signal")
        wanted = "failed" if recipe.endswith("fail]") else "converged"
        member.wait_for(wanted, 60)
        plant(member, tmp_path, heat, recipe, id="d-2", action="UPDATE")
        until(lambda: len(heat.bodies) > 1, 60, "the signal of the update")
        member.wait_for(wanted, 60)
    finally:
        stop.set()
        watcher.join()
    said = everything_said(member)
    assert member.stop() == 0
    assert not found_below(member.root, SECRETS, allowed(member))
    assert not found_in(said, SECRETS)
    assert not found_in(b"\n".join(heat.bodies), SECRETS)
    ours = {(name, words) for name, words in seen if "swagent" in words or "chef-solo" in words or "librarian" in words}
    assert not ours
    # The same search finds what is no secret, so it would have found a secret.
    assert found_below(member.settings.runs, CONTROL) and found_in(said, CONTROL)
    assert found_in(b"\n".join(heat.bodies), CONTROL)
    for folder in allowed(member)[:2]:
        for path in folder.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_signal_that_waits_keeps_its_address_and_nothing_else(member, tmp_path, heat):
    plant(member, tmp_path, heat)
    heat.shutdown()
    heat.server_close()
    assert member.once().returncode == 1
    assert len(report.pending(member.settings)) == 1
    outbox = member.settings.outbox
    assert {name for name, _ in found_below(outbox, SECRETS)} == {"signal address", "signal password"}
    assert not found_below(member.root, SECRETS, (*allowed(member), outbox))


def test_the_search_finds_a_leak_in_every_form(tmp_path):
    value = SECRETS["input by name"]
    plain = f"before {value} after".encode()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        member = tarfile.TarInfo("deep/file")
        member.size = len(plain)
        archive.addfile(member, io.BytesIO(plain))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b", plain)
    leaks = {
        "plain": plain,
        "json": json.dumps({"x": value}).encode(),
        "url": quote(value, safe="").encode(),
        "base64-0": b64encode(plain),
        "base64-1": b64encode(b"1" + plain),
        "base64-2": b64encode(b"22" + plain),
        "gz": gzip.compress(plain),
        "tar.gz": tar.getvalue(),
        "zip": packed.getvalue(),
    }
    for name, data in leaks.items():
        (tmp_path / name).write_bytes(data)
    assert {path.rpartition("/")[2] for _, path in found_below(tmp_path, {"x": value})} == set(leaks)
