"""Driving the real chef-solo: results, errors in one sentence, deadlines, and nothing left behind."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from swagent import files, process
from swagent.errors import DocumentError, SettingsError, SwagentError
from swagent.hooks import chef
from swagent.hooks.chef import find_program
from swagent.model import Output
from tests.leaks import forms
from tests.wait import running, until

SECRET = "s3cr3t-pa55-#{word}-Wert"


def test_a_run_tells_what_it_updated_and_a_second_run_updates_nothing(chef_member, tmp_path):
    chef_member.recipe(
        f"directory '{tmp_path}/made'\n"
        f"file '{tmp_path}/made/port' do\n  content node['port'].to_s + node['extra']['level']\nend\n"
        "execute 'after' do\n  command 'true'\n  action :nothing\n"
        f"  subscribes :run, 'file[{tmp_path}/made/port]'\nend\n"
        f"file 'gone' do\n  path '{tmp_path}/none'\n  only_if {{ false }}\nend\n"
    )
    config = {"run_list": ["app"], "attributes": {"extra": {"level": "high"}, "port": 1}}
    first = chef_member.run(config=config, inputs={"port": 8080}, attributes=("port", "extra.level", "not.there"))
    assert (first.status, first.exit_code, first.error, first.reboot) == ("success", 0, None, None)
    assert first.resources == {"total": 4, "updated": 3, "failed": 0, "skipped": 1, "up_to_date": 0}
    assert (tmp_path / "made/port").read_text() == "8080high"
    assert first.attributes == {"port": 8080, "extra.level": "high"}
    assert first.recipes == ("app", "app::default")
    assert first.cookbooks["app"]["version"] == "1.0.0" and first.cookbooks["app"]["revision"]
    made = first.details[1]
    assert (made["resource"], made["cookbook"], made["recipe"]) == (f"file[{tmp_path}/made/port]", "app", "default")
    assert made["line"] == "app/recipes/default.rb:2" and made["after"]["checksum"] and made["seconds"] >= 0
    notified = next(each for each in first.details if each["resource"] == "execute[after]")
    assert notified["cause"] == "delayed"
    second = chef_member.run(config=config, inputs={"port": 8080})
    assert second.resources == {"total": 3, "updated": 0, "failed": 0, "skipped": 1, "up_to_date": 2}
    assert chef_member.settings.chef_root.stat().st_mode & 0o777 == 0o700
    events = [json.loads(line) for line in (chef_member.last / "events.ndjson").read_text().splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("start", "end")
    assert "Converging 4 resources" in (chef_member.last / "log").read_text()
    for name in ("log", "events.ndjson"):
        assert (chef_member.last / name).stat().st_mode & 0o777 == 0o600


FAILURES = {
    "execute 'breaks' do\n  command 'echo told you >&2; exit 7'\nend": (
        ["execute[breaks] (app::default line 1)", "received '7'", "told you"],
        {"resource": "execute[breaks]", "cookbook": "app", "recipe": "default", "line": "app/recipes/default.rb:1"},
    ),
    "log 'x'\n\nnode['nothing']['here']": (
        ["app/recipes/default.rb:3", "undefined method"],
        {"cookbook": "app", "recipe": "default", "line": "app/recipes/default.rb:3"},
    ),
    "log 'x' do\n": (["app/recipes/default.rb", "syntax error"], {"cookbook": "app", "recipe": "default"}),
    "include_recipe 'nowhere'": (["nowhere"], {}),
    "include_recipe 'app::nowhere'": (["could not find recipe nowhere for cookbook app"], {}),
}


@pytest.mark.parametrize("text", FAILURES)
def test_a_failure_is_one_sentence_with_its_place(chef_member, text):
    chef_member.recipe(text)
    words, place = FAILURES[text]
    result = chef_member.run()
    assert (result.status, result.exit_code) == ("failed", 1)
    for word in words:
        assert word in result.error.message
    assert "\n" not in result.error.message
    assert {key: getattr(result.error, key) for key in place} == place
    assert not (chef_member.settings.chef_root / "cache/chef-stacktrace.out").exists()
    assert (chef_member.last / "stacktrace").stat().st_mode & 0o777 == 0o600


def test_what_is_missing_is_named_with_the_next_step(chef_member):
    chef_member.recipe("log 'x'")
    cookbook = chef_member.run(["recipe[app]", "recipe[nowhere]"])
    assert cookbook.status == "failed"
    assert "No such cookbook: nowhere" in cookbook.error.message and "options.cookbooks" in cookbook.error.message
    role = chef_member.run(["role[nowhere]"])
    assert role.status == "failed" and "nowhere" in role.error.message and "roles/NAME.json" in role.error.message


def test_a_resource_inside_a_custom_resource_is_the_one_that_is_named(chef_member):
    chef_member.recipe("app_thing 'outer'")
    resources = chef_member.repository / "cookbooks/app/resources"
    files.write(
        resources / "thing.rb",
        "resource_name :app_thing\nprovides :app_thing\nunified_mode true\naction :run do\n"
        "  execute 'inner' do\n    command 'echo deep down >&2; exit 3'\n  end\nend\ndefault_action :run\n",
    )
    result = chef_member.run()
    assert result.error.resource == "execute[inner]"
    assert "deep down" in result.error.message and result.error.line == "app/resources/thing.rb:5"


CODES = {
    "reboot 'now' do\n  action :request_reboot\n  reason 'kernel'\n  delay_mins 2\nend": (35, "success", "kernel"),
    "reboot 'now' do\n  action :reboot_now\n  reason 'at once'\nend": (35, "success", "at once"),
    "ruby_block('x') { block { raise Chef::Exceptions::RebootPending, 'must restart' } }": (
        37,
        "success",
        "must restart",
    ),
    "ruby_block('x') { block { raise Chef::Exceptions::RebootFailed, 'no way' } }": (41, "failed", "no way"),
    "Chef::Application.exit!('x', 43)": (43, "failed", "configuration"),
    "Chef::Application.exit!('x', 213)": (213, "failed", "upgraded"),
    "Chef::Application.exit!('bye', 3)": (3, "failed", "exit code 3"),
}


@pytest.mark.parametrize("text", CODES)
def test_exit_codes_mean_what_chef_means_by_them(chef_member, text):
    chef_member.recipe(text)
    code, status, word = CODES[text]
    result = chef_member.run()
    assert (result.exit_code, result.status) == (code, status)
    if status == "success":
        assert word in result.reboot["reason"] and result.error is None
    else:
        assert word in result.error.message and result.reboot is None


def test_a_requested_reboot_carries_its_delay_and_starts_no_shutdown(chef_member, tmp_path):
    chef_member.recipe(
        "Dir.mkdir('/tmp/x') rescue nil\n"
        "reboot 'x' do\n  action :request_reboot\n  delay_mins 3\n  reason \"kernel $(touch /tmp/x/reboot)\"\nend"
    )
    result = chef_member.run()
    assert result.reboot == {"delay_mins": 3, "reason": "kernel $(touch /tmp/x/reboot)", "requested_by": "x"}
    assert result.resources["updated"] == 1


def test_at_its_deadline_a_run_is_ended_with_all_that_it_started(chef_member, tmp_path):
    pids = tmp_path / "pids"
    chef_member.recipe(
        "execute 'sleeps' do\n"
        f"  command \"sh -c 'trap true TERM INT; (setsid sleep 600 & echo $! >> {pids}); echo $$ >> {pids};"
        " while :; do sleep 1; done'\"\nend"
    )
    result = chef_member.run(options={"timeout": 8})
    assert result.status == "timeout"
    assert result.error.resource == "execute[sleeps]" and "8 s" in result.error.message
    assert result.error.line == "app/recipes/default.rb:1" and result.reads is None
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2 and not [pid for pid in started if running(pid)]
    assert process.marked(chef_member.marks[-1]) == []
    chef_member.recipe("log 'x'")
    assert chef_member.run().status == "success"  # the lock is free


def test_sigterm_ends_a_run_in_order_and_the_result_says_so(chef_member, tmp_path):
    pid_file = tmp_path / "pid"
    chef_member.recipe(f"execute 'sleeps' do\n  command 'echo $$ > {pid_file}; exec sleep 600'\nend")
    request = chef_member.request()
    before = signal.getsignal(signal.SIGTERM)

    def stop():
        until(lambda: pid_file.exists() and pid_file.read_text().strip(), 60, "the recipe's command")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    began = time.monotonic()
    result = chef.run(request)
    thread.join()
    assert result.status == "interrupted" and "stopping" in result.error.message
    assert result.error.resource == "execute[sleeps]" and time.monotonic() - began < 90
    assert not running(int(pid_file.read_text()))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_killed_chef_leaves_the_resource_that_was_running_and_no_secret(chef_member, tmp_path):
    pid_file = tmp_path / "pid"
    chef_member.recipe(f"execute 'sleeps' do\n  command 'echo $$ > {pid_file}; exec sleep 600'\nend")
    request = chef_member.request(inputs={"db_password": SECRET}, secrets=[SECRET])
    events = request.folder / "events.ndjson"

    def kill():
        until(pid_file.exists, 60, "the recipe's command")
        os.kill(json.loads(events.read_text().splitlines()[0])["pid"], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    result = chef.run(request)
    thread.join()
    assert (result.status, result.exit_code) == ("failed", -9)
    assert "killed by signal 9" in result.error.message and result.error.resource == "execute[sleeps]"
    assert_no_secret(chef_member)


def leaks(folder, secret):
    """Files below the folder that have the secret in any form."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found += [str(path) for form in forms(secret) if form in data]
    return found


