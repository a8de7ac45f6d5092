# SPDX-License-Identifier: Apache-2.0
"""FortiOS's REST API, read: policies, addresses, services, zones, routes, links. GET alone.

Called by `drivers.appliance.fortios`. Source of the paths: FortiOS REST API reference (Fortinet Developer Network),
cmdb/firewall/{policy,address,address6}, cmdb/firewall.service/custom, cmdb/router/{policy,policy6}, cmdb/system/zone,
monitor/router/{ipv4,ipv6}, monitor/system/interface.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from drivers.base import Rejected, Target, Transient
from drivers.transport.rest import Reader, reader

Object = tuple[str, str]
# A setting that has one of these values says nothing.
DEFAULTS: Mapping[str, frozenset[str]] = {
    "status": frozenset({"enable"}),
    "nat": frozenset({"disable"}),
    "srcaddr-negate": frozenset({"disable"}),
    "dstaddr-negate": frozenset({"disable"}),
    "service-negate": frozenset({"disable"}),
    "internet-service": frozenset({"disable"}),
}
LISTS = ("srcintf", "dstintf", "srcaddr", "dstaddr", "srcaddr6", "dstaddr6", "service", "users", "groups")
# One port alone is printed without its end.
ONE_PORT = re.compile(r"(?<![-0-9])[0-9]+(?![-0-9])")
OURS = re.compile(r"SI-c[a-z0-9-]{1,60}")
ROUTE: Mapping[str, frozenset[str]] = {
    "protocol": frozenset({"0"}), "start-port": frozenset({"0", "1"}), "end-port": frozenset({"65535"}),
    "start-source-port": frozenset({"0", "1"}), "end-source-port": frozenset({"65535"}),
    "gateway": frozenset({"0.0.0.0", "::"}), "output-device": frozenset(), "status": frozenset({"enable"}),
    "action": frozenset({"permit"}), "tos": frozenset({"0x00"}), "tos-mask": frozenset({"0x00"}),
    "src-negate": frozenset({"disable"}), "dst-negate": frozenset({"disable"}),
    "input-device-negate": frozenset({"disable"}),
}  # fmt: skip
PLAIN = ("action", "schedule", "comments", "policyid")


@dataclass(frozen=True, slots=True)
class Api:
    target: Target
    reader: Reader

    def policy(self) -> tuple[dict[Object, frozenset[str]], tuple[str, ...]]:
        """All policies in order, and the objects that they may name."""
        objects: dict[Object, frozenset[str]] = {}
        order = []
        for row in self._rows("cmdb/firewall/policy"):
            number = str(row.get("policyid", ""))
            name = str(row.get("name") or f"#{number}")
            order.append(name)
            objects["rule", name] = frozenset(_settings(row))
            objects["number", number] = frozenset({name})
        for kind, attribute in (("address", "subnet"), ("address6", "ip6")):
            for row in self._rows(f"cmdb/firewall/{kind}"):
                objects[kind, str(row.get("name", ""))] = frozenset({f"{attribute} {row.get(attribute, '')}"})
        for row in self._rows("cmdb/firewall.service/custom"):
            objects["service", str(row.get("name", ""))] = frozenset(_service(row))
        return objects, tuple(order)

    def steers(self) -> tuple[dict[Object, frozenset[str]], list[str]]:
        """Policy routes in order, of IPv4 first: no packet meets both. Ours are known by their comment."""
        objects: dict[Object, frozenset[str]] = {}
        order = []
        for table in ("router policy", "router policy6"):
            for row in self._rows(f"cmdb/{table.replace(' ', '/')}"):
                number, said = str(row.get("seq-num", "")), str(row.get("comments") or "")
                name = said if OURS.fullmatch(said) and ("steer", said) not in objects else f"#{table} {number}"
                order.append(name)
                objects["steer", name] = frozenset({*_route(row), f"seq-num {table} {number}"})
                objects["number", f"{table} {number}"] = frozenset({name})
        return objects, order

    def zones(self) -> dict[str, frozenset[str]]:
        """A policy names a zone, or an interface that is in none."""
        zones = {
            str(row.get("name", "")): frozenset(str(one.get("interface-name", "")) for one in row.get("interface", []))
            for row in self._rows("cmdb/system/zone")
        }
        taken = {interface for held in zones.values() for interface in held}
        return {name: frozenset({name}) for name in self.links() if name not in taken} | zones

    def routes(self) -> tuple[tuple[str, str], ...]:
        rows = [*self._rows("monitor/router/ipv4"), *self._rows("monitor/router/ipv6")]
        return tuple((str(row.get("ip_mask", "")), str(row.get("interface", ""))) for row in rows if row.get("ip_mask"))

    def links(self) -> dict[str, bool]:
        found = self._results("monitor/system/interface")
        rows: Mapping[str, Any] = found if isinstance(found, dict) else {}
        return {name: bool(row.get("link")) for name, row in rows.items() if isinstance(row, dict)}

    def _rows(self, path: str) -> list[dict[str, Any]]:
        found = self._results(path)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise Rejected(f"{self.target.name}: {path} is not a list; is this FortiOS 6.4 or later?")
        return found

    def _results(self, path: str) -> Any:
        text = self.reader.get(f"/api/v2/{path}", {"vdom": self.target.settings.get("vdom", "root")})
        try:
            reply = json.loads(text)
        except ValueError as error:
            raise Transient(f"{self.target.name}: the device's answer is cut short") from error
        if not isinstance(reply, dict) or reply.get("status") != "success":
            raise Rejected(f"{self.target.name}: the device refused to read {path}")
        return reply.get("results")


def _settings(row: Mapping[str, Any]) -> Iterator[str]:
    for name in LISTS:
        members = sorted(str(one.get("name", "")) for one in row.get(name) or [])
        if members:
            yield f"{name} {' '.join(members)}"
    for name in PLAIN:
        value = str(row.get(name) or "")
        if value:
            yield f"{name} {value}"
    for name, silent in DEFAULTS.items():
        value = str(row.get(name) or "")
        if value and value not in silent:
            yield f"{name} {value}"


def _route(row: Mapping[str, Any]) -> Iterator[str]:
    """Of a policy route, what it says."""
    for name, member in (("input-device", "name"), ("src", "subnet"), ("dst", "subnet"), ("srcaddr", "name"),
                         ("dstaddr", "name")):  # fmt: skip
        members = sorted(str(one.get(member, "")) for one in row.get(name) or [])
        if members:
            yield f"{name} {' '.join(members)}"
    for name, silent in ROUTE.items():
        value = str(row.get(name) or "")
        if value and value not in silent:
            yield f"{name} {value}"


def _service(row: Mapping[str, Any]) -> Iterator[str]:
    protocol = str(row.get("protocol") or "")
    # Newer releases have one more protocol in the same kind of object.
    yield f"protocol {'TCP/UDP/SCTP' if protocol.startswith('TCP/UDP') else protocol}"
    for name in ("tcp-portrange", "udp-portrange", "sctp-portrange"):
        if row.get(name):
            spelled = ONE_PORT.sub(lambda found: f"{found[0]}-{found[0]}", str(row[name]))
            yield f"{name} {spelled}"


@contextmanager
def connected(target: Target, timeout_s: float) -> Iterator[Api]:
    """Errors: Transient, Rejected."""
    with reader(target, "Authorization", "Bearer {}", timeout_s) as made:
        yield Api(target, made)
