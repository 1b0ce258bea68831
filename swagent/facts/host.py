"""What the machine is: its names, system, size and addresses; nothing here asks a name server or sends a packet."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import socket
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from swagent.facts import Found, fingerprint, read_text

# Interfaces of this machine's own containers and virtual machines: they come and go, and no peer reaches them.
OWN_INTERFACES = (
    *("lo", "veth*", "docker*", "virbr*", "br-*", "vnet*", "tap*"),
    *("cni*", "cali*", "flannel*", "lxc*", "lxd*", "podman*"),
)
# Where Chef's name for a platform is another than os-release's ID (ohai, plugins/linux/platform.rb).
PLATFORMS = {"amzn": "amazon", "ol": "oracle", "opensuse-leap": "opensuseleap", "rhel": "redhat", "sles": "suse"}
# Flags of /proc/net/if_inet6 (linux/if_addr.h): temporary, failed as a duplicate, deprecated, tentative.
UNFIT_FLAGS = 0x01 | 0x08 | 0x20 | 0x40
# Documentation addresses (RFC 5737, RFC 3849): connecting a UDP socket chooses a route and sends nothing.
SOMEWHERE = ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1"))


def names_of(nodename: str, etc_hostname: str, etc_hosts: str) -> Dict[str, str]:
    """{hostname, fqdn, domain}: from the kernel's name and the two files, as a resolver without a network would say.

    The fqdn is the first of: a name with dots in the kernel's or /etc/hostname, the canonical name (or else an alias)
    of the first line of /etc/hosts that knows the hostname, the hostname itself; the domain is then empty.
    """
    written = next((line.strip() for line in etc_hostname.splitlines() if line.strip() and line[0] != "#"), "")
    known = nodename if nodename.split(".")[0] not in ("", "localhost", "(none)") else written or nodename
    hostname = known.split(".")[0]
    candidates = [known]
    if written.split(".")[0] == hostname:
        candidates.append(written)
    for line in etc_hosts.splitlines():
        words = line.partition("#")[0].split()[1:]
        if hostname in words or known in words:
            candidates += [word for word in words if word == words[0] or word.startswith(hostname + ".")]
    # A line "127.0.0.1 localhost.localdomain head-0" names no domain that a peer could use.
    dotted = (name.rstrip(".") for name in candidates if not name.startswith("localhost"))
    fqdn = next((name for name in dotted if "." in name), hostname)
    return {"hostname": hostname, "fqdn": fqdn, "domain": fqdn.partition(".")[2]}


def parse_os_release(text: str) -> Dict[str, str]:
    """{platform, platform_version}: ID and VERSION_ID of os-release(5), with Chef's name of the platform."""
    values: Dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and key.isidentifier():
            try:
                values[key] = "".join(shlex.split(value)[:1])
            except ValueError:
                continue  # an unclosed quote: a line that no shell would take either
    platform = values.get("ID", "linux").lower()
    return {"platform": PLATFORMS.get(platform, platform), "platform_version": values.get("VERSION_ID", "")}


def parse_if_inet6(text: str) -> Set[str]:
    """The IPv6 addresses that no peer should be told: not global, temporary, deprecated or not yet usable.

    Lines of /proc/net/if_inet6: address in 32 hex digits, index, prefix length, scope, flags, interface.
    """
    unfit = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 6 and re.fullmatch("[0-9a-f]{32}", words[0]):
            if int(words[3], 16) != 0 or int(words[4], 16) & UNFIT_FLAGS:
                unfit.add(str(ipaddress.IPv6Address(int(words[0], 16))))
    return unfit


def global_addresses(
    interfaces: Mapping[str, Iterable[str]], unfit: Iterable[str] = (), named: str = ""
) -> Dict[str, List[str]]:
    """{interface: [address]}, sorted, IPv4 first: global and lasting ones, without the machine's own interfaces.

    An interface that the stack names is kept whatever its kind. Link-local addresses go, private ones stay.
    """
    left_out = set(unfit)
    found = {}
    for name in sorted(interfaces):
        if name != named and any(fnmatchcase(name, pattern) for pattern in OWN_INTERFACES):
            continue
        addresses = set()
        for text in interfaces[name]:
            address = ipaddress.ip_address(text.partition("%")[0])
            if not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified):
                addresses.add(address)
        kept = [str(each) for each in sorted(addresses, key=lambda each: (each.version, int(each)))]
        kept = [each for each in kept if each not in left_out]
        if kept:
            found[name] = kept
    return found