def assert_no_secret(member):
    """Not in what Chef keeps, not in the run's records. The repository and what recipes write are the recipes' own."""
    assert leaks(member.settings.root, SECRET) == []


def test_a_secret_is_nowhere_after_a_run_whatever_its_end(chef_member, tmp_path):
    target = tmp_path / "config"
    chef_member.recipe(
        f"file '{target}' do\n  content \"password=#{{node['db_password']}}\\n\"\nend\n"
        "node.default['copy'] = node['db_password']\nnode.override['other']['copy'] = node['db_password']\n"
        "log node['db_password'] do\n  level :warn\nend\n"
        "node.save if node['fails']\n"
        "execute \"echo '#{node['db_password']}'; echo '#{node['db_password']}' >&2; exit 1\" do\n"
        "  only_if { node['fails'] }\nend"
    )
    inputs = {"db_password": SECRET}
    bags = {"users": {"alice": {"token": SECRET}}}
    outputs = [Output("said")]
    good = chef_member.run(inputs=inputs, secrets=[SECRET], options={"data_bags": bags}, outputs=outputs)
    assert good.status == "success" and SECRET in target.read_text()
    assert_no_secret(chef_member)
    target.write_text(f"an old password={SECRET}\n")  # Chef keeps a backup of it
    bad = chef_member.run(inputs={**inputs, "fails": True}, secrets=[SECRET], options={"data_bags": bags})
    assert bad.status == "failed" and "<secret:secret>" in bad.stdout
    for result in (good, bad):
        assert not [form for form in forms(SECRET) if form in json.dumps(result.to_document()).encode()]
    assert_no_secret(chef_member)
    node = files.read_json(chef_member.settings.chef_root / "nodes/me.json")
    assert node == {"name": "me"}


