"""Host facts: names without a name server, system, size, and which addresses peers are told."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess

import psutil
import pytest
from hypothesis import given, settings, strategies

from swagent.facts.host import (
    Host,
    choose_address,
    default_source,
    global_addresses,
    names_of,
    parse_if_inet6,
    parse_os_release,
)


@pytest.mark.parametrize(
    "nodename, etc_hostname, etc_hosts, hostname, fqdn, domain",
    [
        ("head-0", "head-0\n", "", "head-0", "head-0", ""),
        ("head-0.cluster.example", "", "", "head-0", "head-0.cluster.example", "cluster.example"),
        ("head-0", "head-0.cluster.example\n", "", "head-0", "head-0.cluster.example", "cluster.example"),
        ("head-0", "old-name.example\n", "", "head-0", "head-0", ""),
        ("head-0", "", "127.0.1.1 head-0.novalocal head-0\n", "head-0", "head-0.novalocal", "novalocal"),
        (
            "head-0",
            "",
            "10.0.0.4\thead-0 head-0.cluster.example # us\n",
            "head-0",
            "head-0.cluster.example",
            "cluster.example",
        ),
        ("head-0", "", "# 10.0.0.4 head-0.wrong head-0\n::1 head-0.right. head-0\n", "head-0", "head-0.right", "right"),
        (
            "head-0",
            "",
            "127.0.0.1 localhost.localdomain localhost head-0\n10.0.0.4 head-0.b head-0",
            "head-0",
            "head-0.b",
            "b",
        ),
        ("head-0", "", "10.0.0.5 head-01.example head-01\n", "head-0", "head-0", ""),
        ("localhost", "# ours\nhead-0.example\n", "", "head-0", "head-0.example", "example"),
        ("localhost", "", "", "localhost", "localhost", ""),
    ],
)
def test_names_are_those_of_a_resolver_without_a_network(nodename, etc_hostname, etc_hosts, hostname, fqdn, domain):
    assert names_of(nodename, etc_hostname, etc_hosts) == {"hostname": hostname, "fqdn": fqdn, "domain": domain}


@pytest.mark.parametrize(
    "text, platform, version",
    [
        ('PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n', "debian", "12"),
        ('ID="rhel"\nVERSION_ID="9.3"\n', "redhat", "9.3"),
        ("ID=opensuse-leap\nVERSION_ID='15.5'\n", "opensuseleap", "15.5"),
        ('ID="amzn"\nVERSION_ID="2023"\n', "amazon", "2023"),
        ('# comment\nNAME="unclosed\nID=arch\n', "arch", ""),
        ("", "linux", ""),
    ],
)
def test_platforms_have_chefs_names(text, platform, version):
    assert parse_os_release(text) == {"platform": platform, "platform_version": version}


# Captured on Linux 6.1 but for the addresses: loopback, link-local, SLAAC, a temporary and a tentative one.
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
20010db8000000000000000000000002 04 40 00 00     eth0
20010db8000000000000000000000003 04 40 00 01     eth0
20010db8000000000000000000000004 04 40 00 40     eth0
20010db8000000000000000000000005 04 40 00 20     eth0
a line that is none
"""


def test_temporary_tentative_and_deprecated_addresses_are_unfit():
    assert parse_if_inet6(IF_INET6) == {
        "::1",
        "fe80::fc:ff:fe00:1",
        "2001:db8::3",
        "2001:db8::4",
        "2001:db8::5",
    }


INTERFACES = {
    "lo": ["127.0.0.1", "::1"],
    "eth1": ["10.1.0.9", "10.1.0.10"],
    "eth0": ["fe80::1%eth0", "2001:db8::2", "2001:db8::3", "192.0.2.7", "169.254.1.1"],
    "docker0": ["172.17.0.1"],
    "veth12ab": ["fe80::2%veth12ab", "10.9.9.9"],
    "virbr0": ["192.168.122.1"],
    "br-ex": ["198.51.100.4"],
    "eth2": [],
}


def test_only_global_lasting_addresses_of_shared_interfaces_are_told():
    addresses = global_addresses(INTERFACES, ["2001:db8::3"])
    assert addresses == {"eth0": ["192.0.2.7", "2001:db8::2"], "eth1": ["10.1.0.9", "10.1.0.10"]}
    assert list(addresses) == ["eth0", "eth1"]


def test_an_interface_that_the_stack_names_is_told_whatever_its_kind():
    assert global_addresses(INTERFACES, named="br-ex")["br-ex"] == ["198.51.100.4"]


