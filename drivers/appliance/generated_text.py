# SPDX-License-Identifier: Apache-2.0
"""What aerleon wrote for PAN-OS, FortiOS and an SRX, read word by word: one `Said` for each of its policy's terms.

Called by `drivers.appliance.generated`. Pure. Written from the three generators of aerleon 1.18.0: a statement, a
setting or an element that is not expected is a ValueError, and so is a group of more than one address or port range.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from drivers.base import Rejected
from drivers.junos_lines import lines_of
from drivers.state import ANY_PORT, Match, Ports, Verdict


@dataclass(frozen=True, slots=True)
class Said:
    """One term: from and to which zone, and what it does."""

    name: str
    zones: tuple[str, str]
    verdict: Verdict
    match: Match


Service = tuple[str, Ports, Ports]  # protocol, source ports, destination ports
ANY: Service = ("", ANY_PORT, ANY_PORT)


def _ports(text: str) -> Ports:
    low, _, high = text.partition("-")
    return int(low), int(high or low)


def _one(values: Iterable[str]) -> str:
    found = tuple(values)
    if len(found) != 1:
        raise ValueError(f"{len(found)} values where one must be: {' '.join(found)[:80]}")
    return found[0]


def _get(table: Mapping[str, str], name: str) -> str:
    if name not in table:
        raise ValueError(f"{name!r} is not defined")
    return table[name]


def _whole(prefixes: Iterable[str]) -> str:
    """aerleon writes a wide IPv6 prefix as its parts."""
    networks = [ipaddress.ip_network(prefix) for prefix in prefixes]
    return _one(map(str, ipaddress.collapse_addresses(networks)))  # type: ignore[type-var]


def _said(name: str, zones: tuple[str, str], verdict: str, ends: tuple[str, str], service: Service) -> Said:
    verdicts = {"accept": Verdict.PERMIT, "allow": Verdict.PERMIT, "permit": Verdict.PERMIT, "deny": Verdict.DENY}
    if verdict not in verdicts:
        raise ValueError(f"action {verdict!r}")
    return Said(name, zones, verdicts[verdict], Match(ends[0], ends[1], service[0], service[1], service[2]))


# --- paloalto: a <config> ---------------------------------------------------------------------

_RULE = frozenset({"to", "from", "source", "destination", "service", "action", "rule-type", "application"})
_APPLICATIONS = {"any": "", "icmp": "icmp", "ipv6-icmp": "icmpv6", "sctp": "sctp"}


_WORDS = frozenset({"action", "rule-type"})


def paloalto(text: str) -> tuple[Said, ...]:
    vsys = ElementTree.fromstring(text).find("devices/entry/vsys/entry")
    if vsys is None:
        raise ValueError("there is no vsys")
    nets = {str(one.get("name")): one.findtext("ip-netmask", "") for one in vsys.iterfind("address/entry")}
    groups = {
        str(one.get("name")): _whole(_get(nets, str(member.text)) for member in one.iterfind("static/member"))
        for one in vsys.iterfind("address-group/entry")
    }
    services = {str(one.get("name")): _service(one) for one in vsys.iterfind("service/entry")}
    found = []
    for rule in vsys.iterfind("rulebase/security/rules/entry"):
        if unknown := {one.tag for one in rule} - _RULE:
            raise ValueError(f"a rule's {', '.join(sorted(unknown))}")
        values = {tag: _one(one.text or "" for one in rule.iterfind(f"{tag}/member")) for tag in _RULE - _WORDS}
        if rule.findtext("rule-type") != "interzone":
            raise ValueError(f"rule-type {rule.findtext('rule-type')!r}")
        ends = (_get(groups, values["source"]), _get(groups, values["destination"]))
        zones = (values["from"], values["to"])
        service = _of_rule(values["application"], values["service"], services)
        found.append(_said(rule.get("name", ""), zones, rule.findtext("action", ""), ends, service))
    return tuple(found)


def _service(entry: ElementTree.Element) -> Service:
    protocol = entry.find("protocol")
    kinds = list(protocol) if protocol is not None else []
    if len(kinds) != 1 or {one.tag for one in kinds[0]} - {"port", "source-port"}:
        raise ValueError(f"service {entry.get('name')!r}")
    ports = [_ports(kinds[0].findtext(tag, "0-65535")) for tag in ("source-port", "port")]
    return kinds[0].tag, ports[0], ports[1]


def _of_rule(application: str, service: str, services: Mapping[str, Service]) -> Service:
    if application not in _APPLICATIONS:
        raise ValueError(f"application {application!r}")
    protocol = _APPLICATIONS[application]
    if service in services and protocol in ("", services[service][0]):
        return services[service]
    # `application-default` without an application would be every application on its own ports.
    if (service == "any") is not (protocol == "") or service not in ("any", "application-default"):
        raise ValueError(f"service {service!r} of application {application!r}")
    return protocol, ANY_PORT, ANY_PORT


# --- fortigate: the command line --------------------------------------------------------------

_POLICY = frozenset(
    {"name", "srcintf", "dstintf", "action", "srcaddr", "dstaddr", "srcaddr6", "dstaddr6", "schedule", "service"}
    | {"logtraffic"}
)


def fortigate(text: str) -> tuple[Said, ...]:
    tables = _tables(text)
    nets = {name: _subnet(row) for name, row in tables.pop("firewall address", {}).items()}
    nets |= {name: _get(row, "ip6") for name, row in tables.pop("firewall address6", {}).items()}
    groups = {name: _get(row, "member") for name, row in tables.pop("firewall addrgrp", {}).items()}
    groups |= {name: _get(row, "member") for name, row in tables.pop("firewall addrgrp6", {}).items()}
    services = {name: _portrange(row) for name, row in tables.pop("firewall service custom", {}).items()}
    found = []
    for row in tables.pop("firewall policy", {}).values():
        if unknown := row.keys() - _POLICY:
            raise ValueError(f"a policy's {', '.join(sorted(unknown))}")
        six = "6" if "srcaddr6" in row else ""
        ends = tuple(_get(nets, _get(groups, _get(row, f"{end}{six}"))) for end in ("srcaddr", "dstaddr"))
        service = _get(row, "service")
        if _get(row, "schedule") != "always" or (service != "ALL" and service not in services):
            raise ValueError(f"schedule {row['schedule']!r}, service {service!r}")
        zones = (_get(row, "srcintf"), _get(row, "dstintf"))
        # A denial is what a policy without an action is.
        verdict = row.get("action", "deny")
        found.append(_said(_get(row, "name"), zones, verdict, (ends[0], ends[1]), services.get(service, ANY)))
    if tables:
        raise ValueError(f"config {', '.join(sorted(tables))}")
    return tuple(found)


def _tables(text: str) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = {}
    table: dict[str, dict[str, str]] = {}
    row: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        name, _, value = rest.partition(" ")
        if word == "config" and rest not in found:
            table = found[rest] = {}
        elif word == "edit" and rest not in table:
            row = table[rest] = {}
        elif word == "set" and value and name not in row:
            row[name] = value.removeprefix('"').removesuffix('"')
        elif line not in ("next", "end"):
            raise ValueError(line[:80])
    return found


def _subnet(row: Mapping[str, str]) -> str:
    return str(ipaddress.ip_network(_get(row, "subnet").replace(" ", "/")))


def _portrange(row: Mapping[str, str]) -> Service:
    field = _one(row)
    protocol, to, source = *field.split("-")[:1], *row[field].partition(":")[::2]
    if field not in ("tcp-portrange", "udp-portrange"):
        raise ValueError(f"service {field}")
    return protocol, _ports(source) if source else ANY_PORT, _ports(to)


# --- srx: braces ------------------------------------------------------------------------------

_NET = re.compile(r"security address-book global address (\S+) (\S+)")
_SET = re.compile(r"security address-book global address-set (\S+) address (\S+)")
_APPLICATION = re.compile(
    r"applications application (\S+) term t1 protocol (\S+)(?: source-port (\S+))?(?: destination-port (\S+))?"
)
_APPLICATIONS_SET = re.compile(r"applications application-set (\S+) application (\S+)")
_LINE = re.compile(
    r"security policies from-zone (\S+) to-zone (\S+) policy (\S+) "
    r"(match source-address|match destination-address|match application|then) (\S+)"
)


def srx(text: str) -> tuple[Said, ...]:
    """`replace:` is taken off, and `delete: applications`, which it writes where no term needs one: what they would do
    to the operator's policies and applications is why the text is never loaded."""
    try:
        lines = lines_of(text.replace("replace: ", "").removesuffix("delete: applications;"))
    except Rejected as error:
        raise ValueError(str(error)) from error
    nets, sets, applications = dict[str, str](), dict[str, str](), dict[str, Service]()
    policies: dict[tuple[str, str, str], dict[str, str]] = {}
    for line in lines:
        if found := _NET.fullmatch(line):
            nets[found[1]] = found[2]
        elif (found := _SET.fullmatch(line) or _APPLICATIONS_SET.fullmatch(line)) and found[1] not in sets:
            sets[found[1]] = found[2]
        elif found := _APPLICATION.fullmatch(line):
            source, to = (_ports(ports) if ports else ANY_PORT for ports in (found[3], found[4]))
            applications[found[1]] = (found[2].replace("icmp6", "icmpv6"), source, to)
        elif found := _LINE.fullmatch(line):
            row = policies.setdefault((found[1], found[2], found[3]), {})
            if row.setdefault(found[4], found[5]) != found[5]:
                raise ValueError(line[:120])
        else:
            raise ValueError(line[:120])
    sets["any"], applications["any"] = "any", ANY
    return tuple(_policy(names, row, nets, sets, applications) for names, row in policies.items())


ENDS = ("source-address", "destination-address")


def _policy(
    names: tuple[str, str, str],
    row: Mapping[str, str],
    nets: Mapping[str, str],
    sets: Mapping[str, str],
    applications: Mapping[str, Service],
) -> Said:
    source, destination = (_get(nets, _get(sets, _get(row, f"match {end}"))) for end in ENDS)
    application = _get(sets, _get(row, "match application"))
    if application not in applications:
        raise ValueError(f"application {application!r}")
    return _said(names[2], names[:2], _get(row, "then"), (source, destination), applications[application])