def test_a_secret_is_not_in_any_command_line(chef_member, tmp_path):
    seen = tmp_path / "cmdline"
    chef_member.recipe(
        f"File.write('{seen}', Dir['/proc/[0-9]*/cmdline'].map {{ |f| File.binread(f) rescue '' }}.join)"
    )
    assert chef_member.run(inputs={"db_password": SECRET}, secrets=[SECRET]).status == "success"
    assert b"chef-solo" in seen.read_bytes() and SECRET.encode() not in seen.read_bytes()


def test_files_of_the_run_in_progress_are_for_the_owner_only(chef_member, tmp_path):
    seen = tmp_path / "modes"
    run, root = chef_member.settings.run, chef_member.settings.chef_root
    chef_member.recipe(
        f"File.write('{seen}', (Dir['{run}/chef/**/*'] + Dir['{root}/**/*.json'] + ['{root}', '{root}/solo.rb'])"
        ".reject { |f| f.include?('/cache/') }.map { |f| format('%s %o', f, File.stat(f).mode & 0777) }.join(\"\\n\"))"
    )
    options = {"data_bags": {"users": {"alice": {}}}, "data_bag_secret": {"input": "bag_key"}}
    assert chef_member.run(inputs={"bag_key": "key of the bag"}, options=options).status == "success"
    modes = dict(line.rsplit(" ", 1) for line in seen.read_text().splitlines())
    assert modes[f"{run}/chef/dna.json"] == "600" and modes[str(root)] == "700"
    assert {mode for path, mode in modes.items()} <= {"600", "700"}
    assert list((run / "chef").iterdir()) == []