def choose_address(
    addresses: Mapping[str, Sequence[str]], asked: Mapping[str, str], default: str
) -> Tuple[str, Tuple[str, ...]]:
    """The member's one address and what is wrong with the choice; empty where none fits: none beats a wrong one.

    asked: `swagent.address`, {interface: eth0}, {cidr: 10.0.0.0/8} or both; default: the default route's source.
    """
    listed = [each for name in addresses for each in addresses[name]]
    if not asked:
        if default in listed:
            return default, ()
        fallback = sorted(listed, key=lambda each: ipaddress.ip_address(each).version)
        return (fallback[0], ()) if fallback else ("", ())
    interface, cidr = str(asked.get("interface") or ""), str(asked.get("cidr") or "")
    candidates = list(addresses.get(interface, ())) if interface else listed
    if cidr:
        try:
            network = ipaddress.ip_network(cidr, strict=False)
        except ValueError as error:
            return "", (f"swagent.address.cidr: {error}; correct it in the template",)
        candidates = [each for each in candidates if ipaddress.ip_address(each) in network]
    if candidates:
        return (default if default in candidates else candidates[0]), ()
    wanted = " in ".join(filter(None, [f"interface {interface}" if interface else "", cidr])) or str(dict(asked))
    there = "; ".join(f"{name}: {', '.join(addresses[name])}" for name in addresses) or "none"
    return "", (f"swagent.address: no address for {wanted}; there are {there}; no ip is published until one fits",)


def default_source() -> str:
    """The source address of the default route, IPv4 first; empty without one."""
    for family, somewhere in SOMEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
                probe.connect((somewhere, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return ""


class Host:
    """Looks at names, system, size and addresses; what has not moved is not computed again."""

    def __init__(self, machine: Path = Path("/")) -> None:
        self._machine = machine
        self._named: Tuple[object, Mapping[str, str]] = (None, {})
        self._addressed: Tuple[object, Found] = (None, Found())

    def look(self) -> Found:
        """{hostname, fqdn, domain, os, platform, platform_version, cpus, memory_mb (MiB)}."""
        import psutil  # here: the commands that only read documents never load it

        size = {"cpus": psutil.cpu_count() or 1, "memory_mb": psutil.virtual_memory().total // (1 << 20)}
        return Found({**self._names(), **size}, "kernel, /etc, psutil")

    def _names(self) -> Mapping[str, str]:
        system = os.uname()
        etc = [self._machine / name for name in ("etc/hostname", "etc/hosts", "etc/os-release")]
        gate = (system.nodename, *(fingerprint(path) for path in etc))
        if gate != self._named[0]:
            hostname, hosts, release = map(read_text, etc)
            names = names_of(system.nodename, hostname, hosts)
            release = release or read_text(self._machine / "usr/lib/os-release")
            self._named = (gate, {**names, "os": system.sysname.lower(), **parse_os_release(release)})
        return self._named[1]

    def look_at_addresses(self, asked: Mapping[str, str]) -> Found:
        """{addresses: {interface: [address]}, ip}; no `ip` where none fits. asked: `swagent.address`."""
        import psutil

        families = (socket.AF_INET, socket.AF_INET6)
        interfaces = {
            name: [each.address for each in assigned if each.family in families]
            for name, assigned in psutil.net_if_addrs().items()
        }
        inet6, default = read_text("/proc/net/if_inet6"), default_source()
        gate = (interfaces, inet6, default, asked)
        if gate != self._addressed[0]:
            interface = str(asked.get("interface") or "")
            addresses = global_addresses(interfaces, parse_if_inet6(inet6), interface)
            ip, problems = choose_address(addresses, asked, default)
            self._addressed = (gate, Found({"addresses": addresses, **({"ip": ip} if ip else {})}, "psutil", problems))
        return self._addressed[1]