@given(strategies.permutations(list(INTERFACES)), strategies.permutations(INTERFACES["eth0"]))
@settings(max_examples=20, deadline=None)
def test_addresses_do_not_depend_on_the_order_of_the_kernel(order, eth0):
    shuffled = {name: eth0 if name == "eth0" else INTERFACES[name][::-1] for name in order}
    assert global_addresses(shuffled) == global_addresses(INTERFACES)


ADDRESSES = {"eth0": ["192.0.2.7", "2001:db8::2"], "eth1": ["10.1.0.9", "10.1.0.10"]}


@pytest.mark.parametrize(
    "asked, default, chosen",
    [
        ({}, "10.1.0.10", "10.1.0.10"),
        ({}, "172.17.0.1", "192.0.2.7"),  # the default route leaves by an interface that no peer reaches
        ({}, "", "192.0.2.7"),
        ({"interface": "eth1"}, "192.0.2.7", "10.1.0.9"),
        ({"interface": "eth1"}, "10.1.0.10", "10.1.0.10"),
        ({"cidr": "10.0.0.0/8"}, "192.0.2.7", "10.1.0.9"),
        ({"cidr": "10.1.0.0/24", "interface": "eth1"}, "", "10.1.0.9"),
        ({"cidr": "2001:db8::/32"}, "192.0.2.7", "2001:db8::2"),
        ({"cidr": "10.1.0.77/24"}, "", "10.1.0.9"),  # host bits do no harm
    ],
)
def test_the_address_is_the_one_asked_for(asked, default, chosen):
    assert choose_address(ADDRESSES, asked, default) == (chosen, ())


@pytest.mark.parametrize(
    "asked, named",
    [
        ({"interface": "eth9"}, "eth9"),
        ({"cidr": "10.200.0.0/16"}, "10.200.0.0/16"),
        ({"cidr": "ten"}, "cidr"),
        ({"interface": "eth0", "cidr": "10.0.0.0/8"}, "interface eth0 in 10.0.0.0/8"),
    ],
)
def test_no_address_is_told_where_the_wanted_one_is_not_there(asked, named):
    chosen, problems = choose_address(ADDRESSES, asked, "192.0.2.7")
    assert chosen == "" and len(problems) == 1 and named in problems[0]


def test_a_machine_without_addresses_has_no_ip():
    assert choose_address({}, {}, "") == ("", ())


def test_this_machine_is_described_as_the_kernel_does(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=rocky\nVERSION_ID=9.1\n")
    found = Host(tmp_path).look().values
    assert (found["platform"], found["platform_version"], found["os"]) == ("rocky", "9.1", "linux")
    assert found["cpus"] == os.sysconf("SC_NPROCESSORS_ONLN")
    assert found["memory_mb"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20)
    assert found["hostname"] == socket.gethostname().split(".")[0]


def test_a_new_name_in_etc_hosts_is_seen(tmp_path):
    (tmp_path / "etc").mkdir()
    host = Host(tmp_path)
    name = host.look().values["hostname"]
    (tmp_path / "etc/hosts").write_text(f"10.0.0.4 {name}.cluster.example {name}\n")
    assert host.look().values["domain"] == "cluster.example"


def test_the_default_source_is_an_address_of_this_machine_and_no_packet_is_sent(tmp_path):
    own = {each.address for assigned in psutil.net_if_addrs().values() for each in assigned}
    assert default_source() in own | {""}
    program = "from swagent.facts.host import default_source; default_source()"
    trace = tmp_path / "trace"
    argv = ["strace", "-f", "-e", "trace=%network,write", "-o", str(trace), "/usr/bin/python3", "-c", program]
    subprocess.run(argv, check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    calls = trace.read_text()
    assert "SOCK_DGRAM" in calls and "send" not in calls and "SOCK_STREAM" not in calls


def test_addresses_of_this_machine_are_global_and_its_ip_is_among_them():
    found = Host().look_at_addresses({}).values
    listed = [address for addresses in found["addresses"].values() for address in addresses]
    assert all(not ipaddress.ip_address(each).is_link_local and each != "127.0.0.1" for each in listed)
    assert found.get("ip", "") in [*listed, ""] and bool(listed) == ("ip" in found)


def test_unmoved_addresses_are_not_computed_again():
    host = Host()
    assert host.look_at_addresses({}) is host.look_at_addresses({})
    assert host.look_at_addresses({"interface": "nosuch0"}).problems