def test_declared_outputs_come_from_files_in_both_places_and_nothing_else_does(chef_member):
    chef_member.recipe(
        "path = ENV['heat_outputs_path']\n"
        "File.write(path + '.dotted', \" as it is \\n\")\nFile.write(path + '/inside', 'in the folder')\n"
        "File.write(path + '.undeclared', 'x')\nFile.write(path + '.problem', '')"
    )
    outputs = ["dotted", "inside", "never", Output("problem", "String", True)]
    result = chef_member.run(outputs=outputs)
    assert result.status == "success"
    assert result.outputs == {"dotted": " as it is \n", "inside": "in the folder"}
    assert not (chef_member.last / "outputs").exists()


def test_an_error_output_that_says_something_fails_the_deployment(chef_member):
    chef_member.recipe("File.write(ENV['heat_outputs_path'] + '.problem', 'disk too small')")
    result = chef_member.run(outputs=[Output("problem", "String", True)])
    assert (result.status, result.error.message, result.outputs) == (
        "failed",
        "disk too small",
        {"problem": "disk too small"},
    )


def test_why_run_changes_nothing_and_says_what_would(chef_member, tmp_path):
    chef_member.recipe(f"file '{tmp_path}/made' do\n  content 'x'\nend")
    result = chef_member.run(why_run=True)
    assert (result.status, result.resources["updated"]) == ("success", 1)
    assert "Would create" in result.stdout and not (tmp_path / "made").exists()


def test_a_run_list_of_nothing_is_a_success(chef_member):
    assert chef_member.run([]).status == "success"


def test_an_event_without_a_run_list_starts_no_chef(chef_member):
    request = chef_member.request(events=("undeploy",))
    context = replace(request.context, document={**request.context.document, "event": "undeploy"})
    result = chef.run(replace(request, context=context))
    assert (result.status, result.resources) == ("success", {})
    assert not chef_member.settings.chef_root.exists()


def test_recipes_see_the_event_and_the_deployments_environment_is_made_where_nobody_describes_it(chef_member, tmp_path):
    chef_member.recipe(
        "File.write(ENV['heat_outputs_path'] + '.said', [node['swagent']['event'], node.chef_environment].join(' '))"
    )
    assert chef_member.run(outputs=["said"]).outputs["said"] == "deploy _default"
    missing = chef_member.run(inputs={"environment": "nowhere"})
    assert missing.status == "failed" and "nowhere" in missing.error.message


def test_without_an_accepted_licence_the_error_names_the_setting(chef_member, monkeypatch):
    for name in ("CHEF_LICENSE", "SWAGENT_CHEF_LICENSE"):  # the lane accepts the licence for its tests
        monkeypatch.delenv(name, raising=False)
    chef_member.recipe("log 'x'")
    chef_member.settings = replace(chef_member.settings, chef_license="")
    result = chef_member.run()
    assert (result.status, result.exit_code) == ("failed", 172) and "chef_license" in result.error.message


