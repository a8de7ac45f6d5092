# SPDX-License-Identifier: Apache-2.0
"""What an emulated switch's configuration says about packets, and a network namespace that does it.

A family reads its own accepted running configuration into a `Plane`, knowing nothing of our drivers; `Follower` makes
a namespace forward by it: VLAN interfaces, addresses and neighbours by `ip`, policies as nftables marks that choose a
routing table each. VRFs are tables chosen by the interface where a packet enters.

One change is make before break: interfaces and tables first, then all policies in one nft transaction, then what is
left over goes.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from drivers.state import ANY_PORT, Match
from lab.devices import cables, tagging

FIRST_VRF_TABLE, FIRST_HOP_TABLE = 2001, 3001
TABLE = "inet plane"


class Fate(StrEnum):
    NEXT = "next"
    DROP = "drop"
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Clause:
    """The first clause that matches decides. address: of the next hop, to be found in the interface's VRF.

    others: the next hops that take over, in order, where that cannot be reached. is_open: without any of them the
    packet goes the device's own way; else it is dropped. label: what it is counted under, "" for nowhere.
    """

    match: Match
    fate: Fate
    address: str = ""
    is_open: bool = False
    others: tuple[str, ...] = ()
    label: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.address, *self.others)


@dataclass(frozen=True, slots=True)
class Interface:
    """parent, vlan: of a sub-interface. addresses: with prefix length. policy: what enters by it."""

    name: str
    vrf: str = ""
    addresses: tuple[str, ...] = ()
    parent: str = ""
    vlan: int = 0
    is_up: bool = True
    policy: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class Plane:
    """neighbours: (VRF, address) -> MAC. routes: (VRF, prefix, next hop)."""

    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    neighbours: Mapping[tuple[str, str], str] = field(default_factory=dict)
    routes: tuple[tuple[str, str, str], ...] = ()


class Follower:
    """Makes the namespace ("": the one where we are) forward as the plane says.

    names: the device's interface -> the namespace's. Sub-interfaces are made where we are only; each is named
    after its parent's place among the sorted names, so no two can have one name.
    """

    def __init__(self, namespace: str, names: Mapping[str, str]) -> None:
        self._namespace, self._names = namespace, dict(names)
        self._numbers = {name: number for number, name in enumerate(sorted(names.values()))}
        self._dark: frozenset[str] = frozenset()
        self._made: tuple[str, ...] = ()  # lines that undo what is in force
        self._hops: dict[tuple[str, str], int] = {}
        self._vrfs: dict[str, int] = {}
        self._tagged: dict[str, tuple[str, int]] = {}
        self._counted: dict[str, int] = {}  # by tables that are gone

    def follow(self, plane: Plane, dark: frozenset[str] = frozenset()) -> None:
        """dark: interfaces of the device whose cable has no link. What was behind them cannot be reached.

        Errors: subprocess.CalledProcessError, with what `ip` or `nft` said.
        """
        self._dark = dark
        there, gone = self._lines(plane)
        kept = set(gone)
        self._vlans(plane)
        self._ip(there)
        self._nft(plane)
        self._ip([line for line in self._made if line not in kept], is_forced=True)
        self._made = tuple(gone)
        wanted = {self._name(one) for one in self._used(plane)}
        for name, (parent, tag) in list(self._tagged.items()):
            if name not in wanted:
                _delete_vlan(parent, name, tag)
                del self._tagged[name]

    def _vlans(self, plane: Plane) -> None:
        """Sub-interfaces, in the namespace where this process is."""
        for one in self._used(plane):
            if one.vlan and self._name(one) not in self._tagged:
                parent = self._names[one.parent]
                _add_vlan(parent, self._name(one), one.vlan)
                self._tagged[self._name(one)] = (parent, one.vlan)

    def _lines(self, plane: Plane) -> tuple[list[str], list[str]]:
        """`ip -batch` lines that make it so (repeatable), and those that would undo each of them."""
        there: list[str] = []
        gone: list[str] = []
        for one in self._used(plane):
            name = self._name(one)
            there.append(f"link set dev {name} {'up' if one.is_up else 'down'}")
            table = self._vrf(one.vrf)
            for family in (4, 6):
                there.append(f"-{family} rule add pref 200 iif {name} lookup {table}")
                gone.append(f"-{family} rule del pref 200 iif {name} lookup {table}")
            for text in one.addresses if one.is_up else ():
                address = ipaddress.ip_interface(text)
                six = "-6 " if address.version == 6 else ""
                there.append(f"{six}addr replace {address} dev {name} noprefixroute{' nodad' if six else ''}")
                gone.append(f"{six}addr del {address} dev {name}")
                there.append(f"{six}route replace {address.network} dev {name} table {table}")
                gone.append(f"{six}route del {address.network} dev {name} table {table}")
        for number in self._vrfs.values():
            there += [f"{six}route replace blackhole default table {number} metric 4294967294" for six in ("", "-6 ")]
        for (vrf, text), mac in plane.neighbours.items():
            found = self._towards(plane, vrf, text)
            if found:
                six = "-6 " if ":" in text else ""
                there.append(f"{six}neigh replace {text} lladdr {mac} dev {found} nud permanent")
                gone.append(f"{six}neigh del {text} dev {found}")
        for vrf, prefix, hop in plane.routes:
            found = self._towards(plane, vrf, hop)
            if found:
                six = "-6 " if ":" in prefix else ""
                line = f"{prefix} via {hop} dev {found} onlink table {self._vrf(vrf)}"
                there.append(f"{six}route replace {line}")
                gone.append(f"{six}route del {line}")
        there += self._hop_lines(plane, gone)
        return there, gone

    def _hop_lines(self, plane: Plane, gone: list[str]) -> Iterator[str]:
        """A table and a mark for each next hop; one that cannot be reached drops, as the box does."""
        for vrf, address in sorted({(v, a) for _, v, a in self._nexts(plane)}):
            number = self._hops.setdefault((vrf, address), FIRST_HOP_TABLE + len(self._hops))
            six = "-6 " if ":" in address else ""
            yield f"{six}route replace blackhole default table {number} metric 4294967294"
            found = self._towards(plane, vrf, address)
            if found:
                yield f"{six}route replace default via {address} dev {found} onlink table {number}"
                gone.append(f"{six}route del default via {address} dev {found} table {number}")
            yield f"{six}rule add pref 100 fwmark {number} lookup {number}"
            gone.append(f"{six}rule del pref 100 fwmark {number} lookup {number}")

    def _nexts(self, plane: Plane) -> Iterator[tuple[str, str, str]]:
        for one in plane.interfaces.values():
            for clause in one.policy:
                if clause.fate is Fate.NEXT:
                    yield from ((one.name, one.vrf, address) for address in clause.addresses)

    def _towards(self, plane: Plane, vrf: str, address: str) -> str:
        """The interface of the VRF whose prefix holds the address, "" if none is up and has a link."""
        wanted = ipaddress.ip_address(address)
        for one in self._used(plane):
            if (one.parent or one.name) in self._dark:
                continue
            networks = (ipaddress.ip_interface(text).network for text in one.addresses)
            if one.vrf == vrf and one.is_up and any(wanted in network for network in networks):
                return self._name(one)
        return ""

    def _used(self, plane: Plane) -> list[Interface]:
        """Those that a cable is in, sub-interfaces after their parents; one without a tag is not there yet."""
        found = [
            one
            for one in plane.interfaces.values()
            if one.name in self._names or (one.parent in self._names and one.vlan)
        ]
        return sorted(found, key=lambda one: (one.vlan, one.name))

    def _name(self, one: Interface) -> str:
        if one.name in self._names:
            return self._names[one.name]
        parent = self._names[one.parent]
        return f"{parent[:6]}~{self._numbers[parent]}.{one.vlan}"

    def _vrf(self, name: str) -> int:
        return self._vrfs.setdefault(name, FIRST_VRF_TABLE + len(self._vrfs))

    def counts(self) -> dict[str, int]:
        """Packets by label, since a policy first had it."""
        found = dict(self._counted)
        done = self._call(["nft", "-j", "list", "table", *TABLE.split()], "")
        for entry in json.loads(done.stdout)["nftables"] if done.returncode == 0 else ():
            rule = entry.get("rule", {})
            if rule.get("comment"):
                packets = sum(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
                found[rule["comment"]] = found.get(rule["comment"], 0) + packets
        return found

    def _nft(self, plane: Plane) -> None:
        labels = {clause.label for one in self._used(plane) for clause in one.policy if clause.label}
        seen = self.counts() if labels else {}
        self._counted = {label: packets for label, packets in seen.items() if label in labels}
        lines = [f"table {TABLE}", f"delete table {TABLE}", f"table {TABLE} {{", " chain enter {"]
        lines.append("  type filter hook prerouting priority mangle; policy accept;")
        for one in self._used(plane):
            for clause in one.policy:
                there = [way for way in clause.addresses if way and self._towards(plane, one.vrf, way)]
                if clause.is_open and not there:
                    clause = Clause(clause.match, Fate.ROUTE)
                elif there:
                    clause = replace(clause, address=there[0])
                lines += (f'  iifname "{self._name(one)}" {text}' for text in self._rules(one, clause))
        lines += [" }", "}"]
        self._run(["nft", "-f", "-"], "\n".join(lines) + "\n")

    def _rules(self, one: Interface, clause: Clause) -> Iterator[str]:
        verdict = {Fate.DROP: "drop", Fate.ROUTE: "accept"}.get(clause.fate)
        if verdict is None:
            verdict = f"meta mark set {self._hops[one.vrf, clause.address]} accept"
        comment = f' comment "{clause.label}"' if clause.label else ""
        yield f"{matching(clause.match)} counter {verdict}{comment}"

    def _ip(self, lines: Sequence[str], *, is_forced: bool = False) -> None:
        """Lines of IPv6 begin with -6; a batch is of one family. What is there already is as wanted."""
        six = [line for line in lines if line.startswith("-6 ")]
        rest = [line for line in lines if not line.startswith("-6 ")]
        for option, batch in (("-4", rest), ("-6", six)):
            if not batch:
                continue
            text = "".join(line.removeprefix("-6 ").removeprefix("-4 ") + "\n" for line in batch)
            done = self._call(["ip", option, "-force", "-batch", "-"], text)
            said = [line for line in done.stderr.splitlines() if not _is_harmless(line)]
            if said and not is_forced:
                raise subprocess.CalledProcessError(done.returncode, "ip -batch", done.stdout, "\n".join(said))

    def _run(self, command: list[str], text: str) -> None:
        done = self._call(command, text)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, " ".join(command), done.stdout, done.stderr)

    def _call(self, command: list[str], text: str) -> subprocess.CompletedProcess[str]:
        inside = ["ip", "netns", "exec", self._namespace, *command] if self._namespace else command
        return subprocess.run(inside, input=text, capture_output=True, text=True, timeout=30, check=False)


class Cabled:
    """Keeps a follower at what the device says and its cables are. Where the device's own namespace is.

    lock: of the device. read: its plane, whenever it is asked.
    """

    def __init__(
        self, names: Mapping[str, str], lock: AbstractContextManager[object], read: Callable[[], Plane]
    ) -> None:
        self._names, self._lock, self._read = dict(names), lock, read
        self._follower = Follower("", names)
        self._done: tuple[Plane, frozenset[str]] | None = None
        self.dark = cables.without_link(self._names)

    def start(self) -> None:
        """The first time, and from then on after every event at a cable."""
        self.follow()
        cables.watch(self._look)

    def follow(self) -> None:
        """Call it under the lock, after every change. Errors: subprocess.CalledProcessError."""
        wanted = (self._read(), self.dark)
        if wanted != self._done:
            self._follower.follow(*wanted)
            self._done = wanted

    def counts(self) -> dict[str, int]:
        """See `Follower.counts`."""
        return self._follower.counts()

    def _look(self) -> None:
        with self._lock:
            self.dark = cables.without_link(self._names)
            self.follow()


def _add_vlan(parent: str, name: str, tag: int) -> None:
    """Where the kernel has no 802.1Q: a macvlan, and two programs that do the tags. Errors: OSError."""
    head = ["ip", "link", "add", "link", parent, "name", name, "type"]
    if subprocess.run([*head, "vlan", "id", str(tag)], capture_output=True, check=False).returncode:
        subprocess.run([*head, "macvlan", "mode", "private"], capture_output=True, check=True)
        tagging.attach(parent, name, tag)


def _delete_vlan(parent: str, name: str, tag: int) -> None:
    kind = subprocess.run(["ip", "-d", "link", "show", name], capture_output=True, text=True, check=False).stdout
    if "macvlan" in kind:
        tagging.detach(parent, tag)
    subprocess.run(["ip", "link", "del", "dev", name], capture_output=True, check=False)


def _is_harmless(line: str) -> bool:
    return "File exists" in line or line.startswith("Command failed")


def matching(match: Match) -> str:
    """As an nft expression."""
    ip = "ip" if match.family == 4 else "ip6"
    words = [f"meta nfproto {'ipv4' if match.family == 4 else 'ipv6'}"]
    for side, prefix in (("saddr", match.source), ("daddr", match.destination)):
        if not prefix.endswith("/0"):
            words.append(f"{ip} {side} {prefix}")
    if match.protocol:
        words.append(f"meta l4proto {match.protocol.replace('icmpv6', 'ipv6-icmp')}")
    for side, (low, high) in (("sport", match.source_ports), ("dport", match.destination_ports)):
        if (low, high) != ANY_PORT:
            words.append(f"th {side} {low}-{high}" if low != high else f"th {side} {low}")
    if match.dscp >= 0:
        words.append(f"{ip} dscp {match.dscp}")
    return " ".join(words)
