# SPDX-License-Identifier: Apache-2.0
"""An emulated PAN-OS firewall: the XML API to read, `configure` mode for the operator, candidate and running.

Sources: PAN-OS CLI Quick Start, "set" and "delete" in configuration mode; PAN-OS and Panorama API Usage Guide for
the requests. A line that is not listed is refused; `commit` makes the candidate the running configuration.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lab.devices import appliance_https
from lab.devices.appliance_https import Appliance

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
LISTS = ("from", "to", "source", "destination", "application", "service")
RULE = re.compile(
    rf"set rulebase security rules ({NAME}) (from|to|source|destination|application|service|action|description|"
    r"disabled|negate-source) (.+)"
)
SERVICE = re.compile(rf"set service ({NAME}) protocol (tcp|udp|sctp) (port|source-port) ([\d,-]+)")
# PAN-OS Administrator's Guide, "Create a Policy-Based Forwarding Rule"; `set` lines as in Cloudflare's and Netskope's
# guides for PAN-OS. Replies can be held to the way back of an interface only, not of a zone.
STEER = re.compile(
    rf"set rulebase pbf rules ({NAME}) (from interface|from zone|source|destination|application|service|disabled|"
    r"action forward egress-interface|action forward nexthop ip-address|enforce-symmetric-return enabled|"
    r"enforce-symmetric-return nexthop-address-list) (\S+)"
)
NEEDED = {"source", "destination", "application", "service", "action forward egress-interface"}
DELETE = re.compile(rf"delete (rulebase security rules|rulebase pbf rules|service) ({NAME})")
TABLES = {"rulebase security rules": "rules", "rulebase pbf rules": "steers", "service": "services"}
MOVE = re.compile(rf"move rulebase (security|pbf) rules ({NAME}) (top|bottom)")
ZONE = re.compile(rf"set zone ({NAME}) network layer3 (ethernet\d+/\d+)")
ROUTE = re.compile(
    rf"set network virtual-router {NAME} routing-table ipv?6? static-route {NAME} destination (\S+) interface (\S+)"
)
VSYS = "/config/devices/entry[@name='localhost.localdomain']/vsys/entry[@name='vsys1']/"


class Refused(ValueError):
    """As the command line refuses."""


class Firewall(Appliance):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.clear()

    def clear(self) -> None:
        self.candidate: dict[str, Any] = {"rules": {}, "steers": {}, "services": {}, "zones": {}, "routes": []}
        self.running = copy.deepcopy(self.candidate)

    def config(self) -> dict[str, Any]:
        return {"running": self.running, "candidate": self.candidate, "startup": self.running}

    def reboot(self) -> None:
        self.candidate = copy.deepcopy(self.running)

    def operate(self, lines: list[str]) -> None:
        for line in lines:
            self._type(line)

    def _type(self, line: str) -> None:
        held = self.candidate
        rule, service, gone, move, zone, route, steer = (
            pattern.fullmatch(line) for pattern in (RULE, SERVICE, DELETE, MOVE, ZONE, ROUTE, STEER)
        )
        if line == "commit":
            self._check()
            self.running = copy.deepcopy(held)
        elif rule:
            # A list grows by a `set`, a value is replaced.
            words = rule[3].strip("[] ").split() if rule[2] in LISTS else [rule[3].strip('"')]
            old = held["rules"].setdefault(rule[1], {}).setdefault(rule[2], [])
            held["rules"][rule[1]][rule[2]] = [*old, *words] if rule[2] in LISTS else words
        elif service:
            held["services"].setdefault(service[1], {})[service[3]] = (service[2], service[4])
        elif gone:
            held[TABLES[gone[1]]].pop(gone[2], None)
        elif steer:
            held["steers"].setdefault(steer[1], {})[steer[2]] = steer[3]
        elif move:
            table = "rules" if move[1] == "security" else "steers"
            moved = {move[2]: held[table].pop(move[2])}
            held[table] = {**moved, **held[table]} if move[3] == "top" else {**held[table], **moved}
        elif zone:
            held["zones"].setdefault(zone[1], []).append(zone[2])
        elif route:
            held["routes"].append([route[1], route[2]])
        else:
            raise Refused(f"Invalid syntax: {line}")

    def _check(self) -> None:
        """A commit refuses what names something that is not there."""
        for name, rule in self.candidate["rules"].items():
            for zone in [*rule.get("from", ["any"]), *rule.get("to", ["any"])]:
                if zone != "any" and zone not in self.candidate["zones"]:
                    raise Refused(f"rules -> {name}: '{zone}' is not a valid reference")
            for service in rule.get("service", ["any"]):
                if service not in ("any", "application-default") and service not in self.candidate["services"]:
                    raise Refused(f"rules -> {name}: '{service}' is not a valid reference")

        for name, rule in self.candidate["steers"].items():
            if missing := NEEDED - rule.keys():
                raise Refused(f"pbf rules -> {name} is missing '{sorted(missing)[0]}'")
            if rule.get("enforce-symmetric-return enabled") == "yes" and "from interface" not in rule:
                raise Refused(f"pbf rules -> {name}: symmetric return is of interfaces, not of zones")
            if rule["service"] != "any" and rule["service"] not in self.candidate["services"]:
                raise Refused(f"pbf rules -> {name}: '{rule['service']}' is not a valid reference")

    # --- the API ------------------------------------------------------------------------------

    def key_in(self, headers: dict[str, str]) -> str:
        return headers.get("x-pan-key", "")

    def reply(self, path: str, query: dict[str, str]) -> bytes:
        if path != "/api/":
            raise KeyError(path)
        if self.fault("refuse"):
            return b'<response status="error" code="16"><msg><line>Unauthorized request</line></msg></response>'
        if query.get("type") == "op":
            return self._reply(self._op(query.get("cmd", "")))
        if query.get("type") == "config" and query.get("action") in ("show", "get"):
            held = self.running if query["action"] == "show" else self.candidate
            return self._reply(self._config(query.get("xpath", "").removeprefix(VSYS), held))
        return b'<response status="error" code="17"><msg><line>Illegal request</line></msg></response>'

    def _reply(self, text: str) -> bytes:
        if not text:
            return b'<response status="success" code="7"><result/></response>'
        return f'<response status="success" code="19"><result>{text}</result></response>'.encode()

    def _config(self, path: str, held: dict[str, Any]) -> str:
        if path == "rulebase/security/rules":
            return f"<rules>{''.join(map(_rule, held['rules'].items()))}</rules>" if held["rules"] else ""
        if path == "rulebase/pbf/rules":
            return f"<rules>{''.join(map(_steer, held['steers'].items()))}</rules>" if held["steers"] else ""
        if path == "service":
            return f"<service>{''.join(map(_service, held['services'].items()))}</service>" if held["services"] else ""
        if path == "zone":
            return f"<zone>{''.join(map(_zone, held['zones'].items()))}</zone>" if held["zones"] else ""
        return ""

    def _op(self, command: str) -> str:
        if command == "<show><routing><route></route></routing></show>":
            found = self.running["routes"]
            return "".join(
                f"<entry><virtual-router>default</virtual-router><destination>{to}</destination><interface>{interface}"
                "</interface><flags>A S</flags></entry>"
                for to, interface in found
            )
        if command == "<show><interface>all</interface></show>":
            down = str(self.faults.get("down") or "").split()
            names = sorted({one for held in self.running["zones"].values() for one in held})
            said = ((name, "down" if name in down else "up") for name in names)
            entries = "".join(f"<entry><name>{name}</name><state>{state}</state></entry>" for name, state in said)
            return f"<hw>{entries}</hw>"
        return ""


def _rule(pair: tuple[str, dict[str, list[str]]]) -> str:
    name, settings = pair
    found = []
    for setting, values in settings.items():
        members = "".join(f"<member>{escape(value)}</member>" for value in values)
        found.append(f"<{setting}>{members if setting in LISTS else escape(values[0])}</{setting}>")
    return f"<entry name={quoteattr(name)}>{''.join(found)}<rule-type>universal</rule-type></entry>"


def _steer(pair: tuple[str, dict[str, str]]) -> str:
    name, said = pair
    found = [
        f"<{one}><member>{escape(said[one])}</member></{one}>"
        for one in ("source", "destination", "application", "service")
        if one in said
    ]
    there = [end for end in ("interface", "zone") if f"from {end}" in said]
    ends = (f"<{end}><member>{said[f'from {end}']}</member></{end}>" for end in there)
    hop = said.get("action forward nexthop ip-address", "")
    hop = f"<nexthop><ip-address>{hop}</ip-address></nexthop>" if hop else ""
    egress = f"<egress-interface>{said['action forward egress-interface']}</egress-interface>"
    found += [f"<from>{''.join(ends)}</from><action><forward>{egress}{hop}</forward></action>"]
    if "enforce-symmetric-return enabled" in said:
        hops = f"<entry name={quoteattr(said['enforce-symmetric-return nexthop-address-list'])}/>"
        found.append(
            f"<enforce-symmetric-return><enabled>{said['enforce-symmetric-return enabled']}</enabled>"
            f"<nexthop-address-list>{hops}</nexthop-address-list></enforce-symmetric-return>"
        )
    return f"<entry name={quoteattr(name)}>{''.join(found)}<disabled>{said.get('disabled', 'no')}</disabled></entry>"


def _service(pair: tuple[str, dict[str, tuple[str, str]]]) -> str:
    name, ports = pair
    protocol = next(iter(ports.values()))[0]
    said = "".join(f"<{kind}>{value}</{kind}>" for kind, (_, value) in ports.items())
    inside = f"<{protocol}>{said}<override><no/></override></{protocol}>"
    return f"<entry name={quoteattr(name)}><protocol>{inside}</protocol></entry>"


def _zone(pair: tuple[str, list[str]]) -> str:
    name, interfaces = pair
    members = "".join(f"<member>{one}</member>" for one in interfaces)
    return f"<entry name={quoteattr(name)}><network><layer3>{members}</layer3></network></entry>"


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """Never returns."""
    appliance_https.serve(Firewall(name), directory)