def test_another_chef_run_that_holds_the_lock_is_named(chef_member):
    chef_member.recipe("log 'x'")
    assert chef_member.run().status == "success"
    with open(chef_member.settings.chef_root / "lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = chef_member.run()
    assert result.status == "failed" and "another Chef run holds the lock" in result.error.message


def test_without_chef_the_error_says_what_to_type(chef_member):
    settings = replace(chef_member.settings, chef_home=chef_member.folder / "nowhere")
    with pytest.raises(SwagentError, match="swagent bootstrap chef"):
        chef.run(replace(chef_member.request(), settings=settings))


def test_a_program_of_the_users_is_taken_before_ours_and_a_wrong_one_is_named(chef_member, tmp_path):
    own = tmp_path / "bin/cinc-solo"
    files.write(own, "#!/bin/sh\necho this is cinc\nexit 0\n", mode=0o700)
    settings = replace(chef_member.settings, chef_path=str(own))
    assert find_program(settings) == str(own)
    result = chef.run(replace(chef_member.request(), settings=settings))
    assert (result.status, result.stdout, result.reads) == ("success", "this is cinc\n", None)
    with pytest.raises(SettingsError, match="chef_path"):
        find_program(replace(settings, chef_path=str(tmp_path / "nowhere")))


def test_a_config_that_cannot_be_read_is_refused_before_anything_is_written(chef_member):
    with pytest.raises(DocumentError, match="deployment app: config.run_list"):
        chef_member.run(config={"run_list": ["no such; thing"]})
    assert not chef_member.settings.chef_root.exists()


def test_the_commands_of_a_recipe_see_no_secret_of_ours_and_no_ruby_of_ours(chef_member):
    chef_member.recipe("File.write(ENV['heat_outputs_path'] + '.env', shell_out('env').stdout)")
    environment = chef_member.run(outputs=["env"], inputs={"db_password": SECRET}).outputs["env"]
    names = {line.partition("=")[0] for line in environment.splitlines()}
    assert not {
        name for name in names if name.startswith(("GEM_", "RUBY", "BUNDLE_", "SWAGENT_")) and name != "SWAGENT_RUN"
    }
    assert SECRET not in environment


def test_text_that_is_not_utf8_breaks_neither_record_nor_log(chef_member):
    chef_member.recipe(
        "execute \"printf 'a\\\\377b'; exit 4\" do\n  command \"printf 'a\\\\377b\\\\n' >&2; exit 4\"\nend"
    )
    result = chef_member.run()
    assert result.status == "failed" and "received '4'" in result.error.message


def test_secrets_in_the_folders_of_an_interrupted_run_are_gone_with_the_next(chef_member):
    run = files.make_folder(chef_member.settings.run / "chef")
    files.write(run / "dna.json", json.dumps({"password": SECRET}))
    nodes = files.make_folder(chef_member.settings.chef_root / "nodes")
    files.write(nodes / "me.json", json.dumps({"name": "me", "normal": {"password": SECRET}}))
    files.write(chef_member.settings.chef_root / "backup/etc/config.chef-1", SECRET)
    files.write(chef_member.settings.chef_root / "cache/chef-stacktrace.out", SECRET)
    chef_member.recipe("log 'x'")
    assert chef_member.run().status == "success"
    assert_no_secret(chef_member)


def through(chef_member, *before):
    """Let Chef be started by another program, as a user's wrapper would."""
    wrapper = chef_member.folder / "bin/chef-solo"
    command = " ".join([*before, str(chef_member.settings.chef_home / "bin/chef-solo")])
    files.write(wrapper, f'#!/bin/sh\nexec {command} "$@"\n', mode=0o700)
    chef_member.settings = replace(chef_member.settings, chef_path=str(wrapper))


LEAN = "memory cpu network fqdn"
OHAI = (
    "File.write(ENV['heat_outputs_path'] + '.said', "
    "%w{memory cpu network fqdn languages}.select { |k| node[k] }.join(' '))"
)


def test_lean_ohai_keeps_what_community_cookbooks_read_and_talks_to_nobody(chef_member, tmp_path):
    chef_member.recipe(OHAI)
    through(chef_member, "strace", "-f", "-qq", "-e", "trace=connect", "-o", f"{tmp_path}/connects")
    assert chef_member.run(outputs=["said"]).outputs["said"] == LEAN
    connects = (tmp_path / "connects").read_text()
    assert "AF_INET" not in "".join(line for line in connects.splitlines() if "htons(53)" not in line)


def test_full_ohai_is_an_option(chef_member):
    chef_member.recipe(OHAI)
    through(chef_member, "unshare", "-n")  # full ohai asks for cloud metadata
    result = chef_member.run(outputs=["said"], options={"ohai": "full"})
    assert result.outputs["said"] == f"{LEAN} languages"


def test_heat_agents_kitchen_path_is_a_repository(chef_member):
    chef_member.recipe("log 'x'")
    options = {"repository": None, "kitchen": "", "kitchen_path": str(chef_member.repository)}
    assert chef_member.run(options=options).status == "success"
    with pytest.raises(SwagentError, match="nowhere"):
        chef_member.run(options={"repository": None, "kitchen_path": str(chef_member.folder / "nowhere")})


def test_a_cookbook_of_the_deployment_comes_before_the_one_in_the_repository(chef_member, tmp_path):
    chef_member.recipe("File.write(ENV['heat_outputs_path'] + '.said', 'repository')")
    files.write(tmp_path / "own/app/metadata.rb", "name 'app'\nversion '7.0.0'\n")
    files.write(tmp_path / "own/app/recipes/default.rb", "File.write(ENV['heat_outputs_path'] + '.said', 'own')\n")
    options = {"cookbooks": [{"name": "app", "path": str(tmp_path / "own/app")}]}
    result = chef_member.run(options=options, outputs=["said"])
    assert (result.status, result.outputs) == ("success", {"said": "own"})
    assert result.cookbooks["app"]["version"] == "7.0.0"
