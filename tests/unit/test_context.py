from dataclasses import replace

from swagent import context
from swagent.model import Deployment, Input, Item, Metadata, StackSection, Status


def item(name, role="worker", **more) -> Item:
    facts = {"ip": f"ip-{name}", "cpus": 2}
    return Item(
        **{
            "member": name,
            "instance": name,
            "roles": (role,),
            "facts": facts,
            "facts_digest": f"d-{name}",
            "seq": 3,
            **more,
        }
    )


HEAD, W0, W1 = item("head-0", "head"), item("w-0"), item("w-1")
SECTION = StackSection(member="head-0", roles=("head",), expected={"head": 1, "worker": 2})


def compiled(*items, suspects=(), **section):
    metadata = Metadata(section=replace(SECTION, **section), origins={"swagent": "collector heat"})
    return context.compile_context(metadata, HEAD, {each.member: each for each in items}, suspects)


def test_every_member_and_role_is_in_the_context_sorted():
    document = compiled(W1, HEAD, W0).document
    assert list(document["members"]) == ["head-0", "w-0", "w-1"]
    assert document["roles"] == {"head": ["head-0"], "worker": ["w-0", "w-1"]}
    assert document["complete"] and document["missing"] == {} and document["departed"] == {}
    assert document["members"]["w-0"]["ip"] == "ip-w-0"


def test_missing_departed_and_suspect_are_three_things():
    document = compiled(HEAD, W0, replace(W1, left=True), suspects=("w-0",)).document
    assert document["missing"] == {"worker": 1} and not document["complete"]
    assert list(document["departed"]) == ["w-1"] and "w-1" not in document["members"]
    assert document["members"]["w-0"]["suspect"] is True


def test_status_suspicion_and_departure_do_not_change_the_digest():
    plain = compiled(HEAD, W0)
    busy = compiled(HEAD, replace(W0, status=Status(state="failed", run=7), seq=9), suspects=("w-0",))
    gone = compiled(HEAD, W0, replace(W1, left=True))
    assert plain.digest == busy.digest == gone.digest
    assert plain.stack_digest == busy.stack_digest == gone.stack_digest
    assert compiled(HEAD, replace(W0, facts={"ip": "other"})).digest != plain.digest


def test_the_stack_digest_is_the_same_for_every_reader():
    items = {each.member: each for each in (HEAD, W0)}
    other = context.compile_context(Metadata(section=StackSection(member="w-0")), W0, items)
    assert other.stack_digest == compiled(HEAD, W0).stack_digest


def test_each_key_tells_where_it_came_from():
    origins = compiled(HEAD, replace(W0, status=Status(run=4))).origins
    assert context.origin_of(origins, "members.w-0.facts.cluster_id") == "member w-0 run 4 seq 3"
    assert context.origin_of(origins, "expected.head") == "collector heat"
    assert context.origin_of({"members.w.0": "dotted"}, "members.w.0.ip") == "dotted"


def test_only_what_was_read_counts():
    document = compiled(HEAD, W0).document
    other = compiled(HEAD, replace(W0, facts={"ip": "moved", "cpus": 2})).document
    for reads, same in (
        ([["members", "w-0", "cpus"]], True),
        ([["members", "w-0", "ip"]], False),
        ([["members"]], False),
        ([["roles", "worker", "0"]], True),
        ([["nowhere", "x"]], True),
        (None, False),
    ):
        assert (context.read_values(document, reads) == context.read_values(other, reads)) is same, reads


def test_a_read_of_what_is_not_there_yet_notices_when_it_comes():
    reads = [["members", "w-1", "ip"]]
    assert context.read_values(compiled(HEAD).document, reads) != context.read_values(
        compiled(HEAD, W1).document, reads
    )


def test_a_diff_names_path_kind_values_and_origin():
    before, after = compiled(HEAD, W0), compiled(HEAD, replace(W0, facts={"ip": "new"}))
    changes = {change.path: change for change in context.diff(before.document, after.document, after.origins)}
    assert changes["members.w-0.ip"].kind == "changed"
    assert (changes["members.w-0.ip"].before, changes["members.w-0.ip"].after) == ("ip-w-0", "new")
    assert changes["members.w-0.cpus"].kind == "removed"
    assert changes["members.w-0.ip"].origin == "member w-0 seq 3"


def test_a_secret_parameter_is_a_mark_that_moves_with_its_value():
    def shown(value):
        deployment = Deployment(
            "1", "d", "chef", [], (Input("db_password", "String", value), Input("port", "Number", 80))
        )
        return context.shown_parameters(deployment, "key")

    assert shown("hunter22")["port"] == 80
    assert "hunter22" not in str(shown("hunter22")) and "<secret:db_password#" in shown("hunter22")["db_password"]
    assert shown("hunter22") == shown("hunter22") != shown("hunter23")


def applied(*items):
    now = context.stack_digest({each.member: each for each in items})
    return {each.member: replace(each, status=Status("converged", now, "success", 1)) for each in items}


def test_the_stack_is_converged_when_all_have_applied_this_very_read():
    assert context.verdict(applied(HEAD, W0, W1), SECTION.expected).converged


def test_the_verdict_names_who_is_in_the_way():
    items = applied(HEAD, W0, W1)
    stale = {**items, "w-0": replace(items["w-0"], status=Status("converging", "older", "success", 1))}
    failed = {
        **items,
        "w-1": replace(items["w-1"], status=replace(items["w-1"].status, state="failed", result="failed", run=5)),
    }
    assert context.verdict(stale, {}).reasons == ("w-0 is converging",)
    assert context.verdict(failed, {}).reasons == ("w-1 failed in run 5",)
    assert context.verdict(applied(HEAD, W0), SECTION.expected).reasons == ("missing: 1 × worker",)
    assert context.verdict(items, {}, ("w-0",)).reasons == ("w-0 is silent",)
    other = {**items, "w-0": replace(items["w-0"], generation=8)}
    assert "different generations" in context.verdict(other, {}).reasons[0]
    assert not context.verdict({}, {}).converged
