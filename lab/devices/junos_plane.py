# SPDX-License-Identifier: Apache-2.0
"""What an accepted Junos configuration says about packets, as a `plane.Plane`.

Read from the emulated box's configuration in force, by Junos's words and not by our names: what our driver wrote
wrongly goes wrong here. Filter-based forwarding only (FW: "Filter-Based Forwarding Overview"): filters of an input-list
one after the other, the first term that matches decides, what no term takes is discarded. An instance forwards by the
longest prefix of its static routes whose next hop lies in a subnet that its instance-import brought; else by what is
left, a discard or nothing, and both drop.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from drivers.state import ANY_PORT, ANYWHERE, Match, Ports
from lab.devices.junos_check import below, named
from lab.devices.junos_config import Config
from lab.devices.plane import Clause, Fate, Interface, Plane

PROTOCOLS = {"icmp6": "icmpv6"}
FAMILIES = {4: "family inet", 6: "family inet6"}


def plane_of(config: Config) -> Plane:
    """config: in force, with groups inherited."""
    vrfs = {
        unit: name
        for name, instance in below(config, "routing-instances").items()
        if named(instance, "instance-type") != ["forwarding"]
        for unit in named(instance, "interface")
    }
    interfaces: dict[str, Interface] = {}
    neighbours: dict[tuple[str, str], str] = {}
    for name, physical in below(config, "interfaces").items():
        for number in named(physical, "unit"):
            inside, unit = physical[f"unit {number}"], f"{name}.{number}"
            vrf = vrfs.get(unit, "")
            addresses: list[str] = []
            for family, keyword in ((4, "arp"), (6, "ndp")):
                held = below(inside, FAMILIES[family])
                addresses += named(held, "address")
                for address in named(held, "address"):
                    for far in named(held[f"address {address}"], keyword):
                        neighbours[vrf, far] = named(held[f"address {address}"][f"{keyword} {far}"], "mac")[0]
            policy = tuple(clause for family in FAMILIES for clause in _clauses(config, inside, family))
            tag = _tag(physical, inside)
            interfaces[unit if tag else name] = Interface(
                unit if tag else name, vrf, tuple(addresses), name if tag else "", tag, policy=policy
            )
    return Plane(interfaces, neighbours, tuple(_routes(config)))


def _tag(physical: Config, unit: Config) -> int:
    """0 for untagged: no vlan-id, or that of the untagged frames (IF: native-vlan-id)."""
    ids = named(unit, "vlan-id")
    return 0 if not ids or ids == named(physical, "native-vlan-id") else int(ids[0])


def _routes(config: Config) -> Iterator[tuple[str, str, str]]:
    """Of the box itself and of every instance that has interfaces; a forwarding instance is a next hop (`_hop`)."""
    instances = below(config, "routing-instances").items()
    own = {name: held for name, held in instances if named(held, "instance-type") != ["forwarding"]}
    for vrf, held in (("", config), *own.items()):
        options = below(held, "routing-options")
        rib = f"rib {vrf}.inet6.0" if vrf else "rib inet6.0"
        for static in (below(options, "static"), below(options, rib, "static")):
            for route, said in static.items():
                for hop in named(said, "next-hop"):
                    yield vrf, route.split(" ")[1], hop


def _clauses(config: Config, unit: Config, family: int) -> Iterator[Clause]:
    used = below(unit, FAMILIES[family], "filter")
    filters = named(used, "input-list") or named(used, "input")
    for name in filters:
        held = below(config, "firewall", FAMILIES[family], f"filter {name}")
        for term in (held[f"term {one}"] for one in named(held, "term")):
            for match in _matches(below(term, "from"), family):
                yield _clause(config, match, below(term, "then"))
    if filters:
        yield Clause(Match(ANYWHERE[family], ANYWHERE[family]), Fate.DROP)


def _clause(config: Config, match: Match, then: Config) -> Clause:
    if "discard" in then:
        return Clause(match, Fate.DROP)
    instance = named(then, "routing-instance")
    if not instance:
        return Clause(match, Fate.ROUTE)
    address = _hop(config, instance[0], match.family)
    return Clause(match, Fate.NEXT, address) if address else Clause(match, Fate.DROP)


def _hop(config: Config, name: str, family: int) -> str:
    """Where the instance sends every address, "" if it drops them."""
    options = below(config, "routing-instances", name, "routing-options")
    static = below(options, "static") if family == 4 else below(options, f"rib {name}.inet6.0", "static")
    subnets = [subnet for policy in named(options, "instance-import") for subnet in _imported(config, policy, family)]
    halves = {}
    for route, said in static.items():
        for hop in named(said, "next-hop"):
            if any(ipaddress.ip_address(hop) in subnet for subnet in subnets):
                halves[ipaddress.ip_network(route.split(" ")[1])] = hop
    hops = set(halves.values())
    covered = sum(network.num_addresses for network in halves)
    is_all = covered == 2 ** (32 if family == 4 else 128)
    return hops.pop() if len(hops) == 1 and is_all else ""


def _imported(config: Config, policy: str, family: int) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The direct subnets that the policy's first accepting terms let in."""
    for term in below(config, "policy-options", f"policy-statement {policy}").values():
        source = below(term, "from")
        if "accept" not in below(term, "then") or named(source, "protocol") != ["direct"]:
            continue
        vrf = named(source, "instance")[0]
        for unit in named(source, "interface"):
            instance = below(config, "routing-instances", vrf)
            name, _, number = unit.partition(".")
            held = below(config, "interfaces", name, f"unit {number}", FAMILIES[family])
            if unit in named(instance, "interface") or vrf == "master":
                yield from (ipaddress.ip_interface(address).network for address in named(held, "address"))


def _matches(source: Config, family: int) -> Iterator[Match]:
    """Every combination of the values: those of one keyword are alternatives, keywords are conditions together."""
    if named(source, "icmp-type"):
        return  # neighbour discovery with the box itself, which never forwards
    (protocol,) = named(source, "protocol") or named(source, "next-header") or [""]
    (dscp,) = named(source, "dscp") or named(source, "traffic-class") or ["-1"]
    for near in below(source, "source-address") or [ANYWHERE[family]]:
        for far in below(source, "destination-address") or [ANYWHERE[family]]:
            for low in named(source, "source-port") or [""]:
                for high in named(source, "destination-port") or [""]:
                    yield Match(near, far, PROTOCOLS.get(protocol, protocol), _ports(low), _ports(high), int(dscp))


def _ports(text: str) -> Ports:
    low, _, high = text.partition("-")
    return (int(low), int(high or low)) if text else ANY_PORT
