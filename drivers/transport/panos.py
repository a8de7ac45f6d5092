# SPDX-License-Identifier: Apache-2.0
"""PAN-OS's XML API, read: rulebase, services, zones, routes, links. GET and `show` alone.

Called by `drivers.appliance.panos`. Source of the requests: PAN-OS and Panorama API Usage Guide, "Get active
configuration" (action=show), "Get candidate configuration" (action=get), "Run operational mode commands" (type=op).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree

from drivers.base import Rejected, Target, Transient
from drivers.transport.rest import Reader, reader

Objects = Mapping[tuple[str, str], frozenset[str]]
DEFAULTS = {
    "rule-type": {"universal", "interzone"}, "log-end": {"yes", "no"}, "log-start": {"yes", "no"},
    "source-user": {"any"}, "category": {"any"}, "source-hip": {"any"}, "destination-hip": {"any"},
    "negate-source": {"no"}, "negate-destination": {"no"}, "disabled": {"no"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rulebase:
    objects: Objects
    order: tuple[str, ...]
    steers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Api:
    target: Target
    reader: Reader

    def rulebase(self, action: str) -> Rulebase:
        """action: `show` for what is in force, `get` for what waits for a commit."""
        rules = self._config(action, "rulebase/security/rules")
        services = self._config(action, "service")
        objects: dict[tuple[str, str], frozenset[str]] = {}
        order = []
        for entry in rules:
            name = entry.get("name", "")
            order.append(name)
            objects["rule", name] = frozenset(_settings(entry))
        for entry in services:
            objects["service", entry.get("name", "")] = frozenset(_ports(entry))
        steers = self._config(action, "rulebase/pbf/rules")
        for entry in steers:
            objects["steer", entry.get("name", "")] = frozenset(_steering(entry))
        return Rulebase(objects, tuple(order), tuple(entry.get("name", "") for entry in steers))

    def zones(self) -> dict[str, frozenset[str]]:
        found = self._config("show", "zone")
        return {one.get("name", ""): frozenset(text.text or "" for text in one.iter("member")) for one in found}

    def routes(self) -> tuple[tuple[str, str], ...]:
        result = self._op("<show><routing><route></route></routing></show>")
        found = ((one.findtext("destination", ""), one.findtext("interface", "")) for one in result.iter("entry"))
        return tuple((prefix, interface) for prefix, interface in found if prefix and interface)

    def links(self) -> dict[str, bool]:
        result = self._op("<show><interface>all</interface></show>")
        return {one.findtext("name", ""): one.findtext("state", "") == "up" for one in result.iter("entry")}

    def _config(self, action: str, path: str) -> list[ElementTree.Element]:
        vsys = self.target.settings.get("vsys", "vsys1")
        entry = "/config/devices/entry[@name='localhost.localdomain']"
        query = {"type": "config", "action": action, "xpath": f"{entry}/vsys/entry[@name='{vsys}']/{path}"}
        leaf = self._result(query).find(path.rsplit("/", 1)[-1])
        return list(leaf) if leaf is not None else []

    def _op(self, command: str) -> ElementTree.Element:
        return self._result({"type": "op", "cmd": command})

    def _result(self, query: Mapping[str, str]) -> ElementTree.Element:
        text = self.reader.get("/api/", query)
        try:
            reply = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise Transient(f"{self.target.name}: the device's answer is cut short") from error
        said = " ".join("".join(reply.itertext()).split())[:200]
        # "7": there is nothing at that path.
        if reply.get("status") != "success" and reply.get("code") != "7":
            raise Rejected(f"{self.target.name}: the device refused to be read: {said}")
        result = reply.find("result")
        return result if result is not None else ElementTree.Element("result")


def _settings(entry: ElementTree.Element) -> Iterator[str]:
    for one in entry:
        members = [member.text or "" for member in one.findall("member")]
        value = " ".join(sorted(members)) if members else (one.text or "").strip()
        if value in DEFAULTS.get(one.tag, set()) or one.tag == "tag":
            continue
        yield f"{one.tag} [ {value} ]" if one.tag == "application" and len(members) > 1 else f"{one.tag} {value}"


def _steering(entry: ElementTree.Element) -> Iterator[str]:
    """A redirect rule, one setting a line, in the words of `set rulebase pbf rules`."""
    for one in entry:
        if one.tag in ("source", "destination", "application", "service", "description", "disabled", "tag"):
            yield from _settings_of(one)
            continue
        for path, text in _leaves(one):
            yield f"{path} {text}"


def _settings_of(one: ElementTree.Element) -> Iterator[str]:
    value = " ".join(sorted(member.text or "" for member in one.findall("member"))) or (one.text or "").strip()
    if one.tag != "tag" and (one.tag, value) not in (("disabled", "no"), ("description", "")):
        yield f"{one.tag} {value}"


def _leaves(one: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """Of a tree: `action forward egress-interface`, and its value; a list's entries and members are values."""
    for below in one:
        if below.tag in ("member", "entry"):
            yield one.tag, below.get("name") or (below.text or "").strip()
        elif len(below):
            yield from ((f"{one.tag} {path}", text) for path, text in _leaves(below))
        else:
            yield f"{one.tag} {below.tag}", (below.text or "").strip()


def _ports(entry: ElementTree.Element) -> Iterator[str]:
    protocol = entry.find("protocol")
    for kind in protocol if protocol is not None else ():
        for one in kind:
            if one.tag != "override":
                yield f"{kind.tag} {one.tag} {(one.text or '').strip()}"


@contextmanager
def connected(target: Target, timeout_s: float) -> Iterator[Api]:
    """Errors: Transient, Rejected."""
    with reader(target, "X-PAN-KEY", "{}", timeout_s) as made:
        yield Api(target, made)
