# SPDX-License-Identifier: Apache-2.0
"""The statements that the emulated Junos knows, each with the manual it was transcribed from.

Read by `lab.devices.junos_config`. A statement that is not here is a syntax error, as it would be on the box if it
were none. Titles of Juniper's guides: CLI (Junos CLI User Guide), FW (Routing Policies, Firewall Filters and Traffic
Policers User Guide), IF (Interfaces Fundamentals), RT (Routing Options / Protocol-Independent Routing), RI (Routing
Instances Overview), SEC (Security Policies User Guide for Security Devices), SYS (System Basics).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}"
TEXT = r'"[^"\n]*"|[^\s;{}\[\]]+'
FOUR = r"\d{1,3}(?:\.\d{1,3}){3}"
SIX = r"[0-9a-f:]*:[0-9a-f:.]*"
NET4, NET6 = FOUR + r"/\d{1,2}", SIX + r"/\d{1,3}"
PORTS = r"\d{1,5}(?:-\d{1,5})?"
MAC = r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}"
IFNAME = r"(?:ge|xe|et)-\d+/\d+/\d+(?::\d+)?|ae\d+|irb|lo0|fxp0"
IFUNIT = rf"(?:{IFNAME})\.\d{{1,5}}"


class Form(Enum):
    BOX = "a container"
    LIST = "keyword and key, with statements inside"
    BARE = "key without keyword, with statements inside"
    VALUE = "keyword and one value"
    VALUES = "keyword and a list of values, in order"
    FLAG = "keyword alone"


@dataclass(frozen=True)
class Stmt:
    """key: of a key or value, whole. inline: written on one line with what is inside it, if that is one statement."""

    form: Form
    source: str
    key: re.Pattern[str] = re.compile("")
    inside: Mapping[str, Stmt] = field(default_factory=dict)
    inline: bool = False


BARE = "*"


def box(source: str, inside: Mapping[str, Stmt], inline: bool = False) -> Stmt:
    return Stmt(Form.BOX, source, inside=inside, inline=inline)


def names(source: str, key: str, inside: Mapping[str, Stmt] | None = None, inline: bool = False) -> Stmt:
    return Stmt(Form.LIST, source, re.compile(key), inside or {}, inline)


def bare(source: str, key: str, inside: Mapping[str, Stmt] | None = None) -> Stmt:
    return Stmt(Form.BARE, source, re.compile(key), inside or {})


def value(source: str, key: str) -> Stmt:
    return Stmt(Form.VALUE, source, re.compile(key))


def values(source: str, key: str) -> Stmt:
    return Stmt(Form.VALUES, source, re.compile(key))


def flag(source: str) -> Stmt:
    return Stmt(Form.FLAG, source)


# Everywhere (CLI, "Using apply-macro", "Use Configuration Groups")
ANYWHERE: Mapping[str, Stmt] = {
    "apply-macro": names("CLI: apply-macro", TEXT, {BARE: bare("CLI: apply-macro NAME { PARAMETER VALUE; }", TEXT)}),
    "apply-groups": values("CLI: apply-groups [ NAMES ]", NAME),
    "apply-groups-except": values("CLI: apply-groups-except [ NAMES ]", NAME),
}


def _filter(net: str, protocol: str, numbers: str, dscp: str) -> Stmt:
    """FW: "Firewall Filter Match Conditions for IPv4 / IPv6 Traffic", "Firewall Filter Terminating Actions"."""
    prefixes = {BARE: bare("FW: source-address { PREFIX; }", net)}
    match = {
        "source-address": box("FW: source-address", prefixes),
        "destination-address": box("FW: destination-address", prefixes),
        protocol: values(f"FW: {protocol}", numbers),
        "source-port": values("FW: source-port", PORTS),
        "destination-port": values("FW: destination-port", PORTS),
        "icmp-type": values("FW: icmp-type", r"\d{1,3}"),
        dscp: values(f"FW: {dscp}", r"\d{1,2}"),
    }
    then = {
        "count": value("FW: count NAME", NAME),
        "accept": flag("FW: accept"),
        "discard": flag("FW: discard"),
        "routing-instance": value("FW: filter-based forwarding, routing-instance NAME", NAME),
    }
    term = {
        "from": box("FW: term NAME from", match),
        "then": box("FW: term NAME then", then, inline=True),
    }
    return names("FW: filter NAME", NAME, {"term": names("FW: term NAME", NAME, term)})


L4 = r"tcp|udp|sctp|icmp|icmp6"
_FOUR = box("FW: firewall family inet", {"filter": _filter(NET4, "protocol", L4, "dscp")})
_SIX = box("FW: firewall family inet6", {"filter": _filter(NET6, "next-header", L4, "traffic-class")})


def _family(net: str, neighbour: str, address: str) -> Stmt:
    """IF: "Configuring the Interface Address", "Configuring Static ARP Table Entries"; FW: "Filter Lists"."""
    entry = names(f"IF: {neighbour} ADDRESS mac MAC", address, {"mac": value("IF: mac", MAC)}, inline=True)
    filters = {"input": value("FW: filter input NAME", NAME), "input-list": values("FW: input-list [ NAMES ]", NAME)}
    return box("IF: family", {
        "address": names("IF: address", net, {neighbour: entry}),
        "filter": box("FW: Applying Firewall Filters to Interfaces", filters),
    })  # fmt: skip


UNIT = {
    "description": value("IF: description", TEXT),
    "vlan-id": value("IF: Configuring VLAN IDs for interfaces", r"\d{1,4}"),
    "family inet": _family(NET4, "arp", FOUR),
    "family inet6": _family(NET6, "ndp", SIX),
}
INTERFACE = {
    "description": value("IF: description", TEXT),
    "vlan-tagging": flag("IF: vlan-tagging"),
    "flexible-vlan-tagging": flag("IF: flexible-vlan-tagging"),
    "native-vlan-id": value("IF: native-vlan-id", r"\d{1,4}"),
    "unit": names("IF: unit NUMBER", r"\d{1,5}", UNIT),
}
_HOP = {
    "next-hop": value("RT: static route next-hop", rf"{FOUR}|{SIX}"),
    "discard": flag("RT: static route discard"),
}
STATIC = box("RT: static", {"route": names("RT: route PREFIX", rf"{NET4}|{NET6}", _HOP, inline=True)})
ROUTING_OPTIONS = {
    "instance-import": values("RT: instance-import [ POLICIES ]", NAME),
    "static": STATIC,
    "rib": names("RT: rib NAME", NAME, {"static": STATIC}),
}
INSTANCE = {
    "instance-type": value("RI: instance-type", "forwarding|virtual-router|vrf"),
    "interface": names("RI: interface NAME", IFUNIT),
    "routing-options": box("RT: routing-options in an instance", ROUTING_OPTIONS),
}
_POLICY_THEN = box("FW: policy then", {"accept": flag("FW: accept"), "reject": flag("FW: reject")}, inline=True)
_POLICY_FROM = {
    "instance": value("FW: Routing Policy Match Conditions: instance", NAME),
    "protocol": values("FW: Routing Policy Match Conditions: protocol", "direct|static"),
    "interface": values("FW: Routing Policy Match Conditions: interface", IFUNIT),
}
POLICY = {
    "term": names("FW: policy term", NAME, {"from": box("FW: from", _POLICY_FROM), "then": _POLICY_THEN}),
    "then": _POLICY_THEN,
}
_SECURITY_POLICY = {
    "match": box("SEC: match", {
        "source-address": values("SEC: source-address", NAME),
        "destination-address": values("SEC: destination-address", NAME),
        "application": values("SEC: application", NAME),
    }),
    "then": box("SEC: then", {
        "permit": flag("SEC: permit"),
        "deny": flag("SEC: deny"),
        "count": flag("SEC: count"),
        "log": box("SEC: log", {"session-close": flag("SEC: session-close")}),
    }),
}  # fmt: skip
SECURITY = {
    "address-book": names("SEC: address-book global", "global", {
        "address": names("SEC: address NAME PREFIX", NAME,
                         {BARE: bare("SEC: address", rf"{NET4}|{NET6}")}, inline=True),
    }),
    "policies": box("SEC: policies", {
        "from-zone": names("SEC: from-zone A to-zone B", rf"{NAME} to-zone {NAME}", {
            "policy": names("SEC: policy NAME", NAME, _SECURITY_POLICY),
        }),
        "default-policy": box("SEC: default-policy", {
            "permit-all": flag("SEC: permit-all"), "deny-all": flag("SEC: deny-all"),
        }),
    }),
    "zones": box("SEC: zones", {"security-zone": names("SEC: security-zone", NAME, {
        "interfaces": box("SEC: interfaces", {BARE: bare("SEC: interfaces", IFUNIT)}),
    })}),
}  # fmt: skip
APPLICATIONS = {"application": names("SEC: application NAME", NAME, {
    "protocol": value("SEC: protocol", L4),
    "source-port": value("SEC: source-port", PORTS),
    "destination-port": value("SEC: destination-port", PORTS),
})}  # fmt: skip

STATEMENTS: dict[str, Stmt] = {
    "system": box("SYS: system", {"host-name": value("SYS: host-name", NAME)}),
    "interfaces": box("IF: interfaces", {BARE: bare("IF: interfaces NAME", IFNAME, INTERFACE)}),
    "firewall": box("FW: firewall", {"family inet": _FOUR, "family inet6": _SIX}),
    "policy-options": box("FW: policy-options", {"policy-statement": names("FW: policy-statement", NAME, POLICY)}),
    "routing-options": box("RT: routing-options", ROUTING_OPTIONS),
    "routing-instances": box("RI: routing-instances", {BARE: bare("RI: NAME", NAME, INSTANCE)}),
}
SECURE: dict[str, Stmt] = {
    "security": box("SEC: security", SECURITY),
    "applications": box("SEC: applications", APPLICATIONS),
}


def statements(is_secure: bool) -> Mapping[str, Stmt]:
    """The whole of a box: is_secure for an SRX. Groups hold the same (CLI, "groups")."""
    known = {**STATEMENTS, **(SECURE if is_secure else {})}
    return {**known, "groups": box("CLI: groups", {BARE: bare("CLI: groups NAME", NAME, known)})}
